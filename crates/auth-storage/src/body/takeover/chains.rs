//! Chains of the older service: each becomes a session whose head is one of its tokens, until a rotation here.

use std::collections::HashMap;

use auth_domain::audit::AuditEvent;
use auth_domain::id::{JtiHash, SessionId};
use auth_domain::ports::UserKey;
use auth_domain::session::{
    AuthenticationMethod, Revocation, RevocationReason, RevocationTarget, SessionKey, SessionState,
    SessionView,
};
use auth_domain::takeover::{ChainFate, Ground, Mode, PlannedChain, PlannedToken, Reason, Takeover};
use auth_domain::time::Timestamp;
use diesel::dsl::exists;
use diesel::prelude::*;
use uuid::Uuid;

use super::{BATCH, Conn, clients, sessions, users};
use crate::error::StoreError;
use crate::rows::NewTokenRow;
use crate::schema::{legacy_tokens, refresh_tokens, sessions as session_table};
use crate::types::{Id, Moment};

/// Takes a chain, or lets its session follow it.
pub(super) fn take(
    conn: &mut Conn,
    chain: &PlannedChain,
    takeover: &Takeover,
) -> Result<ChainFate, StoreError> {
    let Some(ground) = ground(conn, chain, takeover.mode)? else {
        return Ok(refused(chain.tokens(), Reason::UnknownUser));
    };
    let tokens: Vec<&PlannedToken> = chain.tokens().collect();
    let known = sessions_of(conn, &tokens)?;
    let newest_known = tokens.iter().enumerate().rev().find_map(|(place, token)| {
        let session = known.get(token.token.jti_hash.as_bytes())?;
        Some((place, *session))
    });
    match newest_known {
        None => open(conn, chain, &tokens, ground, takeover),
        Some((place, session)) => {
            let (here, newer) = tokens.split_at(place + 1);
            let meeting = Meeting {
                chain,
                session,
                here,
                newer,
                ground,
                state: ground.state(chain.state, takeover.at),
            };
            meeting.follow(conn, takeover)
        }
    }
}

/// What the chain stands on; `None` where its user or client is not here. Who only looks has stored neither.
fn ground(conn: &mut Conn, chain: &PlannedChain, mode: Mode) -> Result<Option<Ground>, StoreError> {
    let user = users::find(conn, &UserKey::Id(chain.user_id))?;
    let client = clients::find(conn, &chain.client_id)?;
    match (user, client) {
        (Some(user), Some(client)) => Ok(Some(Ground::of(user.status, client.status))),
        (None, _) | (_, None) => Ok((mode == Mode::Look).then_some(Ground::Firm)),
    }
}

/// The sessions that tokens were taken into before.
fn sessions_of(
    conn: &mut Conn,
    tokens: &[&PlannedToken],
) -> Result<HashMap<[u8; 32], SessionId>, StoreError> {
    let mut known = HashMap::new();
    for batch in tokens.chunks(BATCH) {
        let hashes = batch
            .iter()
            .map(|token| token.token.jti_hash.as_bytes().as_slice());
        let rows: Vec<(Vec<u8>, Id)> = legacy_tokens::table
            .filter(legacy_tokens::jti_hash.eq_any(hashes.collect::<Vec<_>>()))
            .select((legacy_tokens::jti_hash, legacy_tokens::session_id))
            .load(conn)?;
        for (hash, session) in rows {
            known.extend(
                <[u8; 32]>::try_from(hash)
                    .ok()
                    .map(|hash| (hash, SessionId::from_uuid(session.0))),
            );
        }
    }
    Ok(known)
}

/// Stores a chain's tokens of which nothing was known, as a session.
fn open(
    conn: &mut Conn,
    chain: &PlannedChain,
    tokens: &[&PlannedToken],
    ground: Ground,
    takeover: &Takeover,
) -> Result<ChainFate, StoreError> {
    let state = ground.state(chain.state, takeover.at);
    if !make_room(conn, tokens, takeover.mode)? {
        return Ok(refused(tokens.iter().copied(), Reason::TokenIdTaken));
    }
    if takeover.mode == Mode::Take {
        insert_session(conn, chain, state)?;
        append(conn, chain.session_id, None, tokens)?;
    }
    Ok(ChainFate {
        taken: count(tokens),
        is_live: state == SessionState::Live && takeover.at < chain.head.token.expires_at,
        ..ChainFate::default()
    })
}

