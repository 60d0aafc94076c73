//! Reads what people and scripts give beside the command line: secrets, tokens, a yes. Never from an argument, which
//! every process of the machine can see.

use std::io::{self, IsTerminal, Read, Write as _};
use std::path::{Path, PathBuf};

use auth_domain::secret::{Password, Token};
use clap::Args;
use secrecy::SecretString;

use super::failure::Failure;
use super::output::visible;

/// The most that is read of a file or of standard input.
const MAX_INPUT_BYTES: u64 = 64 * 1024;

/// Where a new password comes from; from a prompt where neither is given.
#[derive(Debug, Args)]
pub(super) struct PasswordSource {
    /// Read the password from standard input: one line
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from a file: one line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// Reads the new password; at a prompt, twice.
    ///
    /// # Errors
    /// Where it can't be read, is not UTF-8, is empty or of several lines, or was typed differently the second time.
    pub(super) fn read(&self) -> Result<Password, Failure> {
        let text = match &self.password_file {
            Some(path) => one_line(read_file(path)?)?,
            None if self.password_stdin => one_line(read_standard_input()?)?,
            None => prompt_twice()?,
        };
        if text.is_empty() {
            return Err(Failure::refused("the password is empty: nothing was changed"));
        }
        Ok(Password::new(text))
    }
}

fn prompt_twice() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask for the password")
            .advise("Give it by --password-stdin or --password-file FILE."));
    }
    let ask =
        |prompt| rpassword::prompt_password(prompt).map_err(|error| Failure::of("read the password", &error));
    let first = ask("New password: ")?;
    if ask("The same again: ")? == first {
        Ok(first)
    } else {
        Err(Failure::refused("the two passwords differ: nothing was changed"))
    }
}

/// Reads a token from standard input, or from a prompt.
///
/// # Errors
/// Where it can't be read, or nobody is there to be asked.
pub(super) fn token(from_standard_input: bool) -> Result<Token, Failure> {
    let text = if from_standard_input {
        read_standard_input()?
    } else if io::stdin().is_terminal() {
        rpassword::prompt_password("Token: ").map_err(|error| Failure::of("read the token", &error))?
    } else {
        return Err(
            Failure::usage("there is no terminal to ask for the token").advise(
                "Give it by --token-stdin, or say by --session, --user or --client whose sessions shall end.",
            ),
        );
    };
    Ok(Token::new(text.trim().to_owned()))
}

/// Reads a file that holds a secret.
///
/// # Errors
/// Where it can't be read, is too long or not UTF-8.
pub(super) fn read_secret_file(path: &Path) -> Result<SecretString, Failure> {
    read_file(path).map(SecretString::from)
}

/// Reads a text from a file, or from standard input where none is named.
///
/// # Errors
/// Where it can't be read, is too long or not UTF-8.
pub(super) fn read_input(file: Option<&Path>) -> Result<String, Failure> {
    match file {
        Some(path) => read_file(path),
        None => read_standard_input(),
    }
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let what = format!("read {}", path.display());
    let file = std::fs::File::open(path).map_err(|error| Failure::of(&what, &error))?;
    read(file, &what)
}

fn read_standard_input() -> Result<String, Failure> {
    read(io::stdin().lock(), "read standard input")
}

fn read(source: impl Read, what: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let length = source
        .take(MAX_INPUT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::of(what, &error))?;
    if length as u64 > MAX_INPUT_BYTES {
        return Err(Failure::refused(format!("{what}: it is longer than 64 KiB")));
    }
    Ok(text)
}

/// A secret file and a piped `echo` end in a line break that is not part of the secret. Who gives several lines
/// has given something else than a password, since nobody could type it.
fn one_line(mut text: String) -> Result<String, Failure> {
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\r', '\n']) {
        return Err(Failure::refused(
            "a password is one line, and more were given: nothing was changed",
        ));
    }
    text.truncate(line.len());
    Ok(text)
}

/// Whether a command that destroys something asks first.
#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Don't ask whether to go on; needed where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Asks whether to go on, unless the command line has said so already. No terminal is no yes.
    ///
    /// # Errors
    /// Where the answer is not yes, or nobody could give one.
    pub(super) fn obtain(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(
                Failure::usage(format!("there is no terminal to ask on: {question}"))
                    .advise("Nothing was changed. Say --yes to go on without being asked."),
            );
        }
        ask(question)
    }
}

fn ask(question: &str) -> Result<(), Failure> {
    let _ = write!(io::stderr().lock(), "{} [y/N] ", visible(question));
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::of("read the answer", &error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::refused("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("secret", "secret")]
    #[case("secret\n", "secret")]
    #[case("secret\r\n", "secret")]
    #[case(" secret \n", " secret ")]
    #[case("\n", "")]
    fn the_line_break_at_the_end_is_no_part_of_a_password(#[case] given: &str, #[case] password: &str) {
        assert_eq!(one_line(given.to_owned()).unwrap(), password);
    }

    #[rstest]
    #[case("secret\nsecond")]
    #[case("secret\n\n")]
    #[case("\nsecret")]
    #[case("secret\rsecond\n")]
    fn several_lines_are_no_password_and_are_not_repeated(#[case] given: &str) {
        let refused = one_line(given.to_owned()).unwrap_err().to_string();
        assert!(
            refused.contains("one line") && !refused.contains("secret"),
            "{refused}"
        );
    }
}
