//! What is wrong with the way to a PostgreSQL server, told by what it or its library says.
//!
//! The library gives no code for what happens before a connection stands, but a text; its own is English always, the
//! server's is in the language of its configuration. What is not known by its text stays unnamed.

use std::error::Error;

use crate::OpenError;
use crate::error::StoreError;

/// A reason that an operator can do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The password is missing, or not that of the user.
    Password,
    /// The server has no such database.
    NoDatabase,
    /// The server has no such user.
    NoRole,
    /// The server lets this user from this address not in, or only with TLS.
    NotAdmitted,
    /// Nobody listens there, or nobody answers.
    Unreachable,
    /// The host's name stands for no address.
    UnknownHost,
    /// TLS is demanded, and the server has none.
    NoTls,
    /// The certificate is of an authority that is not trusted, or of another host.
    NotTrusted,
    /// The user may not do what is to be done.
    MissingRights,
    /// Migrations are pending, and the user may make no tables.
    MayNotCreate,
    /// The server has as many connections as it takes.
    TooManyConnections,
    /// The server is about to be there, or about to go.
    NotReady,
}

/// What tells each. The first that is found holds: with several addresses of a host, the library says something about
/// each of them.
const SIGNS: [(Trouble, &[&str]); 11] = [
    (
        Trouble::Password,
        &[
            "password authentication failed",
            "no password supplied",
            "authentication failed for user",
        ],
    ),
    (
        Trouble::NotAdmitted,
        &["no pg_hba.conf entry", "pg_hba.conf rejects"],
    ),
    (
        Trouble::TooManyConnections,
        &[
            "too many clients already",
            "remaining connection slots are reserved",
            "too many connections for",
        ],
    ),
    (
        Trouble::NotReady,
        &[
            "the database system is starting up",
            "the database system is shutting down",
            "the database system is in recovery mode",
            "the database system is not yet accepting connections",
            "the database system is not accepting connections",
            "is not currently accepting connections",
        ],
    ),
    (Trouble::NoRole, &["FATAL: role \"", "is not permitted to log in"]),
    (Trouble::NoDatabase, &["FATAL: database \""]),
    (Trouble::NoTls, &["server does not support SSL"]),
    (
        Trouble::NotTrusted,
        &[
            "certificate verify failed",
            "does not match host name",
            "root certificate file",
            "could not read root certificate file",
            "server certificate for",
        ],
    ),
    (Trouble::UnknownHost, &["could not translate host name"]),
    (
        Trouble::MissingRights,
        &["permission denied for", "must be owner of"],
    ),
    (
        Trouble::Unreachable,
        &[
            "Connection refused",
            "timeout expired",
            "timed out",
            "No route to host",
            "Network is unreachable",
            "No such file or directory Is the server running",
            "server closed the connection unexpectedly",
        ],
    ),
];

impl Trouble {
    /// What an error is about that came, maybe through others, from this crate; `None` where that is not known. Others
    /// speak of refused connections, too.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut is_ours = false;
        let mut next = Some(error);
        while let Some(error) = next {
            is_ours |= error.is::<OpenError>() || error.is::<StoreError>();
            let found = is_ours.then(|| Self::in_error(error)).flatten();
            if found.is_some() {
                return found;
            }
            next = error.source();
        }
        None
    }

    fn in_error(error: &(dyn Error + 'static)) -> Option<Self> {
        match error.downcast_ref() {
            Some(OpenError::MayNotCreate { .. }) => Some(Self::MayNotCreate),
            Some(_) | None => Self::in_text(&one_line(&error.to_string())),
        }
    }

    fn in_text(text: &str) -> Option<Self> {
        SIGNS
            .iter()
            .find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)))
            .map(|(trouble, _)| *trouble)
    }
}

/// A text of the library's, which has several lines and indents some, in one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "FATAL:  password authentication failed for user \"auth\"\n",
        Some(Trouble::Password)
    )]
    #[case("fe_sendauth: no password supplied", Some(Trouble::Password))]
    #[case("FATAL:  database \"auth\" does not exist", Some(Trouble::NoDatabase))]
    #[case("FATAL:  role \"auth\" does not exist", Some(Trouble::NoRole))]
    #[case(
        "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\", user \"auth\", database \"auth\", no encryption",
        Some(Trouble::NotAdmitted)
    )]
    #[case(
        "connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running on that host \
         and accepting TCP/IP connections?\n",
        Some(Trouble::Unreachable)
    )]
    #[case(
        "connection to server on socket \"/run/.s.PGSQL.5432\" failed: No such file or directory\n\tIs the server running \
         locally and accepting connections on that socket?\n",
        Some(Trouble::Unreachable)
    )]
    #[case("timed out waiting for connection", Some(Trouble::Unreachable))]
    #[case(
        "could not translate host name \"db.invalid\" to address: Name or service not known\n",
        Some(Trouble::UnknownHost)
    )]
    #[case("server does not support SSL, but SSL was required", Some(Trouble::NoTls))]
    #[case("SSL error: certificate verify failed", Some(Trouble::NotTrusted))]
    #[case(
        "root certificate file \"/var/lib/auth/root.crt\" does not exist",
        Some(Trouble::NotTrusted)
    )]
    #[case(
        "server certificate for \"localhost\" does not match host name \"127.0.0.1\"",
        Some(Trouble::NotTrusted)
    )]
    #[case("permission denied for table users", Some(Trouble::MissingRights))]
    #[case("FATAL:  sorry, too many clients already", Some(Trouble::TooManyConnections))]
    #[case("FATAL:  the database system is starting up", Some(Trouble::NotReady))]
    #[case("FATAL:  Passwort-Authentifizierung für Benutzer »auth« fehlgeschlagen", None)]
    #[case("something else", None)]
    fn each_trouble_is_known_by_what_is_said(#[case] text: &str, #[case] trouble: Option<Trouble>) {
        assert_eq!(Trouble::in_text(&one_line(text)), trouble);
    }

    #[test]
    fn lines_and_tabs_become_blanks() {
        assert_eq!(one_line("refused\n\tIs it there?\n"), "refused Is it there?");
    }
}
