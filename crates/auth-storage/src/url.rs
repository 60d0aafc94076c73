//! Where the database is, as settings say it.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use crate::trouble::one_line;

/// A database URL that this program can open.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// A file of SQLite's, embedded in the program.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
}

/// The URL of a PostgreSQL database. Its password shows nowhere.
#[derive(Clone)]
pub struct PostgresUrl {
    /// As libpq takes it.
    url: SecretString,
    /// The same without what is secret.
    shown: String,
}

/// Why a text is not such a URL. The text itself is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Of no known form.
    #[error(
        "a database URL has the form sqlite:///relative/path, sqlite:////absolute/path or \
         postgresql://user:password@host:5432/database"
    )]
    Form,
    /// A query string, which would be ignored.
    #[error("the URL of an SQLite database takes no parameters after '?'")]
    Parameters,
    /// A database in memory, which would forget everything.
    #[error("a database URL names a file; a database in memory would forget every session at the next start")]
    InMemory,
    /// No database of the server is named; the driver would take one by the user's name.
    #[error("a PostgreSQL URL names its database, as in postgresql://user:password@host:5432/database")]
    NoDatabase,
    /// What stands before the database's name would be read as something else than was meant.
    #[error(
        "user and password of a PostgreSQL URL are percent-encoded: %40 for @, %3A for :, %2F for /, %3F for ?, %25 for %; \
         host and port follow, as in postgresql://user:password@host:5432/database"
    )]
    Encoding,
    /// A parameter that is not one of those that make sense here.
    #[error(
        "the parameter {0} of a PostgreSQL URL is not known; known are sslmode, sslrootcert, sslcert, sslkey, \
         connect_timeout, application_name, target_session_attrs, host, port"
    )]
    UnknownParameter(String),
    /// A parameter with a value that it can't have.
    #[error("the parameter {parameter} of a PostgreSQL URL must be {allowed}")]
    Value {
        /// Which.
        parameter: &'static str,
        /// What it can be.
        allowed: &'static str,
    },
    /// `ssl` as other drivers write it, with a value that has no twin.
    #[error(
        "ssl takes disable, allow, prefer, require, verify-ca or verify-full (as sslmode does), true or false"
    )]
    Ssl,
}

/// The parameters that libpq is told as they are, and what it takes for each: it would complain of others only when it
/// connects.
const PASSED_ON: [(&str, Values); 9] = [
    (
        "sslmode",
        Values::Of(
            &[
                "disable",
                "allow",
                "prefer",
                "require",
                "verify-ca",
                "verify-full",
            ],
            "disable, allow, prefer, require, verify-ca or verify-full",
        ),
    ),
    ("sslrootcert", Values::Any),
    ("sslcert", Values::Any),
    ("sslkey", Values::Any),
    ("connect_timeout", Values::Seconds),
    ("application_name", Values::Any),
    (
        "target_session_attrs",
        Values::Of(
            &[
                "any",
                "read-write",
                "read-only",
                "primary",
                "standby",
                "prefer-standby",
            ],
            "any, read-write, read-only, primary, standby or prefer-standby",
        ),
    ),
    ("host", Values::Any),
    ("port", Values::Ports),
];
/// Those of them that name files.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// What a parameter can be.
#[derive(Clone, Copy)]
enum Values {
    Any,
    /// One of a list, and the list for people.
    Of(&'static [&'static str], &'static str),
    Seconds,
    /// One for each host.
    Ports,
}

impl Values {
    /// What it would have to be, if it is not that.
    fn refuse(self, value: &str) -> Option<&'static str> {
        let (is_one, allowed) = match self {
            Self::Any => return None,
            Self::Of(list, allowed) => (list.contains(&value), allowed),
            Self::Seconds => (value.parse::<i32>().is_ok(), "a number of seconds"),
            Self::Ports => (
                value
                    .split(',')
                    .all(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0)),
                "a number from 1 to 65535, or one for each host with commas between them",
            ),
        };
        (!is_one).then_some(allowed)
    }
}

impl DatabaseUrl {
    /// Reads `sqlite:///relative`, `sqlite:////absolute` and `postgresql://user:password@host:port/database`, and the
    /// same with `+driver` behind the scheme, as SQLAlchemy writes them.
    ///
    /// # Errors
    /// [`UrlFault`] for everything else.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlFault::Form)?;
        if text.contains('\0') {
            return Err(UrlFault::Form);
        }
        match scheme.split('+').next().unwrap_or(scheme) {
            "sqlite" => sqlite_path(rest).map(Self::Sqlite),
            "postgresql" | "postgres" => PostgresUrl::parse(rest).map(Self::Postgres),
            _ => Err(UrlFault::Form),
        }
    }

    /// The SQLite database in this file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite(path.into())
    }

    /// The file, where the database is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// Whether the database is within this program, and not across a network.
    pub const fn is_embedded(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(out, "sqlite:///{}", path.display()),
            Self::Postgres(url) => url.fmt(out),
        }
    }
}

