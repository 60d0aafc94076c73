//! Moving house: everything arrives, on whichever database, however often and however late; and what would be lost is told.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use auth_storage::transfer::{
    Cause, Progress, Side, SourceState, Step, Surplus, TransferError, Transferred, tables, transfer,
};
use auth_storage::{DatabaseUrl, Migrations};
use auth_testkit::server::{Durability, PostgresServer};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use rstest::rstest;

use crate::file::File;
use crate::place::{Kind, Place};
use crate::postgres::Shared;

mod content;

use content::{DRAWN, Draw, fill, filled};

fn execute(place: &Place, sql: &str) {
    match place {
        Place::File(file) => file.execute(sql),
        Place::Server(database) => database
            .connect()
            .batch_execute(sql)
            .expect("the statement is good"),
    }
}

/// The one number that a query gives.
fn number(place: &Place, of: &str) -> usize {
    let lines = place.lines(&format!("SELECT CAST(({of}) AS TEXT) AS line"));
    lines.concat().parse().expect("a number")
}

/// What a query of a file, whose one column is called `line`, finds.
fn texts(file: &File, query: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let lines: Vec<Line> = diesel::sql_query(query)
        .load(&mut file.connect())
        .expect("the query is good");
    lines.into_iter().map(|line| line.line).collect()
}

fn columns(file: &File, table: &str) -> Vec<String> {
    texts(
        file,
        &format!("SELECT name AS line FROM pragma_table_info('{table}')"),
    )
}

/// All that a file holds, table by table, past the store; JSON by its value.
fn dump(file: &File) -> Vec<String> {
    let mut lines = Vec::new();
    for table in tables() {
        let columns = columns(file, table)
            .into_iter()
            .filter(|name| name != "event_data");
        let quoted: Vec<_> = columns.map(|name| format!("quote({name})")).collect();
        let query = format!(
            "SELECT {} AS line FROM {table} ORDER BY 1",
            quoted.join(" || ',' || ")
        );
        lines.extend(texts(file, &query));
    }
    let documents = texts(file, "SELECT event_data AS line FROM audit_logs ORDER BY id");
    lines.extend(documents.iter().map(|text| {
        let mut document: serde_json::Value = text.parse().expect("a document");
        document.sort_all_objects();
        document.to_string()
    }));
    lines
}

/// A database of that kind with content by chance.
fn filled_place(kind: Kind, seed: u64, rows: usize) -> Place {
    let file = filled(seed, rows);
    match kind {
        Kind::Sqlite => Place::File(Arc::new(file)),
        Kind::Postgres => {
            let place = Place::migrated(kind);
            moved(&file.url(), &place.url());
            place
        }
    }
}

fn run(from: &DatabaseUrl, to: &DatabaseUrl) -> Result<Transferred, TransferError> {
    transfer(from, to, Surplus::Refused, &mut |_| {})
}

fn moved(from: &DatabaseUrl, to: &DatabaseUrl) -> Transferred {
    let transferred = run(from, to).expect("everything goes over");
    assert_eq!(transferred.source, SourceState::Unchanged);
    transferred
}

/// Each table's name with how many rows were added, changed and deleted.
fn written(transferred: &Transferred) -> Vec<(&'static str, [u64; 3])> {
    let tables = transferred.tables.iter();
    tables
        .map(|table| (table.name, [table.added, table.changed, table.deleted]))
        .filter(|(_, counts)| *counts != [0; 3])
        .collect()
}

fn digests(transferred: &Transferred) -> Vec<(&'static str, u64, [u8; 32])> {
    let tables = transferred.tables.iter();
    tables
        .map(|table| (table.name, table.rows, table.digest))
        .collect()
}

#[test]
fn every_table_of_the_catalogue_moves_but_the_leases() {
    let catalogue = "SELECT name AS line FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 2) <> '__' \
                     AND substr(name, 1, 7) <> 'sqlite_'";
    let there: BTreeSet<_> = texts(&File::new(), catalogue).into_iter().collect();
    let moving: BTreeSet<_> = tables().chain(["leases"]).map(str::to_owned).collect();
    assert_eq!(moving, there);
}

