//! What commands answer, and the one place that writes it: results to standard output, everything else to standard
//! error. A reader that has gone away is no fault of the command.
//!
//! Much of what is written was chosen by strangers: a user name, a client's name, whatever was typed at a sign-in. None
//! of it may steer a terminal, begin a line of its own, or show as something else than it is. So all hidden characters
//! are written as escapes, within a cell the line feed too ([`visible`], [`json_line`]).

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use auth_domain::time::Timestamp;
use auth_storage::DatabaseUrl;
use clap::builder::styling::{AnsiColor, Color, Style};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::colour;

/// The answer of a command, for people and for programs.
#[derive(Debug)]
pub(super) struct Report {
    /// For people; lines without one at the end.
    pub(super) people: String,
    /// For programs.
    pub(super) programs: Value,
    /// What the exit code is to say.
    pub(super) ending: Ending,
    /// Which words at the beginning of a line stand out on a terminal.
    pub(super) marks: &'static [Mark],
}

/// A word, and how it looks.
pub(super) type Mark = (&'static str, Style);

/// What a command's exit code says where nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// 0.
    Good,
    /// 1: the question was answered, by no.
    Bad,
    /// 3: nothing was done, since it is for another program to do, which is named.
    Elsewhere,
}

impl Report {
    /// The answer of a command that did what it should.
    pub(super) fn new(people: impl Into<String>, programs: Value) -> Self {
        Self {
            people: people.into(),
            programs,
            ending: Ending::Good,
            marks: &[],
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
    writeln!(out, "{}", visible_lines(text)).and_then(|()| out.flush())
}

/// The same with words at the beginning of lines that stand out, where colours are wanted.
pub(super) fn print_marked(text: &str, marks: &[Mark]) {
    let text = visible_lines(text);
    let text = if colour::is_wanted(&io::stdout()) {
        marked(&text, marks)
    } else {
        text
    };
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn marked(text: &str, marks: &[Mark]) -> String {
    let paint = |line: &str| {
        let word = line.split(' ').next().unwrap_or_default();
        match marks.iter().find(|(mark, _)| *mark == word) {
            Some((_, style)) => {
                let rest = line.strip_prefix(word).unwrap_or_default();
                format!("{style}{word}{style:#}{rest}")
            }
            None => line.to_owned(),
        }
    };
    text.split('\n').map(paint).collect::<Vec<_>>().join("\n")
}

/// How the name of the program looks before a failure.
const FAILED: &[Mark] = &[(
    "auth-service:",
    Style::new().bold().fg_color(Some(Color::Ansi(AnsiColor::Red))),
)];

/// Writes to standard error.
pub(super) fn print_error(text: &str) {
    let text = visible_lines(text);
    let text = if colour::is_wanted(&io::stderr()) {
        marked(&text, FAILED)
    } else {
        text
    };
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Rows in columns.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    least: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = Self::continued(&[]);
        table.row(headings.iter().map(|heading| (*heading).to_owned()));
        table
    }

    /// A table without headings, whose columns have at least these widths: more of one that is printed already.
    pub(super) fn continued(least: &[usize]) -> Self {
        Self {
            rows: Vec::new(),
            least: least.to_vec(),
        }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| visible(&cell)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = self.least.clone();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
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
        .map(|(name, value)| format!("{name:width$}  {}", visible(value)).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// The text with every hidden character as an escape, such as `\u{202e}`: it stays on its line.
pub(super) fn visible(text: &str) -> String {
    escaped(text, is_hidden)
}

/// The same for a text of several lines, whose line feeds are its author's.
fn visible_lines(text: &str) -> String {
    escaped(text, |character| is_hidden(character) && character != '\n')
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) {
            visible.extend(character.escape_unicode());
        } else {
            visible.push(character);
        }
    }
    visible
}

/// A value as JSON on one line, with every hidden character in its strings as an escape (RFC 8259 section 7).
///
/// # Errors
/// Where the value can't be said in JSON.
pub(super) fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|json| escape_hidden_in_json(&json))
}

/// The same over several lines.
pub(super) fn json_pretty(value: &Value) -> String {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    escape_hidden_in_json(&json)
}

/// What is hidden in JSON and not ASCII can only be within a string; control characters of ASCII are escaped already.
fn escape_hidden_in_json(json: &str) -> String {
    let mut visible = String::with_capacity(json.len());
    for character in json.chars() {
        if is_hidden(character) && character >= '\u{7f}' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(visible, "\\u{unit:04x}");
            }
        } else {
            visible.push(character);
        }
    }
    visible
}

/// Whether a character does something other than show itself: controls (C0, DEL, C1), line and paragraph separators,
/// what turns the direction of writing, and what takes no room at all.
pub(super) fn is_hidden(character: char) -> bool {
    let is_plain = (' '..='~').contains(&character);
    !is_plain
        && HIDDEN
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&character))
}

