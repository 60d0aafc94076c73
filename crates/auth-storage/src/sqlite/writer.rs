//! The writer: one thread that takes what has queued, runs it as one transaction, and answers when that is durable.
//!
//! One sync of the disk serves a whole group. A command that fails is taken back alone: the group is run once more, each
//! in a savepoint, which nobody pays for where all is well. A group that can't be committed fails every command in it;
//! nothing is ever acknowledged before the commit. What has waited for so long that nobody may be there any more is not
//! begun.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::checkpointer::LogState;
use super::gathering::{Gathering, Pace};
use super::{Conn, connect};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::Lane;
use crate::tally::Tally;

/// The most commands in one transaction.
const MAX_GROUP: usize = 256;
/// How long the log may keep the writer from its work when it is to be started over. Whoever reads for longer, as a
/// backup does, is not waited for.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// Something to be written, and somebody who waits for it.
pub(super) trait Command: Send {
    /// Since when it has been waiting.
    fn since(&self) -> Instant;

    /// Does the work and keeps the outcome. After an error nobody knows how much of the work is done. May be run again.
    fn run(&mut self, conn: &mut Conn) -> Result<(), StoreError>;

    /// Does the work within a savepoint and keeps the outcome. An error is one that the group can't survive.
    fn run_apart(&mut self, conn: &mut Conn) -> Result<(), StoreError>;

    /// Tells the outcome, once the group has been committed, or has failed for the reason given.
    fn answer(self: Box<Self>, group: Result<(), &str>);
}

/// A command out of a closure.
pub(super) struct Job<T, W> {
    since: Instant,
    work: W,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job<T, W> {
    /// The command, and where its outcome will arrive.
    pub(super) fn new(work: W) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, outcome) = oneshot::channel();
        let job = Self {
            since: Instant::now(),
            work,
            outcome: None,
            reply,
        };
        (job, outcome)
    }
}

impl<T, W> Command for Job<T, W>
where
    T: Send,
    W: Fn(&mut Conn) -> Result<T, StoreError> + Send,
{
    fn since(&self) -> Instant {
        self.since
    }

    fn run(&mut self, conn: &mut Conn) -> Result<(), StoreError> {
        let outcome = (self.work)(conn)?;
        self.outcome = Some(Ok(outcome));
        Ok(())
    }

    fn run_apart(&mut self, conn: &mut Conn) -> Result<(), StoreError> {
        let outcome = conn.transaction(&self.work);
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
    tally: Arc<Tally>,
    gathering: Arc<Gathering>,
}

/// Starts the writer.
pub(super) fn start(
    file: &str,
    options: StoreOptions,
    log: Arc<LogState>,
    gathering: &Arc<Gathering>,
) -> Result<Lane<Box<dyn Command>>, StoreError> {
    let tally = Arc::<Tally>::default();
    let mut writer = Writer {
        file: file.to_owned(),
        options,
        conn: None,
        log,
        tally: Arc::clone(&tally),
        gathering: Arc::clone(gathering),
    };
    writer.connection()?;
    tally.set_open(true);
    let (entrance, waiting) = sync_channel(options.queue);
    let thread = thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.work(&waiting))
        .map_err(|error| StoreError::NoConnection(error.to_string()))?;
    gathering.belongs_to(thread.thread().clone());
    Ok(Lane::new(entrance, vec![thread], tally))
}

impl Writer {
    fn work(&mut self, waiting: &Receiver<Box<dyn Command>>) {
        let mut pace = Pace::QUIET;
        let mut next = waiting.recv().ok();
        while let Some(first) = next {
            let rest = waiting.try_iter().take(MAX_GROUP - 1);
            let group: Vec<_> = std::iter::once(first).chain(rest).collect();
            self.tally.go(group.len());
            let busy = self.tally.busy();
            self.run(group);
            self.shorten_log();
            drop(busy);
            self.tally.set_open(self.conn.is_some());
            pace = pace.wait(&self.gathering);
            next = match waiting.try_recv() {
                Ok(first) => Some(first),
                Err(TryRecvError::Disconnected) => None,
                // A command that comes alone, after a while, is not kept waiting for company.
                Err(TryRecvError::Empty) => {
                    pace = Pace::QUIET;
                    waiting.recv().ok()
                }
            };
        }
    }

