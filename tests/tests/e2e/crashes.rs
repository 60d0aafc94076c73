//! `kill -9` and SIGTERM in the middle of refreshes: what was acknowledged stands, what was consumed stays so.

use std::io::ErrorKind;

use auth_domain::id::Jti;
use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::scale;
use auth_e2e::server::Server;
use rstest::rstest;

use crate::database::{Database, claims};
use crate::support::{Store, User, assert_refused, everything_in, refresh_until_cut};

const USERS: usize = 8;

/// After how many answers to kill: two rounds of all users at least, and each time at another moment.
fn moment(round: usize) -> usize {
    2 * USERS + 3 * (round % 20)
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn no_acknowledged_token_is_lost_and_none_is_usable_twice_by_kill_9(#[case] store: Store) {
    let installation = store.installation();
    let mut server = installation.start();
    let client = Client::flutter(server.http());
    let mut users: Vec<User> = (0..USERS).map(|_| User::signed_in(&client)).collect();
    let mut cut_in_flight = 0;
    let rounds = scale::times(20, 200);
    for round in 0..rounds {
        users = refresh_until_killed(server, users, FLUTTER, moment(round));
        server = installation.start();
        let client = Client::flutter(server.http());
        let mut database = Database::of(&installation);
        for (number, user) in users.iter_mut().enumerate() {
            let whole = is_newest_the_head(&mut database, user);
            cut_in_flight += usize::from(!whole);
            if number % 2 == round % 2 {
                redeem_newest(&client, user, whole);
            } else {
                redeem_consumed(&client, user);
            }
        }
        assert_eq!(database.faults(), ["ok"]);
    }
    // A rotation and its audit row stand or fall together.
    let mut database = Database::of(&installation);
    let rotations = database.number("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL");
    assert_eq!(database.audited()["token_refresh"], rotations);
    // Not a property of the server, but of this test: it did kill in the middle.
    assert!(
        cut_in_flight > 0,
        "no kill ever cut off an answer: the load is too weak to say anything"
    );
    scale::attempts(rounds);
}

/// Whether the newest token that a user was given is the head of its chain. Where not, the only other thing that can
/// be is that the request cut off by the kill has consumed it: then the head is the one successor it can have.
fn is_newest_the_head(database: &mut Database, user: &User) -> bool {
    let head = database.head_of_chain(user.newest());
    if head == claims(user.newest()).jti.hash() {
        return true;
    }
    assert!(
        head == Jti::successor_of(user.newest()).hash(),
        "the newest of {} acknowledged tokens is lost",
        user.tokens.len()
    );
    false
}

/// Presents the newest token: it works unless the request that was cut off has consumed it.
fn redeem_newest(client: &Client, user: &mut User, is_head: bool) {
    let answer = client.refresh(user.newest());
    if is_head {
        assert_eq!(answer.status, 200, "{}", answer.text());
        user.tokens.push(answer.member("refresh_token").unwrap());
    } else {
        assert_refused(&answer);
        *user = User::signed_in(client);
    }
}

/// Presents the token before the newest, whose consumption was acknowledged, then all before it.
fn redeem_consumed(client: &Client, user: &mut User) {
    for consumed in user.tokens.iter().rev().skip(1).take(5) {
        assert_refused(&client.refresh(consumed));
    }
    *user = User::signed_in(client);
}

fn refresh_until_killed(
    server: Server,
    users: Vec<User>,
    client_id: &'static str,
    after: usize,
) -> Vec<User> {
    let address = server.address();
    let killer = server.killer();
    let users = refresh_until_cut(users, client_id, address, after, move || killer.kill().unwrap());
    assert!(!server.ended().unwrap().success());
    users
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn with_a_retry_window_no_kill_9_signs_anybody_out(#[case] store: Store) {
    const PATIENT: &str = "patient-app";
    let installation = store.installation();
    let mut server = installation.start();
    let grants = [
        "--grant",
        "password",
        "--grant",
        "refresh_token",
        "--scope",
        "api:read",
    ];
    let create = [
        "client",
        "create",
        PATIENT,
        "--name",
        "Patient",
        "--refresh-retry-window",
        "600",
    ];
    let created = installation
        .run(&[&create[..], &grants[..]].concat(), "")
        .unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
    let client = Client::new(server.http(), PATIENT);
    let mut users: Vec<User> = (0..USERS).map(|_| User::signed_in(&client)).collect();
    for round in 0..scale::times(5, 20) {
        users = refresh_until_killed(server, users, PATIENT, moment(round));
        server = installation.start();
        let client = Client::new(server.http(), PATIENT);
        for user in &mut users {
            let answer = client.refresh(user.newest());
            assert_eq!(answer.status, 200, "{}", answer.text());
            user.tokens.push(answer.member("refresh_token").unwrap());
        }
    }
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn sigterm_under_load_answers_all_that_was_begun_and_ends_well(#[case] store: Store) {
    let installation = store.installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let users: Vec<User> = (0..32).map(|_| User::signed_in(&client)).collect();
    let killer = server.killer();

    let users = refresh_until_cut(users, FLUTTER, server.address(), 500, move || {
        killer.ask_to_stop().unwrap();
    });

    let status = server.ended().expect("it ends in time");
    assert_eq!(status.code(), Some(0));
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut database = Database::of(&installation);
    for user in &users {
        let stopped_by = user.stopped_by.as_ref().unwrap().kind();
        assert!(
            matches!(
                stopped_by,
                ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused
            ),
            "an answer was cut short: {stopped_by}"
        );
        // A request that got no answer was not begun either: its token is not consumed.
        assert!(is_newest_the_head(&mut database, user));
        assert_eq!(client.refresh(user.newest()).status, 200);
    }
}
