//! Outdated hashes, replaced at a sign-in while others sign in: everybody's right password is right.

use auth_e2e::client::FLUTTER;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use auth_e2e::server::Server;
use auth_e2e::wire::{self, Connection};
use rstest::rstest;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::support::Store;

/// Where the user `admin` has a hash of bcrypt, as everybody has whom the older service knew, though new ones are
/// Argon2id's; and where nobody is turned away, however busy the machine is.
fn with_an_outdated_hash(store: Store) -> Installation {
    let hash = "AUTH_SERVICE__PASSWORD_HASH";
    let older = store.installation().with(hash, "bcrypt");
    drop(older.start());
    older
        .with(hash, "argon2id")
        .with("AUTH_SERVICE__HASHING_QUEUE", "1000")
        .with("AUTH_SERVICE__HASHING_DEADLINE", "60000")
        .with("AUTH_SERVICE__REQUEST_TIMEOUT", "120")
}

/// So many sign-ins by the right password, shared out among the servers, each sent before any is answered; says their
/// statuses.
fn sign_in_at_once(servers: &[Server], number: usize) -> Vec<u16> {
    let form = format!("grant_type=password&client_id={FLUTTER}&username=admin&password={ADMIN_PASSWORD}");
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut connections = Vec::new();
        for server in servers.iter().cycle().take(number) {
            let connection = Connection::open(server.address()).await.unwrap();
            connections.push((connection, wire::token_request(server.address(), &form)));
        }
        let mut signing_in = JoinSet::new();
        for (mut connection, request) in connections {
            signing_in.spawn(async move { connection.exchange(&request).await.unwrap().status });
        }
        signing_in.join_all().await
    })
}

#[rstest]
#[case::sqlite(Store::Sqlite, 1)]
#[case::postgres(Store::Postgres, 1)]
#[case::two_instances(Store::Postgres, 2)]
fn right_passwords_at_once_are_right_though_one_replaces_the_hash_of_all(
    #[case] store: Store,
    #[case] instances: usize,
) {
    let number = scale::times(12, 100);
    let installation = with_an_outdated_hash(store);
    let mut database = Database::of(&installation);
    assert!(database.password_hashes()[0].starts_with("$2b$12$"));
    let others: Vec<_> = (1..instances).map(|_| installation.beside()).collect();
    let servers: Vec<_> = std::iter::once(&installation)
        .chain(&others)
        .map(Installation::start)
        .collect();
    assert_eq!(sign_in_at_once(&servers, number), vec![200; number]);

    let audited = database.audited();
    assert_eq!(
        audited.get("login_success"),
        Some(&i64::try_from(number).unwrap())
    );
    assert_eq!(audited.get("login_failed"), None);
    assert_eq!(
        database.number("SELECT count(*) FROM sessions WHERE revoked_at IS NULL"),
        i64::try_from(number).unwrap()
    );
    assert!(database.password_hashes()[0].starts_with("$argon2id$"));
    scale::attempts(number);
}
