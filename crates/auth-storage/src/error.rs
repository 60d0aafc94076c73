//! What can go wrong below the ports; at a port all of it is [`Unavailable`].

use std::fmt::Display;

use auth_domain::ports::Unavailable;
use diesel::result::{DatabaseErrorKind, Error as SqlError};

/// Why a command or a query came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database said no.
    #[error("the database refuses: {0}")]
    Sql(#[from] SqlError),
    /// A row holds what the domain's types can't.
    #[error("table {table}, column {column}, row {row}: {fault}")]
    BrokenRow {
        table: &'static str,
        column: &'static str,
        row: String,
        fault: String,
    },
    /// An audit event could not be written as JSON.
    #[error("an audit event does not serialize: {0}")]
    Event(#[from] serde_json::Error),
    /// A row with this key is there already, which no caller can mean.
    #[error("table {table} has a row {row} already")]
    DuplicateKey { table: &'static str, row: String },
    /// The transaction that this command was part of was not committed; nothing of it is stored.
    #[error("the group of writes was not committed: {0}")]
    NotCommitted(String),
    /// The query that this look-up was part of was not answered.
    #[error("a query for several was not answered: {0}")]
    Unanswered(String),
    /// No connection could be had.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// It has waited for so long that nobody may be there any more, and was not begun.
    #[error("it has waited for too long")]
    Late,
    /// No answer has come for so long that none is waited for any more.
    #[error("the database is silent; whether anything was done is not known")]
    Silent,
    /// The connection was lost between the order to commit and its answer.
    #[error("whether it was committed is not known: {0}")]
    Unsettled(String),
    /// Too much is waiting already.
    #[error("too much is waiting for the database")]
    Overloaded,
    /// The work itself has panicked; nothing of it is stored.
    #[error("it panicked")]
    Panicked,
    /// The store has been shut down.
    #[error("the store has been shut down")]
    Closed,
}

impl StoreError {
    /// A row that can't be read.
    pub(crate) fn broken(
        table: &'static str,
        column: &'static str,
        row: impl Display,
        fault: impl Display,
    ) -> Self {
        Self::BrokenRow {
            table,
            column,
            row: row.to_string(),
            fault: fault.to_string(),
        }
    }

    /// Whether only the command itself is at fault, so that others in its transaction can stand.
    ///
    /// Anything the database does not call a violated constraint may have ended the transaction already (a full
    /// disk does), so that nothing of the group can be trusted any more.
    pub(crate) fn spares_the_group(&self) -> bool {
        match self {
            Self::Sql(SqlError::DatabaseError(kind, _)) => matches!(
                kind,
                DatabaseErrorKind::UniqueViolation
                    | DatabaseErrorKind::ForeignKeyViolation
                    | DatabaseErrorKind::NotNullViolation
                    | DatabaseErrorKind::CheckViolation
            ),
            Self::Sql(SqlError::NotFound)
            | Self::BrokenRow { .. }
            | Self::Event(_)
            | Self::DuplicateKey { .. } => true,
            Self::Sql(_)
            | Self::NotCommitted(_)
            | Self::Unanswered(_)
            | Self::NoConnection(_)
            | Self::Late
            | Self::Silent
            | Self::Unsettled(_)
            | Self::Overloaded
            | Self::Panicked
            | Self::Closed => false,
        }
    }

    /// Whether the connection is good for nothing any more.
    pub(crate) fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Sql(SqlError::DatabaseError(kind, _)) => matches!(
                kind,
                DatabaseErrorKind::ClosedConnection
                    | DatabaseErrorKind::UnableToSendCommand
                    // The server takes no writes any more; another may have taken its place.
                    | DatabaseErrorKind::ReadOnlyTransaction
            ),
            Self::Sql(error) => matches!(error, SqlError::BrokenTransactionManager),
            Self::NoConnection(_) | Self::Unsettled(_) => true,
            Self::BrokenRow { .. }
            | Self::Event(_)
            | Self::DuplicateKey { .. }
            | Self::NotCommitted(_)
            | Self::Unanswered(_)
            | Self::Late
            | Self::Silent
            | Self::Overloaded
            | Self::Panicked
            | Self::Closed => false,
        }
    }

    /// Whether the same may succeed when it is tried again: a connection was lost, somebody held a lock for too long, or
    /// the database ended a deadlock. PostgreSQL's library tells the last two by no kind of their own.
    pub(crate) fn may_pass(&self) -> bool {
        let is_of_the_data = |kind: &DatabaseErrorKind| {
            matches!(
                kind,
                DatabaseErrorKind::UniqueViolation
                    | DatabaseErrorKind::ForeignKeyViolation
                    | DatabaseErrorKind::NotNullViolation
                    | DatabaseErrorKind::CheckViolation
                    | DatabaseErrorKind::RestrictViolation
                    | DatabaseErrorKind::ExclusionViolation
            )
        };
        match self {
            Self::Sql(SqlError::DatabaseError(kind, _)) => !is_of_the_data(kind),
            Self::Sql(error) => matches!(error, SqlError::BrokenTransactionManager),
            Self::NoConnection(_) => true,
            Self::BrokenRow { .. }
            | Self::Event(_)
            | Self::DuplicateKey { .. }
            | Self::NotCommitted(_)
            | Self::Unanswered(_)
            | Self::Late
            | Self::Silent
            | Self::Unsettled(_)
            | Self::Overloaded
            | Self::Panicked
            | Self::Closed => false,
        }
    }

    /// The same for the port whose operation this was.
    pub(crate) fn in_operation(self, what: &'static str) -> Unavailable {
        Unavailable::new(what, self)
    }
}
