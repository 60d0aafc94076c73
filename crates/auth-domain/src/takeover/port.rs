//! What the take-over and the way back need of the two databases.

use async_trait::async_trait;

use super::{LegacyAudit, LegacyClient, LegacyToken, LegacyUser, PlannedChain, Reason, derived_uuid};
use crate::audit::{AuditEvent, AuditRecord};
use crate::client::Client;
use crate::context::RequestContext;
use crate::id::{ClientId, JtiHash, RowId, SessionId, UserId};
use crate::ports::Unavailable;
use crate::ports::admin::AuditEntry;
use crate::scope::Scope;
use crate::session::TokenRow;
use crate::time::Timestamp;
use crate::user::User;

/// The older service's database, which is never written: all that is read of it is of one moment.
///
/// Its calls block. It is used by a command that does nothing else meanwhile.
pub trait LegacySource {
    /// Users in the order of their ids, after the given one, at most `limit`.
    fn users(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyUser>, Unavailable>;

    /// Clients in the order of their ids, after the given one, at most `limit`.
    fn clients(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyClient>, Unavailable>;

    /// Tokens in the order of their users and ids, after the given user and id, at most `limit`.
    fn tokens(&mut self, after: (&str, &str), limit: u32) -> Result<Vec<LegacyToken>, Unavailable>;

    /// Rows of the audit trail in the order of their ids, after the given one, at most `limit`.
    fn audit(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyAudit>, Unavailable>;
}

/// Whether what is judged is also written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Take,
    /// Nothing is written: what would become of it is told.
    Look,
}

/// What is being done, for the audit trail.
#[derive(Debug, Clone)]
pub struct Takeover {
    /// Whether anything is written.
    pub mode: Mode,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub context: RequestContext,
}

impl Takeover {
    /// The audit row about a change; of one change it is the same however often the change is tried.
    pub fn record(
        &self,
        event: AuditEvent,
        user_id: Option<UserId>,
        client_id: Option<ClientId>,
        subject: &[u8],
    ) -> AuditRecord {
        let seed = [event.event_type().as_bytes(), subject].concat();
        AuditRecord {
            id: RowId::from_uuid(derived_uuid(self.at, b"record", &seed)),
            at: self.at,
            event,
            user_id,
            client_id,
            context: self.context.clone(),
        }
    }
}

/// This service's store, as a take-over fills it. Each call is one transaction.
#[async_trait]
pub trait Target: Send + Sync {
    /// Takes users: new ones are stored with their audit rows, those that are there are dealt with as
    /// [`reconcile_user`](super::reconcile_user) says. One fate for each, in order.
    async fn take_users(&self, users: Vec<User>, takeover: &Takeover) -> Result<Vec<Fate>, Unavailable>;

    /// The same for clients, as [`reconcile_client`](super::reconcile_client) says. A client that is there keeps its
    /// secret.
    async fn take_clients(&self, clients: Vec<Client>, takeover: &Takeover)
    -> Result<Vec<Fate>, Unavailable>;

    /// Takes chains. One of which no token is known is stored with all its tokens. One that is here, and whose session
    /// still has a head of the older service, is brought up to date; else it stays as it is. One fate for each, in order.
    async fn take_chains(
        &self,
        chains: Vec<PlannedChain>,
        takeover: &Takeover,
    ) -> Result<Vec<ChainFate>, Unavailable>;

    /// Takes rows of the audit trail that are not there yet, and says how many that were.
    async fn take_trail(&self, rows: Vec<AuditEntry>, takeover: &Takeover) -> Result<u64, Unavailable>;
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is stored.
    Taken,
    /// It was here, and follows what was changed in the older service since.
    Updated,
    /// It was here, and stays as it is.
    AlreadyThere,
    /// One of that name was made here, and stays as it is; with what differs, where anything does.
    MadeHere(Option<Reason>),
    /// It was here and stays as it is, though the older service's row says something newer.
    Kept(Reason),
    /// It is not here, and was not taken.
    Refused(Reason),
}

/// What became of a chain, in rows of the older service's table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainFate {
    /// Tokens that were stored.
    pub taken: u64,
    /// Tokens that were here, and stand otherwise than before.
    pub updated: u64,
    /// Tokens that were here.
    pub already_there: u64,
    /// Tokens that were not stored, by their rows, and why.
    pub not_taken: Option<(Vec<String>, Reason)>,
    /// Whether the chain's session may be used, and its head is a token of the older service.
    pub is_live: bool,
}

/// A store that has not been made yet: whatever is looked at is new.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyTarget;

#[async_trait]
impl Target for EmptyTarget {
    async fn take_users(&self, users: Vec<User>, _: &Takeover) -> Result<Vec<Fate>, Unavailable> {
        Ok(users.iter().map(|_| Fate::Taken).collect())
    }

