//! Password hashes of the older service: bcrypt by passlib, which looked at the first 72 bytes of a password.

use crate::password::HashScheme;
use crate::secret::PasswordHash;

/// How long bcrypt's own form is: `$2b$12$`, 22 digits of salt, 31 of the digest.
const BCRYPT_LENGTH: usize = 60;

/// The hash as it is kept here; `None` where it is not of bcrypt.
pub(super) fn taken(theirs: &PasswordHash) -> Option<PasswordHash> {
    let is_bcrypt = matches!(HashScheme::of(theirs), Some(HashScheme::Bcrypt { .. }));
    (is_bcrypt && theirs.expose().len() == BCRYPT_LENGTH).then(|| theirs.clone())
}

/// Whether a hash is one that was taken, and not renewed here.
pub(super) fn was_taken(ours: &PasswordHash) -> bool {
    handed_back(ours).is_some()
}

/// The hash as the older service knew it; `None` where that could not verify it.
pub(super) fn handed_back(ours: &PasswordHash) -> Option<PasswordHash> {
    taken(ours)
}
