//! What the CodeLab Flutter application in the field relies on, as it calls the server.

use auth_e2e::client::{Client, FLUTTER, TOKEN, Tokens};
use auth_e2e::http::Answer;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};

use crate::support::assert_refused;

#[test]
fn every_answer_has_the_five_members_and_no_issued_at() {
    let installation = Installation::new();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let sign_in = client.sign_in("admin", ADMIN_PASSWORD);
    let refresh = client.refresh(&Tokens::of(&sign_in).refresh);
    for answer in [sign_in, refresh] {
        assert_is_as_the_application_reads_it(&answer);
    }
}

#[track_caller]
fn assert_is_as_the_application_reads_it(answer: &Answer) {
    let body = answer.json();
    let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "access_token",
            "expires_in",
            "refresh_token",
            "scope",
            "token_type"
        ]
    );
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["scope"], "api:read api:write");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
}

#[test]
fn a_user_signs_in_by_the_address_too() {
    let installation = Installation::new();
    let server = installation.start();
    let answer = Client::flutter(server.http()).sign_in("Admin@CodeLab.local", ADMIN_PASSWORD);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_wrong_password_is_told_by_401_and_a_challenge_that_no_browser_asks_for() {
    let installation = Installation::new();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let wrong_password = client.sign_in("admin", "Wrong-Horse-7-Battery");
    let unknown_user = client.sign_in("nobody", "Wrong-Horse-7-Battery");
    for answer in [&wrong_password, &unknown_user] {
        assert_refused(answer);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(!challenge.to_ascii_lowercase().contains("basic"), "{challenge}");
    }
    assert_eq!(wrong_password.body, unknown_user.body);
}

#[test]
fn too_many_sign_ins_are_told_by_429_and_refreshes_go_on() {
    let installation = Installation::new();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let refused: Vec<u16> = (0..10)
        .map(|_| client.sign_in("nobody", "Wrong-Horse-7").status)
        .collect();
    assert_eq!(refused, [401, 401, 401, 401, 429, 429, 429, 429, 429, 429]);
    let limited = client.sign_in("admin", ADMIN_PASSWORD);
    let told = (limited.status, limited.member("error"));
    assert_eq!(told, (429, Some("rate_limit_exceeded".to_owned())));
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    client.refreshed(&client.refreshed(&tokens));
}

#[test]
fn a_base_url_with_a_prefix_reaches_the_same_routes() {
    let installation = Installation::new().with("AUTH_SERVICE__BASE_PATH", "/auth");
    let server = installation.start();
    let http = server.http();
    let form = [
        ("grant_type", "password"),
        ("client_id", FLUTTER),
        ("username", "admin"),
        ("password", ADMIN_PASSWORD),
    ];
    for prefix in ["", "/auth"] {
        let answer = http.post_form(&format!("{prefix}{TOKEN}"), &[], &form).unwrap();
        assert_eq!(answer.status, 200, "{prefix}: {}", answer.text());
        assert_eq!(
            http.get(&format!("{prefix}/.well-known/jwks.json"))
                .unwrap()
                .status,
            200
        );
        assert_eq!(http.get(&format!("{prefix}/health")).unwrap().status, 200);
    }
}
