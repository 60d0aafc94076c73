//! The schema's versions on SQLite, embedded in the program.

use std::path::Path;
use std::time::Duration;

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, connect, database_error, file_name, prepare_file};
use crate::error::StoreError;
use crate::migrations::{BoxError, FailedMigration, unknown};
use crate::{MigrationStatus, OpenError, foreign};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");
/// How long a migration waits for a writer of another process.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

type BoxedMigration = Box<dyn Migration<Sqlite>>;

diesel::table! {
    /// Diesel's own record of what has been applied.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

diesel::table! {
    /// SQLite's own catalogue.
    sqlite_schema (name) {
        name -> Text,
    }
}

/// Applies what is pending, and names it.
pub(crate) fn up(path: &Path) -> Result<Vec<String>, OpenError> {
    let mut conn = connect_for_changes(path)?;
    let applied = conn.exclusive_transaction(|conn| -> Result<Vec<String>, FailedMigration> {
        let versions = conn.run_pending_migrations(MIGRATIONS)?;
        let all = all()?;
        let done = all
            .iter()
            .filter(|migration| versions.contains(&migration.name().version()));
        Ok(done.map(|migration| migration.name().to_string()).collect())
    });
    applied.map_err(|error| database_error(path, error.0))
}

/// Takes the last one back, and names it.
pub(crate) fn down(path: &Path) -> Result<Option<String>, OpenError> {
    let mut conn = connect_for_changes(path)?;
    let undone = conn.exclusive_transaction(|conn| -> Result<Option<String>, FailedMigration> {
        let Some(last) = conn.applied_migrations()?.into_iter().max() else {
            return Ok(None);
        };
        let known = all()?
            .into_iter()
            .find(|migration| migration.name().version() == last)
            .ok_or_else(|| format!("migration {last} is of a later version of this program"))?;
        conn.revert_migration(&known)?;
        Ok(Some(known.name().to_string()))
    });
    undone.map_err(|error| database_error(path, error.0))
}

/// Every migration of this program, and whether it has been applied.
pub(crate) fn status(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    let applied = applied_in(path)?;
    let all = all().map_err(|error| database_error(path, error))?;
    let standing = all.iter().map(|migration| MigrationStatus {
        name: migration.name().to_string(),
        is_applied: applied.contains(&migration.name().version().to_string()),
    });
    Ok(standing.collect())
}

/// What has been applied and is of a later version of this program.
pub(crate) fn later(path: &Path) -> Result<Vec<String>, OpenError> {
    let known = versions().map_err(|error| database_error(path, error))?;
    Ok(unknown(applied_in(path)?, &known))
}

/// The versions applied so far; makes no file.
fn applied_in(path: &Path) -> Result<Vec<String>, OpenError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = file_name(path)?;
    foreign::check_file(path, &file)?;
    connect(&file, PATIENCE)
        .and_then(|mut conn| applied(&mut conn))
        .map_err(|error| database_error(path, error))
}

/// The versions that this program knows.
pub(super) fn versions() -> Result<Vec<String>, BoxError> {
    let all = all()?;
    Ok(all
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect())
}

/// Applies those of these versions to a database that has none, and no others.
pub(super) fn apply(conn: &mut Conn, versions: &[String]) -> Result<(), BoxError> {
    // Makes the record's table.
    conn.applied_migrations()?;
    for migration in all()? {
        if versions.contains(&version(&migration).to_string()) {
            conn.run_migration(&migration)?;
        }
    }
    Ok(())
}

/// Whether migrations of this program have not been applied yet.
pub(super) fn are_pending(conn: &mut Conn) -> Result<bool, StoreError> {
    let applied = applied(conn)?;
    let all = all().map_err(|error| StoreError::NoConnection(error.to_string()))?;
    Ok(all
        .iter()
        .any(|migration| !applied.contains(&migration.name().version().to_string())))
}

/// The versions applied so far. Changes nothing, unlike the harness's own question, which makes the record's table.
pub(crate) fn applied(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    let records = sqlite_schema::table
        .filter(sqlite_schema::name.eq("__diesel_schema_migrations"))
        .count()
        .get_result::<i64>(conn)?;
    if records == 0 {
        return Ok(Vec::new());
    }
    Ok(__diesel_schema_migrations::table
        .select(__diesel_schema_migrations::version)
        .load(conn)?)
}

fn all() -> Result<Vec<BoxedMigration>, BoxError> {
    let mut all: Vec<BoxedMigration> = MIGRATIONS.migrations()?;
    all.sort_by(|one, other| version(one).cmp(&version(other)));
    Ok(all)
}

fn version(migration: &BoxedMigration) -> MigrationVersion<'_> {
    migration.name().version()
}

fn connect_for_changes(path: &Path) -> Result<Conn, OpenError> {
    foreign::check_file(path, &file_name(path)?)?;
    let file = prepare_file(path)?;
    connect(&file, PATIENCE).map_err(|error| database_error(path, error))
}
