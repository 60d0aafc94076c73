//! The take-over from the older service and the way back: its own databases, on SQLite and on PostgreSQL, its key, its
//! users' passwords and tokens.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use auth_e2e::binary::{self, workspace_root};
use auth_e2e::client::{Client, FLUTTER, TOKEN, Tokens};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_testkit::server::Database as PostgresDatabase;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::Value;

use crate::database::claims;
use crate::documents;
use crate::support::{assert_refused, everything_in};

/// The secret of `codelab-internal` that everybody knows.
const KNOWN_SECRET: &str = "internal-secret-123";
const KID: &str = "2024-01-key-1";

fn fixtures() -> PathBuf {
    workspace_root().join("tests/fixtures/legacy")
}

/// A database that the older service has left behind.
enum Legacy {
    Sqlite(PathBuf),
    Postgres(PostgresDatabase),
}

impl Legacy {
    /// A copy of its SQLite file.
    fn sqlite(installation: &Installation) -> Self {
        let copy = installation.directory().join("old.db");
        fs::copy(fixtures().join("sqlite/auth.db"), &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
        Self::Sqlite(copy)
    }

    /// Its PostgreSQL database, restored from a dump.
    fn postgres() -> Self {
        let database = PostgresDatabase::new();
        let dump = fs::read_to_string(fixtures().join("postgres/auth_db.sql")).unwrap();
        database.tell(&dump).unwrap();
        database
            .tell("GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC")
            .unwrap();
        Self::Postgres(database)
    }

    fn expected(&self) -> Value {
        let folder = match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        };
        let text = fs::read_to_string(fixtures().join(folder).join("expected.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The URL for a command line, and the password that goes beside it.
    fn url(&self) -> (String, String) {
        match self {
            Self::Sqlite(file) => (format!("sqlite:///{}", file.display()), String::new()),
            Self::Postgres(database) => {
                let url = database.url();
                let (login, place) = url.rsplit_once('@').unwrap();
                let (user, password) = login.rsplit_once(':').unwrap();
                (format!("{user}@{place}"), decoded(password))
            }
        }
    }

    /// All that is in it, and where it is a file, its bytes and when they were last written.
    fn content(&self) -> (Vec<u8>, Option<SystemTime>, Vec<String>) {
        match self {
            Self::Sqlite(file) => {
                let beside = fs::read_dir(file.parent().unwrap()).unwrap();
                let mut beside: Vec<_> = beside
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .filter(|name| name.starts_with("old.db"))
                    .collect();
                beside.sort();
                let modified = fs::metadata(file).unwrap().modified().unwrap();
                (fs::read(file).unwrap(), Some(modified), beside)
            }
            Self::Postgres(database) => {
                let all = "SELECT * FROM users ORDER BY id; SELECT * FROM oauth_clients ORDER BY id; \
                           SELECT * FROM refresh_tokens ORDER BY id; SELECT * FROM audit_logs ORDER BY id; \
                           SELECT relname FROM pg_class ORDER BY relname";
                (database.tell(all).unwrap().into_bytes(), None, Vec::new())
            }
        }
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// An installation whose tokens anybody may ask for as often as a test does, and the command line in it.
fn installation() -> Installation {
    Installation::new().unlimited()
}

/// Runs a command, checks its exit code, and gives what it answers to programs.
#[track_caller]
fn answered(installation: &Installation, arguments: &[&str], code: i32) -> Value {
    let all: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let output = installation.run(&all, "").unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", everything_in(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn take_in_the_key(installation: &Installation) {
    answered(installation, &["migrate", "up"], 0);
    let key = fixtures().join("keys/private_key.pem");
    let private = installation.directory().join("old-key.pem");
    fs::copy(key, &private).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
    let file = private.to_str().unwrap();
    answered(installation, &["keys", "import", file, "--kid", KID], 0);
}

/// Whoever has the first of the older service's live tokens goes on by it.
#[track_caller]
fn assert_first_token_rotates(installation: &Installation, legacy: &Legacy) {
    let server = installation.start();
    let expected = legacy.expected();
    let token = expected["tokens"][0]["refresh_token"].as_str().unwrap();
    let answer = Client::flutter(server.http()).refresh(token);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[track_caller]
fn assert_counts(report: &Value, table: &str, counts: [u64; 4]) {
    let of = &report["tables"][table];
    let told = ["taken", "updated", "already_there", "not_taken"].map(|count| of[count].as_u64().unwrap());
    assert_eq!(told, counts, "{table}: {report:#}");
}

/// The whole way: trial, take-over, everybody's password and tokens, a second take-over.
fn carries_everybody_over(legacy: &Legacy, installation: Installation) {
    let (url, password) = legacy.url();
    let installation = installation.with("PGPASSWORD", &password);
    let before = legacy.content();
    let expected = legacy.expected();
    let tokens = expected["tokens"].as_array().unwrap();
    let is_postgres = matches!(legacy, Legacy::Postgres(_));

    let files = || fs::read_dir(installation.directory()).unwrap().count();
    let files_before = files();
    let trial = answered(&installation, &["import-legacy", "--from", &url, "--dry-run"], 0);
    assert_eq!(
        (&trial["done"], &trial["has_key"]),
        (&false.into(), &false.into())
    );
    assert_counts(&trial, "users", [5, 0, 0, 0]);
    assert_eq!(files(), files_before, "a trial makes no file");

    take_in_the_key(&installation);
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    let audited = if is_postgres { 11 } else { 10 };
    assert_counts(&report, "users", [5, 0, 0, 0]);
    assert_counts(&report, "oauth_clients", [2, 0, 0, 0]);
    assert_counts(&report, "refresh_tokens", [tokens.len() as u64, 0, 0, 0]);
    assert_counts(&report, "audit_logs", [audited, 0, 0, 0]);
    assert_eq!(
        (&report["done"], &report["live_sessions"]),
        (&true.into(), &7.into())
    );
    assert_eq!(trial["live_sessions"], report["live_sessions"]);

    let server = installation.start();
    everybody_signs_in(&server.http(), &expected);
    every_token_does_what_its_note_says(&server.http(), tokens);
    the_known_secret_is_refused(
        &server.http(),
        report["secrets"][0]["client_secret"].as_str().unwrap(),
    );

    let again = answered(&installation, &["import-legacy", "--from", &url], 0);
    assert_counts(&again, "users", [0, 0, 5, 0]);
    assert_counts(&again, "oauth_clients", [0, 0, 2, 0]);
    assert_counts(&again, "refresh_tokens", [0, 0, tokens.len() as u64, 0]);
    assert_counts(&again, "audit_logs", [0, 0, audited, 0]);
    assert_eq!(again["secrets"], serde_json::json!([]));
    assert_eq!(
        legacy.content(),
        before,
        "the older service's database stays as it is"
    );
}

fn everybody_signs_in(http: &Http, expected: &Value) {
    let client = Client::flutter(http.clone());
    for user in expected["users"].as_array().unwrap() {
        let (name, password) = (
            user["username"].as_str().unwrap(),
            user["password"].as_str().unwrap(),
        );
        let answer = client.sign_in(name, password);
        if user["active"] == true {
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        } else {
            assert_refused(&answer);
        }
        assert_refused(&client.sign_in(name, "Wrong-Horse-7-Battery"));
    }
}

/// Live ones are rotated into the new form; a rotated one is reuse, and ends its chain.
fn every_token_does_what_its_note_says(http: &Http, tokens: &[Value]) {
    let client = Client::flutter(http.clone());
    let mut successors = BTreeMap::new();
    let is_live = |token: &Value| token["note"].as_str().unwrap().starts_with("live");
    for token in tokens.iter().filter(|token| is_live(token)) {
        let old = token["refresh_token"].as_str().unwrap();
        let answer = client.refresh(old);
        if token["username"] == "blocked_user" {
            assert_refused(&answer);
            continue;
        }
        assert_eq!(answer.status, 200, "{}: {}", token["note"], answer.text());
        assert_eq!(answer.json()["scope"], token["scope"]);
        let new = Tokens::of(&answer).refresh;
        let claims = claims(&new);
        assert_eq!(claims.aud, claims.iss, "of the new form: {claims:?}");
        assert!(claims.sid.is_some());
        successors.insert(token["username"].as_str().unwrap(), new);
    }
    for token in tokens.iter().filter(|token| !is_live(token)) {
        assert_refused(&client.refresh(token["refresh_token"].as_str().unwrap()));
        let of_its_chain = &successors[token["username"].as_str().unwrap()];
        assert_refused(&client.refresh(of_its_chain));
    }
}

fn the_known_secret_is_refused(http: &Http, secret: &str) {
    let sign_in = |secret: &str| {
        let form = [
            ("grant_type", "password"),
            ("client_id", "codelab-internal"),
            ("client_secret", secret),
            ("username", "ivan_petrov"),
            ("password", "Correct-Horse-1"),
        ];
        http.post_form(TOKEN, &[], &form).unwrap()
    };
    let refused = sign_in(KNOWN_SECRET);
    assert_eq!(
        (refused.status, refused.member("error")),
        (401, Some("invalid_client".to_owned()))
    );
    let accepted = sign_in(secret);
    assert_eq!(accepted.status, 200, "{}", accepted.text());
}

#[test]
fn everybody_comes_along_from_sqlite_to_sqlite() {
    let installation = installation();
    carries_everybody_over(&Legacy::sqlite(&installation), installation);
}

#[test]
fn everybody_comes_along_from_sqlite_to_postgresql() {
    let installation = installation().on_postgres(PostgresDatabase::new());
    carries_everybody_over(&Legacy::sqlite(&installation), installation);
}

#[test]
fn everybody_comes_along_from_postgresql_to_postgresql() {
    let installation = installation().on_postgres(PostgresDatabase::new());
    carries_everybody_over(&Legacy::postgres(), installation);
}

#[test]
fn without_the_key_the_take_over_is_not_done() {
    let installation = installation();
    let (url, _) = Legacy::sqlite(&installation).url();
    let report = answered(&installation, &["import-legacy", "--from", &url], 1);
    assert_eq!(
        (&report["done"], &report["has_key"]),
        (&false.into(), &false.into())
    );
    let output = installation.run(&["import-legacy", "--from", &url], "").unwrap();
    assert!(
        everything_in(&output).contains("NOT DONE YET"),
        "{}",
        everything_in(&output)
    );
}

#[test]
fn built_ins_that_are_here_stay_and_the_tokens_of_the_older_service_attach_to_them() {
    let installation = installation();
    take_in_the_key(&installation);
    drop(installation.start());
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    // The app's sessions lasted for ten years there.
    assert_counts(&report, "oauth_clients", [0, 0, 1, 1]);
    // Its admin is another user than the one that the first start has made.
    assert_counts(&report, "users", [4, 0, 0, 1]);
    assert_counts(&report, "refresh_tokens", [8, 0, 0, 1]);
    let told = report["not_taken"].to_string();
    assert!(
        told.contains("another user of this service has its user name"),
        "{told}"
    );
    assert_first_token_rotates(&installation, &legacy);
}

#[test]
fn a_client_that_was_made_here_and_differs_from_the_older_one_is_named_with_what_differs() {
    let installation = installation();
    take_in_the_key(&installation);
    drop(installation.start());
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    let Legacy::Sqlite(old) = &legacy else { panic!() };
    let mut connection = SqliteConnection::establish(old.to_str().unwrap()).unwrap();
    for change in [
        "UPDATE oauth_clients SET allowed_scopes = 'api:read', access_token_lifetime = 60 \
         WHERE client_id = 'codelab-flutter-app'",
        "UPDATE oauth_clients SET is_active = 0 WHERE client_id = 'codelab-internal'",
    ] {
        diesel::sql_query(change).execute(&mut connection).unwrap();
    }
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    assert_counts(&report, "oauth_clients", [0, 0, 0, 2]);
    let told = report["not_taken"].to_string();
    for what in [
        "client codelab-flutter-app stays as it is here; what differs there: scopes, access token lifetime",
        "client codelab-internal stays as it is here; what differs there: whether it is active",
    ] {
        assert!(told.contains(what), "{told}");
    }
    let remarks = report["remarks"].to_string();
    assert!(
        remarks.contains("client codelab-internal keeps the secret that it has here"),
        "{remarks}"
    );
}

#[test]
fn new_secrets_go_into_a_private_file_where_one_is_named() {
    let installation = installation();
    take_in_the_key(&installation);
    let (url, _) = Legacy::sqlite(&installation).url();
    let file = installation.directory().join("secrets");
    let arguments = [
        "import-legacy",
        "--from",
        &url,
        "--secrets-file",
        file.to_str().unwrap(),
    ];
    let report = answered(&installation, &arguments, 0);
    assert_eq!(
        report["secrets"],
        serde_json::json!([{ "client_id": "codelab-internal" }])
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let line = fs::read_to_string(&file).unwrap();
    let (client, secret) = line.trim_end().split_once(' ').unwrap();
    assert_eq!((client, secret.len()), ("codelab-internal", 64));
    answered(&installation, &arguments, 1);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        line,
        "no file of secrets is overwritten"
    );
}

/// Rows of a file of the older service, each as one text; without what a take-over does not keep: the ids of tokens,
/// the tokens of a user who is inactive, and secrets.
fn rows(file: &Path) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let queries = [
        "SELECT json_array(id, username, email, password_hash, is_active, is_verified, created_at, updated_at, \
         last_login_at) AS line FROM users ORDER BY id",
        "SELECT json_array(id, client_id, name, description, is_confidential, allowed_scopes, allowed_grant_types, \
         access_token_lifetime, refresh_token_lifetime, is_active, created_at, updated_at) AS line \
         FROM oauth_clients ORDER BY id",
        "SELECT json_array(jti_hash, user_id, client_id, scope, expires_at, revoked, revoked_at, parent_jti_hash, \
         created_at) AS line FROM refresh_tokens \
         WHERE user_id IN (SELECT id FROM users WHERE is_active) ORDER BY jti_hash",
    ];
    let mut rows = Vec::new();
    for query in queries {
        let lines: Vec<Line> = diesel::sql_query(query).load(&mut connection).unwrap();
        rows.extend(lines.into_iter().map(|line| line.line));
    }
    rows
}

#[test]
fn what_was_not_touched_goes_back_as_it_came() {
    let installation = installation();
    take_in_the_key(&installation);
    let Legacy::Sqlite(old) = Legacy::sqlite(&installation) else {
        panic!()
    };
    let url = format!("sqlite:///{}", old.display());
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let back = installation.directory().join("back.db");
    let to = format!("sqlite:///{}", back.display());
    for _ in 0..2 {
        let report = answered(&installation, &["export-legacy", "--to", &to], 0);
        assert_eq!(report["live_sessions"], 7);
        assert_eq!(report["without_password"], serde_json::json!([]));
        assert_eq!(rows(&back), rows(&old));
    }
}

#[test]
fn what_was_not_touched_goes_back_to_postgresql_as_it_came() {
    let legacy = Legacy::postgres();
    let (url, password) = legacy.url();
    let installation = installation().with("PGPASSWORD", &password);
    take_in_the_key(&installation);
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let back = Legacy::Postgres(PostgresDatabase::new());
    let to = back.url().0;
    for _ in 0..2 {
        let report = answered(&installation, &["export-legacy", "--to", &to], 0);
        assert_eq!(report["live_sessions"], 7);
        assert_eq!(rows_on_postgres(&back), rows_on_postgres(&legacy));
    }
}

/// As [`rows`], of a database on PostgreSQL. When a token was consumed is known from its successor alone, so that is
/// left out too.
fn rows_on_postgres(legacy: &Legacy) -> String {
    let Legacy::Postgres(database) = legacy else {
        panic!()
    };
    let all = "SELECT * FROM users ORDER BY id; \
               SELECT id, client_id, name, description, is_confidential, allowed_scopes, allowed_grant_types, \
               access_token_lifetime, refresh_token_lifetime, is_active, created_at, updated_at \
               FROM oauth_clients ORDER BY id; \
               SELECT jti_hash, user_id, client_id, scope, expires_at, revoked, revoked_at IS NULL, parent_jti_hash, \
               created_at FROM refresh_tokens \
               WHERE user_id IN (SELECT id FROM users WHERE is_active) ORDER BY jti_hash";
    database.tell(all).unwrap()
}

#[test]
fn what_was_consumed_here_is_not_usable_there_and_who_must_sign_in_again_is_told() {
    let installation = installation().with("AUTH_SERVICE__REHASH_LEGACY_PASSWORDS", "false");
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let server = installation.start();
    let client = Client::flutter(server.http());
    assert_eq!(client.sign_in("ivan_petrov", "Correct-Horse-1").status, 200);
    let expected = legacy.expected();
    let of_maria = expected["tokens"][2]["refresh_token"].as_str().unwrap();
    assert_eq!(client.refresh(of_maria).status, 200);
    server.stop();
    let report = answered(&installation, &["export-legacy", "--to", &url], 0);
    // Maria's rotated chain, and Ivan's new sign-in.
    assert_eq!(report["sign_in_again"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!(
        report["sign_in_again"]
            .to_string()
            .matches("\"username\":\"maria\"")
            .count(),
        1
    );
    let again = installation.run(&["export-legacy", "--to", &url], "").unwrap();
    let told = everything_in(&again);
    assert!(
        told.lines()
            .any(|line| line.starts_with("maria ") && line.ends_with(" 1")),
        "{told}"
    );
    assert_eq!(report["live_sessions"], 6);
    assert_eq!(
        report["without_password"],
        serde_json::json!([]),
        "hashes were kept"
    );
    assert_eq!(report["kept_secrets"], serde_json::json!(["codelab-internal"]));
    let Legacy::Sqlite(old) = &legacy else { panic!() };
    let hash = "db1cef107a382271d869e8bbc6c783b7b9b5479f6fbdd49c0ed478a6d2fbb35f";
    let row = rows(old).into_iter().find(|row| row.contains(hash)).unwrap();
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row[5], 1, "revoked");
    assert!(row[6].is_string(), "and since when");
}

#[test]
fn what_the_older_service_did_meanwhile_comes_along_with_the_next_take_over() {
    let installation = installation();
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let Legacy::Sqlite(old) = &legacy else { panic!() };
    let mut connection = SqliteConnection::establish(old.to_str().unwrap()).unwrap();
    let tell = |sql: &str, connection: &mut SqliteConnection| {
        diesel::sql_query(sql).execute(connection).unwrap();
    };
    // Maria was switched off, and one of Ivan's tokens rotated.
    tell(
        "UPDATE users SET is_active = 0, updated_at = '2026-11-23 00:00:00.000000' WHERE username = 'maria'",
        &mut connection,
    );
    let parent = "9907ad72eb1a3bca303051d7ceeed7a44edd7d4465bcaa4ea962c512b6ab383d";
    tell(
        &format!(
            "UPDATE refresh_tokens SET revoked = 1, revoked_at = created_at WHERE jti_hash = '{parent}'"
        ),
        &mut connection,
    );
    tell(
        &format!(
            "INSERT INTO refresh_tokens SELECT 'aaaaaaaa-77c7-42e1-bdb6-c6fb0b90c47c', '{}', user_id, client_id, scope, \
             expires_at, 0, NULL, jti_hash, '2026-11-22 20:00:00.000000' FROM refresh_tokens WHERE jti_hash = '{parent}'",
            "ab".repeat(32)
        ),
        &mut connection,
    );
    // Somebody with a long password signed out.
    let ended = "9132458290d9ff6ef804ff35a4f4a2fe8f2eb81ba6f0e60661ed3aded8d01ef4";
    tell(
        &format!(
            "UPDATE refresh_tokens SET revoked = 1, revoked_at = '2026-11-22 21:00:00.000000' WHERE jti_hash = '{ended}'"
        ),
        &mut connection,
    );
    drop(connection);
    // A trial says the same as what follows it, so it has written nothing.
    for arguments in [
        &["import-legacy", "--from", &url, "--dry-run"][..],
        &["import-legacy", "--from", &url],
    ] {
        let report = answered(&installation, arguments, 0);
        assert_counts(&report, "users", [0, 1, 4, 0]);
        assert_counts(&report, "refresh_tokens", [1, 1, 8, 0]);
    }
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    assert_counts(&report, "users", [0, 0, 5, 0]);
    assert_counts(&report, "refresh_tokens", [0, 0, 10, 0]);
    assert_eq!(report["live_sessions"], 4);
    let server = installation.start();
    let client = Client::flutter(server.http());
    assert_refused(&client.sign_in("maria", "Pa55word!Пароль"));
    let expected = legacy.expected();
    let rotated_there = expected["tokens"][0]["refresh_token"].as_str().unwrap();
    assert_refused(&client.refresh(rotated_there));
    let of_maria = expected["tokens"][2]["refresh_token"].as_str().unwrap();
    assert_refused(&client.refresh(of_maria));
    let signed_out = expected["tokens"][6]["refresh_token"].as_str().unwrap();
    assert_refused(&client.refresh(signed_out));
}

#[test]
fn a_session_that_went_on_in_both_services_stays_as_it_is_here_and_is_named() {
    let installation = installation();
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let server = installation.start();
    let client = Client::flutter(server.http());
    let expected = legacy.expected();
    let of_ivan = expected["tokens"][0]["refresh_token"].as_str().unwrap();
    let here = Tokens::of(&client.refresh(of_ivan));
    let Legacy::Sqlite(old) = &legacy else { panic!() };
    let mut connection = SqliteConnection::establish(old.to_str().unwrap()).unwrap();
    let row = "aaaaaaaa-77c7-42e1-bdb6-c6fb0b90c47c";
    let parent = "9907ad72eb1a3bca303051d7ceeed7a44edd7d4465bcaa4ea962c512b6ab383d";
    diesel::sql_query(format!(
        "INSERT INTO refresh_tokens SELECT '{row}', '{}', user_id, client_id, scope, expires_at, 0, NULL, jti_hash, \
         '2026-11-22 20:00:00.000000' FROM refresh_tokens WHERE jti_hash = '{parent}'",
        "ab".repeat(32)
    ))
    .execute(&mut connection)
    .unwrap();
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    assert_counts(&report, "refresh_tokens", [0, 0, 9, 1]);
    assert_eq!(report["not_taken"][0]["row"], row);
    client.refreshed(&here);
}

#[test]
fn neither_database_is_taken_for_the_other() {
    let installation = installation();
    answered(&installation, &["migrate", "up"], 0);
    let own = format!("sqlite:///{}", installation.database().display());
    let of_this_program = "it is a database of this program";
    assert_told(&installation, &["import-legacy", "--from", &own], of_this_program);
    assert_told(&installation, &["export-legacy", "--to", &own], of_this_program);
    let missing = format!(
        "sqlite:///{}",
        installation.directory().join("missing.db").display()
    );
    answered(&installation, &["import-legacy", "--from", &missing], 1);
    assert!(!installation.directory().join("missing.db").exists());
    let with_password = "postgresql://auth:pencil@127.0.0.1/auth";
    let output = installation
        .run(&["import-legacy", "--from", with_password], "")
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!everything_in(&output).contains("pencil"));
}

/// The command is not carried out, and says why, and what to do.
#[track_caller]
fn assert_told(installation: &Installation, arguments: &[&str], what: &str) {
    let output = installation.run(arguments, "").unwrap();
    let told = everything_in(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(what), "{told}");
    assert!(told.contains("Name the older service's own database"), "{told}");
}

#[test]
fn what_is_no_database_of_the_older_service_is_told_by_what_it_is() {
    let installation = installation();
    answered(&installation, &["migrate", "up"], 0);
    let file = |name: &str, content: &str| {
        let file = installation.directory().join(name);
        fs::write(&file, content).unwrap();
        format!("sqlite:///{}", file.display())
    };
    let empty = file("empty", "");
    let text = file("text", "These are not the rows that you are looking for.");
    let foreign = file("foreign.db", "");
    let path = installation.directory().join("foreign.db");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    diesel::sql_query("CREATE TABLE users (id TEXT PRIMARY KEY, nickname TEXT)")
        .execute(&mut connection)
        .unwrap();
    let before = fs::read(&path).unwrap();
    for (url, what) in [
        (&empty, "it is an empty file"),
        (&text, "it is no SQLite database"),
        (
            &foreign,
            "it lacks the tables oauth_clients, refresh_tokens, audit_logs",
        ),
    ] {
        assert_told(&installation, &["import-legacy", "--from", url], what);
    }
    assert_told(
        &installation,
        &["export-legacy", "--to", &text],
        "it is no SQLite database",
    );
    let other_columns = "it lacks the columns users.username, users.email";
    assert_told(&installation, &["export-legacy", "--to", &foreign], other_columns);
    assert_eq!(fs::read(&path).unwrap(), before, "nothing was written to it");
}

#[test]
fn what_is_no_database_of_the_older_service_is_told_on_postgresql_too() {
    let database = PostgresDatabase::new();
    let empty = Legacy::Postgres(PostgresDatabase::new());
    let own = Legacy::Postgres(database);
    let (url, password) = own.url();
    let Legacy::Postgres(database) = own else { panic!() };
    let installation = installation().on_postgres(database).with("PGPASSWORD", &password);
    answered(&installation, &["migrate", "up"], 0);
    let of_this_program = "it is a database of this program";
    assert_told(&installation, &["import-legacy", "--from", &url], of_this_program);
    assert_told(&installation, &["export-legacy", "--to", &url], of_this_program);
    let (url, password) = empty.url();
    let installation = installation.with("PGPASSWORD", &password);
    let lacks = "it lacks the tables users, oauth_clients, refresh_tokens, audit_logs";
    assert_told(&installation, &["import-legacy", "--from", &url], lacks);
}

#[test]
fn a_file_with_a_write_ahead_log_is_left_as_it_is_too() {
    let installation = installation();
    let Legacy::Sqlite(old) = Legacy::sqlite(&installation) else {
        panic!()
    };
    let mut connection = SqliteConnection::establish(old.to_str().unwrap()).unwrap();
    diesel::sql_query("PRAGMA journal_mode = WAL")
        .execute(&mut connection)
        .unwrap();
    drop(connection);
    let legacy = Legacy::Sqlite(old);
    let before = legacy.content();
    assert_eq!(before.2, ["old.db"]);
    let report = answered(&installation, &["import-legacy", "--from", &legacy.url().0], 1);
    assert_counts(&report, "users", [5, 0, 0, 0]);
    assert_eq!(legacy.content(), before);
}

/// The guide's commands, as an operator types them, one block after the other in one folder.
#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let blocks = documents::commands("docs/TAKEOVER.md", "takeover");
    assert!(blocks.len() >= 6, "{}", blocks.len());
    let installation = installation();
    let folder = installation.directory();
    fs::create_dir(folder.join("old")).unwrap();
    // A database with the mode that Python's SQLite gives it.
    for (from, to, mode) in [
        ("sqlite/auth.db", "old/auth.db", 0o644),
        ("keys/private_key.pem", "old/private_key.pem", 0o600),
    ] {
        fs::copy(fixtures().join(from), folder.join(to)).unwrap();
        fs::set_permissions(folder.join(to), Permissions::from_mode(mode)).unwrap();
    }
    let programs = binary::auth_service().parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let port = installation.address().port().to_string();
    for block in blocks {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block])
            .env_clear()
            .env("PATH", &path)
            .env("PORT", &port)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{block}\n{}", everything_in(&output));
    }
    let answers = fs::read_to_string(folder.join("answer.json")).unwrap();
    let answer: Value = serde_json::from_str(&answers).unwrap();
    assert_eq!(answer["token_type"], "bearer", "{FLUTTER} was served");
}

/// The replica here is a copy of an earlier moment: as far behind as one can be.
#[test]
fn the_way_back_asks_no_replica() {
    let first = PostgresDatabase::new();
    let replica = PostgresDatabase::new();
    let installation = installation().on_postgres(first);
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let installation = installation.with("AUTH_SERVICE__DB_READ_URL", &replica.url());
    let file = installation.directory().join("replica.url");
    fs::write(&file, replica.url()).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    answered(
        &installation,
        &["transfer", "--to-file", file.to_str().unwrap()],
        0,
    );
    answered(&installation, &["user", "deactivate", "ivan_petrov", "--yes"], 0);
    let back = installation.directory().join("back.db");
    let to = format!("sqlite:///{}", back.display());
    answered(&installation, &["export-legacy", "--to", &to], 0);
    let ivan = rows(&back)
        .into_iter()
        .find(|row| row.contains("\"ivan_petrov\""))
        .unwrap();
    let ivan: Value = serde_json::from_str(&ivan).unwrap();
    assert_eq!(ivan[4], 0, "inactive");
}

/// Between trial and switch the page says to import again.
#[test]
fn who_was_locked_or_deleted_here_stays_so_at_the_next_take_over_and_is_named() {
    let installation = installation();
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    answered(&installation, &["import-legacy", "--from", &url], 0);
    for command in [
        &["user", "deactivate", "ivan_petrov", "--yes"][..],
        &["user", "delete", "maria", "--yes"],
        &["client", "delete", "codelab-internal", "--yes"],
    ] {
        answered(&installation, command, 0);
    }
    let Legacy::Sqlite(old) = &legacy else { panic!() };
    let mut connection = SqliteConnection::establish(old.to_str().unwrap()).unwrap();
    diesel::sql_query(
        "UPDATE users SET updated_at = '2036-01-01 00:00:00.000000', last_login_at = updated_at",
    )
    .execute(&mut connection)
    .unwrap();
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    let reasons: Vec<_> = report["not_taken"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rejected| rejected["table"] != "refresh_tokens")
        .map(|rejected| rejected["reason"].as_str().unwrap())
        .collect();
    let deleted = "it was deleted here, and stays so";
    let off = "it is switched off here and not in the older service: it stays off, and as it is here";
    assert_eq!(reasons.iter().filter(|reason| **reason == deleted).count(), 2);
    assert_eq!(reasons.iter().filter(|reason| **reason == off).count(), 1);
    let server = installation.start();
    let client = Client::flutter(server.http());
    assert_refused(&client.sign_in("ivan_petrov", "Correct-Horse-1"));
    assert_refused(&client.sign_in("maria", "Pa55word!Пароль"));
}

/// A deletion that is cut short leaves the history of sessions that are gone.
#[test]
fn what_is_left_of_a_deleted_history_is_adopted_by_the_next_take_over_and_stops_nothing() {
    let installation = installation();
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    answered(&installation, &["import-legacy", "--from", &url], 0);
    let here = installation.database();
    let mut connection = SqliteConnection::establish(here.to_str().unwrap()).unwrap();
    let mut tell = |sql: &str| diesel::sql_query(sql).execute(&mut connection).unwrap();
    tell("PRAGMA foreign_keys = ON");
    assert_eq!(tell("DELETE FROM users WHERE username IN ('maria', 'admin')"), 2);
    // Of Maria's two tokens and the admin's one the latter's row is of another token by now.
    let orphans = "session_id NOT IN (SELECT id FROM sessions)";
    let last = format!("SELECT max(id) FROM refresh_tokens WHERE {orphans}");
    assert_eq!(
        tell(&format!(
            "UPDATE refresh_tokens SET jti_hash = randomblob(32) WHERE id = ({last})"
        )),
        1
    );
    for arguments in [
        &["import-legacy", "--from", &url, "--dry-run"][..],
        &["import-legacy", "--from", &url],
    ] {
        let report = answered(&installation, arguments, 0);
        assert_counts(&report, "users", [2, 0, 3, 0]);
        assert_counts(&report, "refresh_tokens", [2, 0, 6, 1]);
        let told = &report["not_taken"][0]["reason"];
        assert_eq!(told, "another token of this service has the id that it would get");
    }
    let server = installation.start();
    let expected = legacy.expected();
    let of_maria = expected["tokens"][2]["refresh_token"].as_str().unwrap();
    assert_eq!(Client::flutter(server.http()).refresh(of_maria).status, 200);
}

/// Two windows with one token: the older service did not rotate at a stroke.
#[test]
fn a_rotation_that_forked_between_two_take_overs_comes_to_the_same_as_in_one() {
    let installation = installation();
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    let Legacy::Sqlite(old) = &legacy else { panic!() };
    let mut connection = SqliteConnection::establish(old.to_str().unwrap()).unwrap();
    let parent = "9907ad72eb1a3bca303051d7ceeed7a44edd7d4465bcaa4ea962c512b6ab383d";
    let mut child = |digits: &str, at: &str| {
        let insert = format!(
            "INSERT INTO refresh_tokens SELECT '{digits}aaaaaa-77c7-42e1-bdb6-c6fb0b90c47c', '{}', user_id, client_id, \
             scope, expires_at, 0, NULL, jti_hash, '2026-11-22 {at}.000000' FROM refresh_tokens \
             WHERE jti_hash = '{parent}'",
            digits.repeat(32)
        );
        diesel::sql_query(insert).execute(&mut connection).unwrap();
    };
    child("ab", "20:00:00");
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    assert_eq!(report["live_sessions"], 7);
    child("cd", "20:00:01");
    for arguments in [
        &["import-legacy", "--from", &url, "--dry-run"][..],
        &["import-legacy", "--from", &url],
    ] {
        let report = answered(&installation, arguments, 0);
        assert_counts(&report, "refresh_tokens", [1, 0, 10, 0]);
        assert_eq!(report["live_sessions"], 8);
    }
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    assert_counts(&report, "refresh_tokens", [0, 0, 11, 0]);
    assert_eq!(report["live_sessions"], 8);
}

/// Until when the older service's key verifies, by the key directory.
fn key_verifies_until(installation: &Installation) -> Value {
    let keys = answered(installation, &["keys", "list"], 0);
    let keys = keys.as_array().unwrap();
    let old = keys.iter().find(|key| key["kid"] == KID).unwrap();
    old["signed_until"].clone()
}

const ROTATE_AT_ONCE: [&str; 4] = ["keys", "rotate", "--immediately", "--yes"];

/// The key directory knows by itself how long the tokens live that this service has signed, and nothing of others.
#[test]
fn tokens_taken_over_outlive_a_rotation_of_the_key_that_signed_them() {
    let installation = installation();
    take_in_the_key(&installation);
    let legacy = Legacy::sqlite(&installation);
    let (url, _) = legacy.url();
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    answered(&installation, &ROTATE_AT_ONCE, 0);
    assert_eq!(key_verifies_until(&installation), report["live_until"]);
    assert_first_token_rotates(&installation, &legacy);
}

#[test]
fn a_key_that_seemed_to_be_of_no_use_any_more_is_published_again_and_the_operator_is_told_until_when() {
    let installation = installation();
    take_in_the_key(&installation);
    answered(&installation, &ROTATE_AT_ONCE, 0);
    let (url, _) = Legacy::sqlite(&installation).url();
    let before = key_verifies_until(&installation);
    let trial = answered(&installation, &["import-legacy", "--from", &url, "--dry-run"], 0);
    assert_eq!(
        key_verifies_until(&installation),
        before,
        "a trial changes nothing"
    );
    let report = answered(&installation, &["import-legacy", "--from", &url], 0);
    let until = report["live_until"].as_str().unwrap();
    assert_eq!(trial["live_until"], until);
    assert_eq!(key_verifies_until(&installation), until);
    let again = installation.run(&["import-legacy", "--from", &url], "").unwrap();
    let told = format!("It stays published until {until} at least");
    assert!(everything_in(&again).contains(&told), "{}", everything_in(&again));
}
