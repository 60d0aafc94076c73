//! `keys`: what signs tokens, in the key directory.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use auth_domain::audit::AuditEvent;
use auth_domain::key::KeyState;
use auth_domain::ports::{Clock as _, Unavailable};
use auth_domain::time::{Seconds, Timestamp};
use auth_jwt::{DirectorySettings, ImportAs, KeyDescription, KeyError, KeyStore, Kid, Withdrawn};
use clap::{Args, Subcommand};
use rustix::process::geteuid;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::ask::{self, Consent};
use super::desk::Desk;
use super::failure::{Failure, causes};
use super::output::{Ending, Report, Table, moment, print_error};
use crate::settings::{KeyPlace, Settings};
use crate::system::SystemClock;
use crate::{compose, files};

/// What to do about signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List all keys and their states
    List,
    /// Publish a new key; it signs as soon as every verifier can know it
    ///
    /// Nothing is asked, but with --immediately.
    Rotate {
        /// Let it sign before services know it: only for a key that has leaked, since they refuse its tokens for an hour
        ///
        /// What breaks, and until when, is said before anything is done; without a terminal, --yes has to force it.
        #[arg(long)]
        immediately: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Take in an RSA private key made elsewhere
    ///
    /// It signs as soon as every verifier can know it; in a new key directory at once, as its first key. A key that shall
    /// only verify can be taken in again, to verify for longer.
    Import(ImportArguments),
    /// Withdraw a key that does not sign: one that has leaked, or that nobody wanted
    ///
    /// It leaves the key set at once, its file is deleted, and every token that it signed is refused from then on: by
    /// this server within seconds, by a service when its copy of the key set is an hour old. Who holds a refresh token
    /// of it has to sign in anew. The key that signs is replaced first, by `keys rotate --immediately`.
    Revoke {
        /// The key's name
        #[arg(value_parser = Kid::parse)]
        kid: Kid,
        #[command(flatten)]
        consent: Consent,
    },
    /// Delete the files of keys that are good for nothing any more
    Sweep,
}

/// A key to be taken in.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The key's PEM file
    file: PathBuf,
    /// The key's name [default: its thumbprint]
    #[arg(long, value_parser = Kid::parse)]
    kid: Option<Kid>,
    /// Never sign by it; verify what it has signed for so many seconds
    #[arg(long, value_name = "SECONDS")]
    verify_for: Option<u32>,
}

/// Carries it out.
///
/// # Errors
/// Where it can't be, and why.
pub(super) async fn run(command: KeysCommand, settings: &Settings) -> Result<Report, Failure> {
    if !matches!(command, KeysCommand::List) {
        check_owner(&settings.keys.place)?;
    }
    match command {
        KeysCommand::List => list(settings),
        KeysCommand::Rotate { immediately, consent } => {
            rotate(settings, immediately.then_some(&consent)).await
        }
        KeysCommand::Revoke { kid, consent } => revoke(settings, &kid, &consent).await,
        KeysCommand::Import(arguments) => import(settings, arguments).await,
        KeysCommand::Sweep => sweep(settings),
    }
}

/// Files that another user than the folder's makes in it, root above all, the server can't read: it would not start again.
fn check_owner(place: &KeyPlace) -> Result<(), Failure> {
    let KeyPlace::Folder(folder) = place else {
        return Ok(());
    };
    match std::fs::metadata(folder) {
        Ok(found) => check_same_user(folder, found.uid(), geteuid().as_raw()),
        // There is none yet, or its opening tells what is wrong.
        Err(_) => Ok(()),
    }
}

fn check_same_user(folder: &Path, owner: u32, mine: u32) -> Result<(), Failure> {
    if owner == mine {
        return Ok(());
    }
    let what = format!(
        "{} belongs to {}, and this runs as {}: what it makes there, that user could not read",
        folder.display(),
        files::user_named(owner),
        files::user_named(mine)
    );
    let advice = "Run it as that user, as root can: `runuser -u USER -- auth-service keys ...`. Nothing has been changed.";
    Err(Failure::refused(what).advise(advice))
}

