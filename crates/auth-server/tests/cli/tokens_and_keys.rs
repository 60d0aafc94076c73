//! Signing keys, and a look into what they sign.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::desk::{Desk, PASSWORD, Ran};

fn inspect(desk: &Desk, token: &str) -> (Ran, Value) {
    let ran = desk.run_with(&["token", "inspect", "--json"], &format!("{token}\n"));
    assert!(
        !ran.out.contains(token) && !ran.err.contains(token),
        "the token is printed"
    );
    let said = serde_json::from_str(&ran.out).unwrap_or_default();
    (ran, said)
}

#[test]
fn a_token_is_looked_into_and_judged_but_never_printed() {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    let server = desk.serve();
    let (_, answer) = server.sign_in("admin", PASSWORD);
    server.stop();
    let access = answer["access_token"].as_str().unwrap();
    let (ran, said) = inspect(&desk, access);
    assert_eq!(
        (ran.code, &said["good"], &said["kind"]),
        (0, &true.into(), &"access token".into())
    );
    assert_eq!(
        (&said["header"]["alg"], &said["claims"]["client_id"]),
        (&"RS256".into(), &"codelab-flutter-app".into())
    );
    let (ran, said) = inspect(&desk, answer["refresh_token"].as_str().unwrap());
    assert_eq!((ran.code, &said["kind"]), (0, &"refresh token".into()));

    for (token, said) in [
        (access, "(whether it was denied is not looked up)"),
        (
            answer["refresh_token"].as_str().unwrap(),
            "(whether it was used is not looked up)",
        ),
    ] {
        let ran = desk.run_with(&["token", "inspect"], token).succeeded();
        assert!(ran.out.contains(said), "{}", ran.out);
    }

    let (signed, _) = access.rsplit_once('.').unwrap();
    let (ran, said) = inspect(&desk, &format!("{signed}.AAAA"));
    assert_eq!((ran.code, &said["good"]), (1, &false.into()));
    assert_eq!(said["claims"]["type"], "access");

    let path = desk.write("token", access);
    let of_another_issuer = [
        "token",
        "inspect",
        "--file",
        path.to_str().unwrap(),
        "--set",
        "jwt_issuer=https://other.example",
    ];
    let ran = desk.run(&of_another_issuer);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .contains("not good (access token): issued by another server"),
        "{}",
        ran.out
    );
}

/// The tokens that the older service gave at a sign-in, and a desk with its key pair.
fn of_the_older_service() -> (Desk, Value) {
    let expected = include_str!("../../../../tests/fixtures/legacy/sqlite/expected.json");
    let expected: Value = serde_json::from_str(expected).unwrap();
    let private = include_str!("../../../../tests/fixtures/legacy/keys/private_key.pem");
    let public = include_str!("../../../../tests/fixtures/legacy/keys/public_key.pem");
    let desk = Desk::new();
    let (private, public) = (
        desk.write("private.pem", private),
        desk.write("public.pem", public),
    );
    std::fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
    let desk = desk
        .with("AUTH_SERVICE__PRIVATE_KEY_PATH", private.to_str().unwrap())
        .with("AUTH_SERVICE__PUBLIC_KEY_PATH", public.to_str().unwrap())
        .with("AUTH_SERVICE__KEY_ID", "2024-01-key-1");
    (desk, expected.pointer("/tokens/0").unwrap().clone())
}

#[test]
fn tokens_of_the_older_service_are_told_apart_by_what_they_say() {
    let (desk, tokens) = of_the_older_service();
    for (name, kind) in [
        ("access_token", "access token"),
        ("refresh_token", "refresh token"),
    ] {
        let (_, said) = inspect(&desk, tokens[name].as_str().unwrap());
        assert_eq!(said["kind"], kind);
        assert_eq!(said["header"]["typ"], "JWT");
    }
}

#[test]
fn a_refresh_token_of_the_older_service_that_was_not_taken_over_has_no_session_to_end() {
    let (desk, tokens) = of_the_older_service();
    desk.run(&["migrate", "up"]).succeeded();
    let token = tokens["refresh_token"].as_str().unwrap();
    desk.run_with(&["token", "revoke", "--token-stdin"], token)
        .failed(1, "this token of the older service belongs to no session here");
}

#[test]
fn what_is_no_token_is_refused() {
    let desk = Desk::new();
    desk.run_with(&["token", "inspect"], "x.y.z")
        .failed(1, "there are no keys in data/keys");
    assert!(desk.is_empty());
    desk.serve().stop();
    for text in [
        "",
        "x",
        "x.y",
        "x.y.z",
        "e30.e30",
        "e30.e30.e30.e30",
        "e30.e30.e30.e30.e30",
    ] {
        desk.run_with(&["token", "inspect"], text)
            .failed(1, "this is no token");
    }
}

