//! The rule of the rotation chain: what presenting a refresh token means. Pure; no part of it may ask anything.

use crate::claims::RefreshClaims;
use crate::client::{ClientPolicy, RotationPolicy};
use crate::id::{ClientId, Jti, JtiHash};
use crate::secret::Token;
use crate::session::{SessionState, SessionView, Successor};
use crate::time::Timestamp;
use crate::user::UserStatus;

/// A refresh token whose signature, issuer and audience have been found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Its name in the store.
    pub jti_hash: JtiHash,
    /// The `jti` of the only successor it can have.
    pub successor: Jti,
    /// When it expires, by its own claim.
    pub expires_at: Timestamp,
    /// The authenticated client that presents it.
    pub client_id: ClientId,
}

impl Presented {
    /// A token with its claims, as this client presents it.
    pub fn by(client_id: &ClientId, token: &Token, claims: &RefreshClaims) -> Self {
        Self {
            jti_hash: claims.jti.hash(),
            successor: Jti::successor_of(token.expose()),
            expires_at: Timestamp::from(claims.exp),
            client_id: client_id.clone(),
        }
    }
}

/// What presenting a token means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redemption {
    /// It is the head: consume it, and issue this successor.
    Rotate(Successor),
    /// It was just consumed by the same client, and its successor is unused: give the same one again.
    Repeat(Successor),
    /// It was consumed before: somebody has a copy. The chain must die (RFC 9700 section 4.14.2).
    Reuse,
    /// Nothing is issued, and nothing changes.
    Refused(Refused),
}

/// Why a refresh token is refused without further consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was issued to another client (RFC 6749 section 10.4).
    ForeignClient,
    /// Its chain has been revoked.
    Revoked,
    /// Its user is inactive.
    UserInactive,
    /// It has expired.
    Expired,
    /// The chain has reached its absolute lifetime.
    ChainExpired,
}

/// Judges a presented refresh token.
///
/// The order of the questions matters: another client learns and changes nothing; a dead chain stays dead; a
/// consumed token is told as such even where it has expired as well.
pub fn redeem(
    presented: &Presented,
    session: &SessionView,
    policy: &ClientPolicy,
    now: Timestamp,
) -> Redemption {
    if presented.client_id != session.client_id {
        return Redemption::Refused(Refused::ForeignClient);
    }
    if let SessionState::Revoked { .. } = session.state {
        return Redemption::Refused(Refused::Revoked);
    }
    if session.user_status == UserStatus::Inactive {
        return Redemption::Refused(Refused::UserInactive);
    }
    if presented.jti_hash == session.head {
        return rotate(presented, session, policy, now);
    }
    if may_repeat(presented, session, policy.rotation, now) {
        return repeat(presented, session, policy, now);
    }
    Redemption::Reuse
}

fn rotate(presented: &Presented, session: &SessionView, policy: &ClientPolicy, now: Timestamp) -> Redemption {
    let chain_end = chain_end(session, policy);
    if chain_end.is_some_and(|end| now >= end) {
        return Redemption::Refused(Refused::ChainExpired);
    }
    // The claim and the store say the same; the earlier of them counts, should they ever differ.
    if now >= presented.expires_at.min(session.expires_at) {
        return Redemption::Refused(Refused::Expired);
    }
    let own_end = now.whole_second().plus(policy.refresh_token_lifetime);
    Redemption::Rotate(Successor {
        jti: presented.successor,
        issued_at: now,
        expires_at: chain_end.map_or(own_end, |end| own_end.min(end.whole_second())),
    })
}

fn repeat(presented: &Presented, session: &SessionView, policy: &ClientPolicy, now: Timestamp) -> Redemption {
    if chain_end(session, policy).is_some_and(|end| now >= end) {
        return Redemption::Refused(Refused::ChainExpired);
    }
    if now >= session.expires_at {
        return Redemption::Refused(Refused::Expired);
    }
    Redemption::Repeat(Successor {
        jti: presented.successor,
        issued_at: session.head_issued_at,
        expires_at: session.expires_at,
    })
}

/// Whether this is the direct predecessor of an unused head, within the client's window, and leads to that head.
fn may_repeat(
    presented: &Presented,
    session: &SessionView,
    rotation: RotationPolicy,
    now: Timestamp,
) -> bool {
    match rotation {
        RotationPolicy::Strict => false,
        RotationPolicy::RetryWindow(window) => {
            session.previous == Some(presented.jti_hash)
                && presented.successor.hash() == session.head
                && now < session.head_issued_at.plus(window)
        }
    }
}

/// The moment at which the chain ends whatever happens, where the client has set an absolute lifetime.
pub fn chain_end(session: &SessionView, policy: &ClientPolicy) -> Option<Timestamp> {
    policy
        .chain_lifetime
        .map(|lifetime| session.created_at.plus(lifetime))
}
