//! The audit trail in memory.

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::ports::admin::{AuditEntry, AuditFilter, AuditLog};
use auth_domain::ports::{AuditTrail, Unavailable};
use auth_domain::time::Timestamp;

use super::{FakeStore, State};

#[async_trait]
impl AuditTrail for FakeStore {
    async fn record(&self, audit: AuditRecord) -> Result<(), Unavailable> {
        self.call("write an audit row", |state| state.audit.push(audit))
    }
}

#[async_trait]
impl AuditLog for FakeStore {
    async fn search(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        self.call("search the audit trail", |state| {
            let mut rows = state.wanted(filter);
            rows.truncate(length(limit));
            rows.into_iter().map(entry).collect()
        })
    }

    async fn tail(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>, Unavailable> {
        self.call("read the end of the audit trail", |state| {
            let rows = state.wanted(filter);
            let first = rows.len().saturating_sub(length(limit));
            rows.into_iter().skip(first).map(entry).collect()
        })
    }

    async fn trim(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable> {
        self.call("trim the audit trail", |state| {
            state.audit.sort_by_key(|row| row.id);
            let (mut left, stored) = (at_most, state.audit.len());
            state.audit.retain(|row| {
                let is_trimmed = row.at < before && left > 0;
                left -= u32::from(is_trimmed);
                !is_trimmed
            });
            (stored - state.audit.len()).try_into().unwrap_or(u64::MAX)
        })
    }
}

impl State {
    /// The rows that a filter lets through, in the order of their keys.
    fn wanted(&self, filter: &AuditFilter) -> Vec<&AuditRecord> {
        let mut rows: Vec<_> = self.audit.iter().filter(|row| passes(filter, row)).collect();
        rows.sort_by_key(|row| row.id);
        rows
    }
}

fn passes(filter: &AuditFilter, row: &AuditRecord) -> bool {
    let context = &row.context;
    filter.after.is_none_or(|after| row.id > after)
        && filter.since.is_none_or(|since| row.at >= since)
        && filter.until.is_none_or(|until| row.at < until)
        && (filter.kinds.is_empty() || filter.kinds.contains(&row.event.kind()))
        && filter.user_id.is_none_or(|user| row.user_id == Some(user))
        && (filter.client_id.is_none() || filter.client_id == row.client_id)
        && (filter.ip.is_none() || filter.ip == context.ip)
        && filter
            .correlation_id
            .as_ref()
            .is_none_or(|id| context.correlation_id == *id)
        && filter
            .success
            .is_none_or(|success| row.event.is_success() == success)
}

fn entry(row: &AuditRecord) -> AuditEntry {
    AuditEntry {
        id: row.id,
        at: row.at,
        event_type: row.event.event_type().to_owned(),
        event_data: serde_json::to_string(&row.event).expect("events are plain data"),
        user_id: row.user_id,
        client_id: row.client_id.as_ref().map(ToString::to_string),
        ip: row.context.ip.map(|ip| ip.to_string()),
        user_agent: row.context.user_agent.clone(),
        correlation_id: row.context.correlation_id.clone(),
        success: row.event.is_success(),
        error_message: row.event.error_message().map(str::to_owned),
    }
}

fn length(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
