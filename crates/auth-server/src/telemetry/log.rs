//! Where log lines go: standard error, through a writer that never makes a request wait and counts what it drops.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Write};
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::traces::Traces;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for collectors.
    Json,
    /// For people at a terminal.
    Human,
}

/// The least severe level that is written, in all and module by module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevels {
    /// Of this program; other people's libraries only from `warn` on.
    pub all: LevelFilter,
    /// Of modules, by the beginnings of their paths.
    pub modules: Vec<(String, LevelFilter)>,
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

/// A part of the one subscriber.
pub(super) type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts to log, and to take spans where traces are sent.
///
/// # Errors
/// [`TelemetryError::SubscriberTaken`] where it is called a second time.
pub fn init(
    format: LogFormat,
    levels: LogLevels,
    traces: Option<&Traces>,
) -> Result<LogGuard, TelemetryError> {
    let (writer, worker) = bounded(std::io::stderr(), WAITING_LINES);
    let dropped = writer.error_counter();
    let no_color = std::env::var_os("NO_COLOR");
    let has_colours = std::io::stderr().is_terminal() && are_colours_wanted(no_color.as_deref());
    let mut layers = vec![lines(writer, has_colours, format, levels)];
    layers.extend(traces.map(|traces| traces.layer().boxed()));
    let subscriber = tracing_subscriber::registry().with(layers);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::SubscriberTaken)?;
    let _ = DROPPED.set(dropped);
    log_panics_without_their_message();
    Ok(LogGuard { _worker: worker })
}

/// What writes the lines. It knows of no span: theirs is another layer, and a line's `trace_id` is a field of its own.
pub(super) fn lines(
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    has_colours: bool,
    format: LogFormat,
    levels: LogLevels,
) -> BoxedLayer {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(has_colours);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).boxed(),
        LogFormat::Human => lines.with_target(false).boxed(),
    };
    // The hint leaves it to the levels which places are looked at at all.
    let events = filter_fn(|what| !what.is_span()).with_max_level_hint(LevelFilter::TRACE);
    lines.with_filter(targets(levels).and(events)).boxed()
}

/// A writer that drops what its output has no room for, so that no request waits for whoever reads the log.
fn bounded(output: impl Write + Send + 'static, lines: usize) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(lines)
        .lossy(true)
        .finish(output)
}

/// As <https://no-color.org> has it.
fn are_colours_wanted(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

fn targets(levels: LogLevels) -> Targets {
    // To the HTTP library each request that can't be read is an error. A stranger must not fill the log with those.
    let unreadable_requests = if levels.all >= LevelFilter::DEBUG {
        LevelFilter::ERROR
    } else {
        LevelFilter::OFF
    };
    Targets::new()
        .with_default(levels.all.min(LevelFilter::WARN))
        .with_target("actix_http", unreadable_requests)
        .with_target("auth_", levels.all)
        .with_targets(levels.modules)
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

    fn only(all: LevelFilter) -> Targets {
        targets(LogLevels {
            all,
            modules: Vec::new(),
        })
    }

    #[test]
    fn what_can_not_be_read_is_logged_only_to_those_who_look_closely() {
        let library = "actix_http::h1::dispatcher";
        assert!(!only(LevelFilter::INFO).would_enable(library, &Level::ERROR));
        assert!(only(LevelFilter::DEBUG).would_enable(library, &Level::ERROR));
        assert!(only(LevelFilter::INFO).would_enable("actix_server", &Level::WARN));
        assert!(only(LevelFilter::INFO).would_enable("auth_storage", &Level::INFO));
        assert!(!only(LevelFilter::INFO).would_enable("auth_storage", &Level::DEBUG));
    }

    #[test]
    fn a_module_has_the_level_it_is_given() {
        let levels = [
            ("auth_storage", LevelFilter::DEBUG),
            ("auth_server::http", LevelFilter::ERROR),
            ("actix_server", LevelFilter::OFF),
        ];
        let targets = targets(LogLevels {
            all: LevelFilter::INFO,
            modules: levels.map(|(module, level)| (module.to_owned(), level)).into(),
        });
        assert!(targets.would_enable("auth_storage::sqlite", &Level::DEBUG));
        assert!(!targets.would_enable("auth_jwt", &Level::DEBUG));
        assert!(!targets.would_enable("auth_server::http::edge", &Level::WARN));
        assert!(targets.would_enable("auth_server::telemetry", &Level::INFO));
        assert!(!targets.would_enable("actix_server", &Level::ERROR));
    }

    #[test]
    fn colours_are_left_out_for_who_says_so_with_any_value_but_none() {
        assert!(are_colours_wanted(None));
        assert!(are_colours_wanted(Some(OsStr::new(""))));
        for value in ["1", "0", "false"] {
            assert!(!are_colours_wanted(Some(OsStr::new(value))), "{value}");
        }
    }

    /// Takes nothing until the other end is dropped.
    struct Unread(std::sync::mpsc::Receiver<()>);

    impl Write for Unread {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_nobody_reads_holds_up_nobody_and_what_it_loses_is_counted() {
        let (go_on, wait) = std::sync::mpsc::channel();
        let (mut writer, guard) = bounded(Unread(wait), 8);
        let dropped = writer.error_counter();
        // It would never come back from the tenth, where it waited.
        for _ in 0..100 {
            writer.write_all(b"a line").unwrap();
        }
        assert!(
            (91..=92).contains(&dropped.dropped_lines()),
            "{}",
            dropped.dropped_lines()
        );
        drop(go_on);
        drop(guard);
    }
}
