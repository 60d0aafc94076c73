//! What every store must keep when its audit trail is read and trimmed.
#![expect(
    clippy::indexing_slicing,
    reason = "a rule may stop where there is less than it wrote"
)]

use auth_domain::audit::{AuditEvent, AuditRecord, EventKind};
use auth_domain::context::RequestContext;
use auth_domain::id::RowId;
use auth_domain::ports::admin::{AuditEntry, AuditFilter};
use auth_domain::refusal::GrantFault;
use auth_domain::time::Timestamp;

use super::stage::{Stage, after};
use crate::build;

/// The moment so many microseconds after the start.
fn micros(count: i64) -> Timestamp {
    Timestamp::from_micros(after(0).as_micros() + count)
}

fn failed(login: &str) -> AuditEvent {
    AuditEvent::LoginFailed {
        reason: GrantFault::WrongPassword,
        login: login.to_owned(),
    }
}

async fn record(stage: &Stage, records: impl IntoIterator<Item = AuditRecord>) {
    for record in records {
        stage.audit.record(record).await.expect("the store is there");
    }
}

/// So many rows, one a second, written in an order that is not theirs; their ids in the order of time.
async fn one_a_second(stage: &Stage, count: u32) -> Vec<RowId> {
    let rows: Vec<_> = (0..count)
        .map(|second| build::audit_at(after(second), &second.to_string(), AuditEvent::PasswordChange {}))
        .collect();
    let ids = rows.iter().map(|row| row.id).collect();
    record(stage, rows.into_iter().rev()).await;
    ids
}

async fn search(stage: &Stage, filter: &AuditFilter, limit: u32) -> Vec<RowId> {
    let rows = stage.audit_log.search(filter, limit).await;
    ids(rows.expect("the store is there"))
}

async fn tail(stage: &Stage, filter: &AuditFilter, limit: u32) -> Vec<RowId> {
    let rows = stage.audit_log.tail(filter, limit).await;
    ids(rows.expect("the store is there"))
}

async fn trim(stage: &Stage, before: Timestamp, at_most: u32) -> u64 {
    let trimmed = stage.audit_log.trim(before, at_most).await;
    trimmed.expect("the store is there")
}

fn ids(rows: Vec<AuditEntry>) -> Vec<RowId> {
    rows.into_iter().map(|row| row.id).collect()
}

fn everything() -> AuditFilter {
    AuditFilter::default()
}

/// Pages continue after the row that the page before ended with, until there is nothing left.
pub async fn rows_are_read_in_pages_in_the_order_of_their_keys(stage: Stage) {
    let ids = one_a_second(&stage, 5).await;
    let mut seen = Vec::new();
    for expected in [2, 2, 1, 0] {
        let page = AuditFilter {
            after: seen.last().copied(),
            ..everything()
        };
        let rows = search(&stage, &page, 2).await;
        assert_eq!(rows.len(), expected);
        seen.extend(rows);
    }
    assert_eq!(seen, ids);
    assert_eq!(search(&stage, &everything(), 0).await, []);
}

/// The tail is cut off at its beginning, not at its end.
pub async fn the_tail_is_the_last_rows_with_the_oldest_first(stage: Stage) {
    let ids = one_a_second(&stage, 5).await;
    assert_eq!(tail(&stage, &everything(), 2).await, ids[3..]);
    assert_eq!(tail(&stage, &everything(), 10).await, ids);
    assert_eq!(tail(&stage, &everything(), 0).await, []);
    let earlier = AuditFilter {
        until: Some(after(3)),
        ..everything()
    };
    assert_eq!(tail(&stage, &earlier, 2).await, ids[1..3]);
}

