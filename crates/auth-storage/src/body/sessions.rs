//! Sessions and their chains.

use auth_domain::audit::AuditRecord;
use auth_domain::id::{ClientId, UserId};
use auth_domain::session::{
    NewSession, Opened, Revocation, RevocationReason, RevocationTarget, SessionKey, SessionView,
};
use auth_domain::time::Timestamp;
use diesel::dsl::exists;
use diesel::prelude::*;

use super::{Conn, audit, client_is_active, users};
use crate::error::StoreError;
use crate::rows::{NewSessionRow, NewTokenRow, SessionRow};
use crate::schema::{legacy_tokens, refresh_tokens, sessions, users as user_table};
use crate::types::{Id, Moment};

/// The session with its user's status.
pub(crate) fn find(conn: &mut Conn, key: &SessionKey) -> Result<Option<SessionView>, StoreError> {
    let with_user = sessions::table
        .inner_join(user_table::table)
        .select((SessionRow::as_select(), user_table::is_active));
    let found = match key {
        SessionKey::Id(id) => with_user
            .filter(sessions::id.eq(Id(id.as_uuid())))
            .get_result::<(SessionRow, bool)>(conn),
        SessionKey::Legacy(token) => {
            let jti_hash: &[u8] = token.as_bytes();
            let of_token = legacy_tokens::table.find(jti_hash);
            with_user
                .filter(sessions::id.eq_any(of_token.select(legacy_tokens::session_id)))
                .get_result(conn)
        }
    };
    found
        .optional()?
        .map(|(row, user_is_active)| row.into_view(user_is_active))
        .transpose()
}

/// Whether any chain may still be used. Reads the table as far as the first.
pub(super) fn any_is_live(conn: &mut Conn, now: Timestamp) -> Result<bool, StoreError> {
    let live = sessions::table
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::expires_at.gt(Moment(now)));
    Ok(diesel::select(exists(live)).get_result(conn)?)
}

/// Stores a sign-in, unless its user or client has changed under it.
pub(super) fn open(
    conn: &mut Conn,
    session: &NewSession,
    record: &AuditRecord,
) -> Result<Opened, StoreError> {
    // The user's row comes last of what may say no, so that a refusal has changed nothing.
    if !client_is_active(conn, &session.client_id)? || !users::sign_in(conn, session)? {
        return Ok(Opened::Overtaken);
    }
    diesel::insert_into(sessions::table)
        .values(NewSessionRow::from(session))
        .execute(conn)?;
    append(conn, &NewTokenRow::new(session.id, None, &session.first))?;
    audit::record(conn, record)?;
    Ok(Opened::Opened)
}

/// Ends chains and records it, where there was one left.
pub(super) fn revoke(
    conn: &mut Conn,
    revocation: &Revocation,
    record: &AuditRecord,
) -> Result<u64, StoreError> {
    let ended = end_chains(conn, revocation)?;
    if ended > 0 {
        audit::record(conn, record)?;
    }
    Ok(ended)
}

/// Ends every chain of a user.
pub(super) fn end_of_user(
    conn: &mut Conn,
    user: UserId,
    reason: RevocationReason,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let target = RevocationTarget::User(user);
    end_chains(conn, &Revocation { target, reason, at })
}

/// Ends every chain of a client.
pub(super) fn end_of_client(
    conn: &mut Conn,
    client: ClientId,
    reason: RevocationReason,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let target = RevocationTarget::Client(client);
    end_chains(conn, &Revocation { target, reason, at })
}

fn end_chains(conn: &mut Conn, revocation: &Revocation) -> Result<u64, StoreError> {
    let live = diesel::update(sessions::table).filter(sessions::revoked_at.is_null());
    let end = (
        sessions::revoked_at.eq(Some(Moment(revocation.at))),
        sessions::revoked_reason.eq(Some(revocation.reason.as_str())),
    );
    let ended = match &revocation.target {
        RevocationTarget::Session(id) => live
            .filter(sessions::id.eq(Id(id.as_uuid())))
            .set(end)
            .execute(conn),
        RevocationTarget::UserAtClient(user, client) => live
            .filter(sessions::user_id.eq(Id(user.as_uuid())))
            .filter(sessions::client_id.eq(client.as_str()))
            .set(end)
            .execute(conn),
        RevocationTarget::User(user) => live
            .filter(sessions::user_id.eq(Id(user.as_uuid())))
            .set(end)
            .execute(conn),
        RevocationTarget::Client(client) => live
            .filter(sessions::client_id.eq(client.as_str()))
            .set(end)
            .execute(conn),
    };
    Ok(ended?.try_into().unwrap_or(u64::MAX))
}

/// The heads of a user's chains: where their history is found once the sessions have gone with the user.
pub(super) fn heads_of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Id>, StoreError> {
    Ok(sessions::table
        .filter(sessions::user_id.eq(Id(user.as_uuid())))
        .select(sessions::head_token_id)
        .load(conn)?)
}

/// The same of a client's chains.
pub(super) fn heads_of_client(conn: &mut Conn, client: &ClientId) -> Result<Vec<Id>, StoreError> {
    Ok(sessions::table
        .filter(sessions::client_id.eq(client.as_str()))
        .select(sessions::head_token_id)
        .load(conn)?)
}

fn append(conn: &mut Conn, row: &NewTokenRow<'_>) -> Result<(), StoreError> {
    diesel::insert_into(refresh_tokens::table)
        .values(row)
        .execute(conn)?;
    Ok(())
}
