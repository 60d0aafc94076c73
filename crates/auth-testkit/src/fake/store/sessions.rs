//! Sessions in memory.

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::client::ClientStatus;
use auth_domain::id::SessionId;
use auth_domain::ports::{Sessions, Unavailable};
use auth_domain::session::{
    NewSession, Opened, Revocation, Rotated, Rotation, SessionKey, SessionState, SessionView,
};
use auth_domain::user::UserStatus;

use super::{FakeStore, State, StoredSession, StoredToken};

#[async_trait]
impl Sessions for FakeStore {
    async fn find(&self, key: &SessionKey) -> Result<Option<SessionView>, Unavailable> {
        self.call("find a session", |state| {
            let id = match key {
                SessionKey::Id(id) => *id,
                SessionKey::Legacy(token) => *state.legacy_tokens.get(token)?,
            };
            state.session_view(id)
        })
    }

    async fn open(&self, session: NewSession, audit: AuditRecord) -> Result<Opened, Unavailable> {
        self.call("open a session", |state| state.open(session, audit))
    }

    async fn rotate(&self, rotation: Rotation, audit: AuditRecord) -> Result<Rotated, Unavailable> {
        self.call("rotate a session", |state| state.rotate(&rotation, audit))
    }

    async fn revoke(&self, revocation: Revocation, audit: AuditRecord) -> Result<u64, Unavailable> {
        self.call("revoke sessions", |state| {
            let ended = state.end_chains(&revocation);
            if ended > 0 {
                state.audit.push(audit);
            }
            ended
        })
    }
}

impl State {
    fn session_view(&self, id: SessionId) -> Option<SessionView> {
        let session = self.sessions.get(&id)?;
        let user = self.users.get(&session.user_id)?;
        Some(SessionView {
            id,
            user_id: session.user_id,
            user_status: user.status,
            client_id: session.client_id.clone(),
            scope: session.scope.clone(),
            head: session.head,
            previous: session.previous,
            head_issued_at: session.head_issued_at,
            expires_at: session.expires_at,
            state: session.state,
            created_at: session.created_at,
        })
    }

    fn open(&mut self, session: NewSession, audit: AuditRecord) -> Opened {
        let client_is_active = self
            .clients
            .get(&session.client_id)
            .is_some_and(|client| client.status == ClientStatus::Active);
        let user = self.users.get_mut(&session.user_id).filter(|user| {
            user.status == UserStatus::Active && user.password_hash.is_same(&session.verified_against)
        });
        let (Some(user), true) = (user, client_is_active) else {
            return Opened::Overtaken;
        };
        user.last_login_at = Some(session.first.issued_at);
        if let Some(rehashed) = session.rehashed.clone() {
            user.password_hash = rehashed;
        }
        self.store_session(session);
        self.audit.push(audit);
        Opened::Opened
    }

    fn store_session(&mut self, session: NewSession) {
        let first = session.first;
        self.history.push(StoredToken {
            session_id: session.id,
            jti_hash: first.jti_hash,
            parent: None,
            issued_at: first.issued_at,
            expires_at: first.expires_at,
        });
        let stored = StoredSession {
            user_id: session.user_id,
            client_id: session.client_id,
            scope: session.scope,
            amr: session.amr,
            head: first.jti_hash,
            previous: None,
            head_issued_at: first.issued_at,
            expires_at: first.expires_at,
            state: SessionState::Live,
            created_at: first.issued_at,
            last_used_at: first.issued_at,
        };
        self.sessions.insert(session.id, stored);
    }

    fn rotate(&mut self, rotation: &Rotation, audit: AuditRecord) -> Rotated {
        let live_head = self
            .sessions
            .get_mut(&rotation.session_id)
            .filter(|session| session.state == SessionState::Live && session.head == rotation.from);
        let Some(session) = live_head else {
            return Rotated::Superseded;
        };
        session.previous = Some(rotation.from);
        session.head = rotation.to.jti_hash;
        session.head_issued_at = rotation.to.issued_at;
        session.expires_at = rotation.to.expires_at;
        session.last_used_at = rotation.to.issued_at;
        self.history.push(StoredToken {
            session_id: rotation.session_id,
            jti_hash: rotation.to.jti_hash,
            parent: Some(rotation.from),
            issued_at: rotation.to.issued_at,
            expires_at: rotation.to.expires_at,
        });
        self.audit.push(audit);
        Rotated::Rotated
    }
}
