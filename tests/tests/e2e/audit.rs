//! The audit trail: everything that happens is in it, operators find it, and no stranger writes a line of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use auth_domain::audit::EventKind;
use auth_e2e::binary;
use auth_e2e::client::{Client, FLUTTER, Tokens};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::server::within;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::Value;

use crate::database::Database;
use crate::hostile::TEXTS;
use crate::support::{assert_refused, everything_in};

/// How long a line may take to come, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// An installation in which sign-ins may fail as often and as fast as they like.
fn installation() -> Installation {
    Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0")
}

/// What a command prints.
#[track_caller]
fn told(installation: &Installation, arguments: &[&str], input: &str) -> String {
    let output = installation.run(arguments, input).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        everything_in(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a command answers in JSON.
#[track_caller]
fn json(installation: &Installation, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&told(installation, arguments, "")).unwrap()
}

/// Whether a character does something other than show itself.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[test]
fn a_hostile_sign_in_is_one_line_of_every_output() {
    let installation = installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    // What is no text, or holds a NUL, is no user name and stops before there is a sign-in.
    let mut typed: Vec<&str> = TEXTS
        .iter()
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter(|text| !text.contains('\0'))
        .collect();
    for text in &typed {
        assert_refused(&client.sign_in(text, "Wrong-Horse-7-Battery"));
    }
    assert!(typed.len() > 35);
    typed.sort_unstable();

    let table = told(&installation, &["audit", "search", "--event", "login_failed"], "");
    let tail = told(&installation, &["audit", "tail", "--failed", "-n", "1000"], "");
    let jsonl = told(&installation, &["audit", "export", "--failed"], "");
    let csv = told(
        &installation,
        &["audit", "export", "--failed", "--format", "csv"],
        "",
    );
    let csv = csv.replace("\r\n", "\n");
    for (output, head) in [(&table, 1), (&tail, 1), (&jsonl, 0), (&csv, 1)] {
        assert_eq!(output.lines().count(), head + typed.len(), "{output}");
        let shown = output.split('\n').all(|line| !line.contains(is_hidden));
        assert!(shown, "{output:?}");
    }
    let objects: Vec<Value> = jsonl
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let search = ["audit", "search", "--failed", "--json"];
    let pretty = told(&installation, &search, "");
    assert!(
        pretty.split('\n').all(|line| !line.contains(is_hidden)),
        "{pretty:?}"
    );
    for rows in [objects, serde_json::from_str(&pretty).unwrap()] {
        let mut logins: Vec<_> = rows
            .iter()
            .map(|row| row["event_data"]["login"].as_str().unwrap())
            .collect();
        logins.sort_unstable();
        assert_eq!(logins, typed, "what was typed can be read back exactly");
    }
}

#[test]
fn an_operator_finds_what_a_filter_names_and_nothing_else() {
    let installation = installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    client.refreshed(&tokens);
    assert_refused(&client.sign_in("admin", "Wrong-Horse-7-Battery"));
    assert_refused(&client.sign_in("nobody", "Wrong-Horse-7-Battery"));

    let count = |filter: &str| {
        let arguments: Vec<_> = ["audit", "search", "--json"]
            .into_iter()
            .chain(filter.split_whitespace())
            .collect();
        json(&installation, &arguments).len()
    };
    for (filter, expected) in [
        ("--client codelab-flutter-app --ip 127.0.0.1", 4),
        ("--client codelab-flutter-app --user admin", 3),
        ("--event login_success --event token_refresh", 2),
        ("--user admin --failed", 1),
        ("--user admin --succeeded --event login_success", 1),
        ("--failed --since 1h", 2),
        ("--failed --until 1h", 0),
        ("--failed --since 2020-01-01 --until 2020-01-02T00:00:00Z", 0),
        ("--ip 192.0.2.1", 0),
        ("--correlation-id nobodys", 0),
        ("--failed --limit 1", 1),
    ] {
        assert_eq!(count(filter), expected, "{filter}");
    }
    let last = &json(&installation, &["audit", "tail", "-n", "1", "--json"])[0];
    let id = last["correlation_id"].as_str().unwrap();
    let found = json(
        &installation,
        &["audit", "search", "--json", "--correlation-id", id],
    );
    assert_eq!(&found, std::slice::from_ref(last));
    assert_eq!(last["event_data"]["login"], "nobody");

    for (arguments, code, says) in [
        (["--event", "login_fail"], 2, "did you mean login_failed?"),
        (["--since", "soon"], 2, "--since: soon is neither"),
        (["--user", "nobody"], 1, "there is no user nobody"),
    ] {
        let refused = installation
            .run(&[&["audit", "search"], &arguments[..]].concat(), "")
            .unwrap();
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}");
        assert!(
            everything_in(&refused).contains(says),
            "{}",
            everything_in(&refused)
        );
    }
}

