//! What makes the command line pleasant: a first page, completion, the manual, progress and colours.

use std::fs;
use std::process::{Command, Stdio};

use crate::desk::{Desk, PASSWORD};

#[test]
fn without_a_command_the_page_says_what_comes_next_and_makes_nothing() {
    let desk = Desk::new().with("AUTH_SERVICE__PORT", "1");
    let ran = desk.run(&[]).failed(2, "There is no database here yet");
    assert!(
        ran.err.contains("auth-service serve") && ran.out.is_empty(),
        "{}",
        ran.err
    );
    assert!(desk.is_empty());
    let desk = desk.migrated();
    desk.run(&[]).failed(2, "No server runs here");
    desk.run(&["--set", "log_level=loud"])
        .failed(2, "auth-service config check");
    let failure = desk.json_failure(2, &[]);
    assert_eq!(failure["error"], "no command was given");
}

#[test]
fn beside_a_running_server_the_page_names_the_doctor_and_a_first_token() {
    let desk = Desk::new();
    let server = desk.serve();
    let port = server.base.rsplit(':').next().unwrap();
    let ran = desk
        .run(&["--set", &format!("port={port}")])
        .failed(2, "auth-service doctor");
    assert!(
        ran.err.contains(&format!("{}/oauth/token", server.base)),
        "{}",
        ran.err
    );
}

/// What bash completes a line to that ends in the given words.
fn completed(script: &str, words: &[&str]) -> Vec<String> {
    let line = words.join(" ");
    let last = words.len() - 1;
    let program = format!(
        "{script}\nCOMP_WORDS=({line}); [ -n \"${{COMP_WORDS[{last}]}}\" ] || COMP_WORDS+=('')\n\
         COMP_CWORD={last}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}\n\
         completer=$(complete -p auth-service | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n\
         \"$completer\" auth-service \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let ran = Command::new("bash")
        .args(["-c", &program])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    String::from_utf8(ran.stdout)
        .unwrap()
        .lines()
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn bash_completes_commands_their_commands_and_their_options() {
    let script = Desk::new().run(&["completions", "bash"]).succeeded().out;
    assert_eq!(completed(&script, &["auth-service", "doc"]), ["doctor"]);
    assert_eq!(
        completed(&script, &["auth-service", "client", "rotate"]),
        ["rotate-secret"]
    );
    let options = completed(&script, &["auth-service", "doctor", "--u"]);
    assert_eq!(options, ["--url"]);
    assert_eq!(
        completed(&script, &["auth-service", "completions", "po"]),
        ["powershell"]
    );
}

#[test]
fn every_shell_gets_a_script_and_no_other_word_is_a_shell() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = desk.run(&["completions", shell]).succeeded().out;
        assert!(script.contains("rotate-secret"), "{shell}");
        assert_eq!(desk.json(&["completions", shell])["script"], script.as_str());
    }
    desk.run(&["completions", "cmd"]).failed(2, "powershell");
}

/// What groff warns of in a page; nothing where it is not installed.
fn warnings(page: &str) -> String {
    let formatted = Command::new("groff")
        .args(["-man", "-ww", "-z", "-Tutf8", page])
        .output();
    match formatted {
        Ok(formatted) => {
            assert!(formatted.status.success(), "{page}");
            String::from_utf8_lossy(&formatted.stderr).into_owned()
        }
        Err(_) => String::new(),
    }
}

#[test]
fn the_manual_has_a_page_for_each_command_and_is_set_without_a_warning() {
    let desk = Desk::new();
    let written = desk.json(&["man", "--to", "man1"]);
    let files = written["files"].as_array().unwrap();
    let on_disk = fs::read_dir(desk.path("man1")).unwrap().count();
    assert_eq!(files.len(), on_disk);
    for name in [
        "auth-service.1",
        "auth-service-keys-rotate.1",
        "auth-service-audit-export.1",
    ] {
        assert!(desk.path("man1").join(name).is_file(), "{name}");
    }
    let pages: Vec<_> = files
        .iter()
        .map(|file| desk.path(file.as_str().unwrap()).display().to_string())
        .collect();
    for page in pages {
        assert_eq!(warnings(&page), "", "{page}");
    }
}

