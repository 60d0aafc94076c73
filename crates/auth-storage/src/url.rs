//! Where the database is, as settings say it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A database URL that this program can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    path: PathBuf,
}

/// Why a text is not such a URL. The text itself is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Not `sqlite:///path`.
    #[error("a database URL has the form sqlite:///relative/path or sqlite:////absolute/path")]
    Form,
    /// A query string, which would be ignored.
    #[error("a database URL takes no parameters after '?'")]
    Parameters,
    /// A database in memory, which would forget everything.
    #[error("a database URL names a file; a database in memory would forget every session at the next start")]
    InMemory,
    /// A PostgreSQL URL.
    #[error(
        "PostgreSQL is not built into this version; use sqlite:///relative/path or sqlite:////absolute/path"
    )]
    PostgresNotBuilt,
}

impl DatabaseUrl {
    /// Reads `sqlite:///relative`, `sqlite:////absolute`, and the same with `sqlite+driver` for the scheme, as
    /// SQLAlchemy writes them.
    ///
    /// # Errors
    /// [`UrlFault`] for everything else.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlFault::Form)?;
        match scheme.split('+').next().unwrap_or(scheme) {
            "sqlite" => {}
            "postgresql" | "postgres" => return Err(UrlFault::PostgresNotBuilt),
            _ => return Err(UrlFault::Form),
        }
        let path = rest.strip_prefix('/').ok_or(UrlFault::Form)?;
        if path.contains('?') {
            return Err(UrlFault::Parameters);
        }
        if path.is_empty() || path.starts_with(':') {
            return Err(UrlFault::InMemory);
        }
        if path.ends_with('/') || path.contains('\0') {
            return Err(UrlFault::Form);
        }
        Ok(Self::file(path))
    }

    /// The database in this file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sqlite:///{}", self.path.display())
    }
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
        assert_eq!(parsed.path(), Path::new(path));
        assert_eq!(DatabaseUrl::parse(&parsed.to_string()).unwrap(), parsed);
    }

    #[rstest]
    #[case("", UrlFault::Form)]
    #[case("data/auth.db", UrlFault::Form)]
    #[case("sqlite://data/auth.db", UrlFault::Form)]
    #[case("sqlite:///data/", UrlFault::Form)]
    #[case("mysql://host/db", UrlFault::Form)]
    #[case("sqlite:///data/auth.db?timeout=5", UrlFault::Parameters)]
    #[case("sqlite:///", UrlFault::InMemory)]
    #[case("sqlite:///:memory:", UrlFault::InMemory)]
    #[case("postgresql://user:word@host/db", UrlFault::PostgresNotBuilt)]
    #[case("postgresql+asyncpg://user:word@host/db", UrlFault::PostgresNotBuilt)]
    fn what_can_not_be_opened_is_refused_by_its_reason(#[case] url: &str, #[case] fault: UrlFault) {
        assert_eq!(DatabaseUrl::parse(url), Err(fault));
    }
}
