//! What the program refuses to start on: settings that are unsafe in earnest, and files that are none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use auth_e2e::installation::Installation;
use auth_e2e::scale;

use crate::support::everything_in;

/// A start that should end at once takes no longer than this on the busiest machine.
const AT_ONCE: Duration = Duration::from_secs(20);

/// What production needs at the least.
fn in_earnest() -> Installation {
    Installation::new()
        .with("ENVIRONMENT", "production")
        .with("AUTH_SERVICE__TRUSTED_PROXIES", "127.0.0.1")
        .with("AUTH_SERVICE__JWT_ISSUER", "https://auth.example.com")
}

#[test]
fn each_setting_that_is_unsafe_in_production_is_refused_with_what_to_do() {
    let table = [
        ("TRUSTED_PROXIES", "", "TLS_CERT_PATH", "must name a certificate"),
        (
            "TRUSTED_PROXIES",
            "0.0.0.0/0",
            "TRUSTED_PROXIES",
            "name your proxies' own networks",
        ),
        (
            "TRUSTED_PROXIES",
            "127.0.0.1 ::/0",
            "TRUSTED_PROXIES",
            "name your proxies' own networks",
        ),
        (
            "RATE_LIMIT_EXEMPT_NETWORKS",
            "0.0.0.0/0",
            "RATE_LIMIT_EXEMPT_NETWORKS",
            "your own machines",
        ),
        (
            "CORS_ALLOWED_ORIGINS",
            "*",
            "CORS_ALLOWED_ORIGINS",
            "must list the origins",
        ),
        (
            "JWT_ISSUER",
            "http://auth.example.com",
            "JWT_ISSUER",
            "must be an https URL",
        ),
        (
            "ENABLE_RATE_LIMITING",
            "false",
            "ENABLE_RATE_LIMITING",
            "must be true",
        ),
        ("MASTER_KEY", "Password123!", "MASTER_KEY", "choose another"),
        ("JWT_ISSUER", "", "JWT_ISSUER", "must be set"),
    ];
    for (name, value, place, advice) in table {
        let installation = in_earnest().with(&format!("AUTH_SERVICE__{name}"), value);
        let output = installation.run(&["serve"], "").unwrap();
        let said = everything_in(&output);
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {said}");
        let line = format!("AUTH_SERVICE__{place}: ");
        assert!(
            said.contains(&line) && said.contains(advice),
            "{name}={value}: {said}"
        );
        assert!(!said.contains("Password123!"), "{said}");
        assert!(!installation.database().exists(), "{name}={value}: it had begun");
    }
    scale::attempts(table.len());
}

#[test]
fn all_that_is_unsafe_is_said_at_once() {
    let installation = Installation::new()
        .with("ENVIRONMENT", "production")
        .with("AUTH_SERVICE__CORS_ALLOWED_ORIGINS", "*")
        .with("AUTH_SERVICE__JWT_ISSUER", "http://auth.example.com")
        .unlimited();
    let said = everything_in(&installation.run(&["serve"], "").unwrap());
    for name in [
        "TLS_CERT_PATH",
        "CORS_ALLOWED_ORIGINS",
        "JWT_ISSUER",
        "ENABLE_RATE_LIMITING",
    ] {
        assert!(
            said.contains(&format!("AUTH_SERVICE__{name}: ")),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_server_that_is_safe_starts_in_production_and_warns_of_the_rest() {
    let installation = in_earnest().with("AUTH_SERVICE__LOG_LEVEL", "debug");
    let server = installation.start();
    assert_eq!(server.http().get("/health").unwrap().status, 200);
    assert!(installation.printed().contains("AUTH_SERVICE__LOG_LEVEL"));
}

#[test]
fn in_production_no_secret_is_taken_over_plain_http() {
    let installation = in_earnest();
    let server = installation.start();
    for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
        let refused = server.http().post_form(path, &[], &[("token", "a")]).unwrap();
        assert_eq!(refused.status, 403, "{path}");
    }
    assert_eq!(server.http().get("/health").unwrap().status, 200);
}

/// Makes a pipe that nobody ever writes to.
fn pipe(folder: &Path) -> String {
    let path = folder.join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path.display().to_string()
}

/// Runs a command that must end by itself.
fn run_at_once(installation: Installation, arguments: &'static [&'static str]) -> Output {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let _ = done.send(installation.run(arguments, ""));
    });
    let output = ended.recv_timeout(AT_ONCE);
    output.unwrap_or_else(|_| panic!("it hangs")).unwrap()
}

#[test]
fn what_is_no_ordinary_file_is_refused_at_once_by_every_setting_that_names_one() {
    let mut tried = 0;
    for special in ["pipe", "/dev/zero", "/dev/random", "/"] {
        for name in [
            "MASTER_KEY_FILE",
            "CONFIG_FILE",
            "PRIVATE_KEY_PATH",
            "TLS_CERT_PATH",
            "TLS_KEY_PATH",
        ] {
            let mut installation = Installation::new();
            if name == "MASTER_KEY_FILE" {
                installation = installation.without("AUTH_SERVICE__MASTER_KEY");
            }
            let file = match special {
                "pipe" => pipe(installation.directory()),
                other => other.to_owned(),
            };
            // What goes with it is a file at least.
            let beside = match name {
                "PRIVATE_KEY_PATH" => Some("PUBLIC_KEY_PATH"),
                "TLS_CERT_PATH" => Some("TLS_KEY_PATH"),
                "TLS_KEY_PATH" => Some("TLS_CERT_PATH"),
                _ => None,
            };
            if let Some(beside) = beside {
                let ordinary = installation.directory().join("ordinary");
                fs::write(&ordinary, "").unwrap();
                let ordinary = ordinary.display().to_string();
                installation = installation.with(&format!("AUTH_SERVICE__{beside}"), &ordinary);
            }
            let installation = installation.with(&format!("AUTH_SERVICE__{name}"), &file);
            let output = run_at_once(installation, &["serve"]);
            let said = everything_in(&output);
            assert!(!output.status.success(), "{name}={special}: {said}");
            assert!(said.contains("no ordinary file"), "{name}={special}: {said}");
            tried += 1;
        }
    }
    scale::attempts(tried);
}

#[test]
fn what_the_server_makes_nobody_else_may_read() {
    let installation = Installation::new();
    let _server = installation.start();
    let mut seen = 0;
    let mut folders = vec![installation.keys()];
    folders.push(installation.directory().to_owned());
    for folder in folders {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // What the server printed was opened by this test.
            if path.is_file() && path.file_name().is_none_or(|name| name != "printed.log") {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                assert_eq!(mode, 0o600, "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "a key, the key ring, the database and its log");
}