/// What these tests draw by chance is what there is to be moved.
#[test]
fn every_column_of_every_table_is_drawn() {
    let file = File::new();
    let draw = Draw::seeded(1);
    let tables_drawn: Vec<_> = DRAWN.iter().map(|(table, _)| *table).collect();
    assert_eq!(tables_drawn, tables().collect::<Vec<_>>());
    for (table, drawn) in DRAWN {
        let names: Vec<_> = drawn(&draw).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, columns(&file, table), "{table}");
    }
}

#[rstest]
fn there_and_back_every_row_is_the_same(#[values(1, 2, 3, 4)] seed: u64) {
    let from = filled(seed, 40);
    let (over, back) = (Shared::unmigrated(), File::unmigrated());
    let there = moved(&from.url(), &over.url());
    assert!(
        there
            .tables
            .iter()
            .all(|table| table.rows == 40 && table.added == 40)
    );
    let again = moved(&over.url(), &back.url());
    assert_eq!(digests(&again), digests(&there));
    assert_eq!(dump(&back), dump(&from));
}

#[rstest]
fn a_database_moves_to_another_of_its_kind(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let from = filled_place(kind, 5, 20);
    let to = Place::migrated(kind);
    let transferred = moved(&from.url(), &to.url());
    assert!(transferred.tables.iter().all(|table| table.added == 20));
    assert_eq!(digests(&moved(&from.url(), &to.url())), digests(&transferred));
}

#[test]
fn another_value_has_another_digest() {
    let digest_of = |sql: &str| {
        let from = filled(6, 3);
        from.execute(sql);
        digests(&moved(&from.url(), &File::unmigrated().url()))
    };
    let plain = digest_of("SELECT 1");
    assert_eq!(digest_of("SELECT 1"), plain);
    for table in tables() {
        let changed = columns(&File::new(), table);
        let column = changed.last().expect("a table has columns");
        // The last column of every other table is a time.
        let sql = match table {
            "legacy_tokens" => {
                "DELETE FROM legacy_tokens WHERE jti_hash = (SELECT min(jti_hash) FROM legacy_tokens)"
                    .to_owned()
            }
            _ => format!("UPDATE {table} SET {column} = {column} + 1"),
        };
        let other = digest_of(&sql);
        let differing: Vec<_> = plain.iter().zip(&other).filter(|(one, two)| one != two).collect();
        assert!(
            matches!(&differing[..], [(one, _)] if one.0 == table),
            "{table}: {differing:?}"
        );
    }
}

#[rstest]
fn numbers_are_the_same_however_they_are_spelt(
    #[values("1e2", "-0.0", "1.50", "1E-3", "1e22")] number: &str,
) {
    let from = filled(7, 1);
    from.execute(&format!(
        r#"UPDATE audit_logs SET event_data = '{{"n":{number}}}'"#
    ));
    let over = Shared::unmigrated();
    let there = moved(&from.url(), &over.url());
    assert_eq!(
        digests(&moved(&over.url(), &File::unmigrated().url())),
        digests(&there)
    );
}

/// Rows of every table by the thousand: of the widest as many as a statement has room for, and some more.
fn many(rows: usize) -> File {
    let file = filled(8, 1);
    let row = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO "
    );
    let id = "CAST(printf('%016d', i) AS BLOB)";
    let hash = "CAST(printf('%032d', i) AS BLOB)";
    file.execute(&format!(
        "{row} users SELECT {id}, 'u' || i, 'e' || i, 'e' || i, 'h', 1, 0, i, i, i FROM n;
         {row} oauth_clients SELECT {id}, 'c' || i, {hash}, 'n', 'd', 1, 's', 'g', 1, 2, 'w', 3, 4, 't', 1, 1, i, i FROM n;
         {row} sessions SELECT {id}, {id}, 'c' || i, 's', 'a', {id}, {id}, {hash}, {hash}, i, i, i, 'r', i, i FROM n;
         {row} legacy_tokens SELECT {hash}, {id} FROM n;
         {row} refresh_tokens SELECT {id}, {id}, {id}, {hash}, i, i FROM n;
         {row} denied_tokens SELECT {hash}, i FROM n;
         {row} audit_logs SELECT {id}, {id}, 'c', 't', '{{}}', 'i', 'u', 'x', 1, 'e', i FROM n;"
    ));
    file
}

