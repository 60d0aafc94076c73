//! The ports of administration: what operators do, apart from what the token endpoint needs.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use async_trait::async_trait;

use super::{Unavailable, UserKey};
use crate::audit::{AuditRecord, EventKind};
use crate::client::Client;
use crate::id::{ClientId, InstanceId, RowId, UserId};
use crate::secret::{ClientSecretHash, PasswordHash};
use crate::time::Timestamp;
use crate::user::User;

/// The first start: what a store without inhabitants begins with.
#[async_trait]
pub trait Founding: Send + Sync {
    /// Stores the first user where there is no user at all, and the first clients where there is no client at all,
    /// each with its audit row: all in one transaction. Of several calls at once, exactly one stores each kind.
    async fn found(&self, founders: Founders) -> Result<Founded, Unavailable>;

    /// Whether there is a chain that may still be used: then there must be keys that its tokens were signed by.
    async fn has_live_chains(&self, now: Timestamp) -> Result<bool, Unavailable>;
}

/// Whom a store begins with, each with the audit row about it.
#[derive(Debug, Clone)]
pub struct Founders {
    /// The first user.
    pub admin: (User, AuditRecord),
    /// The first clients.
    pub clients: Vec<(Client, AuditRecord)>,
}

/// What a call has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Founded {
    /// Whether it was the first user.
    pub admin: bool,
    /// Whether it was the first clients.
    pub clients: bool,
}

/// The audit trail, for operators.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Rows that a filter lets through, in the order in which they were written, at most `limit`.
    async fn search(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, Unavailable>;

    /// The last rows that a filter lets through, the oldest of them first, at most `limit`.
    async fn tail(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, Unavailable>;

    /// Deletes at most so many rows that were written before a moment; says how many.
    async fn trim(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable>;
}

/// Which rows of the audit trail are wanted: those for which everything given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Written after this row: where the page before ended.
    pub after: Option<RowId>,
    /// Written at this moment or later.
    pub since: Option<Timestamp>,
    /// Written before this moment.
    pub until: Option<Timestamp>,
    /// Of these kinds; of any, where there is none.
    pub kinds: Vec<EventKind>,
    /// About this user.
    pub user_id: Option<UserId>,
    /// About this client.
    pub client_id: Option<ClientId>,
    /// From this address.
    pub ip: Option<IpAddr>,
    /// About the request of this correlation id.
    pub correlation_id: Option<String>,
    /// Whether what was attempted succeeded.
    pub success: Option<bool>,
}

/// A row of the audit trail as it was written. Its texts may be anything that a stranger sent: whoever shows them
/// makes them harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Primary key, ordered by time.
    pub id: RowId,
    /// When.
    pub at: Timestamp,
    /// The kind of event.
    pub event_type: String,
    /// What is particular to it: a JSON object.
    pub event_data: String,
    /// Whom it concerns, where that was known.
    pub user_id: Option<UserId>,
    /// Which client, where that was known.
    pub client_id: Option<String>,
    /// From where.
    pub ip: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The value of `X-Correlation-ID`.
    pub correlation_id: String,
    /// Whether what was attempted succeeded.
    pub success: bool,
    /// Why it did not.
    pub error_message: Option<String>,
}

/// The users, for operators.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// Stores a new user, unless the name or the address is taken.
    async fn create(&self, user: User, audit: AuditRecord) -> Result<UserCreated, Unavailable>;

    /// One user.
    async fn find(&self, key: &UserKey) -> Result<Option<User>, Unavailable>;

    /// Users in the order of their names, after the given one, at most `limit`.
    async fn list(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, Unavailable>;

    /// Changes a user. All but activation end every chain of the user in the same transaction.
    async fn change(
        &self,
        id: UserId,
        change: UserChange,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Changed, Unavailable>;
}

/// What became of a new user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserCreated {
    /// Stored.
    Created,
    /// Nothing was stored: somebody has that name.
    UsernameTaken,
    /// Nothing was stored: somebody has that address.
    EmailTaken,
}

