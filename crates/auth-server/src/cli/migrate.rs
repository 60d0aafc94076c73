//! `migrate`: the versions of the database's schema.

use auth_storage::{Migrations, OpenError};
use clap::Subcommand;
use serde_json::json;

use super::ask::Consent;
use super::failure::Failure;
use super::output::{Ending, Report, Table};
use crate::compose::StartError;
use crate::settings::Settings;

/// What the help says about when it is needed.
pub(super) const WHEN: &str = "`serve` applies what is pending by itself, unless AUTO_MIGRATE is false: then `migrate up` is a step of the roll-out. \
    Instances and commands that begin at once take turns. docs/POSTGRESQL.md says which rights it needs, docs/SCALING.md \
    how instances are exchanged.";

/// What to do about the schema.
#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Apply what is pending; makes the database where there is none
    ///
    /// An SQLite file is made with its folder; a database on a PostgreSQL server has to be there. Servers of the version
    /// before may go on meanwhile. Exit codes: 0 done, or nothing was pending; 1 not done: what was applied before stands.
    Up,
    /// Take the last migration back, with all the data that it holds
    ///
    /// Stop the servers of this version first: they are not ready (503) until it is applied again. Exit codes: 0 done, or
    /// nothing was applied; 1 not done.
    Down(Consent),
    /// List all migrations and whether they are applied, those of a later version of this program as well
    ///
    /// Changes nothing, and makes no file. Exit codes: 0 listed, also where some are pending; 1 the database can't be
    /// asked, or with --check, some are pending.
    Status {
        /// End with 1 where some are pending: for a step of a roll-out that asks before it goes on
        #[arg(long)]
        check: bool,
    },
}

/// Carries it out.
///
/// # Errors
/// Where the database can't be opened or a migration fails.
pub(super) fn run(command: &MigrateCommand, settings: &Settings) -> Result<Report, Failure> {
    let migrations = Migrations::of(&settings.database.url);
    match command {
        MigrateCommand::Up => up(&migrations),
        MigrateCommand::Down(consent) => down(&migrations, settings, consent),
        MigrateCommand::Status { check } => {
            let (report, are_pending) = status(&migrations)?;
            let ending = if *check && are_pending {
                Ending::Bad
            } else {
                Ending::Good
            };
            Ok(Report { ending, ..report })
        }
    }
}

fn failed(error: OpenError) -> Failure {
    StartError::Store(error).into()
}

fn up(migrations: &Migrations) -> Result<Report, Failure> {
    let applied = migrations.up().map_err(failed)?;
    let people = if applied.is_empty() {
        "Nothing was pending.".to_owned()
    } else {
        format!("Applied: {}.", applied.join(", "))
    };
    Ok(Report::new(people, json!({ "applied": applied })))
}

fn down(migrations: &Migrations, settings: &Settings, consent: &Consent) -> Result<Report, Failure> {
    let database = &settings.database.url;
    consent.obtain(&format!(
        "Take the last migration of {database} back? What it holds is lost: with the first one all users, clients, \
         sessions and audit rows."
    ))?;
    let undone = migrations.down().map_err(failed)?;
    let people = undone.as_ref().map_or_else(
        || "Nothing was applied.".to_owned(),
        |name| format!("Taken back: {name}."),
    );
    Ok(Report::new(people, json!({ "taken_back": undone })))
}

/// All migrations, and whether some are pending.
fn status(migrations: &Migrations) -> Result<(Report, bool), Failure> {
    let all = migrations.status().map_err(failed)?;
    let later = migrations.later().map_err(failed)?;
    let mut table = Table::new(&["migration", "state"]);
    for migration in &all {
        let state = if migration.is_applied {
            "applied"
        } else {
            "pending"
        };
        table.row([migration.name.clone(), state.to_owned()]);
    }
    for version in &later {
        table.row([
            version.clone(),
            "applied, of a later version of this program".to_owned(),
        ]);
    }
    let known = all
        .iter()
        .map(|migration| json!({ "name": migration.name, "applied": migration.is_applied, "known": true }));
    let unknown = later
        .iter()
        .map(|version| json!({ "name": version, "applied": true, "known": false }));
    let views: Vec<_> = known.chain(unknown).collect();
    let are_pending = all.iter().any(|migration| !migration.is_applied);
    Ok((Report::new(table.to_string(), json!(views)), are_pending))
}
