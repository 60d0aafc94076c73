//! The schema's versions on PostgreSQL, embedded in the program.

use diesel::connection::SimpleConnection;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::links::establish;
use super::{ANSWER_LIMIT, Conn, asked, database_error};
use crate::error::StoreError;
use crate::migrations::{FailedMigration, bring_up, standing, take_back, unknown, versions};
use crate::{MigrationStatus, OpenError, PostgresUrl, foreign};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");
/// Instances that start at once take turns by this lock, and wait for each other; and a migration does not wait for
/// ever for a table that somebody uses: what waits for such a lock keeps everybody who comes after it waiting too.
const TURN: &str =
    "SET lock_timeout = '30s'; SELECT pg_advisory_xact_lock(hashtext('codelab-auth-service'), 0);";

diesel::table! {
    /// Diesel's own record of what has been applied.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Bool)]
    is_known: bool,
}

#[derive(QueryableByName)]
struct Schema {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Who is connected, and whether they may make tables where tables are made.
#[derive(QueryableByName)]
struct Maker {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Bool)]
    may_create: bool,
}

/// Applies what is pending, and names it. Where nothing is, nothing is asked of the server that only an owner may do:
/// a service need not be one.
pub(crate) fn up(url: &PostgresUrl) -> Result<Vec<String>, OpenError> {
    let mut conn = connect_to_own(url)?;
    if !are_pending(&mut conn).map_err(|error| database_error(url, error))? {
        return Ok(Vec::new());
    }
    let maker = maker(&mut conn).map_err(|error| database_error(url, error))?;
    if !maker.may_create {
        return Err(OpenError::MayNotCreate {
            database: url.to_string(),
            user: maker.role,
            schema: maker.schema,
        });
    }
    change(url, &mut conn, |conn| {
        conn.batch_execute(TURN)?;
        bring_up::<Pg>(conn, MIGRATIONS)
    })
}

/// Takes the last one back, and names it.
pub(crate) fn down(url: &PostgresUrl) -> Result<Option<String>, OpenError> {
    let mut conn = connect_to_own(url)?;
    change(url, &mut conn, |conn| {
        conn.batch_execute(TURN)?;
        take_back::<Pg>(conn, &MIGRATIONS)
    })
}

/// Every migration of this program, and whether it has been applied.
pub(crate) fn status(url: &PostgresUrl) -> Result<Vec<MigrationStatus>, OpenError> {
    asked(url, ANSWER_LIMIT, status_of)
}

/// The same, however long that takes.
pub(super) fn status_of(url: &PostgresUrl) -> Result<Vec<MigrationStatus>, OpenError> {
    let applied = applied_at(url)?;
    standing::<Pg>(&MIGRATIONS, &applied).map_err(|error| database_error(url, error))
}

/// What has been applied and is of a later version of this program.
pub(crate) fn later(url: &PostgresUrl) -> Result<Vec<String>, OpenError> {
    let known = versions::<Pg>(&MIGRATIONS).map_err(|error| database_error(url, error))?;
    Ok(unknown(asked(url, ANSWER_LIMIT, applied_at)?, &known))
}

fn applied_at(url: &PostgresUrl) -> Result<Vec<String>, OpenError> {
    applied(&mut connect_to_own(url)?).map_err(|error| database_error(url, error))
}

/// Whether migrations of this program have not been applied yet.
pub(super) fn are_pending(conn: &mut Conn) -> Result<bool, StoreError> {
    let applied = applied(conn)?;
    let known = versions::<Pg>(&MIGRATIONS).map_err(|error| StoreError::NoConnection(error.to_string()))?;
    Ok(known.iter().any(|version| !applied.contains(version)))
}

/// The versions applied so far. Changes nothing, unlike the harness's own question, which makes the record's table.
pub(crate) fn applied(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    let record = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS is_known";
    if !diesel::sql_query(record).get_result::<Known>(conn)?.is_known {
        return Ok(Vec::new());
    }
    Ok(__diesel_schema_migrations::table
        .select(__diesel_schema_migrations::version)
        .load(conn)?)
}

/// Changes the schema in one transaction, which PostgreSQL can take back as a whole.
fn change<T>(
    url: &PostgresUrl,
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, FailedMigration>,
) -> Result<T, OpenError> {
    conn.transaction(work)
        .map_err(|error| database_error(url, error.0))
}

fn maker(conn: &mut Conn) -> Result<Maker, StoreError> {
    let maker = "SELECT current_user::text AS role, current_schema()::text AS schema, \
                 has_schema_privilege(current_schema(), 'CREATE') AS may_create";
    Ok(diesel::sql_query(maker).get_result(conn)?)
}

/// A connection to a database that is ours, or nobody's yet.
fn connect_to_own(url: &PostgresUrl) -> Result<Conn, OpenError> {
    let mut conn = connect(url).map_err(|error| database_error(url, error))?;
    foreign::check_server(url, &mut conn)?;
    Ok(conn)
}

fn connect(url: &PostgresUrl) -> Result<Conn, StoreError> {
    let mut conn = establish(url)?;
    // Without a schema to make tables in, PostgreSQL's own message names nothing that an operator could look for.
    let schema = "SELECT coalesce(current_schema(), '')::text AS name";
    if diesel::sql_query(schema)
        .get_result::<Schema>(&mut conn)?
        .name
        .is_empty()
    {
        return Err(StoreError::NoConnection(
            "the search_path of this user names no schema that exists".to_owned(),
        ));
    }
    Ok(conn)
}
