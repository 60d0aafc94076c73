//! How SQLite carries out queries that must not read whole tables.

use std::mem;
use std::sync::{Arc, Mutex};

use auth_domain::audit::AuditEvent;
use auth_domain::ports::admin::AuditFilter;
use auth_domain::session::{Rotated, Rotation, SessionKey};
use auth_domain::time::{Seconds, Timestamp};
use auth_testkit::build;
use auth_testkit::clock::START;
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::debug_query;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::body::audit::wanted;
use super::{Conn, find_session, rotation};
use crate::rows::{ClientRow, NewSessionRow, UserRow};
use crate::schema::{audit_logs, oauth_clients, sessions, users};

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// A database in memory with every table.
fn database() -> Conn {
    let mut conn = Conn::establish(":memory:").unwrap();
    let schema = include_str!("../../../../migrations/sqlite/0001_initial/up.sql");
    conn.batch_execute(schema).unwrap();
    conn
}

/// How a statement is carried out, step by step.
fn plan(conn: &mut Conn, sql: &str) -> Vec<String> {
    let plan = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}"));
    let steps: Vec<_> = plan.load::<Step>(conn).unwrap();
    steps.into_iter().map(|step| step.detail).collect()
}

#[test]
fn a_span_of_time_is_a_range_of_the_key_and_nothing_is_sorted() {
    let mut conn = database();
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
    let steps = plan(&mut conn, sql);
    assert_eq!(steps, ["SEARCH audit_logs USING PRIMARY KEY (id>? AND id<?)"]);
}

/// What is prepared on a connection: each statement once that is kept, and each time again that is not.
#[derive(Default)]
struct Prepared {
    run: Vec<String>,
    kept: Vec<String>,
}

fn watch(conn: &mut Conn) -> Arc<Mutex<Prepared>> {
    let prepared = Arc::<Mutex<Prepared>>::default();
    let seen = Arc::clone(&prepared);
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        let mut seen = seen.lock().unwrap();
        match event {
            InstrumentationEvent::StartQuery { query, .. } => seen.run.push(query.to_string()),
            InstrumentationEvent::CacheQuery { sql, .. } => seen.kept.push(sql.to_owned()),
            _ => {}
        }
    });
    prepared
}

/// One step of the chain with the name "s", with the look-up before it.
fn refresh(conn: &mut Conn, step: u64) {
    let token = |step| build::token_row(&format!("s/{step}"), START);
    let rotation = Rotation {
        session_id: build::session_id("s"),
        from: token(step - 1).jti_hash,
        to: token(step),
    };
    let record = build::audit(&format!("row {step}"), AuditEvent::PasswordChange {});
    let found = find_session(conn, &SessionKey::Id(rotation.session_id)).unwrap();
    assert_eq!(found.unwrap().head, rotation.from);
    assert_eq!(
        rotation::rotate(conn, &rotation, &record).unwrap(),
        Rotated::Rotated
    );
}

#[test]
fn a_refresh_prepares_nothing_anew_and_finds_all_by_key() {
    let mut conn = database();
    let (user, client) = (build::user(build::ALICE), build::flutter_client());
    let session = build::new_session("s", &user, &client);
    let stored = diesel::insert_into(users::table).values(UserRow::from(&user));
    stored.execute(&mut conn).unwrap();
    let stored = diesel::insert_into(oauth_clients::table).values(ClientRow::from(&client));
    stored.execute(&mut conn).unwrap();
    let stored = diesel::insert_into(sessions::table).values(NewSessionRow::from(&session));
    stored.execute(&mut conn).unwrap();
    let prepared = watch(&mut conn);

    refresh(&mut conn, 1);
    let first = mem::take(&mut *prepared.lock().unwrap());
    assert_eq!(first.run.len(), 4);
    assert_eq!(first.kept.len(), 4, "{:?}", first.kept);
    refresh(&mut conn, 2);
    let second = mem::take(&mut *prepared.lock().unwrap());
    assert_eq!(second.run.len(), 4);
    assert_eq!(second.kept, [""; 0]);

    let steps: Vec<_> = first.kept.iter().flat_map(|sql| plan(&mut conn, sql)).collect();
    let by_key = |table: &str| format!("SEARCH {table} USING PRIMARY KEY (id=?)");
    let expected = [
        by_key("sessions"),
        by_key("users"),
        by_key("sessions"),
        by_key("sessions"),
    ];
    assert_eq!(steps, expected);
}
