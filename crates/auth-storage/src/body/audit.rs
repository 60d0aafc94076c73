//! The audit trail: appended to, read by its key, trimmed at its old end.
//!
//! A row's key is made of its time. So a span of time is a range of keys, and the table needs no index that every
//! write would pay for: what else a reader asks for is looked at row by row within that range.

use auth_domain::audit::AuditRecord;
use auth_domain::id::{ClientId, RowId};
use auth_domain::ports::admin::{AuditEntry, AuditFilter};
use auth_domain::time::Timestamp;
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::rows::{AuditRow, NewAuditRow};
use crate::schema::audit_logs;
use crate::types::{Id, Moment};

pub(crate) type Wanted<'a> = audit_logs::BoxedQuery<'a, <Conn as Connection>::Backend>;

/// Writes one row.
pub(super) fn record(conn: &mut Conn, record: &AuditRecord) -> Result<(), StoreError> {
    diesel::insert_into(audit_logs::table)
        .values(NewAuditRow::try_from(record)?)
        .execute(conn)?;
    Ok(())
}

/// Rows in the order of their keys.
pub(super) fn search(
    conn: &mut Conn,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditEntry>, StoreError> {
    let rows = wanted(filter)
        .order(audit_logs::id.asc())
        .limit(limit.into())
        .select(AuditRow::as_select())
        .load(conn)?;
    Ok(rows.into_iter().map(AuditEntry::from).collect())
}

/// The last rows, in the order of their keys.
pub(super) fn tail(conn: &mut Conn, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let rows = wanted(filter)
        .order(audit_logs::id.desc())
        .limit(limit.into())
        .select(AuditRow::as_select())
        .load(conn)?;
    Ok(rows.into_iter().rev().map(AuditEntry::from).collect())
}

/// Deletes the oldest rows of before a moment: finds the last key of the batch, then deletes up to it.
pub(super) fn trim(conn: &mut Conn, before: Timestamp, at_most: u32) -> Result<u64, StoreError> {
    let old = AuditFilter {
        until: Some(before),
        ..AuditFilter::default()
    };
    let batch = wanted(&old)
        .order(audit_logs::id.asc())
        .limit(at_most.into())
        .select(audit_logs::id)
        .load::<Id>(conn)?;
    let Some(last) = batch.last() else {
        return Ok(0);
    };
    let deleted = diesel::delete(audit_logs::table)
        .filter(audit_logs::id.le(last))
        .filter(audit_logs::created_at.lt(Moment(before)))
        .execute(conn)?;
    Ok(deleted.try_into().unwrap_or(u64::MAX))
}

/// The rows that a filter lets through.
pub(crate) fn wanted(filter: &AuditFilter) -> Wanted<'_> {
    let mut rows = of_span(audit_logs::table.into_boxed(), filter);
    if !filter.kinds.is_empty() {
        let names = filter.kinds.iter().map(|kind| kind.as_str());
        rows = rows.filter(audit_logs::event_type.eq_any(names.collect::<Vec<_>>()));
    }
    if let Some(user) = filter.user_id {
        rows = rows.filter(audit_logs::user_id.eq(Id(user.as_uuid())));
    }
    if let Some(client) = &filter.client_id {
        rows = rows.filter(audit_logs::client_id.eq(ClientId::as_str(client)));
    }
    if let Some(ip) = filter.ip {
        rows = rows.filter(audit_logs::ip_address.eq(ip.to_string()));
    }
    if let Some(correlation_id) = &filter.correlation_id {
        rows = rows.filter(audit_logs::correlation_id.eq(correlation_id));
    }
    if let Some(success) = filter.success {
        rows = rows.filter(audit_logs::success.eq(success));
    }
    rows
}

/// A span of time: its keys, to the millisecond, and its times, to the microsecond.
fn of_span<'a>(mut rows: Wanted<'a>, filter: &AuditFilter) -> Wanted<'a> {
    if let Some(after) = filter.after {
        rows = rows.filter(audit_logs::id.gt(Id(after.as_uuid())));
    }
    if let Some(since) = filter.since {
        rows = rows
            .filter(audit_logs::id.ge(Id(RowId::first_of(since).as_uuid())))
            .filter(audit_logs::created_at.ge(Moment(since)));
    }
    if let Some(until) = filter.until {
        rows = rows
            .filter(audit_logs::id.lt(Id(first_key_past(until).as_uuid())))
            .filter(audit_logs::created_at.lt(Moment(until)));
    }
    rows
}

/// A key that no row of the moment's millisecond or before has.
fn first_key_past(moment: Timestamp) -> RowId {
    RowId::first_of(Timestamp::from_micros(moment.as_micros().saturating_add(1_000)))
}
