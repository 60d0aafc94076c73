//! Signing keys, and a look into what they sign.

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
    let leaked = desk.json(&["keys", "rotate", "--immediately"]);
    assert_eq!(leaked["state"], "active");
    let all = desk.json(&["keys", "list"]);
    assert_eq!(all.as_array().unwrap().len(), 3);
    let people = desk.run(&["keys", "list"]).succeeded().out;
    assert!(
        people.contains(next["kid"].as_str().unwrap()) && people.contains("published"),
        "{people}"
    );
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
    desk.run(&import)
        .failed(1, "there is a key `2024-01-key-1` already");
    let no_key = desk.write("no.pem", "no key");
    desk.run(&["keys", "import", no_key.to_str().unwrap()])
        .failed(1, "the key to import is not usable");
    desk.run(&["keys", "import", pem, "--kid", "../x"])
        .failed(2, "a kid has 1 to 64");
}
