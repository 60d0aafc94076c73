//! The engine: runs queries on the readers and commands on the writer, one hop each.

use std::path::Path;
use std::sync::Arc;

use auth_domain::audit::AuditRecord;
use auth_domain::ports::Unavailable;
use auth_domain::session::{Rotated, Rotation, SessionKey, SessionView};
use tokio::sync::oneshot;

use super::checkpointer::{self, LogState};
use super::gathering::Gathering;
use super::lookups::{self, LookUps};
use super::readers::{self, Query};
use super::writer::{self, Command, Job};
use super::{Conn, database_error, file_name, find_session, prepare_file, rotation};
use crate::error::StoreError;
use crate::lane::{Lane, settle};
use crate::tally::{Pool, PoolFigures};
use crate::{OpenError, StoreOptions, foreign};

/// An open database.
pub(crate) struct Engine {
    readers: Lane<Query>,
    look_ups: LookUps,
    writer: Lane<Box<dyn Command>>,
    gathering: Arc<Gathering>,
    checkpointer: Lane<()>,
    connections: u32,
}

/// Opens a database.
pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Engine, OpenError> {
    foreign::check_file(path, &file_name(path)?)?;
    let file = prepare_file(path)?;
    start(&file, options).map_err(|error| database_error(path, error))
}

fn start(file: &str, options: StoreOptions) -> Result<Engine, StoreError> {
    let log = Arc::new(LogState::default());
    let gathering = Arc::<Gathering>::default();
    // The writer comes first: it turns the log on, which a reader can't.
    let writer = writer::start(file, options, Arc::clone(&log), &gathering)?;
    let checkpointer = checkpointer::start(file, options, log)?;
    let readers = readers::start(file, options)?;
    Ok(Engine {
        look_ups: LookUps::new(file, Arc::default()),
        readers,
        writer,
        gathering,
        checkpointer,
        connections: options.readers.max(1),
    })
}

impl Engine {
    /// Runs a query on a reader.
    pub(crate) async fn read<T, Q>(&self, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, outcome) = oneshot::channel();
        let query: Query = Box::new(move |conn| {
            // Whoever asked may have gone.
            drop(reply.send(conn.and_then(query)));
        });
        let queued = self.readers.submit(query);
        settle(what, queued, outcome).await
    }

    /// Looks up what a few keys find, at once where that can be done.
    pub(crate) async fn look_up<T, Q>(&self, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        self.gathering.stir();
        match self.look_ups.find(&query) {
            Some(found) => Ok(found),
            None => self.read(what, query).await,
        }
    }

    /// Looks a session up.
    pub(crate) async fn find_session(
        &self,
        what: &'static str,
        key: SessionKey,
    ) -> Result<Option<SessionView>, Unavailable> {
        self.look_up(what, move |conn| find_session(conn, &key)).await
    }

    /// Runs a command on the writer: all of it or nothing, and durable when this returns.
    pub(crate) async fn write<T, W>(&self, what: &'static str, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, outcome) = Job::new(work);
        let queued = self.writer.submit(Box::new(job));
        if queued.is_ok() {
            self.gathering.join().await;
        }
        settle(what, queued, outcome).await
    }

    /// Runs a transaction that may take long elsewhere; here the writer has all the time it needs.
    pub(crate) async fn administer<T, W>(&self, what: &'static str, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        self.write(what, work).await
    }

    /// Runs a query whose answer may be a little old elsewhere; here it is not.
    pub(crate) async fn browse<T, Q>(&self, what: &'static str, query: Q) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        Q: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(what, query).await
    }

    /// Rotates a chain, together with whatever else is to be written at the moment.
    pub(crate) async fn rotate(
        &self,
        what: &'static str,
        rotation: Rotation,
        audit: AuditRecord,
    ) -> Result<Rotated, Unavailable> {
        self.write(what, move |conn| rotation::rotate(conn, &rotation, &audit))
            .await
    }

    /// What the connections are doing.
    pub(crate) fn figures(&self) -> Vec<PoolFigures> {
        let (reads, writes) = (self.readers.tally(), self.writer.tally());
        let look_ups = self.look_ups.tally();
        vec![
            PoolFigures {
                idle: Some(look_ups.idle(None)),
                ..look_ups.figures(Pool::LookUps, lookups::AT_ONCE.into())
            },
            PoolFigures {
                idle: Some(reads.idle(None)),
                ..reads.figures(Pool::Reads, self.connections.into())
            },
            PoolFigures {
                idle: Some(writes.idle(None)),
                groups: Some(writes.groups()),
                ..writes.figures(Pool::Writes, 1)
            },
        ]
    }

    /// Finishes what is queued, and closes every connection.
    pub(crate) fn shutdown(&self) {
        self.writer.close();
        self.readers.close();
        self.look_ups.close();
        self.checkpointer.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use tempfile::TempDir;

    use super::*;
    use crate::tally::Groups;

    /// How many jobs are waiting and how many connections are busy, of a pool.
    fn seen(engine: &Engine, pool: Pool) -> (u64, u64, Option<u64>) {
        let figures = engine.figures();
        let figures = figures.iter().find(|figures| figures.pool == pool).unwrap();
        (figures.waiting, figures.busy, figures.idle)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_figures_tell_what_waits_and_what_is_done() {
        let folder = TempDir::new().unwrap();
        let options = StoreOptions {
            readers: 1,
            ..StoreOptions::default()
        };
        let engine = Arc::new(open(&folder.path().join("new.db"), options).unwrap());
        let (begun, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let meet = {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            move |_: &mut Conn| {
                begun.wait();
                go.wait();
                Ok(())
            }
        };
        for pool in [Pool::Reads, Pool::Writes] {
            assert_eq!(seen(&engine, pool), (0, 0, Some(1)));
            let ask = |work| {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    match pool {
                        Pool::Reads => engine.read("read", work).await,
                        _ => engine.write("write", work).await,
                    }
                })
            };
            let first = ask(meet.clone());
            begun.wait();
            assert_eq!(seen(&engine, pool), (0, 1, Some(0)));
            let second = ask(meet.clone());
            while seen(&engine, pool).0 == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(seen(&engine, pool), (1, 1, Some(0)));
            go.wait();
            begun.wait();
            go.wait();
            first.await.unwrap().unwrap();
            second.await.unwrap().unwrap();
            while seen(&engine, pool).1 > 0 {
                tokio::task::yield_now().await;
            }
        }
        let figures = engine.figures();
        let groups: Vec<_> = figures.iter().map(|figures| figures.groups).collect();
        let done = Groups {
            commits: 2,
            writes: 2,
        };
        assert_eq!(groups, [None, None, Some(done)]);
    }

    fn panicking(_: &mut Conn) -> Result<(), StoreError> {
        panic!("as the test asks");
    }

    #[tokio::test]
    async fn a_panic_fails_the_work_alone_and_leaves_every_thread_alive() {
        let folder = TempDir::new().unwrap();
        let options = StoreOptions {
            readers: 1,
            ..StoreOptions::default()
        };
        let engine = open(&folder.path().join("new.db"), options).unwrap();
        for _ in 0..2 {
            let read = engine.read("read", panicking).await.unwrap_err();
            assert!(read.source.to_string().contains("panicked"), "{}", read.source);
            let written = engine.write("write", panicking).await.unwrap_err();
            assert!(
                written.source.to_string().contains("panicked"),
                "{}",
                written.source
            );
            assert_eq!(engine.read("read", |_| Ok(1)).await.unwrap(), 1);
            assert_eq!(engine.write("write", |_| Ok(2)).await.unwrap(), 2);
        }
    }
}
