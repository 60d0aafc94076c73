//! Users and clients, from creation to deletion, and the schema below them.

use auth_testkit::server::Database;

use crate::desk::{Desk, PASSWORD, bytes_of, holds};

#[test]
fn a_user_is_created_listed_changed_and_deleted() {
    let desk = Desk::new().migrated();
    let create = [
        "user",
        "create",
        "anna",
        "--email",
        "Anna@example.org",
        "--password-stdin",
    ];
    let created = desk.run_with(&create, &format!("{PASSWORD}\n")).succeeded();
    assert!(created.out.contains("User anna created"), "{}", created.out);
    desk.run_with(&create, PASSWORD)
        .failed(1, "there is a user named anna already");

    let shown = desk.json(&["user", "show", "anna@EXAMPLE.org"]);
    assert_eq!(
        (shown["username"].as_str(), shown["status"].as_str()),
        (Some("anna"), Some("active"))
    );
    let id = shown["id"].as_str().unwrap();
    desk.run(&["user", "deactivate", id]).failed(
        2,
        "there is no terminal to ask on: Keep user anna from signing in",
    );
    let deactivated = desk.run(&["user", "deactivate", id, "--yes"]).succeeded().out;
    assert!(
        deactivated.contains("every session of the user has ended"),
        "{deactivated}"
    );
    assert_eq!(desk.json(&["user", "list"])[0]["status"], "inactive");
    desk.run(&["user", "activate", "anna"]).succeeded();
    let file = desk.write("new-password", "Another-Horse-8-Battery\n");
    let before = bytes_of(&desk.path("data/auth.db"));
    desk.run(&[
        "user",
        "set-password",
        "anna",
        "--password-file",
        file.to_str().unwrap(),
    ])
    .succeeded();
    assert_ne!(before, bytes_of(&desk.path("data/auth.db")));
    desk.run(&["user", "delete", "anna", "--yes"]).succeeded();
    desk.run(&["user", "show", "anna"])
        .failed(1, "there is no user anna");

    let database = bytes_of(&desk.path("data/auth.db"));
    for written in [
        "user_created",
        "user_blocked",
        "user_unblocked",
        "password_change",
        "user_deleted",
        "(command line)",
    ] {
        assert!(holds(&database, written), "{written} is not in the audit trail");
    }
    assert!(!holds(&database, PASSWORD));
}

