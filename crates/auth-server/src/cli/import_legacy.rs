//! `import-legacy`: takes over what the older service has stored, and says what became of each row.

use std::path::PathBuf;
use std::sync::Arc;

use auth_domain::context::RequestContext;
use auth_domain::id::{ClientId, RowId};
use auth_domain::key::KeyState;
use auth_domain::ports::{Clock as _, Random, StoreReadiness, Unavailable};
use auth_domain::secret::ClientSecret;
use auth_domain::takeover::{
    EmptyTarget, ImportPorts, ImportReport, LegacyTable, Mode, Rejection, Takeover, Target, Watcher, import,
};
use auth_domain::time::Timestamp;
use auth_jwt::{KeyStore, Kid};
use auth_storage::{DatabaseUrl, Migrations};
use clap::Args;
use serde_json::{Value, json};

use super::announce::{self, ClientChanges};
use super::desk::AGENT;
use super::failure::Failure;
use super::legacy_place::{LegacyPlace, SecretsFile, unusable};
use super::output::{Ending, Report, Table, moment, try_print};
use super::progress::{Progress, Showing};
use crate::compose::{self, StartError};
use crate::settings::{KeyPlace, Settings};
use crate::system::{SystemClock, SystemRandom};

/// What the help says about repeating it.
pub(super) const AGAIN: &str = "The older service's database is opened for reading only and never changed. The command can be repeated: what is \
    here already stays, and follows what was changed in the older service since, unless it has moved on here.
While an SQLite file is read nobody can write to it: read a copy, or stop the older service.
Exit codes: 0 done, whatever rows were not taken; 1 not done, also where the key is missing that the tokens need; 2 the \
    command line or a setting is wrong. docs/TAKEOVER.md goes through all of it.";

/// What is taken over.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The older service's database: sqlite:///path, or postgresql://user@host/database with the password in PGPASSWORD
    /// or ~/.pgpass
    #[arg(long, value_name = "URL")]
    from: String,
    /// Write nothing, and say what would become of each row
    #[arg(long)]
    dry_run: bool,
    /// Write new secrets to this file, which must not exist yet, and not to standard output
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
    /// The key that signed the older service's tokens
    #[arg(long, value_name = "KID", value_parser = Kid::parse, default_value = "2024-01-key-1")]
    kid: Kid,
}

/// Carries it out.
///
/// # Errors
/// Where one of the databases can't be used.
pub(super) async fn run(
    arguments: ImportArguments,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    let mode = if arguments.dry_run { Mode::Look } else { Mode::Take };
    let place = LegacyPlace::parse(&arguments.from)?;
    let mut source = auth_storage::legacy::open_source(place.url())
        .map_err(|error| unusable("read the older service's database", &error))?;
    let (target, migrated) = open_target(settings, mode).await?;
    let mut teller = Teller {
        file: secrets_file(&arguments, mode)?,
        told: Vec::new(),
        unwritten: Vec::new(),
        progress: Some(showing.counted()),
    };
    let takeover = takeover(mode);
    let outcome = import(
        ImportPorts {
            source: &mut *source,
            target: &*target,
            random: &SystemRandom,
            watcher: &mut teller,
        },
        &takeover,
        settings.housekeeping.expired_tokens_kept,
    )
    .await;
    // Before anything is printed.
    teller.progress = None;
    announce::clients_changed(settings, &settings.database.url, client_changes(&outcome, mode)).await;
    let report = match outcome {
        Ok(report) => report,
        Err(outage) => return Err(interrupted(&outage, &teller)),
    };
    let key = match keep_key(settings, &arguments.kid, report.live_until, mode) {
        Ok(key) => key,
        Err(failure) => return Err(without_key(failure, &arguments.kid, &teller)),
    };
    let done = Done {
        arguments: &arguments,
        place: &place,
        migrated,
        report,
        secrets: teller.told,
        key,
    };
    Ok(done.reported())
}

/// What servers may remember that holds no more. Of a take-over that was interrupted nobody knows how far it came.
fn client_changes(outcome: &Result<ImportReport, Unavailable>, mode: Mode) -> ClientChanges {
    let clients = |report: &ImportReport| report.tallies.get(&LegacyTable::Clients).copied();
    match (mode, outcome) {
        (Mode::Look, _) => ClientChanges::None,
        (Mode::Take, Err(_)) => ClientChanges::Any,
        (Mode::Take, Ok(report)) => match clients(report).unwrap_or_default() {
            tally if tally.updated > 0 => ClientChanges::Any,
            tally if tally.taken > 0 => ClientChanges::Additions,
            _ => ClientChanges::None,
        },
    }
}

