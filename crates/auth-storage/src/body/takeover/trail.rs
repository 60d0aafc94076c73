//! Rows of the older service's audit trail.

use auth_domain::ports::admin::AuditEntry;
use auth_domain::takeover::{Mode, Takeover};
use diesel::dsl::exists;
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::schema::audit_logs;
use crate::types::{Id, Json, Moment};

/// Takes a row, and counts it, unless it is there.
pub(super) fn take(conn: &mut Conn, row: &AuditEntry, takeover: &Takeover) -> Result<u64, StoreError> {
    let id = Id(row.id.as_uuid());
    if takeover.mode == Mode::Look {
        let is_there: bool = diesel::select(exists(audit_logs::table.find(id))).get_result(conn)?;
        return Ok(u64::from(!is_there));
    }
    let stored = diesel::insert_into(audit_logs::table)
        .values((
            audit_logs::id.eq(id),
            audit_logs::user_id.eq(row.user_id.map(|user| Id(user.as_uuid()))),
            audit_logs::client_id.eq(row.client_id.as_deref()),
            audit_logs::event_type.eq(row.event_type.as_str()),
            audit_logs::event_data.eq(Json(row.event_data.clone())),
            audit_logs::ip_address.eq(row.ip.as_deref()),
            audit_logs::user_agent.eq(row.user_agent.as_deref()),
            audit_logs::correlation_id.eq(row.correlation_id.as_str()),
            audit_logs::success.eq(row.success),
            audit_logs::error_message.eq(row.error_message.as_deref()),
            audit_logs::created_at.eq(Moment(row.at)),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(stored.try_into().unwrap_or(u64::MAX))
}
