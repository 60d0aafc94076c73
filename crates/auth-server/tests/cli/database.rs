//! What is said, and advised, where a PostgreSQL database can't be worked with.

use auth_testkit::server::Database;
use rstest::rstest;

use crate::desk::Desk;

/// Every kind of command that opens the database.
const COMMANDS: [&[&str]; 4] = [
    &["serve", "--port", "0"],
    &["migrate", "status"],
    &["migrate", "up"],
    &["user", "list"],
];

/// A URL of the shared server with parts of it exchanged.
fn changed(from: &str, to: &str) -> (Database, String) {
    let database = Database::new();
    let url = database.url();
    let (login, place) = url.split_once('@').unwrap();
    let (host, name) = place.split_once('/').unwrap();
    let (user, password) = login.rsplit_once(':').unwrap();
    let part = match from {
        "user" => user.rsplit('/').next().unwrap(),
        "password" => password,
        "host" => host.split(':').next().unwrap(),
        "port" => host.split(':').nth(1).unwrap(),
        "name" => name,
        other => panic!("no part of a URL: {other}"),
    };
    let changed = url.replacen(part, to, 1);
    (database, changed)
}

#[rstest]
#[case::wrong_password(
    "password",
    "pencil77",
    "password authentication failed",
    "correct it, percent-encoded"
)]
#[case::no_role(
    "user",
    "nobody_known",
    "password authentication failed",
    "The password is missing"
)]
#[case::no_database("name", "no_such_database", "does not exist", "createdb --owner")]
#[case::nobody_there("port", "1", "Connection refused Is the server running", "Start the server")]
#[case::no_such_host("host", "db.invalid", "could not translate host name", "Correct the host")]
fn each_command_says_what_is_wrong_with_the_way_to_the_database_and_what_to_do(
    #[case] from: &str,
    #[case] to: &str,
    #[case] said: &str,
    #[case] advised: &str,
) {
    let (_database, url) = changed(from, to);
    let desk = Desk::new().with("AUTH_SERVICE__DB_URL", &url);
    for command in COMMANDS {
        let ran = desk.run(command).failed(1, said);
        let advice = ran.err.lines().last().unwrap();
        assert!(advice.contains(advised), "{command:?}: {}", ran.err);
        assert!(!ran.err.contains("pencil77"), "{}", ran.err);
        assert!(!ran.err.contains('\t'), "{}", ran.err);
        assert!(!ran.err.contains(" \n"), "{}", ran.err);
    }
    let told = desk.json_failure(1, &["user", "list"]);
    assert!(told["advice"].as_str().unwrap().contains(advised), "{told}");
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    let database = Database::new();
    let url = format!("{}?sslmode=require", database.url());
    let desk = Desk::new().with("AUTH_SERVICE__DB_URL", &url);
    desk.run(&["migrate", "status"]).failed(
        1,
        "server does not support SSL, but SSL was required\nSwitch TLS on",
    );
}
