//! The disk full, read-only, and the database held by somebody else: refused honestly, and over when it is over.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auth_e2e::client::{Client, Tokens};
use auth_e2e::http::Answer;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use auth_e2e::server::within;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use crate::database::{Database, claims};
use crate::support::{assert_refused, everything_in};

/// A small disk of its own, in memory. It is unmounted when this is dropped.
struct Disk(TempDir);

impl Disk {
    /// Mounts one of 4 MiB. `None` where mounting is not allowed, which the full figures do not put up with.
    fn mounted() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let done = mount(
            &["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"],
            directory.path(),
        );
        if !done {
            scale::left_out(
                "a disk that is full or read-only, for which one is mounted: that takes root's rights",
            );
        }
        done.then(|| Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// An installation whose database is on this disk; its keys and its log are not.
    fn installation(&self) -> Installation {
        let url = format!("sqlite:///{}", self.database().display());
        Installation::new().unlimited().with("AUTH_SERVICE__DB_URL", &url)
    }

    fn database(&self) -> PathBuf {
        self.path().join("auth.db")
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    fn remount(&self, mode: &str) {
        assert!(mount(&["-o", &format!("remount,{mode}")], self.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}

/// An outage told as one: 503, and when to try again.
#[track_caller]
fn assert_unavailable(answer: &Answer) {
    let told = (answer.status, answer.member("error"));
    assert_eq!(
        told,
        (503, Some("temporarily_unavailable".to_owned())),
        "{}",
        answer.text()
    );
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
}

#[test]
fn a_full_disk_is_an_outage_that_loses_nothing_and_ends_with_its_cause() {
    let Some(disk) = Disk::mounted() else { return };
    let installation = disk.installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut tokens = client.admin_tokens();
    let mut tried = 0;
    for _ in 0..scale::times(2, 10) {
        disk.fill();
        // What the write-ahead log has room for already can still be written: as long as there is some, an answer is
        // a good one. What is not good is told as an outage, and nothing else.
        while !is_exhausted(&client, &mut tokens) {
            tried += 2;
            assert!(tried < 20_000, "the disk is not full");
        }
        assert_eq!(server.http().get("/.well-known/jwks.json").unwrap().status, 200);
        tried += 3;

        fs::remove_file(disk.ballast()).unwrap();
        let recovered = within(Duration::from_secs(15), || {
            let answer = client.refresh(&tokens.refresh);
            (answer.status != 503).then_some(answer)
        });
        tokens = Tokens::of(&recovered.expect("it recovers by itself"));
    }
    let mut database = Database::open(&disk.database());
    assert_eq!(database.faults(), ["ok"]);
    assert!(database.head_of_chain(&tokens.refresh) == claims(&tokens.refresh).jti.hash());
    let rotations = database.number("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL");
    assert_eq!(database.audited()["token_refresh"], rotations);
    scale::attempts(tried);
}

/// Tries a refresh and a sign-in. Says whether there was room for neither.
fn is_exhausted(client: &Client, tokens: &mut Tokens) -> bool {
    let refreshed = client.refresh(&tokens.refresh);
    if refreshed.status == 200 {
        *tokens = Tokens::of(&refreshed);
    } else {
        assert_unavailable(&refreshed);
    }
    let signed_in = client.sign_in("admin", ADMIN_PASSWORD);
    if signed_in.status != 200 {
        assert_unavailable(&signed_in);
    }
    refreshed.status != 200 && signed_in.status != 200
}

#[test]
fn a_revocation_that_the_disk_has_no_room_for_is_never_claimed() {
    let Some(disk) = Disk::mounted() else { return };
    let installation = disk.installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let first = client.admin_tokens();
    let second = client.refreshed(&first);
    let mut other = client.admin_tokens();
    disk.fill();
    while !is_exhausted(&client, &mut other) {}
    // A reuse must end the chain, a deactivation all of them: each is done, or not claimed to be.
    let live = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL";
    let mut database = Database::open(&disk.database());
    let before = database.number(live);
    let reused = client.refresh(&first.refresh);
    if reused.status == 503 {
        assert_unavailable(&reused);
        assert_eq!(database.number(live), before);
    } else {
        assert_refused(&reused);
        assert_eq!(database.number(live), before - 1);
    }
    let deactivated = installation
        .run(&["user", "deactivate", "admin", "--yes"], "")
        .unwrap();
    let is_inactive = database.number("SELECT count(*) FROM users WHERE NOT is_active") == 1;
    assert_eq!(
        deactivated.status.success(),
        is_inactive,
        "{}",
        everything_in(&deactivated)
    );
    fs::remove_file(disk.ballast()).unwrap();
    let ended = within(Duration::from_secs(15), || {
        let answer = client.refresh(&first.refresh);
        (answer.status != 503).then_some(answer)
    });
    assert_refused(&ended.expect("it recovers by itself"));
    assert_refused(&client.refresh(&second.refresh));
    scale::attempts(2);
}

#[test]
fn a_database_that_can_only_be_read_is_named_at_the_start() {
    let Some(disk) = Disk::mounted() else { return };
    let installation = disk.installation();
    let tokens = Client::flutter(installation.start().http()).admin_tokens();
    disk.remount("ro");
    let output = installation.run(&["serve"], "").unwrap();
    let said = everything_in(&output);
    assert!(!output.status.success(), "it went on: {said}");
    assert!(
        said.contains("auth.db") || said.contains("readonly") || said.contains("read-only"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    disk.remount("rw");
    let server = installation.start();
    Client::flutter(server.http()).refreshed(&tokens);
}

#[test]
fn a_database_held_by_another_process_is_an_outage_that_ends_with_it() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let mut holder = SqliteConnection::establish(installation.database().to_str().unwrap()).unwrap();
    holder.batch_execute("BEGIN IMMEDIATE").unwrap();
    assert_unavailable(&client.refresh(&tokens.refresh));
    assert_eq!(server.http().get("/health").unwrap().status, 503);
    assert_eq!(server.http().get("/.well-known/jwks.json").unwrap().status, 200);
    holder.batch_execute("ROLLBACK").unwrap();
    let tokens = client.refreshed(&tokens);
    client.refreshed(&tokens);
    assert_eq!(server.http().get("/health").unwrap().status, 200);
    scale::attempts(2);
}