#[rstest]
fn tables_of_many_pages_move_whole(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
    #[values(1_499, 3_100)] rows: usize,
) {
    let from = many(rows);
    let to = Place::migrated(kind);
    let expected = rows as u64 + 1;
    let transferred = moved(&from.url(), &to.url());
    assert!(
        transferred
            .tables
            .iter()
            .all(|table| table.rows == expected && table.added == expected)
    );
    assert_eq!(written(&moved(&from.url(), &to.url())), []);
}

#[rstest]
fn what_the_target_has_lost_is_put_back(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let from = many(3_100);
    let to = Place::migrated(kind);
    moved(&from.url(), &to.url());
    let some = match kind {
        Kind::Sqlite => "created_at % 3 = 0 AND created_at > 0",
        Kind::Postgres => {
            "(extract(epoch FROM created_at) * 1000000)::bigint % 3 = 0 AND created_at > to_timestamp(0)"
        }
    };
    execute(&to, &format!("DELETE FROM audit_logs WHERE {some}"));
    let lost = u64::try_from(3_101 - number(&to, "SELECT count(*) FROM audit_logs")).expect("some are gone");
    assert!((1_000..1_100).contains(&lost), "{lost}");
    assert_eq!(
        written(&moved(&from.url(), &to.url())),
        [("audit_logs", [lost, 0, 0])]
    );
}

#[rstest]
fn what_has_moved_on_at_the_source_follows_at_the_next_run(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
) {
    let from = filled(9, 10);
    let to = Place::migrated(kind);
    moved(&from.url(), &to.url());
    from.execute(
        "UPDATE sessions SET previous_jti_hash = head_jti_hash, previous_token_id = NULL, scope = 'moved on'",
    );
    from.execute("UPDATE users SET last_login_at = NULL");
    from.execute("UPDATE users SET last_login_at = 5 WHERE id = (SELECT min(id) FROM users)");
    fill(&from, 10, 2);
    let before = dump(&from);
    let transferred = moved(&from.url(), &to.url());
    assert!(
        written(&transferred).contains(&("sessions", [2, 10, 0])),
        "{:?}",
        written(&transferred)
    );
    let back = File::unmigrated();
    moved(&to.url(), &back.url());
    assert_eq!(dump(&back), before);
}

/// Somebody has signed in at the target, by their own row of the audit trail.
const USE: &str =
    "INSERT INTO audit_logs (id, event_type, event_data, correlation_id, success, created_at) VALUES ";

fn use_of(kind: Kind) -> String {
    match kind {
        Kind::Sqlite => format!(
            "{USE} (x'{}', 'login_success', '{{}}', 'c', 1, 1)",
            "0a".repeat(16)
        ),
        Kind::Postgres => format!(
            "{USE} ('{}', 'login_success', '{{}}', 'c', true, now())",
            "0a".repeat(16)
        ),
    }
}

#[rstest]
fn a_target_in_use_is_left_as_it_is(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let from = filled(11, 10);
    let to = Place::migrated(kind);
    moved(&from.url(), &to.url());
    execute(&to, &use_of(kind));
    execute(&to, "UPDATE users SET password_hash = 'changed there'");
    fill(&from, 12, 1);
    let refused = run(&from.url(), &to.url()).expect_err("the target is in use");
    assert!(
        matches!(&refused, TransferError::InUse { rows } if rows == &[("audit_logs", 1)]),
        "{refused}"
    );
    assert_eq!(number(&to, "SELECT count(*) FROM users"), 10);
    assert_eq!(
        number(
            &to,
            "SELECT count(*) FROM users WHERE password_hash = 'changed there'"
        ),
        10
    );
}

