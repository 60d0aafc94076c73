//! What `import-legacy` and `export-legacy` have in common: where the older service's database is, and where secrets go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use auth_domain::id::ClientId;
use auth_domain::secret::ClientSecret;
use auth_storage::{DatabaseUrl, OpenError};

use super::failure::Failure;

/// A database of the older service.
#[derive(Debug, Clone)]
pub(super) struct LegacyPlace(DatabaseUrl);

impl LegacyPlace {
    /// Reads a URL that holds no password: every process of the machine can see a command's arguments.
    ///
    /// # Errors
    /// Where it is none, or holds one. The text is not repeated.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let has_password = authority
            .rsplit_once('@')
            .is_some_and(|(login, _)| login.contains(':'));
        if has_password {
            return Err(
                Failure::usage("every process of this machine could read the password in the URL")
                    .advise("Leave it out, and give it by PGPASSWORD or ~/.pgpass."),
            );
        }
        DatabaseUrl::parse(text)
            .map(Self)
            .map_err(|fault| Failure::usage(fault.to_string()))
    }

    /// The URL.
    pub(super) const fn url(&self) -> &DatabaseUrl {
        &self.0
    }
}

/// The older service's database can't be used: with what to do about it where something else was named.
pub(super) fn unusable(operation: &str, error: &OpenError) -> Failure {
    let failure = Failure::of(operation, error);
    match error {
        OpenError::NotLegacy { .. } => failure.advise(
            "Name the older service's own database, which its DB_URL names. Nothing was written; this service's own \
             database is named by the settings.",
        ),
        _ => failure,
    }
}

/// A new file of secrets, for its owner's eyes only.
#[derive(Debug)]
pub(super) struct SecretsFile(pub(super) File);

impl SecretsFile {
    /// Makes the file.
    ///
    /// # Errors
    /// Where it is there already, or can't be made.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        made.map(Self).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::refused(format!(
                "{} exists already: nothing was done, so that no secret in it is lost",
                path.display()
            )),
            _ => Failure::of("make the file of secrets", &error),
        })
    }

    /// Writes a line with a client and its secret, for good.
    ///
    /// # Errors
    /// Where it can't be written.
    pub(super) fn write(&mut self, client_id: &ClientId, secret: &ClientSecret) -> io::Result<()> {
        writeln!(self.0, "{client_id} {}", secret.expose())?;
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_taken_from_the_argument_and_not_repeated() {
        let refused = LegacyPlace::parse("postgresql+asyncpg://auth:pencil@host/auth")
            .unwrap_err()
            .to_string();
        assert!(!refused.contains("pencil"), "{refused}");
        assert!(LegacyPlace::parse("postgresql://auth@host:5432/auth").is_ok());
        assert!(LegacyPlace::parse("sqlite:///a:b@c/old.db").is_ok());
        assert!(LegacyPlace::parse("mysql://host/auth").is_err());
    }
}