/// Unicode's categories Cc, Zl, Zp and Cf, and what else it calls ignorable by default.
const HIDDEN: &[(char, char)] = &[
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// A moment as RFC 3339 writes it, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.unix_seconds())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", at.unix_seconds()))
}

/// A moment as RFC 3339 writes it, to the microsecond: as exact as it is kept.
pub(super) fn exact_moment(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.as_micros()) * 1_000)
        .ok()
        .and_then(|at| at.format(&EXACT).ok())
        .unwrap_or_else(|| format!("{} µs after 1970", at.as_micros()))
}

const EXACT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A database as people look for it: a file's path, or a URL without its password.
pub(super) fn place_of(url: &DatabaseUrl) -> String {
    url.path()
        .map_or_else(|| url.to_string(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Texts in which every other character is one that should not get through.
    fn hostile() -> impl Strategy<Value = String> {
        let hidden =
            prop::sample::select(HIDDEN).prop_flat_map(|(first, last)| prop::char::range(first, last));
        let character = prop_oneof![
            hidden,
            prop::sample::select(vec!['"', '\\', '{', '=']),
            any::<char>()
        ];
        prop::collection::vec(character, 0..20).prop_map(String::from_iter)
    }

    fn shows_all(line: &str) -> bool {
        !line.chars().any(is_hidden)
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_table_a_row_is_one_line(rows in prop::collection::vec((hostile(), hostile()), 0..5)) {
            let mut table = Table::new(&["one", "other"]);
            for (one, other) in &rows {
                table.row([one.clone(), other.clone()]);
            }
            let text = visible_lines(&table.to_string());
            prop_assert_eq!(text.split('\n').count(), rows.len() + 1);
            prop_assert!(text.split('\n').all(shows_all), "{text:?}");
        }

        #[test]
        fn whatever_stands_in_a_field_it_is_one_line(text in hostile()) {
            let text = fields(&[("name", text.clone()), ("other", text)]);
            prop_assert_eq!(text.split('\n').count(), 2);
            prop_assert!(text.split('\n').all(shows_all), "{text:?}");
        }

        #[test]
        fn whatever_stands_in_json_it_is_one_line_and_reads_back_the_same(name in hostile(), text in hostile()) {
            let value = serde_json::json!({ name: [text] });
            let line = json_line(&value).unwrap();
            prop_assert!(shows_all(&line), "{line:?}");
            prop_assert_eq!(&serde_json::from_str::<Value>(&line).unwrap(), &value);
            let pretty = json_pretty(&value);
            prop_assert!(pretty.split('\n').all(shows_all), "{pretty:?}");
            prop_assert_eq!(pretty.split('\n').count(), 5);
            prop_assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), value);
        }
    }

    #[rstest]
    #[case("plain ünïcode ☃ \u{1f600} 漢字", "plain ünïcode ☃ \u{1f600} 漢字")]
    #[case("a\u{1b}[2Jb", "a\\u{1b}[2Jb")]
    #[case("a\r\nb\u{85}c\u{2028}d\u{2029}", "a\\u{d}\\u{a}b\\u{85}c\\u{2028}d\\u{2029}")]
    #[case("\u{202e}live\u{2066}", "\\u{202e}live\\u{2066}")]
    #[case("ad\u{200b}min\u{feff}\u{e0041}", "ad\\u{200b}min\\u{feff}\\u{e0041}")]
    #[case("\u{7f}\u{9b}31m\0", "\\u{7f}\\u{9b}31m\\u{0}")]
    fn what_is_hidden_is_shown(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(visible(text), shown);
    }

    #[test]
    fn a_hidden_character_beyond_16_bits_is_two_escapes_in_json() {
        assert_eq!(json_line(&"\u{e0041}\u{7f}").unwrap(), r#""\udb40\udc41\u007f""#);
    }

    #[test]
    fn a_word_stands_out_at_the_beginning_of_a_line_and_nowhere_else() {
        let marks: &[Mark] = &[("ok", Style::new().bold())];
        let painted = marked("ok    a ok\n      ok\nokay", marks);
        assert_eq!(painted, "\u{1b}[1mok\u{1b}[0m    a ok\n      ok\nokay");
    }

    #[test]
    fn a_table_goes_on_where_one_was_printed() {
        let mut more = Table::continued(&[4, 2]);
        more.row(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        assert_eq!(more.to_string(), "a     b   c");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", "status"]);
        table.row(["somebody".to_owned(), "active".to_owned()]);
        table.row(["x".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "name      status\nsomebody  active\nx");
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339_says() {
        assert_eq!(moment(Timestamp::from_unix_seconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            moment(Timestamp::from_micros(i64::MAX)),
            "9223372036854 s after 1970"
        );
    }
    #[test]
    fn an_exact_moment_has_all_six_digits() {
        assert_eq!(
            exact_moment(Timestamp::from_micros(1_000_020)),
            "1970-01-01T00:00:01.000020Z"
        );
        assert!(exact_moment(Timestamp::from_micros(i64::MAX)).ends_with("µs after 1970"));
    }
}
