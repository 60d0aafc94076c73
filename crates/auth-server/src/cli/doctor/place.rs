//! What the file system says about a place: whose it is, who else may look into it, and how much room there is.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use super::finding::Finding;
use crate::files::user_named;

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
    let owner_of = |path: &Path| owned(path).ok().map(|found| found.owner);
    let owner = owner_of(path);
    let folder = path.parent().and_then(owner_of);
    let nearest = owner.or_else(|| path.ancestors().find_map(owner_of));
    let mend = way_in(path, geteuid().as_raw(), owner.zip(folder), nearest);
    Finding::fail(subject, said, mend)
}

/// What lets this user in: by the owners of the file and of its folder where both are known, or else by that of the
/// nearest that is.
fn way_in(path: &Path, mine: u32, owners: Option<(u32, u32)>, nearest: Option<u32>) -> String {
    let me = user_named(mine);
    match (owners, nearest) {
        (Some((of_file, of_folder)), _) if of_file != mine && of_folder == mine => format!(
            "The folder belongs to {me}, and this file to {}: a command that ran as that user has made it. \
             chown {mine} {}",
            user_named(of_file),
            path.display()
        ),
        (_, Some(owner)) if owner != mine => format!(
            "This runs as {me}, and it belongs to {}: run `auth-service doctor` as the server's user.",
            user_named(owner)
        ),
        _ => "The server's user has to be able to read it.".to_owned(),
    }
}

/// Free bytes where a path lies, for whoever is not root.
///
/// # Errors
/// Where the system does not say.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(path)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Numbers that no machine has given out.
    const SERVER: u32 = 4_000_000_001;
    const OTHER: u32 = 4_000_000_002;

    #[rstest]
    #[case::left_by_another(SERVER, Some((OTHER, SERVER)), Some(OTHER), "chown 4000000001 data/auth.db")]
    #[case::asked_by_another(OTHER, Some((SERVER, SERVER)), Some(SERVER), "run `auth-service doctor` as the server's")]
    #[case::in_a_closed_folder(OTHER, None, Some(SERVER), "it belongs to user 4000000001: run")]
    #[case::own(SERVER, Some((SERVER, SERVER)), Some(SERVER), "has to be able to read it")]
    #[case::unknown(SERVER, None, None, "has to be able to read it")]
    fn who_is_kept_out_is_told_the_way_in(
        #[case] mine: u32,
        #[case] owners: Option<(u32, u32)>,
        #[case] nearest: Option<u32>,
        #[case] says: &str,
    ) {
        let said = way_in(Path::new("data/auth.db"), mine, owners, nearest);
        assert!(said.contains(says), "{said}");
    }
}
