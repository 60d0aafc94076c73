//! `transfer`: copies everything from one database into another, and proves that it has arrived.

use std::path::PathBuf;
use std::time::Instant;

use auth_storage::DatabaseUrl;
use auth_storage::transfer::{
    Cause, Progress, Side, SourceState, Step, Surplus, TransferError, Transferred, TransferredTable, transfer,
};
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::announce::{self, ClientChanges};
use super::ask::{Consent, read_secret_file};
use super::failure::Failure;
use super::output::{Ending, Report, Table};
use super::progress::Showing;
use crate::settings::Settings;

/// What the help says about the way there.
pub(super) const PROCEDURE: &str = "Stop every server first, transfer, then start them on the target by AUTH_SERVICE__DB_URL, with the signing keys that \
    they had: those are not in the database. The source is only read. A transfer that was cut off is run again, and \
    ends what it began. docs/TRANSFER.md says more.\n\
    One of the two databases may be left out: it is that of AUTH_SERVICE__DB_URL.\n\
    A URL is sqlite:///path or postgresql://user@host/database; a password is in the file of --from-file or --to-file, in \
    PGPASSWORD or in ~/.pgpass.\n\
    Exit codes: 0 everything is on both sides; 1 not everything, or the source was changed meanwhile; 2 the command line or \
    a setting is wrong.";

/// Running it again changes nothing about this.
const IN_THE_WAY: &str = "Rows that the target has from an earlier run are in the way: names have changed hands since, say. Empty the target \
    (a new database, or a file that is not there yet), and run this again.";

/// How many digits of a digest tell two of them apart at a glance.
const SHORT: usize = 12;

/// From where to where.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("ends").required(true).multiple(true))]
pub(super) struct TransferArguments {
    /// Read this database; a URL without a password
    #[arg(long, value_name = "URL", group = "ends", conflicts_with = "from_file")]
    from: Option<String>,
    /// Read the database whose URL is in this file
    #[arg(long, value_name = "FILE", group = "ends")]
    from_file: Option<PathBuf>,
    /// Write into this database; a URL without a password
    #[arg(long, value_name = "URL", group = "ends", conflicts_with = "to_file")]
    to: Option<String>,
    /// Write into the database whose URL is in this file
    #[arg(long, value_name = "FILE", group = "ends")]
    to_file: Option<PathBuf>,
    /// Delete what the target has and the source has not, instead of refusing
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Copies, compares, and says what was done.
///
/// # Errors
/// Where not everything has arrived.
pub(super) async fn run(
    arguments: &TransferArguments,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    let otherwise = || settings.database.url.clone();
    let from = place("--from", arguments.from.as_deref(), arguments.from_file.as_ref())?;
    let to = place("--to", arguments.to.as_deref(), arguments.to_file.as_ref())?;
    let (from, to) = (from.unwrap_or_else(otherwise), to.unwrap_or_else(otherwise));
    let surplus = if arguments.overwrite {
        arguments.consent.obtain(&format!(
            "Delete everything in {to} that is not in {from}? Who has signed in or refreshed there has to sign in again."
        ))?;
        Surplus::Deleted
    } else {
        Surplus::Refused
    };
    let begun = Instant::now();
    let mut progress = showing.counted();
    let outcome = transfer(&from, &to, surplus, &mut |so_far| progress.say(|| told(so_far)));
    drop(progress);
    announce::clients_changed(settings, &to, client_changes(&outcome)).await;
    let transferred = outcome.map_err(|error| failed(&error))?;
    Ok(report(&from, &to, &transferred, begun.elapsed().as_secs_f64()))
}

/// What servers may remember that holds no more: they are to be stopped, but who did not is no excuse for a secret that
/// goes on.
fn client_changes(outcome: &Result<Transferred, TransferError>) -> ClientChanges {
    let transferred = match outcome {
        Ok(transferred) => transferred,
        Err(
            TransferError::Failed { .. } | TransferError::NotTaken { .. } | TransferError::NotTheSame { .. },
        ) => {
            return ClientChanges::Any;
        }
        Err(_) => return ClientChanges::None,
    };
    let clients = transferred
        .tables
        .iter()
        .find(|table| table.name == "oauth_clients");
    match clients.map(|table| (table.changed + table.deleted, table.added)) {
        Some((1.., _)) => ClientChanges::Any,
        Some((0, 1..)) => ClientChanges::Additions,
        Some((0, 0)) | None => ClientChanges::None,
    }
}

/// The database that an argument names, or a file; `None` where neither is given. A text that is no URL is not
/// repeated: it may hold a password.
fn place(name: &str, url: Option<&str>, file: Option<&PathBuf>) -> Result<Option<DatabaseUrl>, Failure> {
    let wrong = |place: String, fault: &dyn std::fmt::Display| Failure::usage(format!("{place}: {fault}"));
    if let Some(url) = url {
        if holds_password(url) {
            return Err(Failure::usage(format!(
                "{name}: every process of this machine could read the password"
            ))
            .advise(format!(
                "Put the URL into a file and name it by {name}-file, or give the password by PGPASSWORD or ~/.pgpass."
            )));
        }
        let parsed = DatabaseUrl::parse(url).map_err(|fault| wrong(name.to_owned(), &fault))?;
        return Ok(Some(parsed));
    }
    let Some(file) = file else { return Ok(None) };
    let text = read_secret_file(file)?;
    let parsed = DatabaseUrl::parse(text.expose_secret().trim())
        .map_err(|fault| wrong(file.display().to_string(), &fault))?;
    Ok(Some(parsed))
}

/// Whether there is a password between the scheme and the host. A path may hold anything.
fn holds_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    login.contains(':')
}

