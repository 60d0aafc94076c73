//! Point look-ups: a row by its key, read on the thread that asks, and never waited for.
//!
//! To hand such a look-up to a reader costs two task switches, more than the look-up itself: three or four pages, nearly
//! always in memory. Nothing longer belongs here, since whoever asks serves others too. What can't be answered at once
//! (all connections are busy, something is locked, anything fails) is for a reader to try again, and to tell of.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::tally::{Open, Tally};

/// How many look-ups can be made at a time. Each takes some ten microseconds of a request's several hundred, so that few
/// connections do for many threads.
pub(super) const AT_ONCE: u32 = 4;

/// Connections for point look-ups, opened where the ones before are busy.
pub(super) struct LookUps {
    file: String,
    tally: Arc<Tally>,
    places: Vec<Mutex<Place>>,
}

/// Room for a connection.
#[derive(Default)]
enum Place {
    #[default]
    Vacant,
    Taken(Conn, Open),
    Closed,
}

impl LookUps {
    /// Opens nothing yet.
    pub(super) fn new(file: &str, tally: Arc<Tally>) -> Self {
        Self {
            file: file.to_owned(),
            tally,
            places: (0..AT_ONCE).map(|_| Mutex::default()).collect(),
        }
    }

    /// What the query finds, where it can be told at once.
    pub(super) fn find<T>(&self, query: impl Fn(&mut Conn) -> Result<T, StoreError>) -> Option<T> {
        let mut place = self.places.iter().find_map(|place| place.try_lock().ok())?;
        let (mut conn, open) = match mem::take(&mut *place) {
            Place::Taken(conn, open) => (conn, open),
            Place::Vacant => (connect(&self.file).ok()?, self.tally.open()),
            Place::Closed => {
                *place = Place::Closed;
                return None;
            }
        };
        let _busy = self.tally.busy();
        // A connection that has seen a panic goes with it.
        let found = catch_unwind(AssertUnwindSafe(move || {
            let found = query(&mut conn);
            (found, conn)
        }));
        let Ok((found, conn)) = found else {
            tracing::error!(event_type = "panic", "a look-up in the database has panicked");
            return None;
        };
        *place = Place::Taken(conn, open);
        found.ok()
    }

    /// Closes every connection, each once the look-up is done that it is busy with, and opens none any more.
    pub(super) fn close(&self) {
        for place in &self.places {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Place::Closed;
        }
    }
}

/// A connection that can only read, and waits for no lock.
fn connect(file: &str) -> Result<Conn, StoreError> {
    let mut conn = Conn::establish(file).map_err(|error| StoreError::NoConnection(error.to_string()))?;
    conn.batch_execute("PRAGMA busy_timeout = 0; PRAGMA query_only = ON;")?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use diesel::sql_types::BigInt;
    use tempfile::TempDir;

    use super::*;
    use crate::tally::Pool;

    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }

    /// Look-ups in a file of its own with the number 7 in it.
    fn look_ups(folder: &TempDir) -> LookUps {
        let file = folder.path().join("numbers.db");
        let file = file.to_str().unwrap();
        let mut conn = Conn::establish(file).unwrap();
        let content =
            "PRAGMA journal_mode = WAL; CREATE TABLE numbers (n INTEGER); INSERT INTO numbers VALUES (7);";
        conn.batch_execute(content).unwrap();
        LookUps::new(file, Arc::default())
    }

    fn number(conn: &mut Conn) -> Result<i64, StoreError> {
        let found: Number = diesel::sql_query("SELECT n FROM numbers").get_result(conn)?;
        Ok(found.n)
    }

    /// How many connections are open, whether busy or not.
    fn open(look_ups: &LookUps) -> u64 {
        look_ups.tally.idle(None) + look_ups.tally.figures(Pool::Reads, 1).busy
    }

    #[test]
    fn one_after_the_other_needs_one_connection_and_those_at_once_one_each() {
        let folder = TempDir::new().unwrap();
        let look_ups = look_ups(&folder);
        for _ in 0..3 {
            assert_eq!(look_ups.find(number), Some(7));
        }
        assert_eq!(open(&look_ups), 1);
        let within = look_ups.find(|conn| Ok((number(conn)?, look_ups.find(number), open(&look_ups))));
        assert_eq!(within, Some((7, Some(7), 2)));
        assert_eq!(look_ups.tally.idle(None), 2);
    }

    #[test]
    fn one_more_than_there_are_connections_is_left_to_a_reader() {
        fn nested(look_ups: &LookUps, depth: &Cell<u32>) -> Option<()> {
            look_ups.find(|_| {
                depth.set(depth.get() + 1);
                nested(look_ups, depth);
                Ok(())
            })
        }
        let folder = TempDir::new().unwrap();
        let depth = Cell::new(0);
        assert_eq!(nested(&look_ups(&folder), &depth), Some(()));
        assert_eq!(depth.get(), AT_ONCE);
    }

    #[test]
    fn what_is_locked_is_not_waited_for() {
        let folder = TempDir::new().unwrap();
        let look_ups = look_ups(&folder);
        let mut other = Conn::establish(&look_ups.file).unwrap();
        other
            .batch_execute("PRAGMA locking_mode = EXCLUSIVE; INSERT INTO numbers VALUES (8);")
            .unwrap();
        assert_eq!(look_ups.find(number), None);
        drop(other);
        assert_eq!(look_ups.find(number), Some(7));
    }

    #[test]
    fn nothing_can_be_written() {
        let folder = TempDir::new().unwrap();
        let write = |conn: &mut Conn| Ok(conn.batch_execute("INSERT INTO numbers VALUES (8)")?);
        assert_eq!(look_ups(&folder).find(write), None);
    }

    #[test]
    fn a_panic_costs_its_connection_and_nothing_else() {
        let folder = TempDir::new().unwrap();
        let look_ups = look_ups(&folder);
        let panicking = |_: &mut Conn| -> Result<(), StoreError> { panic!("as the test asks") };
        assert_eq!(look_ups.find(panicking), None);
        assert_eq!(open(&look_ups), 0);
        assert_eq!(look_ups.find(number), Some(7));
    }

    #[test]
    fn once_closed_there_are_none() {
        let folder = TempDir::new().unwrap();
        let look_ups = look_ups(&folder);
        assert_eq!(look_ups.find(number), Some(7));
        look_ups.close();
        assert_eq!(look_ups.find(number), None);
        assert_eq!(open(&look_ups), 0);
    }
}
