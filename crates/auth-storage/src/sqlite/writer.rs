//! The writer: one thread that takes what has queued, runs it as one transaction, and answers when that is durable.
//!
//! One sync of the disk serves a whole group. Each command has a savepoint: one that fails is taken back alone. A
//! group that can't be committed fails every command in it; nothing is ever acknowledged before the commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::checkpointer::LogState;
use super::lane::Lane;
use super::{Conn, connect};
use crate::StoreOptions;
use crate::error::StoreError;

/// The most commands in one transaction.
const MAX_GROUP: usize = 256;

/// Something to be written, and somebody who waits for it.
pub(super) trait Command: Send {
    /// Does the work within a savepoint and keeps the outcome. An error is one that the group can't survive.
    fn run(&mut self, conn: &mut Conn) -> Result<(), StoreError>;

    /// Tells the outcome, once the group has been committed, or has failed for the reason given.
    fn answer(self: Box<Self>, group: Result<(), &str>);
}

/// A command out of a closure.
pub(super) struct Job<T, W> {
    work: Option<W>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job<T, W> {
    /// The command, and where its outcome will arrive.
    pub(super) fn new(work: W) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, outcome) = oneshot::channel();
        let job = Self {
            work: Some(work),
            outcome: None,
            reply,
        };
        (job, outcome)
    }
}

impl<T, W> Command for Job<T, W>
where
    T: Send,
    W: FnOnce(&mut Conn) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, conn: &mut Conn) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        let outcome = conn.transaction(work);
        if let Err(error) = &outcome
            && !error.spares_the_group()
        {
            return Err(StoreError::NotCommitted(error.to_string()));
        }
        self.outcome = Some(outcome);
        Ok(())
    }

    fn answer(self: Box<Self>, group: Result<(), &str>) {
        let outcome = match (group, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Err(_), Some(Err(own))) => Err(own),
            (Err(reason), Some(Ok(_)) | None) => Err(StoreError::NotCommitted(reason.to_owned())),
            (Ok(()), None) => Err(StoreError::NotCommitted("it was never run".to_owned())),
        };
        // Whoever asked may have gone; what is committed stays so.
        drop(self.reply.send(outcome));
    }
}

/// The writer's own things.
struct Writer {
    file: String,
    options: StoreOptions,
    /// None after a failure: whatever state it left is not worth trusting.
    conn: Option<Conn>,
    log: Arc<LogState>,
}

/// Starts the writer.
pub(super) fn start(
    file: &str,
    options: StoreOptions,
    log: Arc<LogState>,
) -> Result<Lane<Box<dyn Command>>, StoreError> {
    let mut writer = Writer {
        file: file.to_owned(),
        options,
        conn: None,
        log,
    };
    writer.connection()?;
    let (entrance, waiting) = sync_channel(options.queue);
    let thread = thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.work(&waiting))
        .map_err(|error| StoreError::NoConnection(error.to_string()))?;
    Ok(Lane::new(entrance, vec![thread]))
}

impl Writer {
    fn work(&mut self, waiting: &Receiver<Box<dyn Command>>) {
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            group.extend(waiting.try_iter().take(MAX_GROUP - 1));
            let fate = self.commit(&mut group);
            match fate {
                Ok(()) => answer(group, Ok(())),
                Err(error) => {
                    tracing::error!(%error, commands = group.len(), "a group of writes failed");
                    self.conn = None;
                    answer(group, Err(&error.to_string()));
                }
            }
            self.shorten_log();
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Command>]) -> Result<(), StoreError> {
        let conn = self.connection()?;
        conn.immediate_transaction(|conn| group.iter_mut().try_for_each(|command| command.run(conn)))?;
        self.log.note_commit();
        Ok(())
    }

    fn connection(&mut self) -> Result<&mut Conn, StoreError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connect()?,
        };
        Ok(self.conn.insert(conn))
    }

    fn connect(&self) -> Result<Conn, StoreError> {
        let mut conn = connect(&self.file, self.options.busy_timeout)?;
        conn.batch_execute("PRAGMA wal_autocheckpoint = 0;")?;
        Ok(conn)
    }

    /// Starts the log over where the checkpointer could not keep up with it.
    fn shorten_log(&mut self) {
        if !self.log.take_is_long() {
            return;
        }
        if let Some(conn) = &mut self.conn
            && let Err(error) = conn.batch_execute("PRAGMA wal_checkpoint(RESTART);")
        {
            tracing::warn!(%error, "the write-ahead log could not be started over");
        }
    }
}

fn answer(group: Vec<Box<dyn Command>>, fate: Result<(), &str>) {
    for command in group {
        command.answer(fate);
    }
}