fn sqlite_path(rest: &str) -> Result<PathBuf, UrlFault> {
    let path = rest.strip_prefix('/').ok_or(UrlFault::Form)?;
    if path.contains('?') {
        return Err(UrlFault::Parameters);
    }
    if path.is_empty() || path.starts_with(':') {
        return Err(UrlFault::InMemory);
    }
    if path.ends_with('/') {
        return Err(UrlFault::Form);
    }
    Ok(path.into())
}

impl PostgresUrl {
    /// Reads what stands behind `postgresql://`.
    fn parse(rest: &str) -> Result<Self, UrlFault> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').ok_or(UrlFault::NoDatabase)?;
        check_authority(authority)?;
        // Where a password holds a slash, what is taken for the database's name is the rest of it.
        if database.contains(['@', ':']) || !is_encoded(database) {
            return Err(UrlFault::Encoding);
        }
        if database.is_empty() || database.contains('/') {
            return Err(UrlFault::NoDatabase);
        }
        let parameters = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(parameter)
            .collect::<Result<Vec<_>, _>>()?;
        let query = match parameters.join("&") {
            none if none.is_empty() => none,
            some => format!("?{some}"),
        };
        let (user, host) = match authority.split_once('@') {
            Some((login, host)) => (login.split(':').next(), host),
            None => (None, authority),
        };
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Ok(Self {
            url: format!("postgresql://{authority}/{database}{query}").into(),
            shown: format!("postgresql://{user}{host}/{database}{query}"),
        })
    }

    /// The URL as libpq takes it, the password in it.
    pub(crate) fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// A text of the driver's, in one line and without the password, should it be in it.
    pub(crate) fn hide(&self, text: &str) -> String {
        let login = self.expose().strip_prefix("postgresql://").unwrap_or_default();
        let login = login.split_once('@').map_or("", |(login, _)| login);
        let Some((_, password)) = login.split_once(':').filter(|(_, password)| !password.is_empty()) else {
            return one_line(text);
        };
        let plain = percent_decode_str(password).decode_utf8_lossy();
        let hidden = text
            .replace(password, "(password)")
            .replace(plain.as_ref(), "(password)");
        one_line(&hidden)
    }

    /// The files that it names, each with the parameter that does: certificates and a key.
    pub fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let named = |parameter| {
            let path = percent_decode_str(self.parameter(parameter)?).decode_utf8_lossy();
            // Those of the system are in no file that could be named.
            (!path.is_empty() && path != "system").then(|| (parameter, path.into_owned().into()))
        };
        FILES.into_iter().filter_map(named).collect()
    }

    /// Whether a parameter of that name is in it.
    pub(crate) fn has(&self, parameter: &str) -> bool {
        self.parameter(parameter).is_some()
    }

    /// Whether whoever listens on the way could read what goes to and from the database, or the server stays on this
    /// machine: only `sslmode` `require` and stronger keep listeners out, others let the server choose.
    pub fn may_go_in_clear(&self) -> bool {
        let is_encrypted = self
            .parameter("sslmode")
            .is_some_and(|mode| matches!(mode, "require" | "verify-ca" | "verify-full"));
        !is_encrypted && !self.is_local()
    }

    /// Whether the server is on this machine.
    fn is_local(&self) -> bool {
        let host = match self.parameter("host") {
            Some(host) => percent_decode_str(host).decode_utf8_lossy().into_owned(),
            None => self.host().to_owned(),
        };
        host.is_empty()
            || host.starts_with('/')
            || ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&host.as_str())
    }

    /// The host of the authority, decoded where it is the path of a socket.
    fn host(&self) -> &str {
        let place = self.shown.strip_prefix("postgresql://").unwrap_or_default();
        let authority = place.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.starts_with("%2F") || host.starts_with("%2f") {
            return "/";
        }
        match host.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.shown.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PostgresUrl({})", self.shown)
    }
}

/// Refuses what libpq would take apart in another way than we do, and then quote in its complaint.
fn check_authority(authority: &str) -> Result<(), UrlFault> {
    let (login, hosts) = authority.split_once('@').unwrap_or(("", authority));
    let is_login = login.matches(':').count() <= 1 && is_encoded(login);
    let are_hosts = hosts.split(',').all(is_host);
    if is_login && are_hosts {
        Ok(())
    } else {
        Err(UrlFault::Encoding)
    }
}

