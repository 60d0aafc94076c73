//! The rotation chain over HTTP: one use of each token, whoever comes first.

use auth_e2e::client::{Client, Tokens};
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use auth_e2e::server::Server;
use rstest::rstest;

use crate::database::Database;
use crate::support::{Store, assert_refused, use_at_once};

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn second_use_of_a_refresh_token_kills_its_chain_and_no_other(#[case] store: Store) {
    let installation = store.installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let first = client.admin_tokens();
    let elsewhere = client.admin_tokens();
    let newest = client.refreshed(&client.refreshed(&first));

    assert_refused(&client.refresh(&first.refresh));

    assert_refused(&client.refresh(&newest.refresh));
    client.refreshed(&elsewhere);
    let audited = Database::of(&installation).audited();
    let of = |kind: &str| audited.get(kind).copied().unwrap_or_default();
    assert_eq!(of("login_success"), 2);
    assert_eq!(of("token_refresh"), 3);
    assert_eq!(of("security_incident"), 1);
    assert_eq!(of("token_invalid"), 1);
}

#[test]
fn every_generation_of_a_long_chain_is_refused_once_consumed() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut generations = vec![client.admin_tokens()];
    for _ in 0..50 {
        generations.push(client.refreshed(generations.last().unwrap()));
    }
    for consumed in generations.iter().rev().skip(1) {
        assert_refused(&client.refresh(&consumed.refresh));
    }
    assert_refused(&client.refresh(&generations.last().unwrap().refresh));
    scale::attempts(generations.len());
}

#[test]
fn one_of_64_uses_at_once_succeeds() {
    one_of_many_uses_at_once_succeeds(Store::Sqlite, 64, 1);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn one_of_1000_uses_at_once_succeeds(#[case] store: Store) {
    one_of_many_uses_at_once_succeeds(store, 1_000, 1);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn one_of_1000_uses_at_once_at_three_instances_over_one_database_succeeds(#[case] store: Store) {
    one_of_many_uses_at_once_succeeds(store, 1_000, 3);
}

fn one_of_many_uses_at_once_succeeds(store: Store, times: usize, instances: usize) {
    let installation = store.installation();
    let mut servers = vec![installation.start()];
    let others: Vec<_> = (1..instances).map(|_| installation.beside()).collect();
    servers.extend(others.iter().map(Installation::start));
    let client = Client::flutter(servers[0].http());
    let Tokens { refresh, .. } = client.admin_tokens();

    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let answers = use_at_once(&addresses, &refresh, times);

    let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!(granted.len(), 1);
    for (status, body) in refused {
        assert!(
            status == 401 && body.contains("\"invalid_grant\""),
            "{status} {body}"
        );
    }
    // The others were reuse: the chain is dead, and has grown by one token, not more.
    let granted: serde_json::Value = serde_json::from_str(&granted[0].1).unwrap();
    assert_refused(&client.refresh(granted["refresh_token"].as_str().unwrap()));
    let mut database = Database::of(&installation);
    assert_eq!(database.number("SELECT count(*) FROM refresh_tokens"), 2);
    assert_eq!(
        database.number("SELECT count(*) FROM sessions WHERE revoked_at IS NULL"),
        0
    );
    assert_eq!(
        database.number("SELECT count(*) FROM audit_logs WHERE event_type = 'token_refresh'"),
        1
    );
    scale::attempts(times);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn the_order_of_a_fast_chain_survives_restarts(#[case] store: Store) {
    let installation = store.installation();
    let mut server = installation.start();
    let mut chains = [(); 2].map(|()| vec![Client::flutter(server.http()).admin_tokens()]);
    for _ in 0..3 {
        let client = Client::flutter(server.http());
        for chain in &mut chains {
            for _ in 0..10 {
                chain.push(client.refreshed(chain.last().unwrap()));
            }
        }
        server.stop();
        server = installation.start();
    }
    let client = Client::flutter(server.http());
    let mut tried = 0;
    // Of one chain the oldest is replayed first, of the other the youngest: each is told by itself.
    let [oldest_first, youngest_first] = &chains;
    let replayed = oldest_first[..30].iter().chain(youngest_first[..30].iter().rev());
    for consumed in replayed {
        assert_refused(&client.refresh(&consumed.refresh));
        tried += 1;
    }
    server.stop();
    let server = installation.start();
    let client = Client::flutter(server.http());
    for token in chains.iter().flatten() {
        assert_refused(&client.refresh(&token.refresh));
        tried += 1;
    }
    scale::attempts(tried);
}
