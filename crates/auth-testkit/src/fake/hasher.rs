//! "Hashes" that take no time: the scheme's name, a dollar sign, the password.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use auth_domain::ports::{Hashed, PasswordHasher, Unavailable, Verified};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Seconds;

use super::Outage;

const CURRENT: &str = "fake$";
const OUTDATED: &str = "old$";
const NOT_SATURATED: u32 = u32::MAX;

/// A password hasher that is instant; its copies are the same hasher.
#[derive(Debug, Clone, Default)]
pub struct FakeHasher {
    /// Which calls fail.
    pub outage: Outage,
    load: Arc<Load>,
}

#[derive(Debug)]
struct Load {
    retry_after: AtomicU32,
    verifications: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            retry_after: AtomicU32::new(NOT_SATURATED),
            verifications: AtomicU64::new(0),
        }
    }
}

impl FakeHasher {
    /// The hash of a password by the current scheme.
    pub fn hash_of(password: &str) -> PasswordHash {
        PasswordHash::new(format!("{CURRENT}{password}"))
    }

    /// The hash of a password by a scheme that should be replaced.
    pub fn outdated_hash_of(password: &str) -> PasswordHash {
        PasswordHash::new(format!("{OUTDATED}{password}"))
    }

    /// From now on everything is refused, with this advice.
    pub fn saturate(&self, retry_after: Seconds) {
        self.load.retry_after.store(retry_after.get(), Ordering::SeqCst);
    }

    /// There is room again.
    pub fn relieve(&self) {
        self.load.retry_after.store(NOT_SATURATED, Ordering::SeqCst);
    }

    /// How many verifications were computed, those without a stored hash included.
    pub fn verifications(&self) -> u64 {
        self.load.verifications.load(Ordering::SeqCst)
    }

    fn saturation(&self) -> Option<Seconds> {
        let retry_after = self.load.retry_after.load(Ordering::SeqCst);
        (retry_after != NOT_SATURATED).then(|| Seconds::new(retry_after))
    }
}

#[async_trait]
impl PasswordHasher for FakeHasher {
    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable> {
        self.outage.pass("verify a password")?;
        if let Some(retry_after) = self.saturation() {
            return Ok(Verified::Saturated { retry_after });
        }
        self.load.verifications.fetch_add(1, Ordering::SeqCst);
        let stored = stored.map_or("", PasswordHash::expose);
        let is_hash_by = |scheme| stored.strip_prefix(scheme) == Some(password.expose());
        Ok(if is_hash_by(CURRENT) {
            Verified::Yes { is_outdated: false }
        } else if is_hash_by(OUTDATED) {
            Verified::Yes { is_outdated: true }
        } else {
            Verified::No
        })
    }

    async fn hash(&self, password: &Password) -> Result<Hashed, Unavailable> {
        self.outage.pass("hash a password")?;
        Ok(match self.saturation() {
            Some(retry_after) => Hashed::Saturated { retry_after },
            None => Hashed::Done(Self::hash_of(password.expose())),
        })
    }
}
