//! A backup: a copy of the database as it is at one moment, made beside its writer, and checked before it counts.
//!
//! SQLite's online backup reads within one transaction of its own, so the copy is of the moment at which that began,
//! however long it takes; the writer goes on beside it. (Without the transaction each write of another process would
//! make the copy begin again.) The one thing that grows meanwhile is the write-ahead log.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tempfile::{NamedTempFile, TempPath};

use super::{catalogue, ends, file_name, folder_open_to_others, migrations};
use crate::backup::{BackupError, Contents, Overwrite, Progress};

/// How many pages of 4 KiB are copied between two looks at how far it is.
const STEP: i32 = 2_048;
/// How long to wait for a lock: the writer never holds one that a reader has to wait for, another program might.
const PATIENCE: Duration = Duration::from_secs(5);
/// The name of a file that is no backup yet begins like this.
const PARTIAL: &str = ".auth-backup-";

type Rows = Vec<(String, u64)>;

/// Copies the database to a file that only its owner may read, which appears under its name when it is whole, checked
/// and on the disk.
pub(crate) fn backup(
    database: &Path,
    to: &Path,
    overwrite: Overwrite,
    progress: &mut dyn FnMut(Progress),
) -> Result<Contents, BackupError> {
    if !database.exists() {
        return Err(BackupError::NoDatabase {
            path: database.to_owned(),
        });
    }
    check_target(database, to, overwrite)?;
    let partial = partial_file(to)?;
    let rows = copy(database, partial.path(), progress)?;
    let contents = inspect(partial.path(), to)?;
    if contents.tables != rows {
        return Err(unsound(to, "its tables have other rows than the database had"));
    }
    put_in_place(partial, to, overwrite)?;
    Ok(contents)
}

fn check_target(database: &Path, to: &Path, overwrite: Overwrite) -> Result<(), BackupError> {
    if is_same_file(database, to) {
        return Err(BackupError::Itself { path: to.to_owned() });
    }
    if overwrite == Overwrite::Never && to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    Ok(())
}

/// Whether two paths lead to one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// A new file beside the one that it is to become, for its owner's eyes only; it goes when this is dropped. Nobody else may
/// write to the folder: the library finds a file's journal by its name, and would roll a stranger's back into it.
pub(super) fn partial_file(to: &Path) -> Result<NamedTempFile, BackupError> {
    if let Some(mode) = folder_open_to_others(to) {
        return Err(BackupError::FolderOpenToOthers {
            path: folder_of(to).to_owned(),
            mode,
        });
    }
    tempfile::Builder::new()
        .prefix(PARTIAL)
        .suffix(".partial")
        .tempfile_in(folder_of(to))
        .map_err(|source| BackupError::File {
            what: "make a file in",
            path: folder_of(to).to_owned(),
            source,
        })
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Copies page by page, and says how many rows each table had at that moment.
fn copy(database: &Path, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Rows, BackupError> {
    let failed = |source| BackupError::Database {
        what: "read the database",
        path: database.to_owned(),
        source: Box::new(source),
    };
    let source = open(database).map_err(failed)?;
    source
        .execute_batch("PRAGMA query_only = ON; BEGIN;")
        .map_err(failed)?;
    let rows = count_rows(&source).map_err(failed)?;
    copy_pages(&source, to, progress).map_err(|source| BackupError::Database {
        what: "copy to",
        path: to.to_owned(),
        source: Box::new(source),
    })?;
    Ok(rows)
}

fn copy_pages(source: &Connection, to: &Path, progress: &mut dyn FnMut(Progress)) -> rusqlite::Result<()> {
    let mut copy = open(to)?;
    // A copy that is cut short is thrown away: it needs no journal, and is synced as a whole in the end.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let pages = Backup::new(source, &mut copy)?;
    loop {
        let step = pages.step(STEP)?;
        let state = pages.progress();
        progress(Progress {
            total: state.pagecount.try_into().unwrap_or(0),
            left: state.remaining.try_into().unwrap_or(0),
        });
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err(busy()),
        }
    }
    drop(pages);
    be_one_file(&copy)
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
        Some("another program has locked the database".to_owned()),
    )
}