/// A span begins with its first microsecond and ends before its last.
pub async fn a_span_of_time_is_exact_to_the_microsecond(stage: Stage) {
    let moments = [-1_000, -1, 0, 1, 999, 1_000];
    let rows = moments
        .map(|moment| build::audit_at(micros(moment), &moment.to_string(), AuditEvent::PasswordChange {}));
    record(&stage, rows.clone()).await;
    for (since, until) in [(0, 1), (-1, 1), (0, 0), (1, 1_000), (-1_000, 1_001), (2, 999)] {
        let span = AuditFilter {
            since: Some(micros(since)),
            until: Some(micros(until)),
            ..everything()
        };
        let mut expected: Vec<_> = rows
            .iter()
            .filter(|row| (micros(since)..micros(until)).contains(&row.at))
            .map(|row| row.id)
            .collect();
        expected.sort();
        assert_eq!(search(&stage, &span, 10).await, expected, "{since} to {until}");
        assert_eq!(tail(&stage, &span, 10).await, expected, "{since} to {until}");
    }
    let endless = AuditFilter {
        since: Some(Timestamp::from_micros(i64::MIN)),
        until: Some(Timestamp::from_micros(i64::MAX)),
        ..everything()
    };
    assert_eq!(search(&stage, &endless, 10).await.len(), moments.len());
}

/// Three rows that differ in everything that can be asked for.
fn different_rows() -> [AuditRecord; 3] {
    let mut failure = build::audit_at(after(1), "failure", failed("alice"));
    failure.user_id = Some(build::user_id("alice"));
    failure.client_id = Some(build::client_id(build::FLUTTER));
    "alices".clone_into(&mut failure.context.correlation_id);
    failure.context.ip = Some("2001:db8::1".parse().expect("an address"));
    let mut change = build::audit_at(after(2), "change", AuditEvent::PasswordChange {});
    change.user_id = Some(build::user_id("bob"));
    let mut bare = build::audit_at(after(3), "bare", AuditEvent::ClientUpdated {});
    bare.client_id = Some(build::client_id(build::BACKEND));
    bare.context = RequestContext::default();
    [failure, change, bare]
}

/// A filter lets through the rows that hold what it asks for, and no others.
pub async fn each_filter_lets_through_what_it_names(stage: Stage) {
    let rows = different_rows();
    record(&stage, rows.clone()).await;
    let kinds = vec![EventKind::PasswordChange, EventKind::ClientUpdated];
    let cases: [(AuditFilter, &[usize]); 8] = [
        (everything(), &[0, 1, 2]),
        (
            AuditFilter {
                kinds,
                ..everything()
            },
            &[1, 2],
        ),
        (
            AuditFilter {
                user_id: Some(build::user_id("bob")),
                ..everything()
            },
            &[1],
        ),
        (
            AuditFilter {
                client_id: Some(build::client_id(build::FLUTTER)),
                ..everything()
            },
            &[0],
        ),
        (
            AuditFilter {
                ip: Some("2001:db8:0::0:1".parse().expect("an address")),
                ..everything()
            },
            &[0],
        ),
        (
            AuditFilter {
                correlation_id: Some("alices".to_owned()),
                ..everything()
            },
            &[0],
        ),
        (
            AuditFilter {
                success: Some(true),
                ..everything()
            },
            &[1, 2],
        ),
        (
            AuditFilter {
                success: Some(false),
                ..everything()
            },
            &[0],
        ),
    ];
    for (filter, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|row| rows[*row].id).collect();
        assert_eq!(search(&stage, &filter, 10).await, expected, "{filter:?}");
        assert_eq!(tail(&stage, &filter, 10).await, expected, "{filter:?}");
    }
}

/// What is asked for must all hold at once.
pub async fn filters_hold_together(stage: Stage) {
    let rows = different_rows();
    record(&stage, rows.clone()).await;
    let mut filter = AuditFilter {
        since: Some(after(1)),
        until: Some(after(2)),
        kinds: vec![EventKind::LoginFailed],
        user_id: Some(build::user_id("alice")),
        client_id: Some(build::client_id(build::FLUTTER)),
        ip: rows[0].context.ip,
        correlation_id: Some("alices".to_owned()),
        success: Some(false),
        after: None,
    };
    assert_eq!(search(&stage, &filter, 10).await, [rows[0].id]);
    filter.after = Some(rows[0].id);
    assert_eq!(search(&stage, &filter, 10).await, []);
    filter.after = None;
    filter.success = Some(true);
    assert_eq!(search(&stage, &filter, 10).await, []);
}

