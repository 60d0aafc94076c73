//! What is held of the older service's chains, for the way back.

use std::collections::HashSet;

use auth_domain::id::{ClientId, JtiHash, RowId, SessionId, UserId};
use auth_domain::scope::Scope;
use auth_domain::session::TokenRow;
use auth_domain::takeover::{HeldChain, HeldToken};
use auth_domain::time::Timestamp;
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::schema::{legacy_tokens, refresh_tokens, sessions};
use crate::types::{Id, Moment};

/// What is asked of a session.
#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
struct Held {
    id: Id,
    user_id: Id,
    client_id: String,
    scope: String,
    head_token_id: Id,
    head_jti_hash: Vec<u8>,
    expires_at: Moment,
    revoked_at: Option<Moment>,
}

/// A token of its history.
#[derive(Queryable, Selectable)]
#[diesel(table_name = refresh_tokens)]
struct Link {
    id: Id,
    parent_id: Option<Id>,
    jti_hash: Vec<u8>,
    issued_at: Moment,
    expires_at: Moment,
}

/// Sessions in the order of their ids, after the given one.
pub(super) fn chains(
    conn: &mut Conn,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Vec<HeldChain>, StoreError> {
    let after = Id(after.map(SessionId::as_uuid).unwrap_or_default());
    let page: Vec<Held> = sessions::table
        .filter(sessions::id.gt(after))
        .order(sessions::id)
        .limit(limit.into())
        .select(Held::as_select())
        .load(conn)?;
    page.iter().map(|held| chain(conn, held)).collect()
}

fn chain(conn: &mut Conn, held: &Held) -> Result<HeldChain, StoreError> {
    let id = held.id.0;
    let theirs: Vec<Vec<u8>> = legacy_tokens::table
        .filter(legacy_tokens::session_id.eq(held.id))
        .select(legacy_tokens::jti_hash)
        .load(conn)?;
    let theirs: HashSet<Vec<u8>> = theirs.into_iter().collect();
    let tokens = if theirs.is_empty() {
        Vec::new()
    } else {
        tokens(conn, held, &theirs)?
    };
    let broken = |column, fault: &dyn std::fmt::Display| StoreError::broken("sessions", column, id, fault);
    Ok(HeldChain {
        id: SessionId::from_uuid(id),
        user_id: UserId::from_uuid(held.user_id.0),
        client_id: ClientId::parse(&held.client_id).map_err(|fault| broken("client_id", &fault))?,
        scope: Scope::parse(&held.scope).map_err(|fault| broken("scope", &fault))?,
        expires_at: held.expires_at.0,
        revoked_at: held.revoked_at.map(|moment| moment.0),
        has_legacy_head: theirs.contains(&held.head_jti_hash),
        tokens,
    })
}

/// The tokens of the older service in a session's history, from the newest on. What is swept already has expired.
fn tokens(conn: &mut Conn, held: &Held, theirs: &HashSet<Vec<u8>>) -> Result<Vec<HeldToken>, StoreError> {
    let mut tokens: Vec<HeldToken> = Vec::new();
    let mut next = Some(held.head_token_id);
    let mut consumed_at: Option<Timestamp> = None;
    while let Some(id) = next {
        let link: Option<Link> = refresh_tokens::table
            .find(id)
            .select(Link::as_select())
            .get_result(conn)
            .optional()?;
        let Some(link) = link else { break };
        next = link.parent_id;
        let issued_at = link.issued_at.0;
        if theirs.contains(&link.jti_hash) {
            let token = token(link)?;
            if let Some(child) = tokens.last_mut() {
                child.parent = Some(token.jti_hash);
            }
            tokens.push(HeldToken {
                token,
                parent: None,
                consumed_at,
            });
        }
        consumed_at = Some(issued_at);
    }
    Ok(tokens)
}

fn token(link: Link) -> Result<TokenRow, StoreError> {
    let id = link.id.0;
    let hash = <[u8; 32]>::try_from(link.jti_hash);
    Ok(TokenRow {
        id: RowId::from_uuid(id),
        jti_hash: hash
            .map(JtiHash::from_bytes)
            .map_err(|_| StoreError::broken("refresh_tokens", "jti_hash", id, "not 32 bytes"))?,
        issued_at: link.issued_at.0,
        expires_at: link.expires_at.0,
    })
}
