//! The first start: built-ins are made once, and their secrets shown once.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::desk::{Desk, PASSWORD, bytes_of, holds};

const MADE: &str = "Made at this first start";

/// The word after a label in what was printed.
fn printed_secret(out: &str, label: &str) -> String {
    let line = out
        .lines()
        .find(|line| line.trim_start().starts_with(label))
        .unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn generated_secrets_work_are_printed_once_and_are_nowhere_else() {
    let desk = Desk::new();
    let stopped = desk.serve().stop();
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.err);
    let password = printed_secret(&stopped.out, "admin");
    let secret = printed_secret(&stopped.out, "codelab-internal");
    let database = bytes_of(&desk.path("data/auth.db"));
    for hidden in [&password, &secret] {
        assert_eq!(stopped.out.matches(hidden.as_str()).count(), 1);
        assert!(!stopped.err.contains(hidden.as_str()));
        assert!(!holds(&database, hidden));
    }

    let server = desk.serve();
    let (status, body) = server.sign_in("admin", &password);
    assert_eq!((status, body["expires_in"].as_u64()), (200, Some(900)), "{body}");
    let stopped = server.stop();
    assert!(!stopped.out.contains(MADE), "{}", stopped.out);
    assert!(!stopped.err.contains(&password));
}

#[test]
fn a_master_key_becomes_the_password_of_admin_and_is_not_printed() {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    let server = desk.serve();
    assert_eq!(server.sign_in("admin@codelab.local", PASSWORD).0, 200);
    let stopped = server.stop();
    assert!(
        stopped.out.contains("as AUTH_SERVICE__MASTER_KEY says"),
        "{}",
        stopped.out
    );
    assert!(!stopped.out.contains(PASSWORD) && !stopped.err.contains(PASSWORD));
}

#[test]
fn in_production_the_first_token_is_asked_for_where_it_is_given() {
    let desk = Desk::new();
    let file = desk.write("master", PASSWORD);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = desk.write(
        "settings.toml",
        &format!(
            "environment = 'production'\njwt_issuer = 'https://auth.example.com/id'\n\
             trusted_proxies = '127.0.0.1/32'\nmaster_key_file = '{}'\n",
            file.display()
        ),
    );
    let desk = desk.with("AUTH_SERVICE__CONFIG_FILE", settings.to_str().unwrap());
    let stopped = desk.serve().stop();
    let out = &stopped.out;
    assert!(
        out.contains("curl https://auth.example.com/id/oauth/token "),
        "{out}{}",
        stopped.err
    );
    let named = format!("as master_key_file in {} says", settings.display());
    assert!(out.contains(&named), "{out}");
}

#[test]
fn a_settings_file_that_may_not_be_read_is_told_whose_it_is() {
    let desk = Desk::new().migrated();
    let settings = desk.write("data/settings.toml", "port = 1\n");
    std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (_, ran) = desk.run_as_a_stranger(&["--config", settings.to_str().unwrap(), "config", "check"]);
    let ran = ran.failed(2, "can't be read: Permission denied");
    assert!(
        ran.err.contains("belongs to user") && ran.err.contains("`chgrp`"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("config reference"), "{}", ran.err);
}

#[test]
fn a_weak_master_key_is_accepted_with_a_warning() {
    let stopped = Desk::new()
        .with("AUTH_SERVICE__MASTER_KEY", "only-lower-case")
        .serve()
        .stop();
    assert!(
        stopped
            .out
            .contains("which is weak (a password has an upper-case letter; a password has a digit)"),
        "{}",
        stopped.out
    );
}

#[test]
fn the_built_in_clients_are_as_the_platform_expects_them() {
    let desk = Desk::new();
    desk.serve().stop();
    let flutter = desk.json(&["client", "show", "codelab-flutter-app"]);
    assert_eq!(flutter["confidential"], false);
    assert_eq!(flutter["wire_profile"], "codelab-flutter");
    assert_eq!(flutter["scope"], "api:read api:write");
    let internal = desk.json(&["client", "show", "codelab-internal"]);
    assert_eq!(internal["confidential"], true);
    assert_eq!(internal["scope"], "api:admin api:read api:write");
    assert_eq!(
        (
            internal["access_token_lifetime"].as_u64(),
            internal["refresh_token_lifetime"].as_u64()
        ),
        (Some(3_600), Some(7_776_000))
    );
    assert_eq!(desk.json(&["user", "list"])[0]["email"], "admin@codelab.local");
}

#[test]
fn a_built_in_that_was_deleted_does_not_come_back_while_there_is_another() {
    let desk = Desk::new();
    desk.serve().stop();
    desk.run(&["client", "delete", "codelab-flutter-app", "--yes"])
        .succeeded();
    let stopped = desk.serve().stop();
    assert!(!stopped.out.contains(MADE), "{}", stopped.out);
    assert!(!stopped.out.contains("A first token"), "{}", stopped.out);
    assert_eq!(desk.json(&["client", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_is_missing_altogether_is_made_whatever_else_is_there() {
    let desk = Desk::new();
    desk.serve().stop();
    desk.run(&["user", "delete", "admin", "--yes"]).succeeded();
    let stopped = desk.serve().stop();
    let password = printed_secret(&stopped.out, "admin");
    assert!(
        !stopped.out.contains("codelab-internal  secret"),
        "{}",
        stopped.out
    );
    assert_eq!(desk.serve().sign_in("admin", &password).0, 200);
}

#[test]
fn of_two_instances_that_start_at_once_each_secret_is_printed_by_exactly_one() {
    let desk = Desk::new();
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| desk.serve());
        let other = scope.spawn(|| desk.serve());
        (one.join().unwrap(), other.join().unwrap())
    });
    let out = one.stop().out + &other.stop().out;
    assert_eq!(out.matches("  admin             password  ").count(), 1, "{out}");
    assert_eq!(out.matches("  codelab-internal  secret    ").count(), 1, "{out}");
}

#[test]
fn data_and_keys_are_for_their_owner_alone() {
    let desk = Desk::new();
    desk.serve().stop();
    assert_eq!(mode(&desk.path("data/auth.db")) & 0o077, 0);
    assert_eq!(mode(&desk.path("data/keys")), 0o700);
    for entry in std::fs::read_dir(desk.path("data/keys")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()) & 0o077, 0);
    }
}

#[test]
fn a_taken_port_is_named_and_nothing_is_left_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let desk = Desk::new();
    desk.run(&["serve", "--port", &port])
        .failed(1, &format!("listen on 127.0.0.1:{port}: Address already in use"));
    assert!(desk.is_empty());
}

#[test]
fn migrations_are_left_to_the_operator_where_that_is_set() {
    let desk = Desk::new().with("AUTH_SERVICE__AUTO_MIGRATE", "false");
    desk.run(&["serve", "--port", "0"])
        .failed(1, "auth-service migrate up");
    desk.run(&["migrate", "up"]).succeeded();
    assert!(desk.serve().stop().out.contains(MADE));
}

#[test]
fn health_asks_the_running_server() {
    let desk = Desk::new();
    let server = desk.serve();
    let answer = desk.json(&["health", "--url", &server.base]);
    assert_eq!(
        (answer["http_status"].as_u64(), &answer["health"]["status"]),
        (Some(200), &"healthy".into())
    );
    let base = server.base.clone();
    server.stop();
    desk.run(&["health", "--url", &base])
        .failed(1, "Is the server running?");
}
