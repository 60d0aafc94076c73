//! Looks into the database of an installation, beside the server that owns it.

use std::collections::BTreeMap;
use std::path::Path;

use auth_domain::claims::RefreshClaims;
use auth_domain::id::JtiHash;
use auth_e2e::installation::Installation;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::connection::SimpleConnection;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::Sqlite;

/// A connection to the database.
pub(crate) enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Bytes {
    #[diesel(sql_type = Binary)]
    bytes: Vec<u8>,
}

impl Database {
    /// That of an installation, whichever it stores in.
    pub(crate) fn of(installation: &Installation) -> Self {
        let url = installation.database_url();
        if let Some(file) = url.strip_prefix("sqlite:///") {
            return Self::open(Path::new(file));
        }
        let mut connection = PgConnection::establish(url).unwrap();
        connection
            .batch_execute("SET default_transaction_read_only = on")
            .unwrap();
        Self::Postgres(connection)
    }

    /// A file of SQLite's.
    pub(crate) fn open(file: &Path) -> Self {
        let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        connection
            .batch_execute("PRAGMA busy_timeout = 10000; PRAGMA query_only = ON")
            .unwrap();
        Self::Sqlite(connection)
    }

    /// How many rows of the audit trail there are of each kind.
    pub(crate) fn audited(&mut self) -> BTreeMap<String, i64> {
        self.named("SELECT event_type AS name, count(*) AS number FROM audit_logs GROUP BY event_type")
    }

    /// The one number that a query gives.
    pub(crate) fn number(&mut self, of: &str) -> i64 {
        let rows = self.named(&format!("SELECT 'it' AS name, ({of}) AS number"));
        rows["it"]
    }

    /// What is wrong with it: with an SQLite file by its own judgement, and with any database by ours, that each chain's
    /// head is the one token of its history that has no successor. `ok` where that is nothing.
    pub(crate) fn faults(&mut self) -> Vec<String> {
        let astray = "SELECT count(*) FROM (SELECT s.id FROM sessions s LEFT JOIN refresh_tokens t \
             ON t.session_id = s.id LEFT JOIN refresh_tokens n ON n.parent_id = t.id WHERE n.id IS NULL \
             GROUP BY s.id HAVING count(t.id) <> 1 OR count(CASE WHEN t.id = s.head_token_id \
             AND t.jti_hash = s.head_jti_hash THEN 1 END) <> 1) AS astray";
        let astray = self.number(astray);
        if astray > 0 {
            return vec![format!("{astray} chains have no head or several")];
        }
        match self {
            Self::Sqlite(_) => self.texts("SELECT integrity_check AS name FROM pragma_integrity_check"),
            Self::Postgres(_) => vec!["ok".to_owned()],
        }
    }

    /// The head of the chain that a refresh token belongs to.
    pub(crate) fn head_of_chain(&mut self, refresh_token: &str) -> JtiHash {
        let claims: serde_json::Value = serde_json::from_slice(&payload(refresh_token)).unwrap();
        let session = claims["sid"].as_str().unwrap();
        let id = match self {
            Self::Sqlite(_) => format!("x'{}'", session.replace('-', "")),
            Self::Postgres(_) => format!("'{session}'"),
        };
        let query = format!("SELECT head_jti_hash AS bytes FROM sessions WHERE id = {id}");
        let mut head: Vec<Bytes> = self.rows(&query);
        JtiHash::from_bytes(head.remove(0).bytes.try_into().unwrap())
    }

    /// Every password hash.
    pub(crate) fn password_hashes(&mut self) -> Vec<String> {
        self.texts("SELECT password_hash AS name FROM users")
    }

    /// What a query finds in its one column, `name`; each only once.
    pub(crate) fn texts(&mut self, query: &str) -> Vec<String> {
        let query = format!("SELECT name, CAST(0 AS BIGINT) AS number FROM ({query}) AS found");
        self.named(&query).into_keys().collect()
    }

    fn named(&mut self, query: &str) -> BTreeMap<String, i64> {
        let rows: Vec<Named> = self.rows(query);
        rows.into_iter().map(|row| (row.name, row.number)).collect()
    }

    fn rows<R>(&mut self, query: &str) -> Vec<R>
    where
        R: QueryableByName<Sqlite> + QueryableByName<Pg> + 'static,
    {
        let query = diesel::sql_query(query);
        match self {
            Self::Sqlite(connection) => query.load(connection).unwrap(),
            Self::Postgres(connection) => query.load(connection).unwrap(),
        }
    }
}

/// What a refresh token says, taken at its word.
pub(crate) fn claims(refresh_token: &str) -> RefreshClaims {
    serde_json::from_slice(&payload(refresh_token)).unwrap()
}

/// The payload of a token, decoded.
pub(crate) fn payload(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()
}

/// A number in the payload of a token.
pub(crate) fn payload_number(token: &str, claim: &str) -> i64 {
    let claims: serde_json::Value = serde_json::from_slice(&payload(token)).unwrap();
    claims[claim].as_i64().unwrap()
}
