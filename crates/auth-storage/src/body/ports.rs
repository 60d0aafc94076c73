//! The domain's ports over one engine: each method is one query or one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::client::Client;
use auth_domain::id::{ClientId, JtiHash, UserId};
use auth_domain::ports::admin::{
    AuditEntry, AuditFilter, AuditLog, Changed, ClientChange, ClientCreated, ClientDirectory, Founded,
    Founders, Founding, UserChange, UserCreated, UserDirectory,
};
use auth_domain::ports::{
    AccessStanding, AccessTokens, AuditTrail, Clients, Denial, Sessions, StoreProbe, StoreReadiness,
    Unavailable, UserKey, Users,
};
use auth_domain::session::{
    NewSession, Opened, Revocation, RevocationTarget, Rotated, Rotation, SessionKey, SessionView,
};
use auth_domain::time::Timestamp;
use auth_domain::user::{Login, User};

use super::{
    Conn, Engine, access_tokens, audit, check_writable, clients, delete_chains, founding,
    migrations_are_pending, sessions, users,
};
use crate::types::Id;

/// Every port of the store.
pub(crate) struct Adapter {
    pub(crate) engine: Arc<Engine>,
}

/// So many chains lose their history in one transaction: some ten thousand tokens, where they are a month old.
const FORGOTTEN_AT_ONCE: usize = 16;

impl Adapter {
    /// Deletes the history of chains whose sessions are gone, little by little: nobody sees it any more, and nobody is
    /// to wait for it. What is left over, should this be cut short, leaves with its time.
    async fn forget_history(&self, heads: Vec<Id>) {
        for heads in heads.chunks(FORGOTTEN_AT_ONCE) {
            let heads = heads.to_vec();
            let deleted = self
                .engine
                .write("delete the history of ended chains", move |conn| {
                    delete_chains(conn, &heads)
                })
                .await;
            if let Err(outage) = deleted {
                tracing::warn!(
                    event_type = "database",
                    operation = outage.what,
                    cause = %outage.source,
                    "what is left of deleted chains leaves when it has expired"
                );
                return;
            }
        }
    }
}

#[async_trait]
impl Clients for Adapter {
    async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
        let client_id = client_id.clone();
        self.engine
            .look_up("find a client", move |conn| clients::find(conn, &client_id))
            .await
    }
}

#[async_trait]
impl Users for Adapter {
    async fn find_by_login(&self, login: &Login) -> Result<Option<User>, Unavailable> {
        let login = login.clone();
        self.engine
            .read("find a user", move |conn| users::find_by_login(conn, &login))
            .await
    }
}

#[async_trait]
impl Sessions for Adapter {
    async fn find(&self, key: &SessionKey) -> Result<Option<SessionView>, Unavailable> {
        self.engine.find_session("find a session", *key).await
    }

    async fn open(&self, session: NewSession, audit: AuditRecord) -> Result<Opened, Unavailable> {
        self.engine
            .write("open a session", move |conn| {
                sessions::open(conn, &session, &audit)
            })
            .await
    }

    async fn rotate(&self, rotation: Rotation, audit: AuditRecord) -> Result<Rotated, Unavailable> {
        self.engine.rotate("rotate a session", rotation, audit).await
    }

    async fn revoke(&self, revocation: Revocation, audit: AuditRecord) -> Result<u64, Unavailable> {
        let what = "revoke sessions";
        let is_large = matches!(
            revocation.target,
            RevocationTarget::User(_) | RevocationTarget::Client(_)
        );
        let revoke = move |conn: &mut Conn| sessions::revoke(conn, &revocation, &audit);
        if is_large {
            self.engine.administer(what, revoke).await
        } else {
            self.engine.write(what, revoke).await
        }
    }
}

#[async_trait]
impl AccessTokens for Adapter {
    async fn deny(&self, denial: Denial, audit: AuditRecord) -> Result<(), Unavailable> {
        self.engine
            .write("deny an access token", move |conn| {
                access_tokens::deny(conn, &denial, &audit)
            })
            .await
    }

    async fn standing(
        &self,
        jti: &JtiHash,
        user_id: UserId,
        client_id: &ClientId,
    ) -> Result<AccessStanding, Unavailable> {
        let (jti, client_id) = (*jti, client_id.clone());
        self.engine
            .look_up("look at an access token", move |conn| {
                access_tokens::standing(conn, &jti, user_id, &client_id)
            })
            .await
    }