fn takeover(mode: Mode) -> Takeover {
    let at = SystemClock.now();
    Takeover {
        mode,
        at,
        context: RequestContext {
            ip: None,
            is_exempt: false,
            user_agent: Some(AGENT.to_owned()),
            correlation_id: RowId::generate(&SystemRandom as &dyn Random, at).to_string(),
        },
    }
}

/// Opens the database of the settings; brings it up to date first, unless nothing may be written.
async fn open_target(settings: &Settings, mode: Mode) -> Result<(Arc<dyn Target>, Vec<String>), Failure> {
    let url = &settings.database.url;
    let migrations = Migrations::of(url);
    let failed = |error| Failure::from(StartError::Store(error));
    let migrated = match mode {
        Mode::Take => migrations.up().map_err(failed)?,
        Mode::Look if is_missing(url, &migrations)? => return Ok((Arc::new(EmptyTarget), Vec::new())),
        Mode::Look => Vec::new(),
    };
    let store = compose::open_store(settings).map_err(StartError::Store)?;
    match store.probe.check().await? {
        StoreReadiness::Ready => Ok((store.takeover, migrated)),
        StoreReadiness::MigrationsPending => Err(Failure::refused(format!(
            "the database {url} is of an older version of this program, and to bring it up to date would be to write to it",
        ))
        .advise("`auth-service migrate up` does it.")),
    }
}

/// Whether there is no database, or an empty one.
fn is_missing(url: &DatabaseUrl, migrations: &Migrations) -> Result<bool, Failure> {
    if url.path().is_some_and(|file| !file.exists()) {
        return Ok(true);
    }
    let all = migrations.status().map_err(StartError::Store)?;
    Ok(all.iter().all(|migration| !migration.is_applied))
}

fn secrets_file(arguments: &ImportArguments, mode: Mode) -> Result<Option<SecretsFile>, Failure> {
    match (&arguments.secrets_file, mode) {
        (Some(path), Mode::Take) => SecretsFile::create(path).map(Some),
        (Some(_), Mode::Look) | (None, _) => Ok(None),
    }
}

/// Keeps new secrets until they are told.
struct Teller {
    file: Option<SecretsFile>,
    told: Vec<(ClientId, ClientSecret)>,
    /// Those that should stand in the file, and do not.
    unwritten: Vec<(ClientId, ClientSecret)>,
    progress: Option<Progress>,
}

impl Watcher for Teller {
    fn progress(&mut self, table: LegacyTable, rows: u64) {
        if let Some(progress) = &mut self.progress {
            progress.say(|| format!("{table}: {rows} rows"));
        }
    }

    fn secret(&mut self, client_id: &ClientId, secret: &ClientSecret) -> Result<(), Unavailable> {
        // Remembered first: it holds already, and is kept nowhere else.
        self.told.push((client_id.clone(), secret.clone()));
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write(client_id, secret).map_err(|error| {
            self.unwritten.push((client_id.clone(), secret.clone()));
            Unavailable::new("write the file of secrets", error)
        })
    }
}

impl Teller {
    /// Secrets that stand nowhere yet.
    fn left_to_tell(&self) -> &[(ClientId, ClientSecret)] {
        match self.file {
            Some(_) => &self.unwritten,
            None => &self.told,
        }
    }
}

fn interrupted(outage: &Unavailable, teller: &Teller) -> Failure {
    tell_secrets(teller.left_to_tell());
    Failure::of("take the older service's data over", outage).advise(
        "What was taken stays. Repeat the command once the cause is gone: it goes on where this one ended. It tells no \
         secret twice: `auth-service client rotate-secret` gives a client a new one.",
    )
}

/// All rows were taken, and then the key could not be looked after.
fn without_key(failure: Failure, kid: &Kid, teller: &Teller) -> Failure {
    tell_secrets(teller.left_to_tell());
    failure.advise(format!(
        "Every row was dealt with, and stays so. Repeat the command once the cause is gone: it sees to it that key {kid} \
         stays published."
    ))
}

/// What was committed stays, so its secrets hold.
pub(super) fn tell_secrets(secrets: &[(ClientId, ClientSecret)]) {
    if !secrets.is_empty() {
        let lines = secret_lines(secrets);
        let _ = try_print(&format!("New secrets, which hold already:\n{lines}"));
    }
}

fn secret_lines(secrets: &[(ClientId, ClientSecret)]) -> String {
    let mut table = Table::new(&["client", "new secret"]);
    for (client, secret) in secrets {
        table.row([client.to_string(), secret.expose().to_owned()]);
    }
    table.to_string()
}

