//! `token revoke`: ends the sessions that an operator names, or what one token stands for. The token comes from standard
//! input or a prompt, and is never printed.

use std::sync::Arc;

use auth_domain::audit::AuditEvent;
use auth_domain::claims::{AccessClaims, RefreshClaims};
use auth_domain::id::{ClientId, SessionId, Subject, UserId};
use auth_domain::revocation::{OurToken, denial_of, denied};
use auth_domain::session::{Revocation, RevocationReason, RevocationTarget, SessionKey, SessionView};
use auth_domain::user::User;
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::ask::Consent;
use super::desk::Desk;
use super::failure::Failure;
use super::output::{Report, moment};
use super::{ask, client, keys, user};
use crate::compose::{self, StartError};
use crate::settings::Settings;
use crate::system::SystemClock;

/// What shall end.
#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    /// The session of this id
    #[arg(long, value_name = "ID", value_parser = session_id, conflicts_with_all = ["user", "client", "token_stdin"])]
    session: Option<Uuid>,
    /// Every session of this user, by name, e-mail address or id; with --client, only those at that client
    #[arg(long, value_name = "USER", conflicts_with = "token_stdin")]
    user: Option<String>,
    /// Every session at this client
    #[arg(long, value_name = "CLIENT_ID", value_parser = ClientId::parse, conflicts_with = "token_stdin")]
    client: Option<ClientId>,
    /// Read a token from standard input
    #[arg(long)]
    token_stdin: bool,
    #[command(flatten)]
    consent: Consent,
}

fn session_id(text: &str) -> Result<Uuid, &'static str> {
    Uuid::try_parse(text).map_err(|_| "it is no session's id, such as 019a20e4-6f3c-7b1d-9c52-8e0f4d7a1b36")
}

/// Carries it out.
///
/// # Errors
/// Where there is nothing of that name, nobody agrees, or it can't be done.
pub(super) async fn run(arguments: &RevokeArguments, settings: &Settings) -> Result<Report, Failure> {
    let desk = Desk::open(settings).await?;
    match (arguments.session, &arguments.user, &arguments.client) {
        (Some(id), _, _) => {
            let session = find_session(&desk, SessionId::from_uuid(id)).await?;
            Ending::of_session(&session).carry_out(&desk).await
        }
        (None, None, None) => revoke_token(&desk, arguments, settings).await,
        (None, user, client) => {
            let ending = Ending::of_many(&desk, user.as_deref(), client.as_ref()).await?;
            arguments
                .consent
                .obtain(&format!("End every session {}?", ending.whose))?;
            ending.carry_out(&desk).await
        }
    }
}

async fn find_session(desk: &Desk, id: SessionId) -> Result<SessionView, Failure> {
    let session = desk.store.sessions.find(&SessionKey::Id(id)).await?;
    session.ok_or_else(|| {
        Failure::refused(format!("there is no session {id}")).advise(
            "A session's id is the `sid` of its refresh token; `auth-service audit search` shows who signed in when.",
        )
    })
}

async fn find_session_of(desk: &Desk, claims: &RefreshClaims) -> Result<SessionView, Failure> {
    match claims.session_key() {
        SessionKey::Id(id) => find_session(desk, id).await,
        key @ SessionKey::Legacy(_) => desk.store.sessions.find(&key).await?.ok_or_else(|| {
            Failure::refused("this token of the older service belongs to no session here")
                .advise("It was not taken over, so it is good for nothing: nothing is left to be revoked.")
        }),
    }
}

/// Sessions that shall end.
struct Ending {
    target: RevocationTarget,
    user_id: Option<UserId>,
    client_id: Option<ClientId>,
    /// For people.
    whose: String,
}

impl Ending {
    fn of_session(session: &SessionView) -> Self {
        Self {
            target: RevocationTarget::Session(session.id),
            user_id: Some(session.user_id),
            client_id: Some(session.client_id.clone()),
            whose: format!("of id {}", session.id),
        }
    }

