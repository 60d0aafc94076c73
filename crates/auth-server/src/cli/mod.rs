//! The command line: parses, calls one use case, prints.
//!
//! Exit codes: 0 where all went well; 1 where a command was refused, or answered by no; 2 where the command line or
//! a setting is wrong, or no command was given: a script that has lost its own must not take that for success; 3 where
//! another program has to do it, which is named. No secret is ever taken from an argument.

mod announce;
mod ask;
mod audit;
mod backup;
mod bench;
mod client;
mod colour;
mod completions;
mod config;
mod desk;
mod doctor;
mod export_legacy;
mod failure;
mod health;
mod import_legacy;
mod keys;
mod legacy_place;
mod man;
mod migrate;
mod output;
mod progress;
mod restore;
mod revoke;
mod serve;
mod token;
mod transfer;
mod user;
mod welcome;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::Value;

use failure::Failure;
use output::{Ending, Report, json_pretty, print, print_error, print_marked};
use progress::Showing;

use crate::http::openapi;
use crate::settings::{Flag, Key, Problem, Secrecy, Settings, Sources};

const HELP: &str = "Start with `auth-service serve`: it needs no setting, and says how to get a first token.
Settings come from AUTH_SERVICE__… variables or a TOML file: `auth-service config reference` lists them.
Exit codes: 0 done; 1 refused, or answered by no; 2 the command line or a setting is wrong;
3 nothing was done: another program does it, and is named.
With --json the answer is one JSON value on standard output; a failure is {\"error\", \"advice\"} on standard error, with
\"problems\" where settings are wrong.";

/// Where the help shows what every command takes.
const GLOBAL: &str = "Global options";

/// An OAuth 2.0 authorization server
#[derive(Debug, Parser)]
#[command(name = "auth-service", version, after_help = HELP)]
struct CommandLine {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Read settings from this TOML file
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// Set one setting, over the file and the environment; not for secrets
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", help_heading = GLOBAL)]
    settings: Vec<String>,
    /// Answer in JSON; a failure too, as {"error", "advice"} on standard error
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArguments),
    /// Bring the database's schema up to date, or take it back
    #[command(subcommand, after_help = migrate::WHEN)]
    Migrate(migrate::MigrateCommand),
    /// Create, list and change users
    #[command(subcommand)]
    User(user::UserCommand),
    /// Register, list and change clients
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// List, rotate and import signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Look into a token, or end sessions and tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Read the audit trail
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Copy the database to a file, while the server runs
    #[command(after_help = backup::BESIDE)]
    Backup(backup::BackupArguments),
    /// Put a backup in the place of the database, while no server runs
    #[command(after_help = restore::LOST)]
    Restore(restore::RestoreArguments),
    /// Copy everything into another database, SQLite or PostgreSQL, while no server runs
    #[command(after_help = transfer::PROCEDURE)]
    Transfer(transfer::TransferArguments),
    /// Take over users, clients, sessions and audit rows of the older service
    #[command(after_help = import_legacy::AGAIN)]
    ImportLegacy(import_legacy::ImportArguments),
    /// Write users, clients and sessions back into the older service's tables
    #[command(after_help = export_legacy::LOST)]
    ExportLegacy(export_legacy::ExportArguments),
    /// Check and list settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at a configuration and a running deployment, and say what to mend
    #[command(after_help = doctor::LOOKED_AT)]
    Doctor(doctor::DoctorArguments),
    /// Measure this machine under these settings, and say what to expect of a server on it
    #[command(after_help = bench::DONE_TO_THE_MACHINE)]
    Bench(bench::BenchArguments),
    /// Ask a running server how it is
    Health(health::HealthArguments),
    /// Print the OpenAPI document
    Openapi,
    /// Print what a shell needs to complete commands and options
    #[command(after_help = completions::WHERE)]
    Completions(completions::CompletionsArguments),
    /// Write the manual's pages
    #[command(after_help = man::READ)]
    Man(man::ManArguments),
}

/// Runs the program: the whole of `main`.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return unreadable(&error),
    };
    let json = line.common.json;
    let sources = sources(&line);
    let Some(command) = line.command else {
        return without_a_command(&sources, json);
    };
    match run(command, &sources, json) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            if json {
                print(&json_pretty(&report.programs));
            } else {
                print_marked(&report.people, report.marks);
            }
            match report.ending {
                Ending::Good => ExitCode::SUCCESS,
                Ending::Bad => ExitCode::from(1),
                Ending::Elsewhere => ExitCode::from(3),
            }
        }
        Err(failure) => failed(&failure, json),
    }
}

fn failed(failure: &Failure, json: bool) -> ExitCode {
    if json {
        print_error(&json_pretty(&failure.for_programs()));
    } else {
        print_error(&failure.to_string());
    }
    ExitCode::from(failure.exit_code())
}