/// What is here of the key that the older service's tokens need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OldKey {
    /// Nothing that verifies.
    Missing,
    /// It is the pair that the settings name, and verifies as long as they do.
    Given,
    /// It is in the key directory, and published until the last of the tokens has expired.
    Kept,
}

/// Looks for the key, and sees to it that it is published for as long as there is a token that needs it: the key
/// directory knows only of tokens that this service has signed.
fn keep_key(
    settings: &Settings,
    kid: &Kid,
    needed_until: Option<Timestamp>,
    mode: Mode,
) -> Result<OldKey, Failure> {
    let folder = match &settings.keys.place {
        KeyPlace::Pair { kid: own, .. } if own.as_ref() == Some(kid) => return Ok(OldKey::Given),
        KeyPlace::Pair { .. } => return Ok(OldKey::Missing),
        KeyPlace::Folder(folder) => folder,
    };
    let failed = |error| Failure::from(StartError::Keys(error));
    let directory = compose::key_directory(settings, folder);
    let Some(keys) = KeyStore::open_existing(directory).map_err(failed)? else {
        return Ok(OldKey::Missing);
    };
    match (keys.state(kid, SystemClock.now()).map_err(failed)?, needed_until) {
        (None, _) | (Some(KeyState::Removed), None) => return Ok(OldKey::Missing),
        (Some(_), Some(until)) if mode == Mode::Take => {
            keys.raise_signed_until(kid, until).map_err(failed)?;
        }
        (Some(_), _) => {}
    }
    Ok(OldKey::Kept)
}

/// A take-over that came to its end.
struct Done<'a> {
    arguments: &'a ImportArguments,
    place: &'a LegacyPlace,
    migrated: Vec<String>,
    report: ImportReport,
    secrets: Vec<(ClientId, ClientSecret)>,
    key: OldKey,
}

