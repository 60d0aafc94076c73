//! The settings reference for people, written from the table.

use std::fmt::Write as _;

use super::table::{Entry, Fallback, Group, Key, Support};

const HEAD: &str = "# Settings

Written by `auth-service config reference` from the table in the code; a test compares the two.

A setting comes from, each over the one before: its default; a TOML file (`--config FILE` or
`AUTH_SERVICE__CONFIG_FILE`) with the name in lower case, such as `access_token_lifetime = 900`; the environment, such as
`AUTH_SERVICE__ACCESS_TOKEN_LIFETIME=900`; the flags `--host`, `--port` and `--set NAME=VALUE`. A variable with an empty
value counts as not set. A setting marked with `_FILE` can be read from a file instead: `AUTH_SERVICE__MASTER_KEY_FILE=/run/secrets/master-key`.
An unknown name or a wrong value stops the start. `auth-service config check` shows what holds and where it came from.
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
    let support = match entry.support {
        Support::Ready | Support::Unused(_) => "",
        Support::Refused => " **Not available in this version: setting it stops the start.**",
    };
    format!(
        "| `{}`{file} | {} | {default} | {}{support} |",
        entry.name, entry.takes, entry.about
    )
}
