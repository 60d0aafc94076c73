//! Moving house by the commands that `docs/TRANSFER.md` gives, in its order: to PostgreSQL and back, everybody signed in.

use std::fs;
use std::process::Command;

use auth_e2e::client::{Client, Tokens};
use auth_e2e::installation::Installation;
use auth_e2e::server::Server;
use auth_testkit::server::Database as PostgresDatabase;
use serde_json::Value;

use crate::database::Database;
use crate::documents;
use crate::support::{assert_refused, everything_in};

/// The URL that the page gives as an example.
const EXAMPLE: &str = "postgresql://auth:PASSWORD@db.example.org/auth?sslmode=verify-full";

/// An operator who does what the page says.
struct Operator {
    installation: Installation,
    server: Option<Server>,
    target_url: String,
    commands: std::vec::IntoIter<String>,
}

impl Operator {
    /// Carries out the next command; it must be this one.
    fn next(&mut self, expected: &str) {
        let command = self.commands.next().unwrap();
        assert!(command.starts_with(expected), "{command}");
        match command.split_whitespace().collect::<Vec<_>>()[..] {
            ["systemctl", "stop", "auth-service"] => {
                let ended = self.server.take().unwrap().stop().unwrap();
                assert!(ended.success());
            }
            ["systemctl", "start", "auth-service"] => self.server = Some(self.installation.start()),
            ["auth-service", ref arguments @ ..] => {
                let output = self.installation.run(arguments, "").unwrap();
                assert!(output.status.success(), "{command}\n{}", everything_in(&output));
                let password = self
                    .target_url
                    .rsplit_once('@')
                    .unwrap()
                    .0
                    .rsplit_once(':')
                    .unwrap()
                    .1;
                assert!(!everything_in(&output).contains(password));
            }
            _ => {
                let output = Command::new("/bin/sh")
                    .args(["-euc", &command.replace(EXAMPLE, &self.target_url)])
                    .current_dir(self.installation.directory())
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{command}\n{}", everything_in(&output));
            }
        }
    }

    /// Gives the server another database.
    fn set(mut self, unset: &str, variable: &str, value: &str) -> Self {
        self.installation = self.installation.without(unset).with(variable, value);
        self
    }

    fn client(&self) -> Client {
        Client::flutter(self.server.as_ref().unwrap().http())
    }
}

/// A chain of which one token is consumed: that token, and the live one.
fn chain(client: &Client) -> (Tokens, Tokens) {
    let first = client.admin_tokens();
    let second = client.refreshed(&first);
    (first, second)
}

#[test]
fn by_the_commands_of_the_page_everybody_moves_to_postgresql_and_back() {
    let database = PostgresDatabase::new();
    let installation = Installation::new().unlimited();
    let mut operator = Operator {
        server: Some(installation.start()),
        installation,
        target_url: database.url(),
        commands: documents::commands("docs/TRANSFER.md", "transfer").into_iter(),
    };
    let client = operator.client();
    let (_, stays) = chain(&client);
    let (consumed, robbed) = chain(&client);

    operator.next("umask 077; echo");
    operator.next("auth-service transfer --to-file target.url");
    // Somebody goes on between the two runs.
    let stays = client.refreshed(&stays);
    operator.next("systemctl stop");
    operator.next("auth-service backup");
    operator.next("auth-service transfer --to-file target.url --overwrite --yes");
    let file = operator.installation.directory().join("target.url");
    let mut operator = operator.set(
        "AUTH_SERVICE__DB_URL",
        "AUTH_SERVICE__DB_URL_FILE",
        file.to_str().unwrap(),
    );
    operator.next("systemctl start");
    operator.next("auth-service health");

    let client = operator.client();
    let rotated = client.refreshed(&stays);
    assert_refused(&client.refresh(&consumed.refresh));
    assert_refused(&client.refresh(&robbed.refresh));
    assert_eq!(
        database
            .tell("SELECT count(*) FROM sessions WHERE revoked_reason IS NOT NULL")
            .unwrap()
            .trim(),
        "1",
        "the target knows of the reuse"
    );

    operator.next("systemctl stop");
    operator.next("auth-service transfer --to sqlite:///moved-back.db");
    let mut operator = operator.set(
        "AUTH_SERVICE__DB_URL_FILE",
        "AUTH_SERVICE__DB_URL",
        "sqlite:///moved-back.db",
    );
    operator.next("systemctl start");
    let client = operator.client();
    client.refreshed(&rotated);
    assert_refused(&client.refresh(&rotated.refresh));
    assert_eq!(operator.commands.next(), None, "the page has no other commands");
    let moved_back = operator.installation.directory().join("moved-back.db");
    assert_eq!(Database::open(&moved_back).faults(), ["ok"]);
}

