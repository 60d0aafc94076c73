//! Password hashes of the older service: bcrypt by passlib, which looked at the first 72 bytes of a password.

use crate::password::{HashScheme, Reach, StoredHash, bare, mark_cut};
use crate::secret::PasswordHash;

/// How long bcrypt's own form is: `$2b$12$`, 22 digits of salt, 31 of the digest.
const BCRYPT_LENGTH: usize = 60;

/// The hash as it is kept here, marked as one of a password that may have been cut; `None` where it is not of bcrypt.
pub(super) fn taken(theirs: &PasswordHash) -> Option<PasswordHash> {
    let is_bcrypt = StoredHash::of(theirs).is_some_and(|stored| {
        matches!(stored.scheme, HashScheme::Bcrypt { .. }) && stored.reach == Reach::Whole
    });
    (is_bcrypt && theirs.expose().len() == BCRYPT_LENGTH).then(|| mark_cut(theirs))
}

/// Whether a hash is one that was taken, and not renewed here.
pub(super) fn was_taken(ours: &PasswordHash) -> bool {
    StoredHash::of(ours).is_some_and(|stored| stored.reach == Reach::Cut)
}

/// The hash as the older service knew it; `None` where that could not verify it.
pub(super) fn handed_back(ours: &PasswordHash) -> Option<PasswordHash> {
    match HashScheme::of(ours)? {
        HashScheme::Bcrypt { .. } => Some(PasswordHash::new(bare(ours).to_owned())),
        HashScheme::Argon2id { .. } => None,
    }
}
