//! Rows of the older service, as its tables hold them, and why one may not be taken.

use std::fmt;

use crate::id::{ClientId, ClientIdFault};
use crate::scope::ScopeFault;
use crate::secret::PasswordHash;
use crate::user::NameFault;

/// A row of its `users`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of that table")]
pub struct LegacyUser {
    pub id: String,
    pub username: String,
    pub email: String,
    pub password_hash: PasswordHash,
    pub is_active: bool,
    pub is_verified: bool,
    pub created_at: String,
    pub updated_at: String,
    pub last_login_at: Option<String>,
}

/// A row of its `oauth_clients`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of that table")]
pub struct LegacyClient {
    pub id: String,
    pub client_id: String,
    /// A slow hash of the secret; of no use here, where secrets are random and their hash is fast.
    pub client_secret_hash: Option<PasswordHash>,
    pub name: String,
    pub description: Option<String>,
    pub is_confidential: bool,
    pub allowed_scopes: String,
    /// The texts of the JSON array; `None` where the column holds none.
    pub allowed_grant_types: Option<Vec<String>>,
    pub access_token_lifetime: i32,
    pub refresh_token_lifetime: i32,
    pub is_active: bool,
    pub created_at: String,
    pub updated_at: String,
}

/// A row of its `refresh_tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of that table")]
pub struct LegacyToken {
    pub id: String,
    pub jti_hash: String,
    pub user_id: String,
    pub client_id: String,
    pub scope: String,
    pub expires_at: String,
    pub revoked: bool,
    pub revoked_at: Option<String>,
    pub parent_jti_hash: Option<String>,
    pub created_at: String,
}

/// A row of its `audit_logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of that table")]
pub struct LegacyAudit {
    pub id: String,
    pub user_id: Option<String>,
    pub client_id: Option<String>,
    pub event_type: String,
    /// A JSON object; whatever else the column may have held is within one.
    pub event_data: String,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub success: bool,
    pub error_message: Option<String>,
    pub created_at: String,
    /// The first column that is no UTF-8, so that what stands here is not all of it.
    pub garbled: Option<&'static str>,
}

crate::name::named! {
    /// A table of the older service.
    LegacyTable {
        /// Who signs in.
        Users = "users",
        /// Who asks for tokens.
        Clients = "oauth_clients",
        /// Every token of every chain.
        Tokens = "refresh_tokens",
        /// The audit trail.
        Audit = "audit_logs",
    } expected "users, oauth_clients, refresh_tokens, audit_logs"
}

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its table.
    pub table: LegacyTable,
    /// Its id there.
    pub row: String,
    /// Why.
    pub reason: Reason,
}

impl Rejection {
    pub(super) fn new(table: LegacyTable, row: &str, reason: Reason) -> Self {
        Self {
            table,
            row: row.to_owned(),
            reason,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.table, self.row, self.reason)
    }
}

/// Why a row was not taken, or not handed back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its id is none of this service's.
    #[error("its id is not a UUID in lower-case letters and hyphens")]
    Id,
    /// A row before it has the same id.
    #[error("another row has its id")]
    SameId,
    /// This service has no such names.
    #[error("{0}")]
    Name(#[from] NameFault),
    /// An older row has the name.
    #[error("an older user has its user name")]
    SameUsername,
    /// An older row has the address, perhaps in other letters.
    #[error("an older user has its e-mail address, which differs in upper and lower case at most")]
    SameEmail,
    /// A user of this service, with another id, has the name.
    #[error("another user of this service has its user name")]
    UsernameTaken,
    /// A user of this service, with another id, has the address.
    #[error("another user of this service has its e-mail address")]
    EmailTaken,
    /// It could never be signed in with.
    #[error("its password hash is not of bcrypt")]
    PasswordHash,
    /// A time that can't be read.
    #[error("{0} is no time")]
    Time(&'static str),
    /// This service has no such client ids.
    #[error("{0}")]
    ClientId(#[from] ClientIdFault),
    /// An older row has the client id.
    #[error("an older client has its client id")]
    SameClientId,
    /// A client of this service, with another client id, has the id.
    #[error("another client of this service has its id")]
    IdTaken,
    /// Scopes that can't be read.
    #[error("{0}")]
    Scope(#[from] ScopeFault),
    /// A token that is good for nothing.
    #[error("its scope is empty")]
    NoScope,
    /// Grants that can't be read.
    #[error("allowed_grant_types is not a JSON array of texts")]
    Grants,
    /// None that is known here.
    #[error("it may use none of the grants that this service knows")]
    NoGrant,
    /// No time at all, or less.
    #[error("a lifetime is below one second")]
    Lifetime,
    /// It hangs on nobody who was taken.
    #[error("its user was not taken")]
    UnknownUser,
    /// It hangs on no client that was taken.
    #[error("its client was not taken")]
    UnknownClient,
    /// Not SHA-256 in hexadecimal digits.
    #[error("{0} is not 64 lower-case hexadecimal digits")]
    Hash(&'static str),
    /// A row before it has the same token.
    #[error("another row has its jti_hash")]
    SameToken,
    /// A row of this service's history, of another token or of a session that is here, has the id.
    #[error("another token of this service has the id that it would get")]
    TokenIdTaken,
    /// It descends from itself.
    #[error("its parents go round in a circle")]
    Cycle,
    /// Nobody can use it, and nobody needs to be told that it was consumed.
    #[error("it expired longer ago than expired tokens are kept")]
    Expired,
    /// It was changed on both sides.
    #[error("it was changed in the older service after it had moved on here: this service's stays")]
    MovedOn,
    /// It was made here, or changed here later, and differs.
    #[error("client {client_id} stays as it is here; what differs there: {what}")]
    Differs {
        /// The client.
        client_id: ClientId,
        /// What it may do there and not here, or the other way round.
        what: String,
    },
    /// It was deleted here, and is still there.
    #[error("it was deleted here, and stays so")]
    DeletedHere,
    /// It was switched off here, and changed there since.
    #[error("it is switched off here and not in the older service: it stays off, and as it is here")]
    OffHere,
    /// Bytes that are no text.
    #[error("{0} is not UTF-8")]
    NoText(&'static str),
    /// A row of the audit trail that says nothing.
    #[error("its event_type is empty")]
    NoEvent,
}
