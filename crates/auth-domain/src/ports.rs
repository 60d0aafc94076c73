//! What the rules need of the world. Each port is small, named by need, and used as `Arc<dyn Port>`.
//!
//! An `Err` is an outage or a broken invariant; everything business-like is a value. Every method that changes
//! something is one transaction, its audit row included, and durable when it returns.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;

use crate::audit::AuditRecord;
use crate::claims::{AccessClaims, RefreshClaims, SignedPair, TokenPairClaims};
use crate::client::Client;
use crate::id::{ClientId, JtiHash, UserId};
use crate::secret::{Password, PasswordHash, Token};
use crate::session::{NewSession, Opened, Revocation, Rotated, Rotation, SessionKey, SessionView};
use crate::throttle::{Counter, Pardon, Verdict};
use crate::time::{Seconds, Timestamp};
use crate::user::{Login, User, Username};

pub mod admin;

/// Something the server needs is away, or has broken an invariant.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Unavailable {
    /// The operation that could not be carried out.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl Unavailable {
    /// Names the operation that an error has made impossible.
    pub fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            what,
            source: source.into(),
        }
    }
}

/// The registered clients.
#[async_trait]
pub trait Clients: Send + Sync {
    /// The client of that identifier, disabled ones too.
    async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable>;
}

/// The users, as far as signing in needs them.
#[async_trait]
pub trait Users: Send + Sync {
    /// The user of that name or address, inactive ones too. What it says is never older than the call.
    async fn find_by_login(&self, login: &Login) -> Result<Option<User>, Unavailable>;
}

/// Sessions and the chains of refresh tokens that hang on them.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The session of that key, with its user's status, revoked ones too. Never older than the call.
    async fn find(&self, key: &SessionKey) -> Result<Option<SessionView>, Unavailable>;

    /// Stores a sign-in, its first token, the user's `last_login_at` and new hash, and the audit row.
    ///
    /// Writes nothing and says [`Opened::Overtaken`] unless, within the transaction, the user is active and still
    /// has the hash that the password was verified against, and the client exists and is active.
    async fn open(&self, session: NewSession, audit: AuditRecord) -> Result<Opened, Unavailable>;

    /// Consumes the head, stores its successor and the audit row: of any number of concurrent calls for one head
    /// exactly one gets [`Rotated::Rotated`]. A compare-and-set on the head of a live chain; where it does not
    /// match, nothing is written, the audit row neither.
    async fn rotate(&self, rotation: Rotation, audit: AuditRecord) -> Result<Rotated, Unavailable>;

    /// Ends chains, and writes the audit row where there was one left to end: else whoever holds one dead token could
    /// fill the trail with it. Says how many chains it ended.
    async fn revoke(&self, revocation: Revocation, audit: AuditRecord) -> Result<u64, Unavailable>;
}

/// Access tokens, which are stored nowhere: what is kept is which of them are denied before they expire.
#[async_trait]
pub trait AccessTokens: Send + Sync {
    /// Denies one until it expires, and writes the audit row. Denying it again changes nothing, and writes none.
    async fn deny(&self, denial: Denial, audit: AuditRecord) -> Result<(), Unavailable>;

    /// What has become of the token and of whom it speaks for. Never older than the call.
    async fn standing(
        &self,
        jti: &JtiHash,
        user_id: UserId,
        client_id: &ClientId,
    ) -> Result<AccessStanding, Unavailable>;

    /// Forgets at most so many denials that ended before a moment; says how many.
    async fn forget_denials(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable>;
}

/// An access token to be denied (RFC 7009 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// The hash of its `jti`.
    pub jti_hash: JtiHash,
    /// When it ceases to be accepted anywhere: its `exp` and the clock skew.
    pub until: Timestamp,
}

/// What an access token's introspection depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessStanding {
    /// Nothing speaks against it.
    Good {
        /// The name of the user it speaks for.
        username: Username,
    },
    /// It has been denied, its user is inactive or gone, or its client is disabled or gone.
    Bad,
}

