//! The versions of the schema: applied, taken back, listed.

use crate::sqlite::migrations as sqlite;
use crate::{DatabaseUrl, OpenError};

/// The migrations of one database.
#[derive(Debug, Clone)]
pub struct Migrations {
    url: DatabaseUrl,
}

/// One migration of this program, as a database stands to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its name.
    pub name: String,
    /// Whether it has been applied.
    pub is_applied: bool,
}

impl Migrations {
    /// The migrations of the database at this URL.
    pub fn of(url: &DatabaseUrl) -> Self {
        Self { url: url.clone() }
    }

    /// Applies what is pending, each in a transaction of its own, and names it in order. Of several processes that
    /// do this at once one does it, and the others find nothing left.
    ///
    /// # Errors
    /// Where the database can't be opened or a migration fails; those before it stand.
    pub fn up(&self) -> Result<Vec<String>, OpenError> {
        sqlite::up(self.url.path())
    }

    /// Takes the last applied migration back, with all that it holds, and names it; `None` where there is none.
    ///
    /// # Errors
    /// Where the database can't be opened or the migration can't be taken back.
    pub fn down(&self) -> Result<Option<String>, OpenError> {
        sqlite::down(self.url.path())
    }

    /// Every migration of this program, in order.
    ///
    /// # Errors
    /// Where the database can't be opened.
    pub fn status(&self) -> Result<Vec<MigrationStatus>, OpenError> {
        sqlite::status(self.url.path())
    }
}