    async fn take_clients(&self, clients: Vec<Client>, _: &Takeover) -> Result<Vec<Fate>, Unavailable> {
        Ok(clients.iter().map(|_| Fate::Taken).collect())
    }

    async fn take_chains(
        &self,
        chains: Vec<PlannedChain>,
        takeover: &Takeover,
    ) -> Result<Vec<ChainFate>, Unavailable> {
        let fate = |chain: &PlannedChain| ChainFate {
            taken: chain.tokens().map(|_| 1).sum(),
            is_live: chain.is_live(takeover.at),
            ..ChainFate::default()
        };
        Ok(chains.iter().map(fate).collect())
    }

    async fn take_trail(&self, rows: Vec<AuditEntry>, _: &Takeover) -> Result<u64, Unavailable> {
        Ok(rows.iter().map(|_| 1).sum())
    }
}

/// What this service holds of chains, as the way back needs it.
#[async_trait]
pub trait Holdings: Send + Sync {
    /// Sessions in the order of their ids, after the given one, at most `limit`.
    async fn chains(&self, after: Option<SessionId>, limit: u32) -> Result<Vec<HeldChain>, Unavailable>;
}

/// A session with the tokens of the older service that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldChain {
    /// The session.
    pub id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// With which client.
    pub client_id: ClientId,
    /// What was granted.
    pub scope: Scope,
    /// When the head expires.
    pub expires_at: Timestamp,
    /// When it was ended, where it was.
    pub revoked_at: Option<Timestamp>,
    /// Whether the head is a token of the older service.
    pub has_legacy_head: bool,
    /// The tokens of the older service, from the newest to the oldest.
    pub tokens: Vec<HeldToken>,
}

/// A token of the older service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldToken {
    /// The token.
    pub token: TokenRow,
    /// The one that it replaced, where that is still kept.
    pub parent: Option<JtiHash>,
    /// When it was consumed; `None` for a head.
    pub consumed_at: Option<Timestamp>,
}

/// A database of the older service that is written back: all that is put is one transaction.
pub trait LegacySink {
    /// The user of an id.
    fn user(&mut self, id: &str) -> Result<Option<LegacyUser>, Unavailable>;

    /// Puts a user, in place of the one with the same id; `false` where another has the name or the address.
    fn put_user(&mut self, user: &LegacyUser) -> Result<bool, Unavailable>;

    /// Puts a client. One with the same client id keeps its id and its secret.
    fn put_client(&mut self, client: &LegacyClient) -> Result<(), Unavailable>;

    /// Whether there is a client of that client id.
    fn has_client(&mut self, client_id: &str) -> Result<bool, Unavailable>;

    /// Puts a token where there is none of that hash; one that is there is revoked where the given one is, and is never
    /// brought back to life. Says whether that changed anything.
    fn put_token(&mut self, token: &LegacyToken) -> Result<bool, Unavailable>;

    /// Makes all of it durable.
    fn commit(&mut self) -> Result<(), Unavailable>;
}
