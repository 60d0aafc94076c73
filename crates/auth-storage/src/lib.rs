//! Clients, users, sessions and audit in SQL through Diesel.
//!
//! Implements the domain's storage ports; decides nothing about tokens. No type of Diesel leaves this crate.
#![expect(
    clippy::duplicate_mod,
    reason = "each query is written once and compiled for each database"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auth_domain::ports::admin::{AuditLog, ClientDirectory, Founding, Upkeep, UserDirectory};
use auth_domain::ports::{AccessTokens, AuditTrail, Clients, Sessions, StoreProbe, Users};
use auth_domain::takeover::{Holdings, Target};

mod backup;
mod error;
mod examine;
mod foreign;
mod lane;
pub mod legacy;
mod migrations;
mod postgres;
mod rows;
mod schema;
mod sqlite;
mod tally;
pub mod transfer;
mod trouble;
mod types;
mod url;

pub use backup::{BackupError, Contents, Overwrite, Progress, Restored, backup, restore};
pub use examine::{Examination, ServerExamination, Writing, examine};
pub use migrations::{MigrationStatus, Migrations};
pub use postgres::line::Line;
pub use tally::{Groups, Pool, PoolFigures};
pub use trouble::Trouble;
pub use url::{DatabaseUrl, PostgresUrl, UrlFault};

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// How many connections read at a time, of an SQLite database.
    pub readers: u32,
    /// How many connections to a PostgreSQL server work at a time, at least three, one of which looks sessions up; besides
    /// four for rotations and for what waits. A replica gets half as many.
    pub connections: u32,
    /// How many reads, and how many writes, may wait; one more is refused at once as unavailable.
    pub queue: usize,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How long a write may wait in the queue; one that has waited for longer is not carried out, and unavailable.
    pub patience: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            connections: 8,
            queue: 4_096,
            busy_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(5),
        }
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the file is missing and can't be made.
    #[error("cannot make the folder {path} of the database")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file can't be read and written.
    #[error("cannot open the database file {path} for reading and writing")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file, or its log beside it, is open to others than its owner. It holds everybody's password hash.
    #[error("others may read or change {path} (mode {mode:04o}); `chmod 600` makes it private")]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The folder of the file is open to others than its owner.
    #[error(
        "others may exchange the database: they may write to its folder {path} (mode {mode:04o}); give it a folder of its \
         own, or `chmod go-w` this one"
    )]
    FolderOpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file's name is no text that the database's library takes.
    #[error("the database file's name {path} is not UTF-8")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Only a PostgreSQL database has replicas, and they are PostgreSQL databases.
    #[error("a replica to read from goes with a PostgreSQL database, and is one itself")]
    NoReplica,
    /// It has tables that bear the names of ours and that this program has not made.
    #[error(
        "{database} is a database of the older service (or of another program): `auth-service import-legacy --from ...` \
         takes it over, see docs/TAKEOVER.md"
    )]
    Foreign {
        /// The file, or the URL without its password.
        database: String,
    },
    /// It was to be the older service's, and is something else.
    #[error("{database} is not the older service's database: {what}")]
    NotLegacy {
        /// The file, or the URL without its password.
        database: String,
        /// What it is, or lacks.
        what: String,
    },
    /// Migrations are pending, and who is connected may not make their tables.
    #[error(
        "migrations are pending, and user {user} lacks the right to CREATE in schema {schema} of {database}"
    )]
    MayNotCreate {
        /// The URL without its password.
        database: String,
        /// The role.
        user: String,
        /// Where its tables would be made.
        schema: String,
    },
    /// The database itself says no.
    #[error("cannot open the database {database}")]
    Database {
        /// The file, or the URL without its password.
        database: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The ports of an open database; its copies share the connections.
#[derive(Clone)]
#[expect(missing_docs, reason = "each is the port of its name")]
pub struct Store {
    pub clients: Arc<dyn Clients>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub access_tokens: Arc<dyn AccessTokens>,
    pub audit: Arc<dyn AuditTrail>,
    pub audit_log: Arc<dyn AuditLog>,
    pub probe: Arc<dyn StoreProbe>,
    pub user_directory: Arc<dyn UserDirectory>,
    pub client_directory: Arc<dyn ClientDirectory>,
    pub founding: Arc<dyn Founding>,
    pub upkeep: Arc<dyn Upkeep>,
    pub takeover: Arc<dyn Target>,
    pub holdings: Arc<dyn Holdings>,
    engine: Engine,
}

/// What does the work of a store.
#[derive(Clone)]
enum Engine {
    Sqlite(Arc<sqlite::Engine>),
    Postgres(Arc<postgres::Engine>),
}

impl Store {
    /// What its connections are doing, pool by pool.
    pub fn figures(&self) -> Vec<PoolFigures> {
        match &self.engine {
            Engine::Sqlite(engine) => engine.figures(),
            Engine::Postgres(engine) => engine.figures(),
        }
    }

    /// Asks the replica for a sign of life; `None` where there is none. As late as any query where it is silent.
    pub async fn is_replica_up(&self) -> Option<bool> {
        match &self.engine {
            Engine::Sqlite(_) => None,
            Engine::Postgres(engine) => engine.is_replica_up().await,
        }
    }

    /// Finishes what is queued and closes every connection; whatever is asked of the ports afterwards is
    /// unavailable. Blocks until that is done. The last copy to be dropped, ports included, does the same.
    pub fn shutdown(&self) {
        match &self.engine {
            Engine::Sqlite(engine) => engine.shutdown(),
            Engine::Postgres(engine) => engine.shutdown(),
        }
    }
}

/// Opens a database. A file and its folder are made, for the owner's eyes only, where they are missing. A `replica` of
/// a PostgreSQL database answers what may be a little old: the audit trail and lists of users and clients.
///
/// Applies no migrations: [`Migrations::up`] does, and [`StoreProbe`] says whether there is need.
///
/// # Errors
/// Where the folder, the file or the database can't be opened for reading and writing, others may read it, or an SQLite
/// database is given a replica.
pub fn open(
    url: &DatabaseUrl,
    replica: Option<&DatabaseUrl>,
    options: StoreOptions,
) -> Result<Store, OpenError> {
    match (url, replica) {
        (DatabaseUrl::Sqlite(path), None) => {
            let engine = Arc::new(sqlite::open(path, options)?);
            let adapter = Arc::new(sqlite::Adapter {
                engine: Arc::clone(&engine),
            });
            Ok(Store::over(&adapter, Engine::Sqlite(engine)))
        }
        (DatabaseUrl::Postgres(url), None) => open_postgres(url, None, options),
        (DatabaseUrl::Postgres(url), Some(DatabaseUrl::Postgres(replica))) => {
            open_postgres(url, Some(replica), options)
        }
        (DatabaseUrl::Sqlite(_), Some(_)) | (_, Some(DatabaseUrl::Sqlite(_))) => Err(OpenError::NoReplica),
    }
}

fn open_postgres(
    url: &PostgresUrl,
    replica: Option<&PostgresUrl>,
    options: StoreOptions,
) -> Result<Store, OpenError> {
    let engine = Arc::new(postgres::open(url, replica, options)?);
    let adapter = Arc::new(postgres::Adapter {
        engine: Arc::clone(&engine),
    });
    Ok(Store::over(&adapter, Engine::Postgres(engine)))
}

impl Store {
    fn over<A>(adapter: &Arc<A>, engine: Engine) -> Self
    where
        A: Clients
            + Users
            + Sessions
            + AccessTokens
            + AuditTrail
            + AuditLog
            + StoreProbe
            + UserDirectory
            + ClientDirectory
            + Founding
            + Upkeep
            + Target
            + Holdings
            + 'static,
    {
        Self {
            clients: adapter.clone(),
            users: adapter.clone(),
            sessions: adapter.clone(),
            access_tokens: adapter.clone(),
            audit: adapter.clone(),
            audit_log: adapter.clone(),
            probe: adapter.clone(),
            user_directory: adapter.clone(),
            client_directory: adapter.clone(),
            upkeep: adapter.clone(),
            takeover: adapter.clone(),
            holdings: adapter.clone(),
            founding: adapter.clone(),
            engine,
        }
    }
}
