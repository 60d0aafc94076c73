//! The doctor beside real deployments: several instances on PostgreSQL and Redis, HTTPS, and a fault planted in each.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use auth_e2e::installation::Installation;
use auth_testkit::server::{Database, RedisServer};
use serde_json::Value;

use crate::support::everything_in;
use crate::tls::{Authority, Days, GOOD};

/// What the doctor says, and whether it says that something failed.
fn doctor(installation: &Installation, arguments: &[&str]) -> (i32, Value) {
    let ran = installation
        .run(&[&["doctor", "--json"], arguments].concat(), "")
        .unwrap();
    let report = serde_json::from_slice(&ran.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", everything_in(&ran)));
    (ran.status.code().unwrap(), report)
}

#[track_caller]
fn finds(report: &Value, subject: &str, verdict: &str, part: &str) {
    let found = report["findings"].as_array().unwrap().iter().any(|finding| {
        finding["subject"] == subject
            && finding["verdict"] == verdict
            && finding["said"].as_str().unwrap().contains(part)
    });
    assert!(found, "{subject} {verdict} {part}: {report:#}");
}

fn base(installation: &Installation) -> String {
    format!("http://{}", installation.address())
}

#[test]
fn instances_on_postgresql_and_redis_are_well_until_something_is_not() {
    let mut redis = RedisServer::start();
    let one = Installation::new()
        .on_postgres(Database::new())
        .with("AUTH_SERVICE__REDIS_URL", &redis.url());
    let issuer = base(&one);
    let one = one.with("AUTH_SERVICE__JWT_ISSUER", &issuer);
    let two = one.beside();
    let _servers = [one.start(), two.start()];
    let both = ["--url", &base(&one), "--url", &base(&two)];

    let (code, report) = doctor(&one, &both);
    assert_eq!(code, 0, "{report:#}");
    finds(&report, "database", "ok", "PostgreSQL");
    finds(&report, "database", "ok", "takes writes");
    finds(
        &report,
        "database",
        "ok",
        "the clock of the database server is this machine's",
    );
    finds(&report, "redis", "ok", "forgets nothing");
    finds(&report, "redis", "ok", "the clock of Redis is this machine's");
    finds(&report, "instance", "ok", "all 2 publish the same keys");
    finds(&report, "issuer", "ok", "leads to a server of that name");
    finds(&report, "issuer", "ok", "for longer than an hour");

    redis.tell("CONFIG SET maxmemory 100mb").unwrap();
    redis.tell("CONFIG SET maxmemory-policy allkeys-lru").unwrap();
    let (code, report) = doctor(&one, &both);
    assert_eq!(code, 0, "{report:#}");
    finds(&report, "redis", "warn", "allkeys-lru");

    redis.kill();
    let down = one.run(&["migrate", "down", "--yes"], "").unwrap();
    assert!(down.status.success(), "{}", everything_in(&down));
    let (code, report) = doctor(&one, &both);
    assert_eq!(code, 1);
    finds(&report, "redis", "fail", "");
    finds(&report, "migrations", "fail", "pending");
    finds(&report, "instance", "fail", "missing: migrations");
}

#[test]
fn an_instance_with_keys_of_its_own_is_found_among_those_that_share_theirs() {
    let one = Installation::new().on_postgres(Database::new());
    let two = one.beside();
    let keys = two.directory().join("keys").display().to_string();
    let two = two.with("AUTH_SERVICE__KEYS_DIR", &keys);
    let _servers = [one.start(), two.start()];
    let (code, report) = doctor(&one, &["--url", &base(&one), "--url", &base(&two)]);
    assert_eq!(code, 1);
    finds(&report, "instance", "fail", "what one signs the other refuses");
    finds(&report, "redis", "warn", "several instances");
}

/// An installation with a certificate of `localhost`, under an issuer.
fn with_certificate(days: Days, issuer: &str) -> Installation {
    let installation = Installation::new().with("AUTH_SERVICE__JWT_ISSUER", issuer);
    let (certificate, key) = Authority::new().issue(2, days);
    let path = |name: &str| installation.directory().join(name);
    for (name, content) in [("cert.pem", certificate), ("key.pem", key)] {
        fs::write(path(name), content).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(0o600)).unwrap();
    }
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    installation
        .with("AUTH_SERVICE__TLS_CERT_PATH", &certificate.display().to_string())
        .with("AUTH_SERVICE__TLS_KEY_PATH", &key.display().to_string())
}

#[test]
fn certificates_that_clients_would_refuse_are_found_before_a_client_does() {
    const HERE: &str = "https://localhost:1";
    let good = with_certificate(GOOD, HERE);
    let (code, report) = doctor(&good, &[]);
    assert_eq!(code, 0, "{report:#}");
    finds(&report, "tls", "ok", "belong together");
    finds(&report, "tls", "ok", "the issuer's host localhost");
    finds(&report, "tls", "warn", "alone");

    for (installation, verdict, part) in [
        (with_certificate((-9, -1), HERE), "fail", "has expired"),
        (with_certificate((-9, 3), HERE), "warn", "more days"),
        (
            with_certificate(GOOD, "https://127.0.0.1:1"),
            "fail",
            "not for the issuer's host",
        ),
    ] {
        let (code, report) = doctor(&installation, &[]);
        assert_eq!(code == 1, verdict == "fail", "{report:#}");
        finds(&report, "tls", verdict, part);
    }

    let key = good.directory().join("key.pem");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&good, &[]);
    assert_eq!(code, 1);
    finds(&report, "tls", "fail", "others may read");
    fs::remove_file(&key).unwrap();
    let (_, report) = doctor(&good, &[]);
    finds(&report, "tls", "fail", "can't be read");
}
