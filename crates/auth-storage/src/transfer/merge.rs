//! One table of two databases, read side by side in the order of its keys.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::vec;

use sha2::{Digest, Sha256};

use super::end::End;
use super::rows::{Key, Row};
use super::{PAGE, Side};
use crate::error::StoreError;

/// What the two have to do with each other at a key.
pub(super) enum Finding<R: Row> {
    /// Both have the row, and it is the same.
    Same,
    /// Only the source has it.
    Missing(R),
    /// Both have it, and not the same; this is the source's.
    Changed(R),
    /// Only the target has it.
    Foreign(R::Key),
}

/// The rows of a table from the first to the last, and a digest of those that have been passed.
struct Cursor<R: Row> {
    page: Peekable<vec::IntoIter<R>>,
    /// The last key of the page; what comes next is behind it.
    last: Option<R::Key>,
    is_last_page: bool,
    rows: u64,
    digest: Sha256,
}

/// Both tables.
pub(super) struct Merge<R: Row> {
    source: Cursor<R>,
    target: Cursor<R>,
}

/// What has been passed of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) rows: u64,
    pub(super) digest: [u8; 32],
}

impl<R: Row> Cursor<R> {
    fn new() -> Self {
        Self {
            page: Vec::new().into_iter().peekable(),
            last: None,
            is_last_page: false,
            rows: 0,
            digest: Sha256::new(),
        }
    }

    /// The row that comes next.
    fn peek(&mut self, end: &mut End) -> Result<Option<&R>, StoreError> {
        if self.page.peek().is_none() && !self.is_last_page {
            let rows = R::of(end).page(self.last.as_ref(), PAGE)?;
            self.is_last_page = rows.len() < PAGE;
            self.last = rows.last().map(R::key);
            self.page = rows.into_iter().peekable();
        }
        Ok(self.page.peek())
    }

    /// Passes it.
    fn pass(&mut self) -> Option<(R, Vec<u8>)> {
        let row = self.page.next()?;
        let mut written = Vec::new();
        row.write_to(&mut written);
        self.rows += 1;
        self.digest.update((written.len() as u64).to_be_bytes());
        self.digest.update(&written);
        Some((row, written))
    }

    fn passed(self) -> Passed {
        Passed {
            rows: self.rows,
            digest: self.digest.finalize().into(),
        }
    }
}

impl<R: Row> Merge<R> {
    /// From the first key on.
    pub(super) fn new() -> Self {
        Self {
            source: Cursor::new(),
            target: Cursor::new(),
        }
    }

    /// What there is at the next key; `None` behind the last.
    pub(super) fn next(
        &mut self,
        source: &mut End,
        target: &mut End,
    ) -> Result<Option<Finding<R>>, (Side, StoreError)> {
        let ours = self.source.peek(source).map_err(|error| (Side::Source, error))?;
        let theirs = self.target.peek(target).map_err(|error| (Side::Target, error))?;
        let order = match (ours, theirs) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => ours.key().bytes().cmp(theirs.key().bytes()),
        };
        Ok(match order {
            Ordering::Less => self.source.pass().map(|(row, _)| Finding::Missing(row)),
            Ordering::Greater => self.target.pass().map(|(row, _)| Finding::Foreign(row.key())),
            Ordering::Equal => self.pass_both(),
        })
    }

    fn pass_both(&mut self) -> Option<Finding<R>> {
        let (row, ours) = self.source.pass()?;
        let (_, theirs) = self.target.pass()?;
        Some(if ours == theirs {
            Finding::Same
        } else {
            Finding::Changed(row)
        })
    }

    /// What has been passed of the source, and of the target.
    pub(super) fn passed(self) -> (Passed, Passed) {
        (self.source.passed(), self.target.passed())
    }
}
