//! Backup and restore by the commands that `docs/BACKUP.md` gives, on either database.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use auth_domain::id::JtiHash;
use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use auth_testkit::server::Database as PostgresDatabase;
use serde_json::Value;

use crate::database::{Database, claims};
use crate::support::{User, assert_refused, everything_in, refresh_until_cut};

/// How a dump is put back, but for whereto.
const PG_RESTORE: &str = "pg_restore --exit-on-error --single-transaction --no-owner --no-password --dbname=";
/// The page that gives operators these commands.
const PAGE: &str = include_str!("../../../docs/BACKUP.md");

/// What operators are promised for the time from the loss of a database to its service.
const RECOVERY_TIME: Duration = Duration::from_mins(15);

/// Runs a command that must succeed; its answer.
fn run(installation: &Installation, arguments: &[&str]) -> Value {
    let output = installation.run(arguments, "").unwrap();
    assert!(output.status.success(), "{}", everything_in(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Users whose last refresh was answered before anything else happens.
fn quiet_users(client: &Client, count: usize) -> Vec<User> {
    let mut users: Vec<User> = (0..count).map(|_| User::signed_in(client)).collect();
    for user in &mut users {
        for _ in 0..3 {
            let answer = client.refresh(user.newest());
            assert_eq!(answer.status, 200, "{}", answer.text());
            user.tokens.push(answer.member("refresh_token").unwrap());
        }
    }
    users
}

/// Everybody who was answered before the backup began goes on by the token they were given last.
fn assert_all_go_on(client: &Client, users: &mut [User]) {
    for user in users {
        let answer = client.refresh(user.newest());
        assert_eq!(answer.status, 200, "{}", answer.text());
        user.tokens.push(answer.member("refresh_token").unwrap());
    }
}

/// Makes the database large enough for a backup to take its time.
fn add_ballast(installation: &Installation) {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    run(installation, &["--json", "migrate", "up"]);
    let mut database = SqliteConnection::establish(installation.database().to_str().unwrap()).unwrap();
    database
        .batch_execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
             INSERT INTO audit_logs (id, event_type, event_data, correlation_id, success, created_at)
             SELECT randomblob(16), 'token_refresh', '{}', 'ballast', 1,
                    (1800000000000 + i) * 1000 FROM n;",
        )
        .unwrap();
}

#[test]
fn a_backup_made_under_load_brings_back_all_that_was_answered_before_it_began() {
    let installation = Installation::new().unlimited();
    add_ballast(&installation);
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut quiet = quiet_users(&client, 8);
    let busy: Vec<User> = (0..8).map(|_| User::signed_in(&client)).collect();
    let (address, killer) = (server.address(), server.killer());
    let file = installation.directory().join("auth.backup");
    // Users who refresh without a pause, and get no other answer than 200 until the server is killed.
    let load = thread::spawn(move || refresh_until_cut(busy, FLUTTER, address, usize::MAX, || {}));

    let begun = Instant::now();
    let made = run(
        &installation,
        &["--json", "backup", "--to", file.to_str().unwrap()],
    );
    let backup_took = begun.elapsed();
    // What comes after the backup, so that there is something to be lost.
    let late = User::signed_in(&client);
    killer.kill().unwrap();
    let lost_at = Instant::now();
    assert!(!server.ended().unwrap().success());
    let busy = load.join().unwrap();

    let restored = run(
        &installation,
        &["--json", "restore", "--from", file.to_str().unwrap(), "--yes"],
    );
    let server = installation.start();
    let recovery_took = lost_at.elapsed();
    scale::say(&format!(
        "backup of {} bytes beside a load: {backup_took:?}; from the loss to the first answer: {recovery_took:?}",
        made["contents"]["bytes"]
    ));
    assert!(recovery_took < RECOVERY_TIME);
    assert_eq!(made["contents"]["rows"], restored["contents"]["rows"]);
    let mut database = Database::of(&installation);
    assert_eq!(database.faults(), ["ok"]);
    let client = Client::flutter(server.http());
    assert_all_go_on(&client, &mut quiet);
    assert_refused(&client.refresh(late.newest()));
    assert_busy_ones_go_on_from_the_moment_of_the_backup(&client, &mut database, &busy);
    // Whatever is wanted of the lost days is still there.
    let mut kept = Database::open(Path::new(restored["kept"].as_str().unwrap()));
    assert_eq!(kept.faults(), ["ok"]);
    assert!(kept.number("SELECT count(*) FROM sessions") > database.number("SELECT count(*) FROM sessions"));
}

/// A chain that went on after the backup is back at the head it had then: a token its user was once given. The newest one
/// is none of its own, and ends it, as reuse does.
fn assert_busy_ones_go_on_from_the_moment_of_the_backup(
    client: &Client,
    database: &mut Database,
    busy: &[User],
) {
    for (number, user) in busy.iter().enumerate() {
        let hash = |token: &String| -> JtiHash { claims(token).jti.hash() };
        let head = database.head_of_chain(user.newest());
        let at_backup = user.tokens.iter().find(|token| hash(token) == head);
        let at_backup = at_backup.unwrap();
        assert!(
            hash(&user.newest().to_owned()) != head,
            "the load went on after the backup"
        );
        if number % 2 == 0 {
            assert_eq!(client.refresh(at_backup).status, 200);
        } else {
            assert_refused(&client.refresh(user.newest()));
            assert_refused(&client.refresh(at_backup));
        }
    }
}

#[test]
fn a_database_in_use_is_not_replaced() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut users = quiet_users(&client, 1);
    let file = installation.directory().join("auth.backup");
    let (file, restore) = (file.to_str().unwrap(), ["restore", "--yes", "--from"]);
    run(&installation, &["--json", "backup", "--to", file]);
    let refused = installation.run(&[&restore[..], &[file]].concat(), "").unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = everything_in(&refused);
    assert!(
        said.contains("in use by a server") && said.contains("Stop the server first"),
        "{said}"
    );
    assert_all_go_on(&client, &mut users);
    server.stop().unwrap();
    let restored = installation.run(&[&restore[..], &[file]].concat(), "").unwrap();
    assert!(restored.status.success(), "{}", everything_in(&restored));
}

#[test]
fn a_backup_says_that_the_keys_are_not_in_it_and_replaces_nothing_unasked() {
    let installation = Installation::new();
    run(&installation, &["--json", "migrate", "up"]);
    let backup = ["backup", "--to", "auth.backup"];
    let made = installation.run(&backup, "").unwrap();
    assert!(made.status.success(), "{}", everything_in(&made));
    let said = String::from_utf8(made.stdout.clone()).unwrap();
    assert!(
        said.contains(&format!("back up {} too", installation.keys().display())),
        "{said}"
    );
    assert!(
        made.stderr.is_empty(),
        "no progress is shown where there is no terminal"
    );
    let again = installation.run(&backup, "").unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(everything_in(&again).contains("auth.backup is there already"));
    let forced = installation
        .run(&[&backup[..], &["--force"]].concat(), "")
        .unwrap();
    assert!(forced.status.success(), "{}", everything_in(&forced));
}

/// Runs a shell command as `docs/BACKUP.md` gives it, with PostgreSQL's programs in its path.
fn shell(installation: &Installation, command: &str, password_file: &Path) {
    let programs = "/usr/lib/postgresql";
    let newest = std::fs::read_dir(programs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max();
    let path = format!("{}/bin:/usr/bin:/bin", newest.unwrap().display());
    let output = Command::new("/bin/sh")
        .args(["-euc", command])
        .current_dir(installation.directory())
        .env("PATH", path)
        .env("PGPASSFILE", password_file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}\n{}", everything_in(&output));
}

/// The password of a URL, decoded, in a file as libpq reads it.
fn password_file(installation: &Installation) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let url = installation.database_url();
    let (login, _) = url.rsplit_once('@').unwrap();
    let password = login.rsplit(':').next().unwrap();
    let password = percent_decoded(password)
        .replace('\\', "\\\\")
        .replace(':', "\\:");
    let file = installation.directory().join("pgpass");
    std::fs::write(&file, format!("*:*:*:*:{password}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        decoded.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        decoded.push_str(&part[2..]);
    }
    decoded
}

#[test]
fn on_postgresql_the_command_that_backup_names_makes_one_that_pg_restore_brings_back() {
    let database = PostgresDatabase::new();
    let (elsewhere, elsewhere_url) = {
        let elsewhere = PostgresDatabase::new();
        let url = elsewhere.url();
        (elsewhere, url)
    };
    let installation = Installation::new().unlimited().on_postgres(database);
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut users = quiet_users(&client, 4);

    let named = installation
        .run(&["--json", "backup", "--to", "auth.dump"], "")
        .unwrap();
    assert_eq!(named.status.code(), Some(3), "{}", everything_in(&named));
    let named: Value = serde_json::from_slice(&named.stdout).unwrap();
    let command = named["command"].as_str().unwrap();
    let (dump, _) = command.split_once("--file").unwrap();
    assert!(
        PAGE.contains(dump) && PAGE.contains(PG_RESTORE),
        "the page says the same"
    );
    let password_file = password_file(&installation);
    shell(&installation, &format!("umask 077; {command}"), &password_file);
    let late = User::signed_in(&client);
    server.stop().unwrap();

    let begun = Instant::now();
    let (login, rest) = elsewhere_url.rsplit_once('@').unwrap();
    let (user, _) = login.rsplit_once(':').unwrap();
    let restore = format!("{PG_RESTORE}'{user}@{rest}' auth.dump");
    shell(&installation, &restore, &password_file);
    let installation = installation.on_postgres(elsewhere);
    let server = installation.start();
    let took = begun.elapsed();
    scale::say(&format!("restored on PostgreSQL in {took:?}"));
    assert!(took < RECOVERY_TIME);
    let client = Client::flutter(server.http());
    assert_all_go_on(&client, &mut users);
    assert_refused(&client.refresh(late.newest()));
    assert_eq!(Database::of(&installation).faults(), ["ok"]);
}