/// A command line that says nothing that could be done, or asks for help. What it was to be answered in is then known
/// from the word alone.
fn unreadable(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.exit_code() == 0 || !json {
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.to_string();
    let (what, advice) = text.split_once("\n\n").unwrap_or((&text, ""));
    let failure = Failure::usage(what.strip_prefix("error: ").unwrap_or(what).trim());
    failed(&failure.advise(advice.trim()), json)
}

/// Where settings come from on this command line.
fn sources(line: &CommandLine) -> Sources {
    let (mut flags, wrong_flags) = flags(&line.common.settings);
    if let Some(Command::Serve(arguments)) = &line.command {
        flags.extend(arguments.flags());
    }
    Sources {
        wrong_flags,
        ..Sources::of_process(line.common.config.clone(), flags)
    }
}

/// Tells who has given no command how to go on.
fn without_a_command(sources: &Sources, json: bool) -> ExitCode {
    let failure = Failure::usage("no command was given").advise("`auth-service --help` lists them.");
    if json {
        return failed(&failure, json);
    }
    print_error(&welcome::page(Settings::load(sources)));
    ExitCode::from(failure.exit_code())
}

fn run(command: Command, sources: &Sources, json: bool) -> Result<Option<Report>, Failure> {
    let settings = || Settings::load(sources);
    let showing = Showing::with(json);
    match command {
        Command::Serve(_) => serve::run(&Settings::load_to_serve(sources)?).map(|()| None),
        Command::Migrate(command) => migrate::run(&command, &settings()?).map(Some),
        Command::User(command) => wait_for(user::run(command, &settings()?)),
        Command::Client(command) => wait_for(client::run(command, &settings()?)),
        Command::Keys(command) => wait_for(keys::run(command, &settings()?)),
        Command::Token(command) => wait_for(token::run(command, &settings()?)),
        Command::Audit(command) => block_on(audit::run(command, &settings()?, json)),
        Command::Backup(arguments) => backup::run(&arguments, &settings()?, showing).map(Some),
        Command::Restore(arguments) => restore::run(&arguments, &settings()?, showing).map(Some),
        Command::Transfer(arguments) => wait_for(transfer::run(&arguments, &settings()?, showing)),
        Command::ImportLegacy(arguments) => wait_for(import_legacy::run(arguments, &settings()?, showing)),
        Command::ExportLegacy(arguments) => wait_for(export_legacy::run(arguments, &settings()?, showing)),
        Command::Config(command) => config::run(&command, sources).map(Some),
        Command::Doctor(arguments) => wait_for(doctor::run(&arguments, sources)),
        Command::Bench(arguments) => wait_for(bench::run(&arguments, &settings()?, showing)),
        Command::Health(arguments) => health::run(&arguments, &settings()?).map(Some),
        Command::Openapi => openapi().map(Some),
        Command::Completions(arguments) => completions::run(&arguments, CommandLine::command(), json),
        Command::Man(arguments) => man::run(&arguments, CommandLine::command()).map(Some),
    }
}

/// Runs a command that has to wait for something.
fn wait_for(command: impl Future<Output = Result<Report, Failure>>) -> Result<Option<Report>, Failure> {
    block_on(command).map(Some)
}

fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of("start the runtime", &error))?;
    runtime.block_on(command)
}

fn openapi() -> Result<Report, Failure> {
    let text = openapi::document().map_err(|error| Failure::of("write the OpenAPI document", &error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Failure::of("read the OpenAPI document", &error))?;
    Ok(Report::new(text.trim_end(), value))
}

/// What could be read of `--set`, and what is wrong with the rest.
fn flags(given: &[String]) -> (Vec<Flag>, Vec<Problem>) {
    let mut flags = Vec::new();
    let mut problems = Vec::new();
    for text in given {
        match flag(text) {
            Ok(flag) => flags.push(flag),
            Err(problem) => problems.push(problem),
        }
    }
    (flags, problems)
}

/// Reads `NAME=VALUE`. The value is not repeated: it might be a secret all the same.
fn flag(text: &str) -> Result<Flag, Problem> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Problem::new("--set", "takes NAME=VALUE, such as --set LOG_LEVEL=debug"))?;
    let short = name.to_ascii_uppercase();
    let short = short.strip_prefix("AUTH_SERVICE__").unwrap_or(&short);
    let key = Key::named(short).ok_or_else(|| Problem::unknown(&format!("--set {name}"), short, ""))?;
    let is_secret = match key.entry().secrecy {
        Secrecy::Open => false,
        Secrecy::Url => value.contains('@'),
        Secrecy::Secret => true,
    };
    if is_secret {
        return Err(Problem::new(
            format!("--set {name}"),
            format!(
                "every process of this machine could read the secret: set AUTH_SERVICE__{short}, or name a file by \
                 AUTH_SERVICE__{short}_FILE"
            ),
        ));
    }
    Ok(Flag {
        key,
        value: value.to_owned(),
        written: "--set",
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_secret_is_not_taken_from_an_argument() {
        for text in ["master_key=pencil", "REDIS_URL=redis://:pencil@host"] {
            let refused = flag(text).unwrap_err();
            assert!(!refused.to_string().contains("pencil"), "{refused}");
        }
    }

    #[test]
    fn a_setting_is_named_with_or_without_its_prefix_in_any_case() {
        for text in [
            "log_level=debug",
            "LOG_LEVEL=debug",
            "AUTH_SERVICE__LOG_LEVEL=debug",
        ] {
            let flag = flag(text).unwrap();
            assert_eq!((flag.key, flag.value.as_str()), (Key::LogLevel, "debug"));
        }
        let refused = flag("LOG_LEVL=debug").unwrap_err().to_string();
        assert!(refused.contains("did you mean LOG_LEVEL?"), "{refused}");
    }
}
