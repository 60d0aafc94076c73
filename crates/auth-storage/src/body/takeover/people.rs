//! Users and clients of the older service.

use std::collections::HashSet;

use auth_domain::audit::{AuditEvent, EventKind};
use auth_domain::client::{Client, ClientPolicy, ClientStatus};
use auth_domain::ports::UserKey;
use auth_domain::ports::admin::{ClientCreated, UserCreated};
use auth_domain::session::RevocationReason;
use auth_domain::takeover::{Fate, Mode, Reason, Takeover, reconcile_client, reconcile_user};
use auth_domain::user::{User, UserStatus};
use diesel::dsl::exists;
use diesel::prelude::*;
use uuid::Uuid;

use super::{Conn, audit, clients, sessions, users};
use crate::error::StoreError;
use crate::rows::ClientTerms;
use crate::schema::{audit_logs, oauth_clients, users as user_table};
use crate::types::{Id, Moment};

/// Takes users, or brings them up to date. Who was taken and deleted since does not come back.
pub(super) fn take_users(
    conn: &mut Conn,
    users: &[User],
    takeover: &Takeover,
) -> Result<Vec<Fate>, StoreError> {
    // One look into the trail for all: no index leads to what became of somebody.
    let ids: Vec<_> = users.iter().map(|user| Id(user.id.as_uuid())).collect();
    let deleted: HashSet<Uuid> = audit_logs::table
        .filter(audit_logs::event_type.eq(EventKind::UserDeleted.as_str()))
        .filter(audit_logs::user_id.eq_any(ids))
        .select(audit_logs::user_id)
        .load::<Option<Id>>(conn)?
        .into_iter()
        .flatten()
        .map(|id| id.0)
        .collect();
    let take = |user: &User| {
        let was_deleted = deleted.contains(&user.id.as_uuid());
        take_user(conn, user, takeover, was_deleted)
    };
    users.iter().map(take).collect()
}

fn take_user(
    conn: &mut Conn,
    user: &User,
    takeover: &Takeover,
    was_deleted: bool,
) -> Result<Fate, StoreError> {
    match users::find(conn, &UserKey::Id(user.id))? {
        Some(ours) => match reconcile_user(&ours, user) {
            Fate::Updated => update_user(conn, &ours, user, takeover),
            settled => Ok(settled),
        },
        None if was_deleted => Ok(Fate::Refused(Reason::DeletedHere)),
        None => create_user(conn, user, takeover),
    }
}

fn create_user(conn: &mut Conn, user: &User, takeover: &Takeover) -> Result<Fate, StoreError> {
    if let Some(reason) = what_is_taken(conn, user)? {
        return Ok(Fate::Refused(reason));
    }
    if takeover.mode == Mode::Look {
        return Ok(Fate::Taken);
    }
    let event = AuditEvent::UserCreated {
        username: user.username.as_str().to_owned(),
    };
    let record = takeover.record(event, Some(user.id), None, user.id.as_uuid().as_bytes());
    Ok(match users::create(conn, user, &record)? {
        UserCreated::Created => Fate::Taken,
        UserCreated::UsernameTaken => Fate::Refused(Reason::UsernameTaken),
        UserCreated::EmailTaken => Fate::Refused(Reason::EmailTaken),
    })
}

/// Which of the user's names another user has.
fn what_is_taken(conn: &mut Conn, user: &User) -> Result<Option<Reason>, StoreError> {
    let others = || user_table::table.filter(user_table::id.ne(Id(user.id.as_uuid())));
    let with_name = others().filter(user_table::username.eq(user.username.as_str()));
    if diesel::select(exists(with_name)).get_result(conn)? {
        return Ok(Some(Reason::UsernameTaken));
    }
    let with_address = others().filter(user_table::email_key.eq(user.email.folded()));
    if diesel::select(exists(with_address)).get_result(conn)? {
        return Ok(Some(Reason::EmailTaken));
    }
    Ok(None)
}

fn update_user(conn: &mut Conn, ours: &User, theirs: &User, takeover: &Takeover) -> Result<Fate, StoreError> {
    if let Some(reason) = what_is_taken(conn, theirs)? {
        return Ok(Fate::Kept(reason));
    }
    if takeover.mode == Mode::Look {
        return Ok(Fate::Updated);
    }
    // Only while the row is still the one that was judged: somebody may be signing in meanwhile.
    let changed = diesel::update(user_table::table.find(Id(theirs.id.as_uuid())))
        .filter(user_table::password_hash.eq(ours.password_hash.expose()))
        .filter(user_table::updated_at.eq(Moment(ours.updated_at)))
        .set((
            user_table::username.eq(theirs.username.as_str()),
            user_table::email.eq(theirs.email.as_str()),
            user_table::email_key.eq(theirs.email.folded()),
            user_table::password_hash.eq(theirs.password_hash.expose()),
            user_table::is_active.eq(theirs.status == UserStatus::Active),
            user_table::is_verified.eq(theirs.is_verified),
            user_table::updated_at.eq(Moment(theirs.updated_at)),
            user_table::last_login_at.eq(theirs.last_login_at.map(Moment)),
        ))
        .execute(conn)?;
    if changed == 0 {
        return Ok(Fate::Kept(Reason::MovedOn));
    }
    for event in user_events(ours, theirs) {
        let record = takeover.record(event, Some(theirs.id), None, theirs.id.as_uuid().as_bytes());
        audit::record(conn, &record)?;
    }
    if theirs.status == UserStatus::Inactive {
        sessions::end_of_user(conn, theirs.id, RevocationReason::UserDeactivated, takeover.at)?;
    }
    Ok(Fate::Updated)
}

