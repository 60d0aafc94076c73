//! What is under `deploy/`: judged by the tools that know its formats, checked for what they don't know, and run where
//! that takes neither an engine of containers nor a cluster.

mod compose;
mod image;
mod kubernetes;
mod names;
mod nginx;
mod package;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use auth_e2e::binary::workspace_root;
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use serde_json::Value;

use crate::support::{everything_in, tool};

/// Settings as a deployment gives them to the program: variables and their values.
type Environment = Vec<(String, String)>;

/// Something under `deploy/`.
fn deployed(name: &str) -> PathBuf {
    workspace_root().join("deploy").join(name)
}

/// The text of a file under `deploy/`.
fn text(name: &str) -> String {
    let path = deployed(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file under a folder.
fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A command of a tool, in the repository's root; `None` where this machine lacks the tool, which is told.
fn command_of(name: &str) -> Option<Command> {
    let Some(program) = tool(name) else {
        scale::left_out(&format!("{name}, which is missing: .ci/install test installs it"));
        return None;
    };
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    Some(command)
}

/// Runs a command, which must end well; what it printed.
#[track_caller]
fn carried_out(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = everything_in(&output);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The documents of YAML files.
fn yaml(files: &[PathBuf]) -> Option<Vec<Value>> {
    const READ: &str = "import json, sys, yaml
json.dump([document for name in sys.argv[1:] for document in yaml.safe_load_all(open(name))], sys.stdout)";
    // Only the interpreter of the tools has the library: it came with yamllint.
    tool("yamllint")?;
    let output = command_of("python3")?
        .args(["-c", READ])
        .args(files)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", everything_in(&output));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// What a pointer leads to in a JSON document, where it must be there.
#[track_caller]
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    let found = value.pointer(pointer);
    found.unwrap_or_else(|| panic!("{pointer} in {value:#}"))
}

/// What `config check` says about settings, where every file that they name lies in a folder.
fn checked(settings: &[(String, String)]) -> Output {
    let mut installation = Installation::new()
        .without("PORT")
        .without("AUTH_SERVICE__DB_URL")
        .without("AUTH_SERVICE__KEYS_DIR")
        .without("AUTH_SERVICE__MASTER_KEY");
    for (name, value) in settings {
        installation = installation.with(name, value);
    }
    installation.run(&["config", "check"], "").unwrap()
}

#[track_caller]
fn assert_accepted(settings: &[(String, String)]) {
    let output = checked(settings);
    let said = everything_in(&output);
    assert!(output.status.success(), "{settings:?}\n{said}");
}

/// The number that a setting has.
#[track_caller]
fn number(settings: &[(String, String)], name: &str) -> u64 {
    let found = settings.iter().find(|(setting, _)| setting == name);
    let (_, value) = found.unwrap_or_else(|| panic!("no {name}"));
    value.parse().unwrap()
}

#[test]
fn all_yaml_is_as_yamllint_wants_it() {
    if let Some(mut yamllint) = command_of("yamllint") {
        let rules = deployed(".yamllint.yaml");
        carried_out(
            yamllint
                .arg("--strict")
                .arg("--config-file")
                .arg(rules)
                .arg("deploy"),
        );
    }
}
