//! `completions`: what a shell needs to complete the names of commands and options.

use std::io::{self, Write as _};

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use serde_json::json;

use super::failure::Failure;
use super::output::Report;

/// What the help says about where it goes.
pub(super) const WHERE: &str = "For example, for one user of bash:\n  \
    auth-service completions bash > ~/.local/share/bash-completion/completions/auth-service\n\
    of zsh, where a folder of $fpath is ~/.zfunc:\n  \
    auth-service completions zsh > ~/.zfunc/_auth-service\n\
    of fish:\n  \
    auth-service completions fish > ~/.config/fish/completions/auth-service.fish";

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Writes the script as it is: to standard output, or with `json` as an answer for programs.
///
/// # Errors
/// Where nobody can have read it. A reader that has gone away needs no more of it.
pub(super) fn run(
    arguments: &CompletionsArguments,
    mut command: Command,
    json: bool,
) -> Result<Option<Report>, Failure> {
    let script = script(arguments.shell, &mut command);
    if json {
        let shell = arguments.shell.to_string();
        return Ok(Some(Report::new("", json!({ "shell": shell, "script": script }))));
    }
    let mut out = io::stdout().lock();
    match out.write_all(script.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of("write standard output", &error))
        }
        _ => Ok(None),
    }
}

fn script(shell: Shell, command: &mut Command) -> String {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    generate(shell, command, name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script.replace(ASTRAY, RIGHT),
        _ => script,
    }
}

/// The library (4.6) writes a hyphen in a program's name in two ways, so that bash looks for what a command takes under a
/// name that is not there. Where it has been mended this changes nothing.
const ASTRAY: &str = "auth__subcmd__service__subcmd__";
const RIGHT: &str = "auth__service__subcmd__";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, ValueEnum as _};

    use super::*;
    use crate::cli::CommandLine;

    #[test]
    fn every_shell_is_told_of_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell, &mut CommandLine::command());
            for command in CommandLine::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }
}
