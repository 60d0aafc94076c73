//! Where settings come from: defaults, a TOML file, the environment, flags, each over the one before. Values stay
//! texts here, and are kept like secrets since any of them may be one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::files::{self, FileFault};

use super::problem::Problem;
use super::table::{Fallback, Key};

/// What every variable of ours begins with.
const PREFIX: &str = "AUTH_SERVICE__";
const FILE_SUFFIX: &str = "_FILE";
/// The variable that names the settings file; `--config` goes before it.
const CONFIG_FILE: &str = "CONFIG_FILE";
/// Settings that the older service read without a prefix.
const WITHOUT_PREFIX: [(&str, Key); 2] = [("ENVIRONMENT", Key::Environment), ("PORT", Key::Port)];

/// Everything settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config`.
    pub config_file: Option<PathBuf>,
    /// The variables of the environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What flags said.
    pub flags: Vec<Flag>,
    /// What is wrong with flags that could not be read.
    pub wrong_flags: Vec<Problem>,
}

impl Sources {
    /// The environment of this process, with what the command line said.
    pub fn of_process(config_file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        Self {
            config_file,
            environment: std::env::vars_os().collect(),
            flags,
            wrong_flags: Vec::new(),
        }
    }
}

/// A setting given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// Which.
    pub key: Key,
    /// Its value.
    pub value: String,
    /// The flag as it was written, such as `--port`.
    pub written: &'static str,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table of settings.
    Default,
    /// The settings file.
    File(PathBuf),
    /// A variable.
    Variable(String),
    /// A file that a variable names, or a name in the settings file.
    SecretFile(String),
    /// The command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path) => write!(out, "file {}", path.display()),
            Self::Variable(name) => write!(out, "environment, {name}"),
            Self::SecretFile(name) => write!(out, "file named by {name}"),
            Self::Flag(flag) => write!(out, "flag {flag}"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub struct Sourced {
    /// The value as written.
    pub text: SecretString,
    /// Where it came from.
    pub source: Source,
    /// What is to be known about its file: that others may read the secret in it.
    pub warning: Option<Problem>,
}

/// All values that somebody or the table has set, the last layer's of each.
#[derive(Debug, Clone, Default)]
pub struct Layers(BTreeMap<Key, Sourced>);

impl Layers {
    /// Lays the sources over each other.
    ///
    /// # Errors
    /// Everything that is no setting, or can't be read, all of it at once.
    pub fn read(sources: &Sources) -> Result<Self, Vec<Problem>> {
        match Self::gather(sources) {
            (layers, problems) if problems.is_empty() => Ok(layers),
            (_, problems) => Err(problems),
        }
    }

    /// What can be read, and everything that is no setting or can't be.
    pub(super) fn gather(sources: &Sources) -> (Self, Vec<Problem>) {
        let environment = Environment::sort(&sources.environment);
        let mut layers = Self::of_defaults();
        let mut problems = environment.problems;
        let file = sources.config_file.clone().or(environment.config_file);
        if let Some(path) = file {
            match read_settings_file(&path) {
                Ok(table) => problems.extend(layers.take_file(&path, table)),
                Err(found) => problems.push(found),
            }
        }
        layers.0.extend(environment.values);
        problems.extend(sources.wrong_flags.iter().cloned());
        problems.extend(layers.take_flags(&sources.flags));
        (layers, problems)
    }

    /// The value of a setting; `None` where nobody sets it and it has no default.
    pub fn find(&self, key: Key) -> Option<&Sourced> {
        self.0.get(&key)
    }

    /// What is to be known about the files that secrets came from.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Problem> {
        self.0.values().filter_map(|sourced| sourced.warning.clone())
    }

    /// The same with some settings as they are while nobody sets them.
    pub(super) fn without(&self, keys: &BTreeSet<Key>) -> Self {
        let mut layers = self.clone();
        let defaults = Self::of_defaults();
        for key in keys {
            match defaults.find(*key) {
                Some(default) => layers.0.insert(*key, default.clone()),
                None => layers.0.remove(key),
            };
        }
        layers
    }

    /// Takes what is a setting, and gives what is none.
    fn take_file(&mut self, path: &Path, table: toml::Table) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut taken = BTreeSet::new();
        for (name, value) in table {
            let place = format!("{name} in {}", path.display());
            match in_settings_file(path, &name, &place, &value) {
                Ok((key, _)) if !taken.insert(key) => problems.push(Problem::new(
                    place,
                    format!("is set twice: remove it or {}", other_form(&name)),
                )),
                Ok((key, value)) => {
                    self.0.insert(key, value);
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    /// A setting given by two flags would leave open which of them holds.
    fn take_flags(&mut self, flags: &[Flag]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for flag in flags {
            if !seen.insert(flag.key) {
                problems.push(Problem::new(
                    flag.written,
                    format!("{} is set twice on the command line", flag.key.entry().name),
                ));
            }
            self.0
                .insert(flag.key, sourced(flag.value.clone(), Source::Flag(flag.written)));
        }
        problems
    }

    fn of_defaults() -> Self {
        let defaults = Key::ALL.iter().filter_map(|key| match key.entry().default {
            Fallback::Value(text) => Some((*key, sourced(text.to_owned(), Source::Default))),
            Fallback::Unset(_) => None,
        });
        Self(defaults.collect())
    }
}

/// What a name in the settings file sets: by its value, or by a file that this names.
fn in_settings_file(
    path: &Path,
    name: &str,
    place: &str,
    value: &toml::Value,
) -> Result<(Key, Sourced), Problem> {
    if is_section(value) {
        return Err(Problem::section(place));
    }
    let upper = name.to_ascii_uppercase();
    let is_lower = name == name.to_ascii_lowercase();
    let (key, secret_file) = match (Key::named(&upper), file_key(&upper)) {
        (Some(key), _) if is_lower => (key, false),
        (None, Some(key)) if is_lower => (key, true),
        _ => return Err(unknown_in_file(place, without_prefix(name))),
    };
    let text = scalar(value).ok_or_else(|| {
        Problem::new(
            place,
            "must be a text, a number, true or false, or a list of texts",
        )
    })?;
    if secret_file {
        read_secret(place, Path::new(&text)).map(|secret| (key, secret))
    } else {
        Ok((key, sourced(text, Source::File(path.to_owned()))))
    }
}

/// A name that is none in a settings file; where it would name a file of a secret, it is not the secret that was meant.
fn unknown_in_file(place: &str, name: &str) -> Problem {
    match file_key(&name.to_ascii_uppercase()) {
        Some(_) => Problem::new(
            place,
            format!("is not a setting; did you mean {}?", name.to_ascii_lowercase()),
        ),
        None => Problem::unknown_in_file(place, name),
    }
}

/// The name in a settings file that sets the same otherwise.
fn other_form(name: &str) -> String {
    let suffix = FILE_SUFFIX.to_ascii_lowercase();
    name.strip_suffix(&suffix)
        .map_or_else(|| format!("{name}{suffix}"), ToOwned::to_owned)
}

/// The content of a file that a variable or a name in the settings file names.
fn read_secret(place: &str, path: &Path) -> Result<Sourced, Problem> {
    let text = read_text(path).map_err(|reason| {
        Problem::new(
            place,
            format!("names {}, which can't be read: {reason}", path.display()),
        )
    })?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(Sourced {
        warning: files::open_to_others(path).map(|mode| {
            let fault = format!(
                "names {}, which others may read or change (mode {mode:04o}): `chmod g-wx,o=` makes the secret private, \
                 and its owner or its group has to be the server's",
                path.display()
            );
            Problem::new(place, fault)
        }),
        ..sourced(text, Source::SecretFile(place.to_owned()))
    })
}

fn sourced(text: String, source: Source) -> Sourced {
    Sourced {
        text: SecretString::from(text),
        source,
        warning: None,
    }
}

/// What the environment says, sorted out.
#[derive(Default)]
struct Environment {
    config_file: Option<PathBuf>,
    values: BTreeMap<Key, Sourced>,
    problems: Vec<Problem>,
}

impl Environment {
    /// Names without the prefix first, so that one with it wins.
    fn sort(variables: &[(OsString, OsString)]) -> Self {
        let mut sorted = Self::default();
        for (name, key) in WITHOUT_PREFIX {
            let given = variables.iter().find(|(given, _)| given == name);
            if let Some((_, value)) = given {
                sorted.take_value(key, name, value);
            }
        }
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            if let Some(short) = name.strip_prefix(PREFIX) {
                sorted.take_variable(name, short, value);
            } else if let Some(meant) = meant_with_prefix(name, value) {
                sorted.problems.push(Problem::new(
                    name,
                    format!("is not a setting; did you mean {PREFIX}{meant}?"),
                ));
            }
        }
        sorted
    }

    fn take_variable(&mut self, name: &str, short: &str, value: &OsString) {
        if value.is_empty() {
            // Compose files pass on variables that nobody has set as empty ones.
            if Key::named(short).is_none() && short != CONFIG_FILE && file_key(short).is_none() {
                self.problems.push(Problem::unknown(name, short, PREFIX));
            }
        } else if short == CONFIG_FILE {
            self.config_file = Some(PathBuf::from(value));
        } else if let Some(key) = Key::named(short) {
            self.take_value(key, name, value);
        } else if let Some(key) = file_key(short) {
            self.take_secret_file(key, name, Path::new(value));
        } else {
            self.problems.push(Problem::unknown(name, short, PREFIX));
        }
    }

    fn take_value(&mut self, key: Key, name: &str, value: &OsString) {
        match value.to_str() {
            Some("") => {}
            Some(text) => self.put(key, sourced(text.to_owned(), Source::Variable(name.to_owned()))),
            None => self.problems.push(Problem::new(name, "is not valid UTF-8")),
        }
    }

    fn take_secret_file(&mut self, key: Key, name: &str, path: &Path) {
        match read_secret(name, path) {
            Ok(secret) => self.put(key, secret),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// A variable and its `_FILE` form at once would leave open which of them holds.
    fn put(&mut self, key: Key, value: Sourced) {
        let is_secret_file = |source: &Source| matches!(source, Source::SecretFile(_));
        let other = self.values.get(&key);
        if other.is_some_and(|other| is_secret_file(&other.source) != is_secret_file(&value.source)) {
            let name = key.entry().name;
            self.problems.push(Problem::new(
                format!("{PREFIX}{name}"),
                format!("is set twice: remove it or {PREFIX}{name}{FILE_SUFFIX}"),
            ));
        }
        self.values.insert(key, value);
    }
}

/// The secret that a name `…_FILE` names a file for.
fn file_key(short: &str) -> Option<Key> {
    Key::named(short.strip_suffix(FILE_SUFFIX)?).filter(|key| key.entry().secrecy.is_readable_from_file())
}

/// What a variable with one underscore in place of the prefix's two was meant to set. Kubernetes gives every pod
/// near a service named auth-service variables such as `AUTH_SERVICE_SERVICE_HOST` and `AUTH_SERVICE_PORT=tcp://…`:
/// they are nobody's mistake.
fn meant_with_prefix<'a>(name: &'a str, value: &OsString) -> Option<&'a str> {
    let short = name.strip_prefix("AUTH_SERVICE_")?;
    let is_of_kubernetes = short.starts_with("SERVICE_")
        || short.starts_with("PORT_")
        || (short == "PORT" && value.to_string_lossy().contains("://"));
    let is_known = short == CONFIG_FILE || file_key(short).is_some();
    if is_of_kubernetes {
        None
    } else if is_known {
        Some(short)
    } else {
        Key::nearest(short)
    }
}

/// The name as it would be in a settings file, where it was written as a variable's.
fn without_prefix(name: &str) -> &str {
    match name.split_at_checked(PREFIX.len()) {
        Some((prefix, short)) if prefix.eq_ignore_ascii_case(PREFIX) => short,
        _ => name,
    }
}

fn read_settings_file(path: &Path) -> Result<toml::Table, Problem> {
    let named = path.display().to_string();
    let text = read_text(path)
        .map_err(|reason| Problem::new(&named, format!("the settings file can't be read: {reason}")))?;
    toml::from_str(&text).map_err(|fault| toml_problem(&named, &text, &fault))
}

/// Whether a value is `[name]`, `[[name]]` or `name.other = …`.
fn is_section(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(_) => true,
        toml::Value::Array(items) => items.iter().any(toml::Value::is_table),
        _ => false,
    }
}

/// Says where a file is no TOML without quoting the line, which may hold a secret.
fn toml_problem(named: &str, text: &str, fault: &toml::de::Error) -> Problem {
    let start = fault.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    Problem::new(
        format!("{named}, line {line}"),
        "is not valid TOML: a setting is written as name = value, a text in quotes",
    )
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| item.as_str()).collect();
            items.map(|items| items.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let content = files::read(path).map_err(|fault| unreadable(path, &fault))?;
    let text = std::str::from_utf8(&content).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(text.to_owned())
}

/// Why a file can't be read, and where it is somebody else's, whose.
fn unreadable(path: &Path, fault: &FileFault) -> String {
    match fault {
        FileFault::Io(error) if error.kind() == ErrorKind::PermissionDenied => match files::shut_out(path) {
            Some(why) => format!("{fault}; {why}"),
            None => fault.to_string(),
        },
        _ => fault.to_string(),
    }
}
