//! A store on the stage of a contract suite: its ports, and a look behind them.

use std::net::IpAddr;
use std::sync::Arc;

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::client::Client;
use auth_domain::id::{JtiHash, RowId, SessionId, UserId};
use auth_domain::ports::admin::{
    AuditLog, ClientCreated, ClientDirectory, Founding, Upkeep, UserCreated, UserDirectory,
};
use auth_domain::ports::{AccessTokens, AuditTrail, Clients, Sessions, StoreProbe, UserKey, Users};
use auth_domain::session::{
    NewSession, Opened, Revocation, RevocationReason, RevocationTarget, Rotated, Rotation, SessionKey,
    SessionView,
};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::User;

use crate::build;
use crate::clock::START;
use crate::fake::{FakeStore, StoredToken};

/// A store under test.
#[derive(Clone)]
#[expect(missing_docs, reason = "each is the port of its name")]
pub struct Stage {
    pub clients: Arc<dyn Clients>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub access_tokens: Arc<dyn AccessTokens>,
    pub audit: Arc<dyn AuditTrail>,
    pub audit_log: Arc<dyn AuditLog>,
    pub probe: Arc<dyn StoreProbe>,
    pub user_directory: Arc<dyn UserDirectory>,
    pub client_directory: Arc<dyn ClientDirectory>,
    pub founding: Arc<dyn Founding>,
    pub upkeep: Arc<dyn Upkeep>,
    /// What is stored, past the ports.
    pub inside: Arc<dyn Inside>,
}

/// What a store holds that no port tells.
pub trait Inside: Send + Sync {
    /// The audit trail in the order of its ids.
    fn audit_trail(&self) -> Vec<SeenAudit>;

    /// The tokens of a session, in the order of their issue, as the classic columns tell them.
    fn history(&self, id: SessionId) -> Vec<StoredToken>;

    /// Notes that a token of the older service belongs to a session, as a take-over does.
    fn put_legacy_token(&self, token: JtiHash, session: SessionId);
}

/// An audit row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the column of its name")]
pub struct SeenAudit {
    pub id: RowId,
    pub created_at: Timestamp,
    pub event_type: String,
    pub event_data: serde_json::Value,
    pub user_id: Option<UserId>,
    pub client_id: Option<String>,
    pub ip_address: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub correlation_id: String,
    pub success: bool,
}

impl From<&AuditRecord> for SeenAudit {
    fn from(record: &AuditRecord) -> Self {
        Self {
            id: record.id,
            created_at: record.at,
            event_type: record.event.event_type().to_owned(),
            event_data: serde_json::to_value(&record.event).expect("events are plain data"),
            user_id: record.user_id,
            client_id: record.client_id.as_ref().map(ToString::to_string),
            ip_address: record.context.ip,
            user_agent: record.context.user_agent.clone(),
            correlation_id: record.context.correlation_id.clone(),
            success: record.event.is_success(),
        }
    }
}

impl Inside for FakeStore {
    fn audit_trail(&self) -> Vec<SeenAudit> {
        let mut rows: Vec<_> = FakeStore::audit_trail(self).iter().map(SeenAudit::from).collect();
        rows.sort_by_key(|row| row.id);
        rows
    }

    fn history(&self, id: SessionId) -> Vec<StoredToken> {
        FakeStore::history(self, id)
    }

    fn put_legacy_token(&self, token: JtiHash, session: SessionId) {
        FakeStore::put_legacy_token(self, token, session);
    }
}

impl From<FakeStore> for Stage {
    fn from(store: FakeStore) -> Self {
        let store = Arc::new(store);
        Self {
            clients: store.clone(),
            users: store.clone(),
            sessions: store.clone(),
            access_tokens: store.clone(),
            audit: store.clone(),
            audit_log: store.clone(),
            probe: store.clone(),
            user_directory: store.clone(),
            client_directory: store.clone(),
            founding: store.clone(),
            upkeep: store.clone(),
            inside: store,
        }
    }
}

