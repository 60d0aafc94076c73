//! The way from one end to the other, table by table: look, make room, copy, and look again.

use super::alone::Claim;
use super::end::End;
use super::marks::Marks;
use super::merge::{Finding, Merge, Passed};
use super::rows::{
    AuditRow, ClientRow, DeniedTokenRow, Key, LegacyTokenRow, Row, SessionRow, TokenRow, UserRow,
};
use super::{
    Cause, PAGE, Progress, Side, SourceState, Step, Surplus, TransferError, Transferred, TransferredTable,
};
use crate::error::StoreError;

/// A transfer between two databases of this program's version.
pub(super) struct Crossing<'a> {
    source: End,
    target: End,
    claim: Claim,
    tell: &'a mut dyn FnMut(Progress),
}

/// A table, and what is done with the rows of its type.
pub(super) struct Table {
    pub(super) name: &'static str,
    count: fn(&mut End) -> Result<i64, StoreError>,
    compare: fn(&mut Crossing<'_>) -> Result<Compared, TransferError>,
    delete_foreign_rows: fn(&mut Crossing<'_>) -> Result<u64, TransferError>,
    copy: fn(&mut Crossing<'_>) -> Result<Copied, TransferError>,
    verify: fn(&mut Crossing<'_>) -> Result<Passed, TransferError>,
}

/// The tables, each behind those that its foreign keys name.
pub(super) const TABLES: [Table; 7] = [
    Table::of::<UserRow>(),
    Table::of::<ClientRow>(),
    Table::of::<SessionRow>(),
    Table::of::<LegacyTokenRow>(),
    Table::of::<TokenRow>(),
    Table::of::<DeniedTokenRow>(),
    Table::of::<AuditRow>(),
];

impl Table {
    const fn of<R: Row>() -> Self {
        Self {
            name: R::TABLE,
            count: |end| R::of(end).count(),
            compare: |crossing| crossing.compare::<R>(),
            delete_foreign_rows: |crossing| crossing.delete_foreign_rows::<R>(),
            copy: |crossing| crossing.copy::<R>(),
            verify: |crossing| crossing.verify::<R>(),
        }
    }
}

/// How a table of the target stood before anything was written.
#[derive(Debug, Clone, Copy, Default)]
struct Compared {
    /// How many rows it has that the source has not.
    foreign: u64,
    /// Whether it lacks any, or has any otherwise.
    is_behind: bool,
}

/// How many rows were written.
#[derive(Debug, Clone, Copy, Default)]
struct Copied {
    added: u64,
    changed: u64,
}

impl<'a> Crossing<'a> {
    pub(super) fn new(source: End, target: End, claim: Claim, tell: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            source,
            target,
            claim,
            tell,
        }
    }

    /// The whole way.
    pub(super) fn carry_out(&mut self, surplus: Surplus) -> Result<Transferred, TransferError> {
        self.source.begin_snapshot().map_err(of_the_source)?;
        let before = self.marks()?;
        let compared = self.compare_all()?;
        self.check_may_write(&compared, surplus)?;
        let deleted = self.make_room(&compared)?;
        let is_cleared = deleted.iter().any(|rows| *rows > 0);
        let mut tables = Vec::with_capacity(TABLES.len());
        for ((table, compared), deleted) in TABLES.iter().zip(compared).zip(deleted) {
            // With a row goes what can't be without it, in other tables too.
            let copied = if compared.is_behind || is_cleared {
                (table.copy)(self)?
            } else {
                Copied::default()
            };
            tables.push((table, copied, deleted));
        }
        // Only now: what is deleted or written in one table can change what is in another.
        let tables = tables
            .into_iter()
            .map(|(table, copied, deleted)| self.verified(table, copied, deleted))
            .collect::<Result<_, _>>()?;
        self.source.end_snapshot().map_err(of_the_source)?;
        let source = if self.marks()? == before {
            SourceState::Unchanged
        } else {
            SourceState::Changed
        };
        Ok(Transferred { tables, source })
    }

    fn verified(
        &mut self,
        table: &Table,
        copied: Copied,
        deleted: u64,
    ) -> Result<TransferredTable, TransferError> {
        let passed = (table.verify)(self)?;
        Ok(TransferredTable {
            name: table.name,
            rows: passed.rows,
            added: copied.added,
            changed: copied.changed,
            deleted,
            digest: passed.digest,
        })
    }

    /// What the source is known again by.
    fn marks(&mut self) -> Result<Marks, TransferError> {
        let counts = TABLES
            .iter()
            .map(|table| (table.count)(&mut self.source))
            .collect::<Result<_, _>>()
            .map_err(of_the_source)?;
        let newest = self.source.newest().map_err(of_the_source)?;
        Ok(Marks { counts, newest })
    }

    fn compare_all(&mut self) -> Result<[Compared; TABLES.len()], TransferError> {
        let mut compared = [Compared::default(); TABLES.len()];
        for (table, compared) in TABLES.iter().zip(&mut compared) {
            *compared = (table.compare)(self)?;
        }
        Ok(compared)
    }

    /// Refuses to undo what others have done or do in the target. Where it is as the source already, nothing is undone.
    fn check_may_write(
        &mut self,
        compared: &[Compared; TABLES.len()],
        surplus: Surplus,
    ) -> Result<(), TransferError> {
        let names = TABLES.iter().map(|table| table.name);
        let foreign: Vec<_> = names
            .zip(compared.iter().map(|table| table.foreign))
            .filter(|(_, rows)| *rows > 0)
            .collect();
        if surplus == Surplus::Refused && !foreign.is_empty() {
            return Err(TransferError::InUse { rows: foreign });
        }
        if foreign.is_empty() && compared.iter().all(|table| !table.is_behind) {
            return Ok(());
        }
        self.claim.check_alone(&mut self.target)
    }

    /// Sees to it that the target has nothing that the source has not; how many rows of each table were deleted.
    fn make_room(
        &mut self,
        compared: &[Compared; TABLES.len()],
    ) -> Result<[u64; TABLES.len()], TransferError> {
        let mut rows = compared.map(|compared| compared.foreign);
        if rows.iter().all(|rows| *rows == 0) {
            return Ok(rows);
        }
        // From the last on: what refers to a row goes before the row does.
        for (table, rows) in TABLES.iter().zip(&mut rows).rev() {
            *rows = (table.delete_foreign_rows)(self)?;
        }
        Ok(rows)
    }

    /// An empty table, the most common case, is not worth reading the source for.
    fn compare<R: Row>(&mut self) -> Result<Compared, TransferError> {
        if R::of(&mut self.target)
            .count()
            .map_err(failed::<R>(Side::Target))?
            == 0
        {
            let rows = R::of(&mut self.source)
                .count()
                .map_err(failed::<R>(Side::Source))?;
            return Ok(Compared {
                foreign: 0,
                is_behind: rows > 0,
            });
        }
        let mut compared = Compared::default();
        self.walk::<R>(Step::Comparing, |_, finding| {
            match finding {
                Finding::Same => {}
                Finding::Missing(_) | Finding::Changed(_) => compared.is_behind = true,
                Finding::Foreign(_) => compared.foreign += 1,
            }
            Ok(())
        })?;
        Ok(compared)
    }

    fn delete_foreign_rows<R: Row>(&mut self) -> Result<u64, TransferError> {
        let mut foreign = Batch::new(|target, keys: &[R::Key]| R::of(target).delete(keys));
        self.walk::<R>(Step::Deleting, |target, finding| match finding {
            Finding::Foreign(key) => foreign.push(target, key).map_err(failed::<R>(Side::Target)),
            Finding::Same | Finding::Missing(_) | Finding::Changed(_) => Ok(()),
        })?;
        foreign
            .finish(&mut self.target)
            .map_err(failed::<R>(Side::Target))
    }

    fn copy<R: Row>(&mut self) -> Result<Copied, TransferError> {
        let mut added = Batch::new(|target, rows: &[R]| add(target, rows));
        let mut changed =
            Batch::new(|target, rows: &[R]| R::of(target).replace(rows).map_err(failed::<R>(Side::Target)));
        self.walk::<R>(Step::Copying, |target, finding| match finding {
            Finding::Missing(row) => added.push(target, row),
            Finding::Changed(row) => changed.push(target, row),
            // What has come since room was made is found in the end.
            Finding::Same | Finding::Foreign(_) => Ok(()),
        })?;
        Ok(Copied {
            added: added.finish(&mut self.target)?,
            changed: changed.finish(&mut self.target)?,
        })
    }

    fn verify<R: Row>(&mut self) -> Result<Passed, TransferError> {
        let (source, target) = self.walk::<R>(Step::Verifying, |_, finding| match finding {
            Finding::Same => Ok(()),
            Finding::Missing(row) | Finding::Changed(row) => Err(not_the_same::<R>(&row.key())),
            Finding::Foreign(key) => Err(not_the_same::<R>(&key)),
        })?;
        debug_assert_eq!(source, target, "row for row the same");
        Ok(target)
    }

    /// Goes through a table, both sides of it, and says what was passed of each.
    fn walk<R: Row>(
        &mut self,
        step: Step,
        mut visit: impl FnMut(&mut End, Finding<R>) -> Result<(), TransferError>,
    ) -> Result<(Passed, Passed), TransferError> {
        let mut merge = Merge::<R>::new();
        let mut rows = 0;
        let tell = |rows| Progress {
            step,
            table: R::TABLE,
            rows,
        };
        while let Some(finding) = merge
            .next(&mut self.source, &mut self.target)
            .map_err(|(side, error)| failed::<R>(side)(error))?
        {
            visit(&mut self.target, finding)?;
            rows += 1;
            if rows % PAGE as u64 == 0 {
                (self.tell)(tell(rows));
            }
        }
        (self.tell)(tell(rows));
        Ok(merge.passed())
    }
}

/// Things that are written once there are enough of them.
struct Batch<T, W> {
    waiting: Vec<T>,
    written: u64,
    write: W,
}

impl<T, E, W: FnMut(&mut End, &[T]) -> Result<(), E>> Batch<T, W> {
    const fn new(write: W) -> Self {
        Self {
            waiting: Vec::new(),
            written: 0,
            write,
        }
    }

    fn push(&mut self, target: &mut End, thing: T) -> Result<(), E> {
        self.waiting.push(thing);
        if self.waiting.len() < PAGE {
            return Ok(());
        }
        self.flush(target)
    }

    fn flush(&mut self, target: &mut End) -> Result<(), E> {
        (self.write)(target, &self.waiting)?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Writes the rest, and says how many there were in all.
    fn finish(mut self, target: &mut End) -> Result<u64, E> {
        if !self.waiting.is_empty() {
            self.flush(target)?;
        }
        Ok(self.written)
    }
}

/// Adds rows; where not all are taken, one by one up to the one that isn't, so that it can be named.
fn add<R: Row>(target: &mut End, rows: &[R]) -> Result<(), TransferError> {
    let Err(error) = R::of(target).add(rows) else {
        return Ok(());
    };
    if error.is_of_the_connection() {
        return Err(failed::<R>(Side::Target)(error));
    }
    for row in rows {
        R::of(target)
            .add(std::slice::from_ref(row))
            .map_err(|error| TransferError::NotTaken {
                table: R::TABLE,
                row: row.key().shown(),
                cause: Cause::of(&error),
                source: error.into(),
            })?;
    }
    Ok(())
}

fn not_the_same<R: Row>(key: &R::Key) -> TransferError {
    TransferError::NotTheSame {
        table: R::TABLE,
        row: key.shown(),
    }
}

fn failed<R: Row>(side: Side) -> impl FnOnce(StoreError) -> TransferError {
    move |error| TransferError::failed(side, Some(R::TABLE), error)
}

fn of_the_source(error: StoreError) -> TransferError {
    TransferError::failed(Side::Source, None, error)
}
