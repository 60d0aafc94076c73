//! Clients that instances remember: what of a change they know at once, and what within a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth_e2e::binary::workspace_root;
use auth_e2e::client::Client;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::server::{Server, within};
use auth_testkit::server::{Database, RedisServer};
use diesel::prelude::*;

use crate::support::{confidential_client, everything_in};

const PATIENCE: Duration = Duration::from_secs(30);
const BACKEND: &str = "backend";
/// The note for an operator whose change servers could not be told of.
const UNTOLD: &str = "running servers could not be told of this change";
/// The same after a command that changes many.
const UNTOLD_OF_MANY: &str = "could not be told that clients have changed";

/// Instances that share a database, and a Redis where there is one.
fn pair(first: &Installation) -> ([Installation; 2], [Server; 2]) {
    let installations = [first.beside(), first.beside()];
    let servers = [installations[0].start(), installations[1].start()];
    (installations, servers)
}

fn installation() -> Installation {
    Installation::new().unlimited().on_postgres(Database::new())
}

fn sign_in(server: &Server, secret: &str) -> u16 {
    let form = [
        ("grant_type", "password"),
        ("client_id", BACKEND),
        ("client_secret", secret),
        ("username", "admin"),
        ("password", ADMIN_PASSWORD),
    ];
    Client::new(server.http(), BACKEND).token(&form).status
}

