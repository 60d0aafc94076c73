//! Why a command ended without doing what it should: what failed and why, then what to do. Never a secret in it.

use std::error::Error;
use std::fmt;

use auth_domain::ports::Unavailable;
use auth_storage::OpenError;
use serde_json::{Value, json};

use crate::compose::StartError;
use crate::settings::{Problem, WrongSettings};

/// The two ways out for who may make no tables.
const MAY_NOT_CREATE: &str = "Let this user own the database (`ALTER DATABASE ... OWNER TO ...`), or let its owner run \
    `auth-service migrate up`: a database that is up to date can be served without that right. docs/POSTGRESQL.md has both.";

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    kind: FailureKind,
    what: String,
    advice: Option<String>,
    problems: Vec<Problem>,
}

/// Whose fault it is: what the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// 1: it was refused, or something it needs is away.
    Refused,
    /// 2: the command line or a setting is wrong.
    Usage,
}

impl Failure {
    /// The command was understood and could not be carried out.
    pub(super) fn refused(what: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Refused,
            what: what.into(),
            advice: None,
            problems: Vec::new(),
        }
    }

    /// The command line or a setting is wrong.
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Usage,
            what: what.into(),
            advice: None,
            problems: Vec::new(),
        }
    }

    /// An operation that ended in an error, with all its causes in one line.
    pub(super) fn of(operation: &str, error: &dyn Error) -> Self {
        Self::refused(format!("{operation}: {}", causes(error)))
    }

    /// An error that says by itself what could not be done, with all its causes in one line.
    pub(super) fn from_error(error: &dyn Error) -> Self {
        Self::refused(causes(error))
    }

    /// With what to do about it.
    #[must_use]
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same for programs; `problems` lists the settings that are wrong, where it is them.
    pub(super) fn for_programs(&self) -> Value {
        let view = |problem: &Problem| json!({ "place": problem.place, "fault": problem.fault });
        if self.problems.is_empty() {
            json!({ "error": self.what, "advice": self.advice })
        } else {
            let problems: Vec<_> = self.problems.iter().map(view).collect();
            json!({ "error": self.what, "advice": self.advice, "problems": problems })
        }
    }

    /// The exit code.
    pub(super) const fn exit_code(&self) -> u8 {
        match self.kind {
            FailureKind::Refused => 1,
            FailureKind::Usage => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "auth-service: {}", self.what)?;
        match &self.advice {
            Some(advice) => write!(out, "\n{advice}"),
            None => Ok(()),
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(outage: Unavailable) -> Self {
        Self::refused(causes(&outage))
    }
}

impl From<WrongSettings> for Failure {
    fn from(wrong: WrongSettings) -> Self {
        let what = wrong.to_string();
        let failure = if what.contains("config reference") {
            Self::usage(what)
        } else {
            Self::usage(what).advise(
                "`auth-service config reference` lists all settings, `auth-service config check` shows what holds.",
            )
        };
        Self {
            problems: wrong.0,
            ..failure
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let failure = Self::refused(causes(&error));
        match error {
            StartError::Bind { address, .. } => failure.advise(format!(
                "Is another server running there? AUTH_SERVICE__HOST and PORT say where to listen; now it is {address}."
            )),
            StartError::Empty(_) => failure.advise(
                "AUTH_SERVICE__DB_URL says which database it is. If it is the right one, `auth-service migrate up` makes \
                 them.",
            ),
            StartError::Behind { .. } => failure.advise("Bring it up to date by `auth-service migrate up`."),
            StartError::Store(OpenError::MayNotCreate { .. }) => failure.advise(MAY_NOT_CREATE),
            StartError::Store(_) => failure.advise("AUTH_SERVICE__DB_URL says where the database is."),
            StartError::Keys(_) => failure.advise("AUTH_SERVICE__KEYS_DIR or PRIVATE_KEY_PATH says where the keys are."),
            StartError::Tls(_) => {
                failure.advise("AUTH_SERVICE__TLS_CERT_PATH and TLS_KEY_PATH say where certificate and key are.")
            }
            StartError::Devices(_) => failure.advise(
                "AUTH_SERVICE__DEVICE_SECRET gives the secret itself, AUTH_SERVICE__KNOWN_DEVICES=false does without it.",
            ),
            StartError::Hashing(_) | StartError::Unavailable(_) | StartError::Http(_) => failure,
        }
    }
}

/// An error and its causes in one line, each said once.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
