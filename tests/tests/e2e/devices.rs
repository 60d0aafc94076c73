//! Known devices: an attack on a user name from elsewhere keeps its owner out of nothing, also once the server has been
//! started anew.

use std::os::unix::fs::PermissionsExt as _;

use auth_e2e::client::{FLUTTER, TOKEN};
use auth_e2e::http::{Answer, Http};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};

use crate::support::everything_in;

const HOME: &str = "198.51.100.7";

/// A sign-in of `admin` from an address, by way of a proxy that terminates TLS.
fn sign_in(http: &Http, from: &str, password: &str, cookie: Option<&str>) -> Answer {
    let mut headers = vec![("X-Forwarded-For", from), ("X-Forwarded-Proto", "https")];
    headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
    let form = [
        ("grant_type", "password"),
        ("client_id", FLUTTER),
        ("username", "admin"),
        ("password", password),
    ];
    http.post_form(TOKEN, &headers, &form).unwrap()
}

/// The cookie of an answer, as a client sends it back.
fn cookie_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-codelab-device="), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

/// Guesses from so many addresses that the account is locked.
fn attack(http: &Http) {
    for number in 0..6 {
        sign_in(
            http,
            &format!("203.0.113.{number}"),
            "Wrong-Horse-7-Battery",
            None,
        );
    }
    let without_cookie = sign_in(http, "203.0.113.99", ADMIN_PASSWORD, None);
    assert_eq!(without_cookie.status, 429, "the account is locked for strangers");
}

#[test]
fn an_attack_from_elsewhere_keeps_the_owner_out_of_nothing() {
    let installation = Installation::new().with("AUTH_SERVICE__TRUSTED_PROXIES", "127.0.0.1");
    let server = installation.start();
    let http = server.http();
    let mut cookie = cookie_of(&sign_in(&http, HOME, ADMIN_PASSWORD, None));
    attack(&http);
    for _ in 0..3 {
        cookie = cookie_of(&sign_in(&http, HOME, ADMIN_PASSWORD, Some(&cookie)));
    }
    drop(server);

    let server = installation.start();
    attack(&server.http());
    cookie_of(&sign_in(&server.http(), HOME, ADMIN_PASSWORD, Some(&cookie)));
}

#[test]
fn the_secret_of_the_notes_is_private_and_taken_for_no_key() {
    let installation = Installation::new();
    drop(installation.start());
    let secret = installation.keys().join("device.secret");
    let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let listed = installation.run(&["keys", "list"], "").unwrap();
    assert!(listed.status.success());
    assert!(
        !everything_in(&listed).contains("device"),
        "{}",
        everything_in(&listed)
    );

    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = installation.try_start().map(|_| ()).unwrap_err();
    let printed = installation.printed();
    assert!(
        printed.contains("others may read") && printed.contains("device.secret"),
        "{refused}: {printed}"
    );
}

#[test]
fn nobody_is_known_again_where_that_is_switched_off() {
    let installation = Installation::new()
        .with("AUTH_SERVICE__KNOWN_DEVICES", "false")
        .with("AUTH_SERVICE__TRUSTED_PROXIES", "127.0.0.1");
    let server = installation.start();
    let answer = sign_in(&server.http(), HOME, ADMIN_PASSWORD, None);
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("set-cookie"));
    assert!(!installation.keys().join("device.secret").exists());
}
