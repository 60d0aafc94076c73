//! Files that must be private, whole and durable.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::KeyError;

/// Larger than any key or manifest.
const MAX_BYTES: u64 = 256 * 1024;

/// Reads a private key's file, which must be readable by its owner alone.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (file, metadata) = open(path)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::ReadableByOthers {
            path: path.to_owned(),
            mode,
        });
    }
    read(file, path)
}

/// Reads a file that is no secret.
pub(crate) fn read_public(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    read(open(path)?.0, path)
}

/// Opens an ordinary file. The path is asked first: to open a pipe would wait for somebody to write to it. What
/// counts is asked of the opened file, which can't be exchanged any more.
fn open(path: &Path) -> Result<(File, Metadata), KeyError> {
    let special = || KeyError::Special {
        path: path.to_owned(),
    };
    let inspect = KeyError::io("inspect", path);
    if !std::fs::metadata(path)
        .map_err(KeyError::io("open", path))?
        .is_file()
    {
        return Err(special());
    }
    let file = File::open(path).map_err(KeyError::io("open", path))?;
    let metadata = file.metadata().map_err(inspect)?;
    if !metadata.is_file() {
        return Err(special());
    }
    Ok((file, metadata))
}

fn read(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut content = Zeroizing::new(Vec::with_capacity(8 * 1024));
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(KeyError::io("read", path))?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(content)
    } else {
        Err(KeyError::TooLarge {
            path: path.to_owned(),
            limit: MAX_BYTES,
        })
    }
}

/// Puts a file of mode 0600 into a directory, whole or not at all, and durably. The caller holds the directory's
/// lock, so the temporary name is nobody else's.
pub(crate) fn write_private(directory: &Path, name: &str, content: &[u8]) -> Result<(), KeyError> {
    let path = directory.join(name);
    let temporary = directory.join(format!(".{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(KeyError::io("create", &temporary))?;
    file.write_all(content)
        .map_err(KeyError::io("write", &temporary))?;
    file.sync_all().map_err(KeyError::io("sync", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(KeyError::io("put in place", &path))?;
    sync_directory(directory)
}

/// Makes what was created, renamed or removed in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), KeyError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(KeyError::io("sync", directory))
}

/// Makes a directory of mode 0700, unless it is there; then nobody else may be able to write to it.
pub(crate) fn private_directory(path: &Path) -> Result<(), KeyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(KeyError::io("create", path))?;
    check_private_directory(path)
}

/// Checks that nobody but its owner can write to a directory.
pub(crate) fn check_private_directory(path: &Path) -> Result<(), KeyError> {
    let metadata = std::fs::metadata(path).map_err(KeyError::io("inspect", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(KeyError::WritableByOthers {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Locks a directory against other processes and threads until the answer is dropped.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, KeyError> {
    let path = directory.join("keyring.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(KeyError::io("open", &path))?;
    file.lock().map_err(KeyError::io("lock", &path))?;
    Ok(file)
}
