//! The checkpointer: copies the write-ahead log into the database beside the writer, which so never has to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Integer;

use super::{Conn, connect};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::Lane;

/// How long the log is left alone after a checkpoint.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest log that passive checkpoints may leave, in pages of 4 KiB: 64 MiB. Past it the writer starts it over; where
/// it could not, since somebody reads for long (a backup does), it is asked again when the log has grown by as much.
const LONG_LOG: i32 = 16_384;

/// What the writer and the checkpointer tell each other.
#[derive(Debug, Default)]
pub(super) struct LogState {
    has_new_frames: AtomicBool,
    is_long: AtomicBool,
}

impl LogState {
    /// Something has been committed.
    pub(super) fn note_commit(&self) {
        self.has_new_frames.store(true, Ordering::Relaxed);
    }

    /// The log has grown past its bound.
    pub(super) fn ask_to_start_over(&self) {
        self.is_long.store(true, Ordering::Relaxed);
    }

    /// Whether the log has grown past its bound; asked once.
    pub(super) fn take_is_long(&self) -> bool {
        self.is_long.swap(false, Ordering::Relaxed)
    }
}

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    log: i32,
}

/// Starts the checkpointer; closing the lane ends it.
pub(super) fn start(file: &str, options: StoreOptions, log: Arc<LogState>) -> Result<Lane<()>, StoreError> {
    let mut conn = connect(file, options.busy_timeout)?;
    let (entrance, end) = sync_channel(0);
    let thread = thread::Builder::new()
        .name("store-checkpointer".to_owned())
        .spawn(move || work(&mut conn, &end, &log))
        .map_err(|error| StoreError::NoConnection(error.to_string()))?;
    Ok(Lane::new(entrance, vec![thread], Arc::default()))
}

fn work(conn: &mut Conn, end: &Receiver<()>, log: &LogState) {
    let mut bound = LONG_LOG;
    while end.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        if !log.has_new_frames.swap(false, Ordering::Relaxed) {
            continue;
        }
        match checkpoint(conn) {
            Ok(pages) if pages > bound => {
                bound = pages.saturating_add(LONG_LOG);
                log.ask_to_start_over();
            }
            Ok(pages) if pages <= LONG_LOG => bound = LONG_LOG,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(event_type = "database", cause = %error, "a checkpoint of the write-ahead log failed");
            }
        }
    }
}

/// Copies what no reader still needs, without waiting for anybody, and says how long the log is.
fn checkpoint(conn: &mut Conn) -> Result<i32, StoreError> {
    let done: Checkpoint = diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(conn)?;
    Ok(done.log)
}
