//! What commands answer, and the one place that writes it: results to standard output, everything else to standard
//! error. A reader that has gone away is no fault of the command.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use auth_domain::time::Timestamp;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The answer of a command, for people and for programs.
#[derive(Debug)]
pub(super) struct Report {
    /// For people; lines without one at the end.
    pub(super) people: String,
    /// For programs.
    pub(super) programs: Value,
    /// What the exit code is to say.
    pub(super) ending: Ending,
}

/// What a command's exit code says where nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// 0.
    Good,
    /// 1: the question was answered, by no.
    Bad,
}

impl Report {
    /// The answer of a command that did what it should.
    pub(super) fn new(people: impl Into<String>, programs: Value) -> Self {
        Self {
            people: people.into(),
            programs,
            ending: Ending::Good,
        }
    }
}

/// Writes to standard output.
pub(super) fn print(text: &str) {
    let _ = try_print(text);
}

/// Writes to standard output what is said once and must be seen.
///
/// # Errors
/// Where nobody can have seen it.
pub(super) fn try_print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Writes to standard error.
pub(super) fn print_error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Rows under headings, in columns.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()],
        }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut separator = "";
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}  ")?;
            }
            write!(out, "{separator}{}", line.trim_end())?;
            separator = "\n";
        }
        Ok(())
    }
}

/// Names and values, one pair a line.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", plain(value)).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// The text without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// A moment as RFC 3339 writes it, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.unix_seconds())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", at.unix_seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", "status"]);
        table.row(["somebody".to_owned(), "active".to_owned()]);
        table.row(["x".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "name      status\nsomebody  active\nx");
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_written() {
        assert_eq!(
            fields(&[("name", "a\u{1b}[2Jb".to_owned())]),
            "name  a\u{fffd}[2Jb"
        );
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339_says() {
        assert_eq!(moment(Timestamp::from_unix_seconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            moment(Timestamp::from_micros(i64::MAX)),
            "9223372036854 s after 1970"
        );
    }
}
