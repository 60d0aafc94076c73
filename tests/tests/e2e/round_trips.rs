//! What a refresh costs the way to PostgreSQL, counted by a listener in between: round trips and bytes, no times.

use std::net::SocketAddr;

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use auth_e2e::wire::{self, Connection};
use auth_testkit::server::{Database, Tap, Traffic};
use tokio::task::JoinSet;

use crate::support::{User, runtime};

/// How often each user refreshes before anything is counted: until every connection has prepared its statements.
const BEFORE: usize = 12;
/// How often afterwards.
const COUNTED: usize = 32;
/// What else an instance may ask its database for meanwhile: a client whose entry in the cache has grown old, say.
const ASIDE: u64 = 6;

/// The traffic of so many users who refresh at once.
fn traffic_of(users: usize) -> Traffic {
    let database = Database::new();
    let tap = Tap::before(&database);
    let installation = Installation::new()
        .unlimited()
        .on_postgres(database)
        .with("AUTH_SERVICE__DB_URL", tap.url());
    let server = installation.start();
    let client = Client::flutter(server.http());
    let users: Vec<User> = (0..users).map(|_| User::signed_in(&client)).collect();
    runtime().block_on(async {
        let users = refresh(users, server.address(), BEFORE).await;
        let before = tap.seen();
        refresh(users, server.address(), COUNTED).await;
        tap.seen().since(&before)
    })
}

/// Has all of them refresh so often, each as soon as the last answer is there.
async fn refresh(users: Vec<User>, address: SocketAddr, times: usize) -> Vec<User> {
    let mut refreshing = JoinSet::new();
    for mut user in users {
        refreshing.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            for _ in 0..times {
                let form = wire::refresh_form(FLUTTER, user.newest());
                let request = wire::token_request(address, &form);
                let reply = connection.exchange(&request).await.unwrap();
                assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(reply.body));
                user.tokens
                    .push(wire::refresh_token(reply.body).unwrap().to_owned());
            }
            user
        });
    }
    refreshing.join_all().await
}

fn say(users: usize, traffic: Traffic) -> u64 {
    let refreshes = u64::try_from(users * COUNTED).unwrap();
    scale::say(&format!(
        "of {users} at once, a refresh: {}.{:02} round trips, {} bytes there, {} back",
        traffic.round_trips / refreshes,
        traffic.round_trips * 100 / refreshes % 100,
        traffic.sent / refreshes,
        traffic.received / refreshes,
    ));
    refreshes
}

#[test]
fn a_refresh_alone_takes_two_round_trips_and_no_statement_is_told_twice() {
    let traffic = traffic_of(1);
    let refreshes = say(1, traffic);
    assert!(
        traffic.round_trips <= 2 * refreshes + ASIDE,
        "more than to find the session and to rotate it: {traffic:?}"
    );
    assert!(
        traffic.texts <= ASIDE,
        "statements are prepared once: {traffic:?}"
    );
    assert!(traffic.sent <= 1_250 * refreshes, "{traffic:?}");
    assert!(traffic.received <= 850 * refreshes, "{traffic:?}");
}

#[test]
fn refreshes_of_sixteen_at_once_share_their_round_trips() {
    let traffic = traffic_of(16);
    let refreshes = say(16, traffic);
    assert!(
        traffic.round_trips * 10 <= 16 * refreshes,
        "more than 1.6 for each: {traffic:?}"
    );
    assert!(
        traffic.texts <= ASIDE,
        "statements are prepared once: {traffic:?}"
    );
    assert!(traffic.sent <= 1_000 * refreshes, "{traffic:?}");
    assert!(traffic.received <= 600 * refreshes, "{traffic:?}");
}