#[test]
fn a_new_key_is_published_before_it_signs() {
    let desk = Desk::new();
    desk.run(&["keys", "list"])
        .failed(1, "there are no keys in data/keys");
    assert!(desk.is_empty());
    desk.serve().stop();
    let first = desk.json(&["keys", "list"]);
    assert_eq!(
        (first.as_array().unwrap().len(), &first[0]["state"]),
        (1, &"active".into())
    );
    let next = desk.json(&["keys", "rotate"]);
    assert_eq!(next["state"], "published");
    let refused = desk.run(&["keys", "rotate", "--immediately"]);
    let refused = refused.failed(2, "there is no terminal to ask on: Let a new key sign at once?");
    assert_eq!(desk.json(&["keys", "list"]).as_array().unwrap().len(), 2);
    let at_once = desk.json(&["keys", "rotate", "--immediately", "--yes"]);
    assert_eq!(at_once["state"], "active");
    // An hour of the caches, and ten minutes until everybody has noticed.
    let until = at_once["services_may_refuse_until"].as_str().unwrap();
    let told = format!("Until {} ", until.split('T').next().unwrap());
    assert!(refused.err.contains(told.trim_end()), "{}", refused.err);
    for said in ["refuses every access token issued from now on", "go on working"] {
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    let forced = desk
        .run(&["keys", "rotate", "--immediately", "--yes"])
        .succeeded();
    assert!(
        forced
            .out
            .contains("refuses every access token issued from now on"),
        "{}",
        forced.out
    );
    assert!(next.get("services_may_refuse_until").is_none());
    let all = desk.json(&["keys", "list"]);
    assert_eq!(all.as_array().unwrap().len(), 4);
    let people = desk.run(&["keys", "list"]).succeeded().out;
    assert!(
        people.contains(next["kid"].as_str().unwrap()) && people.contains("published"),
        "{people}"
    );
}

#[test]
fn a_leaked_key_is_withdrawn_once_another_signs() {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    let server = desk.serve();
    let (_, answer) = server.sign_in("admin", PASSWORD);
    server.stop();
    let leaked = desk.json(&["keys", "list"])[0]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = desk
        .run(&["keys", "revoke", &leaked, "--yes"])
        .failed(1, "is the one that signs");
    assert!(
        refused.err.contains("keys rotate --immediately"),
        "{}",
        refused.err
    );
    desk.json(&["keys", "rotate", "--immediately", "--yes"]);
    desk.run(&["keys", "revoke", &leaked])
        .failed(2, "Every token that it signed is refused then.");
    let access = answer["access_token"].as_str().unwrap();
    assert_eq!(inspect(&desk, access).0.code, 0, "nothing has changed yet");

    let said = desk.json(&["keys", "revoke", &leaked, "--yes"]);
    assert_eq!(
        (&said["kid"], &said["was"]),
        (&(&*leaked).into(), &"retiring".into())
    );
    let (ran, said) = inspect(&desk, access);
    assert_eq!(
        (ran.code, &said["fault"]),
        (1, &"signed by no published key".into())
    );
    assert!(!desk.path(&format!("data/keys/{leaked}.pem")).exists());
    assert_eq!(desk.json(&["keys", "list"]).as_array().unwrap().len(), 1);
    let row = &desk.json(&["audit", "search", "--event", "key_revoked"])[0];
    assert_eq!(
        (&row["event_data"]["kid"], &row["event_data"]["state"]),
        (&(&*leaked).into(), &"retiring".into())
    );
    desk.run(&["keys", "revoke", &leaked, "--yes"])
        .failed(1, "there is no key ");
}

#[test]
fn a_given_pair_is_not_withdrawn() {
    let desk = Desk::new()
        .with("AUTH_SERVICE__PRIVATE_KEY_PATH", "private.pem")
        .with("AUTH_SERVICE__PUBLIC_KEY_PATH", "public.pem");
    desk.run(&["keys", "revoke", "any", "--yes"])
        .failed(1, "the signing key is a given pair");
}

#[test]
fn a_question_makes_no_keys_in_an_empty_directory() {
    let desk = Desk::new();
    let keys = desk.path("data/keys");
    std::fs::create_dir_all(&keys).unwrap();
    for question in [["keys", "list"], ["keys", "sweep"], ["token", "inspect"]] {
        desk.run_with(&question, "x.y.z")
            .failed(1, "there are no keys in data/keys");
        assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 0, "{question:?}");
    }
}

#[test]
fn the_older_services_key_is_the_first_of_a_new_directory_and_signs_at_once() {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    let pem = include_str!("../../../../tests/fixtures/legacy/keys/private_key.pem");
    let pem = desk.write("older.pem", pem);
    let import = ["keys", "import", pem.to_str().unwrap(), "--kid", "2024-01-key-1"];
    desk.run(&["migrate", "up"]).succeeded();
    assert_eq!(desk.json(&import)["state"], "active");
    let server = desk.serve();
    let (_, answer) = server.sign_in("admin", PASSWORD);
    server.stop();
    let (_, said) = inspect(&desk, answer["access_token"].as_str().unwrap());
    assert_eq!(said["header"]["kid"], "2024-01-key-1");
    assert_eq!(desk.json(&["keys", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_key_made_elsewhere_is_taken_in_under_its_name() {
    let (elsewhere, desk) = (Desk::new(), Desk::new());
    elsewhere.serve().stop();
    desk.serve().stop();
    let kid = elsewhere.json(&["keys", "list"])[0]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let pem = elsewhere.path(&format!("data/keys/{kid}.pem"));
    let pem = pem.to_str().unwrap();
    let import = [
        "keys",
        "import",
        pem,
        "--kid",
        "2024-01-key-1",
        "--verify-for",
        "2592000",
    ];
    let taken_in = desk.json(&import);
    assert_eq!(
        (&taken_in["kid"], &taken_in["state"]),
        (&"2024-01-key-1".into(), &"retiring".into())
    );
    assert_eq!(desk.json(&import)["state"], "retiring", "for longer, if at all");
    assert_eq!(desk.json(&["keys", "list"]).as_array().unwrap().len(), 2);
    desk.run(&["keys", "import", pem, "--kid", "2024-01-key-1"])
        .failed(1, "there is a key `2024-01-key-1` already");
    let no_key = desk.write("no.pem", "no key");
    desk.run(&["keys", "import", no_key.to_str().unwrap()])
        .failed(1, "the key to import is not usable");
    desk.run(&["keys", "import", pem, "--kid", "../x"])
        .failed(2, "a kid has 1 to 64");
}