/// Adopts what is left of these tokens' rows: a session that was deleted leaves its history for a while, and where that
/// was cut short for as long as a row is kept. Such a row gives way to the new one, of the same token. `false` where one
/// is of another token, or of a session that is here: neither can come of an earlier take-over.
fn make_room(conn: &mut Conn, tokens: &[&PlannedToken], mode: Mode) -> Result<bool, StoreError> {
    for batch in tokens.chunks(BATCH) {
        let ids = batch.iter().map(|planned| Id(planned.token.id.as_uuid()));
        let left: Vec<(Id, Vec<u8>, Id)> = refresh_tokens::table
            .filter(refresh_tokens::id.eq_any(ids.collect::<Vec<_>>()))
            .select((
                refresh_tokens::id,
                refresh_tokens::jti_hash,
                refresh_tokens::session_id,
            ))
            .load(conn)?;
        if left.is_empty() {
            continue;
        }
        let of_sessions = left.iter().map(|(_, _, session)| *session).collect::<Vec<_>>();
        let with_session = session_table::table.filter(session_table::id.eq_any(of_sessions));
        let hashes: HashMap<Uuid, &[u8]> = batch
            .iter()
            .map(|planned| &planned.token)
            .map(|token| (token.id.as_uuid(), token.jti_hash.as_bytes().as_slice()))
            .collect();
        let is_same = |(id, hash, _): &(Id, Vec<u8>, Id)| hashes.get(&id.0) == Some(&hash.as_slice());
        if !left.iter().all(is_same) || diesel::select(exists(with_session)).get_result(conn)? {
            return Ok(false);
        }
        if mode == Mode::Take {
            let orphans = left.into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
            diesel::delete(refresh_tokens::table.filter(refresh_tokens::id.eq_any(orphans))).execute(conn)?;
        }
    }
    Ok(true)
}

