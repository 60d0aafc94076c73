//! Puts a backup in the database's place: checked before anything is touched, and with what was there kept beside it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::backup::{folder_of, inspect, is_same_file, partial_file, put_in_place, sync_folder, unsound};
use super::{make_folder, with_suffix};
use crate::backup::{BackupError, Overwrite, Restored};

/// Replaces the database by a backup. What was there, sound or broken, stays beside it, its name ending in `.` and
/// `kept_as`.
pub(crate) fn restore(from: &Path, database: &Path, kept_as: &str) -> Result<Restored, BackupError> {
    if is_same_file(from, database) {
        return Err(BackupError::Itself {
            path: from.to_owned(),
        });
    }
    make_folder(database).map_err(|source| BackupError::File {
        what: "make the folder",
        path: folder_of(database).to_owned(),
        source,
    })?;
    let new = bring(from, database)?;
    let contents = inspect(new.path(), from)?;
    // Held until the new file is in place: whoever starts a server meanwhile finds the old one locked.
    let held = hold(database)?;
    let kept = match &held {
        Some(_) => Some(set_aside(database, kept_as)?),
        None => None,
    };
    if let Err(error) = put_in_place(new, database, Overwrite::Never) {
        if let Some(kept) = &kept {
            take_back(kept, database);
        }
        return Err(error);
    }
    drop(held);
    Ok(Restored { contents, kept })
}

/// Copies the backup into the database's folder, where it can be put in place in one step.
fn bring(from: &Path, database: &Path) -> Result<NamedTempFile, BackupError> {
    let unreadable = |source| BackupError::File {
        what: "read",
        path: from.to_owned(),
        source,
    };
    if !from.metadata().map_err(unreadable)?.is_file() {
        return Err(unsound(from, "it is no ordinary file"));
    }
    if with_suffix(from, "-wal")
        .metadata()
        .is_ok_and(|log| log.len() > 0)
    {
        return Err(unsound(
            from,
            "a write-ahead log lies beside it, so it is a database in use or one that was left in haste; \
             `auth-service backup` makes a backup of it",
        ));
    }
    let mut source = File::open(from).map_err(unreadable)?;
    let mut new = partial_file(database)?;
    io::copy(&mut source, new.as_file_mut()).map_err(|source| BackupError::File {
        what: "copy",
        path: from.to_owned(),
        source,
    })?;
    Ok(new)
}

/// Locks the database against everybody else, where there is one. SQLite holds a lock of this kind for as long as it
/// has a database with a write-ahead log open; and unlike SQLite itself this takes broken files as well.
fn hold(database: &Path) -> Result<Option<File>, BackupError> {
    let failed = |source| BackupError::File {
        what: "lock",
        path: database.to_owned(),
        source,
    };
    let file = match File::options().read(true).write(true).open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(BackupError::InUse {
            path: database.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Gives the database and its log other names, by which SQLite still finds them together.
fn set_aside(database: &Path, kept_as: &str) -> Result<PathBuf, BackupError> {
    let kept = with_suffix(database, &format!(".{kept_as}"));
    if kept.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: kept });
    }
    let failed = |path: &Path, source| BackupError::File {
        what: "set aside",
        path: path.to_owned(),
        source,
    };
    fs::rename(database, &kept).map_err(|error| failed(database, error))?;
    let log = with_suffix(database, "-wal");
    if let Err(error) = rename_if_there(&log, &with_suffix(&kept, "-wal")) {
        take_back(&kept, database);
        return Err(failed(&log, error));
    }
    // The index of the log is made anew from it whenever it is missing.
    remove_if_there(&with_suffix(database, "-shm")).map_err(|error| failed(database, error))?;
    sync_folder(folder_of(database))?;
    Ok(kept)
}

/// Gives what was set aside its own name again. What can't be done here is no worse than what led to it, which is told.
fn take_back(kept: &Path, database: &Path) {
    let log = with_suffix(kept, "-wal");
    let renamed = rename_if_there(&log, &with_suffix(database, "-wal"));
    if let Err(error) = renamed.and_then(|()| fs::rename(kept, database)) {
        tracing::error!(
            event_type = "database",
            cause = %error,
            kept = %kept.display(),
            "what was set aside could not be put back: it is whole under its new name"
        );
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    ignore_missing(fs::rename(from, to))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(path))
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
