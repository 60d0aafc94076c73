//! `export-legacy`: the way back. Writes users, clients and chains into the older service's tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use auth_domain::id::{ClientId, UserId};
use auth_domain::password::HashScheme;
use auth_domain::ports::{Random, Unavailable};
use auth_domain::secret::ClientSecret;
use auth_domain::takeover::{
    ExportPorts, ExportReport, LegacyClient, LegacySink, LegacyToken, LegacyUser, Unsettled, export,
};
use clap::Args;
use serde_json::{Value, json};

use super::desk::Desk;
use super::failure::Failure;
use super::import_legacy::{rejections, tell_secrets, view};
use super::legacy_place::{LegacyPlace, SecretsFile, unusable};
use super::output::{Report, Table};
use super::progress::Showing;
use crate::compose::{self, StartError};
use crate::settings::Settings;
use crate::system::SystemRandom;

/// What the help says about what can't go back.
pub(super) const LOST: &str = "The tables are made where they are missing. All is written in one transaction, and can be repeated. Stop both services \
    first.
What can't go back is told: passwords whose hash the older service does not know, and sessions that go on by a token of \
    this service, whose audience and type the older service does not accept.
--dry-run tells beforehand what would become of all of it. docs/TAKEOVER.md has the way back.
Exit codes: 0 written, or told, whatever could not go back; 1 nothing was written; 2 the command line or a setting is \
    wrong.";

/// Where it goes.
#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The older service's database: sqlite:///path, or postgresql://user@host/database with the password in PGPASSWORD
    /// or ~/.pgpass
    #[arg(long, value_name = "URL")]
    to: String,
    /// Write new secrets to this file, which must not exist yet, and not to standard output
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
    /// Write nothing, and say what would be written and what can't go back
    ///
    /// All is written within a transaction that is then taken back: meanwhile nobody else writes there.
    #[arg(long)]
    dry_run: bool,
}

/// A database that is written as it would be, and left as it was: what is put is never made durable.
struct Trial<'a>(&'a mut dyn LegacySink);

impl LegacySink for Trial<'_> {
    fn user(&mut self, id: &str) -> Result<Option<LegacyUser>, Unavailable> {
        self.0.user(id)
    }

    fn put_user(&mut self, user: &LegacyUser) -> Result<bool, Unavailable> {
        self.0.put_user(user)
    }

    fn put_client(&mut self, client: &LegacyClient) -> Result<(), Unavailable> {
        self.0.put_client(client)
    }

    fn has_client(&mut self, client_id: &str) -> Result<bool, Unavailable> {
        self.0.has_client(client_id)
    }

    fn put_token(&mut self, token: &LegacyToken) -> Result<bool, Unavailable> {
        self.0.put_token(token)
    }

    fn commit(&mut self) -> Result<(), Unavailable> {
        Ok(())
    }
}

/// To open a database that is not there would make its file.
fn refuse_to_make(place: &LegacyPlace) -> Result<(), Failure> {
    match place.url().path() {
        Some(file) if !file.exists() => Err(Failure::refused(format!(
            "there is no database at {}, and with --dry-run none is made",
            file.display()
        ))
        .advise("Name the older service's own database, or a copy of it.")),
        Some(_) | None => Ok(()),
    }
}

/// Carries it out.
///
/// # Errors
/// Where one of the databases can't be used; nothing is written then.
pub(super) async fn run(
    arguments: ExportArguments,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    let place = LegacyPlace::parse(&arguments.to)?;
    if arguments.dry_run {
        refuse_to_make(&place)?;
    }
    // A replica may be behind: what it has not heard of yet would be written back as it was.
    let mut of_primary = settings.clone();
    of_primary.database.replica = None;
    let desk = Desk::open(&of_primary).await?;
    let mut sink = auth_storage::legacy::open_sink(place.url())
        .map_err(|error| unusable("write the older service's database", &error))?;
    let mut file = arguments
        .secrets_file
        .as_deref()
        .filter(|_| !arguments.dry_run)
        .map(SecretsFile::create)
        .transpose()?;
    let mut trial = Trial(&mut *sink);
    let sink: &mut dyn LegacySink = if arguments.dry_run { &mut trial } else { trial.0 };
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let hasher = compose::start_hashing(&bcrypt(settings), &random).map_err(StartError::Hashing)?;
    let progress = showing.silent("writing clients, users and sessions back");
    let report = export(
        ExportPorts {
            users: &*desk.store.user_directory,
            clients: &*desk.store.client_directory,
            holdings: &*desk.store.holdings,
            sink,
            hasher: &hasher,
            random: &*random,
        },
        desk.now(),
    )
    .await;
    drop(progress);
    let report = report?;
    if let Some(file) = &mut file {
        write_secrets(file, &report.secrets)?;
    }
    Ok(reported(&arguments, &place, &report))
}

