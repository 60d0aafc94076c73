//! The older service's database on SQLite.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, absolute};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::error::StoreError;
use crate::legacy::Fault;

#[path = "body.rs"]
mod body;

/// A connection.
type Conn = SqliteConnection;

const TABLES: &str = include_str!("sqlite.sql");
/// All columns of all tables.
const COLUMNS: &str = "\
    SELECT item.name AS table_name, info.name AS column_name \
    FROM sqlite_schema AS item JOIN pragma_table_info(item.name) AS info WHERE item.type IN ('table', 'view')";
/// How a database begins.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// How long to wait for a writer of the older service.
const PATIENCE: &str = "PRAGMA busy_timeout = 10000;";
/// Where a database's header says by which means it is written, and what stands there for the write-ahead log.
const WRITE_VERSION: usize = 18;
const WRITE_AHEAD_LOG: u8 = 2;

/// Opens it for reading. The library opens the file itself for reading only, and all queries see one moment.
pub(super) fn open_source(path: &Path) -> Result<body::Source, Fault> {
    let mut conn = connect(&uri(path, &source_mode(path)?)?)?;
    conn.batch_execute(PATIENCE)?;
    conn.batch_execute("PRAGMA query_only = ON; BEGIN;")?;
    body::Source::over(conn, COLUMNS)
}

/// Opens it for writing, in one transaction.
pub(super) fn open_sink(path: &Path) -> Result<body::Sink, Fault> {
    // A file that has just been made is empty, and becomes a database by being written.
    if header(path)?.is_none_or(|header| !header.starts_with(MAGIC)) && !is_empty(path)? {
        return Err(no_database());
    }
    let mut conn = connect(&uri(path, "rw")?)?;
    conn.batch_execute(PATIENCE)?;
    conn.batch_execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; BEGIN IMMEDIATE;")?;
    body::Sink::over(conn, COLUMNS, TABLES)
}

fn connect(uri: &str) -> Result<Conn, StoreError> {
    Conn::establish(uri).map_err(|error| StoreError::NoConnection(error.to_string()))
}

/// Even who only reads a database with a write-ahead log makes the log's files where there are none. Where there are
/// none nobody has it open, and it can be read as a file that does not change.
fn source_mode(path: &Path) -> Result<String, Fault> {
    if is_empty(path)? {
        return Err(Fault::Stranger("it is an empty file".to_owned()));
    }
    let header = header(path)?
        .filter(|header| header.starts_with(MAGIC))
        .ok_or_else(no_database)?;
    let has_log = header.last() == Some(&WRITE_AHEAD_LOG);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Ok(if has_log && !Path::new(&log).exists() {
        "ro&immutable=1".to_owned()
    } else {
        "ro".to_owned()
    })
}

fn is_empty(path: &Path) -> Result<bool, StoreError> {
    Ok(fs::metadata(path).map_err(|error| unreadable(&error))?.len() == 0)
}

/// How a file begins; `None` where it is too short for a database, or a folder.
fn header(path: &Path) -> Result<Option<[u8; WRITE_VERSION + 1]>, StoreError> {
    let mut header = [0_u8; WRITE_VERSION + 1];
    let mut file = File::open(path).map_err(|error| unreadable(&error))?;
    Ok(file.read_exact(&mut header).is_ok().then_some(header))
}

fn unreadable(error: &io::Error) -> StoreError {
    StoreError::NoConnection(error.to_string())
}

fn no_database() -> Fault {
    Fault::Stranger("it is no SQLite database".to_owned())
}

/// The file's name as the library reads it where it takes parameters.
fn uri(path: &Path, mode: &str) -> Result<String, StoreError> {
    let path = absolute(path).map_err(|error| StoreError::NoConnection(error.to_string()))?;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => write!(uri, "%{other:02X}").unwrap_or_default(),
        }
    }
    uri.push_str("?mode=");
    uri.push_str(mode);
    Ok(uri)
}