/// The audit trail, for events that change nothing else.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Writes one row.
    async fn record(&self, audit: AuditRecord) -> Result<(), Unavailable>;
}

/// Counters that slow guessing down.
#[async_trait]
pub trait Throttle: Send + Sync {
    /// Judges a request by all counters at once, by [`judge`](crate::throttle::judge): where each has room all are
    /// raised, else none, and the verdict is the first full one's. Atomic over all of them. Never fails: a store
    /// that is away is replaced by counters in the process.
    async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict;

    /// Corrects counters, by [`Pardon::apply`].
    async fn pardon(&self, pardons: &[Pardon]);
}

/// Computes password hashes within a bounded budget of CPU and memory.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Verifies a password. `None` computes a real hash all the same and says [`Verified::No`].
    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable>;

    /// Hashes a new password by the current scheme.
    async fn hash(&self, password: &Password) -> Result<Hashed, Unavailable>;
}

/// What verifying a password came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It is the password.
    Yes {
        /// Whether the stored hash should be replaced by one of the current scheme.
        is_outdated: bool,
    },
    /// It is not, or there was nothing to compare with.
    No,
    /// Too much is waiting already: said at once, nothing was computed.
    Saturated {
        /// When to try again.
        retry_after: Seconds,
    },
}

/// What hashing a password came to.
#[derive(Debug, Clone)]
pub enum Hashed {
    /// The hash.
    Done(PasswordHash),
    /// Too much is waiting already.
    Saturated {
        /// When to try again.
        retry_after: Seconds,
    },
}

/// Signs and verifies tokens. The key names the algorithm; a token's header never does (RFC 8725 section 3.1).
#[async_trait]
pub trait TokenSigner: Send + Sync {
    /// Signs both tokens of an answer: the access token by the active key, the refresh token by the key that was
    /// active at its own `iat`, or by the active one where that is no longer published. So the same claims give the
    /// same refresh token whatever the time, and under the same key the same access token.
    async fn sign_pair(&self, claims: &TokenPairClaims) -> Result<SignedPair, Unavailable>;

    /// Checks that this is a refresh token under a published key's signature, in the one encoding there is of it, and
    /// reads its claims: one of `typ` `rt+jwt` with `sid`, or one of the older service, of `typ` `JWT` without `sid`
    /// and of `type` `refresh`. Times, issuer and audience are the rules' business.
    /// That it is none is only said where every published key was looked at; else this is an outage.
    fn verify_refresh(&self, token: &Token) -> Result<Genuine<RefreshClaims>, Unavailable>;

    /// The same for an access token (`typ` `at+jwt` or `JWT`, of `type` `access`).
    fn verify_access(&self, token: &Token) -> Result<Genuine<AccessClaims>, Unavailable>;

    /// The published key set.
    fn key_set(&self) -> Result<Arc<KeySet>, Unavailable>;
}

/// Whether a token is one that this server signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Genuine<C> {
    /// It is, and says this.
    Yes(C),
    /// It is not. The reason is for the log.
    No(&'static str),
}

/// The published key set (RFC 7517 section 5), ready to be sent; made once per change of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// The JSON document.
    pub json: Box<[u8]>,
    /// A strong entity tag of it, quotes included (RFC 9110 section 8.8.3).
    pub etag: String,
    /// The `kid` of the key that signs now.
    pub active_kid: String,
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}

/// Where randomness comes from; in production a cryptographically secure source.
///
/// What is drawn at 16 bytes or fewer may have been made a while before, and waits in memory until then: that is for ids
/// and salts. A secret is longer, and is drawn when it is needed.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Whether the store can serve.
#[async_trait]
pub trait StoreProbe: Send + Sync {
    /// Asks the store whether it can be read and takes a write; nothing is written.
    async fn check(&self) -> Result<StoreReadiness, Unavailable>;
}

/// Whether a store that answers can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreReadiness {
    /// It can.
    Ready,
    /// Migrations of this program have not been applied to it.
    MigrationsPending,
}

/// The key of a user, for look-ups by administration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserKey {
    /// By id.
    Id(UserId),
    /// By name or address.
    Login(Login),
}
