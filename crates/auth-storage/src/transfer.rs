//! Moving house: all that one database holds goes into another, of whichever kind each is, and is proven to have arrived.
//!
//! The source is seen as of one moment and never written; the target is written in small transactions, so whatever
//! interrupts them, the next run ends what this one began. Both are read in the order of their keys side by side, so
//! that neither need fit into memory. Leases alone stay behind: they are of servers that don't run.

use std::error::Error;
use std::fmt;

use crate::error::StoreError;
use crate::{DatabaseUrl, MigrationStatus, Migrations, OpenError};

mod alone;
mod canon;
mod crossing;
mod end;
pub(crate) mod marks;
mod merge;
pub(crate) mod rows;

use alone::Claim;
use crossing::{Crossing, TABLES};
use end::End;

/// How many rows are read at a time, and written in one statement and one transaction. SQLite binds 32,766 values to a
/// statement, and the widest table has 18 columns.
const PAGE: usize = 1_500;

/// What is done about rows that the target has and the source has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surplus {
    /// Nothing is transferred: somebody has begun to use the target, and what they did would be half undone.
    Refused,
    /// They are deleted.
    Deleted,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// In which table.
    pub table: &'static str,
    /// With how many rows of it that has been done.
    pub rows: u64,
}

/// A part of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What the target has already is compared with the source.
    Comparing,
    /// Rows that the source has not are deleted.
    Deleting,
    /// Rows that the target has not, or has otherwise, are written.
    Copying,
    /// All that the target has now is compared with the source.
    Verifying,
}

/// What was transferred: the target holds what the source held, row for row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred {
    /// Each table, in the order in which they were written.
    pub tables: Vec<TransferredTable>,
    /// Whether the source is still what it was when the transfer began.
    pub source: SourceState,
}

/// What was transferred of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferredTable {
    /// Its name.
    pub name: &'static str,
    /// How many rows it has now, on both sides.
    pub rows: u64,
    /// How many of them the target had not.
    pub added: u64,
    /// How many it had otherwise.
    pub changed: u64,
    /// How many it had beyond the source's.
    pub deleted: u64,
    /// SHA-256 over all its rows in the order of their keys, each column in a form that is the same on every database.
    /// It was found the same on both sides.
    pub digest: [u8; 32],
}

/// Whether a source has been changed since it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// It has not.
    Unchanged,
    /// Somebody works with it: what they have done since is not in the target.
    Changed,
}

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that is read.
    Source,
    /// The one that is written.
    Target,
}

/// Of which kind the reason of a failure is: what decides whether the same may succeed another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The connection was lost.
    Connection,
    /// The target has other rows in the place of these: a name or a hash that there may be only once.
    InTheWay,
    /// Something else, that has to be mended first.
    Other,
}

impl Cause {
    fn of(error: &StoreError) -> Self {
        if error.is_of_the_connection() {
            Self::Connection
        } else if error.spares_the_group() {
            Self::InTheWay
        } else {
            Self::Other
        }
    }
}

impl TransferredTable {
    /// The digest in hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        hex(&self.digest)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Source => "the source",
            Self::Target => "the target",
        })
    }
}