fn told(progress: Progress) -> String {
    let doing = match progress.step {
        Step::Comparing => "looking at",
        Step::Deleting => "making room in",
        Step::Copying => "copying",
        Step::Verifying => "comparing",
    };
    format!("{doing} {}: {} rows", progress.table, progress.rows)
}

fn report(from: &DatabaseUrl, to: &DatabaseUrl, transferred: &Transferred, seconds: f64) -> Report {
    let mut table = Table::new(&["table", "rows", "added", "changed", "deleted", "sha256"]);
    for moved in &transferred.tables {
        let counts = [moved.rows, moved.added, moved.changed, moved.deleted];
        let digest: String = moved.digest_hex().chars().take(SHORT).collect();
        let cells = counts.iter().map(u64::to_string);
        table.row([moved.name.to_owned()].into_iter().chain(cells).chain([digest]));
    }
    let rows: u64 = transferred.tables.iter().map(|table| table.rows).sum();
    let (ending, last) = match transferred.source {
        SourceState::Unchanged => (
            Ending::Good,
            format!(
                "All {rows} rows are on both sides, compared one by one, in {seconds:.1} s.\n\
                 Now set AUTH_SERVICE__DB_URL to {to}, leave the signing keys where they are, and start the servers.\n\
                 Start none on {from} again: sessions go on in the target from now on."
            ),
        ),
        SourceState::Changed => (
            Ending::Bad,
            format!(
                "{from} was changed meanwhile: something still uses it, and what it has done since is not in the target. \
                 Stop it, and run this again; only what has changed is copied then."
            ),
        ),
    };
    let programs = json!({
        "from": from.to_string(),
        "to": to.to_string(),
        "tables": transferred.tables.iter().map(view).collect::<Vec<_>>(),
        "source_changed": transferred.source == SourceState::Changed,
        "seconds": seconds,
    });
    Report {
        ending,
        ..Report::new(format!("{table}\n\n{last}"), programs)
    }
}

fn view(moved: &TransferredTable) -> Value {
    json!({
        "table": moved.name,
        "rows": moved.rows,
        "added": moved.added,
        "changed": moved.changed,
        "deleted": moved.deleted,
        "sha256": moved.digest_hex(),
    })
}

/// What went wrong, and what to do about it.
fn failed(error: &TransferError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        TransferError::OneDatabase => {
            failure.advise("What is not named by --from or --to is the database of AUTH_SERVICE__DB_URL.")
        }
        TransferError::Contended { .. } => failure.advise("Nothing was transferred. Wait for it to end, or end it."),
        TransferError::Served => failure.advise(
            "Nothing was written. Stop every server and command that has the target for its database, and run this again.",
        ),
        TransferError::Open { .. } => failure.advise("Nothing was transferred."),
        TransferError::Behind { .. } => failure.advise(
            "Nothing was transferred. Bring the source up to date by `auth-service migrate up`, with AUTH_SERVICE__DB_URL \
             naming it, and run this again.",
        ),
        TransferError::Ahead { side } => failure.advise(match side {
            Side::Source => "Nothing was transferred. Use the program that has worked with it last.",
            Side::Target => "Nothing was transferred. Use the program that has worked with it last; it reads the source too.",
        }),
        TransferError::InUse { .. } => failure.advise(
            "Nothing was written. Somebody has begun to use the target, or has deleted these rows of the source since the \
             last transfer. `--overwrite` deletes them: then the target is as the source, and what was done there is lost.",
        ),
        TransferError::Failed { cause, .. } => failure.advise(match cause {
            Cause::Connection => "What was copied stays. Run this again: it goes on from there.",
            Cause::InTheWay => IN_THE_WAY,
            Cause::Other => "What was copied stays. Mend this first, then run it again: it goes on from there.",
        }),
        TransferError::NotTaken { cause, .. } => failure.advise(match cause {
            Cause::Connection | Cause::Other => {
                "What was copied stays. Mend the row or delete it, and run this again."
            }
            Cause::InTheWay => IN_THE_WAY,
        }),
        TransferError::NotTheSame { .. } => {
            failure.advise("Something writes into the target. Stop it, and run this again.")
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("postgresql://auth:pencil@host/auth", true)]
    #[case("postgresql+asyncpg://auth:pen@cil@host/auth", true)]
    #[case("postgresql://auth@host:5432/auth", false)]
    #[case("postgresql:///auth?host=%2Frun", false)]
    #[case("sqlite:////folder:1/a@b.db", false)]
    fn a_password_in_an_argument_is_refused_and_not_repeated(#[case] url: &str, #[case] is_refused: bool) {
        let read = place("--to", Some(url), None);
        assert_eq!(read.is_err(), is_refused);
        if let Err(refused) = read {
            assert!(!refused.to_string().contains("pen"), "{refused}");
            assert_eq!(refused.exit_code(), 2);
        }
    }

    #[test]
    fn a_file_may_name_a_database_with_its_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "postgresql://auth:pencil@host/auth\n").unwrap();
        let read = place("--to", None, Some(&file.path().to_owned()))
            .unwrap()
            .unwrap();
        assert_eq!(read.to_string(), "postgresql://auth@host/auth");
        std::fs::write(file.path(), "auth:pencil").unwrap();
        let refused = place("--to", None, Some(&file.path().to_owned())).unwrap_err();
        assert!(!refused.to_string().contains("pencil"), "{refused}");
    }
}