/// Gives the client a new secret; says that, and what else an operator was told.
fn rotated_secret(installation: &Installation) -> (String, String) {
    let output = installation
        .run(&["--json", "client", "rotate-secret", BACKEND], "")
        .unwrap();
    assert!(output.status.success(), "{}", everything_in(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let secret = told["client_secret"].as_str().unwrap().to_owned();
    (secret, String::from_utf8(output.stderr).unwrap())
}

fn metrics(server: &Server) -> String {
    server.http().get("/metrics").unwrap().text()
}

#[track_caller]
fn wait_for_metric(server: &Server, line: &str) {
    let seen = within(PATIENCE, || {
        metrics(server).lines().find(|told| *told == line).map(|_| ())
    });
    assert!(seen.is_some(), "no {line} in\n{}", metrics(server));
}

#[test]
fn a_rotated_secret_is_the_only_one_at_every_instance_at_once_and_with_redis_away_within_the_lifetime() {
    let mut redis = RedisServer::start();
    let first = installation()
        .with("AUTH_SERVICE__REDIS_URL", &redis.url())
        .with("AUTH_SERVICE__CLIENT_CACHE_LIFETIME", "3600");
    let (installations, servers) = pair(&first);
    let old = confidential_client(&installations[0], BACKEND);
    for server in &servers {
        wait_for_metric(server, "auth_client_cache_subscribed 1");
        assert_eq!([sign_in(server, &old), sign_in(server, &old)], [200, 200]);
        assert!(metrics(server).contains("auth_client_cache_lookups_total{result=\"hit\"}"));
    }
    let (new, told) = rotated_secret(&installations[0]);
    assert_eq!(told, "");
    for server in &servers {
        let seen = within(PATIENCE, || (sign_in(server, &new) == 200).then_some(()));
        assert!(seen.is_some());
        assert_eq!(sign_in(server, &old), 401);
    }

    redis.kill();
    for server in &servers {
        wait_for_metric(server, "auth_client_cache_subscribed 0");
    }
    let (newest, told) = rotated_secret(&installations[0]);
    assert!(told.contains(UNTOLD) && told.contains("within 3600 s"), "{told}");
    for server in &servers {
        assert_eq!([sign_in(server, &new), sign_in(server, &newest)], [200, 401]);
    }
    // Nothing was remembered across the loss, though nobody says again what was said meanwhile.
    redis.start_again();
    for server in &servers {
        let seen = within(PATIENCE, || (sign_in(server, &newest) == 200).then_some(()));
        assert!(seen.is_some());
        assert_eq!(sign_in(server, &new), 401);
    }
}

#[test]
fn without_redis_a_rotated_secret_is_noticed_within_the_lifetime_and_the_operator_is_told() {
    let first = installation().with("AUTH_SERVICE__CLIENT_CACHE_LIFETIME", "2");
    let (installations, servers) = pair(&first);
    let old = confidential_client(&installations[0], BACKEND);
    for server in &servers {
        assert_eq!(sign_in(server, &old), 200);
    }
    let (new, told) = rotated_secret(&installations[0]);
    assert!(
        told.contains(UNTOLD) && told.contains("REDIS_URL") && told.contains("within 2 s"),
        "{told}"
    );
    for server in &servers {
        let seen = within(PATIENCE, || (sign_in(server, &new) == 200).then_some(()));
        assert!(seen.is_some());
        assert_eq!(sign_in(server, &old), 401);
        assert!(!metrics(server).contains("auth_client_cache_subscribed"));
    }
}

#[test]
fn beside_an_embedded_database_nothing_is_remembered_and_nothing_need_be_told() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let old = confidential_client(&installation, BACKEND);
    assert_eq!(sign_in(&server, &old), 200);
    let (new, told) = rotated_secret(&installation);
    assert_eq!(told, "");
    assert_eq!([sign_in(&server, &new), sign_in(&server, &old)], [200, 401]);
    assert!(!metrics(&server).contains("auth_client_cache"));
}

/// The fixture of the older service's database, in an installation.
fn older_service(installation: &Installation) -> PathBuf {
    let copy = installation.directory().join("old.db");
    fs::copy(
        workspace_root().join("tests/fixtures/legacy/sqlite/auth.db"),
        &copy,
    )
    .unwrap();
    copy
}

fn rename_clients_in(older_service: &Path, changed_at: &str) {
    let mut connection = SqliteConnection::establish(older_service.to_str().unwrap()).unwrap();
    diesel::sql_query(format!(
        "UPDATE oauth_clients SET name = 'Renamed {changed_at}', updated_at = '{changed_at}'"
    ))
    .execute(&mut connection)
    .unwrap();
}

/// Runs a command that changes many clients; says what else an operator was told.
fn told_by(installation: &Installation, arguments: &[&str]) -> String {
    let output = installation.run(arguments, "").unwrap();
    assert!(output.status.success(), "{}", everything_in(&output));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_take_over_tells_running_servers_that_clients_have_changed_and_the_operator_where_it_can_not() {
    let mut redis = RedisServer::start();
    let installation = installation()
        .with("AUTH_SERVICE__REDIS_URL", &redis.url())
        .with("AUTH_SERVICE__CLIENT_CACHE_LIFETIME", "3600");
    let file = older_service(&installation);
    let from = format!("sqlite:///{}", file.display());
    // The chains' key is no matter here: without any chain none is asked for.
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    diesel::sql_query("DELETE FROM refresh_tokens")
        .execute(&mut connection)
        .unwrap();
    let command = ["import-legacy", "--from", &from];
    told_by(&installation, &command);
    let server = installation.start();
    wait_for_metric(&server, "auth_client_cache_subscribed 1");
    rename_clients_in(&file, "2036-01-01 00:00:00.000000");
    assert!(!told_by(&installation, &command).contains(UNTOLD_OF_MANY));
    wait_for_metric(
        &server,
        "auth_client_cache_invalidations_total{reason=\"any_client\"} 1",
    );
    redis.kill();
    assert!(
        !told_by(&installation, &command).contains(UNTOLD_OF_MANY),
        "nothing has changed"
    );
    rename_clients_in(&file, "2036-01-02 00:00:00.000000");
    let told = told_by(&installation, &command);
    assert!(told.contains(UNTOLD_OF_MANY), "{told}");
}

/// A transfer refuses to write beside servers that it sees; these have a name of their own at PostgreSQL.
#[test]
fn a_transfer_tells_servers_that_were_left_running_on_its_target() {
    let mut redis = RedisServer::start();
    let database = Database::new();
    let named = format!("{}?application_name=other", database.url());
    let target = Installation::new()
        .unlimited()
        .on_postgres(database)
        .with("AUTH_SERVICE__REDIS_URL", &redis.url());
    let unseen = target.beside().with("AUTH_SERVICE__DB_URL", &named);
    let server = unseen.start();
    wait_for_metric(&server, "auth_client_cache_subscribed 1");
    let source = Installation::new();
    source.start().stop().unwrap();
    let from = format!("sqlite:///{}", source.database().display());
    let command = ["transfer", "--from", &from, "--overwrite", "--yes"];
    assert!(!told_by(&target, &command).contains(UNTOLD_OF_MANY));
    wait_for_metric(
        &server,
        "auth_client_cache_invalidations_total{reason=\"any_client\"} 1",
    );
    redis.kill();
    assert!(
        !told_by(&target, &command).contains(UNTOLD_OF_MANY),
        "nothing has changed"
    );
    confidential_client(&target, BACKEND);
    let told = told_by(&target, &command);
    assert!(told.contains(UNTOLD_OF_MANY), "{told}");
}