impl Done<'_> {
    /// Live tokens were taken, and nothing can verify them.
    fn lacks_key(&self) -> bool {
        self.report.live_chains > 0 && self.key == OldKey::Missing
    }

    fn reported(&self) -> Report {
        let ending = if self.lacks_key() && !self.arguments.dry_run {
            Ending::Bad
        } else {
            Ending::Good
        };
        Report {
            ending,
            ..Report::new(self.people(), self.programs())
        }
    }

    fn people(&self) -> String {
        let mut parts = vec![self.headline(), self.counts()];
        if !self.report.not_taken.is_empty() {
            parts.push(format!("Not taken:\n{}", rejections(&self.report.not_taken)));
        }
        parts.extend(self.remarks());
        parts.extend(self.secret_part());
        parts.push(self.conclusion());
        parts.join("\n\n")
    }

    fn headline(&self) -> String {
        let from = self.place.url();
        let mut headline = if self.arguments.dry_run {
            format!("This is what taking over from {from} would come to. Nothing was written.")
        } else {
            format!("Taken over from {from}.")
        };
        if !self.migrated.is_empty() {
            headline = format!("Migrations applied: {}.\n{headline}", self.migrated.join(", "));
        }
        headline
    }

    fn counts(&self) -> String {
        let mut table = Table::new(&["table", "taken", "updated", "already there", "not taken"]);
        for (name, tally) in &self.report.tallies {
            table.row([
                name.to_string(),
                tally.taken.to_string(),
                tally.updated.to_string(),
                tally.already_there.to_string(),
                tally.not_taken.to_string(),
            ]);
        }
        table.to_string()
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = self.report.remarks.clone();
        if self.report.expired > 0 {
            remarks.push(format!(
                "{} tokens expired longer ago than expired ones are kept: they are counted as not taken, and not named.",
                self.report.expired
            ));
        }
        if self.report.branches > 0 {
            remarks.push(format!(
                "{} chains had split off another one. Each goes on by itself; what they have in common belongs to the \
                 newest.",
                self.report.branches
            ));
        }
        remarks
    }

    fn secret_part(&self) -> Option<String> {
        if self.secrets.is_empty() {
            return None;
        }
        let names: Vec<_> = self
            .secrets
            .iter()
            .map(|(client, _)| client.to_string())
            .collect();
        let names = names.join(", ");
        Some(match (&self.arguments.secrets_file, self.arguments.dry_run) {
            (_, true) => {
                format!("These clients would get new secrets, and their old ones not work: {names}.")
            }
            (Some(file), false) => format!(
                "The old secrets of {names} do not work any more. The new ones are in {}.",
                file.display()
            ),
            (None, false) => format!(
                "The old secrets of {names} do not work any more. The new ones are kept nowhere and not shown again:\n{}",
                secret_lines(&self.secrets)
            ),
        })
    }

    fn conclusion(&self) -> String {
        if self.lacks_key() {
            return self.call_for_key();
        }
        let mut lines = vec![self.sessions()];
        lines.extend(self.report.live_until.map(|until| self.key_line(until)));
        if !self.arguments.dry_run {
            lines.push("Done.".to_owned());
        }
        lines.join("\n")
    }

    fn call_for_key(&self) -> String {
        let kid = &self.arguments.kid;
        let begin = if self.arguments.dry_run {
            "Still to be done"
        } else {
            "NOT DONE YET"
        };
        let repeat = if self.arguments.dry_run {
            ""
        } else {
            "; then repeat this command, which keeps it published for as long as they live"
        };
        format!(
            "{begin}: {} Key {kid}, which signed them, is not here. `auth-service keys import FILE --kid {kid}` takes it \
             in{repeat}.",
            self.sessions()
        )
    }

    fn sessions(&self) -> String {
        match self.report.live_chains {
            0 => "No session goes on by a token of the older service.".to_owned(),
            1 => "1 session goes on by a token of the older service.".to_owned(),
            live => format!("{live} sessions go on by tokens of the older service."),
        }
    }

    /// Until when the key is needed, and who sees to it.
    fn key_line(&self, until: Timestamp) -> String {
        let (kid, until) = (&self.arguments.kid, moment(until));
        match (self.key, self.arguments.dry_run) {
            (OldKey::Given, _) => format!(
                "Key {kid}, the pair of the settings, verifies them. The last expires {until}: leave it there until then."
            ),
            (_, true) => format!(
                "Key {kid} verifies them. It would stay published until {until} at least, when the last expires."
            ),
            (_, false) => {
                format!(
                    "Key {kid} verifies them. It stays published until {until} at least, when the last expires."
                )
            }
        }
    }

    fn programs(&self) -> Value {
        let tally = |(name, tally): (&LegacyTable, &auth_domain::takeover::Tally)| {
            let counts = json!({
                "taken": tally.taken,
                "updated": tally.updated,
                "already_there": tally.already_there,
                "not_taken": tally.not_taken,
            });
            (name.to_string(), counts)
        };
        let tables: serde_json::Map<String, Value> = self.report.tallies.iter().map(tally).collect();
        json!({
            "from": self.place.url().to_string(),
            "dry_run": self.arguments.dry_run,
            "migrations_applied": self.migrated,
            "tables": tables,
            "not_taken": self.report.not_taken.iter().map(view).collect::<Vec<_>>(),
            "expired": self.report.expired,
            "live_sessions": self.report.live_chains,
            "live_until": self.report.live_until.map(moment),
            "branches": self.report.branches,
            "remarks": self.report.remarks,
            "secrets": self.secret_views(),
            "kid": self.arguments.kid.as_str(),
            "has_key": self.key != OldKey::Missing,
            "done": !self.arguments.dry_run && !self.lacks_key(),
        })
    }

    /// The secrets themselves only where they are told nowhere else, and hold.
    fn secret_views(&self) -> Vec<Value> {
        let is_told_elsewhere = self.arguments.secrets_file.is_some() || self.arguments.dry_run;
        let view = |(client, secret): &(ClientId, ClientSecret)| {
            if is_told_elsewhere {
                json!({ "client_id": client })
            } else {
                json!({ "client_id": client, "client_secret": secret.expose() })
            }
        };
        self.secrets.iter().map(view).collect()
    }
}

/// Rows that were not taken, one a line.
pub(super) fn rejections(rejections: &[Rejection]) -> String {
    let mut table = Table::new(&["table", "row", "reason"]);
    for rejection in rejections {
        table.row([
            rejection.table.to_string(),
            rejection.row.clone(),
            rejection.reason.to_string(),
        ]);
    }
    table.to_string()
}

/// The same for programs.
pub(super) fn view(rejection: &Rejection) -> Value {
    json!({
        "table": rejection.table,
        "row": rejection.row,
        "reason": rejection.reason.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_secret_that_the_file_does_not_take_is_left_to_be_told() {
        let mut teller = Teller {
            file: Some(SecretsFile(File::open("/dev/null").unwrap())),
            told: Vec::new(),
            unwritten: Vec::new(),
            progress: None,
        };
        for name in ["one", "two"] {
            let client = ClientId::parse(name).unwrap();
            let secret = ClientSecret::generate(&SystemRandom);
            assert!(
                teller.secret(&client, &secret).is_err(),
                "it is open for reading only"
            );
            let (last, told) = teller.left_to_tell().last().unwrap();
            assert_eq!((last, told.expose()), (&client, secret.expose()));
        }
        assert_eq!(teller.left_to_tell().len(), 2);
    }
}
