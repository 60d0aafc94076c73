//! Readers: as many threads as there are read-only connections, so that a query never waits for a connection.
//!
//! Threads of our own and not the runtime's: those have no bound that means anything to a database.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error as PoolError, Pool};

use super::Conn;
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::{Crew, Lane};
use crate::tally::{Doorkeeper, Tally};

/// A query with the place where its answer goes.
pub(super) type Query = Box<dyn FnOnce(Result<&mut Conn, StoreError>) + Send>;
type Connections = Pool<ConnectionManager<Conn>>;

/// A busy machine opens a file in this time too, however short the wait for a lock is to be.
const OPENING: Duration = Duration::from_secs(1);

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
    let tally = Arc::<Tally>::default();
    let connections = Pool::builder()
        .max_size(readers)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_on_check_out(false)
        .connection_timeout(options.busy_timeout.max(OPENING))
        .event_handler(Box::new(Doorkeeper(Arc::clone(&tally))))
        .connection_customizer(Box::new(ReadOnly {
            busy_timeout_millis: options.busy_timeout.as_millis(),
        }))
        .build(ConnectionManager::new(file))
        .map_err(|error| StoreError::NoConnection(error.to_string()))?;
    let crew = Crew {
        name: "store-reader",
        threads: readers,
        queue: options.queue,
        batch: 1,
    };
    Lane::staffed(crew, Arc::clone(&tally), move |queries| {
        for query in queries {
            answer(&connections, &tally, query);
        }
    })
}

fn answer(connections: &Connections, tally: &Arc<Tally>, query: Query) {
    match connections.get() {
        Ok(mut conn) => {
            let _busy = tally.busy();
            query(Ok(&mut conn));
        }
        Err(error) => {
            tally.time_out(1);
            query(Err(StoreError::NoConnection(error.to_string())));
        }
    }
}
