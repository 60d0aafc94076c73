//! The engine: runs queries on the readers and commands on the writer, one hop each.

use std::path::Path;
use std::sync::Arc;

use auth_domain::audit::AuditRecord;
use auth_domain::ports::Unavailable;
use auth_domain::session::{Rotated, Rotation};
use tokio::sync::oneshot;

use super::checkpointer::{self, LogState};
use super::readers::{self, Query};
use super::writer::{self, Command, Job};
use super::{Conn, database_error, file_name, prepare_file, rotation};
use crate::error::StoreError;
use crate::lane::{Lane, settle};
use crate::{OpenError, StoreOptions, foreign};

/// An open database.
pub(crate) struct Engine {
    readers: Lane<Query>,
    writer: Lane<Box<dyn Command>>,
    checkpointer: Lane<()>,
}

/// Opens a database.
pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Engine, OpenError> {
    foreign::check_file(path, &file_name(path)?)?;
    let file = prepare_file(path)?;
    start(&file, options).map_err(|error| database_error(path, error))
}

fn start(file: &str, options: StoreOptions) -> Result<Engine, StoreError> {
    let log = Arc::new(LogState::default());
    // The writer comes first: it turns the log on, which a reader can't.
    Ok(Engine {
        writer: writer::start(file, options, Arc::clone(&log))?,
        checkpointer: checkpointer::start(file, options, log)?,
        readers: readers::start(file, options)?,
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

    /// Runs a command on the writer: all of it or nothing, and durable when this returns.
    pub(crate) async fn write<T, W>(&self, what: &'static str, work: W) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        W: Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, outcome) = Job::new(work);
        let queued = self.writer.submit(Box::new(job));
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

    /// Finishes what is queued, and closes every connection.
    pub(crate) fn shutdown(&self) {
        self.writer.close();
        self.readers.close();
        self.checkpointer.close();
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

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
