//! PostgreSQL: connections in a pool, rotations in as few round trips as can be, and what else this database wants its
//! own way.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use auth_domain::id::ClientId;
use diesel::pg::PgConnection;
use diesel::prelude::*;

use crate::error::StoreError;
use crate::schema::oauth_clients;
use crate::types::Id;
use crate::{OpenError, PostgresUrl};

#[path = "../body/mod.rs"]
mod body;
pub(crate) mod ends;
mod engine;
pub(crate) mod examine;
pub(crate) mod line;
pub(crate) mod links;
mod lookups;
pub(crate) mod migrations;
mod rotations;
mod statement;
mod work;

pub(crate) use body::Adapter;
use body::find_session;
pub(crate) use engine::{Engine, open};
use migrations::are_pending as migrations_are_pending;

/// A connection.
pub(crate) type Conn = PgConnection;

/// Whether the client may be used, and stays so until the transaction ends: a change of the client waits for the lock
/// on its row.
fn client_is_active(conn: &mut Conn, client_id: &ClientId) -> Result<bool, StoreError> {
    let is_active = oauth_clients::table
        .filter(oauth_clients::client_id.eq(client_id.as_str()))
        .select(oauth_clients::is_active)
        .for_share()
        .get_result(conn)
        .optional()?;
    Ok(is_active.unwrap_or(false))
}

/// Keeps whoever else founds the store out until the transaction ends.
fn found_alone(conn: &mut Conn) -> Result<(), StoreError> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('codelab-auth-service'), 1)").execute(conn)?;
    Ok(())
}

/// Fails where the server takes no writes though a transaction can be begun: a standby, or a read-only database.
fn check_writable(conn: &mut Conn) -> Result<(), StoreError> {
    diesel::sql_query("SELECT 1 FROM users WHERE FALSE FOR UPDATE").execute(conn)?;
    Ok(())
}

/// Follows chains from their heads to their first tokens that are still there, and deletes them: one statement, since
/// each step by itself would be a round trip.
fn delete_chains(conn: &mut Conn, heads: &[Id]) -> Result<(), StoreError> {
    diesel::sql_query(
        "WITH RECURSIVE chain (id, parent_id) AS ( \
             SELECT id, parent_id FROM refresh_tokens WHERE id = ANY ($1) \
             UNION ALL \
             SELECT token.id, token.parent_id FROM refresh_tokens AS token JOIN chain ON token.id = chain.parent_id \
         ) DELETE FROM refresh_tokens USING chain WHERE refresh_tokens.id = chain.id",
    )
    .bind::<diesel::sql_types::Array<crate::types::DbUuid>, _>(heads)
    .execute(conn)?;
    Ok(())
}

/// How long a server may take to answer whoever only wants to know how it stands.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Asks a server, which may take connections and say nothing: limits that it is told of it would have to keep itself. One
/// that does not answer leaves a thread that waits for it until the process ends.
fn asked<T: Send + 'static>(
    url: &PostgresUrl,
    limit: Duration,
    ask: impl FnOnce(&PostgresUrl) -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let (tell, told) = mpsc::channel();
    let own = url.clone();
    thread::Builder::new()
        .name("ask".to_owned())
        // Whoever asked may have gone.
        .spawn(move || drop(tell.send(ask(&own))))
        .map_err(|error| database_error(url, error))?;
    told.recv_timeout(limit).unwrap_or_else(|_| {
        let seconds = limit.as_secs();
        let silent = format!("it has taken the connection, and has not answered for {seconds} s");
        Err(database_error(url, StoreError::NoConnection(silent)))
    })
}

fn database_error(
    url: &PostgresUrl,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Database {
        database: url.to_string(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::DatabaseUrl;

    #[test]
    fn a_server_that_takes_connections_and_says_nothing_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let url = format!("postgresql://u@{address}/d?connect_timeout=300");
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&url) else {
            panic!("a PostgreSQL URL");
        };
        let refused = asked(&url, Duration::from_millis(50), migrations::status_of).unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains("has not answered"), "{cause}");
        let answered = asked(&url, Duration::from_mins(1), |_| Ok(7));
        assert_eq!(answered.unwrap(), 7);
    }
}