/// Says so where there are no keys yet, so that a question never makes them.
///
/// # Errors
/// Where there are none.
pub(super) fn check_keys_exist(settings: &Settings) -> Result<(), Failure> {
    match &settings.keys.place {
        KeyPlace::Folder(folder) => {
            let found = KeyStore::open_existing(compose::key_directory(settings, folder));
            match found.map_err(|error| failed("open the key directory", &error))? {
                Some(_) => Ok(()),
                None => Err(Failure::refused(format!("there are no keys in {}", folder.display())).advise(
                    "`auth-service serve` makes the first one. AUTH_SERVICE__KEYS_DIR says where they are.",
                )),
            }
        }
        KeyPlace::Pair { .. } => Ok(()),
    }
}

fn open(settings: &Settings, now: Timestamp) -> Result<KeyStore, Failure> {
    opened(KeyStore::open(directory(settings)?, now))
}

fn directory(settings: &Settings) -> Result<DirectorySettings, Failure> {
    match &settings.keys.place {
        KeyPlace::Folder(folder) => Ok(compose::key_directory(settings, folder)),
        KeyPlace::Pair { .. } => Err(Failure::refused(
            "the signing key is a given pair, which is never rotated",
        )
        .advise("Keys are kept in AUTH_SERVICE__KEYS_DIR where PRIVATE_KEY_PATH is not set.")),
    }
}

fn opened(store: Result<KeyStore, KeyError>) -> Result<KeyStore, Failure> {
    store.map_err(|error| failed("open the key directory", &error))
}

fn failed(operation: &str, error: &KeyError) -> Failure {
    Failure::of(operation, error)
}

fn list(settings: &Settings) -> Result<Report, Failure> {
    check_keys_exist(settings)?;
    let now = SystemClock.now();
    let store = open(settings, now)?;
    let keys = store.list(now).map_err(|error| failed("list the keys", &error))?;
    warn_of_strays(&store)?;
    let mut table = Table::new(&[
        "kid",
        "state",
        "bits",
        "published",
        "signs from",
        "verifies until",
    ]);
    for key in &keys {
        table.row([
            key.kid.to_string(),
            state(key.state).to_owned(),
            key.bits.to_string(),
            moment(key.times.published_at),
            moment(key.times.activates_at),
            signed_until(key),
        ]);
    }
    let views: Vec<_> = keys.iter().map(view).collect();
    Ok(Report::new(table.to_string(), Value::Array(views)))
}

/// Makes the next key; asks first where it shall sign at once, and says what breaks.
async fn rotate(settings: &Settings, at_once: Option<&Consent>) -> Result<Report, Failure> {
    let desk = Desk::open(settings).await?;
    let keys = open(settings, desk.now())?;
    if let Some(consent) = at_once {
        let breaks = breaks(keys.turned_over_after(desk.now()));
        consent.obtain(&format!("Let a new key sign at once? {breaks}"))?;
    }
    let now = desk.now();
    let made = match at_once {
        Some(_) => keys.rotate_at_once(now),
        None => keys.rotate(now),
    };
    let key = made.map_err(|error| failed("rotate the keys", &error))?;
    let row = audited(&desk, &key).await;
    let mut report = announced(&key, "is published");
    if at_once.is_some() {
        tell_what_breaks(&mut report, keys.turned_over_after(now));
    }
    Ok(noted(report, row))
}

/// What a key breaks that signs before every verifier can know it, and until when.
fn breaks(until: Timestamp) -> String {
    format!(
        "Until {} a service that fetched the key set before now, keeps it for an hour and never asks again (the Gateway \
         is one) refuses every access token issued from now on: whoever signs in or refreshes gets errors there until it \
         fetches the set anew or is restarted. Refreshing, and tokens issued before, go on working.",
        moment(until)
    )
}

fn tell_what_breaks(report: &mut Report, until: Timestamp) {
    report.people = format!("{}\n{}", report.people, breaks(until));
    if let Value::Object(members) = &mut report.programs {
        members.insert("services_may_refuse_until".to_owned(), json!(moment(until)));
    }
}