/// A change to a user.
#[derive(Debug, Clone)]
pub enum UserChange {
    /// A new password; every chain of the user ends.
    SetPassword(PasswordHash),
    /// The user may sign in again.
    Activate,
    /// The user may not sign in; every chain of the user ends.
    Deactivate,
    /// The user, and everything that hangs on it but the audit trail, is gone.
    Delete,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Changed,
    /// Nothing was written: there is no such thing.
    NotFound,
    /// Nothing was written: somebody else has changed it since it was read.
    Overtaken,
}

/// The clients, for operators.
#[async_trait]
pub trait ClientDirectory: Send + Sync {
    /// Stores a new client, unless the identifier is taken.
    async fn create(&self, client: Client, audit: AuditRecord) -> Result<ClientCreated, Unavailable>;

    /// Clients in the order of their identifiers, after the given one, at most `limit`.
    async fn list(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, Unavailable>;

    /// Changes a client. Disabling and deleting end every chain of the client in the same transaction.
    async fn change(
        &self,
        client_id: &ClientId,
        change: ClientChange,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Changed, Unavailable>;
}

/// What became of a new client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCreated {
    /// Stored.
    Created,
    /// Nothing was stored: there is a client of that identifier.
    Taken,
}

/// A change to a client.
#[derive(Debug, Clone)]
pub enum ClientChange {
    /// A new secret; the client must be a confidential one.
    RotateSecret(ClientSecretHash),
    /// New values for everything but the identifiers, the secret, the status and the times. It is made only while the
    /// stored `updated_at` is still the one in here: of two operators who change what they have read, one is told.
    Update(Box<Client>),
    /// Switched on.
    Enable,
    /// Switched off; every chain of the client ends.
    Disable,
    /// The client, and everything that hangs on it but the audit trail, is gone.
    Delete,
}

/// What housekeeping does to a store, a bounded part at a time, by one process at a time.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Deletes refresh tokens of the history that expired long enough ago.
    ///
    /// The history is in the order of time, and so is the sweep: what was issued after [`Sweep::expired_before`] can't
    /// have expired before it, and is not looked at. A token whose parent is gone is the first of its chain then.
    async fn sweep_tokens(&self, sweep: Sweep) -> Result<Swept, Unavailable>;

    /// Deletes sessions whose head expired long enough ago, revoked ones too; in the same order, within the same bound.
    /// What is left of a session's history goes with its own time.
    async fn sweep_sessions(&self, sweep: Sweep) -> Result<Swept, Unavailable>;

    /// Takes a lease that nobody has or whose time is up, or prolongs one that is the holder's own: of any number of
    /// processes that ask at once, one has it. Says whether it is the holder's now. Another's keeps it from being taken
    /// only where it ends as a lease can: [`Lease::ends_of_others`].
    async fn take_lease(&self, lease: Lease, now: Timestamp) -> Result<bool, Unavailable>;

    /// Gives a lease back before its time; one that is another's by now stays so.
    async fn give_back_lease(&self, lease: Lease) -> Result<(), Unavailable>;
}

/// A part of a table to be swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Where the part before ended; `None` is the beginning of the table.
    pub after: Option<RowId>,
    /// What expired before this moment goes.
    pub expired_before: Timestamp,
    /// How many rows are looked at, and so deleted, at most. At least one.
    pub at_most: u32,
}

/// What became of a part of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// How many rows were deleted.
    pub deleted: u64,
    /// Where the next part begins; `None` where this was the last.
    pub next: Option<RowId>,
}

/// The right to do something that one process does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// What it is the right to do.
    pub name: &'static str,
    /// Who has it.
    pub holder: InstanceId,
    /// When it ends by itself, should the holder be gone by then.
    pub until: Timestamp,
}

impl Lease {
    /// When another's lease may end to be respected by who asks for this one: not yet, and no further off than twice
    /// what this one lasts. A clock that is somewhat ahead lends for somewhat longer; one that is ahead by years would
    /// keep everybody else from the work for years after its owner is gone.
    pub fn ends_of_others(&self, now: Timestamp) -> RangeInclusive<Timestamp> {
        now..=self.until.plus(now.seconds_until(self.until))
    }
}
