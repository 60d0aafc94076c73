//! Why a command ended without doing what it should: what failed and why, then what to do. Never a secret in it.

use std::error::Error;
use std::fmt;

use auth_domain::ports::Unavailable;
use auth_storage::Trouble;
use serde_json::{Value, json};

use crate::compose::StartError;
use crate::settings::{Problem, WrongSettings};

/// Why a command failed.
#[derive(Debug, Clone)]
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

    /// An operation that ended in an error, with all its causes in one line; and with what to do about it, where it is
    /// the database's and known.
    pub(super) fn of(operation: &str, error: &(dyn Error + 'static)) -> Self {
        Self::about(format!("{operation}: {}", causes(error)), error)
    }

    /// The same of an error that says by itself what could not be done.
    pub(super) fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::about(causes(error), error)
    }

    fn about(what: String, error: &(dyn Error + 'static)) -> Self {
        Self {
            advice: Trouble::of(error).map(|trouble| advice_on(trouble).to_owned()),
            ..Self::refused(what)
        }
    }

    /// With what to do about it, besides what it says already.
    #[must_use]
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        self.advice = Some(match self.advice {
            Some(before) => format!("{before}\n{advice}"),
            None => advice,
        });
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

    /// What failed, and what to do about it.
    pub(super) fn into_parts(self) -> (String, Option<String>) {
        (self.what, self.advice)
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
        Self::from_error(&outage)
    }
}

impl From<WrongSettings> for Failure {
    fn from(wrong: WrongSettings) -> Self {
        let what = wrong.to_string();
        // What is there is not wrong where it could not even be read.
        let is_unread = |problem: &Problem| problem.fault.contains("can't be read");
        let failure = if what.contains("config reference") || wrong.0.iter().all(is_unread) {
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
        let failure = match &error {
            StartError::Store(error) => Self::from_error(error),
            other => Self::from_error(other),
        };
        match error {
            StartError::Bind { address, .. } => failure.advise(format!(
                "Is another server running there? AUTH_SERVICE__HOST and PORT say where to listen; now it is {address}."
            )),
            StartError::Empty(_) => failure.advise(
                "AUTH_SERVICE__DB_URL says which database it is. If it is the right one, `auth-service migrate up` makes \
                 them.",
            ),
            StartError::Behind { .. } => failure.advise("Bring it up to date by `auth-service migrate up`."),
            StartError::Store(_) if failure.advice.is_some() => failure,
            StartError::Store(_) => failure.advise("AUTH_SERVICE__DB_URL says where the database is."),
            StartError::Keys(_) => failure.advise("AUTH_SERVICE__KEYS_DIR or PRIVATE_KEY_PATH says where the keys are."),
            StartError::Tls(_) => {
                failure.advise("AUTH_SERVICE__TLS_CERT_PATH and TLS_KEY_PATH say where certificate and key are.")
            }
            StartError::Devices(_) => failure.advise(
                "AUTH_SERVICE__DEVICE_SECRET gives the secret itself, AUTH_SERVICE__KNOWN_DEVICES=false does without it.",
            ),
            StartError::Traces(_) => failure.advise(
                "AUTH_SERVICE__OTLP_ENDPOINT says where traces are sent; without it none are.",
            ),
            StartError::KeysLost(_)
            | StartError::Hashing(_)
            | StartError::Unavailable(_)
            | StartError::Thread(_)
            | StartError::Http(_) => failure,
        }
    }
}

/// What to do about a database server. Which setting or argument names it, the command knows.
const fn advice_on(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Password => {
            "The password is missing or not this user's: correct it, percent-encoded, in the database's URL or the file that \
             holds it, or in the file that PGPASSFILE names."
        }
        Trouble::NoDatabase => {
            "Make it (`createdb --owner=USER --encoding=UTF8 --template=template0 DATABASE`), or correct the name at the end \
             of the URL."
        }
        Trouble::NoRole => {
            "Make it (`createuser --pwprompt USER`; `ALTER ROLE ... LOGIN` where it may not log in), or correct the user in \
             the URL."
        }
        Trouble::NotAdmitted => {
            "The server's pg_hba.conf admits no such connection: it needs a line for this user, database and address. Where \
             it is about encryption, sslmode=require in the URL demands TLS."
        }
        Trouble::Unreachable => {
            "Start the server, or correct host and port in the URL. It must listen on that address (listen_addresses), and \
             no firewall be in between."
        }
        Trouble::UnknownHost => "Correct the host in the URL, or how this machine resolves names.",
        Trouble::NoTls => {
            "Switch TLS on at the server (ssl = on). Only where nobody can listen on the way, sslmode=disable does without."
        }
        Trouble::NotTrusted => {
            "In the URL, sslrootcert names the certificate of the authority that has signed the server's, and the host is one \
             of the names in it."
        }
        Trouble::MissingRights => {
            "Let this user own the database, or grant it what docs/POSTGRESQL.md lists."
        }
        Trouble::MayNotCreate => {
            "Let this user own the database (`ALTER DATABASE ... OWNER TO ...`), or let its owner run `auth-service migrate \
             up`: a database that is up to date can be served without that right. docs/POSTGRESQL.md has both."
        }
        Trouble::TooManyConnections => {
            "Lower DB_POOL_SIZE, or raise the server's max_connections; docs/SCALING.md says how many each instance takes."
        }
        Trouble::NotReady => "The server is starting or about to stop: look into its log, and try again.",
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
