//! `backup`: copies the database to a file while the server runs; and says what else belongs to a backup.

use std::path::{Path, PathBuf};
use std::time::Instant;

use auth_storage::{BackupError, Contents, DatabaseUrl, Overwrite, PostgresUrl, Progress, backup};
use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Ending, Report, Table, fields};
use super::progress::Showing;
use crate::settings::{KeyPlace, Settings};

/// What the help says about what is not in the file.
pub(super) const BESIDE: &str = "The signing keys are not in the database: copy their folder too, and keep both as you keep passwords. \
    docs/BACKUP.md says how often, and how to restore.\n\
    A PostgreSQL database is backed up by its own pg_dump: this command then says how, and ends with 3.";

/// Whereto.
#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// Write to this file, which must not exist yet; readable by its owner only
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Replace the file where it exists
    #[arg(long)]
    force: bool,
}

/// Makes the backup, or says who can.
///
/// # Errors
/// Where it can't be made.
pub(super) fn run(
    arguments: &BackupArguments,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    match &settings.database.url {
        DatabaseUrl::Sqlite(database) => copy(arguments, database, settings, showing),
        DatabaseUrl::Postgres(url) => Ok(by_pg_dump(arguments, url, settings)),
    }
}

fn copy(
    arguments: &BackupArguments,
    database: &Path,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    let overwrite = if arguments.force {
        Overwrite::Allowed
    } else {
        Overwrite::Never
    };
    let begun = Instant::now();
    let mut progress = showing.measured();
    let made = backup(database, &arguments.to, overwrite, &mut |so_far: Progress| {
        let done = so_far.total.saturating_sub(so_far.left);
        progress.reach("copying", done, so_far.total);
    });
    drop(progress);
    let contents = made.map_err(|error| failed(&error))?;
    let seconds = begun.elapsed().as_secs_f64();
    let people = format!(
        "{}\n\n{}\n\nCopied from {} in {seconds:.1} s, checked, and on the disk. {}",
        rows(&contents),
        fields(&[
            ("file", arguments.to.display().to_string()),
            ("bytes", contents.bytes.to_string()),
            ("schema", contents.schema.clone()),
        ]),
        database.display(),
        keys_too(settings),
    );
    let programs = json!({
        "file": arguments.to,
        "database": database,
        "contents": view(&contents),
        "seconds": seconds,
        "not_included": left_out(settings),
    });
    Ok(Report::new(people, programs))
}

/// The tables of a backup, for people.
pub(super) fn rows(contents: &Contents) -> String {
    let mut table = Table::new(&["table", "rows"]);
    for (name, rows) in &contents.tables {
        table.row([name.clone(), rows.to_string()]);
    }
    table.to_string()
}

/// What a backup holds, for programs.
pub(super) fn view(contents: &Contents) -> Value {
    let rows = contents.tables.iter();
    let rows: serde_json::Map<_, _> = rows.map(|(name, rows)| (name.clone(), json!(rows))).collect();
    json!({ "bytes": contents.bytes, "schema": contents.schema, "rows": rows })
}

/// What went wrong, and what to do about it.
pub(super) fn failed(error: &BackupError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        BackupError::NoDatabase { .. } => failure.advise("AUTH_SERVICE__DB_URL says where it is."),
        BackupError::Exists { .. } => failure
            .advise("Nothing was changed. Take another name; `backup --force` replaces an older backup."),
        BackupError::InUse { .. } => failure
            .advise("Nothing was changed. Stop the server first, and every command that uses the database."),
        BackupError::Unsound { .. } => failure.advise("Nothing was changed."),
        BackupError::FolderOpenToOthers { .. } => failure.advise(
            "Nothing was written. /tmp will not do, though nobody may remove another's files there: a journal laid beside \
             the new file would become part of it. `install -d -m 0700 FOLDER` makes a folder that will.",
        ),
        BackupError::Itself { .. } | BackupError::File { .. } | BackupError::Database { .. } => failure,
    }
}

/// The places that hold secrets without which a restored database signs nobody in as before.
fn left_out(settings: &Settings) -> Vec<PathBuf> {
    match &settings.keys.place {
        KeyPlace::Folder(folder) => vec![folder.clone()],
        KeyPlace::Pair { private, public, .. } => vec![private.clone(), public.clone()],
    }
}

fn keys_too(settings: &Settings) -> String {
    let places: Vec<_> = left_out(settings)
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    format!(
        "The signing keys, and the secret of known devices, are not in it: back up {} too.",
        places.join(" and ")
    )
}

fn by_pg_dump(arguments: &BackupArguments, url: &PostgresUrl, settings: &Settings) -> Report {
    let command = format!(
        "pg_dump --format=custom --no-owner --no-password --file={} {}",
        quoted(&arguments.to.display().to_string()),
        quoted(&url.to_string())
    );
    let people = format!(
        "Nothing was written: a PostgreSQL database is backed up by its own program, which takes the password from the \
         file that PGPASSFILE names:\n\n  (umask 077; {command})\n\n{} docs/BACKUP.md says how to restore.",
        keys_too(settings)
    );
    Report {
        ending: Ending::Elsewhere,
        ..Report::new(
            people,
            json!({ "command": command, "not_included": left_out(settings) }),
        )
    }
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_the_shell_stays_one_word_whatever_is_in_it() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm -rf $HOME"), r"'it'\''s; rm -rf $HOME'");
    }
}
