//! `audit export`: all rows that are wanted, page by page, so that memory stays the same however many there are.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use auth_domain::ports::Unavailable;
use auth_domain::ports::admin::{AuditEntry, AuditFilter, AuditLog};
use clap::{Args, ValueEnum};
use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde_json::json;
use tempfile::NamedTempFile;

use super::entry::{COLUMNS, Row};
use super::filter::FilterArguments;
use crate::cli::desk::Desk;
use crate::cli::failure::Failure;
use crate::cli::output::{Report, exact_moment, visible};
use crate::cli::progress::Showing;

/// How many rows are read at a time.
const PAGE: u32 = 1_000;

/// What the help says about what is written.
pub(super) const FORMATS: &str = "jsonl is one JSON object a line, with event_data as an object. csv is RFC 4180; a cell that a spreadsheet would take \
    for a formula has an apostrophe before it. In both, hidden characters are written as escapes.";

/// What is exported, and whereto.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    /// How rows are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Write to this file, which must not exist yet; readable by its owner only
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file where it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// At most so many events, the oldest that there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    filter: FilterArguments,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON Lines
    Jsonl,
    /// Comma-separated values
    Csv,
}

/// Exports; what goes to standard output is no report.
///
/// # Errors
/// Where the trail can't be read or the file can't be written.
pub(super) async fn run(
    desk: &Desk,
    arguments: &ExportArguments,
    showing: Showing,
) -> Result<Option<Report>, Failure> {
    let filter = arguments.filter.resolve(desk).await?;
    let log = &*desk.store.audit_log;
    match &arguments.output {
        None => {
            let out = BufWriter::new(io::stdout().lock());
            // On one terminal the two would be in each other's way.
            let showing = if io::stdout().is_terminal() {
                Showing::Unwanted
            } else {
                showing
            };
            match export(log, filter, arguments, out, showing).await {
                Ok(_) => Ok(None),
                Err(Trouble::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
                Err(trouble) => Err(trouble.into_failure("standard output")),
            }
        }
        Some(path) => {
            let shown = path.display().to_string();
            let written = export_to(log, filter, arguments, path, showing).await;
            let count = written.map_err(|trouble| trouble.into_failure(&shown))?;
            Ok(Some(Report::new(
                format!("{count} events written to {}.", visible(&shown)),
                json!({ "events": count, "file": shown }),
            )))
        }
    }
}

/// Writes a file that is there as a whole or not at all.
async fn export_to(
    log: &dyn AuditLog,
    filter: AuditFilter,
    arguments: &ExportArguments,
    path: &Path,
    showing: Showing,
) -> Result<u64, Trouble> {
    if !arguments.force && path.symlink_metadata().is_ok() {
        return Err(Trouble::Exists);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Of mode 0600, and deleted where it is not given its name below.
    let draft =
        NamedTempFile::new_in(folder).map_err(|error| Trouble::Folder(folder.to_owned(), error.kind()))?;
    let written = export(log, filter, arguments, BufWriter::new(draft.as_file()), showing).await?;
    draft.as_file().sync_all()?;
    if arguments.force {
        draft.persist(path).map_err(|failed| failed.error)?;
    } else {
        draft
            .persist_noclobber(path)
            .map_err(|failed| match failed.error.kind() {
                io::ErrorKind::AlreadyExists => Trouble::Exists,
                _ => Trouble::Write(failed.error),
            })?;
    }
    File::open(folder)?.sync_all()?;
    Ok(written)
}

/// Writes all rows that are wanted, page by page, and counts them.
async fn export(
    log: &dyn AuditLog,
    mut page: AuditFilter,
    arguments: &ExportArguments,
    out: impl Write,
    showing: Showing,
) -> Result<u64, Trouble> {
    let mut sink = Sink::open(arguments.format, out)?;
    let mut progress = showing.counted();
    let limit = arguments.limit.unwrap_or(u64::MAX);
    let mut written = 0;
    while written < limit {
        let wanted = u32::try_from(limit - written).unwrap_or(PAGE).min(PAGE);
        let rows = log.search(&page, wanted).await?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last.id);
        for row in &rows {
            sink.write(row)?;
            written += 1;
        }
        progress.say(|| format!("{written} events, up to {}", exact_moment(last.at)));
    }
    drop(progress);
    sink.finish()?;
    Ok(written)
}

/// Why an export came to nothing.
#[derive(Debug)]
enum Trouble {
    /// The file is there already.
    Exists,
    /// No file can be made in the folder.
    Folder(PathBuf, io::ErrorKind),
    /// Nothing can be written there.
    Write(io::Error),
    /// A row can't be written in that format.
    Row(Failure),
    /// The trail can't be read.
    Read(Unavailable),
}

impl Trouble {
    fn into_failure(self, place: &str) -> Failure {
        match self {
            Self::Exists => Failure::refused(format!("{} is there already", visible(place)))
                .advise("Choose another file, or replace it by --force."),
            Self::Folder(folder, why) => {
                let folder = visible(&folder.display().to_string());
                Failure::refused(format!("no file can be made in the folder {folder}: {why}"))
                    .advise("--output names a file in a folder that exists, such as --output trail.csv.")
            }
            Self::Write(error) => Failure::of(&format!("write {}", visible(place)), &error),
            Self::Row(failure) => failure,
            Self::Read(outage) => outage.into(),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<csv::Error> for Trouble {
    fn from(error: csv::Error) -> Self {
        Self::Write(error.into())
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Row(failure)
    }
}

impl From<Unavailable> for Trouble {
    fn from(outage: Unavailable) -> Self {
        Self::Read(outage)
    }
}

/// Where rows go, in one of the formats.
enum Sink<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Sink<W> {
    fn open(format: Format, out: W) -> Result<Self, Trouble> {
        match format {
            Format::Jsonl => Ok(Self::Jsonl(out)),
            Format::Csv => {
                let mut csv = WriterBuilder::new()
                    .terminator(Terminator::CRLF)
                    .quote_style(QuoteStyle::Always)
                    .from_writer(out);
                csv.write_record(COLUMNS)?;
                Ok(Self::Csv(Box::new(csv)))
            }
        }
    }

    fn write(&mut self, entry: &AuditEntry) -> Result<(), Trouble> {
        let row = Row::from(entry);
        match self {
            Self::Jsonl(out) => writeln!(out, "{}", row.line()?)?,
            Self::Csv(csv) => csv.write_record(row.cells()?.map(|cell| cell_of_sheet(&cell)))?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Trouble> {
        match self {
            Self::Jsonl(mut out) => out.flush()?,
            Self::Csv(mut csv) => csv.flush()?,
        }
        Ok(())
    }
}

/// A cell that shows all it holds and that no spreadsheet runs. These first characters begin a formula, the wide ones in
/// some languages; an apostrophe before them says text.
fn cell_of_sheet(text: &str) -> String {
    let begins_a_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let apostrophe = if begins_a_formula { "'" } else { "" };
    format!("{apostrophe}{}", visible(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use auth_domain::audit::AuditEvent;
    use auth_domain::ports::AuditTrail as _;
    use auth_domain::refusal::GrantFault;
    use auth_domain::time::Seconds;
    use auth_testkit::build;
    use auth_testkit::clock::START;
    use auth_testkit::fake::FakeStore;
    use proptest::prelude::*;

    use super::*;
    use crate::cli::output::is_hidden;

    fn arguments(format: Format) -> ExportArguments {
        ExportArguments {
            format,
            output: None,
            force: false,
            limit: None,
            filter: FilterArguments::default(),
        }
    }

    fn failed_login(second: u32, text: &str) -> auth_domain::audit::AuditRecord {
        let event = AuditEvent::LoginFailed {
            reason: GrantFault::UnknownUser,
            login: text.to_owned(),
        };
        let mut row = build::audit_at(START.plus(Seconds::new(second)), &second.to_string(), event);
        row.context.user_agent = Some(text.to_owned());
        row
    }

    async fn store(texts: &[&str]) -> FakeStore {
        let store = FakeStore::default();
        for (second, text) in (0..).zip(texts) {
            store.record(failed_login(second, text)).await.unwrap();
        }
        store
    }

    async fn exported(store: &FakeStore, arguments: &ExportArguments) -> String {
        let mut out = Vec::new();
        export(
            store,
            AuditFilter::default(),
            arguments,
            &mut out,
            Showing::Unwanted,
        )
        .await
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn more_rows_than_a_page_are_exported_once_each_in_order() {
        let texts: Vec<_> = (0..2_500).map(|n| n.to_string()).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let store = store(&texts).await;
        let text = exported(&store, &arguments(Format::Jsonl)).await;
        let logins: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|row| row["event_data"]["login"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(logins, texts);
        assert_eq!(store.outage.calls(), 2_500 + 4);
        let few = ExportArguments {
            limit: Some(1_001),
            ..arguments(Format::Csv)
        };
        let text = exported(&store, &few).await;
        assert_eq!(text.lines().count(), 1 + 1_001);
    }

    #[tokio::test]
    async fn a_cell_that_a_spreadsheet_would_run_is_a_text() {
        let formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"];
        let store = store(&formulas).await;
        let text = exported(&store, &arguments(Format::Csv)).await;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let shown: Vec<_> = reader
            .records()
            .map(|record| record.unwrap()[7].to_owned())
            .collect();
        let expected = [
            "'=1+1",
            "'+1",
            "'-1",
            "'@SUM(A1)",
            "'\\u{9}=1",
            "'\\u{d}=1",
            "'\\u{a}=1",
            "'＝1",
        ];
        assert_eq!(shown, expected);
    }

    #[tokio::test]
    async fn a_file_is_its_owners_alone_and_never_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail.jsonl");
        let store = store(&["a", "b"]).await;
        let once = arguments(Format::Jsonl);
        let written = export_to(&store, AuditFilter::default(), &once, &path, Showing::Unwanted).await;
        assert!(matches!(written, Ok(2)), "{written:?}");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = export_to(&store, AuditFilter::default(), &once, &path, Showing::Unwanted).await;
        assert!(matches!(again, Err(Trouble::Exists)), "{again:?}");
        let forced = ExportArguments {
            force: true,
            limit: Some(1),
            ..arguments(Format::Jsonl)
        };
        let written = export_to(&store, AuditFilter::default(), &forced, &path, Showing::Unwanted).await;
        assert!(matches!(written, Ok(1)), "{written:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[tokio::test]
    async fn an_export_that_fails_half_way_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail.jsonl");
        let store = store(&["a"]).await;
        store.outage.fail_nth(2);
        let failed = export_to(
            &store,
            AuditFilter::default(),
            &arguments(Format::Jsonl),
            &path,
            Showing::Unwanted,
        )
        .await;
        assert!(matches!(failed, Err(Trouble::Read(_))), "{failed:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn whatever_was_typed_a_row_is_one_line_that_shows_all(
            text in prop::collection::vec(
                prop_oneof![any::<char>(), prop::sample::select(vec!['\n', '\r', ',', '"', '=', '\u{202e}', '\u{85}'])],
                0..20,
            ).prop_map(String::from_iter)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (csv, jsonl) = runtime.block_on(async {
                let store = store(&[&text]).await;
                (
                    exported(&store, &arguments(Format::Csv)).await,
                    exported(&store, &arguments(Format::Jsonl)).await,
                )
            });
            let lines: Vec<_> = csv.split_terminator("\r\n").collect();
            prop_assert_eq!(lines.len(), 2);
            prop_assert!(!lines.iter().any(|line| line.contains(is_hidden)), "{csv:?}");
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let records: Vec<_> = reader.records().map(Result::unwrap).collect();
            prop_assert_eq!(records.len(), 1);
            let line = jsonl.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains(is_hidden), "{line:?}");
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(row["event_data"]["login"].as_str(), Some(&*text));
        }
    }
}
