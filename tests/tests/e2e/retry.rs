//! The retry window: who has lost an answer is never signed out, and who has stolen a token is never let be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use auth_e2e::client::{Client, Tokens};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use rstest::rstest;
use tempfile::TempDir;

use crate::clocks::Clock;
use crate::database::Database;
use crate::support::{Chance, Store, everything_in};

const APP: &str = "patient-app";
/// Seconds.
const WINDOW: i64 = 60;
const WINDOWS_OPEN: usize = 16;

/// A client whose used tokens give the same successor again for a while.
fn patient_client(installation: &Installation) {
    let create = format!(
        "client create {APP} --name Patient --refresh-retry-window {WINDOW} --grant password \
         --grant refresh_token --scope api:read"
    );
    let arguments: Vec<&str> = create.split_whitespace().collect();
    let created = installation.run(&arguments, "").unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
}

#[test]
fn a_refresh_that_the_store_is_too_late_for_has_consumed_nothing() {
    let installation = Installation::new()
        .with("AUTH_SERVICE__REQUEST_TIMEOUT", "1")
        .with("AUTH_SERVICE__HASHING_DEADLINE", "400");
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let mut other = SqliteConnection::establish(installation.database().to_str().unwrap()).unwrap();
    other
        .batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE")
        .unwrap();
    let late = client.refresh(&tokens.refresh);
    assert_eq!(late.status, 503, "{}", late.text());
    other.batch_execute("ROLLBACK").unwrap();
    // At once: what was late would be carried out now, were it still queued.
    let again = client.refresh(&tokens.refresh);
    assert_eq!(again.status, 200, "{}", again.text());
    let metrics = server.http().get("/metrics").unwrap().text();
    for (status, count) in [("503", 1), ("200", 1)] {
        let line = format!(
            "auth_token_requests_total{{grant_type=\"refresh_token\",status=\"{status}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
}

/// The one file in which all windows of an application keep their refresh token.
struct TokenFile {
    directory: TempDir,
}

impl TokenFile {
    fn with(token: &str) -> Self {
        let file = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        file.write(token, 0);
        file
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn write(&self, token: &str, window: usize) {
        let next: PathBuf = self.folder().join(format!("next-{window}"));
        fs::write(&next, token).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder().join("token")
    }

    fn folder(&self) -> &Path {
        self.directory.path()
    }
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn sixteen_windows_on_one_token_file_that_lose_answers_are_never_signed_out(#[case] store: Store) {
    let installation = store.installation();
    let server = installation.start();
    patient_client(&installation);
    let first = Client::new(server.http(), APP).admin_tokens();
    let file = TokenFile::with(&first.refresh);
    let expiries = scale::times(10, 100);
    let refreshes = AtomicUsize::new(0);
    let barrier = Barrier::new(WINDOWS_OPEN);
    thread::scope(|scope| {
        for window in 0..WINDOWS_OPEN {
            let (file, barrier, refreshes) = (&file, &barrier, &refreshes);
            // A process of its own knows no connection of another.
            let client = Client::new(Http::new(server.address()), APP);
            scope.spawn(move || {
                let mut chance = Chance::seeded(window as u64);
                for _ in 0..expiries {
                    // The access token expires for all of them in the same second.
                    let expired = file.read();
                    barrier.wait();
                    let sent = refresh_as_a_window_does(&client, file, &expired, window, &mut chance);
                    refreshes.fetch_add(sent, Ordering::Relaxed);
                    barrier.wait();
                }
            });
        }
    });
    let mut database = Database::of(&installation);
    let refreshes = refreshes.into_inner();
    assert!(
        refreshes > expiries * 2,
        "they did get into each other's way: {refreshes}"
    );
    // One successor for each expiry, however many asked: there never was a second branch.
    let of_chain = "SELECT count(*) FROM refresh_tokens";
    assert_eq!(usize::try_from(database.number(of_chain)).unwrap(), 1 + expiries);
    assert!(!database.audited().contains_key("security_incident"));
    scale::attempts(refreshes);
}

/// Refreshes until an answer arrives; says how many requests that took. An answer is lost now and then; then the window
/// tries again by the token it holds, or starts anew and finds what another window has stored meanwhile.
fn refresh_as_a_window_does(
    client: &Client,
    file: &TokenFile,
    expired: &str,
    window: usize,
    chance: &mut Chance,
) -> usize {
    let mut sent = 0;
    loop {
        let answer = client.refresh(expired);
        sent += 1;
        assert_eq!(answer.status, 200, "signed out: {}", answer.text());
        let is_lost = chance.below(3) == 0;
        if !is_lost {
            file.write(&Tokens::of(&answer).refresh, window);
            return sent;
        }
        let starts_anew = chance.below(2) == 0;
        if starts_anew && file.read() != expired {
            return sent;
        }
    }
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn every_theft_is_caught_though_there_is_a_retry_window(#[case] store: Store) {
    let (mut clock, installation) = Clock::of(store.installation());
    let server = installation.start();
    patient_client(&installation);
    let client = Client::new(server.http(), APP);
    let thefts = scale::times(12, 120);
    let mut chance = Chance::seeded(1);
    for theft in 0..thefts {
        let mut chain = vec![client.admin_tokens()];
        for _ in 0..=chance.below(6) {
            chain.push(client.refreshed(chain.last().unwrap()));
            clock.step(1);
        }
        match theft % 4 {
            0 => an_old_token_is_used(&client, &mut chain, &mut chance),
            1 => the_predecessor_is_used_too_late(&client, &mut chain, &mut clock),
            2 => the_thief_is_first(&client, &mut chain, &mut clock),
            _ => the_thief_shadows_the_owner(&client, &mut chain, &mut clock),
        }
        // Whoever holds whatever of this chain: it is over.
        for tokens in &chain {
            assert_eq!(client.refresh(&tokens.refresh).status, 400);
        }
        let caught = Database::of(&installation).audited()["security_incident"];
        assert_eq!(usize::try_from(caught).unwrap(), theft + 1);
    }
    scale::attempts(thefts);
}

fn an_old_token_is_used(client: &Client, chain: &mut Vec<Tokens>, chance: &mut Chance) {
    chain.push(client.refreshed(chain.last().unwrap()));
    let stolen = chance.below(chain.len() - 2);
    assert_eq!(client.refresh(&chain[stolen].refresh).status, 400);
}

fn the_predecessor_is_used_too_late(client: &Client, chain: &mut [Tokens], clock: &mut Clock) {
    clock.step(WINDOW);
    let stolen = &chain[chain.len() - 2];
    assert_eq!(client.refresh(&stolen.refresh).status, 400);
}

fn the_thief_is_first(client: &Client, chain: &mut Vec<Tokens>, clock: &mut Clock) {
    let stolen = chain.last().unwrap().clone();
    chain.push(client.refreshed(&stolen));
    clock.step(WINDOW);
    assert_eq!(client.refresh(&stolen.refresh).status, 400);
}

/// The thief uses the owner's token within the window, and gets the owner's own successor: there is no other. From then
/// on one of the two comes too late.
fn the_thief_shadows_the_owner(client: &Client, chain: &mut Vec<Tokens>, clock: &mut Clock) {
    let stolen = chain.last().unwrap().clone();
    let owners = client.refreshed(&stolen);
    clock.step(1);
    let thiefs = client.refreshed(&stolen);
    assert_eq!(owners.refresh, thiefs.refresh);
    chain.push(client.refreshed(&owners));
    clock.step(WINDOW);
    assert_eq!(client.refresh(&thiefs.refresh).status, 400);
}
