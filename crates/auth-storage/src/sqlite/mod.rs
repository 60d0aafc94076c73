//! SQLite: one writer that commits in groups, readers beside it, and what else this database wants its own way.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth_domain::id::ClientId;
use diesel::connection::SimpleConnection;
use diesel::dsl::exists;
use diesel::prelude::*;

use crate::OpenError;
use crate::error::StoreError;
use crate::schema::oauth_clients;

#[path = "../body/mod.rs"]
mod body;
mod checkpointer;
mod engine;
mod lane;
pub(crate) mod migrations;
mod readers;
mod writer;

pub(crate) use body::Adapter;
pub(crate) use engine::{Engine, open};
use migrations::are_pending as migrations_are_pending;

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

/// A connection that writes. Commits are durable: `synchronous=FULL` syncs the log before they return.
fn connect(file: &str, busy_timeout: Duration) -> Result<Conn, StoreError> {
    let mut conn = Conn::establish(file).map_err(|error| StoreError::NoConnection(error.to_string()))?;
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON;",
        busy_timeout.as_millis()
    ))?;
    Ok(conn)
}

/// Makes folder and file where they are missing, readable by their owner only, and gives the name that the library
/// takes: never one that it would read as something else than a path.
fn prepare_file(path: &Path) -> Result<String, OpenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| OpenError::Folder {
            path: folder.to_owned(),
            source,
        })?;
    }
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.metadata());
    let metadata = opened.map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = %format_args!("{mode:03o}"),
            "the database file can be read by other users of this machine; it should have mode 600"
        );
    }
    file_name(path)
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
        path: path.to_owned(),
        source: source.into(),
    }
}