fn user_events(ours: &User, theirs: &User) -> Vec<AuditEvent> {
    let mut events = Vec::new();
    if !ours.password_hash.is_same(&theirs.password_hash) {
        events.push(AuditEvent::PasswordChange {});
    }
    match (ours.status, theirs.status) {
        (UserStatus::Active, UserStatus::Inactive) => events.push(AuditEvent::UserBlocked {}),
        (UserStatus::Inactive, UserStatus::Active) => events.push(AuditEvent::UserUnblocked {}),
        (UserStatus::Active, UserStatus::Active) | (UserStatus::Inactive, UserStatus::Inactive) => {}
    }
    events
}

/// Takes clients, or brings them up to date, as [`take_users`] does.
pub(super) fn take_clients(
    conn: &mut Conn,
    clients: &[Client],
    takeover: &Takeover,
) -> Result<Vec<Fate>, StoreError> {
    let names: Vec<_> = clients.iter().map(|client| client.client_id.as_str()).collect();
    let deleted: HashSet<String> = audit_logs::table
        .filter(audit_logs::event_type.eq(EventKind::ClientDeleted.as_str()))
        .filter(audit_logs::client_id.eq_any(names))
        .select(audit_logs::client_id)
        .load::<Option<String>>(conn)?
        .into_iter()
        .flatten()
        .collect();
    let take = |client: &Client| {
        let was_deleted = deleted.contains(client.client_id.as_str());
        take_client(conn, client, takeover, was_deleted)
    };
    clients.iter().map(take).collect()
}

fn take_client(
    conn: &mut Conn,
    client: &Client,
    takeover: &Takeover,
    was_deleted: bool,
) -> Result<Fate, StoreError> {
    match clients::find(conn, &client.client_id)? {
        Some(ours) => match reconcile_client(&ours, client) {
            Fate::Updated => update_client(conn, &ours, client, takeover),
            settled => Ok(settled),
        },
        None if was_deleted => Ok(Fate::Refused(Reason::DeletedHere)),
        None => create_client(conn, client, takeover),
    }
}

fn create_client(conn: &mut Conn, client: &Client, takeover: &Takeover) -> Result<Fate, StoreError> {
    let with_id = oauth_clients::table.find(Id(client.id.as_uuid()));
    if diesel::select(exists(with_id)).get_result(conn)? {
        return Ok(Fate::Refused(Reason::IdTaken));
    }
    if takeover.mode == Mode::Look {
        return Ok(Fate::Taken);
    }
    let event = AuditEvent::ClientCreated {
        confidential: client.authentication.is_confidential(),
        scope: client.allowed_scopes.clone(),
    };
    Ok(
        match clients::create(conn, client, &record(client, event, takeover))? {
            ClientCreated::Created => Fate::Taken,
            ClientCreated::Taken => Fate::AlreadyThere,
        },
    )
}

fn record(client: &Client, event: AuditEvent, takeover: &Takeover) -> auth_domain::audit::AuditRecord {
    let subject = client.id.as_uuid();
    takeover.record(event, None, Some(client.client_id.clone()), subject.as_bytes())
}

/// What the older service knows of a client follows it; what only this service knows, the secret too, stays.
fn update_client(
    conn: &mut Conn,
    ours: &Client,
    theirs: &Client,
    takeover: &Takeover,
) -> Result<Fate, StoreError> {
    if takeover.mode == Mode::Look {
        return Ok(Fate::Updated);
    }
    let terms = Client {
        wire_profile: ours.wire_profile,
        policy: ClientPolicy {
            access_token_lifetime: theirs.policy.access_token_lifetime,
            refresh_token_lifetime: theirs.policy.refresh_token_lifetime,
            ..ours.policy
        },
        ..theirs.clone()
    };
    let changed = diesel::update(oauth_clients::table.find(Id(ours.id.as_uuid())))
        .filter(oauth_clients::updated_at.eq(Moment(ours.updated_at)))
        .set((
            ClientTerms::from(&terms),
            oauth_clients::is_active.eq(theirs.status == ClientStatus::Active),
            oauth_clients::updated_at.eq(Moment(theirs.updated_at)),
        ))
        .execute(conn)?;
    if changed == 0 {
        return Ok(Fate::Kept(Reason::MovedOn));
    }
    let event = match (ours.status, theirs.status) {
        (ClientStatus::Active, ClientStatus::Disabled) => AuditEvent::ClientDisabled {},
        (ClientStatus::Disabled, ClientStatus::Active) => AuditEvent::ClientEnabled {},
        (ClientStatus::Active, ClientStatus::Active) | (ClientStatus::Disabled, ClientStatus::Disabled) => {
            AuditEvent::ClientUpdated {}
        }
    };
    audit::record(conn, &record(theirs, event, takeover))?;
    if theirs.status == ClientStatus::Disabled {
        let reason = RevocationReason::ClientDisabled;
        sessions::end_of_client(conn, theirs.client_id.clone(), reason, takeover.at)?;
    }
    Ok(Fate::Updated)
}
