//! The schema's versions on SQLite, embedded in the program.

use std::path::Path;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, connect, database_error, file_name, prepare_file};
use crate::error::StoreError;
use crate::migrations::{BoxError, FailedMigration, bring_up, standing, take_back, unknown};
use crate::{MigrationStatus, OpenError, foreign, migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");
/// How long a migration waits for a writer of another process.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

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
        bring_up::<Sqlite>(conn, MIGRATIONS)
    });
    applied.map_err(|error| database_error(path, error.0))
}

/// Takes the last one back, and names it.
pub(crate) fn down(path: &Path) -> Result<Option<String>, OpenError> {
    let mut conn = connect_for_changes(path)?;
    let undone = conn.exclusive_transaction(|conn| -> Result<Option<String>, FailedMigration> {
        take_back::<Sqlite>(conn, &MIGRATIONS)
    });
    undone.map_err(|error| database_error(path, error.0))
}

/// Every migration of this program, and whether it has been applied.
pub(crate) fn status(path: &Path) -> Result<Vec<MigrationStatus>, OpenError> {
    let applied = applied_in(path)?;
    standing::<Sqlite>(&MIGRATIONS, &applied).map_err(|error| database_error(path, error))
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
    migrations::versions::<Sqlite>(&MIGRATIONS)
}

/// Applies those of these versions to a database that has none, and no others.
pub(super) fn apply(conn: &mut Conn, versions: &[String]) -> Result<(), BoxError> {
    // Makes the record's table.
    conn.applied_migrations()?;
    for migration in migrations::all::<Sqlite>(&MIGRATIONS)? {
        if versions.contains(&migration.name().version().to_string()) {
            conn.run_migration(&migration)?;
        }
    }
    Ok(())
}

/// Whether migrations of this program have not been applied yet.
pub(super) fn are_pending(conn: &mut Conn) -> Result<bool, StoreError> {
    let applied = applied(conn)?;
    let known = versions().map_err(|error| StoreError::NoConnection(error.to_string()))?;
    Ok(known.iter().any(|version| !applied.contains(version)))
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

fn connect_for_changes(path: &Path) -> Result<Conn, OpenError> {
    foreign::check_file(path, &file_name(path)?)?;
    let file = prepare_file(path)?;
    connect(&file, PATIENCE).map_err(|error| database_error(path, error))
}