async fn revoke(settings: &Settings, kid: &Kid, consent: &Consent) -> Result<Report, Failure> {
    if let KeyPlace::Pair { .. } = settings.keys.place {
        return Err(Failure::refused(
            "the signing key is a given pair: there is no other that could take over",
        )
        .advise("Set PRIVATE_KEY_PATH and PUBLIC_KEY_PATH to a new pair, and start the server again."));
    }
    check_keys_exist(settings)?;
    let desk = Desk::open(settings).await?;
    let keys = open(settings, desk.now())?;
    let state = keys
        .state(kid, desk.now())
        .map_err(|error| failed("look for the key", &error))?;
    withdrawable(kid, state)?;
    consent.obtain(&format!(
        "Withdraw key {kid} for good? Every token that it signed is refused then."
    ))?;
    let now = desk.now();
    let outcome = keys
        .withdraw(kid, now)
        .map_err(|error| failed("withdraw the key", &error))?;
    let state = withdrawable(kid, state_before(outcome))?;
    warn_of_strays(&keys)?;
    let event = AuditEvent::KeyRevoked {
        kid: kid.to_string(),
        state,
    };
    let row = desk.store.audit.record(desk.audit(event, None, None)).await;
    Ok(noted(withdrawn(kid, state, keys.turned_over_after(now)), row))
}

const fn state_before(outcome: Withdrawn) -> Option<KeyState> {
    match outcome {
        Withdrawn::Done(state) => Some(state),
        Withdrawn::Signs => Some(KeyState::Active),
        Withdrawn::Unknown => None,
    }
}

/// The state of a key that may go.
fn withdrawable(kid: &Kid, state: Option<KeyState>) -> Result<KeyState, Failure> {
    match state {
        None => {
            Err(Failure::refused(format!("there is no key {kid}"))
                .advise("`auth-service keys list` lists them."))
        }
        Some(KeyState::Active) => Err(
            Failure::refused(format!("key {kid} is the one that signs")).advise(format!(
                "If it has leaked, let another take over by `auth-service keys rotate --immediately`, and repeat \
                 `auth-service keys revoke {kid}`."
            )),
        ),
        Some(other) => Ok(other),
    }
}

fn withdrawn(kid: &Kid, state: KeyState, until: Timestamp) -> Report {
    let until = moment(until);
    let people = format!(
        "Key {kid} is withdrawn and deleted. This server refuses its tokens within seconds; services, which \
         keep the key set for an hour, may take them until {until}."
    );
    let programs = json!({ "kid": kid, "was": state, "services_may_accept_until": until });
    Report::new(people, programs)
}

async fn import(settings: &Settings, arguments: ImportArguments) -> Result<Report, Failure> {
    let pem = ask::read_secret_file(&arguments.file)?;
    if let Some(mode) = files::open_to_others(&arguments.file) {
        print_error(&format!(
            "auth-service: others may read or change {} (mode {mode:04o}): who has read it can sign as this server. `chmod \
             600` it, or delete it once it is taken in; where somebody may have read it, take in another key instead.",
            arguments.file.display()
        ));
    }
    let desk = Desk::open(settings).await?;
    let now = desk.now();
    let purpose = arguments
        .verify_for
        .map_or(ImportAs::Signer, |span| ImportAs::Verifier {
            until: now.plus(Seconds::new(span)),
        });
    let key = opened(KeyStore::open_for_import(directory(settings)?, purpose, now))?
        .import(pem.expose_secret().as_bytes(), arguments.kid, purpose, now)
        .map_err(|error| failed("import the key", &error))?;
    let row = audited(&desk, &key).await;
    Ok(concluded(&key, "is taken in", row))
}

fn sweep(settings: &Settings) -> Result<Report, Failure> {
    check_keys_exist(settings)?;
    let now = SystemClock.now();
    let store = open(settings, now)?;
    let removed = store
        .sweep(now)
        .map_err(|error| failed("sweep the keys", &error))?;
    warn_of_strays(&store)?;
    let people = match removed.len() {
        0 => "Every key is still good for something.".to_owned(),
        count => format!("{count} deleted."),
    };
    Ok(Report::new(people, json!({ "deleted": removed })))
}