    fn run(&mut self, group: Vec<Box<dyn Command>>) {
        let patience = self.options.patience;
        let (late, mut group): (Vec<_>, Vec<_>) = group
            .into_iter()
            .partition(|command| command.since().elapsed() > patience);
        if !late.is_empty() {
            tracing::warn!(
                event_type = "database",
                commands = late.len(),
                "writes have waited for too long and are not begun"
            );
            self.tally.time_out(late.len());
            answer(late, Err("it has waited for too long"));
        }
        // Whatever a panic left half done goes with the connection.
        let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&mut group)));
        match committed.unwrap_or(Err(StoreError::Panicked)) {
            Ok(()) => answer(group, Ok(())),
            Err(error) => {
                tracing::error!(event_type = "database", cause = %error, commands = group.len(), "a group of writes failed");
                self.conn = None;
                answer(group, Err(&error.to_string()));
            }
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Command>]) -> Result<(), StoreError> {
        let conn = self.connection()?;
        match together(conn, group, |command, conn| command.run(conn)) {
            Err(error) if error.spares_the_group() => {
                together(conn, group, |command, conn| command.run_apart(conn))
            }
            settled => settled,
        }?;
        self.log.note_commit();
        self.tally.commit(group.len());
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
        let start_over = format!(
            "PRAGMA busy_timeout = {}; PRAGMA wal_checkpoint(RESTART); PRAGMA busy_timeout = {};",
            LOG_PATIENCE.as_millis(),
            self.options.busy_timeout.as_millis()
        );
        if let Some(conn) = &mut self.conn
            && let Err(error) = conn.batch_execute(&start_over)
        {
            tracing::warn!(event_type = "database", cause = %error, "the write-ahead log could not be started over");
        }
    }
}

/// Runs a group as one transaction.
fn together(
    conn: &mut Conn,
    group: &mut [Box<dyn Command>],
    run: impl Fn(&mut dyn Command, &mut Conn) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    conn.immediate_transaction(|conn| {
        group
            .iter_mut()
            .try_for_each(|command| run(command.as_mut(), conn))
    })
}

