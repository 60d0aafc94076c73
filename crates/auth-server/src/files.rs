//! Reads the files that settings name: ordinary files of a sane size, and nothing that could hang or never end.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// Larger than any settings file, secret, certificate or key.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The system does not let us.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A folder, a pipe, a device or a socket.
    #[error("it is no ordinary file")]
    Special,
    /// It can't be what it is said to be.
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// Its secret is none.
    #[error(
        "others may read or change it (mode {mode:04o}): `chmod g-wx,o=` makes it private, and \
             its owner or its group has to be the server's"
    )]
    ReadableByOthers {
        /// Its permissions.
        mode: u32,
    },
}

/// Reads an ordinary file.
///
/// # Errors
/// Where it can't be read, is none, or is too large.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileFault> {
    read_from(open(path)?.0)
}

/// Reads an ordinary file that is a secret: of its owner, and of a group that may read it, as containers and
/// certificate tools hand out keys.
///
/// # Errors
/// As [`read`], and where others may read or change it.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileFault> {
    let (file, metadata) = open(path)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(FileFault::ReadableByOthers { mode });
    }
    read_from(file)
}

/// The mode of a file that others may read or change; `None` where they may not, or it can't be asked. A group that may
/// read it is how containers and certificate tools hand secrets out.
pub fn open_to_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

/// What shuts this process out of a file that it may not read, with what lets it in; `None` where that can't be told.
pub fn shut_out(path: &Path) -> Option<String> {
    let found = path
        .ancestors()
        .find_map(|above| Some((above, std::fs::metadata(above).ok()?)));
    let (found, metadata) = found?;
    // The nearest that can be asked about: the file itself, or the folder that may not be looked into.
    Some(format!(
        "{} belongs to {} and {}, with mode {:04o}, and this runs as {}: `chgrp` it to the group of the server's user and \
         let that in (`chmod {}`), or run this as the server's user",
        found.display(),
        user_named(metadata.uid()),
        group_named(metadata.gid()),
        metadata.permissions().mode() & 0o7777,
        user_named(geteuid().as_raw()),
        if metadata.is_dir() { "g+rx" } else { "g+r" }
    ))
}

/// A user by number, and by name where this machine has one.
pub fn user_named(number: u32) -> String {
    named("user", number, Path::new("/etc/passwd"))
}

fn group_named(number: u32) -> String {
    named("group", number, Path::new("/etc/group"))
}

/// Both files have the name first in a line and the number third.
fn named(kind: &str, number: u32, list: &Path) -> String {
    let list = read(list).unwrap_or_default();
    let list = String::from_utf8_lossy(&list);
    let name = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    });
    name.map_or_else(
        || format!("{kind} {number}"),
        |name| format!("{kind} {number} ({name})"),
    )
}

/// Whatever others may do, and what a group may do but read.
const OTHERS: u32 = 0o037;

/// What is asked of the path first keeps us from opening a pipe, which would wait for somebody to write to it. What
/// counts is asked of the opened file.
fn open(path: &Path) -> Result<(File, Metadata), FileFault> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileFault::Special);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileFault::Special);
    }
    Ok((file, metadata))
}

fn read_from(file: File) -> Result<Zeroizing<Vec<u8>>, FileFault> {
    let mut content = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let length = file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if u64::try_from(length).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(content)
    } else {
        Err(FileFault::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn said(read: Result<Zeroizing<Vec<u8>>, FileFault>) -> String {
        read.unwrap_err().to_string()
    }

    #[test]
    fn an_ordinary_file_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "ab").unwrap();
        assert_eq!(read(&path).unwrap().as_slice(), b"ab");
    }

    #[test]
    fn devices_and_folders_are_no_files() {
        for path in ["/dev/zero", "/dev/null", "/"] {
            assert_eq!(said(read(Path::new(path))), "it is no ordinary file", "{path}");
            assert_eq!(
                said(read_private(Path::new(path))),
                "it is no ordinary file",
                "{path}"
            );
        }
    }

    #[test]
    fn more_than_any_setting_holds_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(said(read(&path)), "it is larger than 1 MiB");
        File::create(&path).unwrap().set_len(MAX_BYTES).unwrap();
        assert!(read(&path).is_ok());
    }

    #[test]
    fn users_are_named_where_the_machine_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("passwd");
        fs::write(
            &list,
            "root:x:0:0::/root:/bin/sh\nbroken\nauth-service:x:995:994::/:/bin/false\n",
        )
        .unwrap();
        assert_eq!(named("user", 995, &list), "user 995 (auth-service)");
        assert_eq!(named("user", 994, &list), "user 994");
        assert_eq!(named("user", 0, Path::new("/does/not/exist")), "user 0");
    }

    #[test]
    fn who_is_shut_out_learns_whose_a_file_is_and_what_lets_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let said = shut_out(&file).unwrap();
        let owner = user_named(fs::metadata(&file).unwrap().uid());
        assert!(said.contains(&format!("belongs to {owner}")), "{said}");
        assert!(
            said.contains("mode 0600") && said.contains("`chmod g+r`"),
            "{said}"
        );
        let inside = shut_out(&folder.path().join("not-there")).unwrap();
        assert!(inside.contains("`chmod g+rx`"), "{inside}");
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        for (mode, is_private) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_private(&path).is_ok(), is_private, "{mode:o}");
        }
    }
}