/// Why not everything was transferred. What was, stays: the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Both are the same database.
    #[error("the source and the target are one database")]
    OneDatabase,
    /// Another transfer has one of the two.
    #[error("another transfer works with {side}")]
    Contended {
        /// Which.
        side: Side,
    },
    /// There is something to be written, and somebody has the target open. Nothing was written.
    #[error("a server or a command works with the target")]
    Served,
    /// One of the two can't be opened, or brought up to date.
    #[error("cannot open {side}")]
    Open {
        /// Which.
        side: Side,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// Migrations of this program have not been applied to the source.
    #[error("the source lacks migrations of this program: {}", names.join(", "))]
    Behind {
        /// Their names.
        names: Vec<String>,
    },
    /// Migrations that this program does not know have been applied.
    #[error("{side} is of a later version of this program")]
    Ahead {
        /// To which.
        side: Side,
    },
    /// The target has rows that the source has not, and they were not to be deleted. Nothing was written.
    #[error("the target has rows that the source has not: {}", listed(rows))]
    InUse {
        /// How many there are of each table that has any.
        rows: Vec<(&'static str, u64)>,
    },
    /// One of the two failed.
    #[error("{side} fails{}", place(*table))]
    Failed {
        /// Which.
        side: Side,
        /// In which table, where it is one's.
        table: Option<&'static str>,
        /// Of which kind the reason is.
        cause: Cause,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row that the target does not take.
    #[error("the target does not take row {row} of the table {table}")]
    NotTaken {
        /// Its table.
        table: &'static str,
        /// Its key.
        row: String,
        /// Of which kind the reason is.
        cause: Cause,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The target holds something else than what was put there.
    #[error("the table {table} is not the same on both sides, from row {row} on")]
    NotTheSame {
        /// The table.
        table: &'static str,
        /// The key of the first row that is missing, different or too much.
        row: String,
    },
}

impl TransferError {
    fn failed(side: Side, table: Option<&'static str>, error: StoreError) -> Self {
        Self::Failed {
            side,
            table,
            cause: Cause::of(&error),
            source: error.into(),
        }
    }
}

fn place(table: Option<&str>) -> String {
    table
        .map(|table| format!(" at the table {table}"))
        .unwrap_or_default()
}

fn listed(rows: &[(&'static str, u64)]) -> String {
    let listed: Vec<_> = rows
        .iter()
        .map(|(table, rows)| format!("{table} {rows}"))
        .collect();
    listed.join(", ")
}

/// Copies everything of the source into the target, and compares all of it then. The target is made where it is a file,
/// and brought to this program's version; the source must be there already. Blocks until that is done.
///
/// Rows that are there already are left, so a run may be repeated. A row that the target has otherwise becomes the
/// source's: that is right while nobody uses the target, and every use leaves rows there that the source has not,
/// which `surplus` is about.
///
/// # Errors
/// [`TransferError`], with what is to be done about it.
pub fn transfer(
    from: &DatabaseUrl,
    to: &DatabaseUrl,
    surplus: Surplus,
    tell: &mut dyn FnMut(Progress),
) -> Result<Transferred, TransferError> {
    if are_one(from, to) {
        return Err(TransferError::OneDatabase);
    }
    let of = |side| move |source| TransferError::Open { side, source };
    let known = Migrations::of(to).status().map_err(of(Side::Target))?;
    let mut source = End::source(from).map_err(of(Side::Source))?;
    refuse_foreign(&mut source, from)?;
    check_version(&mut source, &known, Side::Source)?;
    Migrations::of(to).up().map_err(of(Side::Target))?;
    let mut target = End::target(to).map_err(of(Side::Target))?;
    check_version(&mut target, &known, Side::Target)?;
    let claim = Claim::on(&mut source, &mut target, to)?;
    let mut crossing = Crossing::new(source, target, claim, tell);
    crossing.carry_out(surplus)
}

/// The tables that are transferred, in the order in which they are written.
pub fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

/// Whether the URLs name one database. Of a server's this is not the last word: it may have several names.
fn are_one(from: &DatabaseUrl, to: &DatabaseUrl) -> bool {
    match (from, to) {
        (DatabaseUrl::Sqlite(from), DatabaseUrl::Sqlite(to)) => alone::is_one_file(from, to),
        (DatabaseUrl::Postgres(from), DatabaseUrl::Postgres(to)) => from.expose() == to.expose(),
        (DatabaseUrl::Sqlite(_), DatabaseUrl::Postgres(_))
        | (DatabaseUrl::Postgres(_), DatabaseUrl::Sqlite(_)) => false,
    }
}

/// Refuses a source of somebody else's, or what is no database. A target of somebody else's is refused by its migrations.
fn refuse_foreign(source: &mut End, url: &DatabaseUrl) -> Result<(), TransferError> {
    let database = url.to_string();
    let refused = match source.is_foreign() {
        Ok(false) => return Ok(()),
        Ok(true) => OpenError::Foreign { database },
        // A file is opened before anything of it is read.
        Err(error) => OpenError::Database {
            database,
            source: error.into(),
        },
    };
    Err(TransferError::Open {
        side: Side::Source,
        source: refused,
    })
}

fn check_version(end: &mut End, known: &[MigrationStatus], side: Side) -> Result<(), TransferError> {
    let applied = end
        .versions()
        .map_err(|error| TransferError::failed(side, None, error))?;
    let missing: Vec<_> = known
        .iter()
        .filter(|migration| {
            !applied
                .iter()
                .any(|version| version == version_of(&migration.name))
        })
        .map(|migration| migration.name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(TransferError::Behind { names: missing });
    }
    if applied.len() > known.len() {
        return Err(TransferError::Ahead { side });
    }
    Ok(())
}

/// A migration is known by what stands before its name.
fn version_of(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
