//! Looks at a database on a server of PostgreSQL's as the role that the service has there.

use auth_domain::time::Timestamp;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Text};

use super::links::establish;
use super::migrations::are_pending;
use super::{ANSWER_LIMIT, Conn, asked, database_error};
use crate::error::StoreError;
use crate::examine::{Examination, ServerExamination, Writing};
use crate::{OpenError, PostgresUrl, foreign, transfer};

const ASKED: &str = "\
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int4 AS number, \
    (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS clock, current_user::text AS role, \
    coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), FALSE) AS is_superuser";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Integer)]
    number: i32,
    #[diesel(sql_type = BigInt)]
    clock: i64,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Bool)]
    is_superuser: bool,
}

/// Examines a database.
pub(crate) fn examine(url: &PostgresUrl) -> Result<Examination, OpenError> {
    asked(url, ANSWER_LIMIT, examine_in_full)
}

fn examine_in_full(url: &PostgresUrl) -> Result<Examination, OpenError> {
    let mut conn = establish(url).map_err(|error| database_error(url, error))?;
    foreign::check_server(url, &mut conn)?;
    ask(url, &mut conn).map_err(|error| database_error(url, error))
}

fn ask(url: &PostgresUrl, conn: &mut Conn) -> Result<Examination, StoreError> {
    // The writes first, so that the time is told as late as can be.
    let writing = if are_pending(conn)? {
        Writing::Untried
    } else {
        try_writing(url, conn)
    };
    let answer: Answer = diesel::sql_query(ASKED).get_result(conn)?;
    Ok(Examination {
        version: format!("PostgreSQL {}", answer.version),
        writing,
        server: Some(ServerExamination {
            major: u32::try_from(answer.number / 10_000).unwrap_or_default(),
            clock: Timestamp::from_micros(answer.clock),
            role: answer.role,
            is_superuser: answer.is_superuser,
        }),
    })
}

/// Writes no row into each table: what the server allows or refuses is the same as of a row.
fn try_writing(url: &PostgresUrl, conn: &mut Conn) -> Writing {
    let tried: Vec<_> = transfer::tables().map(none_into).collect();
    let tried = format!(
        "BEGIN; SET LOCAL lock_timeout = '5s'; {} UPDATE users SET username = username WHERE FALSE; ROLLBACK;",
        tried.concat()
    );
    match conn.batch_execute(&tried) {
        Ok(()) => Writing::Works,
        Err(error) => {
            let _ = conn.batch_execute("ROLLBACK");
            Writing::Refused(url.hide(&error.to_string()))
        }
    }
}

fn none_into(table: &str) -> String {
    format!("INSERT INTO {table} SELECT * FROM {table} WHERE FALSE; DELETE FROM {table} WHERE FALSE;")
}

#[cfg(test)]
mod tests {
    use auth_testkit::server::Database;

    use super::*;
    use crate::{DatabaseUrl, Migrations, examine};

    #[test]
    fn a_database_is_examined_before_and_after_its_migrations() {
        let database = Database::new();
        let url = DatabaseUrl::parse(&database.url()).unwrap();
        assert_eq!(examine(&url).unwrap().writing, Writing::Untried);
        Migrations::of(&url).up().unwrap();
        let found = examine(&url).unwrap();
        assert!(found.version.starts_with("PostgreSQL "), "{found:?}");
        assert_eq!(found.writing, Writing::Works);
        let server = found.server.unwrap();
        assert!(
            server.major >= 15 && server.clock > Timestamp::default(),
            "{server:?}"
        );
    }

    #[test]
    fn a_database_that_takes_no_writes_says_so() {
        let database = Database::new();
        let url = DatabaseUrl::parse(&database.url()).unwrap();
        Migrations::of(&url).up().unwrap();
        let DatabaseUrl::Postgres(postgres) = &url else {
            panic!("a PostgreSQL URL");
        };
        let name = database.url().rsplit('/').next().unwrap().to_owned();
        establish(postgres)
            .unwrap()
            .batch_execute(&format!(
                "ALTER DATABASE \"{name}\" SET default_transaction_read_only = on"
            ))
            .unwrap();
        let writing = examine(&url).unwrap().writing;
        assert!(
            matches!(&writing, Writing::Refused(said) if said.contains("read-only")),
            "{writing:?}"
        );
    }
}
