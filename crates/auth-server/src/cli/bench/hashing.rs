//! What a sign-in's hash costs, by the scheme that new passwords are hashed by here.

use std::num::NonZeroUsize;
use std::time::Duration;

use auth_domain::password::HashScheme;
use auth_domain::ports::{Hashed, PasswordHasher, Verified};
use auth_domain::secret::{Password, PasswordHash};
use serde_json::{Value, json};

use super::stopwatch::Whose;
use crate::cli::failure::Failure;
use crate::compose;
use crate::settings::Settings;

/// Of the length of many; what a hash costs does not depend on it.
const PASSWORD: &str = "sixteen letters.";

/// What hashing came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hashing {
    /// How passwords are hashed.
    pub(super) scheme: HashScheme,
    /// One hash, in seconds of a core.
    pub(super) cost: f64,
    /// How many are computed at once.
    pub(super) threads: NonZeroUsize,
}

impl Hashing {
    /// The scheme, for people.
    pub(super) fn scheme(&self) -> String {
        match self.scheme {
            HashScheme::Argon2id {
                memory_kib,
                iterations,
                parallelism,
            } => format!("argon2id m={memory_kib} t={iterations} p={parallelism}"),
            HashScheme::Bcrypt { cost } => format!("bcrypt cost {cost}"),
        }
    }

    /// The memory of all that are computed at once, in KiB. bcrypt's is not worth a word.
    pub(super) fn memory_kib(&self) -> u64 {
        let each = match self.scheme {
            HashScheme::Argon2id { memory_kib, .. } => memory_kib,
            HashScheme::Bcrypt { .. } => 0,
        };
        u64::from(each).saturating_mul(u64::try_from(self.threads.get()).unwrap_or(u64::MAX))
    }

    /// The same for programs.
    pub(super) fn view(&self) -> Value {
        json!({
            "scheme": self.scheme(),
            "hash_ms": self.cost * 1e3,
            "threads": self.threads,
            "memory_kib": self.memory_kib(),
        })
    }
}

/// The settings of a pool that computes one hash at a time, whoever else waits for the core.
pub(super) fn one_at_a_time(settings: &Settings) -> Settings {
    let mut alone = settings.clone();
    alone.passwords.threads = Some(NonZeroUsize::MIN);
    alone.passwords.queue = 1;
    alone.passwords.deadline = Duration::from_hours(1);
    alone
}

/// Verifies a password for so long, one after the other.
///
/// # Errors
/// Where the pool fails.
pub(super) async fn measure(
    hasher: &dyn PasswordHasher,
    settings: &Settings,
    long: Duration,
) -> Result<Hashing, Failure> {
    let password = Password::new(PASSWORD.to_owned());
    let stored = hash(hasher, &password).await?;
    let verify = async || match hasher.verify(&password, Some(&stored)).await? {
        Verified::Yes { .. } => Ok(()),
        Verified::No => Err(Failure::refused("a password was not verified by its own hash")),
        Verified::Saturated { .. } => Err(saturated()),
    };
    Ok(Hashing {
        scheme: settings.passwords.scheme,
        // The pool's one thread computes, and nothing else runs here meanwhile.
        cost: Whose::Process.cost(long, verify).await?,
        threads: compose::hashing_threads(settings),
    })
}

async fn hash(hasher: &dyn PasswordHasher, password: &Password) -> Result<PasswordHash, Failure> {
    match hasher.hash(password).await? {
        Hashed::Done(hash) => Ok(hash),
        Hashed::Saturated { .. } => Err(saturated()),
    }
}

fn saturated() -> Failure {
    Failure::refused("no hash was computed within an hour")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(HashScheme::OWASP_ARGON2ID, "argon2id m=19456 t=2 p=1", 3 * 19_456)]
    #[case(HashScheme::BCRYPT_12, "bcrypt cost 12", 0)]
    fn a_scheme_says_its_name_and_the_memory_of_all_threads(
        #[case] scheme: HashScheme,
        #[case] name: &str,
        #[case] memory: u64,
    ) {
        let hashing = Hashing {
            scheme,
            cost: 0.02,
            threads: NonZeroUsize::new(3).unwrap(),
        };
        assert_eq!((hashing.scheme().as_str(), hashing.memory_kib()), (name, memory));
    }
}
