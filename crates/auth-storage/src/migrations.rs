//! The versions of the schema: applied, taken back, listed.

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::postgres::migrations as postgres;
use crate::sqlite::migrations as sqlite;
use crate::{DatabaseUrl, OpenError};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

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

    /// Applies what is pending, all of it in one transaction, and names it in order. Of several processes that do this at
    /// once one does it, and the others find nothing left.
    ///
    /// # Errors
    /// Where the database can't be opened or a migration fails; then nothing is applied.
    pub fn up(&self) -> Result<Vec<String>, OpenError> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => sqlite::up(path),
            DatabaseUrl::Postgres(url) => postgres::up(url),
        }
    }

    /// Takes the last applied migration back, with all that it holds, and names it; `None` where there is none.
    ///
    /// # Errors
    /// Where the database can't be opened or the migration can't be taken back.
    pub fn down(&self) -> Result<Option<String>, OpenError> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => sqlite::down(path),
            DatabaseUrl::Postgres(url) => postgres::down(url),
        }
    }

    /// Every migration of this program, in order.
    ///
    /// # Errors
    /// Where the database can't be opened.
    pub fn status(&self) -> Result<Vec<MigrationStatus>, OpenError> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => sqlite::status(path),
            DatabaseUrl::Postgres(url) => postgres::status(url),
        }
    }

    /// The versions that have been applied and that this program does not know, in order: a later one has.
    ///
    /// # Errors
    /// Where the database can't be opened.
    pub fn later(&self) -> Result<Vec<String>, OpenError> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => sqlite::later(path),
            DatabaseUrl::Postgres(url) => postgres::later(url),
        }
    }
}

/// The migrations of one kind of database, in order.
pub(crate) fn all<DB: Backend>(
    embedded: &EmbeddedMigrations,
) -> Result<Vec<Box<dyn Migration<DB>>>, BoxError> {
    let mut all: Vec<Box<dyn Migration<DB>>> = embedded.migrations()?;
    all.sort_by(|one, other| one.name().version().cmp(&other.name().version()));
    Ok(all)
}

/// The versions of those.
pub(crate) fn versions<DB: Backend>(embedded: &EmbeddedMigrations) -> Result<Vec<String>, BoxError> {
    let all = all::<DB>(embedded)?;
    Ok(all
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect())
}

/// Applies what is pending, within a transaction of the caller's, and names it.
pub(crate) fn bring_up<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    embedded: EmbeddedMigrations,
) -> Result<Vec<String>, FailedMigration> {
    let all = all::<DB>(&embedded)?;
    let versions = conn.run_pending_migrations(embedded)?;
    let done = all
        .iter()
        .filter(|migration| versions.contains(&migration.name().version()));
    Ok(done.map(|migration| migration.name().to_string()).collect())
}

/// Takes the last one back, within a transaction of the caller's, and names it.
pub(crate) fn take_back<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    embedded: &EmbeddedMigrations,
) -> Result<Option<String>, FailedMigration> {
    let Some(last) = conn.applied_migrations()?.into_iter().max() else {
        return Ok(None);
    };
    let known = all::<DB>(embedded)?
        .into_iter()
        .find(|migration| migration.name().version() == last)
        .ok_or_else(|| format!("migration {last} is of a later version of this program"))?;
    conn.revert_migration(&known)?;
    Ok(Some(known.name().to_string()))
}

/// How a database stands to each migration, by what has been applied to it.
pub(crate) fn standing<DB: Backend>(
    embedded: &EmbeddedMigrations,
    applied: &[String],
) -> Result<Vec<MigrationStatus>, BoxError> {
    let all = all::<DB>(embedded)?;
    let standing = all.iter().map(|migration| MigrationStatus {
        name: migration.name().to_string(),
        is_applied: applied.contains(&migration.name().version().to_string()),
    });
    Ok(standing.collect())
}

/// Those of the applied versions that are not among the known ones, in order.
pub(crate) fn unknown(mut applied: Vec<String>, known: &[String]) -> Vec<String> {
    applied.retain(|version| !known.contains(version));
    applied.sort();
    applied
}

/// A migration that did not go through.
pub(crate) struct FailedMigration(pub(crate) BoxError);

impl From<BoxError> for FailedMigration {
    fn from(error: BoxError) -> Self {
        Self(error)
    }
}

impl From<String> for FailedMigration {
    fn from(error: String) -> Self {
        Self(error.into())
    }
}

impl From<diesel::result::Error> for FailedMigration {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}
