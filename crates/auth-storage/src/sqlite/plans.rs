//! How SQLite carries out queries that must not read whole tables.

use auth_domain::ports::admin::AuditFilter;
use auth_domain::time::{Seconds, Timestamp};
use diesel::connection::SimpleConnection;
use diesel::debug_query;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::Conn;
use super::body::audit::wanted;
use crate::schema::audit_logs;

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[test]
fn a_span_of_time_is_a_range_of_the_key_and_nothing_is_sorted() {
    let mut conn = Conn::establish(":memory:").unwrap();
    let schema = include_str!("../../../../migrations/sqlite/0001_initial/up.sql");
    conn.batch_execute(schema).unwrap();
    let now = Timestamp::from_unix_seconds(1_767_225_600);
    let filter = AuditFilter {
        since: Some(now),
        until: Some(now.plus(Seconds::new(60))),
        correlation_id: Some("c".to_owned()),
        ..AuditFilter::default()
    };
    let query = wanted(&filter).order(audit_logs::id.desc()).limit(10);
    let sql = debug_query::<<Conn as Connection>::Backend, _>(&query).to_string();
    let (sql, _) = sql.split_once("-- binds").unwrap();
    let plan = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}"));
    let steps: Vec<_> = plan.load::<Step>(&mut conn).unwrap();
    let steps: Vec<_> = steps.iter().map(|step| step.detail.as_str()).collect();
    assert_eq!(steps, ["SEARCH audit_logs USING PRIMARY KEY (id>? AND id<?)"]);
}