#[rstest]
fn what_only_the_target_has_is_deleted_when_that_is_wanted(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
) {
    let from = filled(13, 10);
    // Another installation altogether, with names that the source has as well: as after a first start.
    let to = filled_place(kind, 14, 12);
    from.execute("UPDATE users SET username = 'admin', email_key = 'admin@example' WHERE id = (SELECT max(id) FROM users)");
    let first = match kind {
        Kind::Sqlite => "SELECT min(id) FROM users",
        Kind::Postgres => "SELECT id FROM users ORDER BY id LIMIT 1",
    };
    execute(
        &to,
        &format!("UPDATE users SET username = 'admin', email_key = 'admin@example' WHERE id = ({first})"),
    );
    let transferred = transfer(&from.url(), &to.url(), Surplus::Deleted, &mut |_| {}).expect("it goes over");
    assert!(
        transferred
            .tables
            .iter()
            .all(|table| (table.rows, table.added) == (10, 10)),
        "{transferred:?}"
    );
    let deleted: u64 = transferred.tables.iter().map(|table| table.deleted).sum();
    assert_eq!(deleted, 7 * 12);
    let back = File::unmigrated();
    moved(&to.url(), &back.url());
    assert_eq!(dump(&back), dump(&from));
}

#[test]
fn a_target_that_goes_away_half_way_is_finished_by_the_next_run() {
    let from = many(3_100);
    let server = RefCell::new(PostgresServer::start(Durability::Fast));
    let database = server.borrow().database();
    let to = DatabaseUrl::parse(&database.url()).expect("a good URL");
    let mut cut = |progress: Progress| {
        if (progress.step, progress.table, progress.rows) == (Step::Copying, "refresh_tokens", 1_500) {
            server.borrow_mut().kill();
        }
    };
    let failed = transfer(&from.url(), &to, Surplus::Refused, &mut cut).expect_err("the server is gone");
    assert!(
        matches!(
            failed,
            TransferError::Failed {
                side: Side::Target,
                table: Some("refresh_tokens"),
                cause: Cause::Connection,
                ..
            }
        ),
        "{failed:?}"
    );
    server.borrow_mut().start_again();
    let transferred = moved(&from.url(), &to);
    let added: Vec<_> = transferred
        .tables
        .iter()
        .map(|table| (table.name, table.added))
        .collect();
    assert_eq!(
        added[..4].iter().map(|(_, added)| added).sum::<u64>(),
        0,
        "{added:?}"
    );
    assert_eq!(added[5..], [("denied_tokens", 3_101), ("audit_logs", 3_101)]);
    assert!(transferred.tables.iter().all(|table| table.rows == 3_101));
}

#[test]
fn a_source_that_goes_away_half_way_is_named() {
    let server = RefCell::new(PostgresServer::start(Durability::Fast));
    let database = server.borrow().database();
    let from = DatabaseUrl::parse(&database.url()).expect("a good URL");
    moved(&many(3_100).url(), &from);
    let to = File::unmigrated();
    let mut cut = |progress: Progress| {
        if (progress.step, progress.rows) == (Step::Copying, 1_500) {
            server.borrow_mut().kill();
        }
    };
    let failed = transfer(&from, &to.url(), Surplus::Refused, &mut cut).expect_err("the server is gone");
    assert!(
        matches!(
            failed,
            TransferError::Failed {
                side: Side::Source,
                cause: Cause::Connection,
                ..
            }
        ),
        "{failed:?}"
    );
}

/// Runs a statement at a place once rows of the given table are being copied.
fn meddle<'a>(place: &'a Place, step: Step, table: &'static str, sql: &'a str) -> impl FnMut(Progress) + 'a {
    let mut is_done = false;
    move |progress| {
        if !is_done && (progress.step, progress.table) == (step, table) {
            execute(place, sql);
            is_done = true;
        }
    }
}

#[rstest]
fn a_change_of_the_source_meanwhile_is_told_and_not_half_taken(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
) {
    let from = filled_place(kind, 15, 10);
    let to = Place::migrated(Kind::Sqlite);
    let change = format!("{}; UPDATE users SET email = 'changed@example'", use_of(kind));
    let mut meddle = meddle(&from, Step::Copying, "users", &change);
    let transferred = transfer(&from.url(), &to.url(), Surplus::Refused, &mut meddle).expect("it goes over");
    assert_eq!(transferred.source, SourceState::Changed);
    assert_eq!(
        number(&to, "SELECT count(*) FROM users WHERE email = 'changed@example'"),
        0
    );
    assert_eq!(number(&to, "SELECT count(*) FROM audit_logs"), 10);
    let next = moved(&from.url(), &to.url());
    assert_eq!(written(&next), [("users", [0, 10, 0]), ("audit_logs", [1, 0, 0])]);
}