#[test]
fn a_password_that_breaks_the_policy_is_refused_and_not_repeated() {
    let desk = Desk::new().migrated();
    let create = [
        "user",
        "create",
        "anna",
        "--email",
        "a@example.org",
        "--password-stdin",
    ];
    let refused = desk
        .run_with(&create, "alllowercase1!")
        .failed(1, "a password has an upper-case letter");
    assert!(!refused.err.contains("alllowercase"));
    for empty in ["", "\n"] {
        let refused = desk.run_with(&create, empty).failed(1, "the password is empty");
        assert!(!refused.err.contains("at least 8"), "{}", refused.err);
    }
    desk.run_with(&create, &format!("{PASSWORD}\nsecond\n"))
        .failed(1, "a password is one line");
    desk.run_with(&create, "anna").failed(
        1,
        "this can't be the password: a password has at least 8 characters; a password has an upper-case letter; \
         a password has a digit; a password has a character that is neither a letter nor a digit; \
         a password is not the user name or the e-mail address",
    );
    desk.run(&[
        "user",
        "create",
        "a@b",
        "--email",
        "a@example.org",
        "--password-stdin",
    ])
    .failed(2, "a user name has");
    desk.run(&["user", "create", "anna", "--email", "nobody", "--password-stdin"])
        .failed(2, "an e-mail address has");
    assert_eq!(desk.json(&["user", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_password_that_guessers_try_first_is_refused() {
    let desk = Desk::new().migrated();
    let create = [
        "user",
        "create",
        "anna",
        "--email",
        "anna@example.org",
        "--password-stdin",
    ];
    for password in ["P@ssw0rd1!", "Sunshine2024!", "CodeLab-2026"] {
        desk.run_with(&create, password).failed(
            1,
            "this can't be the password: a password is none that many people use",
        );
    }
    desk.run_with(&create, "Anna@2026")
        .failed(1, "a password is not the user name");
    desk.run_with(&create, PASSWORD).succeeded();
}

#[test]
fn the_policy_after_nist_asks_for_length_and_nothing_else() {
    let desk = Desk::new()
        .with("AUTH_SERVICE__PASSWORD_POLICY", "nist")
        .migrated();
    let create = [
        "user",
        "create",
        "anna",
        "--email",
        "anna@example.org",
        "--password-stdin",
    ];
    desk.run_with(&create, "Horse-7-Bat")
        .failed(1, "a password has at least 15 characters");
    desk.run_with(&create, "passwordpassword").failed(
        1,
        "this can't be the password: a password is none that many people use",
    );
    desk.run_with(&create, "plum tango oven").succeeded();
}

#[test]
fn a_password_is_never_an_argument_and_never_waited_for_without_a_terminal() {
    let desk = Desk::new().migrated();
    let create = ["user", "create", "anna", "--email", "a@example.org"];
    desk.run(&create).failed(2, "--password-stdin");
    desk.run(&[&create as &[&str], &["--password", PASSWORD]].concat())
        .failed(2, "unexpected argument '--password'");
}

#[test]
fn a_client_is_created_listed_changed_and_deleted() {
    let desk = Desk::new().migrated();
    let create = [
        "client",
        "create",
        "my-app",
        "--name",
        "My App",
        "--grant",
        "password",
        "--grant",
        "refresh_token",
        "--scope",
        "b a",
        "--confidential",
    ];
    let created = desk.json(&create);
    let secret = created["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(
        (secret.len(), &created["scope"], &created["access_token_lifetime"]),
        (64, &"a b".into(), &900.into())
    );
    desk.run(&create).failed(1, "there is a client my-app already");

    let update = [
        "client",
        "update",
        "my-app",
        "--refresh-retry-window",
        "10",
        "--chain-lifetime",
        "86400",
        "--wire-profile",
        "codelab-flutter",
        "--access-token-type",
        "JWT",
        "--session-id-in-access-token",
        "true",
    ];
    desk.run(&update).succeeded();
    let shown = desk.json(&["client", "show", "my-app"]);
    assert_eq!(
        (&shown["refresh_retry_window"], &shown["chain_lifetime"]),
        (&10.into(), &86_400.into())
    );
    assert_eq!(
        (&shown["wire_profile"], &shown["access_token_type"]),
        (&"codelab-flutter".into(), &"JWT".into())
    );
    assert_eq!(
        (&shown["name"], &shown["grants"][1]),
        (&"My App".into(), &"refresh_token".into())
    );

    let rotated = desk.json(&["client", "rotate-secret", "my-app"]);
    let fresh = rotated["client_secret"].as_str().unwrap().to_owned();
    assert_ne!(fresh, secret);
    desk.run(&["client", "disable", "my-app"])
        .failed(2, "there is no terminal to ask on: Switch client my-app off");
    assert_eq!(desk.json(&["client", "list"])[0]["status"], "active");
    desk.run(&["client", "disable", "my-app", "--yes"]).succeeded();
    assert_eq!(desk.json(&["client", "list"])[0]["status"], "disabled");
    desk.run(&["client", "enable", "my-app"]).succeeded();
    for seen in [
        desk.run(&["client", "list"]).out,
        desk.run(&["client", "show", "my-app"]).out,
    ] {
        assert!(!seen.contains(&secret) && !seen.contains(&fresh), "{seen}");
    }
    desk.run(&["client", "delete", "my-app", "--yes"]).succeeded();
    desk.run(&["client", "show", "my-app"])
        .failed(1, "there is no client my-app");
    assert!(!holds(&bytes_of(&desk.path("data/auth.db")), &secret));
}

#[test]
fn a_public_client_has_no_secret() {
    let desk = Desk::new().migrated();
    let create = [
        "client",
        "create",
        "spa",
        "--name",
        "Page",
        "--grant",
        "refresh_token",
        "--scope",
        "a",
    ];
    assert_eq!(desk.json(&create).get("client_secret"), None);
    desk.run(&["client", "rotate-secret", "spa"])
        .failed(1, "client spa is public: it has no secret");
}

#[test]
fn a_client_that_could_never_get_a_token_is_refused() {
    let desk = Desk::new().migrated();
    let create = ["client", "create", "app", "--name", "App"];
    let with = |more: &[&'static str]| desk.run(&[&create, more].concat());
    with(&["--scope", "a"]).failed(2, "--grant <GRANT>");
    with(&["--grant", "password"]).failed(2, "--scope <SCOPE>");
    with(&["--grant", "password", "--scope", ""]).failed(2, "a client needs a scope");
    with(&["--grant", "implicit", "--scope", "a"]).failed(2, "must be one of: password, refresh_token");
    with(&["--grant", "password", "--scope", "a  b"]).failed(2, "separated by single spaces");
    desk.run(&["client", "create", "no", "--name", "N"])
        .failed(2, "3 to 255");
}

#[test]
fn the_schema_is_applied_listed_and_taken_back() {
    let desk = Desk::new();
    let applied = |desk: &Desk| -> Vec<bool> {
        let status = desk.json(&["migrate", "status"]);
        let all = status.as_array().unwrap().iter();
        all.map(|migration| migration["applied"].as_bool().unwrap())
            .collect()
    };
    let count = applied(&desk).len();
    assert_eq!(applied(&desk), vec![false; count]);
    assert!(desk.is_empty());
    let up = desk.json(&["migrate", "up"]);
    assert_eq!(up["applied"].as_array().unwrap().len(), count);
    assert_eq!(applied(&desk), vec![true; count]);
    assert!(
        desk.run(&["migrate", "up"])
            .succeeded()
            .out
            .contains("Nothing was pending.")
    );
    assert!(desk.json(&["migrate", "down", "--yes"])["taken_back"].is_string());
    let mut all_but_the_last = vec![true; count];
    all_but_the_last[count - 1] = false;
    assert_eq!(applied(&desk), all_but_the_last);
    desk.run(&["user", "list"]).failed(
        1,
        "the database sqlite:///data/auth.db is of an older version of this program: it lacks 0004_leases\n\
         Bring it up to date by `auth-service migrate up`.",
    );
    while desk.json(&["migrate", "down", "--yes"])["taken_back"].is_string() {}
    let empty = "the database sqlite:///data/auth.db has no tables of this program\n\
                 AUTH_SERVICE__DB_URL says which database it is.";
    desk.run(&["user", "list"]).failed(1, empty);
    let kept_back = desk.with("AUTH_SERVICE__AUTO_MIGRATE", "false");
    kept_back.run(&["serve", "--port", "0"]).failed(1, empty);
}

#[test]
fn the_status_shows_what_a_later_version_has_applied() {
    let database = Database::new();
    let desk = Desk::new()
        .with("AUTH_SERVICE__DB_URL", &database.url())
        .migrated();
    let before = desk.json(&["migrate", "status"]).as_array().unwrap().len();
    let later = "INSERT INTO __diesel_schema_migrations (version) VALUES ('0099')";
    database.tell(later).unwrap();
    let shown = desk.run(&["migrate", "status"]).succeeded().out;
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("0099 ") && line.ends_with("of a later version of this program")),
        "{shown}"
    );
    let status = desk.json(&["migrate", "status"]);
    assert_eq!(
        status[before],
        serde_json::json!({ "name": "0099", "applied": true, "known": false })
    );
}

#[test]
fn without_a_database_a_command_says_so_and_makes_none() {
    let desk = Desk::new();
    for command in [["user", "list"], ["client", "list"], ["keys", "rotate"]] {
        desk.run(&command)
            .failed(1, "there is no database at data/auth.db");
    }
    assert!(desk.is_empty());
}

#[test]
fn nothing_is_destroyed_without_a_yes() {
    let desk = Desk::new().with("AUTH_SERVICE__MASTER_KEY", PASSWORD);
    desk.serve().stop();
    let people = |desk: &Desk| desk.json(&["user", "list"]).as_array().unwrap().len();
    for (command, said) in [
        (
            &["user", "delete", "admin"] as &[&str],
            "Delete user admin for good?",
        ),
        (
            &["client", "delete", "codelab-flutter-app"],
            "Delete client codelab-flutter-app for good?",
        ),
        (
            &["migrate", "down"],
            "all users, clients, sessions and audit rows",
        ),
    ] {
        for input in ["", "y\n"] {
            let refused = desk.run_with(command, input).failed(2, said);
            assert!(refused.err.contains("Say --yes"), "{}", refused.err);
        }
    }
    assert_eq!(people(&desk), 1);
    assert_eq!(desk.json(&["client", "list"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_failure_is_told_to_programs_as_they_asked() {
    let desk = Desk::new();
    let missing = desk.json_failure(1, &["user", "list"]);
    assert_eq!(missing["error"], "there is no database at data/auth.db");
    assert!(missing["advice"].as_str().unwrap().contains("migrate up"));
    assert_eq!(missing.get("problems"), None);
    let unreadable = desk.json_failure(2, &["user", "lsit"]);
    assert_eq!(unreadable["error"], "unrecognized subcommand 'lsit'");
    assert!(unreadable["advice"].as_str().unwrap().contains("list"));
    let help = desk.run(&["user", "--help", "--json"]).succeeded();
    assert!(help.out.contains("Global options:"), "{}", help.out);
}

#[test]
fn the_help_of_what_moves_databases_names_its_exit_codes_and_its_page() {
    let desk = Desk::new();
    let help = |command: &[&str]| {
        let printed = desk.run(&[command, &["--help"]].concat()).succeeded().out;
        printed.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for command in [
        &["transfer"] as &[&str],
        &["import-legacy"],
        &["export-legacy"],
        &["migrate", "up"],
        &["migrate", "down"],
        &["migrate", "status"],
    ] {
        assert!(help(command).contains("Exit codes: 0 "), "{command:?}");
    }
    for (command, page) in [
        ("transfer", "docs/TRANSFER.md"),
        ("import-legacy", "docs/TAKEOVER.md"),
        ("export-legacy", "docs/TAKEOVER.md"),
        ("migrate", "docs/SCALING.md"),
    ] {
        assert!(help(&[command]).contains(page), "{command}");
    }
    let transfer = help(&["transfer"]);
    assert!(
        transfer.contains("postgresql://user@host/database") && transfer.contains("PGPASSWORD"),
        "{transfer}"
    );
}

#[test]
fn the_help_says_what_is_needed_and_what_holds_otherwise() {
    let desk = Desk::new();
    let create = desk.run(&["client", "create", "--help"]).succeeded().out;
    let create = create.split_whitespace().collect::<Vec<_>>().join(" ");
    let (usage, options) = create.split_once("Options:").unwrap();
    assert!(
        usage.contains("--name <NAME> --grant <GRANT> --scope <SCOPE> <ID>"),
        "{usage}"
    );
    assert!(
        options.contains("as ACCESS_TOKEN_LIFETIME says, 900")
            && options.contains("as REFRESH_TOKEN_LIFETIME says, 2592000"),
        "{options}"
    );
    let update = desk.run(&["client", "update", "--help"]).succeeded().out;
    assert!(update.contains("update [OPTIONS] <ID>"), "{update}");
    for command in [["user", "create"], ["user", "set-password"]] {
        let help = desk.run(&[&command as &[&str], &["--help"]].concat()).succeeded();
        assert!(help.out.contains("at least 8 characters"), "{}", help.out);
    }
}
