//! Where log lines go: standard error, through a writer that never makes a request wait and counts what it drops.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for collectors.
    Json,
    /// For people at a terminal.
    Human,
}

/// Why logs or metrics can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Something else in this process has installed a subscriber.
    #[error("install the log writer: this process has one already")]
    SubscriberTaken,
    /// Something else in this process has installed a recorder.
    #[error("install the metrics recorder: this process has one already")]
    RecorderTaken,
}

/// Writes out what is left when it is dropped: keep it until the program ends.
#[derive(Debug)]
#[must_use = "log lines are lost once it is dropped"]
pub struct LogGuard {
    _worker: WorkerGuard,
}

/// More lines than this waiting to be written, and new ones are dropped.
const WAITING_LINES: usize = 16_384;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts to log at the given level; other people's libraries only from `warn` on.
///
/// # Errors
/// [`TelemetryError::SubscriberTaken`] where it is called a second time.
pub fn init(format: LogFormat, level: LevelFilter) -> Result<LogGuard, TelemetryError> {
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).boxed(),
        LogFormat::Human => lines.with_target(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(targets(level)));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::SubscriberTaken)?;
    let _ = DROPPED.set(dropped);
    log_panics_without_their_message();
    Ok(LogGuard { _worker: worker })
}

fn targets(level: LevelFilter) -> Targets {
    // To the HTTP library each request that can't be read is an error. A stranger must not fill the log with those.
    let unreadable_requests = if level >= LevelFilter::DEBUG {
        LevelFilter::ERROR
    } else {
        LevelFilter::OFF
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("actix_http", unreadable_requests)
        .with_target("auth_", level)
}

/// How many lines were dropped so far.
pub(super) fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| {
        u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX)
    })
}

/// A panic's message may quote any value, a secret too; where it happened says enough.
fn log_panics_without_their_message() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(event_type = "panic", location, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_can_not_be_read_is_logged_only_to_those_who_look_closely() {
        let library = "actix_http::h1::dispatcher";
        assert!(!targets(LevelFilter::INFO).would_enable(library, &Level::ERROR));
        assert!(targets(LevelFilter::DEBUG).would_enable(library, &Level::ERROR));
        assert!(targets(LevelFilter::INFO).would_enable("actix_server", &Level::WARN));
        assert!(targets(LevelFilter::INFO).would_enable("auth_storage", &Level::INFO));
        assert!(!targets(LevelFilter::INFO).would_enable("auth_storage", &Level::DEBUG));
    }
}