/// A text in a filter is a value, whatever it looks like.
pub async fn a_hostile_filter_is_compared_and_never_run(stage: Stage) {
    let hostile = "x' OR '1'='1'; DROP TABLE audit_logs; --";
    let mut named = build::audit("hostile", AuditEvent::PasswordChange {});
    named.context.correlation_id = hostile.to_owned();
    let plain = build::audit("plain", AuditEvent::PasswordChange {});
    record(&stage, [named.clone(), plain]).await;
    let filter = AuditFilter {
        correlation_id: Some(hostile.to_owned()),
        ..everything()
    };
    assert_eq!(search(&stage, &filter, 10).await, [named.id]);
    let other = AuditFilter {
        client_id: Some(build::client_id("x' OR '1'='1")),
        ..everything()
    };
    assert_eq!(search(&stage, &other, 10).await, []);
    assert_eq!(search(&stage, &everything(), 10).await.len(), 2);
}

/// Every column comes back as it was written, whatever a stranger put into it.
pub async fn a_row_is_read_as_it_was_written(stage: Stage) {
    let hostile = "al'ice\"\\\u{1b}[31m\u{202e}\u{2028}☃\u{1f600}\r\n,=1+1";
    let [mut full, _, bare] = different_rows();
    full.event = failed(hostile);
    full.context.user_agent = Some(hostile.to_owned());
    record(&stage, [full.clone(), bare.clone()]).await;
    let rows = stage.audit_log.search(&everything(), 10).await;
    let [read_full, read_bare] =
        <[AuditEntry; 2]>::try_from(rows.expect("the store is there")).expect("two rows");
    let expected = AuditEntry {
        id: full.id,
        at: after(1),
        event_type: "login_failed".to_owned(),
        event_data: read_full.event_data.clone(),
        user_id: full.user_id,
        client_id: Some(build::FLUTTER.to_owned()),
        ip: Some("2001:db8::1".to_owned()),
        user_agent: Some(hostile.to_owned()),
        correlation_id: "alices".to_owned(),
        success: false,
        error_message: Some("wrong_password".to_owned()),
    };
    assert_eq!(read_full, expected);
    let data: serde_json::Value = serde_json::from_str(&read_full.event_data).expect("JSON");
    assert_eq!(
        data,
        serde_json::json!({ "reason": "wrong_password", "login": hostile })
    );
    let expected = AuditEntry {
        id: bare.id,
        at: after(3),
        event_type: "client_updated".to_owned(),
        event_data: "{}".to_owned(),
        user_id: None,
        client_id: Some(build::BACKEND.to_owned()),
        ip: None,
        user_agent: None,
        correlation_id: String::new(),
        success: true,
        error_message: None,
    };
    assert_eq!(read_bare, expected);
}

/// The oldest go first, no more at once than asked for, and never one that is young enough.
pub async fn trimming_deletes_the_oldest_rows_of_before_a_moment_in_bounded_batches(stage: Stage) {
    let ids = one_a_second(&stage, 6).await;
    assert_eq!(trim(&stage, after(0), 10).await, 0, "not at the moment itself");
    assert_eq!(trim(&stage, after(4), 0).await, 0);
    assert_eq!(search(&stage, &everything(), 10).await, ids);
    assert_eq!(trim(&stage, after(4), 3).await, 3);
    assert_eq!(search(&stage, &everything(), 10).await, ids[3..]);
    assert_eq!(trim(&stage, after(4), 3).await, 1);
    assert_eq!(trim(&stage, after(4), 3).await, 0);
    assert_eq!(search(&stage, &everything(), 10).await, ids[4..]);
    let a_little_later = Timestamp::from_micros(after(4).as_micros() + 1);
    assert_eq!(trim(&stage, a_little_later, 3).await, 1);
    assert_eq!(search(&stage, &everything(), 10).await, ids[5..]);
}

/// Rows that are written while old ones are deleted all stay.
pub async fn trimming_beside_writes_loses_none_of_them(stage: Stage) {
    one_a_second(&stage, 40).await;
    let writing = {
        let stage = stage.clone();
        tokio::spawn(async move {
            let young = (100..140).map(|second| {
                build::audit_at(after(second), &second.to_string(), AuditEvent::PasswordChange {})
            });
            record(&stage, young).await;
        })
    };
    let mut trimmed = 0;
    while trimmed < 40 {
        trimmed += trim(&stage, after(40), 5).await;
    }
    writing.await.expect("no write panics");
    assert_eq!(trimmed, 40);
    assert_eq!(search(&stage, &everything(), 100).await.len(), 40);
}
