//! Clients, users, sessions and audit in SQL through Diesel.
//!
//! Implements the domain's storage ports; decides nothing about tokens. No type of Diesel leaves this crate.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auth_domain::ports::admin::{AuditLog, ClientDirectory, Founding, UserDirectory};
use auth_domain::ports::{AccessTokens, AuditTrail, Clients, Sessions, StoreProbe, Users};

mod error;
mod lane;
mod migrations;
mod rows;
mod schema;
mod sqlite;
mod types;
mod url;

pub use migrations::{MigrationStatus, Migrations};
pub use url::{DatabaseUrl, UrlFault};

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// How many connections read at a time.
    pub readers: u32,
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
    /// The database itself says no.
    #[error("cannot open the database {path}")]
    Database {
        /// The file.
        path: PathBuf,
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
    engine: Arc<sqlite::Engine>,
}

impl Store {
    /// Finishes what is queued and closes every connection; whatever is asked of the ports afterwards is
    /// unavailable. Blocks until that is done. The last copy to be dropped, ports included, does the same.
    pub fn shutdown(&self) {
        self.engine.shutdown();
    }
}

/// Opens a database, making its folder and its file (for the owner's eyes only) where they are missing.
///
/// Applies no migrations: [`Migrations::up`] does, and [`StoreProbe`] says whether there is need.
///
/// # Errors
/// Where the folder, the file or the database can't be opened for reading and writing, or others may read it.
pub fn open(url: &DatabaseUrl, options: StoreOptions) -> Result<Store, OpenError> {
    let engine = Arc::new(sqlite::open(url.path(), options)?);
    let adapter = Arc::new(sqlite::Adapter {
        engine: Arc::clone(&engine),
    });
    Ok(Store {
        clients: adapter.clone(),
        users: adapter.clone(),
        sessions: adapter.clone(),
        access_tokens: adapter.clone(),
        audit: adapter.clone(),
        audit_log: adapter.clone(),
        probe: adapter.clone(),
        user_directory: adapter.clone(),
        client_directory: adapter.clone(),
        founding: adapter,
        engine,
    })
}