/// Whether each `%` begins a byte in hexadecimal, and nothing is left that has a meaning of its own.
fn is_encoded(text: &str) -> bool {
    let has_digits =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    !text.contains(['@', '[', ']', '#', ' ']) && text.split('%').skip(1).all(has_digits)
}

/// Whether it is a host, with or without a port: a name, an IPv4 address, an IPv6 address in brackets, or the encoded
/// path of a socket.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, rest)) => (address, rest),
            None => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    is_port && is_encoded(host) && host.bytes().all(is_name)
}

/// One parameter as libpq takes it. `ssl` is what asyncpg calls `sslmode`.
fn parameter(pair: &str) -> Result<String, UrlFault> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    if let Some((parameter, values)) = PASSED_ON.iter().find(|(known, _)| *known == name) {
        let plain = percent_decode_str(value).decode_utf8_lossy();
        return match values.refuse(&plain) {
            None => Ok(format!("{name}={value}")),
            Some(allowed) => Err(UrlFault::Value { parameter, allowed }),
        };
    }
    if name != "ssl" {
        return Err(UrlFault::UnknownParameter(shortened(name)));
    }
    match value {
        "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full" => {
            Ok(format!("sslmode={value}"))
        }
        "true" | "True" | "1" => Ok("sslmode=require".to_owned()),
        "false" | "False" | "0" => Ok("sslmode=disable".to_owned()),
        _ => Err(UrlFault::Ssl),
    }
}

