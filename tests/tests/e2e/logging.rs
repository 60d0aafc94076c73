//! What docs/LOGGING.md says of log lines, held against the source: the same fields and the same events, no more and no
//! fewer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What every line has, whoever writes it.
const OF_EVERY_LINE: [&str; 3] = ["timestamp", "level", "message"];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// The macros of this program that write lines, besides those of the library.
const OWN_MACROS: [&str; 2] = ["line!(", "request_line!("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of every source file of the program, without what tests add to it.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    for crate_directory in fs::read_dir(root().join("crates")).unwrap() {
        let directory = crate_directory.unwrap().path();
        if !directory.ends_with("auth-testkit") {
            add_sources(&directory.join("src"), &mut found);
        }
    }
    found
}

fn add_sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            add_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.push(own.to_owned());
        }
    }
}

/// What stands between the bracket at the beginning of a text and the one that closes it.
fn bracketed(text: &str) -> &str {
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for (place, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => {
                depth -= 1;
                if depth == 0 {
                    return &text[1..place];
                }
            }
            _ => {}
        }
    }
    panic!("no end: {text}")
}

/// The arguments of a macro.
fn arguments(list: &str) -> Vec<String> {
    let (mut depth, mut is_quoted, mut arguments) = (0_usize, false, vec![String::new()]);
    for character in list.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            '(' | '{' | '[' if !is_quoted => depth += 1,
            ')' | '}' | ']' if !is_quoted => depth -= 1,
            ',' if depth == 0 && !is_quoted => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments
        .iter()
        .map(|argument| argument.trim().to_owned())
        .collect()
}

/// The argument lists of all calls of a macro.
fn calls<'a>(source: &'a str, opening: &'a str) -> impl Iterator<Item = &'a str> {
    let starts = source.match_indices(opening).map(|(place, _)| place);
    // Not another macro whose name ends in this one's.
    let is_whole =
        |place: &usize| !source[..*place].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    starts
        .filter(is_whole)
        .map(move |place| bracketed(&source[place + opening.len() - 1..]))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The field that an argument gives a value; `None` for a message and what is put into it.
fn field(argument: &str) -> Option<&str> {
    let name = argument.split_once(" = ").map_or(argument, |(name, _)| name);
    let name = name.trim_start_matches(['%', '?']).trim();
    is_name(name).then_some(name)
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// All fields that lines have, and all events that are named where lines are written.
#[derive(Default)]
struct Written {
    fields: BTreeSet<String>,
    events: BTreeSet<String>,
}

impl Written {
    fn read(sources: &[String]) -> Self {
        let mut written = Self::default();
        for source in sources {
            for level in LEVELS.iter().copied().chain(["$level"]) {
                for call in calls(source, &format!("tracing::{level}!(")) {
                    written.add_library_call(call);
                }
            }
            for call in OWN_MACROS.iter().flat_map(|own| calls(source, own)) {
                written.add_own_call(call);
            }
            written.add_events_by_outcome(source);
        }
        written
    }

    fn add_library_call(&mut self, call: &str) {
        let arguments = arguments(call);
        let fields = arguments
            .iter()
            .take_while(|argument| !argument.starts_with(['"', '$']))
            .filter(|argument| !argument.starts_with("target: "));
        let mut names_event = false;
        for argument in fields {
            let name = field(argument).unwrap_or_else(|| panic!("no field: {argument} in {call}"));
            self.fields.insert(name.to_owned());
            if let Some(event) = argument.strip_prefix("event_type = ") {
                names_event = true;
                self.events.extend(quoted(event).map(str::to_owned));
            }
        }
        assert!(names_event, "a line without an event: {call}");
    }

    /// A level, the event, what the fields are taken from, and more fields.
    fn add_own_call(&mut self, call: &str) {
        let arguments = arguments(call);
        self.events.extend(
            arguments
                .iter()
                .skip(1)
                .take(1)
                .filter_map(|event| quoted(event))
                .map(str::to_owned),
        );
        let is_named = |argument: &&String| argument.contains(" = ") && field(argument).is_some();
        let fields = arguments
            .iter()
            .filter(is_named)
            .filter_map(|argument| field(argument));
        self.fields.extend(fields.map(str::to_owned));
        // What follows the circumstances: fields by the names of what they hold.
        let last = arguments.iter().skip(3).filter_map(|argument| field(argument));
        let circumstances = ["incoming", "status", "took"];
        let last = last.filter(|name| !circumstances.contains(name));
        self.fields.extend(last.map(str::to_owned));
    }

    /// The names that are chosen by what a request came to.
    fn add_events_by_outcome(&mut self, source: &str) {
        let chosen = [
            "fn event_type(answer: &Answer) -> &'static str {",
            "let event = match refusal {",
        ];
        for opening in chosen {
            for body in calls(source, opening) {
                let words = body.split('"').skip(1).step_by(2);
                self.events.extend(words.map(str::to_owned));
            }
        }
        let named = source.match_indices("event_type: \"").map(|(place, opening)| {
            let rest = &source[place + opening.len()..];
            rest.split('"').next().unwrap()
        });
        self.events.extend(named.map(str::to_owned));
    }
}

/// The names in the first column of the table under a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/LOGGING.md")).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let first = row.split('|').nth(1).unwrap();
        let names: Vec<_> = first.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        names
    })
    .collect()
}

#[test]
fn the_fields_of_log_lines_are_those_of_the_document() {
    let mut written = Written::read(&sources()).fields;
    written.extend(OF_EVERY_LINE.map(str::to_owned));
    assert_eq!(written, documented("Fields"));
}

#[test]
fn the_events_of_log_lines_are_those_of_the_document() {
    assert_eq!(Written::read(&sources()).events, documented("Events"));
}
