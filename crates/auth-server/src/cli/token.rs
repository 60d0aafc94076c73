//! `token`: what becomes of tokens, and `token inspect`: what a token says, and whether this server would take it. The token comes from standard input or
//! a file, and is never printed again.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use auth_domain::claims::{AccessClaims, Issuer, RefreshClaims};
use auth_domain::ports::{Clock as _, Genuine, TokenSigner};
use auth_domain::secret::Token;
use auth_domain::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Ending, Report, json_pretty, moment};
use super::revoke::{self, RevokeArguments};
use super::{ask, keys};
use crate::compose::{self, StartError};
use crate::settings::Settings;
use crate::system::SystemClock;

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Read a token from standard input and say what it is and whether it is good
    Inspect(InspectArguments),
    /// End sessions, or one token
    ///
    /// By session, user, client, or both of these, every refresh token of the sessions is good for nothing from then on;
    /// access tokens that were issued before go on until they expire. By token, a refresh token ends its session, and an
    /// access token is denied until it expires. Without any of these options the token is asked for.
    Revoke(RevokeArguments),
}

/// Where the token is.
#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// Read the token from a file in place of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Carries it out.
///
/// # Errors
/// Where the token or the keys can't be read.
pub(super) async fn run(command: TokenCommand, settings: &Settings) -> Result<Report, Failure> {
    match command {
        TokenCommand::Inspect(arguments) => inspect(&arguments, settings),
        TokenCommand::Revoke(arguments) => revoke::run(&arguments, settings).await,
    }
}

fn inspect(arguments: &InspectArguments, settings: &Settings) -> Result<Report, Failure> {
    keys::check_keys_exist(settings)?;
    let text = ask::read_input(arguments.file.as_deref())?;
    let token = Token::new(text.trim().to_owned());
    let now = SystemClock.now();
    let ring = compose::open_keys(settings, Arc::new(SystemClock)).map_err(StartError::Keys)?;
    let parts = Parts::of(&token).ok_or_else(|| {
        Failure::refused("this is no token: a token has three parts of base64url text, separated by dots")
    })?;
    let verdict = judge(&ring, &token, &settings.tokens.issuer, now)?;
    Ok(report(&parts, &verdict, now))
}

/// What can be read without any key.
struct Parts {
    header: Value,
    claims: Value,
}

impl Parts {
    fn of(token: &Token) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let header = decoded(parts.next()?)?;
        let claims = decoded(parts.next()?)?;
        (parts.next().is_some() && parts.next().is_none()).then_some(Self { header, claims })
    }
}

fn decoded(part: &str) -> Option<Value> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Whether this server would take the token, and as what.
struct Verdict {
    kind: &'static str,
    fault: Option<String>,
}

impl Verdict {
    fn new(kind: &'static str, fault: Option<String>) -> Self {
        Self { kind, fault }
    }
}

fn judge(
    signer: &dyn TokenSigner,
    token: &Token,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Verdict, Failure> {
    let as_access = match signer.verify_access(token)? {
        Genuine::Yes(claims) => {
            return Ok(Verdict::new(
                "access token",
                fault_of_access(&claims, issuer, now),
            ));
        }
        Genuine::No(reason) => reason,
    };
    match signer.verify_refresh(token)? {
        Genuine::Yes(claims) => Ok(Verdict::new(
            "refresh token",
            fault_of_refresh(&claims, issuer, now),
        )),
        Genuine::No(reason) => {
            let is_refresh = reason != "a token of another type";
            let reason = if is_refresh { reason } else { as_access };
            Ok(Verdict::new("token", Some(reason.to_owned())))
        }
    }
}

fn fault_of_access(claims: &AccessClaims, issuer: &Issuer, now: Timestamp) -> Option<String> {
    claims.check(issuer, now).err().map(|fault| fault.to_string())
}

/// Whether it has been used is the database's business and not looked up here.
fn fault_of_refresh(claims: &RefreshClaims, issuer: &Issuer, now: Timestamp) -> Option<String> {
    let expired = (now >= Timestamp::from(claims.exp)).then(|| "expired".to_owned());
    claims
        .check(issuer, now)
        .err()
        .map(|fault| fault.to_string())
        .or(expired)
}

fn report(parts: &Parts, verdict: &Verdict, now: Timestamp) -> Report {
    let is_good = verdict.fault.is_none();
    let said = match &verdict.fault {
        None if verdict.kind == "refresh token" => {
            "good refresh token: signature, issuer, audience and times (whether it was used is not looked up)"
                .to_owned()
        }
        None => format!(
            "good {}: signature, issuer, audience and times (whether it was denied is not looked up)",
            verdict.kind
        ),
        Some(fault) => format!("not good ({}): {fault}", verdict.kind),
    };
    let mut people = format!(
        "{said}\n\nheader\n{}\n\nclaims\n{}",
        json_pretty(&parts.header),
        json_pretty(&parts.claims)
    );
    for (name, meaning) in [("iat", "issued"), ("nbf", "valid from"), ("exp", "expires")] {
        if let Some(seconds) = parts.claims.get(name).and_then(Value::as_i64) {
            let at = Timestamp::from_unix_seconds(seconds);
            let _ = write!(people, "\n{meaning:10}  {}", moment(at));
        }
    }
    let _ = write!(people, "\n{:10}  {}", "now", moment(now));
    Report {
        ending: if is_good { Ending::Good } else { Ending::Bad },
        ..Report::new(
            people,
            json!({
                "good": is_good,
                "kind": verdict.kind,
                "fault": verdict.fault,
                "header": parts.header,
                "claims": parts.claims,
            }),
        )
    }
}