/// A name as far as it can be told: what is no plain word may be a password with a `?` in it.
fn shortened(name: &str) -> String {
    let is_word = name.len() <= 32
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '_');
    if is_word { name } else { "(not shown)" }.to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("sqlite:///data/auth.db", "data/auth.db")]
    #[case("sqlite:////var/lib/auth.db", "/var/lib/auth.db")]
    #[case("sqlite+aiosqlite:///data/auth.db", "data/auth.db")]
    fn three_slashes_are_relative_and_four_absolute(#[case] url: &str, #[case] path: &str) {
        let parsed = DatabaseUrl::parse(url).unwrap();
        assert_eq!(parsed.path(), Some(Path::new(path)));
        assert!(parsed.is_embedded());
        assert_eq!(
            DatabaseUrl::parse(&parsed.to_string()).unwrap().path(),
            parsed.path()
        );
    }

    /// The fault of a value that this parameter can't have.
    fn value_of(parameter: &'static str) -> UrlFault {
        let (_, values) = PASSED_ON.iter().find(|(known, _)| *known == parameter).unwrap();
        let allowed = values.refuse("?").unwrap();
        UrlFault::Value { parameter, allowed }
    }

    #[rstest]
    #[case("postgresql://host/db?sslmode=verify%2Dfull")]
    #[case("postgresql://a,b/db?target_session_attrs=read-write&connect_timeout=3")]
    #[case("postgresql:///db?host=a,b&port=5432,5433")]
    #[case("postgresql:///db?host=a,b&port=,5433")]
    fn what_libpq_takes_is_taken(#[case] url: &str) {
        assert!(DatabaseUrl::parse(url).is_ok());
    }

    #[test]
    fn the_files_of_a_url_are_known() {
        let url =
            "postgresql://host/db?sslrootcert=%2Fetc%2Fca.pem&sslcert=a b.pem&sslkey=&sslmode=verify-full";
        let DatabaseUrl::Postgres(url) = DatabaseUrl::parse(url).unwrap() else {
            panic!("a PostgreSQL URL");
        };
        let named = [("sslrootcert", "/etc/ca.pem"), ("sslcert", "a b.pem")];
        assert_eq!(
            url.files(),
            named.map(|(parameter, path)| (parameter, PathBuf::from(path)))
        );
    }

    #[rstest]
    #[case("", UrlFault::Form)]
    #[case("data/auth.db", UrlFault::Form)]
    #[case("sqlite://data/auth.db", UrlFault::Form)]
    #[case("sqlite:///data/", UrlFault::Form)]
    #[case("sqlite:///data\0", UrlFault::Form)]
    #[case("mysql://host/db", UrlFault::Form)]
    #[case("sqlite:///data/auth.db?timeout=5", UrlFault::Parameters)]
    #[case("sqlite:///", UrlFault::InMemory)]
    #[case("sqlite:///:memory:", UrlFault::InMemory)]
    #[case("postgresql://host", UrlFault::NoDatabase)]
    #[case("postgresql://host/", UrlFault::NoDatabase)]
    #[case("postgresql://user:word@host/db/more", UrlFault::NoDatabase)]
    #[case("postgresql://u:Pen@cil77@host/db", UrlFault::Encoding)]
    #[case("postgresql://u:Pen%cil@host/db", UrlFault::Encoding)]
    #[case("postgresql://u:Pen/cil77@host", UrlFault::Encoding)]
    #[case("postgresql://u:Pen/cil77@host/db", UrlFault::Encoding)]
    #[case("postgresql://u:Pen:cil@host/db", UrlFault::Encoding)]
    #[case("postgresql://u:Pen?cil@host/db", UrlFault::NoDatabase)]
    #[case("postgresql://u:pencil@host:cil/db", UrlFault::Encoding)]
    #[case("postgresql://u:pencil@[::1/db", UrlFault::Encoding)]
    #[case("postgresql://host/db?ssl=perhaps", UrlFault::Ssl)]
    #[case("postgresql://host/db?sslmode=verify_full", value_of("sslmode"))]
    #[case("postgresql://host/db?sslmode=", value_of("sslmode"))]
    #[case(
        "postgresql://host/db?target_session_attrs=master",
        value_of("target_session_attrs")
    )]
    #[case("postgresql://host/db?connect_timeout=abc", value_of("connect_timeout"))]
    #[case("postgresql:///db?host=a&port=99999", value_of("port"))]
    #[case("postgresql://host/db?password=pencil", UrlFault::UnknownParameter("password".into()))]
    #[case("postgresql://host/db?options=-c", UrlFault::UnknownParameter("options".into()))]
    #[case("postgresql://u:p@host/db?x:Pen9cil@h/db", UrlFault::UnknownParameter("(not shown)".into()))]
    fn what_can_not_be_opened_is_refused_by_its_reason(#[case] url: &str, #[case] fault: UrlFault) {
        let refused = DatabaseUrl::parse(url).unwrap_err();
        assert!(!refused.to_string().contains("encil"));
        assert_eq!(refused, fault);
    }

    #[rstest]
    #[case("postgresql://u:pencil@host:5433/db", "postgresql://u@host:5433/db")]
    #[case("postgres://host/db", "postgresql://host/db")]
    #[case(
        "postgresql+asyncpg://u:pen%40cil@host/db?ssl=require",
        "postgresql://u@host/db?sslmode=require"
    )]
    #[case(
        "postgresql://u:pencil@a.example:5432,[::1]:5433/db",
        "postgresql://u@a.example:5432,[::1]:5433/db"
    )]
    #[case("postgresql:///db?host=%2Frun", "postgresql:///db?host=%2Frun")]
    fn a_postgresql_url_shows_everything_but_its_password(#[case] url: &str, #[case] shown: &str) {
        let parsed = DatabaseUrl::parse(url).unwrap();
        assert!(!parsed.is_embedded());
        assert_eq!(parsed.path(), None);
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(format!("{parsed:?}"), format!("Postgres(PostgresUrl({shown}))"));
    }

    #[test]
    fn what_the_driver_says_is_told_without_the_password_in_either_form() {
        let DatabaseUrl::Postgres(url) = DatabaseUrl::parse("postgresql://u:pen%40cil@host/db").unwrap()
        else {
            panic!("a PostgreSQL URL");
        };
        let said = url.hide(r#"invalid "pen%40cil", or is it "pen@cil"?"#);
        assert_eq!(said, r#"invalid "(password)", or is it "(password)"?"#);
        let DatabaseUrl::Postgres(url) = DatabaseUrl::parse("postgresql://u@host/db").unwrap() else {
            panic!("a PostgreSQL URL");
        };
        assert_eq!(url.hide("as it is"), "as it is");
        assert_eq!(url.hide("refused\n\tIs it there?\n"), "refused Is it there?");
    }

    #[rstest]
    #[case("postgresql://u:p@db.example/db", true)]
    #[case("postgresql://u:p@db.example/db?sslmode=prefer", true)]
    #[case("postgresql://u:p@db.example/db?sslmode=require", false)]
    #[case("postgresql://u:p@db.example/db?ssl=verify-full", false)]
    #[case("postgresql://u:p@127.0.0.1:5432/db", false)]
    #[case("postgresql://u:p@[::1]:5432/db", false)]
    #[case("postgresql://localhost/db", false)]
    #[case("postgresql:///db?host=%2Frun%2Fpostgresql", false)]
    #[case("postgresql://%2Frun%2Fpostgresql/db", false)]
    #[case("postgresql:///db?host=db.example", true)]
    fn only_tls_or_this_very_machine_keeps_listeners_out(#[case] url: &str, #[case] in_clear: bool) {
        let DatabaseUrl::Postgres(url) = DatabaseUrl::parse(url).unwrap() else {
            panic!("a PostgreSQL URL");
        };
        assert_eq!(url.may_go_in_clear(), in_clear);
    }
}
