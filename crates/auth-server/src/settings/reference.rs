//! The settings reference for people, written from the table.

use std::fmt::Write as _;

use serde::Serialize;

use super::table::{Entry, Fallback, Group, Key};

const HEAD: &str = "# Settings

Written by `auth-service config reference` from the table in the code; a test compares the two.

A setting comes from, each over the one before: its default; a TOML file (`--config FILE` or
`AUTH_SERVICE__CONFIG_FILE`) with the name in lower case, such as `access_token_lifetime = 900`; the environment, such as
`AUTH_SERVICE__ACCESS_TOKEN_LIFETIME=900`; the flags `--host`, `--port` and `--set NAME=VALUE`. A variable with an empty
value counts as not set. A setting marked with `_FILE` can be read from a file instead:
`AUTH_SERVICE__MASTER_KEY_FILE=/run/secrets/master-key`, or `master_key_file = '/run/secrets/master-key'` in the TOML file.
Whichever holds a secret is its owner's, or a group's to read; one that others may read is warned of at each start.
A file has no sections, and a setting is given once on the command line. An unknown name or a wrong value stops the
start, and so does a variable with one underscore after `AUTH_SERVICE` that looks like a setting; all that is wrong is
told at once. `auth-service config check` shows what holds and where it came from.
";

/// The reference as Markdown.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for group in Group::ALL {
        let _ = write!(
            text,
            "\n## {}\n\n| name | takes | default | what it does |\n|---|---|---|---|\n",
            group.title()
        );
        for entry in Key::ALL
            .iter()
            .map(|key| key.entry())
            .filter(|entry| entry.group == *group)
        {
            let _ = writeln!(text, "{}", row(&entry));
        }
    }
    text
}

/// A setting of the reference, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    name: &'static str,
    group: &'static str,
    takes: &'static str,
    /// `None` where it has none.
    default: Option<&'static str>,
    /// What it comes to where there is no default and nobody sets it.
    unset: Option<&'static str>,
    about: &'static str,
    /// Whether the name with `_FILE` at its end may name a file that holds the value.
    file: bool,
}

/// The reference for programs, in the same order.
pub fn views() -> Vec<View> {
    Key::ALL.iter().map(|key| view(&key.entry())).collect()
}

fn view(entry: &Entry) -> View {
    let (default, unset) = match entry.default {
        Fallback::Value(value) => (Some(value), None),
        Fallback::Unset(meaning) => (None, Some(meaning)),
    };
    View {
        name: entry.name,
        group: entry.group.title(),
        takes: entry.takes,
        default,
        unset,
        about: entry.about,
        file: entry.secrecy.is_readable_from_file(),
    }
}

fn row(entry: &Entry) -> String {
    let file = if entry.secrecy.is_readable_from_file() {
        " (`_FILE`)"
    } else {
        ""
    };
    let default = match entry.default {
        Fallback::Value(value) => format!("`{value}`"),
        Fallback::Unset(meaning) => meaning.to_owned(),
    };
    format!(
        "| `{}`{file} | {} | {default} | {} |",
        entry.name, entry.takes, entry.about
    )
}