#[test]
fn an_export_is_a_private_file_that_is_never_replaced_unasked() {
    use std::os::unix::fs::PermissionsExt;

    let installation = installation();
    let _server = installation.start();
    let path = installation.directory().join("trail.csv");
    let export = ["audit", "export", "--format", "csv", "--output", "trail.csv"];
    let said = told(&installation, &export, "");
    assert!(said.contains("events written to trail.csv."), "{said}");
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written.starts_with(r#""id","created_at","event_type","success","user_id","#),
        "{written}"
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = installation.run(&export, "").unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(everything_in(&again).contains("trail.csv is there already"));
    told(&installation, &[&export[..], &["--force"]].concat(), "");
}

#[test]
fn what_happens_while_somebody_follows_is_told_as_it_happens() {
    let installation = installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    assert_refused(&client.sign_in("early", "Wrong-Horse-7-Battery"));
    let database = format!("DB_URL=sqlite:///{}", installation.database().display());
    let mut following = Command::new(binary::auth_service())
        .args([
            "audit", "tail", "--follow", "--json", "-n", "1", "--set", &database,
        ])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = lines_of(following.stdout.take().unwrap());
    let next = || serde_json::from_str::<Value>(&lines.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(next()["event_data"]["login"], "early");
    client.admin_tokens();
    assert_eq!(next()["event_type"], "login_success");
    assert_refused(&client.sign_in("late\nforged", "Wrong-Horse-7-Battery"));
    assert_eq!(next()["event_data"]["login"], "late\nforged");
    following.kill().unwrap();
    following.wait().unwrap();
}

fn lines_of(out: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Audit rows of 2020, one a second, as many sessions with a refresh token and denials of access tokens of that time, and
/// one denial of a later time.
fn old_rows(count: u64) -> String {
    let pair = |second| {
        let millis = 1_577_836_800_000 + 1_000 * second;
        let (id, micros) = (format!("{millis:012x}70008000000000000000"), millis * 1_000);
        format!(
            "INSERT INTO denied_tokens VALUES (randomblob(32), {micros});
             INSERT INTO audit_logs (id, event_type, event_data, correlation_id, success, created_at)
             VALUES (X'{id}', 'token_refresh', '{{}}', 'old', 1, {micros});
             INSERT INTO refresh_tokens VALUES (X'{id}', X'{id}', NULL, randomblob(32), {micros}, {micros});
             INSERT INTO sessions (id, user_id, client_id, scope, amr, head_token_id, head_jti_hash, head_issued_at,
                                   expires_at, created_at, last_used_at)
             SELECT X'{id}', users.id, 'codelab-flutter-app', 'api:read', 'pwd', X'{id}', randomblob(32), {micros},
                    {micros}, {micros}, {micros} FROM users;"
        )
    };
    let pairs: Vec<String> = (0..count).map(pair).collect();
    let later = u64::pow(10, 16);
    format!(
        "BEGIN; {} INSERT INTO denied_tokens VALUES (randomblob(32), {later}); COMMIT;",
        pairs.concat()
    )
}

#[test]
fn what_is_past_its_time_goes_while_the_server_serves() {
    let installation = installation();
    let server = installation.start();
    let tokens = Client::flutter(server.http()).admin_tokens();
    drop(server);
    let mut database = SqliteConnection::establish(installation.database().to_str().unwrap()).unwrap();
    database.batch_execute(&old_rows(1_200)).unwrap();

    let server = installation.start();
    let is_gone = |metrics: &str| {
        ["audit_rows", "ended_denials", "refresh_tokens", "sessions"]
            .iter()
            .all(|what| {
                metrics.contains(&format!(
                    "auth_housekeeping_deleted_total{{what=\"{what}\"}} 1200\n"
                ))
            })
    };
    let gone = within(PATIENCE, || {
        let metrics = server.http().get("/metrics").unwrap().text();
        is_gone(&metrics).then_some(())
    });
    assert!(
        gone.is_some(),
        "{}",
        server.http().get("/metrics").unwrap().text()
    );
    let mut database = Database::open(&installation.database());
    assert_eq!(
        database.number("SELECT count(*) FROM audit_logs WHERE correlation_id = 'old'"),
        0
    );
    assert_eq!(
        database.number("SELECT count(*) FROM audit_logs WHERE event_type = 'login_success'"),
        1
    );
    assert_eq!(database.number("SELECT count(*) FROM denied_tokens"), 1);
    assert_eq!(database.number("SELECT count(*) FROM refresh_tokens"), 1);
    assert_eq!(database.number("SELECT count(*) FROM sessions"), 1);
    assert!(
        installation
            .printed()
            .contains("deleted what need not be kept any more")
    );
    Client::flutter(server.http()).refreshed(&tokens);
}

/// What brings an event about.
type Provocation<'a> = (EventKind, &'a dyn Fn());

#[test]
fn every_kind_of_event_is_written_when_it_happens() {
    let installation = Installation::new()
        .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "8")
        .with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let server = installation.start();
    let client = Client::flutter(server.http());
    let run = |line: &str, input: &str| {
        let arguments: Vec<_> = line.split_whitespace().collect();
        told(&installation, &arguments, input);
    };
    let cell = std::cell::RefCell::new(Vec::<Tokens>::new());
    let newest = || cell.borrow().last().unwrap().clone();
    let provocations: [Provocation<'_>; 20] = [
        (EventKind::LoginSuccess, &|| {
            cell.borrow_mut().push(client.admin_tokens());
        }),
        (EventKind::LoginFailed, &|| {
            assert_refused(&client.sign_in("admin", "Wrong-Horse-7"));
        }),
        (EventKind::LoginFailed, &|| {
            assert_refused(&client.sign_in("nobody", "Wrong-Horse-7"));
        }),
        (EventKind::TokenRefresh, &|| {
            let next = client.refreshed(&newest());
            cell.borrow_mut().push(next);
        }),
        (EventKind::SecurityIncident, &|| {
            let consumed = cell.borrow()[0].clone();
            assert_refused(&client.refresh(&consumed.refresh));
        }),
        (EventKind::TokenInvalid, &|| {
            assert_refused(&client.refresh(&newest().refresh));
        }),
        (EventKind::LoginSuccess, &|| {
            cell.borrow_mut().push(client.admin_tokens());
        }),
        (EventKind::TokenRevoke, &|| {
            let form = [("client_id", FLUTTER), ("token", &newest().access)];
            let answer = server.http().post_form("/oauth/revoke", &[], &form).unwrap();
            assert_eq!(answer.status, 200);
        }),
        (EventKind::TokenRevoke, &|| {
            run("token revoke --user admin --yes", "");
        }),
        (EventKind::UserCreated, &|| {
            run(
                "user create anna --email anna@example.org --password-stdin",
                ADMIN_PASSWORD,
            );
        }),
        (EventKind::PasswordChange, &|| {
            run(
                "user set-password anna --password-stdin",
                "Another-Horse-8-Battery",
            );
        }),
        (EventKind::UserBlocked, &|| run("user deactivate anna --yes", "")),
        (EventKind::UserUnblocked, &|| run("user activate anna", "")),
        (EventKind::UserDeleted, &|| run("user delete anna --yes", "")),
        (EventKind::ClientCreated, &|| {
            run(
                "client create other --name Other --confidential --grant password --scope api:read",
                "",
            );
        }),
        (EventKind::ClientUpdated, &|| {
            run("client update other --name Another", "");
        }),
        (EventKind::ClientSecretRotated, &|| {
            run("client rotate-secret other", "");
        }),
        (EventKind::ClientDisabled, &|| {
            run("client disable other --yes", "");
        }),
        (EventKind::ClientEnabled, &|| run("client enable other", "")),
        (EventKind::ClientDeleted, &|| run("client delete other --yes", "")),
    ];
    let mut database = Database::open(&installation.database());
    for (kind, provoke) in provocations {
        let before = database.audited();
        provoke();
        assert_eq!(
            news(&before, &database.audited()),
            [(kind.as_str().to_owned(), 1)]
        );
    }
    let before = database.audited();
    let next: Value = serde_json::from_str(&told(&installation, &["keys", "rotate", "--json"], "")).unwrap();
    let published = database.audited();
    assert_eq!(news(&before, &published), [("key_rotated".to_owned(), 1)]);
    let revoke = ["keys", "revoke", next["kid"].as_str().unwrap(), "--yes"];
    told(&installation, &revoke, "");
    let news_of_keys = news(&published, &database.audited());
    assert_eq!(news_of_keys, [("key_revoked".to_owned(), 1)]);
    while client.sign_in("somebody", "Wrong-Horse-7").status != 429 {}
    let seen = database.audited();
    for kind in EventKind::ALL {
        assert!(seen.contains_key(kind.as_str()), "{kind} was never written");
    }
}

/// How many rows more there are of each kind.
fn news(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Vec<(String, i64)> {
    after
        .iter()
        .map(|(kind, count)| (kind.clone(), count - before.get(kind).unwrap_or(&0)))
        .filter(|(_, more)| *more > 0)
        .collect()
}
