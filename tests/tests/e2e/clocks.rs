//! The clock set forward and back under a running server: it revives nothing and ends nothing beyond what it says.
//!
//! The server runs under libfaketime, which reads the time of day from a file each time it is asked. Spans are measured
//! by the monotonic clock, which is left alone, as a step of the real clock leaves it.

use std::fs;
use std::path::PathBuf;

use auth_e2e::client::{Client, Tokens};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use rstest::rstest;
use tempfile::TempDir;

use crate::database::payload_number;
use crate::support::{Store, assert_refused, everything_in};

/// A moment to start from: whole seconds, so that the file says exactly what the server reads.
const START: i64 = 1_800_000_000;
const MONTH: i64 = 30 * 24 * 3_600;

/// The clock of an installation. It stands still unless it is set.
pub(crate) struct Clock {
    directory: TempDir,
    now: i64,
}

impl Clock {
    /// Puts an installation under a clock of its own.
    pub(crate) fn of(installation: Installation) -> (Self, Installation) {
        let mut clock = Self {
            directory: tempfile::tempdir().unwrap(),
            now: START,
        };
        clock.set(START);
        let installation = installation
            .with("LD_PRELOAD", library().to_str().unwrap())
            .with("FAKETIME_TIMESTAMP_FILE", clock.file().to_str().unwrap())
            .with("FAKETIME_FMT", "%s")
            .with("FAKETIME_NO_CACHE", "1")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with("TZ", "UTC");
        (clock, installation)
    }

    /// Sets it forward, or back by a negative number of seconds.
    pub(crate) fn step(&mut self, seconds: i64) {
        self.set(self.now + seconds);
    }

    fn set(&mut self, now: i64) {
        self.now = now;
        let next = self.directory.path().join("next");
        fs::write(&next, now.to_string()).unwrap();
        // Whoever reads it meanwhile reads the old one or the new one.
        fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("now")
    }
}

/// Where the system keeps libfaketime.
fn library() -> PathBuf {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let library = folders
        .iter()
        .map(|folder| PathBuf::from(folder).join("faketime/libfaketimeMT.so.1"))
        .find(|file| file.exists());
    library
        .unwrap_or_else(|| panic!("libfaketime is missing: .ci/install test installs the package faketime"))
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn a_refresh_token_ends_at_its_second_by_the_servers_clock(#[case] store: Store) {
    let (mut clock, installation) = Clock::of(store.installation());
    let server = installation.start();
    let client = Client::flutter(server.http());
    let [in_time, late] = [(); 2].map(|()| client.admin_tokens());
    assert_eq!(payload_number(&late.refresh, "exp"), START + MONTH);
    clock.step(MONTH - 1);
    client.refreshed(&in_time);
    clock.step(1);
    assert_refused(&client.refresh(&late.refresh));
    // It was refused, not consumed: by a clock that says that it is good, it is good.
    clock.step(-1);
    client.refreshed(&late);
    scale::attempts(3);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn a_clock_set_back_revives_no_consumed_token_and_no_ended_chain(#[case] store: Store) {
    let (mut clock, installation) = Clock::of(store.installation());
    let server = installation.start();
    let client = Client::flutter(server.http());
    let [replayed, refreshed, revoked] = [(); 3].map(|()| client.admin_tokens());
    clock.step(3_600);
    let newest = client.refreshed(&replayed);
    assert_refused(&client.refresh(&replayed.refresh));
    let live = client.refreshed(&refreshed);
    clock.step(-3_600);
    for dead in [&replayed, &newest, &refreshed] {
        assert_refused(&client.refresh(&dead.refresh));
    }
    // The last of these was a reuse: its chain is dead by any clock.
    clock.step(7_200);
    assert_refused(&client.refresh(&live.refresh));
    let changed = installation
        .run(&["user", "deactivate", "admin", "--yes"], "")
        .unwrap();
    assert!(changed.status.success(), "{}", everything_in(&changed));
    for step in [-7_200, -MONTH, MONTH] {
        clock.step(step);
        assert_refused(&client.refresh(&revoked.refresh));
    }
    scale::attempts(7);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn a_token_from_the_future_waits_for_its_time_and_loses_nothing(#[case] store: Store) {
    let (mut clock, installation) = Clock::of(store.installation());
    let server = installation.start();
    let client = Client::flutter(server.http());
    clock.step(3_600);
    let early = client.admin_tokens();
    clock.step(-3_600);
    assert_refused(&client.refresh(&early.refresh));
    // Valid 5 s before it was issued, and 60 s more are granted to clocks that differ.
    clock.step(3_600 - 66);
    assert_refused(&client.refresh(&early.refresh));
    clock.step(1);
    client.refreshed(&early);
    scale::attempts(3);
}

#[test]
fn an_access_token_ends_at_its_second_and_what_the_skew_grants() {
    let (mut clock, installation) = Clock::of(Installation::new().unlimited());
    let server = installation.start();
    let tokens = Client::flutter(server.http()).admin_tokens();
    let is_good = |tokens: &Tokens| {
        let inspected = installation.run(&["token", "inspect"], &tokens.access).unwrap();
        inspected.status.success()
    };
    for (step, good) in [
        (0, true),
        (900 + 59, true),
        (1, false),
        (-1, true),
        (MONTH, false),
        (-MONTH, true),
    ] {
        clock.step(step);
        assert_eq!(is_good(&tokens), good, "after a step of {step} s");
    }
    scale::attempts(6);
}

#[test]
fn a_lock_ends_by_the_clock_and_by_nothing_sooner() {
    let (mut clock, installation) =
        Clock::of(Installation::new().with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000"));
    let server = installation.start();
    let client = Client::flutter(server.http());
    for _ in 0..5 {
        assert_refused(&client.sign_in("admin", "Wrong-Horse-7-Battery"));
    }
    let mut tried = 0;
    for step in [0, 899, -3_600, 3_600] {
        clock.step(step);
        assert_eq!(
            client.sign_in("admin", ADMIN_PASSWORD).status,
            429,
            "after a step of {step} s"
        );
        tried += 1;
    }
    clock.step(1);
    client.admin_tokens();
    scale::attempts(tried + 1);
}
