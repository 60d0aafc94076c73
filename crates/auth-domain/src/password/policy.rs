//! What a new password must be, by either of two policies; and all that one has against a password, at once.

use super::{BCRYPT_BYTES, HashScheme, MAX_PASSWORD_BYTES, common};
use crate::secret::Password;
use crate::user::{Email, Username};

/// The fewest characters of any password, whatever the policy.
const LEAST: usize = 8;
/// The fewest where the password is the only factor and nothing is asked of its characters.
const LEAST_OF_NIST: usize = 15;
/// What is left of a name after less than this tells nobody's.
const SHORTEST_NAME: usize = 3;
/// What this service is called: the first thing a guesser tries besides the user's own name.
const NAMES_OF_THE_SERVICE: [&str; 4] = ["codelab", "codelabauth", "codelabauthservice", "authservice"];

crate::name::named! {
    /// What is asked of a new password. Existing ones are never judged again: nobody is locked out by a policy.
    PasswordPolicy {
        /// At least 8 characters, of four kinds; the rule that most audits still ask for.
        Classic = "classic",
        /// NIST SP 800-63B-4 section 3.1.1.2: at least 15 characters where the password is the only factor, as it is
        /// here, and no kinds asked for.
        Nist = "nist",
    } expected "classic, nist"
}

/// What is held against a new password.
///
/// Both policies refuse what guessers try first: the bundled list of common passwords, the service's name and the user's
/// own, each also with the usual decoration. As SP 800-63B-4 demands, it is the whole password that is compared, never a
/// word within it: a long passphrase may hold any word there is.
///
/// Characters are counted as code points, and every character but NUL may stand in a password. Nothing is normalised,
/// though SP 800-63B-4 says that a verifier should (NFKC or NFKD): the hashes that exist were made of the bytes as they
/// were sent, and a password that is normalised from one day on no longer matches its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPasswordRules {
    /// What is asked for.
    pub policy: PasswordPolicy,
    /// How the password will be hashed, which sets a bound to its size.
    pub scheme: HashScheme,
}

/// Why a text may not be a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Too few characters.
    #[error("a password has at least {least} characters")]
    TooShort {
        /// How many it must have.
        least: usize,
    },
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
    /// The user's own name or address, or either with the usual decoration.
    #[error(
        "a password is not the user name or the e-mail address, nor either with digits or signs added or letters exchanged"
    )]
    OwnName,
    /// Among the first that a guesser tries.
    #[error(
        "a password is none that many people use, nor one of those with digits or signs added or letters exchanged"
    )]
    Common,
}

impl NewPasswordRules {
    /// Everything that is held against a password; nothing where it is good.
    pub fn faults(self, password: &Password, username: &Username, email: &Email) -> Vec<PasswordFault> {
        let text = password.expose();
        size_fault(text, self.least(), self.scheme)
            .into_iter()
            .chain(nul_fault(text))
            .chain(self.character_faults(text))
            .chain(is_own_name(text, username, email).then_some(PasswordFault::OwnName))
            .chain(is_common(text).then_some(PasswordFault::Common))
            .collect()
    }

    const fn least(self) -> usize {
        match self.policy {
            PasswordPolicy::Classic => LEAST,
            PasswordPolicy::Nist => LEAST_OF_NIST,
        }
    }

    fn character_faults(self, text: &str) -> Vec<PasswordFault> {
        match self.policy {
            PasswordPolicy::Classic => missing_kinds(text).collect(),
            PasswordPolicy::Nist => Vec::new(),
        }
    }
}

/// The sizes within which a password can be hashed without cutting anything in silence, whatever the policy.
///
/// # Errors
/// The [`PasswordFault`] that names the bound.
pub fn check_size(text: &str, scheme: HashScheme) -> Result<(), PasswordFault> {
    size_fault(text, LEAST, scheme)
        .or_else(|| nul_fault(text))
        .map_or(Ok(()), Err)
}

fn size_fault(text: &str, least: usize, scheme: HashScheme) -> Option<PasswordFault> {
    if text.chars().count() < least {
        Some(PasswordFault::TooShort { least })
    } else if text.len() > MAX_PASSWORD_BYTES {
        Some(PasswordFault::TooLong)
    } else if matches!(scheme, HashScheme::Bcrypt { .. }) && text.len() > BCRYPT_BYTES {
        Some(PasswordFault::TooLongForBcrypt)
    } else {
        None
    }
}

fn nul_fault(text: &str) -> Option<PasswordFault> {
    text.contains('\0').then_some(PasswordFault::Nul)
}

fn missing_kinds(text: &str) -> impl Iterator<Item = PasswordFault> {
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

fn is_own_name(text: &str, username: &Username, email: &Email) -> bool {
    let address = email.folded();
    let local = address.rsplit_once('@').map_or("", |(local, _)| local);
    let names = [username.as_str(), &address, local];
    // Somebody called alice99 tries alice2024 first.
    let bare = names.map(|name| name.trim_matches(|character: char| !character.is_alphabetic()));
    let own = names.into_iter().chain(bare).map(common::shape);
    let own: Vec<String> = own.filter(|name| name.chars().count() >= SHORTEST_NAME).collect();
    common::is_variation(text, |word| own.iter().any(|name| name == word))
}

fn is_common(text: &str) -> bool {
    common::is_predictable(text)
        || common::is_variation(text, |word| {
            NAMES_OF_THE_SERVICE
                .iter()
                .any(|name| common::shape(name) == word)
                || common::is_listed(word)
        })
}