/// Turns the write-ahead log off, which the copy has learnt from its source: a backup is one file, and stays so when it
/// is looked into.
fn be_one_file(copy: &Connection) -> rusqlite::Result<()> {
    copy.execute_batch("PRAGMA journal_mode = DELETE;")
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// Checks that a file is a sound database of this program, and says what it holds. `name` is what messages call it.
pub(super) fn inspect(file: &Path, name: &Path) -> Result<Contents, BackupError> {
    let unreadable = |error: rusqlite::Error| unsound(name, &error.to_string());
    let uri = alone(file, name)?;
    let connection = open_alone(&uri).map_err(unreadable)?;
    let schema = schema_of(&connection).map_err(unreadable)?;
    let known = migrations::versions().map_err(|source| unsound(name, &source.to_string()))?;
    let Some(last) = schema.last() else {
        return Err(unsound(name, "it is no database of this program"));
    };
    if let Some(later) = schema.iter().find(|version| !known.contains(version)) {
        return Err(unsound(
            name,
            &format!("its schema {later} is of a later version of this program"),
        ));
    }
    // Before anything that would look into tables: a stranger's may be computed.
    let fault = catalogue::fault_in(&uri, &schema).map_err(|error| unsound(name, &error.to_string()))?;
    let fault = match fault {
        Some(fault) => Some(fault),
        None => fault_in(&connection).map_err(unreadable)?,
    };
    if let Some(fault) = fault {
        return Err(unsound(name, &fault));
    }
    Ok(Contents {
        tables: count_rows(&connection).map_err(unreadable)?,
        schema: last.clone(),
        bytes: file.metadata().map_or(0, |metadata| metadata.len()),
    })
}

/// The URI by which a file is read as it is: nothing is written to it or beside it, and what lies beside it, a journal
/// that somebody has put there for example, is left alone.
fn alone(file: &Path, name: &Path) -> Result<String, BackupError> {
    let file = file_name(file).map_err(|error| unsound(name, &error.to_string()))?;
    Ok(ends::uri(&file, "mode=ro&immutable=1"))
}

fn open_alone(uri: &str) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// The first thing that SQLite finds wrong.
fn fault_in(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(Some(found));
    }
    let orphaned = connection
        .query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0))
        .optional()?;
    Ok(orphaned.map(|table| format!("table {table} has rows that point nowhere")))
}

/// The versions of the schema that were applied to it; none where it keeps no record of them.
fn schema_of(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if !connection.table_exists(None, "__diesel_schema_migrations")? {
        return Ok(Vec::new());
    }
    let mut versions =
        connection.prepare("SELECT version FROM __diesel_schema_migrations ORDER BY version")?;
    versions.query_map([], |row| row.get(0))?.collect()
}

fn count_rows(connection: &Connection) -> rusqlite::Result<Rows> {
    let mut names = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    names
        .into_iter()
        .map(|name| {
            let quoted = name.replace('"', "\"\"");
            let count = format!("SELECT count(*) FROM \"{quoted}\"");
            let rows: i64 = connection.query_row(&count, [], |row| row.get(0))?;
            Ok((name, rows.try_into().unwrap_or(0)))
        })
        .collect()
}

/// Gives a finished file its name, in a way that survives a power failure.
pub(super) fn put_in_place(
    partial: NamedTempFile,
    to: &Path,
    overwrite: Overwrite,
) -> Result<(), BackupError> {
    let failed = |what: &'static str, source| BackupError::File {
        what,
        path: to.to_owned(),
        source,
    };
    let file = partial.as_file();
    file.sync_all().map_err(|source| failed("write", source))?;
    let path: TempPath = partial.into_temp_path();
    let placed = match overwrite {
        Overwrite::Never => path.persist_noclobber(to),
        Overwrite::Allowed => path.persist(to),
    };
    placed.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists { path: to.to_owned() },
        _ => failed("write", error.error),
    })?;
    sync_folder(folder_of(to))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| BackupError::File {
            what: "write the folder",
            path: PathBuf::from(folder),
            source,
        })
}

/// A file that can't be relied on.
pub(super) fn unsound(path: &Path, fault: &str) -> BackupError {
    BackupError::Unsound {
        path: path.to_owned(),
        fault: fault.to_owned(),
    }
}
