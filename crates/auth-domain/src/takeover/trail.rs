//! The audit trail of the older service: kept as it was written, under keys that sort by time.

use std::collections::HashSet;

use super::{LegacyAudit, LegacyTable, Planned, Reason, derived_uuid, parse_id, when, without_nul};
use crate::id::{RowId, UserId};
use crate::ports::admin::AuditEntry;

/// Judges rows of the audit trail. What kind of event a row speaks of is text, here as there: the kinds of the older
/// service have the same names here, and one that this service does not know is still worth keeping.
pub fn plan_trail(rows: &[LegacyAudit]) -> Planned<AuditEntry> {
    let mut planned = Planned::default();
    let mut ids = HashSet::new();
    for row in rows {
        let judged = read(row).and_then(|entry| {
            if ids.insert(entry.id) {
                Ok(entry)
            } else {
                Err(Reason::SameId)
            }
        });
        planned.put(LegacyTable::Audit, &row.id, judged);
    }
    planned
}

fn read(row: &LegacyAudit) -> Result<AuditEntry, Reason> {
    let id = parse_id(&row.id)?;
    if let Some(column) = row.garbled {
        return Err(Reason::NoText(column));
    }
    let at = when::parse(&row.created_at).ok_or(Reason::Time("created_at"))?;
    if row.event_type.is_empty() {
        return Err(Reason::NoEvent);
    }
    let text = |column: &Option<String>| column.as_deref().map(without_nul);
    Ok(AuditEntry {
        id: RowId::from_uuid(derived_uuid(at, b"audit", id.as_bytes())),
        at,
        event_type: without_nul(&row.event_type),
        event_data: row.event_data.clone(),
        user_id: row
            .user_id
            .as_deref()
            .map(|user| parse_id(user).map(UserId::from_uuid))
            .transpose()?,
        client_id: text(&row.client_id),
        ip: text(&row.ip_address),
        user_agent: text(&row.user_agent),
        // The older service had none. Its own id lets a row be found again on both sides.
        correlation_id: id.to_string(),
        success: row.success,
        error_message: text(&row.error_message),
    })
}
