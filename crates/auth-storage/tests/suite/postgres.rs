//! The rules that every store keeps, on PostgreSQL; and a database for one test, with a look inside it past the store.

use std::sync::Arc;

use auth_domain::id::{JtiHash, RowId, SessionId, UserId};
use auth_domain::time::Timestamp;
use auth_storage::{DatabaseUrl, Migrations, StoreOptions};
use auth_testkit::contract::stage::{Inside, SeenAudit, Stage};
use auth_testkit::fake::StoredToken;
use auth_testkit::server::Database;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use uuid::Uuid;

use crate::file::stage_over;

auth_testkit::store_contract!(stage());

/// A database of a server that tests share.
pub(crate) struct Shared(Database);

impl Shared {
    /// A database of whichever server.
    pub(crate) fn of(database: Database) -> Self {
        Self(database)
    }

    /// Runs a statement as an administrator, and says what it found.
    pub(crate) fn tell(&self, sql: &str) -> String {
        self.0.tell(sql).expect("the statement is good")
    }

    pub(crate) fn unmigrated() -> Self {
        Self(Database::new())
    }

    pub(crate) fn new() -> Self {
        let database = Self::unmigrated();
        Migrations::of(&database.url())
            .up()
            .expect("a new database takes the schema");
        database
    }

    pub(crate) fn url(&self) -> DatabaseUrl {
        DatabaseUrl::parse(&self.0.url()).expect("the server gives a good URL")
    }

    /// Another URL of the same database.
    pub(crate) fn another_url(&self) -> DatabaseUrl {
        DatabaseUrl::parse(&format!("{}?connect_timeout=9", self.0.url()))
            .expect("the server gives a good URL")
    }

    /// A connection past the store.
    pub(crate) fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.0.url()).expect("the server takes us")
    }
}

/// A store on a database of its own, ready for a contract suite.
pub(crate) fn stage() -> Stage {
    let database = Shared::new();
    let store =
        auth_storage::open(&database.url(), None, StoreOptions::default()).expect("the database opens");
    stage_over(&store, Arc::new(database))
}

#[derive(QueryableByName)]
struct AuditRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    micros: i64,
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = Text)]
    data: String,
    #[diesel(sql_type = Nullable<Text>)]
    user_text: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    client_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    ip_address: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    user_agent: Option<String>,
    #[diesel(sql_type = Text)]
    correlation_id: String,
    #[diesel(sql_type = Bool)]
    success: bool,
}

#[derive(QueryableByName)]
struct ClassicRow {
    #[diesel(sql_type = Binary)]
    jti_hash: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    parent_jti_hash: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    issued_micros: i64,
    #[diesel(sql_type = BigInt)]
    expiry_micros: i64,
}

fn uuid(text: &str) -> Uuid {
    text.parse().expect("an id is a UUID")
}

fn hash(bytes: Vec<u8>) -> JtiHash {
    JtiHash::from_bytes(bytes.try_into().expect("a hash has 32 bytes"))
}

impl Inside for Shared {
    fn put_legacy_token(&self, token: JtiHash, session: SessionId) {
        diesel::sql_query("INSERT INTO legacy_tokens (jti_hash, session_id) VALUES ($1, $2::uuid)")
            .bind::<Binary, _>(token.as_bytes().as_slice())
            .bind::<Text, _>(session.as_uuid().to_string())
            .execute(&mut self.connect())
            .expect("the token is new and its session there");
    }

    fn audit_trail(&self) -> Vec<SeenAudit> {
        let trail = "SELECT id::text, (extract(epoch FROM created_at) * 1000000)::bigint AS micros, event_type, \
                     event_data::text AS data, user_id::text AS user_text, client_id, ip_address, user_agent, \
                     correlation_id, success FROM audit_logs ORDER BY audit_logs.id";
        let rows: Vec<AuditRow> = diesel::sql_query(trail)
            .load(&mut self.connect())
            .expect("the trail reads");
        rows.into_iter()
            .map(|row| SeenAudit {
                id: RowId::from_uuid(uuid(&row.id)),
                created_at: Timestamp::from_micros(row.micros),
                event_type: row.event_type,
                event_data: row.data.parse().expect("the event is JSON"),
                user_id: row.user_text.map(|id| UserId::from_uuid(uuid(&id))),
                client_id: row.client_id,
                ip_address: row.ip_address.map(|ip| ip.parse().expect("an address")),
                user_agent: row.user_agent,
                correlation_id: row.correlation_id,
                success: row.success,
            })
            .collect()
    }

    fn history(&self, id: SessionId) -> Vec<StoredToken> {
        let classic = "SELECT jti_hash, parent_jti_hash, (extract(epoch FROM created_at) * 1000000)::bigint AS \
                       issued_micros, (extract(epoch FROM expires_at) * 1000000)::bigint AS expiry_micros \
                       FROM refresh_tokens_classic WHERE family_id = $1::uuid ORDER BY created_at";
        let rows: Vec<ClassicRow> = diesel::sql_query(classic)
            .bind::<Text, _>(id.as_uuid().to_string())
            .load(&mut self.connect())
            .expect("the view reads");
        rows.into_iter()
            .map(|row| StoredToken {
                session_id: id,
                jti_hash: hash(row.jti_hash),
                parent: row.parent_jti_hash.map(hash),
                issued_at: Timestamp::from_micros(row.issued_micros),
                expires_at: Timestamp::from_micros(row.expiry_micros),
            })
            .collect()
    }
}
