//! Looks into the database of an installation, beside the server that owns it.

use std::collections::BTreeMap;
use std::path::Path;

use auth_domain::claims::RefreshClaims;
use auth_domain::id::JtiHash;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};

/// A connection to the database file.
pub(crate) struct Database(SqliteConnection);

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
    pub(crate) fn open(file: &Path) -> Self {
        let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        connection
            .batch_execute("PRAGMA busy_timeout = 10000; PRAGMA query_only = ON")
            .unwrap();
        Self(connection)
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

    /// What SQLite finds wrong with the file; `ok` where that is nothing.
    pub(crate) fn faults(&mut self) -> Vec<String> {
        let rows = self.named("SELECT integrity_check AS name, 0 AS number FROM pragma_integrity_check");
        rows.into_keys().collect()
    }

    /// The head of the chain that a refresh token belongs to.
    pub(crate) fn head_of_chain(&mut self, refresh_token: &str) -> JtiHash {
        let session = claims(refresh_token).sid;
        let head: Bytes = diesel::sql_query("SELECT head_jti_hash AS bytes FROM sessions WHERE id = ?")
            .bind::<Binary, _>(session.as_uuid().as_bytes().to_vec())
            .get_result(&mut self.0)
            .unwrap();
        JtiHash::from_bytes(head.bytes.try_into().unwrap())
    }

    /// Every password hash.
    pub(crate) fn password_hashes(&mut self) -> Vec<String> {
        let rows = self.named("SELECT password_hash AS name, 0 AS number FROM users");
        rows.into_keys().collect()
    }

    fn named(&mut self, query: &str) -> BTreeMap<String, i64> {
        let rows: Vec<Named> = diesel::sql_query(query).load(&mut self.0).unwrap();
        rows.into_iter().map(|row| (row.name, row.number)).collect()
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
