//! `man`: the manual, a page for the program and one for each of its commands, made of what `--help` says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use super::failure::Failure;
use super::output::Report;
use crate::settings::{Fallback, Key};

/// What the help says about reading it.
pub(super) const READ: &str = "Read the main page at once by `auth-service man | man -l -`. With --to the folder is one that man searches, such as \
    /usr/local/share/man/man1: then `man auth-service-keys-rotate` finds its page.";

/// Whereto.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// Write all pages into this folder, which is made where it is missing [default: the main page, to standard output]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

/// A page of the manual.
struct Page {
    file: String,
    roff: String,
}

/// Writes the manual.
///
/// # Errors
/// Where a page can't be written.
pub(super) fn run(arguments: &ManArguments, command: Command) -> Result<Report, Failure> {
    let pages = pages(command).map_err(|error| Failure::of("write the manual", &error))?;
    let Some(folder) = &arguments.to else {
        let main = pages.into_iter().next().map(|page| page.roff).unwrap_or_default();
        let main = main.trim_end().to_owned();
        return Ok(Report::new(main.clone(), json!({ "page": main })));
    };
    write(&pages, folder)
        .map_err(|error| Failure::of(&format!("write the manual into {}", folder.display()), &error))?;
    let files: Vec<_> = pages.iter().map(|page| folder.join(&page.file)).collect();
    Ok(Report::new(
        format!("{} pages written into {}.", files.len(), folder.display()),
        json!({ "folder": folder, "files": files }),
    ))
}

fn write(pages: &[Page], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    pages
        .iter()
        .try_for_each(|page| fs::write(folder.join(&page.file), &page.roff))
}

/// All pages, the main one first.
fn pages(command: Command) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = vec![page(&command, &of_the_program())?];
    collect(&command, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    for below in command.get_subcommands() {
        pages.push(page(below, &notes(below))?);
        collect(below, pages)?;
    }
    Ok(())
}

/// One page, with what only it has at its end.
fn page(command: &Command, last: &Roff) -> io::Result<Page> {
    let man = Man::new(command.clone())
        .source(concat!("auth-service ", env!("CARGO_PKG_VERSION")))
        .manual("CodeLab Auth Service");
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut roff)?;
    }
    last.to_writer(&mut roff)?;
    Ok(Page {
        file: man.get_filename(),
        roff: String::from_utf8_lossy(&roff).into_owned(),
    })
}

/// What a command's help says at its end.
fn notes(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_long_help().or(command.get_after_help());
    if let Some(text) = text {
        heading(&mut roff, "NOTES");
        for line in text.to_string().lines() {
            paragraph(&mut roff, line.trim());
        }
    }
    heading(&mut roff, "SEE ALSO");
    paragraph(
        &mut roff,
        "auth-service(1), which lists exit codes, files and the environment",
    );
    roff
}

/// What holds for all commands, so that it stands on the main page alone.
fn of_the_program() -> Roff {
    let mut roff = Roff::new();
    heading(&mut roff, "EXIT STATUS");
    for (code, meaning) in EXIT_CODES {
        item(&mut roff, code, meaning);
    }
    heading(&mut roff, "FILES");
    for (file, meaning) in FILES {
        item(&mut roff, file, meaning);
    }
    heading(&mut roff, "ENVIRONMENT");
    for (name, meaning) in VARIABLES {
        item(&mut roff, name, meaning);
    }
    heading(&mut roff, "SETTINGS");
    paragraph(
        &mut roff,
        "As variables; in a file the same without AUTH_SERVICE__ and in lower case.",
    );
    for key in Key::ALL {
        setting(&mut roff, *key);
    }
    heading(&mut roff, "SEE ALSO");
    paragraph(
        &mut roff,
        "auth-service-serve(1), auth-service-doctor(1), auth-service-config(1), and a page for each other command",
    );
    roff
}

const EXIT_CODES: [(&str, &str); 4] = [
    ("0", "It was done."),
    ("1", "It was refused, or the question was answered by no."),
    (
        "2",
        "The command line or a setting is wrong; standard error says what would be right.",
    ),
    (
        "3",
        "Nothing was done: it is for another program to do, which is named.",
    ),
];

const FILES: [(&str, &str); 4] = [
    ("./data/auth.db", "The database, unless DB_URL names another."),
    (
        "./data/keys/",
        "The signing keys, unless KEYS_DIR or PRIVATE_KEY_PATH say otherwise. Back them up; keep them private.",
    ),
    (
        "./data/keys/keyring.json",
        "Since when each key is published, and from when it signs.",
    ),
    (
        "./data/keys/device.secret",
        "What the cookies of known devices are sealed with.",
    ),
];

const VARIABLES: [(&str, &str); 6] = [
    (
        "AUTH_SERVICE__NAME",
        "Sets the setting NAME; all of them stand below.",
    ),
    (
        "AUTH_SERVICE__NAME_FILE",
        "Names a file that holds the setting, for secrets and for URLs with a password.",
    ),
    (
        "AUTH_SERVICE__CONFIG_FILE",
        "Names the settings file; --config goes before it.",
    ),
    ("ENVIRONMENT, PORT", "Are read without the prefix too."),
    (
        "PGPASSWORD, PGPASSFILE",
        "Give the password of PostgreSQL where the database's URL holds none.",
    ),
    (
        "NO_COLOR, CLICOLOR_FORCE",
        "Colours are for terminals. Where the first is set there are none, where the second is set there are some anyway.",
    ),
];

fn setting(roff: &mut Roff, key: Key) {
    let entry = key.entry();
    let default = match entry.default {
        Fallback::Value(value) => format!("Default: {value}."),
        Fallback::Unset(meaning) => format!("Unset: {meaning}."),
    };
    let text = format!("{} Takes {}. {default}", entry.about, entry.takes);
    item(
        roff,
        &format!("AUTH_SERVICE__{}", entry.name),
        &text.replace('`', ""),
    );
}

fn heading(roff: &mut Roff, text: &str) {
    roff.control("SH", [text]);
}

fn paragraph(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.text([roman(text)]);
}

fn item(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::CommandLine;

    fn paths(command: &Command, above: &str, found: &mut Vec<String>) {
        let path = format!("{above}{}", command.get_name());
        found.push(format!("{path}.1"));
        for below in command.get_subcommands() {
            paths(below, &format!("{path}-"), found);
        }
    }

    #[test]
    fn there_is_a_page_for_each_command_and_the_main_one_is_the_first() {
        let mut expected = Vec::new();
        paths(&CommandLine::command(), "", &mut expected);
        let pages = pages(CommandLine::command()).unwrap();
        let files: Vec<_> = pages.into_iter().map(|page| page.file).collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn the_main_page_names_every_setting_and_exit_code() {
        let page = pages(CommandLine::command()).unwrap().remove(0).roff;
        // A hyphen is written with a backslash.
        for key in Key::ALL {
            let name = format!("AUTH_SERVICE__{}", key.entry().name);
            assert!(page.contains(&name), "{name}");
        }
        for (code, _) in EXIT_CODES {
            assert!(page.contains(&format!("\\fB{code}\\fR")), "{code}");
        }
    }
}
