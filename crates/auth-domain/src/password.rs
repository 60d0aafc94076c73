//! Decisions about passwords: what to compute for a login, when a stored hash is outdated, what a new password must be.

use crate::secret::{Password, PasswordHash};
use crate::user::{Email, Username};

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
    /// (`$2a$`, `$2b$`, `$2y$`). `None` for anything else, and for a bcrypt cost outside 4 to 31.
    pub fn of(hash: &PasswordHash) -> Option<Self> {
        let mut fields = hash.expose().strip_prefix('$')?.split('$');
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
    /// Compute the stored hash's own scheme and compare.
    Compare(HashScheme),
    /// There is nothing to compare with: compute the current scheme all the same, and say no. Whether an
    /// account exists must not be told by the time an answer takes.
    Dummy(HashScheme),
}

/// Decides what to compute: a real hash in every case.
pub fn plan_verification(stored: Option<&PasswordHash>, current: HashScheme) -> VerifyPlan {
    stored
        .and_then(HashScheme::of)
        .map_or(VerifyPlan::Dummy(current), VerifyPlan::Compare)
}

/// Whether a hash that has just been verified should be replaced by one of the current scheme.
pub fn is_outdated(stored: HashScheme, current: HashScheme) -> bool {
    stored != current
}

/// Why a text may not be a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Fewer than 8 characters.
    #[error("a password has at least 8 characters")]
    TooShort,
    /// More than [`MAX_PASSWORD_BYTES`].
    #[error("a password has at most 1024 bytes")]
    TooLong,
    /// More than 72 bytes, where new hashes are bcrypt's.
    #[error("a password has at most 72 bytes while new hashes are bcrypt's")]
    TooLongForBcrypt,
    /// Holds a NUL character.
    #[error("a password holds no NUL character")]
    Nul,
    /// No upper-case letter.
    #[error("a password has an upper-case letter")]
    NoUpperCase,
    /// No lower-case letter.
    #[error("a password has a lower-case letter")]
    NoLowerCase,
    /// No digit.
    #[error("a password has a digit")]
    NoDigit,
    /// Letters and digits only.
    #[error("a password has a character that is neither a letter nor a digit")]
    NoSpecial,
    /// The user's own name or address.
    #[error("a password is not the user name or the e-mail address")]
    OwnName,
}

/// Checks a new password against the policy.
///
/// # Errors
/// The first [`PasswordFault`] found.
pub fn check_new_password(
    password: &Password,
    username: &Username,
    email: &Email,
    scheme: HashScheme,
) -> Result<(), PasswordFault> {
    let faults = new_password_faults(password, username, email, scheme);
    faults.into_iter().next().map_or(Ok(()), Err)
}

/// Everything that the policy has against a new password; nothing where it is good.
pub fn new_password_faults(
    password: &Password,
    username: &Username,
    email: &Email,
    scheme: HashScheme,
) -> Vec<PasswordFault> {
    let text = password.expose();
    let folded = text.to_lowercase();
    let is_own_name = folded == username.as_str().to_lowercase() || folded == email.folded();
    size_fault(text, scheme)
        .into_iter()
        .chain(nul_fault(text))
        .chain(character_faults(text))
        .chain(is_own_name.then_some(PasswordFault::OwnName))
        .collect()
}

/// The sizes within which a password can be hashed without cutting anything in silence.
///
/// # Errors
/// The [`PasswordFault`] that names the bound.
pub fn check_size(text: &str, scheme: HashScheme) -> Result<(), PasswordFault> {
    size_fault(text, scheme)
        .or_else(|| nul_fault(text))
        .map_or(Ok(()), Err)
}

fn size_fault(text: &str, scheme: HashScheme) -> Option<PasswordFault> {
    if text.chars().count() < 8 {
        Some(PasswordFault::TooShort)
    } else if text.len() > MAX_PASSWORD_BYTES {
        Some(PasswordFault::TooLong)
    } else if matches!(scheme, HashScheme::Bcrypt { .. }) && text.len() > 72 {
        Some(PasswordFault::TooLongForBcrypt)
    } else {
        None
    }
}

fn nul_fault(text: &str) -> Option<PasswordFault> {
    text.contains('\0').then_some(PasswordFault::Nul)
}

fn character_faults(text: &str) -> impl Iterator<Item = PasswordFault> {
    let rules = [
        (text.chars().any(char::is_uppercase), PasswordFault::NoUpperCase),
        (text.chars().any(char::is_lowercase), PasswordFault::NoLowerCase),
        (text.chars().any(char::is_numeric), PasswordFault::NoDigit),
        (!text.chars().all(char::is_alphanumeric), PasswordFault::NoSpecial),
    ];
    rules
        .into_iter()
        .filter_map(|(is_kept, fault)| (!is_kept).then_some(fault))
}