/// Says which private keys lie about without being in use. They may be somebody's: none is deleted.
fn warn_of_strays(store: &KeyStore) -> Result<(), Failure> {
    let strays = store
        .strays()
        .map_err(|error| failed("look for stray keys", &error))?;
    for stray in strays {
        print_error(&format!(
            "auth-service: {} is not in keyring.json, so it is no key in use: delete it if nobody needs it",
            stray.display()
        ));
    }
    Ok(())
}

fn concluded(key: &KeyDescription, done: &str, row: Result<(), Unavailable>) -> Report {
    noted(announced(key, done), row)
}

/// What became of a key. That is so whether or not the audit trail says it, and doing it again would add another key,
/// or find none: so a row that is missing makes a warning and the exit code, never a failure that hides what was done.
fn noted(report: Report, row: Result<(), Unavailable>) -> Report {
    let Err(outage) = row else {
        return report;
    };
    print_error(&format!(
        "auth-service: this was done, but its audit row could not be written: {}\n\
         Don't repeat the command: nothing is missing but the row.",
        causes(&outage)
    ));
    Report {
        ending: Ending::Bad,
        ..report
    }
}

async fn audited(desk: &Desk, key: &KeyDescription) -> Result<(), Unavailable> {
    let event = AuditEvent::KeyRotated {
        kid: key.kid.to_string(),
        activates_at: key.times.activates_at.unix_seconds(),
    };
    desk.store.audit.record(desk.audit(event, None, None)).await
}

fn announced(key: &KeyDescription, done: &str) -> Report {
    let when = match key.state {
        KeyState::Active => "and signs from now on".to_owned(),
        KeyState::Published => format!("and signs from {} on", moment(key.times.activates_at)),
        KeyState::Retiring => format!("and verifies until {}", moment(key.times.signed_until)),
        KeyState::Removed => "and good for nothing any more".to_owned(),
    };
    Report::new(format!("Key {} {done} {when}.", key.kid), view(key))
}

fn view(key: &KeyDescription) -> Value {
    json!({
        "kid": key.kid,
        "state": key.state,
        "bits": key.bits,
        "published_at": moment(key.times.published_at),
        "activates_at": moment(key.times.activates_at),
        "signed_until": moment(key.times.signed_until),
    })
}

/// A key that has signed nothing yet has nothing to verify.
fn signed_until(key: &KeyDescription) -> String {
    if key.times.signed_until > key.times.published_at {
        moment(key.times.signed_until)
    } else {
        "-".to_owned()
    }
}

const fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Published => "published",
        KeyState::Active => "active",
        KeyState::Retiring => "retiring",
        KeyState::Removed => "removed",
    }
}

#[cfg(test)]
mod tests {
    use auth_domain::key::KeyTimes;

    use super::*;

    #[test]
    fn nobody_leaves_keys_in_the_folder_of_another_user() {
        let folder = Path::new("keys");
        assert!(check_same_user(folder, 4_000_000_001, 4_000_000_001).is_ok());
        let refused = check_same_user(folder, 4_000_000_001, 4_000_000_002).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("keys belongs to user 4000000001, and this runs as user 4000000002"),
            "{refused}"
        );
    }

    #[test]
    fn a_missing_audit_row_shows_in_the_exit_code_and_does_not_hide_the_key() {
        let key = KeyDescription {
            kid: Kid::parse("next").unwrap(),
            bits: 2_048,
            state: KeyState::Published,
            times: KeyTimes {
                published_at: Timestamp::default(),
                activates_at: Timestamp::default(),
                signed_until: Timestamp::default(),
            },
        };
        let report = concluded(&key, "is published", Err(Unavailable::new("record", "away")));
        assert_eq!(report.ending, Ending::Bad);
        assert_eq!(report.programs["kid"], "next");
        assert!(
            report.people.contains("Key next is published"),
            "{}",
            report.people
        );
        assert_eq!(concluded(&key, "is published", Ok(())).ending, Ending::Good);
    }
}