fn insert_session(conn: &mut Conn, chain: &PlannedChain, state: SessionState) -> Result<(), StoreError> {
    let head = &chain.head.token;
    let previous = chain.history.last().map(|planned| &planned.token);
    let (revoked_at, reason) = match state {
        SessionState::Live => (None, None),
        SessionState::Revoked { at, reason } => (Some(Moment(at)), Some(reason.as_str())),
    };
    diesel::insert_into(session_table::table)
        .values((
            session_table::id.eq(Id(chain.session_id.as_uuid())),
            session_table::user_id.eq(Id(chain.user_id.as_uuid())),
            session_table::client_id.eq(chain.client_id.as_str()),
            session_table::scope.eq(chain.scope.to_string()),
            session_table::amr.eq(AuthenticationMethod::Password.as_str()),
            session_table::head_token_id.eq(Id(head.id.as_uuid())),
            session_table::previous_token_id.eq(previous.map(|token| Id(token.id.as_uuid()))),
            session_table::head_jti_hash.eq(head.jti_hash.as_bytes().as_slice()),
            session_table::previous_jti_hash.eq(previous.map(|token| token.jti_hash.as_bytes().as_slice())),
            session_table::head_issued_at.eq(Moment(head.issued_at)),
            session_table::expires_at.eq(Moment(head.expires_at)),
            session_table::revoked_at.eq(revoked_at),
            session_table::revoked_reason.eq(reason),
            session_table::created_at.eq(Moment(chain.created_at())),
            session_table::last_used_at.eq(Moment(head.issued_at)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Appends tokens to a session's history, each the parent of the next.
fn append(
    conn: &mut Conn,
    session: SessionId,
    mut parent: Option<Id>,
    tokens: &[&PlannedToken],
) -> Result<(), StoreError> {
    for batch in tokens.chunks(BATCH) {
        let mut rows = Vec::with_capacity(batch.len());
        let mut names = Vec::with_capacity(batch.len());
        for planned in batch {
            rows.push(NewTokenRow::new(session, parent, &planned.token));
            names.push((
                legacy_tokens::jti_hash.eq(planned.token.jti_hash.as_bytes().as_slice()),
                legacy_tokens::session_id.eq(Id(session.as_uuid())),
            ));
            parent = Some(Id(planned.token.id.as_uuid()));
        }
        diesel::insert_into(refresh_tokens::table)
            .values(&rows)
            .execute(conn)?;
        diesel::insert_into(legacy_tokens::table)
            .values(&names)
            .execute(conn)?;
    }
    Ok(())
}

/// A chain of which some tokens are here already.
struct Meeting<'a> {
    chain: &'a PlannedChain,
    session: SessionId,
    /// Its tokens up to the newest that is known.
    here: &'a [&'a PlannedToken],
    /// Those after it: what became of the chain there since.
    newer: &'a [&'a PlannedToken],
    /// What it stands on.
    ground: Ground,
    /// The state that it should have.
    state: SessionState,
}

impl Meeting<'_> {
    /// Brings the session up to date where it still stands at the newest known token; else it has moved on here.
    fn follow(&self, conn: &mut Conn, takeover: &Takeover) -> Result<ChainFate, StoreError> {
        let Some(ours) = sessions::find(conn, &SessionKey::Id(self.session))? else {
            return Ok(refused(self.newer.iter().copied(), Reason::MovedOn));
        };
        let stands_still = self
            .here
            .last()
            .is_some_and(|newest| newest.token.jti_hash == ours.head);
        match (ours.state, self.state) {
            (SessionState::Live, _) if stands_still => self.advance(conn, &ours, takeover),
            // Ended there after it had gone on here: the operator should know which.
            (SessionState::Live, SessionState::Revoked { .. }) if self.newer.is_empty() => {
                let mut fate = refused(self.here.iter().rev().take(1).copied(), Reason::MovedOn);
                fate.already_there = count(self.here) - 1;
                Ok(fate)
            }
            (SessionState::Live, _) if self.has_forked(conn, &ours.head)? => {
                let mut fate = open(conn, self.chain, self.newer, self.ground, takeover)?;
                fate.already_there = count(self.here);
                Ok(fate)
            }
            (SessionState::Live | SessionState::Revoked { .. }, _) => Ok(self.left()),
        }
    }

    /// Whether the session went on by another token of the older service, and not here: a rotation there had forked,
    /// and this side of it was not known yet. It is a session by itself then, as it is where both come at once.
    fn has_forked(&self, conn: &mut Conn, head: &JtiHash) -> Result<bool, StoreError> {
        let head: &[u8] = head.as_bytes();
        let theirs = legacy_tokens::table.find(head);
        Ok(!self.newer.is_empty() && diesel::select(exists(theirs)).get_result(conn)?)
    }

    fn advance(
        &self,
        conn: &mut Conn,
        ours: &SessionView,
        takeover: &Takeover,
    ) -> Result<ChainFate, StoreError> {
        let is_ended = self.state != SessionState::Live;
        // What ends with its user or client is their change, and counted there.
        let ends_by_itself = matches!(
            self.state,
            SessionState::Revoked {
                reason: RevocationReason::Requested,
                ..
            }
        );
        let updated = u64::from(ends_by_itself && self.newer.is_empty());
        if !make_room(conn, self.newer, takeover.mode)? {
            let mut fate = refused(self.newer.iter().copied(), Reason::TokenIdTaken);
            fate.already_there = count(self.here);
            return Ok(fate);
        }
        if takeover.mode == Mode::Take {
            if !self.newer.is_empty() && !self.move_head(conn, &ours.head)? {
                return Ok(self.left());
            }
            if let SessionState::Revoked { at, reason } = self.state {
                self.end(conn, at, reason, takeover)?;
            }
        }
        Ok(ChainFate {
            taken: count(self.newer),
            updated,
            already_there: count(self.here) - updated,
            is_live: !is_ended && takeover.at < self.chain.head.token.expires_at,
            not_taken: None,
        })
    }

    /// A compare-and-set, as every rotation is: somebody may be refreshing here meanwhile.
    fn move_head(&self, conn: &mut Conn, from: &JtiHash) -> Result<bool, StoreError> {
        let from: &[u8] = from.as_bytes();
        let head = &self.chain.head.token;
        let previous = self.chain.history.last().map(|planned| &planned.token);
        let moved = diesel::update(session_table::table)
            .filter(session_table::id.eq(Id(self.session.as_uuid())))
            .filter(session_table::head_jti_hash.eq(from))
            .filter(session_table::revoked_at.is_null())
            .set((
                session_table::scope.eq(self.chain.scope.to_string()),
                session_table::head_token_id.eq(Id(head.id.as_uuid())),
                session_table::previous_token_id.eq(previous.map(|token| Id(token.id.as_uuid()))),
                session_table::head_jti_hash.eq(head.jti_hash.as_bytes().as_slice()),
                session_table::previous_jti_hash
                    .eq(previous.map(|token| token.jti_hash.as_bytes().as_slice())),
                session_table::head_issued_at.eq(Moment(head.issued_at)),
                session_table::expires_at.eq(Moment(head.expires_at)),
                session_table::last_used_at.eq(Moment(head.issued_at)),
            ))
            .execute(conn)?;
        if moved == 0 {
            return Ok(false);
        }
        let parent = self.here.last().map(|planned| Id(planned.token.id.as_uuid()));
        append(conn, self.session, parent, self.newer)?;
        Ok(true)
    }

    fn end(
        &self,
        conn: &mut Conn,
        at: Timestamp,
        reason: RevocationReason,
        takeover: &Takeover,
    ) -> Result<(), StoreError> {
        let target = RevocationTarget::Session(self.session);
        let event = AuditEvent::TokenRevoke {
            target: target.clone(),
            reason,
        };
        let (user, client) = (self.chain.user_id, self.chain.client_id.clone());
        let subject = self.session.as_uuid();
        let record = takeover.record(event, Some(user), Some(client), subject.as_bytes());
        sessions::revoke(conn, &Revocation { target, reason, at }, &record)?;
        Ok(())
    }

    /// The session stays as it is; what became of the chain there since is not taken.
    fn left(&self) -> ChainFate {
        let mut fate = refused(self.newer.iter().copied(), Reason::MovedOn);
        fate.already_there = count(self.here);
        fate
    }
}

fn refused<'a>(tokens: impl Iterator<Item = &'a PlannedToken>, reason: Reason) -> ChainFate {
    let rows: Vec<String> = tokens.map(|planned| planned.row.clone()).collect();
    ChainFate {
        not_taken: (!rows.is_empty()).then_some((rows, reason)),
        ..ChainFate::default()
    }
}

fn count(tokens: &[&PlannedToken]) -> u64 {
    u64::try_from(tokens.len()).unwrap_or(u64::MAX)
}
