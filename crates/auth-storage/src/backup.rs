//! Backups of an embedded database: made beside its writer, and put back in its place.

use std::path::{Path, PathBuf};

use crate::sqlite;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// How many rows each table has, in the order of their names.
    pub tables: Vec<(String, u64)>,
    /// The version of the schema that was applied last.
    pub schema: String,
    /// How large the file is.
    pub bytes: u64,
}

/// How far a copy is, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many there are.
    pub total: u64,
    /// How many are still to be copied.
    pub left: u64,
}

/// What is done about a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays, and nothing is written.
    Never,
    /// It is replaced, in one step, when the new one is finished.
    Allowed,
}

/// What a restore has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the database holds now.
    pub contents: Contents,
    /// Where what was there before is now; `None` where there was nothing.
    pub kept: Option<PathBuf>,
}

/// Why a backup could not be made or put back. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to be backed up.
    #[error("there is no database at {path}")]
    NoDatabase {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something is there that would be overwritten.
    #[error("{path} is there already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A database can't be its own backup.
    #[error("{path} is the database itself")]
    Itself {
        /// The file.
        path: PathBuf,
    },
    /// Somebody has the database open.
    #[error("{path} is in use by a server or another program")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The file is no backup that can be relied on.
    #[error("{path} can't be used: {fault}")]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Others may write to the folder in which the file is to be made.
    #[error(
        "others may change what is written to the folder {path} (mode {mode:04o}); take a folder of its own (mode 0700), \
         or `chmod go-w` this one"
    )]
    FolderOpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system says no.
    #[error("{what} {path}")]
    File {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it could not be.
        #[source]
        source: std::io::Error,
    },
    /// The database says no.
    #[error("{what} {path}")]
    Database {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it could not be.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Copies the database in a file as it is at one moment, while whoever writes to it goes on. The copy is one file for its
/// owner's eyes only; it gets its name when it is whole, checked and on the disk.
///
/// # Errors
/// [`BackupError`]; there is no file of that name then that was not there before.
pub fn backup(
    database: &Path,
    to: &Path,
    overwrite: Overwrite,
    progress: &mut dyn FnMut(Progress),
) -> Result<Contents, BackupError> {
    sqlite::backup::backup(database, to, overwrite, progress)
}

/// Puts a backup in the place of the database in a file, which nobody may have open. What was there is kept beside it, its
/// name ending in `.` and `kept_as`.
///
/// # Errors
/// [`BackupError`]; the database is as it was then.
pub fn restore(from: &Path, database: &Path, kept_as: &str) -> Result<Restored, BackupError> {
    sqlite::restore::restore(from, database, kept_as)
}