/// What was written back holds: a secret that does not get into the file is told at once.
fn write_secrets(file: &mut SecretsFile, secrets: &[(ClientId, ClientSecret)]) -> Result<(), Failure> {
    for (place, (client, secret)) in secrets.iter().enumerate() {
        if let Err(error) = file.write(client, secret) {
            tell_secrets(secrets.get(place..).unwrap_or_default());
            return Err(Failure::of("write the file of secrets", &error)
                .advise("Everything was written back, and holds there: the secrets above, too."));
        }
    }
    Ok(())
}

/// The older service knows no other hash of a secret.
fn bcrypt(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.passwords.scheme = HashScheme::BCRYPT_12;
    settings
}

fn reported(arguments: &ExportArguments, place: &LegacyPlace, report: &ExportReport) -> Report {
    let url = place.url();
    let (begun, ended) = if arguments.dry_run {
        ("Would be written to", "Nothing was written.")
    } else {
        ("Written to", "Done.")
    };
    let mut parts = vec![format!(
        "{begun} {url}: {} users, {} clients, {} tokens written or revoked. {} sessions go on there.",
        report.users, report.clients, report.tokens, report.live_chains
    )];
    if !report.without_password.is_empty() {
        let mut users = Table::new(&["user", "id"]);
        for user in &report.without_password {
            users.row([name(report, *user), user.to_string()]);
        }
        parts.push(format!(
            "These users need a new password there, since the older service does not know the hash of theirs:\n{users}"
        ));
    }
    if !report.sign_in_again.is_empty() {
        parts.push(format!(
            "These users must sign in again there: sessions of theirs go on by a token of this service.\n{}",
            unsettled(report)
        ));
    }
    if !report.not_written.is_empty() {
        parts.push(format!("Not written:\n{}", rejections(&report.not_written)));
    }
    parts.extend(secrets(arguments, report));
    parts.push(ended.to_owned());
    Report::new(parts.join("\n\n"), programs(arguments, place, report))
}

/// One line for each user, in the order of their names: the single sessions are for programs.
fn unsettled(report: &ExportReport) -> String {
    let mut users: BTreeMap<(String, String), u64> = BTreeMap::new();
    for chain in &report.sign_in_again {
        let user = (name(report, chain.user_id), chain.user_id.to_string());
        *users.entry(user).or_default() += 1;
    }
    let mut table = Table::new(&["user", "id", "sessions"]);
    for ((name, id), sessions) in users {
        table.row([name, id, sessions.to_string()]);
    }
    table.to_string()
}

/// A user's name; empty where the user was deleted meanwhile.
fn name(report: &ExportReport, user: UserId) -> String {
    report.names.get(&user).cloned().unwrap_or_default()
}

fn secrets(arguments: &ExportArguments, report: &ExportReport) -> Vec<String> {
    let mut parts = Vec::new();
    if !report.kept_secrets.is_empty() {
        let names: Vec<_> = report.kept_secrets.iter().map(ToString::to_string).collect();
        parts.push(format!(
            "These clients keep the secrets that they have there: {}. One that everybody knows should be changed.",
            names.join(", ")
        ));
    }
    if arguments.dry_run && !report.secrets.is_empty() {
        let names: Vec<_> = report
            .secrets
            .iter()
            .map(|(client, _)| client.to_string())
            .collect();
        parts.push(format!(
            "These clients would get new secrets there: {}.",
            names.join(", ")
        ));
    } else if let (false, Some(file)) = (report.secrets.is_empty(), &arguments.secrets_file) {
        parts.push(format!(
            "Clients that were not there got new secrets, for there only: they are in {}.",
            file.display()
        ));
    } else if !report.secrets.is_empty() {
        let mut table = Table::new(&["client", "secret there"]);
        for (client, secret) in &report.secrets {
            table.row([client.to_string(), secret.expose().to_owned()]);
        }
        parts.push(format!(
            "Clients that were not there got new secrets, for there only. They are kept nowhere and not shown again:\n\
             {table}"
        ));
    }
    parts
}

fn programs(arguments: &ExportArguments, place: &LegacyPlace, report: &ExportReport) -> Value {
    let chain = |chain: &Unsettled| json!({ "user_id": chain.user_id, "username": name(report, chain.user_id), "client_id": chain.client_id, "session_id": chain.session_id });
    let secret = |(client, secret): &(ClientId, ClientSecret)| match arguments.secrets_file {
        None if !arguments.dry_run => json!({ "client_id": client, "client_secret": secret.expose() }),
        Some(_) | None => json!({ "client_id": client }),
    };
    json!({
        "to": place.url().to_string(),
        "dry_run": arguments.dry_run,
        "users": report.users,
        "clients": report.clients,
        "tokens": report.tokens,
        "live_sessions": report.live_chains,
        "without_password": report.without_password,
        "sign_in_again": report.sign_in_again.iter().map(chain).collect::<Vec<_>>(),
        "kept_secrets": report.kept_secrets,
        "secrets": report.secrets.iter().map(secret).collect::<Vec<_>>(),
        "not_written": report.not_written.iter().map(view).collect::<Vec<_>>(),
    })
}
