//! Point look-ups: a row by its key, read on the thread that asks, and never waited for.
//!
//! To hand such a look-up to a reader costs two task switches, more than the look-up itself: three or four pages, nearly
//! always in memory. Nothing longer belongs here, since whoever asks serves others too. What can't be answered at once
//! (all connections are busy, something is locked, anything fails) is for a reader to try again, and to tell of. No lock
//! of a transaction is waited for; where the log's index changes hands at the moment, the library looks again after
//! moments that it sleeps, and what a process has left that died is put in order by whoever comes first.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

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
    /// The last look-up has failed, and the log says so already.
    fails: AtomicBool,
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
            fails: AtomicBool::new(false),
        }
    }

    /// What is counted of them.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// What the query finds, where it can be told at once.
    pub(super) fn find<T>(&self, query: impl Fn(&mut Conn) -> Result<T, StoreError>) -> Option<T> {
        let mut place = self.places.iter().find_map(vacancy)?;
        let kept = match mem::take(&mut *place) {
            Place::Taken(conn, open) => Some((conn, open)),
            Place::Vacant => None,
            Place::Closed => {
                *place = Place::Closed;
                return None;
            }
        };
        let _busy = self.tally.busy();
        // A connection that has seen a panic, or an error that is not of the data, goes with it.
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let (mut conn, open) = match kept {
                Some(kept) => kept,
                None => (connect(&self.file)?, self.tally.open()),
            };
            let found = query(&mut conn);
            if found.as_ref().err().is_none_or(StoreError::spares_the_group) {
                *place = Place::Taken(conn, open);
            }
            found
        }));
        let Ok(found) = asked else {
            tracing::error!(event_type = "panic", "a look-up in the database has panicked");
            return None;
        };
        self.tell(found.as_ref().err());
        found.ok()
    }

    /// Logs the first of several failures in a row: readers answer in their place, and nobody else would notice.
    fn tell(&self, failure: Option<&StoreError>) {
        let failure = failure.filter(|error| !error.spares_the_group());
        let failed = self.fails.load(Ordering::Relaxed);
        if failed != failure.is_some() {
            self.fails.store(!failed, Ordering::Relaxed);
        }
        if let (Some(error), false) = (failure, failed) {
            tracing::warn!(event_type = "database", cause = %error, "look-ups fail where they are asked; readers make them");
        }
    }

    /// Closes every connection, each once the look-up is done that it is busy with, and opens none any more.
    pub(super) fn close(&self) {
        for place in &self.places {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Place::Closed;
        }
    }
}

/// The place, unless somebody is there. One that a panic has poisoned is as good as any: it is left vacant, or whole.
fn vacancy(place: &Mutex<Place>) -> Option<MutexGuard<'_, Place>> {
    match place.try_lock() {
        Ok(place) => Some(place),
        Err(TryLockError::Poisoned(place)) => Some(place.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A connection that can only read, and waits for no transaction's lock.
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
        look_ups.tally.idle(None) + look_ups.tally.figures(Pool::LookUps, 1).busy
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
    fn a_connection_is_kept_unless_it_may_be_at_fault() {
        let folder = TempDir::new().unwrap();
        let look_ups = look_ups(&folder);
        let of_the_data =
            |_: &mut Conn| -> Result<(), StoreError> { Err(StoreError::broken("numbers", "n", 1, "odd")) };
        assert_eq!(look_ups.find(of_the_data), None);
        assert_eq!(open(&look_ups), 1);
        assert!(!look_ups.fails.load(Ordering::Relaxed), "a reader tells of it");
        let of_anything =
            |conn: &mut Conn| -> Result<(), StoreError> { Ok(conn.batch_execute("SELECT * FROM nowhere")?) };
        assert_eq!(look_ups.find(of_anything), None);
        assert_eq!(open(&look_ups), 0);
        assert!(look_ups.fails.load(Ordering::Relaxed));
        assert_eq!(look_ups.find(number), Some(7));
        assert!(
            !look_ups.fails.load(Ordering::Relaxed),
            "the next is told of again"
        );
    }

    #[test]
    fn a_place_that_saw_a_panic_is_used_again() {
        let folder = TempDir::new().unwrap();
        let look_ups = look_ups(&folder);
        for place in &look_ups.places {
            let poisoned = catch_unwind(AssertUnwindSafe(|| {
                let _place = place.lock();
                panic!("as the test asks");
            }));
            assert!(poisoned.is_err() && place.is_poisoned());
        }
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
