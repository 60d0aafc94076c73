//! SQLite: one writer that commits in groups, readers beside it, and what else this database wants its own way.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use auth_domain::id::ClientId;
use diesel::connection::SimpleConnection;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::result::Error as SqlError;

use crate::OpenError;
use crate::error::StoreError;
use crate::schema::{oauth_clients, refresh_tokens};
use crate::types::Id;

pub(crate) mod backup;
#[path = "../body/mod.rs"]
mod body;
mod catalogue;
mod checkpointer;
pub(crate) mod ends;
mod engine;
pub(crate) mod examine;
mod gathering;
mod lookups;
pub(crate) mod migrations;
#[cfg(test)]
mod plans;
mod readers;
pub(crate) mod restore;
mod rotation;
mod writer;

pub(crate) use body::Adapter;
use body::find_session;
pub(crate) use engine::{Engine, open};
use migrations::are_pending as migrations_are_pending;

/// How long to wait before asking once more for a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A connection.
pub(crate) type Conn = SqliteConnection;

/// Whether the client may be used, and stays so until the transaction ends: an immediate transaction keeps every
/// other writer out already, so no lock on the row is needed.
fn client_is_active(conn: &mut Conn, client_id: &ClientId) -> Result<bool, StoreError> {
    let active = oauth_clients::table
        .filter(oauth_clients::client_id.eq(client_id.as_str()))
        .filter(oauth_clients::is_active.eq(true));
    Ok(diesel::select(exists(active)).get_result(conn)?)
}

/// Keeps whoever else founds the store out until the transaction ends; an immediate transaction does already.
#[expect(
    clippy::unnecessary_wraps,
    reason = "on other databases this is a statement that can fail"
)]
fn found_alone(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Fails where the database takes no writes though a transaction could be begun; here none could have been.
#[expect(
    clippy::unnecessary_wraps,
    reason = "on other databases this is a statement that can fail"
)]
fn check_writable(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Follows chains from their heads to their first tokens that are still there, by primary key alone, and deletes them.
fn delete_chains(conn: &mut Conn, heads: &[Id]) -> Result<(), StoreError> {
    for head in heads {
        let mut next = Some(*head);
        while let Some(id) = next {
            next = diesel::delete(refresh_tokens::table.find(id))
                .returning(refresh_tokens::parent_id)
                .get_result::<Option<Id>>(conn)
                .optional()?
                .flatten();
        }
    }
    Ok(())
}

/// A connection that writes. Commits are durable: `synchronous=FULL` syncs the log before they return.
fn connect(file: &str, busy_timeout: Duration) -> Result<Conn, StoreError> {
    let mut conn = Conn::establish(file).map_err(|error| StoreError::NoConnection(error.to_string()))?;
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {}; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
        busy_timeout.as_millis()
    ))?;
    turn_log_on(&mut conn, busy_timeout)?;
    Ok(conn)
}

/// Turns the write-ahead log on, which the file then remembers. Where several processes do so to a new file at once,
/// the library tells all but one that it is locked without waiting first; so the waiting is done here.
#[expect(
    clippy::disallowed_methods,
    reason = "no event tells that another process's lock is gone, and the library does not wait for this one"
)]
fn turn_log_on(conn: &mut Conn, busy_timeout: Duration) -> Result<(), StoreError> {
    let deadline = Instant::now() + busy_timeout;
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL;") {
            Err(error) if is_locked(&error) && Instant::now() < deadline => thread::park_timeout(LOCK_PAUSE),
            settled => return Ok(settled?),
        }
    }
}

/// Diesel gives this result of the library no kind of its own; its words have not changed since SQLite 3.
fn is_locked(error: &SqlError) -> bool {
    matches!(error, SqlError::DatabaseError(_, details) if details.message() == "database is locked")
}

/// Makes folder and file where they are missing, readable by their owner only, and gives the name that the library
/// takes: never one that it would read as something else than a path.
pub(crate) fn prepare_file(path: &Path) -> Result<String, OpenError> {
    make_folder(path).map_err(|source| OpenError::Folder {
        path: backup::folder_of(path).to_owned(),
        source,
    })?;
    if let Some(mode) = folder_open_to_others(path) {
        return Err(OpenError::FolderOpenToOthers {
            path: backup::folder_of(path).to_owned(),
            mode,
        });
    }
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    opened.map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    // The library gives the log and its index the file's own mode. What an older file left behind may have another.
    for suffix in ["", "-wal", "-shm"] {
        check_privacy(&with_suffix(path, suffix))?;
    }
    file_name(path)
}

/// Makes the folder of a file where it is missing.
fn make_folder(path: &Path) -> io::Result<()> {
    let folder = backup::folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The name with something behind it: of the write-ahead log, for example.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The mode of a file's folder, where others than its owner may change it: they could move the file away and put another
/// in its place, or lay beside it what the library takes for its journal.
fn folder_open_to_others(path: &Path) -> Option<u32> {
    let metadata = backup::folder_of(path).metadata().ok()?;
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o022 != 0).then_some(mode)
}

/// Refuses a file that everybody may read, or a group may change. A group that may read it, to back it up perhaps, is an
/// operator's decision, and is told what it comes to.
fn check_privacy(path: &Path) -> Result<(), OpenError> {
    let Ok(metadata) = path.metadata() else {
        return Ok(());
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(OpenError::OpenToOthers {
            path: path.to_owned(),
            mode,
        });
    }
    if mode & 0o040 != 0 {
        tracing::warn!(
            event_type = "database",
            file = %path.display(),
            mode = %format_args!("{mode:03o}"),
            "the group of the database file can read everybody's password hash; it should have mode 600"
        );
    }
    Ok(())
}

fn file_name(path: &Path) -> Result<String, OpenError> {
    let plain: PathBuf = Path::new(".").join(path);
    let name = plain.to_str().ok_or_else(|| OpenError::Name {
        path: path.to_owned(),
    })?;
    Ok(name.to_owned())
}

fn database_error(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Database {
        database: path.display().to_string(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use diesel::sql_types::Text;

    use super::*;

    #[derive(QueryableByName)]
    struct CompileOption {
        #[diesel(sql_type = Text)]
        compile_options: String,
    }

    #[test]
    fn the_library_is_built_as_the_configuration_of_cargo_says() {
        let mut conn = Conn::establish(":memory:").unwrap();
        let options: Vec<CompileOption> = diesel::sql_query("PRAGMA compile_options")
            .load(&mut conn)
            .unwrap();
        let has = |name: &str| options.iter().any(|option| option.compile_options == name);
        for name in ["THREADSAFE=2", "DEFAULT_MEMSTATUS=0", "OMIT_SHARED_CACHE"] {
            assert!(has(name), "{name}");
        }
        assert!(!has("ENABLE_MEMORY_MANAGEMENT"));
    }
}