/// The moment so many seconds after [`START`].
pub fn after(seconds: u32) -> Timestamp {
    START.plus(Seconds::new(seconds))
}

/// An audit row known by this text.
pub fn note(text: &str) -> AuditRecord {
    build::audit(text, AuditEvent::PasswordChange {})
}

/// What the suites do again and again.
impl Stage {
    /// Stores a user with its audit row.
    pub async fn create_user(&self, user: &User) {
        let record = note(&format!("create {}", user.id));
        let created = self.user_directory.create(user.clone(), record).await;
        assert_eq!(created.expect("the store is there"), UserCreated::Created);
    }

    /// Stores a client with its audit row.
    pub async fn create_client(&self, client: &Client) {
        let record = note(&format!("create {}", client.client_id));
        let created = self.client_directory.create(client.clone(), record).await;
        assert_eq!(created.expect("the store is there"), ClientCreated::Created);
    }

    /// Stores the user alice and the public client of the field.
    pub async fn populate(&self) -> (User, Client) {
        let (user, client) = (build::user(build::ALICE), build::flutter_client());
        self.create_user(&user).await;
        self.create_client(&client).await;
        (user, client)
    }

    /// Signs a user in.
    pub async fn open(&self, session: NewSession) -> Opened {
        let record = note(&format!("open {}", session.id));
        let opened = self.sessions.open(session, record).await;
        opened.expect("the store is there")
    }

    /// A store with alice signed in, by one session known as `s`.
    pub async fn signed_in(&self) -> (User, Client, SessionId) {
        let (user, client) = self.populate().await;
        let session = build::new_session("s", &user, &client);
        let id = session.id;
        assert_eq!(self.open(session).await, Opened::Opened);
        (user, client, id)
    }

    /// Rotates a session from one token to another, each known by its text, so many seconds after the start.
    pub async fn rotate(&self, id: SessionId, from: &str, to: &str, seconds: u32) -> Rotated {
        let rotation = rotation(id, from, to, seconds);
        let rotated = self
            .sessions
            .rotate(rotation, note(&format!("rotate {to}")))
            .await;
        rotated.expect("the store is there")
    }

    /// Ends chains on request.
    pub async fn revoke(&self, target: RevocationTarget, seconds: u32) -> u64 {
        let record = note(&format!("revoke {target:?} {seconds}"));
        let revocation = Revocation {
            target,
            reason: RevocationReason::Requested,
            at: after(seconds),
        };
        let ended = self.sessions.revoke(revocation, record).await;
        ended.expect("the store is there")
    }

    /// The session of a key, if there is one.
    pub async fn find_session(&self, key: &SessionKey) -> Option<SessionView> {
        self.sessions.find(key).await.expect("the store is there")
    }

    /// A session that is expected to be there.
    pub async fn session(&self, id: SessionId) -> SessionView {
        let found = self.find_session(&SessionKey::Id(id)).await;
        found.expect("the session is there")
    }

    /// A user that is expected to be there.
    pub async fn user(&self, id: UserId) -> User {
        let found = self.user_directory.find(&UserKey::Id(id)).await;
        found.expect("the store is there").expect("the user is there")
    }

    /// How many audit rows there are.
    pub fn audit_rows(&self) -> usize {
        self.inside.audit_trail().len()
    }

    /// The hashes of a session's tokens, in the order of their issue.
    pub fn tokens(&self, id: SessionId) -> Vec<JtiHash> {
        let history = self.inside.history(id);
        history.iter().map(|token| token.jti_hash).collect()
    }
}

/// One step of a chain between tokens known by their texts.
pub fn rotation(id: SessionId, from: &str, to: &str, seconds: u32) -> Rotation {
    Rotation {
        session_id: id,
        from: build::jti_hash(from),
        to: build::token_row(to, after(seconds)),
    }
}
