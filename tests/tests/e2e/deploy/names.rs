//! The names of settings: whatever is written under `deploy/` is one.

use std::collections::BTreeSet;

use auth_e2e::installation::Installation;

use super::{deployed, files_under};

const PREFIX: &str = "AUTH_SERVICE__";
/// Names the file of settings; so it is none that could stand in it.
const FILE_OF_SETTINGS: &str = "CONFIG_FILE";

/// The settings of the program, and with `_FILE` those that a file may hold.
fn known() -> BTreeSet<String> {
    let reference = Installation::new().run(&["config", "reference"], "").unwrap();
    let reference = String::from_utf8(reference.stdout).unwrap();
    let mut names = BTreeSet::from([FILE_OF_SETTINGS.to_owned()]);
    for row in reference.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once('`').unwrap();
        names.insert(name.to_owned());
        if rest.starts_with(" (`_FILE`)") {
            names.insert(format!("{name}_FILE"));
        }
    }
    names
}

/// The names that follow the prefix somewhere in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split(PREFIX).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_' && !c.is_ascii_digit());
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn every_setting_that_is_named_is_one() {
    let known = known();
    assert!(
        known.contains("JWT_ISSUER") && known.contains("DB_URL_FILE"),
        "{known:?}"
    );
    let mut count = 0;
    for file in files_under(&deployed("")) {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for name in named(&text) {
            assert!(
                known.contains(name),
                "{}: {PREFIX}{name} is no setting",
                file.display()
            );
            count += 1;
        }
    }
    assert!(count > 30, "only {count} were found");
}