    async fn forget_denials(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable> {
        // What has ended stays so: the search need not keep the writer from its work.
        let keys = self
            .engine
            .read("find ended denials", move |conn| {
                access_tokens::ended(conn, before, at_most)
            })
            .await?;
        if keys.is_empty() {
            return Ok(0);
        }
        self.engine
            .write("forget ended denials", move |conn| {
                access_tokens::forget(conn, &keys)
            })
            .await
    }
}

#[async_trait]
impl AuditTrail for Adapter {
    async fn record(&self, record: AuditRecord) -> Result<(), Unavailable> {
        self.engine
            .write("write an audit row", move |conn| audit::record(conn, &record))
            .await
    }
}

#[async_trait]
impl AuditLog for Adapter {
    async fn search(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        let filter = filter.clone();
        self.engine
            .browse("search the audit trail", move |conn| {
                audit::search(conn, &filter, limit)
            })
            .await
    }

    async fn tail(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        let filter = filter.clone();
        self.engine
            .browse("read the end of the audit trail", move |conn| {
                audit::tail(conn, &filter, limit)
            })
            .await
    }

    async fn trim(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable> {
        self.engine
            .write("trim the audit trail", move |conn| {
                audit::trim(conn, before, at_most)
            })
            .await
    }
}

#[async_trait]
impl StoreProbe for Adapter {
    async fn check(&self) -> Result<StoreReadiness, Unavailable> {
        let pending = self
            .engine
            .read("probe the store", migrations_are_pending)
            .await?;
        if pending {
            return Ok(StoreReadiness::MigrationsPending);
        }
        // Through the writer and its lock: reads go on when nothing can be written any more.
        self.engine
            .write("probe the store's writer", check_writable)
            .await?;
        Ok(StoreReadiness::Ready)
    }
}

#[async_trait]
impl Founding for Adapter {
    async fn found(&self, founders: Founders) -> Result<Founded, Unavailable> {
        self.engine
            .write("make the built-ins", move |conn| founding::found(conn, &founders))
            .await
    }

    async fn has_live_chains(&self, now: Timestamp) -> Result<bool, Unavailable> {
        self.engine
            .read("look for live chains", move |conn| {
                sessions::any_is_live(conn, now)
            })
            .await
    }
}

#[async_trait]
impl UserDirectory for Adapter {
    async fn create(&self, user: User, audit: AuditRecord) -> Result<UserCreated, Unavailable> {
        self.engine
            .write("create a user", move |conn| users::create(conn, &user, &audit))
            .await
    }

    async fn find(&self, key: &UserKey) -> Result<Option<User>, Unavailable> {
        let key = key.clone();
        self.engine
            .read("find a user", move |conn| users::find(conn, &key))
            .await
    }

    async fn list(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, Unavailable> {
        let after = after.map(str::to_owned);
        self.engine
            .browse("list users", move |conn| {
                users::list(conn, after.as_deref(), limit)
            })
            .await
    }

    async fn change(
        &self,
        id: UserId,
        change: UserChange,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Changed, Unavailable> {
        let (changed, heads) = self
            .engine
            .administer("change a user", move |conn| {
                users::change(conn, id, &change, at, &audit)
            })
            .await?;
        self.forget_history(heads).await;
        Ok(changed)
    }
}

#[async_trait]
impl ClientDirectory for Adapter {
    async fn create(&self, client: Client, audit: AuditRecord) -> Result<ClientCreated, Unavailable> {
        self.engine
            .write("create a client", move |conn| {
                clients::create(conn, &client, &audit)
            })
            .await
    }

    async fn list(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, Unavailable> {
        let after = after.cloned();
        self.engine
            .browse("list clients", move |conn| {
                clients::list(conn, after.as_ref(), limit)
            })
            .await
    }

    async fn change(
        &self,
        client_id: &ClientId,
        change: ClientChange,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Changed, Unavailable> {
        let client_id = client_id.clone();
        let (changed, heads) = self
            .engine
            .administer("change a client", move |conn| {
                clients::change(conn, &client_id, &change, at, &audit)
            })
            .await?;
        self.forget_history(heads).await;
        Ok(changed)
    }
}
