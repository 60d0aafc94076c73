//! Looks at a file of SQLite's without making one, and without turning anything on in it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::{Conn, database_error, file_name};
use crate::error::StoreError;
use crate::examine::{Examination, Writing};
use crate::{OpenError, foreign};

/// How long to wait for a writer of another process: longer than any transaction of this program takes.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Examines a file, which must be there.
pub(crate) fn examine(path: &Path) -> Result<Examination, OpenError> {
    // A connection would make the file, and says of one that can't be read only that it can't be opened.
    File::open(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    let file = file_name(path)?;
    foreign::check_file(path, &file)?;
    ask(&file).map_err(|error| database_error(path, error))
}

fn ask(file: &str) -> Result<Examination, StoreError> {
    let mut conn = Conn::establish(file).map_err(|error| StoreError::NoConnection(error.to_string()))?;
    conn.batch_execute(&format!("PRAGMA busy_timeout = {};", PATIENCE.as_millis()))?;
    // The catalogue is read, so that what is no database shows.
    let version = "SELECT 'SQLite ' || sqlite_version() AS version FROM (SELECT count(*) FROM sqlite_schema)";
    let version = diesel::sql_query(version)
        .get_result::<Version>(&mut conn)?
        .version;
    // The lock of a writer is had only where writing is possible; nothing need be written under it.
    let writing = match conn.batch_execute("BEGIN IMMEDIATE; ROLLBACK;") {
        Ok(()) => Writing::Works,
        Err(error) => Writing::Refused(error.to_string()),
    };
    Ok(Examination {
        version,
        writing,
        server: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseUrl, Migrations, examine};

    #[test]
    fn a_database_is_examined_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        let url = DatabaseUrl::file(&path);
        Migrations::of(&url).up().unwrap();
        let before = std::fs::read(&path).unwrap();
        let found = examine(&url).unwrap();
        assert!(found.version.starts_with("SQLite 3."), "{found:?}");
        assert_eq!((found.writing, found.server), (Writing::Works, None));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::file(folder.path().join("auth.db"));
        assert!(matches!(examine(&url), Err(OpenError::File { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_database_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        std::fs::write(&path, "no database, whatever its name says ".repeat(100)).unwrap();
        let said = examine(&DatabaseUrl::file(&path)).unwrap_err();
        let cause = std::error::Error::source(&said).unwrap().to_string();
        assert!(cause.contains("not a database"), "{cause}");
    }

    #[test]
    fn a_writer_that_does_not_end_shows_as_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.db");
        let url = DatabaseUrl::file(&path);
        Migrations::of(&url).up().unwrap();
        let mut other = Conn::establish(path.to_str().unwrap()).unwrap();
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
        let writing = examine(&url).unwrap().writing;
        assert!(
            matches!(&writing, Writing::Refused(said) if said.contains("locked")),
            "{writing:?}"
        );
    }
}
