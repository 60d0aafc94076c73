//! `token revoke`: what ends, what is asked before, and what the trail keeps.

use serde_json::Value;

use crate::desk::{Desk, PASSWORD, Ran};

/// An installation with its server stopped, after so many sign-ins of `admin`; and what each was answered.
fn after_sign_ins(count: usize) -> (Desk, Vec<Value>) {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    let server = desk.serve();
    let answers = (0..count).map(|_| server.sign_in("admin", PASSWORD).1).collect();
    server.stop();
    (desk, answers)
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer.get(name).and_then(Value::as_str).unwrap()
}

fn session_of(desk: &Desk, answer: &Value) -> String {
    let ran = desk.run_with(&["token", "inspect", "--json"], text(answer, "refresh_token"));
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    let session = said.pointer("/claims/sid").and_then(Value::as_str);
    session.unwrap().to_owned()
}

fn revoke_token(desk: &Desk, token: &str) -> Ran {
    let ran = desk.run_with(
        &["token", "revoke", "--token-stdin", "--json"],
        &format!("{token}\n"),
    );
    assert!(
        !ran.out.contains(token) && !ran.err.contains(token),
        "the token is printed"
    );
    ran
}

fn ended(desk: &Desk, arguments: &[&str]) -> Value {
    let said = desk.json(&[&["token", "revoke"], arguments].concat());
    said.get("sessions_ended").unwrap().clone()
}

/// How many rows of revocations there are.
fn audited(desk: &Desk) -> usize {
    let rows = desk.run(&["audit", "search", "--event", "token_revoke", "--json"]);
    let rows: Value = serde_json::from_str(&rows.succeeded().out).unwrap();
    rows.as_array().unwrap().len()
}

#[test]
fn a_session_ends_once_and_no_other_with_it() {
    let (desk, answers) = after_sign_ins(2);
    let session = session_of(&desk, &answers[0]);
    let said = desk
        .run(&["token", "revoke", "--session", &session])
        .succeeded()
        .out;
    assert_eq!(said, format!("1 session of id {session} has ended.\n"));
    assert_eq!(ended(&desk, &["--session", &session]), 0);
    assert_eq!(ended(&desk, &["--user", "admin", "--yes"]), 1, "the other one");
    assert_eq!(audited(&desk), 2, "what ended nothing leaves no row");
}

#[test]
fn the_sessions_of_a_user_end_everywhere_or_at_one_client() {
    let (desk, _) = after_sign_ins(3);
    let elsewhere = ["--user", "admin", "--client", "codelab-internal", "--yes"];
    assert_eq!(ended(&desk, &elsewhere), 0);
    let here = [
        "--user",
        "admin@codelab.local",
        "--client",
        "codelab-flutter-app",
        "--yes",
    ];
    assert_eq!(ended(&desk, &here), 3);
    let again = desk
        .run(&["token", "revoke", "--user", "admin", "--yes"])
        .succeeded();
    assert_eq!(again.out, "No session of user admin was left to end.\n");
}

#[test]
fn the_sessions_at_a_client_end() {
    let (desk, _) = after_sign_ins(2);
    let said = desk
        .run(&["token", "revoke", "--client", "codelab-flutter-app", "--yes"])
        .succeeded();
    assert_eq!(said.out, "2 sessions at client codelab-flutter-app have ended.\n");
}

#[test]
fn many_sessions_end_only_after_a_yes() {
    let (desk, _) = after_sign_ins(1);
    for whose in [["--user", "admin"], ["--client", "codelab-flutter-app"]] {
        desk.run(&[&["token", "revoke"][..], &whose].concat())
            .failed(2, "there is no terminal to ask on: End every session");
    }
    assert_eq!(ended(&desk, &["--user", "admin", "--yes"]), 1, "none had ended");
}

#[test]
fn a_refresh_token_ends_its_session_and_an_access_token_is_denied() {
    let (desk, answers) = after_sign_ins(1);
    let denied = revoke_token(&desk, text(&answers[0], "access_token")).succeeded();
    assert!(denied.out.contains("\"denied_until\": \"20"), "{}", denied.out);
    let revoked = revoke_token(&desk, text(&answers[0], "refresh_token")).succeeded();
    assert!(revoked.out.contains("\"sessions_ended\": 1"), "{}", revoked.out);
    assert_eq!(audited(&desk), 2);
}

#[test]
fn what_is_nobodys_is_refused_and_leaves_no_row() {
    let (desk, answers) = after_sign_ins(1);
    revoke_token(&desk, "a.b.c").failed(1, "this is no token of this server");
    let of_another_issuer = [
        "token",
        "revoke",
        "--token-stdin",
        "--set",
        "jwt_issuer=https://other.example",
    ];
    desk.run_with(&of_another_issuer, text(&answers[0], "refresh_token"))
        .failed(1, "this is no token of this server");
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (arguments, said) in [
        (&["--session", nobody][..], "there is no session"),
        (&["--user", "nobody", "--yes"], "there is no user nobody"),
        (&["--client", "nobody", "--yes"], "there is no client nobody"),
    ] {
        desk.run(&[&["token", "revoke"], arguments].concat())
            .failed(1, said);
    }
    assert_eq!(audited(&desk), 0);
}

#[test]
fn what_can_not_be_meant_is_a_wrong_command() {
    let desk = Desk::new().migrated();
    for arguments in [
        &["--session", "x"][..],
        &[
            "--session",
            "00000000-0000-7000-8000-000000000000",
            "--user",
            "admin",
        ],
        &["--client", "x"],
        &["--token-stdin", "--user", "admin"],
    ] {
        let ran = desk.run(&[&["token", "revoke"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn what_is_no_id_of_a_session_is_named_with_what_would_be() {
    let desk = Desk::new().migrated();
    let refused = desk
        .run(&["token", "revoke", "--session", "123"])
        .failed(2, "'123'");
    assert!(
        refused.err.contains("no session's id, such as 019a"),
        "{}",
        refused.err
    );
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let desk = Desk::new().migrated();
    let refused = desk
        .run(&["audit", "export", "--output", "nowhere/trail.csv"])
        .failed(1, "no file can be made in the folder nowhere: entity not found");
    assert!(!refused.err.contains(".tmp"), "{}", refused.err);
}

#[test]
fn without_a_terminal_a_token_is_not_asked_for() {
    let (desk, _) = after_sign_ins(0);
    desk.run(&["token", "revoke"])
        .failed(2, "there is no terminal to ask for the token");
}
