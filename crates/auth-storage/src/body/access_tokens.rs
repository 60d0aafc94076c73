//! Access tokens that are denied before they expire; no other access token is stored anywhere.

use auth_domain::audit::AuditRecord;
use auth_domain::id::{ClientId, JtiHash, UserId};
use auth_domain::ports::{AccessStanding, Denial};
use auth_domain::time::Timestamp;
use auth_domain::user::Username;
use diesel::dsl::{exists, not};
use diesel::prelude::*;

use super::{Conn, audit};
use crate::error::StoreError;
use crate::schema::{denied_tokens, oauth_clients, users};
use crate::types::{Id, Moment};

/// Denies a token and records it; a token that is denied already stays so, and nothing is recorded.
pub(super) fn deny(conn: &mut Conn, denial: &Denial, record: &AuditRecord) -> Result<(), StoreError> {
    let jti_hash: &[u8] = denial.jti_hash.as_bytes();
    let denied = diesel::insert_into(denied_tokens::table)
        .values((
            denied_tokens::jti_hash.eq(jti_hash),
            denied_tokens::expires_at.eq(Moment(denial.until)),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    if denied > 0 {
        audit::record(conn, record)?;
    }
    Ok(())
}

/// Whether the token, its user and its client are all in good standing: one statement, so of one moment.
pub(super) fn standing(
    conn: &mut Conn,
    jti: &JtiHash,
    user_id: UserId,
    client_id: &ClientId,
) -> Result<AccessStanding, StoreError> {
    let jti_hash: &[u8] = jti.as_bytes();
    let active_client = oauth_clients::table
        .filter(oauth_clients::client_id.eq(client_id.as_str()))
        .filter(oauth_clients::is_active.eq(true));
    let denial = denied_tokens::table.filter(denied_tokens::jti_hash.eq(jti_hash));
    let found = users::table
        .filter(users::id.eq(Id(user_id.as_uuid())))
        .filter(users::is_active.eq(true))
        .filter(exists(active_client))
        .filter(not(exists(denial)))
        .select(users::username)
        .get_result::<String>(conn)
        .optional()?;
    let Some(name) = found else {
        return Ok(AccessStanding::Bad);
    };
    let broken = |fault| StoreError::broken("users", "username", user_id, fault);
    let username = Username::parse(&name).map_err(broken)?;
    Ok(AccessStanding::Good { username })
}

/// The keys of denials that ended before a moment, at most so many. Reads the whole table where there are fewer.
pub(super) fn ended(conn: &mut Conn, before: Timestamp, at_most: u32) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(denied_tokens::table
        .filter(denied_tokens::expires_at.lt(Moment(before)))
        .select(denied_tokens::jti_hash)
        .limit(at_most.into())
        .load(conn)?)
}

/// Deletes denials by their keys, and counts them.
pub(super) fn forget(conn: &mut Conn, keys: &[Vec<u8>]) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for key in keys {
        forgotten += diesel::delete(denied_tokens::table.find(key)).execute(conn)?;
    }
    Ok(forgotten.try_into().unwrap_or(u64::MAX))
}
