//! Decisions about passwords: what to compute for a login, when a stored hash is outdated, what a new password must be.

use crate::secret::{Password, PasswordHash};

mod common;
mod pace;
mod policy;
mod stored;

pub use pace::Pace;
pub use policy::{NewPasswordRules, PasswordFault, PasswordPolicy, check_size};
pub use stored::{BCRYPT_BYTES, LegacyHashes, Reach, StoredHash, bare, mark_cut};

/// The most bytes a password may have; more is refused before anything is computed.
pub const MAX_PASSWORD_BYTES: usize = 1_024;

/// How a password is, or is to be, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashScheme {
    /// Argon2id (RFC 9106).
    Argon2id {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        iterations: u32,
        /// Lanes.
        parallelism: u32,
    },
    /// bcrypt, of which only the first 72 bytes of a password count.
    Bcrypt {
        /// Binary logarithm of the number of rounds.
        cost: u32,
    },
}

impl HashScheme {
    /// The second choice of OWASP's password storage list: 19 MiB, two passes, one lane.
    pub const OWASP_ARGON2ID: Self = Self::Argon2id {
        memory_kib: 19_456,
        iterations: 2,
        parallelism: 1,
    };
    /// What policies that demand bcrypt ask for.
    pub const BCRYPT_12: Self = Self::Bcrypt { cost: 12 };

    /// Reads the scheme off a stored hash: a PHC string (`$argon2id$v=19$m=…,t=…,p=…$…`) or bcrypt's form
    /// (`$2a$`, `$2b$`, `$2y$`), marked or not. `None` for anything else, and for a bcrypt cost outside 4 to 31.
    pub fn of(hash: &PasswordHash) -> Option<Self> {
        StoredHash::of(hash).map(|stored| stored.scheme)
    }

    fn of_text(hash: &str) -> Option<Self> {
        let mut fields = hash.strip_prefix('$')?.split('$');
        match fields.next()? {
            "argon2id" => {
                if fields.next()? != "v=19" {
                    return None;
                }
                Self::argon2id_of(fields.next()?)
            }
            "2a" | "2b" | "2y" => {
                let cost = fields.next()?.parse().ok()?;
                (4..=31).contains(&cost).then_some(Self::Bcrypt { cost })
            }
            _ => None,
        }
    }

    /// Whether every byte of a password counts under this scheme. bcrypt cuts a long one, and ends at a NUL.
    pub fn takes_whole(self, password: &Password) -> bool {
        let bytes = password.expose().as_bytes();
        match self {
            Self::Argon2id { .. } => true,
            Self::Bcrypt { .. } => bytes.len() <= BCRYPT_BYTES && !bytes.contains(&0),
        }
    }

    fn argon2id_of(parameters: &str) -> Option<Self> {
        let mut values = parameters.split(',');
        let memory_kib = values.next()?.strip_prefix("m=")?.parse().ok()?;
        let iterations = values.next()?.strip_prefix("t=")?.parse().ok()?;
        let parallelism = values.next()?.strip_prefix("p=")?.parse().ok()?;
        values.next().is_none().then_some(Self::Argon2id {
            memory_kib,
            iterations,
            parallelism,
        })
    }
}

/// What to compute when somebody presents a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyPlan {
    /// Compute the stored hash's own scheme, over what it reaches of the password, and compare.
    Compare(StoredHash),
    /// There is nothing to compare with: compute the current scheme all the same, and say no. Whether an
    /// account exists must not be told by the time an answer takes.
    Dummy(HashScheme),
}

/// Decides what to compute: a real hash in every case.
pub fn plan_verification(stored: Option<&PasswordHash>, current: HashScheme) -> VerifyPlan {
    stored
        .and_then(StoredHash::of)
        .map_or(VerifyPlan::Dummy(current), VerifyPlan::Compare)
}
