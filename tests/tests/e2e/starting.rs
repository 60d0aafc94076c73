//! How the program starts, or says why it does not.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use auth_e2e::client::Client;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;

use crate::support::everything_in;

#[test]
fn a_fresh_server_is_healthy_and_ready() {
    let installation = Installation::new();
    let server = installation.start();
    let health = server.http().get("/health").unwrap();
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["database"], "connected");
    assert_eq!(health["redis"], "disabled");
    let ready = server.http().get("/ready").unwrap();
    assert_eq!(
        (ready.status, ready.header("cache-control")),
        (200, Some("no-store"))
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let installation = Installation::new();
    let _holder = TcpListener::bind(installation.address()).unwrap();
    assert_says(
        &installation.run(&["serve"], "").unwrap(),
        &installation.address().port().to_string(),
    );
}

/// A PostgreSQL that takes connections and never says a word, and an installation that is to use it.
fn on_a_silent_database() -> (TcpListener, Installation) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("postgresql://u@{address}/d?connect_timeout=300");
    (silent, Installation::new().with("AUTH_SERVICE__DB_URL", &url))
}

#[test]
fn a_server_that_starts_lets_nobody_connect_and_can_be_stopped() {
    let (silent, installation) = on_a_silent_database();
    let kept = std::cell::RefCell::new(Vec::new());
    let server = installation
        .start_when(|_| {
            silent
                .accept()
                .map(|asking| kept.borrow_mut().push(asking))
                .is_ok()
        })
        .unwrap();
    let early = TcpStream::connect(installation.address()).unwrap_err();
    assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
    let ended = server.stop().unwrap();
    assert!(ended.success(), "{ended}: {}", installation.printed());
}

#[test]
fn an_unknown_setting_is_named() {
    let installation = Installation::new().with("AUTH_SERVICE__RATE_LIMIT_PER_IPP", "5");
    let output = installation.run(&["serve"], "").unwrap();
    assert_says(&output, "AUTH_SERVICE__RATE_LIMIT_PER_IPP");
    assert_says(&output, "RATE_LIMIT_PER_IP");
}

#[test]
fn a_value_that_does_not_fit_is_named() {
    let installation = Installation::new().with("AUTH_SERVICE__ACCESS_TOKEN_LIFETIME", "a while");
    assert_says(
        &installation.run(&["serve"], "").unwrap(),
        "ACCESS_TOKEN_LIFETIME",
    );
}

/// Settings that somebody got wrong, and what the refusal must name.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "AUTH_SERVICE__ACCESS_TOKEN_LIFTIME",
        "900",
        "ACCESS_TOKEN_LIFETIME",
    ),
    ("AUTH_SERVICE_DB_URL", "sqlite:///auth.db", "AUTH_SERVICE__DB_URL"),
    (
        "AUTH_SERVICE__ACCESS_TOKEN_LIFETIME",
        "0",
        "ACCESS_TOKEN_LIFETIME",
    ),
    (
        "AUTH_SERVICE__ACCESS_TOKEN_LIFETIME",
        "-1",
        "ACCESS_TOKEN_LIFETIME",
    ),
    (
        "AUTH_SERVICE__REFRESH_TOKEN_LIFETIME",
        "30d",
        "REFRESH_TOKEN_LIFETIME",
    ),
    (
        "AUTH_SERVICE__ENABLE_RATE_LIMITING",
        "maybe",
        "ENABLE_RATE_LIMITING",
    ),
    ("AUTH_SERVICE__RATE_LIMIT_PER_IP", "0", "RATE_LIMIT_PER_IP"),
    (
        "AUTH_SERVICE__BRUTE_FORCE_THRESHOLD",
        "0",
        "BRUTE_FORCE_THRESHOLD",
    ),
    ("AUTH_SERVICE__JWT_ISSUER", "auth.codelab.local", "JWT_ISSUER"),
    (
        "AUTH_SERVICE__JWT_ISSUER",
        "https://auth.codelab.local/?tenant=1",
        "JWT_ISSUER",
    ),
    (
        "AUTH_SERVICE__JWT_ISSUER",
        "ftp://auth.codelab.local",
        "JWT_ISSUER",
    ),
    ("AUTH_SERVICE__TRUSTED_PROXIES", "everybody", "TRUSTED_PROXIES"),
    ("AUTH_SERVICE__TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES"),
    ("AUTH_SERVICE__DB_URL", "mysql://localhost/auth", "DB_URL"),
    (
        "AUTH_SERVICE__DB_URL",
        "sqlite:////proc/no/such/folder/auth.db",
        "/proc/no/such/folder",
    ),
    (
        "AUTH_SERVICE__PRIVATE_KEY_PATH",
        "/no/such/key.pem",
        "PUBLIC_KEY_PATH",
    ),
    ("AUTH_SERVICE__KEYS_DIR", "/dev/null", "/dev/null"),
    ("AUTH_SERVICE__RSA_BITS", "1024", "RSA_BITS"),
    ("AUTH_SERVICE__PASSWORD_HASH", "md5", "PASSWORD_HASH"),
    ("AUTH_SERVICE__LOG_LEVEL", "loud", "LOG_LEVEL"),
    ("AUTH_SERVICE__REUSE_REVOKES", "nothing", "REUSE_REVOKES"),
    ("AUTH_SERVICE__CLOCK_SKEW", "86400", "CLOCK_SKEW"),
    ("ENVIRONMENT", "prod", "ENVIRONMENT"),
    ("PORT", "65536", "PORT"),
];

