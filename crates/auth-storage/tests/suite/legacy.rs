//! The older service's database is read row by row: what is wrong with one keeps no other from being taken.

use auth_domain::takeover::{Reason, plan_trail};
use auth_storage::DatabaseUrl;
use auth_storage::legacy::{open_sink, open_source};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use rstest::rstest;
use tempfile::TempDir;

const ROWS: &str = "\
    PRAGMA foreign_keys = OFF; \
    INSERT INTO audit_logs (id, event_type, event_data, success, created_at) VALUES \
    ('00000000-0000-4000-8000-000000000001', 'login_success', '{}', 1, '2025-01-01 00:00:00'), \
    ('00000000-0000-4000-8000-000000000002', 'login_success', '{}', 1, '2025-01-01 00:00:01'), \
    ('00000000-0000-4000-8000-000000000003', 'login_success', '{}', 1, '2025-01-01 00:00:02');";

#[rstest]
#[case("user_id", Reason::NoText("user_id"))]
#[case("client_id", Reason::NoText("client_id"))]
#[case("event_type", Reason::NoText("event_type"))]
#[case("event_data", Reason::NoText("event_data"))]
#[case("ip_address", Reason::NoText("ip_address"))]
#[case("user_agent", Reason::NoText("user_agent"))]
#[case("error_message", Reason::NoText("error_message"))]
#[case("created_at", Reason::Time("created_at"))]
fn an_audit_row_that_is_no_utf_8_is_refused_by_its_name_and_the_others_are_taken(
    #[case] column: &str,
    #[case] reason: Reason,
    #[values("x'fffe'", "CAST(x'7bff7d' AS TEXT)")] bytes: &str,
) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("older.db");
    let url = DatabaseUrl::file(&path);
    let mut sink = open_sink(&url).expect("it is made");
    sink.commit().expect("it takes the tables");
    let mut conn = SqliteConnection::establish(path.to_str().expect("UTF-8")).expect("it opens");
    let garble = format!("UPDATE audit_logs SET {column} = {bytes} WHERE id LIKE '%2';");
    conn.batch_execute(&format!("{ROWS}{garble}"))
        .expect("it is written");

    let mut source = open_source(&url).expect("it is one of the older service");
    let plan = plan_trail(&source.audit("", 10).expect("it reads"));
    assert_eq!(plan.taken.len(), 2);
    let [refused] = plan.rejected.as_slice() else {
        panic!("one is refused: {:?}", plan.rejected)
    };
    assert_eq!(refused.row, "00000000-0000-4000-8000-000000000002");
    assert_eq!(refused.reason, reason);
}
