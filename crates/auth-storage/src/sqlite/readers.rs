//! Readers: as many threads as there are read-only connections, so that a query never waits for a connection.
//!
//! Threads of our own and not the runtime's: those have no bound that means anything to a database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error as PoolError, Pool};

use super::Conn;
use super::lane::Lane;
use crate::StoreOptions;
use crate::error::StoreError;

/// A query with the place where its answer goes.
pub(super) type Query = Box<dyn FnOnce(Result<&mut Conn, StoreError>) + Send>;
type Connections = Pool<ConnectionManager<Conn>>;
type Waiting = Arc<Mutex<Receiver<Query>>>;

/// Makes every connection of the pool one that can only read.
#[derive(Debug)]
struct ReadOnly {
    busy_timeout_millis: u128,
}

impl CustomizeConnection<Conn, PoolError> for ReadOnly {
    fn on_acquire(&self, conn: &mut Conn) -> Result<(), PoolError> {
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = {}; PRAGMA query_only = ON;",
            self.busy_timeout_millis
        ))
        .map_err(PoolError::QueryError)
    }
}

/// Starts the readers.
pub(super) fn start(file: &str, options: StoreOptions) -> Result<Lane<Query>, StoreError> {
    let readers = options.readers.max(1);
    let connections = Pool::builder()
        .max_size(readers)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_on_check_out(false)
        .connection_timeout(options.busy_timeout)
        .connection_customizer(Box::new(ReadOnly {
            busy_timeout_millis: options.busy_timeout.as_millis(),
        }))
        .build(ConnectionManager::new(file))
        .map_err(|error| StoreError::NoConnection(error.to_string()))?;
    let (entrance, waiting) = sync_channel(options.queue);
    let waiting = Arc::new(Mutex::new(waiting));
    let threads = (0..readers)
        .map(|_| spawn(connections.clone(), Arc::clone(&waiting)))
        .collect::<Result<_, _>>()?;
    Ok(Lane::new(entrance, threads))
}

fn spawn(connections: Connections, waiting: Waiting) -> Result<thread::JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name("store-reader".to_owned())
        .spawn(move || {
            while let Some(query) = next(&waiting) {
                // Only the query is lost, and its connection, which is dropped while the panic unwinds.
                if catch_unwind(AssertUnwindSafe(|| answer(&connections, query))).is_err() {
                    tracing::error!("a query has panicked");
                }
            }
        })
        .map_err(|error| StoreError::NoConnection(error.to_string()))
}

/// The next query; `None` once the lane is closed and empty.
fn next(waiting: &Waiting) -> Option<Query> {
    let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.recv().ok()
}

fn answer(connections: &Connections, query: Query) {
    match connections.get() {
        Ok(mut conn) => query(Ok(&mut conn)),
        Err(error) => query(Err(StoreError::NoConnection(error.to_string()))),
    }
}