#[test]
fn the_main_page_goes_to_standard_output() {
    let page = Desk::new().run(&["man"]).succeeded().out;
    for part in [
        ".SH \"EXIT STATUS\"",
        ".SH FILES",
        ".SH ENVIRONMENT",
        "AUTH_SERVICE__JWT_ISSUER",
        "auth\\-service\\-doctor(1)",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// Runs a command on a terminal of its own; gives what the terminal was sent.
fn on_a_terminal(desk: &Desk, environment: &[(&str, &str)], command: &str) -> String {
    let line = format!("{} {command}", env!("CARGO_BIN_EXE_auth-service"));
    let ran = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(desk.path(""))
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn progress_shows_on_a_terminal_and_neither_in_a_pipe_nor_beside_json() {
    let desk = Desk::new().migrated();
    fs::create_dir(desk.path("out")).unwrap();
    desk.run(&[
        "user",
        "create",
        "maya",
        "--email",
        "maya@example.org",
        "--password-stdin",
    ]);
    let seen = on_a_terminal(&desk, &[], "backup --to out/one.db");
    assert!(seen.contains("copying ") && seen.contains(" %"), "{seen:?}");
    assert!(seen.contains("Copied from"), "{seen:?}");
    let seen = on_a_terminal(&desk, &[], "--json backup --to out/two.db");
    assert!(
        !seen.contains("copying ") && seen.contains("\"contents\""),
        "{seen:?}"
    );
    let ran = desk.run(&["backup", "--to", "out/three.db"]).succeeded();
    assert_eq!(ran.err, "");
    let seen = on_a_terminal(&desk, &[], "restore --from out/three.db --yes");
    assert!(seen.contains("checking the backup"), "{seen:?}");
    let ran = desk
        .run(&[
            "restore",
            "--from",
            "out/three.db",
            "--yes",
            "--set",
            "db_url=sqlite:///out/five.db",
        ])
        .succeeded();
    assert_eq!(ran.err, "");
    let seen = on_a_terminal(&desk, &[], "transfer --to sqlite:///out/four.db");
    assert!(seen.contains("rows") && seen.contains('\r'), "{seen:?}");
}

#[test]
fn an_export_to_the_terminal_is_not_drawn_over() {
    let desk = Desk::new().migrated();
    let input = format!("{PASSWORD}\n");
    let create = [
        "user",
        "create",
        "maya",
        "--email",
        "maya@example.org",
        "--password-stdin",
    ];
    desk.run_with(&create, &input).succeeded();
    let seen = on_a_terminal(&desk, &[], "audit export");
    assert!(
        seen.contains("user_created") && !seen.contains("events, up to"),
        "{seen:?}"
    );
    let seen = on_a_terminal(&desk, &[], "audit export --output trail.jsonl");
    assert!(seen.contains("events, up to"), "{seen:?}");
}

#[test]
fn colours_are_for_terminals_unless_somebody_says_otherwise() {
    const RED: &str = "\u{1b}[31m";
    let desk = Desk::new();
    let wrong = "--set log_level=loud config check";
    let seen = on_a_terminal(&desk, &[], wrong);
    assert!(seen.contains('\u{1b}') && seen.contains("31m"), "{seen:?}");
    let seen = on_a_terminal(&desk, &[("NO_COLOR", "1")], wrong);
    assert!(!seen.contains('\u{1b}'), "{seen:?}");
    let piped = desk.run(&["--set", "log_level=loud", "config", "check"]);
    assert!(
        !piped.err.contains(RED) && !piped.err.contains('\u{1b}'),
        "{}",
        piped.err
    );
    let forced = Desk::new().with("CLICOLOR_FORCE", "1").run(&["keys", "list"]);
    assert!(forced.err.contains('\u{1b}'), "{}", forced.err);
    let help = on_a_terminal(&desk, &[("NO_COLOR", "1")], "--help");
    assert!(help.contains("doctor") && !help.contains('\u{1b}'), "{help:?}");
}

#[test]
fn a_check_of_the_migrations_ends_with_one_where_some_are_pending() {
    let desk = Desk::new();
    desk.run(&["migrate", "status"]).succeeded();
    let ran = desk.run(&["migrate", "status", "--check"]);
    assert!(ran.code == 1 && ran.out.contains("pending"), "{}", ran.out);
    let desk = desk.migrated();
    desk.run(&["migrate", "status", "--check"]).succeeded();
}

#[test]
fn the_way_back_is_tried_without_writing_anything() {
    let desk = Desk::new().migrated();
    let to = ["export-legacy", "--to", "sqlite:///back.db"];
    let dry = [&to[..], &["--dry-run"]].concat();
    desk.run(&dry).failed(1, "with --dry-run none is made");
    assert!(!desk.path("back.db").exists());
    desk.run(&to).succeeded();
    let create = [
        "client",
        "create",
        "backend",
        "--name",
        "Backend",
        "--confidential",
    ];
    let terms = ["--grant", "password", "--scope", "api:read"];
    desk.run(&[&create[..], &terms[..]].concat()).succeeded();
    let before = fs::read(desk.path("back.db")).unwrap();
    let told = desk.json(&dry);
    assert_eq!(
        (&told["clients"], &told["dry_run"]),
        (&1.into(), &true.into()),
        "{told:#}"
    );
    assert_eq!(told["secrets"][0]["client_id"], "backend");
    assert!(
        told["secrets"][0].get("client_secret").is_none(),
        "it would not hold"
    );
    let told = desk.run(&dry).succeeded().out;
    assert!(
        told.contains("Would be written") && told.ends_with("Nothing was written.\n"),
        "{told}"
    );
    assert_eq!(fs::read(desk.path("back.db")).unwrap(), before);
    assert!(desk.json(&to)["secrets"][0]["client_secret"].is_string());
    assert_ne!(fs::read(desk.path("back.db")).unwrap(), before);
}
