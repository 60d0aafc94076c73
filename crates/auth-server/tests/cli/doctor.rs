//! The doctor, beside installations with one fault each.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use crate::desk::{Desk, PASSWORD};

/// A server that is set up as it should be.
const ISSUER: &str = "http://127.0.0.1:1";

fn doctor(desk: &Desk, arguments: &[&str]) -> (i32, Value) {
    let ran = desk.run(&[&["doctor", "--json"], arguments].concat());
    let report = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    (ran.code, report)
}

/// What is found about a subject with a verdict.
fn said(report: &Value, subject: &str, verdict: &str) -> Vec<String> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["subject"] == subject && finding["verdict"] == verdict)
        .map(|finding| format!("{} | {}", finding["said"], finding["mend"]))
        .collect()
}

#[track_caller]
fn finds(report: &Value, subject: &str, verdict: &str, part: &str) {
    let found = said(report, subject, verdict);
    assert!(found.iter().any(|said| said.contains(part)), "{report:#}");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_folder_is_told_what_is_not_there_yet_and_stays_empty() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    let (code, report) = doctor(&desk, &[]);
    assert_eq!((code, &report["verdict"]), (0, &Value::from("warn")));
    finds(&report, "database", "warn", "there is none");
    finds(&report, "keys", "warn", "there are none");
    finds(&report, "instance", "warn", "no server answers");
    assert!(desk.is_empty());
}

#[test]
fn beside_a_good_server_nothing_fails_and_nothing_changes() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    let server = desk.serve();
    let listed = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = listed(&desk.path("data/keys"));
    let (code, report) = doctor(&desk, &["--url", &server.base]);
    assert_eq!(code, 0, "{report:#}");
    for (subject, part) in [
        ("database", "takes writes"),
        ("migrations", "all are applied"),
        ("keys", "signs"),
        ("devices", "private"),
        ("instance", "publishes the keys"),
        ("gateway", "RSA"),
        ("clients", "codelab-flutter-app is as it should be"),
        ("clients", "codelab-internal is as it should be"),
    ] {
        finds(&report, subject, "ok", part);
    }
    assert_eq!(said(&report, "instance", "fail"), [""; 0]);
    assert_eq!(listed(&desk.path("data/keys")), before);
    let people = desk.run(&["doctor", "--url", &server.base]).succeeded().out;
    assert!(
        people.contains("ok    database ") && people.contains(" 0 failed."),
        "{people}"
    );
}

#[test]
fn a_database_or_keys_that_were_there_are_lost_and_not_new() {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    let server = desk.serve();
    assert_eq!(server.sign_in("admin", PASSWORD).0, 200);
    let port = server.base.rsplit(':').next().unwrap().to_owned();
    let port = format!("port={port}");
    let own = ["--set", port.as_str()];
    let moved = desk.path("moved");
    fs::rename(desk.path("data/keys"), &moved).unwrap();
    let (code, report) = doctor(&desk, &own);
    assert_eq!(code, 1);
    finds(&report, "keys", "fail", "does not start so");
    finds(&report, "instance", "fail", "the keys here are no key");
    fs::rename(&moved, desk.path("data/keys")).unwrap();
    fs::rename(desk.path("data/auth.db"), &moved).unwrap();
    let (code, report) = doctor(&desk, &own);
    assert_eq!(code, 1);
    finds(&report, "database", "fail", "though a server answers");
    server.stop();
    let (code, report) = doctor(&desk, &own);
    assert_eq!(code, 1);
    finds(&report, "database", "fail", "though there are signing keys");
}

#[test]
fn a_file_that_root_left_in_the_servers_folder_is_named_with_who_should_have_it() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    desk.serve().stop();
    if fs::metadata(desk.path("data")).unwrap().uid() != 0 {
        // Only root can leave a file of somebody else.
        return;
    }
    for path in ["data", "data/keys"] {
        std::os::unix::fs::chown(desk.path(path), Some(65_534), None).unwrap();
    }
    let (_, ran) = desk.run_as_a_stranger(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    finds(&report, "database", "fail", "chown 65534");
    finds(&report, "keys", "fail", "chown 65534");
}

#[test]
fn wrong_settings_end_it_before_it_begins() {
    let desk = Desk::new();
    desk.run(&["doctor", "--set", "log_level=loud"])
        .failed(2, "LOG_LEVEL");
    let in_production = Desk::new().with("ENVIRONMENT", "production");
    in_production.run(&["doctor"]).failed(2, "JWT_ISSUER");
}

#[test]
fn what_others_may_read_fails_and_is_told_how_to_be_made_private() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    desk.serve().stop();
    let keys = desk.path("data/keys");
    let key = fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "pem"))
        .unwrap();
    chmod(&key, 0o644);
    chmod(&keys.join("device.secret"), 0o644);
    let (code, report) = doctor(&desk, &[]);
    assert_eq!(code, 1);
    finds(&report, "keys", "fail", "mode 0644");
    finds(&report, "keys", "fail", "chmod");
    finds(&report, "devices", "fail", "device.secret");
    chmod(&key, 0o600);
    chmod(&keys.join("device.secret"), 0o600);
    fs::copy(&key, keys.join("left-over.pem")).unwrap();
    chmod(&keys, 0o755);
    let (code, report) = doctor(&desk, &[]);
    assert_eq!(code, 0, "{report:#}");
    finds(&report, "keys", "warn", "left-over.pem");
    finds(&report, "keys", "warn", "everybody may see");
    let database = desk.path("data/auth.db");
    chmod(&database, 0o644);
    let (code, report) = doctor(&desk, &[]);
    assert_eq!(code, 1, "{report:#}");
    finds(&report, "database", "fail", "0644");
    assert_eq!(said(&report, "clients", "fail"), [""; 0]);
}

