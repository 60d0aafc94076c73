//! Looks at a database from outside: which version it is, what time it has, and whether it takes writes.
//!
//! Writes are tried in a transaction that is taken back; nothing is made, changed or left behind.

use auth_domain::time::Timestamp;

use crate::{DatabaseUrl, OpenError, postgres, sqlite};

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// What it is, such as `SQLite 3.50.2`.
    pub version: String,
    /// Whether it takes writes.
    pub writing: Writing,
    /// What only a server has; `None` of a file.
    pub server: Option<ServerExamination>,
}

/// Whether a database takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writing {
    /// It took one, which was then taken back.
    Works,
    /// It refused one, and said this.
    Refused(String),
    /// There are no tables yet that one could be tried on.
    Untried,
}

/// What a database server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerExamination {
    /// Its major version, such as 15.
    pub major: u32,
    /// Its time of day.
    pub clock: Timestamp,
    /// Who is connected.
    pub role: String,
    /// Whether that one may do anything at all there.
    pub is_superuser: bool,
}

/// Examines the database at this URL; of an SQLite file, one that is there.
///
/// # Errors
/// Where it can't be opened or asked.
pub fn examine(url: &DatabaseUrl) -> Result<Examination, OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => sqlite::examine::examine(path),
        DatabaseUrl::Postgres(url) => postgres::examine::examine(url),
    }
}
