//! sqlmap, the tool that injects SQL for a living, against every endpoint that takes a form.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use auth_e2e::client::Client;
use auth_e2e::installation::Installation;
use auth_e2e::scale;

use crate::database::Database;
use crate::support::{everything_in, tool};

/// The forms; each parameter marked by a star is tried.
const FORMS: &[(&str, &str)] = &[
    (
        "/oauth/token",
        "grant_type=refresh_token&client_id=codelab*&refresh_token=a.b.c*&scope=api*",
    ),
    (
        "/oauth/token",
        "grant_type=password&client_id=codelab-flutter-app&username=admin*&password=x",
    ),
    (
        "/oauth/revoke",
        "client_id=codelab*&token=a.b.c*&token_type_hint=refresh_token*",
    ),
    (
        "/oauth/introspect",
        "client_id=codelab*&client_secret=x*&token=a.b.c*&token_type_hint=access_token*",
    ),
];

#[test]
fn sqlmap_finds_nothing_to_inject_into() {
    let Some(program) = tool("sqlmap") else {
        scale::left_out("injection by sqlmap, which is missing: .ci/install test installs it");
        return;
    };
    let installation = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let server = installation.start();
    let tokens = Client::flutter(server.http()).admin_tokens();
    let forms = &FORMS[..scale::times(1, FORMS.len())];
    for (path, form) in forms {
        try_to_inject(&program, &installation, server.address(), path, form);
    }
    Client::flutter(server.http()).refreshed(&tokens);
    assert_eq!(Database::open(&installation.database()).faults(), ["ok"]);
    let metrics = server.http().get("/metrics").unwrap().text();
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("auth_token_requests_total"));
    let tried: usize = requests
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap())
        .sum();
    assert!(tried >= 50, "sqlmap did its work: {tried} requests");
    scale::attempts(tried);
}

fn try_to_inject(program: &PathBuf, installation: &Installation, server: SocketAddr, path: &str, form: &str) {
    let level = if scale::is_full() {
        "--level=3"
    } else {
        "--level=1"
    };
    let output = Command::new(program)
        .args([
            "--batch",
            "--disable-coloring",
            level,
            "--risk=3",
            "--technique=BEUSQ",
            "--dbms=sqlite",
        ])
        .args([
            "--ignore-code=*",
            "--flush-session",
            "--url",
            &format!("http://{server}{path}"),
            "--data",
            form,
        ])
        .arg("--output-dir")
        .arg(installation.directory().join("sqlmap"))
        .env("HOME", installation.directory())
        .output()
        .unwrap();
    let said = everything_in(&output);
    assert!(
        said.contains("all tested parameters do not appear to be injectable"),
        "{path} {form}: {said}"
    );
    assert!(!said.contains("is vulnerable"), "{path} {form}: {said}");
}
