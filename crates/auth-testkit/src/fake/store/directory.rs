//! Administration of users and clients in memory.

use std::ops::Bound;

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::client::{Client, ClientAuthentication, ClientStatus};
use auth_domain::id::{ClientId, UserId};
use auth_domain::ports::admin::{
    Changed, ClientChange, ClientCreated, ClientDirectory, Founded, Founders, Founding, UserChange,
    UserCreated, UserDirectory,
};
use auth_domain::ports::{Unavailable, UserKey};
use auth_domain::session::{Revocation, RevocationReason, RevocationTarget, SessionState};
use auth_domain::time::Timestamp;
use auth_domain::user::{Login, User, UserStatus};

use super::{FakeStore, State};

#[async_trait]
impl Founding for FakeStore {
    async fn found(&self, founders: Founders) -> Result<Founded, Unavailable> {
        self.call("make the built-ins", |state| {
            let founded = Founded {
                admin: state.users.is_empty(),
                clients: state.clients.is_empty() && !founders.clients.is_empty(),
            };
            if founded.admin {
                let (admin, audit) = founders.admin;
                state.users.insert(admin.id, admin);
                state.audit.push(audit);
            }
            if founded.clients {
                for (client, audit) in founders.clients {
                    state.clients.insert(client.client_id.clone(), client);
                    state.audit.push(audit);
                }
            }
            founded
        })
    }

    async fn has_live_chains(&self, now: Timestamp) -> Result<bool, Unavailable> {
        self.call("look for live chains", |state| {
            let mut sessions = state.sessions.values();
            sessions.any(|session| session.state == SessionState::Live && session.expires_at > now)
        })
    }
}

#[async_trait]
impl UserDirectory for FakeStore {
    async fn create(&self, user: User, audit: AuditRecord) -> Result<UserCreated, Unavailable> {
        self.call("create a user", |state| state.create_user(user, audit))
    }

    async fn find(&self, key: &UserKey) -> Result<Option<User>, Unavailable> {
        self.call("find a user", |state| {
            let user = match key {
                UserKey::Id(id) => state.users.get(id),
                UserKey::Login(login) => state.user_by_login(login),
            };
            user.cloned()
        })
    }

    async fn list(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, Unavailable> {
        self.call("list users", |state| {
            let mut users: Vec<User> = state.users.values().cloned().collect();
            users.retain(|user| after.is_none_or(|after| user.username.as_str() > after));
            users.sort_by(|one, other| one.username.as_str().cmp(other.username.as_str()));
            users.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            users
        })
    }

    async fn change(
        &self,
        id: UserId,
        change: UserChange,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Changed, Unavailable> {
        self.call("change a user", |state| {
            let changed = state.change_user(id, change, at);
            state.audit_change(changed, audit)
        })
    }
}

#[async_trait]
impl ClientDirectory for FakeStore {
    async fn create(&self, client: Client, audit: AuditRecord) -> Result<ClientCreated, Unavailable> {
        self.call("create a client", |state| {
            if state.clients.contains_key(&client.client_id) {
                return ClientCreated::Taken;
            }
            state.clients.insert(client.client_id.clone(), client);
            state.audit.push(audit);
            ClientCreated::Created
        })
    }

    async fn list(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, Unavailable> {
        self.call("list clients", |state| {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rest = state.clients.range((start, Bound::Unbounded));
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            rest.take(limit).map(|(_, client)| client.clone()).collect()
        })
    }

    async fn change(
        &self,
        client_id: &ClientId,
        change: ClientChange,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Changed, Unavailable> {
        self.call("change a client", |state| {
            let changed = state.change_client(client_id, change, at);
            state.audit_change(changed, audit)
        })
    }
}

impl State {
    fn create_user(&mut self, user: User, audit: AuditRecord) -> UserCreated {
        let by_name = Login::Username(user.username.as_str().to_owned());
        if self.user_by_login(&by_name).is_some() {
            return UserCreated::UsernameTaken;
        }
        if self.user_by_login(&Login::Email(user.email.folded())).is_some() {
            return UserCreated::EmailTaken;
        }
        self.users.insert(user.id, user);
        self.audit.push(audit);
        UserCreated::Created
    }

    fn audit_change(&mut self, changed: Changed, audit: AuditRecord) -> Changed {
        if changed == Changed::Changed {
            self.audit.push(audit);
        }
        changed
    }

    fn change_user(&mut self, id: UserId, change: UserChange, at: Timestamp) -> Changed {
        let Some(user) = self.users.get_mut(&id) else {
            return Changed::NotFound;
        };
        user.updated_at = at;
        let target = RevocationTarget::User(id);
        match change {
            UserChange::SetPassword(hash) => {
                user.password_hash = hash;
                self.end(target, RevocationReason::PasswordChanged, at);
            }
            UserChange::Activate => user.status = UserStatus::Active,
            UserChange::Deactivate => {
                user.status = UserStatus::Inactive;
                self.end(target, RevocationReason::UserDeactivated, at);
            }
            UserChange::Delete => {
                self.users.remove(&id);
                self.delete_sessions(&target);
            }
        }
        Changed::Changed
    }

    fn change_client(&mut self, id: &ClientId, change: ClientChange, at: Timestamp) -> Changed {
        let Some(client) = self
            .clients
            .get_mut(id)
            .filter(|client| can_take(client, &change))
        else {
            return Changed::NotFound;
        };
        if let ClientChange::Update(new) = &change
            && new.updated_at != client.updated_at
        {
            return Changed::Overtaken;
        }
        client.updated_at = at;
        let target = RevocationTarget::Client(id.clone());
        match change {
            ClientChange::RotateSecret(hash) => {
                client.authentication = ClientAuthentication::Confidential(hash);
            }
            ClientChange::Update(new) => update_client(client, *new),
            ClientChange::Enable => client.status = ClientStatus::Active,
            ClientChange::Disable => {
                client.status = ClientStatus::Disabled;
                self.end(target, RevocationReason::ClientDisabled, at);
            }
            ClientChange::Delete => {
                self.clients.remove(id);
                self.delete_sessions(&target);
            }
        }
        Changed::Changed
    }

    fn end(&mut self, target: RevocationTarget, reason: RevocationReason, at: Timestamp) {
        self.end_chains(&Revocation { target, reason, at });
    }
}

/// A public client has no secret that could be rotated.
fn can_take(client: &Client, change: &ClientChange) -> bool {
    client.authentication.is_confidential() || !matches!(change, ClientChange::RotateSecret(_))
}

fn update_client(client: &mut Client, new: Client) {
    *client = Client {
        id: client.id,
        client_id: client.client_id.clone(),
        authentication: client.authentication.clone(),
        status: client.status,
        created_at: client.created_at,
        updated_at: client.updated_at,
        ..new
    };
}
