//! `audit`: reads the audit trail. What stands in it was partly chosen by strangers, and is shown, never acted on.

mod entry;
mod export;
mod filter;
mod follow;

use auth_domain::ports::admin::{AuditEntry, AuditFilter};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::desk::Desk;
use super::failure::Failure;
use super::output::{Report, Table, print, print_error, try_print};
use super::progress::Showing;
use crate::settings::Settings;
use entry::{Names, Row, row_of_table};
use export::ExportArguments;
use filter::FilterArguments;
use follow::Follower;

/// The columns of the table.
const HEADINGS: [&str; 7] = ["time", "event", "result", "user", "client", "address", "details"];
/// What the columns take at least where rows are printed as they come: the widest of what is known beforehand.
const WIDTHS: [usize; 6] = [27, 21, 6, 12, 19, 15];

/// What to do about the audit trail.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show the last events, and with --follow those that come
    #[command(after_help = FOLLOWING)]
    Tail(TailArguments),
    /// Show the latest events that a filter lets through
    #[command(after_help = SHOWN)]
    Search(SearchArguments),
    /// Write all events that a filter lets through, the oldest first, as JSON Lines or CSV
    #[command(after_help = export::FORMATS)]
    Export(ExportArguments),
}

const FOLLOWING: &str = "With --follow and --json each event is one line. An event is stored when its request is done, and carries the \
    time at which that began: so events that overlap may come in another order than their times.";

const SHOWN: &str = "The table has room for the most asked for. With --json, and by `audit export`, there are user agent and \
    correlation id as well.";

/// How much of the end is shown.
#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// How many events
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: u32,
    /// Go on with the events that come, until interrupted
    #[arg(short = 'f', long)]
    follow: bool,
    #[command(flatten)]
    filter: FilterArguments,
}

/// What is looked for.
#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    /// At most so many events, the latest that there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    filter: FilterArguments,
}

/// Carries it out; what is printed as it comes is no report.
///
/// # Errors
/// Where the trail can't be read, or a filter is wrong.
pub(super) async fn run(
    command: AuditCommand,
    settings: &Settings,
    json: bool,
) -> Result<Option<Report>, Failure> {
    let desk = Desk::open(settings).await?;
    match command {
        AuditCommand::Tail(arguments) => {
            let filter = arguments.filter.resolve(&desk).await?;
            if arguments.follow {
                follow(&desk, filter, arguments.lines, json).await.map(|()| None)
            } else {
                let rows = desk.store.audit_log.tail(&filter, arguments.lines).await?;
                report(&desk, &rows).await.map(Some)
            }
        }
        AuditCommand::Search(arguments) => search(&desk, &arguments).await.map(Some),
        AuditCommand::Export(arguments) => export::run(&desk, &arguments, Showing::with(json)).await,
    }
}

async fn search(desk: &Desk, arguments: &SearchArguments) -> Result<Report, Failure> {
    let filter = arguments.filter.resolve(desk).await?;
    let log = &desk.store.audit_log;
    // One more than is shown tells whether there is more.
    let mut rows = log.tail(&filter, arguments.limit.saturating_add(1)).await?;
    let more = rows
        .len()
        .saturating_sub(usize::try_from(arguments.limit).unwrap_or(usize::MAX));
    if more > 0 {
        rows.drain(..more);
        print_error(&format!(
            "auth-service: there are earlier events than these {}; --until, --since and --limit show others, and \
             `audit export` writes all.",
            rows.len()
        ));
    }
    report(desk, &rows).await
}

async fn report(desk: &Desk, rows: &[AuditEntry]) -> Result<Report, Failure> {
    let mut names = Names::default();
    let mut table = Table::new(&HEADINGS);
    for row in rows {
        table.row(row_of_table(row, names.of(desk, row.user_id).await?));
    }
    let views: Result<Vec<_>, _> = rows
        .iter()
        .map(|row| serde_json::to_value(Row::from(row)))
        .collect();
    let views = views.map_err(|error| Failure::of("write the events as JSON", &error))?;
    Ok(Report::new(table.to_string(), Value::Array(views)))
}

/// Prints the last rows and then those that come, until nobody reads them any more.
async fn follow(desk: &Desk, filter: AuditFilter, lines: u32, json: bool) -> Result<(), Failure> {
    let log = &*desk.store.audit_log;
    let (mut follower, last) = Follower::start(log, filter, desk.now(), lines).await?;
    let mut names = Names::default();
    if !json {
        let mut head = Table::continued(&WIDTHS);
        head.row(HEADINGS.map(str::to_owned));
        print(&head.to_string());
    }
    let mut rows = last;
    let mut ticks = tokio::time::interval(follow::PAUSE);
    loop {
        for row in &rows {
            if print_row(desk, row, &mut names, json).await?.is_err() {
                return Ok(());
            }
        }
        ticks.tick().await;
        rows = follower.poll(log, desk.now()).await?;
    }
}

async fn print_row(
    desk: &Desk,
    row: &AuditEntry,
    names: &mut Names,
    json: bool,
) -> Result<std::io::Result<()>, Failure> {
    if json {
        return Ok(try_print(&Row::from(row).line()?));
    }
    let mut table = Table::continued(&WIDTHS);
    table.row(row_of_table(row, names.of(desk, row.user_id).await?));
    Ok(try_print(&table.to_string()))
}