    /// Sessions of a user, at a client, or both; one of them is named.
    async fn of_many(desk: &Desk, user: Option<&str>, client: Option<&ClientId>) -> Result<Self, Failure> {
        let user = match user {
            Some(name) => Some(user::find_named(desk, name).await?),
            None => None,
        };
        let client_id = match client {
            Some(client_id) => Some(client::find_named(desk, client_id).await?.client_id),
            None => None,
        };
        let (target, whose) = target_of(user.as_ref(), client_id.as_ref())
            .ok_or_else(|| Failure::usage("say whose sessions shall end"))?;
        Ok(Self {
            target,
            user_id: user.map(|user| user.id),
            client_id,
            whose,
        })
    }

    async fn carry_out(self, desk: &Desk) -> Result<Report, Failure> {
        let reason = RevocationReason::Requested;
        let event = AuditEvent::TokenRevoke {
            target: self.target.clone(),
            reason,
        };
        let audit = desk.audit(event, self.user_id, self.client_id);
        let target = self.target.clone();
        let revocation = Revocation {
            target: self.target,
            reason,
            at: desk.now(),
        };
        let ended = desk.store.sessions.revoke(revocation, audit).await?;
        let people = match ended {
            0 => format!("No session {} was left to end.", self.whose),
            1 => format!("1 session {} has ended.", self.whose),
            many => format!("{many} sessions {} have ended.", self.whose),
        };
        Ok(Report::new(
            people,
            json!({ "target": target, "sessions_ended": ended }),
        ))
    }
}

fn target_of(user: Option<&User>, client_id: Option<&ClientId>) -> Option<(RevocationTarget, String)> {
    let name = |user: &User| user.username.as_str().to_owned();
    match (user, client_id) {
        (Some(user), Some(client_id)) => Some((
            RevocationTarget::UserAtClient(user.id, client_id.clone()),
            format!("of user {} at client {client_id}", name(user)),
        )),
        (Some(user), None) => Some((RevocationTarget::User(user.id), format!("of user {}", name(user)))),
        (None, Some(client_id)) => Some((
            RevocationTarget::Client(client_id.clone()),
            format!("at client {client_id}"),
        )),
        (None, None) => None,
    }
}

async fn revoke_token(
    desk: &Desk,
    arguments: &RevokeArguments,
    settings: &Settings,
) -> Result<Report, Failure> {
    keys::check_keys_exist(settings)?;
    let token = ask::token(arguments.token_stdin)?;
    let ring = compose::open_keys(settings, Arc::new(SystemClock)).map_err(StartError::Keys)?;
    match OurToken::recognize(&token, &ring, &settings.tokens.issuer)? {
        Some(OurToken::Refresh(claims)) => {
            let session = find_session_of(desk, &claims).await?;
            Ending::of_session(&session).carry_out(desk).await
        }
        Some(OurToken::Access(claims)) => deny(desk, &claims, settings).await,
        None => Err(
            Failure::refused("this is no token of this server: nothing was changed")
                .advise("`auth-service token inspect` says what it is."),
        ),
    }
}

async fn deny(desk: &Desk, claims: &AccessClaims, settings: &Settings) -> Result<Report, Failure> {
    let Some(denial) = denial_of(claims, &settings.tokens.issuer, desk.now()) else {
        return Ok(Report::new(
            "The access token has expired already.",
            json!({ "denied_until": null }),
        ));
    };
    let user_id = match claims.sub {
        Subject::User(user_id) => Some(user_id),
        Subject::Client(_) => None,
    };
    let audit = desk.audit(denied(claims), user_id, Some(claims.client_id.clone()));
    desk.store.access_tokens.deny(denial, audit).await?;
    let until = moment(denial.until);
    Ok(Report::new(
        format!("The access token is denied until {until}, when it has expired everywhere."),
        json!({ "denied_until": until }),
    ))
}
