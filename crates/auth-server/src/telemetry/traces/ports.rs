//! Ports that are traced: each does what the one within it does, and makes a span of it. Only put around a port where
//! traces are sent.

use std::sync::Arc;

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::claims::{AccessClaims, RefreshClaims, SignedPair, TokenPairClaims};
use auth_domain::client::Client;
use auth_domain::id::{ClientId, JtiHash, UserId};
use auth_domain::ports::{
    AccessStanding, AccessTokens, AuditTrail, Clients, Denial, Genuine, Hashed, KeySet, PasswordHasher,
    Sessions, Throttle, TokenSigner, Unavailable, Users, Verified,
};
use auth_domain::secret::{Password, PasswordHash, Token};
use auth_domain::session::{NewSession, Opened, Revocation, Rotated, Rotation, SessionKey, SessionView};
use auth_domain::throttle::{Counter, Pardon, Verdict};
use auth_domain::time::Timestamp;
use auth_domain::token_service::Ports;
use auth_domain::user::{Login, User};
use auth_storage::Store;

use super::spans::{part, part_at_once};

/// A store whose ports are traced, as far as requests use them. What is done without a request makes no span.
pub fn traced_store(system: &'static str, mut store: Store) -> Store {
    store.clients = Traced::around(&store.clients, system);
    store.users = Traced::around(&store.users, system);
    store.sessions = Traced::around(&store.sessions, system);
    store.access_tokens = Traced::around(&store.access_tokens, system);
    store.audit = Traced::around(&store.audit, system);
    store
}

/// Ports whose other parts are traced as well: hashing, in whose span are the waiting and the work, signing, and the
/// counters, where they are kept in Redis.
pub fn traced_ports(ports: Ports, counters_are_in_redis: bool) -> Ports {
    Ports {
        hasher: Traced::around(&ports.hasher, ""),
        signer: Traced::around(&ports.signer, ""),
        throttle: if counters_are_in_redis {
            Traced::around(&ports.throttle, "redis")
        } else {
            ports.throttle
        },
        ..ports
    }
}

struct Traced<P: ?Sized> {
    port: Arc<P>,
    /// What is asked through the port, where that is not this program itself.
    system: &'static str,
}

impl<P: ?Sized> Traced<P> {
    fn around(port: &Arc<P>, system: &'static str) -> Arc<Self> {
        Arc::new(Self {
            port: Arc::clone(port),
            system,
        })
    }

    /// Asks somebody else something that may fail.
    async fn ask<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        part(name, Some(self.system), work, what_failed).await
    }

    /// Asks somebody else something that has always an answer.
    async fn ask_surely<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        part(name, Some(self.system), work, |_| None).await
    }

    /// Does something in this process.
    async fn compute<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        part(name, None, work, what_failed).await
    }
}

fn what_failed<T>(done: &Result<T, Unavailable>) -> Option<&'static str> {
    done.as_ref().err().map(|outage| outage.what)
}

#[async_trait]
impl Clients for Traced<dyn Clients> {
    async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
        self.ask("clients.find", self.port.find(client_id)).await
    }
}

#[async_trait]
impl Users for Traced<dyn Users> {
    async fn find_by_login(&self, login: &Login) -> Result<Option<User>, Unavailable> {
        self.ask("users.find", self.port.find_by_login(login)).await
    }
}

#[async_trait]
impl Sessions for Traced<dyn Sessions> {
    async fn find(&self, key: &SessionKey) -> Result<Option<SessionView>, Unavailable> {
        self.ask("sessions.find", self.port.find(key)).await
    }

    async fn open(&self, session: NewSession, audit: AuditRecord) -> Result<Opened, Unavailable> {
        self.ask("sessions.open", self.port.open(session, audit)).await
    }

    async fn rotate(&self, rotation: Rotation, audit: AuditRecord) -> Result<Rotated, Unavailable> {
        self.ask("sessions.rotate", self.port.rotate(rotation, audit))
            .await
    }

    async fn revoke(&self, revocation: Revocation, audit: AuditRecord) -> Result<u64, Unavailable> {
        self.ask("sessions.revoke", self.port.revoke(revocation, audit))
            .await
    }
}

#[async_trait]
impl AccessTokens for Traced<dyn AccessTokens> {
    async fn deny(&self, denial: Denial, audit: AuditRecord) -> Result<(), Unavailable> {
        self.ask("access_tokens.deny", self.port.deny(denial, audit))
            .await
    }

    async fn standing(
        &self,
        jti: &JtiHash,
        user_id: UserId,
        client_id: &ClientId,
    ) -> Result<AccessStanding, Unavailable> {
        let standing = self.port.standing(jti, user_id, client_id);
        self.ask("access_tokens.standing", standing).await
    }

    async fn forget_denials(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable> {
        self.port.forget_denials(before, at_most).await
    }
}

#[async_trait]
impl AuditTrail for Traced<dyn AuditTrail> {
    async fn record(&self, audit: AuditRecord) -> Result<(), Unavailable> {
        self.ask("audit.record", self.port.record(audit)).await
    }
}

#[async_trait]
impl Throttle for Traced<dyn Throttle> {
    async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict {
        self.ask_surely("throttle.hit", self.port.hit(counters, now))
            .await
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        self.ask_surely("throttle.pardon", self.port.pardon(pardons))
            .await;
    }
}

#[async_trait]
impl PasswordHasher for Traced<dyn PasswordHasher> {
    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable> {
        self.compute("password.verify", self.port.verify(password, stored))
            .await
    }

    async fn hash(&self, password: &Password) -> Result<Hashed, Unavailable> {
        self.compute("password.hash", self.port.hash(password)).await
    }
}

#[async_trait]
impl TokenSigner for Traced<dyn TokenSigner> {
    async fn sign_pair(&self, claims: &TokenPairClaims) -> Result<SignedPair, Unavailable> {
        self.compute("tokens.sign", self.port.sign_pair(claims)).await
    }

    fn verify_refresh(&self, token: &Token) -> Result<Genuine<RefreshClaims>, Unavailable> {
        let verify = || self.port.verify_refresh(token);
        part_at_once("tokens.verify", verify, what_failed)
    }

    fn verify_access(&self, token: &Token) -> Result<Genuine<AccessClaims>, Unavailable> {
        let verify = || self.port.verify_access(token);
        part_at_once("tokens.verify", verify, what_failed)
    }

    fn key_set(&self) -> Result<Arc<KeySet>, Unavailable> {
        self.port.key_set()
    }
}
