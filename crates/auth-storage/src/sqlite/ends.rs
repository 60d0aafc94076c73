//! Both ends of a transfer, where they are files.

use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::migrations::PATIENCE;
use super::{Conn, connect, database_error, file_name};
use crate::OpenError;
use crate::error::StoreError;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

/// Begins to see one moment of the database, from the first query on.
pub(crate) const SNAPSHOT: &str = "BEGIN";

/// What of a path stands in a URI as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A connection that can't write, since the file is opened for reading only.
pub(crate) fn source(path: &Path) -> Result<Conn, OpenError> {
    let file = file_name(path)?;
    read_only(&file).map_err(|error| database_error(path, error))
}

fn read_only(file: &str) -> Result<Conn, StoreError> {
    let mut conn = Conn::establish(&uri(file, "mode=ro"))
        .map_err(|error| StoreError::NoConnection(error.to_string()))?;
    conn.batch_execute(&format!("PRAGMA busy_timeout = {};", PATIENCE.as_millis()))?;
    Ok(conn)
}

/// The file's name as the library takes it with parameters.
pub(super) fn uri(file: &str, parameters: &str) -> String {
    format!("file:{}?{parameters}", utf8_percent_encode(file, ESCAPED))
}

/// A connection to a database that has the schema already.
pub(crate) fn target(path: &Path) -> Result<Conn, OpenError> {
    let file = file_name(path)?;
    connect(&file, PATIENCE).map_err(|error| database_error(path, error))
}
