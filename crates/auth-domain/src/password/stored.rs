//! Stored hashes: by which scheme each is compared, with how much of a password, and when it is replaced.

use super::HashScheme;
use crate::secret::{Password, PasswordHash};

/// bcrypt looks at no more of a password than this.
pub const BCRYPT_BYTES: usize = 72;

/// What stands before a hash of the older service: `$bcrypt-cut$2b$12$…` in place of `$2b$12$…`.
const CUT_MARK: &str = "$bcrypt-cut";

/// What a stored hash says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredHash {
    /// How it was computed.
    pub scheme: HashScheme,
    /// Of what.
    pub reach: Reach,
}

/// How much of a password a hash was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of it. One that the scheme does not take whole is another password.
    Whole,
    /// Its first [`BCRYPT_BYTES`], whatever followed: the older service cut passwords there in silence, so nobody has
    /// ever verified the rest.
    Cut,
}

/// What becomes of bcrypt hashes when their password is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyHashes {
    /// They give way to hashes of the current scheme.
    Replaced,
    /// They stay as they are, so that the older service could take over again.
    Kept,
}

impl StoredHash {
    /// Reads a stored hash; `None` where it is none that could be computed.
    pub fn of(hash: &PasswordHash) -> Option<Self> {
        let reach = if hash.expose().starts_with(CUT_MARK) {
            Reach::Cut
        } else {
            Reach::Whole
        };
        let scheme = HashScheme::of_text(bare(hash))?;
        let is_sound = reach == Reach::Whole || matches!(scheme, HashScheme::Bcrypt { .. });
        is_sound.then_some(Self { scheme, reach })
    }

    /// The part of a password that is compared with the hash; `None` where the password can't be the right one, though
    /// the scheme might say so of a part of it.
    pub fn part_of<'a>(&self, password: &'a Password) -> Option<&'a [u8]> {
        let bytes = password.expose().as_bytes();
        match self.reach {
            Reach::Whole => self.scheme.takes_whole(password).then_some(bytes),
            Reach::Cut if bytes.contains(&0) => None,
            Reach::Cut => Some(bytes.get(..BCRYPT_BYTES).unwrap_or(bytes)),
        }
    }

    /// Whether the hash, which has just been verified by this password, should be replaced by one of the current scheme.
    ///
    /// Never where that would make bytes count that nobody has verified, or the current scheme would cut the password.
    pub fn is_outdated(&self, password: &Password, current: HashScheme, legacy: LegacyHashes) -> bool {
        let is_kept = legacy == LegacyHashes::Kept && matches!(self.scheme, HashScheme::Bcrypt { .. });
        let is_due = match self.reach {
            Reach::Whole => self.scheme != current,
            Reach::Cut => password.expose().len() <= BCRYPT_BYTES,
        };
        is_due && !is_kept && current.takes_whole(password)
    }
}

/// Marks a bcrypt hash of the older service as one of a password that may have been cut. One that is marked stays as it is.
pub fn mark_cut(hash: &PasswordHash) -> PasswordHash {
    PasswordHash::new(format!("{CUT_MARK}{}", bare(hash)))
}

/// A stored hash without that mark, as the functions that compute it read it, and as the older service wrote it.
pub fn bare(hash: &PasswordHash) -> &str {
    let text = hash.expose();
    text.strip_prefix(CUT_MARK).unwrap_or(text)
}