fn json(installation: &Installation, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = installation.run(&[&["--json"], arguments].concat(), "").unwrap();
    let printed = if output.stdout.is_empty() {
        &output.stderr
    } else {
        &output.stdout
    };
    (output.status.code(), serde_json::from_slice(printed).unwrap())
}

#[test]
fn a_transfer_tells_programs_what_it_did_and_does_nothing_twice() {
    let installation = Installation::new();
    installation.start().stop().unwrap();
    let transfer = ["transfer", "--to", "sqlite:///copy.db"];
    let (code, first) = json(&installation, &transfer);
    assert_eq!(code, Some(0), "{first}");
    let (code, second) = json(&installation, &transfer);
    assert_eq!(code, Some(0), "{second}");
    let tables = |answer: &Value, member: &str| -> Vec<Value> {
        let tables = answer["tables"].as_array().unwrap();
        tables.iter().map(|table| table[member].clone()).collect()
    };
    assert_eq!(tables(&first, "sha256"), tables(&second, "sha256"));
    assert_eq!(tables(&first, "added"), tables(&first, "rows"));
    assert!(tables(&second, "added").iter().all(|rows| rows == 0), "{second}");
    assert_eq!(
        (&first["source_changed"], &first["to"]),
        (&Value::from(false), &Value::from("sqlite:///copy.db"))
    );
}

#[test]
fn a_target_that_was_started_on_is_refused_and_named_and_kept() {
    let installation = Installation::new();
    installation.start().stop().unwrap();
    let (code, made) = json(&installation, &["transfer", "--to", "sqlite:///copy.db"]);
    assert_eq!(code, Some(0), "{made}");
    let copy = installation.with("AUTH_SERVICE__DB_URL", "sqlite:///copy.db");
    let server = copy.start();
    Client::flutter(server.http()).admin_tokens();
    server.stop().unwrap();
    let original = format!("sqlite:///{}", copy.database().display());
    let (code, refused) = json(&copy, &["transfer", "--from", &original]);
    assert_eq!(code, Some(1), "{refused}");
    let told = refused["error"].as_str().unwrap();
    assert!(
        told.contains("audit_logs 1") && told.contains("sessions 1"),
        "{told}"
    );
    let unasked = ["transfer", "--from", &original, "--overwrite"];
    assert_eq!(json(&copy, &unasked).0, Some(2), "nobody is there to be asked");
    let (code, done) = json(&copy, &[&unasked[..], &["--yes"]].concat());
    assert_eq!(code, Some(0), "{done}");
}

#[test]
fn a_target_that_a_server_has_open_is_not_written() {
    let source = Installation::new();
    source.start().stop().unwrap();
    let target = Installation::new();
    let server = target.start();
    let from = format!("sqlite:///{}", source.database().display());
    let overwrite = ["transfer", "--from", &from, "--overwrite", "--yes"];
    let (code, refused) = json(&target, &overwrite);
    assert_eq!(code, Some(1), "{refused}");
    let told = refused["error"].as_str().unwrap();
    assert!(told.contains("works with the target"), "{told}");
    let tokens = Client::flutter(server.http()).admin_tokens();
    Client::flutter(server.http()).refreshed(&tokens);
    server.stop().unwrap();
    assert_eq!(json(&target, &overwrite).0, Some(0));
}

#[test]
fn a_password_in_an_argument_is_refused_and_not_repeated() {
    let installation = Installation::new();
    let refused = installation
        .run(
            &["transfer", "--to", "postgresql://auth:pencil@localhost/auth"],
            "",
        )
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = everything_in(&refused);
    assert!(said.contains("--to-file") && !said.contains("pencil"), "{said}");
    let neither = installation.run(&["transfer"], "").unwrap();
    assert_eq!(neither.status.code(), Some(2), "{}", everything_in(&neither));
}

#[test]
fn a_target_that_is_away_is_told_without_its_password() {
    let installation = Installation::new();
    installation.start().stop().unwrap();
    let file = installation.directory().join("target.url");
    fs::write(&file, "postgresql://auth:pencil@127.0.0.1:1/auth\n").unwrap();
    let (code, refused) = json(&installation, &["transfer", "--to-file", "target.url"]);
    assert_eq!(code, Some(1), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("cannot open the target") && !told.contains("pencil"),
        "{told}"
    );
}