#[rstest]
fn a_target_that_is_written_meanwhile_is_found_out(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let from = filled(16, 10);
    let to = Place::migrated(kind);
    let id = texts(&from, "SELECT lower(hex(min(id))) AS line FROM sessions").remove(0);
    let literal = match kind {
        Kind::Sqlite => format!("x'{id}'"),
        Kind::Postgres => format!("'{id}'"),
    };
    let change = format!("UPDATE sessions SET scope = 'more' WHERE id = {literal}");
    let mut meddle = meddle(&to, Step::Copying, "audit_logs", &change);
    let failed = transfer(&from.url(), &to.url(), Surplus::Refused, &mut meddle).expect_err("it differs");
    let TransferError::NotTheSame { table, row } = failed else {
        panic!("{failed:?}");
    };
    assert_eq!((table, row.replace('-', "")), ("sessions", id));
}

#[test]
fn the_file_of_the_source_is_never_written() {
    let from = filled(17, 10);
    let before = fs::read(from.path()).expect("it reads");
    moved(&from.url(), &File::unmigrated().url());
    assert!(fs::read(from.path()).expect("it reads") == before);
}

#[test]
fn what_was_committed_last_moves_also_where_the_server_was_killed() {
    let from = filled(18, 5);
    let path = from.path();
    let beside = |name: &str| path.with_file_name(name);
    // The log beside the file, as a server leaves it that could finish nothing.
    let mut server = from.connect();
    server
        .batch_execute("PRAGMA wal_autocheckpoint = 0; UPDATE users SET email = 'in the log'")
        .expect("the statement is good");
    let killed = File::unmigrated();
    fs::create_dir(killed.path().parent().expect("a folder")).expect("a new folder");
    for suffix in ["", "-wal"] {
        let name = format!("auth.db{suffix}");
        fs::copy(beside(&name), killed.path().with_file_name(name)).expect("it is there");
    }
    let to = Place::migrated(Kind::Sqlite);
    moved(&killed.url(), &to.url());
    assert_eq!(
        number(&to, "SELECT count(*) FROM users WHERE email = 'in the log'"),
        5
    );
}

#[test]
fn an_outdated_source_is_refused_by_what_it_lacks() {
    let from = File::new();
    let undone = Migrations::of(&from.url())
        .down()
        .expect("down")
        .expect("there was one");
    let to = File::unmigrated();
    let refused = run(&from.url(), &to.url()).expect_err("it is outdated");
    assert!(
        matches!(&refused, TransferError::Behind { names } if names == &[undone]),
        "{refused:?}"
    );
    assert!(!to.path().exists(), "nothing has been made yet");
}

#[rstest]
fn a_database_of_a_later_program_is_refused(#[values(Side::Source, Side::Target)] ahead: Side) {
    let (from, to) = (File::new(), File::new());
    let later = match ahead {
        Side::Source => &from,
        Side::Target => &to,
    };
    later.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
    let refused = run(&from.url(), &to.url()).expect_err("it is of a later program");
    assert!(
        matches!(refused, TransferError::Ahead { side } if side == ahead),
        "{refused:?}"
    );
}

