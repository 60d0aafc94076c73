//! `restore`: puts a backup in the place of the database, which no server may have open.

use std::path::{Path, PathBuf};
use std::time::Instant;

use auth_domain::ports::Clock;
use auth_storage::{DatabaseUrl, restore};
use clap::Args;
use serde_json::json;

use super::ask::Consent;
use super::backup::{failed, rows, view};
use super::failure::Failure;
use super::output::{Report, moment};
use super::progress::Showing;
use crate::settings::Settings;
use crate::system::SystemClock;

/// What the help says about what comes of it.
pub(super) const LOST: &str = "Whatever was written after the backup was made is gone: passwords and clients are as they were, and who has \
    refreshed since has to sign in again. The database that was there is kept beside. docs/BACKUP.md says more.";

/// From where.
#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// The file that `backup` wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    consent: Consent,
}

/// Checks the backup, and puts it in place.
///
/// # Errors
/// Where it is not sound, or a server has the database open; nothing has changed then.
pub(super) fn run(
    arguments: &RestoreArguments,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    let DatabaseUrl::Sqlite(database) = &settings.database.url else {
        return Err(
            Failure::refused("a PostgreSQL database is restored by its own program")
                .advise("docs/BACKUP.md has the commands, around `pg_restore`."),
        );
    };
    arguments.consent.obtain(&format!(
        "Put {} in the place of {}? What was written since the backup is not in it.",
        arguments.from.display(),
        database.display()
    ))?;
    put_back(&arguments.from, database, showing)
}

fn put_back(from: &Path, database: &Path, showing: Showing) -> Result<Report, Failure> {
    let begun = Instant::now();
    let now = moment(SystemClock.now()).replace(':', "");
    let progress = showing.silent("checking the backup, and putting it in place");
    let restored = restore(from, database, &format!("before-{now}"));
    drop(progress);
    let restored = restored.map_err(|error| failed(&error))?;
    let seconds = begun.elapsed().as_secs_f64();
    let kept = match &restored.kept {
        Some(kept) => format!("What was there before is now {}.", kept.display()),
        None => "There was none before.".to_owned(),
    };
    let people = format!(
        "{}\n\nChecked, and put in place as {} in {seconds:.1} s. {kept}\nA running version newer than the backup \
         brings its schema up to date: `auth-service serve` by itself, or `auth-service migrate up`.",
        rows(&restored.contents),
        database.display(),
    );
    let programs = json!({
        "database": database,
        "from": from,
        "contents": view(&restored.contents),
        "kept": restored.kept,
        "seconds": seconds,
    });
    Ok(Report::new(people, programs))
}