#[test]
fn mistakes_of_an_operator_stop_the_start_and_are_named() {
    for (variable, value, named) in MISTAKES {
        let installation = Installation::new().with(variable, value);
        let output = installation.run(&["serve"], "").unwrap();
        assert_says(&output, named);
        assert!(
            !installation.printed().contains("listening"),
            "{variable}={value}"
        );
    }
    scale::attempts(MISTAKES.len());
}

#[test]
fn production_on_plain_http_is_refused() {
    let installation = Installation::new().with("ENVIRONMENT", "production");
    assert_says(&installation.run(&["serve"], "").unwrap(), "TRUSTED_PROXIES");
}

#[track_caller]
fn assert_says(output: &Output, what: &str) {
    let said = everything_in(output);
    assert!(!output.status.success(), "it went on: {said}");
    assert!(said.contains(what), "no word of {what}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn pending_migrations_keep_the_server_from_serving_until_they_are_applied() {
    let installation = Installation::new().with("AUTH_SERVICE__AUTO_MIGRATE", "false");
    assert_says(&installation.run(&["serve"], "").unwrap(), "migrate up");
    let migrated = installation.run(&["migrate", "up"], "").unwrap();
    assert!(migrated.status.success(), "{}", everything_in(&migrated));
    installation.start();
}

#[test]
fn a_folder_of_keys_that_is_not_the_one_it_was_stops_the_start_before_anybody_is_signed_out() {
    let installation = Installation::new();
    let server = installation.start();
    let client = Client::flutter(server.http());
    assert_eq!(client.sign_in("admin", ADMIN_PASSWORD).status, 200);
    server.stop();
    let elsewhere = installation.directory().join("not-mounted");
    fs::rename(installation.keys(), &elsewhere).unwrap();
    assert_says(
        &installation.run(&["serve"], "").unwrap(),
        "tokens were signed by keys that are somewhere else",
    );
    assert!(
        !installation.keys().join("keyring.json").exists(),
        "no key is made"
    );

    let rotated = installation.run(&["keys", "rotate", "--yes"], "").unwrap();
    assert!(rotated.status.success(), "{}", everything_in(&rotated));
    let server = installation.start();
    let client = Client::flutter(server.http());
    assert_eq!(client.sign_in("admin", ADMIN_PASSWORD).status, 200);
}

#[test]
fn the_command_line_works_beside_the_running_server() {
    let installation = Installation::new();
    let server = installation.start();
    let arguments = [
        "user",
        "create",
        "ada",
        "--email",
        "ada@example.org",
        "--password-stdin",
    ];
    let created = installation.run(&arguments, ADMIN_PASSWORD).unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
    let client = Client::flutter(server.http());
    assert_eq!(client.sign_in("ada", ADMIN_PASSWORD).status, 200);

    let deactivated = installation
        .run(&["user", "deactivate", "ada", "--yes"], "")
        .unwrap();
    assert!(deactivated.status.success(), "{}", everything_in(&deactivated));
    assert_eq!(client.sign_in("ada", ADMIN_PASSWORD).status, 401);
}

#[test]
fn the_health_command_tells_a_server_that_is_up_from_one_that_is_not() {
    let installation = Installation::new();
    let server = installation.start();
    let up = installation.run(&["health"], "").unwrap();
    assert!(up.status.success(), "{}", everything_in(&up));
    server.stop();
    let down = installation.run(&["health"], "").unwrap();
    assert!(!down.status.success(), "{}", everything_in(&down));
}
