//! A database file for one test, and a look inside it past the store.

use std::path::PathBuf;
use std::time::Duration;

use auth_domain::id::{JtiHash, RowId, SessionId, UserId};
use auth_domain::time::Timestamp;
use auth_storage::{DatabaseUrl, Migrations, Store, StoreOptions};
use auth_testkit::contract::stage::{Inside, SeenAudit, Stage};
use auth_testkit::fake::StoredToken;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

/// A folder with a migrated database in it.
pub(crate) struct File {
    folder: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        let file = Self::unmigrated();
        Migrations::of(&file.url())
            .up()
            .expect("a new file takes the schema");
        file
    }

    pub(crate) fn unmigrated() -> Self {
        Self {
            folder: TempDir::new().expect("a temporary folder"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data/auth.db")
    }

    pub(crate) fn url(&self) -> DatabaseUrl {
        DatabaseUrl::file(self.path())
    }

    /// Opens the store with little patience for locks.
    pub(crate) fn open(&self) -> Store {
        let options = StoreOptions {
            readers: 2,
            busy_timeout: Duration::from_millis(50),
            ..StoreOptions::default()
        };
        auth_storage::open(&self.url(), None, options).expect("the file opens")
    }

    /// A connection past the store.
    pub(crate) fn connect(&self) -> SqliteConnection {
        let path = self.path();
        let name = path.to_str().expect("a temporary path is UTF-8");
        let mut conn = SqliteConnection::establish(name).expect("the file opens");
        conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;")
            .expect("pragmas are taken");
        conn
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.connect().batch_execute(sql).expect("the statement is good");
    }
}

/// A store on a file of its own, ready for a contract suite.
pub(crate) fn stage() -> Stage {
    let file = File::new();
    // The suites press harder than a lock of 50 ms would forgive on a busy machine.
    let store = auth_storage::open(&file.url(), None, StoreOptions::default()).expect("the file opens");
    stage_of(&store, file)
}

pub(crate) fn stage_of(store: &Store, file: impl Into<Arc<File>>) -> Stage {
    stage_over(store, file.into())
}

/// An open store on the stage of a contract suite.
pub(crate) fn stage_over(store: &Store, inside: Arc<dyn Inside>) -> Stage {
    Stage {
        clients: Arc::clone(&store.clients),
        users: Arc::clone(&store.users),
        sessions: Arc::clone(&store.sessions),
        access_tokens: Arc::clone(&store.access_tokens),
        audit: Arc::clone(&store.audit),
        audit_log: Arc::clone(&store.audit_log),
        probe: Arc::clone(&store.probe),
        user_directory: Arc::clone(&store.user_directory),
        client_directory: Arc::clone(&store.client_directory),
        founding: Arc::clone(&store.founding),
        upkeep: Arc::clone(&store.upkeep),
        inside,
    }
}

#[derive(QueryableByName)]
struct AuditRow {
    #[diesel(sql_type = Binary)]
    id: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = Text)]
    event_data: String,
    #[diesel(sql_type = Nullable<Binary>)]
    user_id: Option<Vec<u8>>,
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
    created_at: i64,
    #[diesel(sql_type = BigInt)]
    expires_at: i64,
}

fn uuid(bytes: &[u8]) -> Uuid {
    Uuid::from_slice(bytes).expect("an id has 16 bytes")
}

fn hash(bytes: Vec<u8>) -> JtiHash {
    JtiHash::from_bytes(bytes.try_into().expect("a hash has 32 bytes"))
}

impl Inside for File {
    fn put_legacy_token(&self, token: JtiHash, session: SessionId) {
        diesel::sql_query("INSERT INTO legacy_tokens (jti_hash, session_id) VALUES (?, ?)")
            .bind::<Binary, _>(token.as_bytes().as_slice())
            .bind::<Binary, _>(session.as_uuid().as_bytes().as_slice())
            .execute(&mut self.connect())
            .expect("the token is new and its session there");
    }

    fn audit_trail(&self) -> Vec<SeenAudit> {
        let rows: Vec<AuditRow> = diesel::sql_query("SELECT * FROM audit_logs ORDER BY id")
            .load(&mut self.connect())
            .expect("the trail reads");
        rows.into_iter()
            .map(|row| SeenAudit {
                id: RowId::from_uuid(uuid(&row.id)),
                created_at: Timestamp::from_micros(row.created_at),
                event_type: row.event_type,
                event_data: row.event_data.parse().expect("the event is JSON"),
                user_id: row.user_id.map(|id| UserId::from_uuid(uuid(&id))),
                client_id: row.client_id,
                ip_address: row.ip_address.map(|ip| ip.parse().expect("an address")),
                user_agent: row.user_agent,
                correlation_id: row.correlation_id,
                success: row.success,
            })
            .collect()
    }

    fn history(&self, id: SessionId) -> Vec<StoredToken> {
        let classic = "SELECT * FROM refresh_tokens_classic WHERE family_id = ? ORDER BY created_at";
        let rows: Vec<ClassicRow> = diesel::sql_query(classic)
            .bind::<Binary, _>(id.as_uuid().as_bytes().as_slice())
            .load(&mut self.connect())
            .expect("the view reads");
        rows.into_iter()
            .map(|row| StoredToken {
                session_id: id,
                jti_hash: hash(row.jti_hash),
                parent: row.parent_jti_hash.map(hash),
                issued_at: Timestamp::from_micros(row.created_at),
                expires_at: Timestamp::from_micros(row.expires_at),
            })
            .collect()
    }
}
