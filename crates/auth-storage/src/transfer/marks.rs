//! Whether a database has been changed in the meantime, found out at little cost.

use crate::error::StoreError;
use crate::types::{Id, Moment};

/// What is newest. Whatever a server or a command changes leaves a row in the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    /// Of the audit trail.
    pub(crate) audit_row: Option<Id>,
    /// When a chain was last moved on.
    pub(crate) session_use: Option<Moment>,
    /// When a client was last changed.
    pub(crate) client_change: Option<Moment>,
    /// When a user was.
    pub(crate) user_change: Option<Moment>,
}

/// A connection to a database that can tell.
pub(crate) trait Looks {
    /// What is newest.
    fn newest(&mut self) -> Result<Newest, StoreError>;
}

/// What a database is known again by: how many rows each table has, in the order of tables, and what is newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) counts: Vec<i64>,
    pub(crate) newest: Newest,
}
