//! The store in memory: every port that a database serves, over one lock.

mod access_tokens;
mod audit;
mod directory;
mod sessions;
mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::client::Client;
use auth_domain::id::{ClientId, JtiHash, SessionId, UserId};
use auth_domain::ports::admin::Lease;
use auth_domain::ports::{Clients, StoreProbe, StoreReadiness, Unavailable, Users};
use auth_domain::scope::Scope;
use auth_domain::session::{AuthenticationMethod, Revocation, RevocationTarget, SessionState};
use auth_domain::time::Timestamp;
use auth_domain::user::{Login, User};

use super::Outage;

/// A store in memory; its copies are the same store.
#[derive(Debug, Clone, Default)]
pub struct FakeStore {
    /// Which calls fail.
    pub outage: Outage,
    state: Arc<Mutex<State>>,
}

/// What a store holds.
#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, User>,
    clients: BTreeMap<ClientId, Client>,
    sessions: HashMap<SessionId, StoredSession>,
    history: Vec<StoredToken>,
    legacy_tokens: HashMap<JtiHash, SessionId>,
    denials: HashMap<JtiHash, Timestamp>,
    leases: HashMap<&'static str, Lease>,
    audit: Vec<AuditRecord>,
    readiness: Option<StoreReadiness>,
}

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is what the session's view or the sign-in calls by that name"
)]
pub struct StoredSession {
    pub user_id: UserId,
    pub client_id: ClientId,
    pub scope: Scope,
    pub amr: AuthenticationMethod,
    pub head: JtiHash,
    pub previous: Option<JtiHash>,
    pub head_issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub state: SessionState,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
}

/// A refresh token as the history keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredToken {
    /// The chain it belongs to.
    pub session_id: SessionId,
    /// Its name in the store.
    pub jti_hash: JtiHash,
    /// The token whose consumption brought it forth.
    pub parent: Option<JtiHash>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl FakeStore {
    /// Puts a user in, without an audit row.
    pub fn put_user(&self, user: User) {
        self.with(|state| state.users.insert(user.id, user));
    }

    /// Puts a client in, without an audit row; it replaces one of the same identifier.
    pub fn put_client(&self, client: Client) {
        self.with(|state| state.clients.insert(client.client_id.clone(), client));
    }

    /// Notes that a token of the older service belongs to a session.
    pub fn put_legacy_token(&self, token: JtiHash, session: SessionId) {
        self.with(|state| state.legacy_tokens.insert(token, session));
    }

    /// What the probe is to say.
    pub fn set_readiness(&self, readiness: StoreReadiness) {
        self.with(|state| state.readiness = Some(readiness));
    }

    /// The audit trail, in the order of writing.
    pub fn audit_trail(&self) -> Vec<AuditRecord> {
        self.with(|state| state.audit.clone())
    }

    /// How many access tokens are denied.
    pub fn denials(&self) -> usize {
        self.with(|state| state.denials.len())
    }

    /// One session, as stored.
    pub fn session(&self, id: SessionId) -> Option<StoredSession> {
        self.with(|state| state.sessions.get(&id).cloned())
    }

    /// The tokens of a session, oldest first.
    pub fn history(&self, id: SessionId) -> Vec<StoredToken> {
        self.with(|state| {
            let of_session = state.history.iter().filter(|token| token.session_id == id);
            of_session.copied().collect()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One call of a port: counted, perhaps failed, else done as a whole under the lock.
    fn call<T>(&self, what: &'static str, act: impl FnOnce(&mut State) -> T) -> Result<T, Unavailable> {
        self.outage.pass(what)?;
        Ok(self.with(act))
    }
}

impl State {
    fn user_by_login(&self, login: &Login) -> Option<&User> {
        self.users.values().find(|user| match login {
            Login::Username(name) => user.username.as_str() == name,
            Login::Email(folded) => user.email.folded() == *folded,
        })
    }

    /// Ends the live chains that a revocation is about, and counts them.
    fn end_chains(&mut self, revocation: &Revocation) -> u64 {
        let mut ended = 0;
        for (id, session) in &mut self.sessions {
            if session.state == SessionState::Live && is_target(&revocation.target, *id, session) {
                session.state = SessionState::Revoked {
                    at: revocation.at,
                    reason: revocation.reason,
                };
                ended += 1;
            }
        }
        ended
    }

    /// Deletes sessions with their history.
    fn delete_sessions(&mut self, target: &RevocationTarget) {
        self.sessions
            .retain(|id, session| !is_target(target, *id, session));
        let sessions = &self.sessions;
        self.history
            .retain(|token| sessions.contains_key(&token.session_id));
        self.legacy_tokens
            .retain(|_, session| sessions.contains_key(session));
    }
}

fn is_target(target: &RevocationTarget, id: SessionId, session: &StoredSession) -> bool {
    match target {
        RevocationTarget::Session(target) => id == *target,
        RevocationTarget::UserAtClient(user, client) => {
            session.user_id == *user && session.client_id == *client
        }
        RevocationTarget::User(user) => session.user_id == *user,
        RevocationTarget::Client(client) => session.client_id == *client,
    }
}

#[async_trait]
impl Clients for FakeStore {
    async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
        self.call("find a client", |state| state.clients.get(client_id).cloned())
    }
}

#[async_trait]
impl Users for FakeStore {
    async fn find_by_login(&self, login: &Login) -> Result<Option<User>, Unavailable> {
        self.call("find a user", |state| state.user_by_login(login).cloned())
    }
}

#[async_trait]
impl StoreProbe for FakeStore {
    async fn check(&self) -> Result<StoreReadiness, Unavailable> {
        self.call("probe the store", |state| {
            state.readiness.unwrap_or(StoreReadiness::Ready)
        })
    }
}