#[test]
fn a_source_that_is_not_there_is_not_made() {
    let (from, to) = (File::unmigrated(), File::unmigrated());
    let refused = run(&from.url(), &to.url()).expect_err("there is none");
    assert!(
        matches!(
            refused,
            TransferError::Open {
                side: Side::Source,
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(!from.path().exists() && !to.path().exists());
}

#[rstest]
fn a_database_does_not_move_into_itself(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let place = Place::migrated(kind);
    let refused = run(&place.url(), &place.url()).expect_err("it is one");
    assert!(matches!(refused, TransferError::OneDatabase), "{refused:?}");
}

#[rstest]
fn rows_that_have_exchanged_their_names_are_in_each_others_way(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
) {
    let (from, to) = (filled(22, 2), Place::migrated(kind));
    moved(&from.url(), &to.url());
    let names = texts(&from, "SELECT username AS line FROM users ORDER BY id");
    let [one, other] = names.as_slice() else {
        panic!("two users: {names:?}");
    };
    for (old, new) in [(one.as_str(), "nobody"), (other, one), ("nobody", other)] {
        from.execute(&format!(
            "UPDATE users SET username = '{new}' WHERE username = '{old}'"
        ));
    }
    let refused = run(&from.url(), &to.url()).expect_err("a name is taken");
    assert!(
        matches!(
            refused,
            TransferError::Failed {
                side: Side::Target,
                cause: Cause::InTheWay,
                ..
            }
        ),
        "{refused:?}"
    );
}

#[test]
fn a_file_that_is_no_database_can_not_be_opened() {
    let file = File::new();
    let text = file.path().with_file_name("text");
    fs::write(&text, "root:x:0:0:root:/root:/bin/bash\n".repeat(100)).expect("a folder of its own");
    let refused = run(&DatabaseUrl::file(&text), &file.url()).expect_err("it is a text");
    assert!(
        matches!(
            refused,
            TransferError::Open {
                side: Side::Source,
                ..
            }
        ),
        "{refused:?}"
    );
}

/// The server knows one database by many names.
#[test]
fn a_database_does_not_move_into_itself_by_another_name() {
    let database = Shared::new();
    let refused = run(&database.url(), &database.another_url()).expect_err("it is one");
    assert!(matches!(refused, TransferError::OneDatabase), "{refused:?}");

    let file = File::new();
    let linked = file.path().with_file_name("linked.db");
    fs::hard_link(file.path(), &linked).expect("one file system");
    let refused = run(&file.url(), &DatabaseUrl::file(&linked)).expect_err("it is one");
    assert!(matches!(refused, TransferError::OneDatabase), "{refused:?}");
}

#[test]
fn two_transfers_do_not_work_with_one_target() {
    let (from, to) = (many(10), Shared::new());
    let mut second = None;
    let mut meanwhile = |_: Progress| {
        if second.is_none() {
            second = Some(run(&from.url(), &to.url()));
        }
    };
    transfer(&from.url(), &to.url(), Surplus::Refused, &mut meanwhile).expect("the first goes over");
    assert!(
        matches!(second, Some(Err(TransferError::Contended { side: Side::Target }))),
        "{second:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_the_target_is_not_written_under() {
    let (from, to) = (filled(21, 10), Place::migrated(Kind::Postgres));
    moved(&from.url(), &to.url());
    let server = to.open();
    server.probe.check().await.expect("it serves");
    moved(&from.url(), &to.url());
    from.execute("UPDATE users SET email = 'changed@example'");
    let overwrite = || transfer(&from.url(), &to.url(), Surplus::Deleted, &mut |_| {});
    let refused = overwrite().expect_err("a server is there");
    assert!(matches!(refused, TransferError::Served), "{refused:?}");
    let changed = "SELECT count(*) FROM users WHERE email = 'changed@example'";
    assert_eq!(number(&to, changed), 0);
    server.shutdown();
    overwrite().expect("it has gone");
    assert_eq!(number(&to, changed), 10);
}

#[test]
fn a_file_with_a_strange_name_is_a_source_like_any_other() {
    let file = filled(19, 2);
    let strange = file.path().with_file_name("what? 100% #1 'ü'.db");
    fs::rename(file.path(), &strange).expect("a folder of its own");
    let transferred = moved(&DatabaseUrl::file(&strange), &File::unmigrated().url());
    assert!(transferred.tables.iter().all(|table| table.rows == 2));
}

#[test]
fn a_row_that_postgresql_can_not_hold_is_named() {
    let from = many(20);
    from.execute(r#"UPDATE audit_logs SET event_data = '{"text":"\u0000"}' WHERE created_at = 7"#);
    let to = Shared::new();
    let refused = run(&from.url(), &to.url()).expect_err("JSONB holds no NUL");
    let TransferError::NotTaken {
        table,
        row,
        cause: Cause::Other,
        source,
    } = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (table, row.as_str()),
        ("audit_logs", "30303030-3030-3030-3030-303030303037")
    );
    assert!(source.to_string().contains("Unicode"), "{source}");
    from.execute("DELETE FROM audit_logs WHERE created_at = 7");
    moved(&from.url(), &to.url());
}
