//! What the file system says about a place: whose it is, who else may look into it, and how much room there is.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use super::finding::Finding;

/// Whose a file is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned {
    /// The user's number.
    pub(super) owner: u32,
    /// The permission bits.
    pub(super) mode: u32,
}

/// Asks about a file or folder.
///
/// # Errors
/// Where it is not there, or the system does not say.
pub(super) fn owned(path: &Path) -> io::Result<Owned> {
    let metadata = std::fs::metadata(path)?;
    Ok(Owned {
        owner: metadata.uid(),
        mode: metadata.mode() & 0o7777,
    })
}

/// What can't be read, and who could.
pub(super) fn unreadable(subject: &'static str, path: &Path, error: &io::Error) -> Finding {
    let said = format!("{} can't be read: {error}", path.display());
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Finding::fail(
            subject,
            said,
            "Put it in place, or correct the setting that names it.",
        );
    }
    let mine = geteuid().as_raw();
    let owner = path.ancestors().find_map(|above| owned(above).ok());
    let mend = match owner {
        Some(Owned { owner, .. }) if owner != mine => format!(
            "This runs as user {mine}, and it belongs to user {owner}: run `auth-service doctor` as the server's user."
        ),
        Some(_) | None => "The server's user has to be able to read it.".to_owned(),
    };
    Finding::fail(subject, said, mend)
}

/// Free bytes where a path lies, for whoever is not root.
///
/// # Errors
/// Where the system does not say.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(path)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}