fn answer(group: Vec<Box<dyn Command>>, fate: Result<(), &str>) {
    for command in group {
        command.answer(fate);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use diesel::sql_types::BigInt;
    use tempfile::TempDir;

    use super::*;

    type Outcome = oneshot::Receiver<Result<usize, StoreError>>;

    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }

    /// A writer on a database of numbers, of which each may be there once; a child needs its number when the
    /// transaction ends.
    fn writer(folder: &TempDir) -> Writer {
        let path = folder.path().join("numbers.db");
        let mut writer = Writer {
            file: path.to_str().unwrap().to_owned(),
            options: StoreOptions::default(),
            conn: None,
            log: Arc::default(),
            tally: Arc::default(),
            gathering: Arc::default(),
        };
        let schema = "CREATE TABLE numbers (n INTEGER PRIMARY KEY);\
             CREATE TABLE children (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED);";
        writer.connection().unwrap().batch_execute(schema).unwrap();
        writer
    }

    fn command(sql: &'static str) -> (Box<dyn Command>, Outcome) {
        let (job, outcome) = Job::new(move |conn: &mut Conn| Ok(diesel::sql_query(sql).execute(conn)?));
        (Box::new(job), outcome)
    }

    /// Runs commands as one group, and tells which succeeded.
    fn run(writer: &mut Writer, statements: &[&'static str]) -> Vec<bool> {
        let (group, outcomes): (Vec<_>, Vec<_>) = statements.iter().map(|sql| command(sql)).unzip();
        writer.run(group);
        outcomes
            .into_iter()
            .map(|mut outcome| outcome.try_recv().unwrap().is_ok())
            .collect()
    }

    fn numbers(writer: &mut Writer) -> Vec<i64> {
        let rows = diesel::sql_query("SELECT n FROM numbers ORDER BY n");
        let rows: Vec<Number> = rows.load(writer.connection().unwrap()).unwrap();
        rows.into_iter().map(|row| row.n).collect()
    }

    #[test]
    fn a_command_that_breaks_a_constraint_fails_alone() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        let statements = [
            "INSERT INTO numbers VALUES (1)",
            "INSERT INTO numbers VALUES (2), (1)",
            "INSERT INTO numbers VALUES (3)",
        ];
        assert_eq!(run(&mut writer, &statements), [true, false, true]);
        assert_eq!(numbers(&mut writer), [1, 3]);
    }

    #[test]
    fn every_group_of_three_ends_as_if_each_command_had_been_run_by_itself() {
        const INSERTS: [(&str, &[i64]); 4] = [
            ("INSERT INTO numbers VALUES (1)", &[1]),
            ("INSERT INTO numbers VALUES (2)", &[2]),
            ("INSERT INTO numbers VALUES (3), (1)", &[3, 1]),
            // Nothing of it stays, though its first row could be stored.
            ("INSERT OR FAIL INTO numbers VALUES (2), (2)", &[2, 2]),
        ];
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        for choice in 0..64 {
            let group: Vec<_> = [choice / 16, choice / 4 % 4, choice % 4]
                .into_iter()
                .map(|index| INSERTS[index])
                .collect();
            let mut model = BTreeSet::new();
            let expected: Vec<_> = group
                .iter()
                .map(|(_, rows)| {
                    let mut after = model.clone();
                    let succeeds = rows.iter().all(|row| after.insert(*row));
                    model = if succeeds { after } else { mem::take(&mut model) };
                    succeeds
                })
                .collect();
            let statements: Vec<_> = group.iter().map(|(sql, _)| *sql).collect();
            assert_eq!(run(&mut writer, &statements), expected, "{statements:?}");
            assert_eq!(numbers(&mut writer), model.into_iter().collect::<Vec<_>>());
            writer
                .connection()
                .unwrap()
                .batch_execute("DELETE FROM numbers")
                .unwrap();
        }
    }

    #[test]
    fn a_command_is_run_once_where_its_group_succeeds_and_twice_where_another_fails() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        let runs = Arc::<AtomicUsize>::default();
        let mut run_beside = |sql| {
            let seen = Arc::clone(&runs);
            let (counted, mut outcome) =
                Job::new(move |_: &mut Conn| Ok(seen.fetch_add(1, Ordering::Relaxed)));
            writer.run(vec![Box::new(counted), command(sql).0]);
            assert!(outcome.try_recv().unwrap().is_ok());
            runs.swap(0, Ordering::Relaxed)
        };
        assert_eq!(run_beside("INSERT INTO numbers VALUES (1)"), 1);
        assert_eq!(run_beside("INSERT INTO numbers VALUES (1)"), 2);
    }

    #[test]
    fn an_error_that_is_no_constraint_fails_the_group_and_the_next_one_stands() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        let statements = [
            "INSERT INTO numbers VALUES (1)",
            "INSERT INTO nowhere VALUES (2)",
            "INSERT INTO numbers VALUES (3)",
        ];
        assert_eq!(run(&mut writer, &statements), [false; 3]);
        assert_eq!(numbers(&mut writer), [0_i64; 0]);
        assert_eq!(run(&mut writer, &["INSERT INTO numbers VALUES (4)"]), [true]);
        assert_eq!(numbers(&mut writer), [4]);
    }

    #[test]
    fn a_commit_that_fails_fails_every_command() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        let statements = [
            "INSERT INTO numbers VALUES (1)",
            "INSERT INTO children VALUES (7)",
            "INSERT INTO numbers VALUES (3)",
        ];
        assert_eq!(run(&mut writer, &statements), [false; 3]);
        assert_eq!(numbers(&mut writer), [0_i64; 0]);
    }

    #[test]
    fn what_has_waited_for_too_long_is_not_begun() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        writer.options.patience = Duration::ZERO;
        assert_eq!(run(&mut writer, &["INSERT INTO numbers VALUES (1)"]), [false]);
        writer.options.patience = Duration::from_mins(1);
        assert_eq!(run(&mut writer, &["INSERT INTO numbers VALUES (2)"]), [true]);
        assert_eq!(numbers(&mut writer), [2]);
    }

    #[test]
    fn a_log_that_somebody_reads_is_not_waited_for() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        writer.options.busy_timeout = Duration::from_mins(10);
        run(&mut writer, &["INSERT INTO numbers VALUES (1)"]);
        let mut reader = connect(&writer.file, Duration::ZERO).unwrap();
        reader.batch_execute("BEGIN; SELECT * FROM numbers;").unwrap();
        run(&mut writer, &["INSERT INTO numbers VALUES (2)"]);
        writer.log.ask_to_start_over();
        let begun = Instant::now();
        writer.shorten_log();
        assert!(begun.elapsed() < Duration::from_mins(1));
        assert_eq!(run(&mut writer, &["INSERT INTO numbers VALUES (3)"]), [true]);
        assert_eq!(numbers(&mut writer), [1, 2, 3]);
    }

    #[test]
    fn a_long_log_is_started_over_once() {
        let folder = TempDir::new().unwrap();
        let mut writer = writer(&folder);
        run(&mut writer, &["INSERT INTO numbers VALUES (1)"]);
        writer.log.ask_to_start_over();
        writer.shorten_log();
        assert!(!writer.log.take_is_long());
        assert_eq!(numbers(&mut writer), [1]);
    }
}