#[test]
fn a_pending_migration_and_a_file_that_is_no_database_fail() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1").migrated();
    desk.run(&["migrate", "down", "--yes"]).succeeded();
    let (code, report) = doctor(&desk, &[]);
    assert_eq!(code, 1);
    finds(&report, "migrations", "fail", "migrate up");
    desk.write("other.db", &"no database ".repeat(500));
    let (code, report) = doctor(&desk, &["--set", "db_url=sqlite:///other.db"]);
    assert_eq!(code, 1);
    finds(&report, "database", "fail", "not a database");
}

#[test]
fn an_issuer_of_another_name_and_an_instance_with_other_keys_fail() {
    let (desk, other) = (Desk::new(), Desk::new());
    let (server, stranger) = (desk.serve(), other.serve());
    let issuer = format!("jwt_issuer={}", server.base);
    let (code, report) = doctor(
        &desk,
        &["--set", &issuer, "--url", &server.base, "--url", &stranger.base],
    );
    assert_eq!(code, 1);
    finds(
        &report,
        "issuer",
        "fail",
        "calls itself https://auth.codelab.local",
    );
    finds(&report, "instance", "fail", "another folder of keys");
    finds(&report, "instance", "fail", "what one signs the other refuses");
    finds(&report, "redis", "warn", "several instances");
    let (code, report) = doctor(
        &desk,
        &["--set", &format!("jwt_issuer={ISSUER}"), "--url", &server.base],
    );
    assert_eq!(code, 1);
    finds(&report, "issuer", "fail", "http://127.0.0.1:1");
    let (code, report) = doctor(&desk, &["--url", "http://127.0.0.1:1"]);
    assert_eq!(code, 1);
    finds(&report, "instance", "fail", "http://127.0.0.1:1");
}

#[test]
fn changed_clients_and_settings_that_the_gateway_does_not_bear_are_warned_of() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    desk.serve().stop();
    desk.run(&["client", "disable", "codelab-internal", "--yes"])
        .succeeded();
    let wrong = [
        "not_before_leeway=0",
        "jwt_audience=other",
        "enable_rate_limiting=false",
    ];
    let wrong: Vec<_> = wrong.iter().flat_map(|setting| ["--set", setting]).collect();
    let (code, report) = doctor(&desk, &wrong);
    assert_eq!(code, 0, "{report:#}");
    finds(&report, "clients", "warn", "codelab-internal: it is disabled");
    finds(&report, "gateway", "warn", "NOT_BEFORE_LEEWAY");
    finds(&report, "gateway", "warn", "access tokens are for other");
    finds(&report, "limits", "warn", "nothing slows down");
}

#[test]
fn a_secret_in_a_file_that_others_may_read_is_warned_of_and_never_said() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    let file = desk.write("master", "Quite-A-Secret-77\n");
    chmod(&file, 0o644);
    let desk = desk.with("AUTH_SERVICE__MASTER_KEY_FILE", file.to_str().unwrap());
    let (code, report) = doctor(&desk, &[]);
    assert_eq!(code, 0);
    finds(&report, "settings", "warn", "AUTH_SERVICE__MASTER_KEY_FILE");
    assert!(!report.to_string().contains("Quite-A-Secret-77"));
    let started = desk.serve().stop();
    let warned = started.err.matches("AUTH_SERVICE__MASTER_KEY_FILE").count();
    assert_eq!(warned, 1, "{}", started.err);
    chmod(&file, 0o640);
    let (_, report) = doctor(&desk, &[]);
    assert_eq!(said(&report, "settings", "warn"), [""; 0]);
}

#[test]
fn a_key_that_others_may_read_is_taken_in_with_a_warning() {
    let made = Desk::new();
    made.serve().stop();
    let key = fs::read_dir(made.path("data/keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "pem"))
        .unwrap();
    let file = key.to_str().unwrap();
    chmod(&key, 0o644);
    let ran = Desk::new().migrated().run(&["keys", "import", file]).succeeded();
    assert!(
        ran.err.contains("others may read") && ran.err.contains("0644"),
        "{}",
        ran.err
    );
    chmod(&key, 0o600);
    let ran = Desk::new().migrated().run(&["keys", "import", file]).succeeded();
    assert_eq!(ran.err, "");
}

#[test]
fn who_may_not_read_is_told_so_and_as_whom_to_come_back() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    desk.serve().stop();
    let owner = fs::metadata(desk.path("data")).unwrap().uid();
    let (user, ran) = desk.run_as_a_stranger(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    assert_eq!(ran.code, 1, "{report:#}");
    for subject in ["database", "keys", "devices"] {
        finds(&report, subject, "fail", "can't be read");
        if user != owner {
            let come_back = format!("belongs to user {owner}");
            finds(&report, subject, "fail", &come_back);
        }
    }
}
