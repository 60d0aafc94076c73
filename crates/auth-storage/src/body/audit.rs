//! The audit trail.

use auth_domain::audit::AuditRecord;
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::rows::NewAuditRow;
use crate::schema::audit_logs;

/// Writes one row.
pub(super) fn record(conn: &mut Conn, record: &AuditRecord) -> Result<(), StoreError> {
    diesel::insert_into(audit_logs::table)
        .values(NewAuditRow::try_from(record)?)
        .execute(conn)?;
    Ok(())
}
