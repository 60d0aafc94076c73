//! A backup is of one moment, sound, private and one file; a restore keeps what was there, and disturbs no server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use auth_storage::{BackupError, DatabaseUrl, Migrations, Overwrite, Store, StoreOptions, backup, restore};
use auth_testkit::build;
use auth_testkit::contract::stage::Stage;
use rstest::rstest;

use crate::file::{File, stage_of};

fn take(file: &File, to: &Path) -> auth_storage::Contents {
    backup(&file.path(), to, Overwrite::Never, &mut |_| {}).expect("a backup is made")
}

fn rows_of(contents: &auth_storage::Contents, table: &str) -> u64 {
    let found = contents.tables.iter().find(|(name, _)| name == table);
    found.expect("the table is there").1
}

/// A migrated file with alice signed in, its open store, and a place for backups.
async fn signed_in() -> (Arc<File>, Store, Stage, PathBuf) {
    let file = Arc::new(File::new());
    let store = auth_storage::open(&file.url(), None, StoreOptions::default()).expect("the file opens");
    let stage = stage_of(&store, Arc::clone(&file));
    stage.signed_in().await;
    let to = beside(&file, "backup.db");
    (file, store, stage, to)
}

fn beside(file: &File, name: &str) -> PathBuf {
    file.path().with_file_name(name)
}

fn names_in(file: &File) -> Vec<String> {
    let folder = file.path();
    let folder = folder.parent().expect("it has a folder").read_dir();
    let mut names: Vec<_> = folder
        .expect("the folder reads")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_holds_what_the_database_does_in_one_private_file() {
    let (file, store, _stage, to) = signed_in().await;
    let contents = take(&file, &to);
    assert_eq!(rows_of(&contents, "users"), 1);
    assert_eq!(rows_of(&contents, "sessions"), 1);
    let bytes = fs::read(&to).expect("it reads");
    assert_eq!(contents.bytes, bytes.len() as u64);
    assert_eq!(bytes[18..20], [1, 1], "no write-ahead log belongs to it");
    let mode = to.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    store.shutdown();
    assert_eq!(names_in(&file), ["auth.db", "backup.db"], "nothing else is left");

    let copy = DatabaseUrl::file(&to);
    let copy = auth_storage::open(&copy, None, StoreOptions::default()).expect("it opens");
    let stage = stage_of(&copy, Arc::clone(&file));
    assert_eq!(
        stage.session(build::session_id("s")).await.head,
        build::jti_hash("s/0")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_is_of_one_moment_and_never_begins_again() {
    let (file, _store, stage, to) = signed_in().await;
    // Large enough for several steps of the copy.
    file.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) \
         INSERT INTO users \
         SELECT randomblob(16), 'name' || i, 'mail' || i, 'key' || i, hex(randomblob(500)), 1, 0, 0, 0, NULL FROM n;",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let (told, first_write) = mpsc::channel();
    let writing = {
        let (stage, stop) = (stage.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let id = build::session_id("s");
            let mut link = 0;
            while !stop.load(Ordering::Relaxed) {
                let (from, to) = (format!("s/{link}"), format!("s/{}", link + 1));
                stage.rotate(id, &from, &to, link + 1).await;
                link += 1;
                let _ = told.send(());
            }
            link
        })
    };
    let (path, target) = (file.path(), to.clone());
    let copying = tokio::task::spawn_blocking(move || {
        first_write.recv().expect("the writer writes");
        let mut left = Vec::new();
        let made = backup(&path, &target, Overwrite::Never, &mut |progress| {
            left.push(progress.left);
        });
        (made.expect("a backup is made"), left)
    });
    let (contents, left) = copying.await.expect("no panic");
    stop.store(true, Ordering::Relaxed);
    let links = writing.await.expect("no rotation fails");
    assert!(left.len() > 2, "it takes several steps: {left:?}");
    assert!(
        left.is_sorted_by(|one, next| one > next),
        "it never goes back: {left:?}"
    );
    let tokens = rows_of(&contents, "refresh_tokens");
    assert!(
        (2..=u64::from(links) + 1).contains(&tokens),
        "{tokens} of {links}"
    );
    // Of one moment: each rotation with its audit row, beside those of the sign-in and of alice and the client.
    assert_eq!(rows_of(&contents, "audit_logs"), tokens + 2);
}

#[tokio::test]
async fn a_file_that_is_there_is_replaced_only_on_demand_and_never_the_database_itself() {
    let (file, _store, _stage, to) = signed_in().await;
    fs::write(&to, "precious").expect("it writes");
    let refused = backup(&file.path(), &to, Overwrite::Never, &mut |_| {}).expect_err("it is there");
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert_eq!(fs::read(&to).expect("it reads"), b"precious");
    for overwrite in [Overwrite::Never, Overwrite::Allowed] {
        let refused = backup(&file.path(), &file.path(), overwrite, &mut |_| {}).expect_err("no copy");
        assert!(matches!(refused, BackupError::Itself { .. }), "{refused}");
    }
    backup(&file.path(), &to, Overwrite::Allowed, &mut |_| {}).expect("it is replaced");
    assert!(fs::read(&to).expect("it reads").starts_with(b"SQLite format 3"));
}

#[test]
fn without_a_database_there_is_no_backup() {
    let file = File::unmigrated();
    let to = file.path().with_extension("backup");
    let refused = backup(&file.path(), &to, Overwrite::Never, &mut |_| {}).expect_err("there is none");
    assert!(matches!(refused, BackupError::NoDatabase { .. }), "{refused}");
    assert!(!to.exists());
}

#[tokio::test]
async fn a_restored_database_is_as_it_was_and_what_was_there_is_kept() {
    let (file, store, stage, to) = signed_in().await;
    take(&file, &to);
    let id = build::session_id("s");
    stage.rotate(id, "s/0", "s/1", 1).await;
    store.shutdown();
    let restored = restore(&to, &file.path(), "before").expect("it is put back");
    assert_eq!(restored.kept, Some(beside(&file, "auth.db.before")));
    assert_eq!(rows_of(&restored.contents, "refresh_tokens"), 1);
    let store = file.open();
    assert_eq!(
        stage_of(&store, Arc::clone(&file)).session(id).await.head,
        build::jti_hash("s/0")
    );
    let kept = DatabaseUrl::file(beside(&file, "auth.db.before"));
    let kept = auth_storage::open(&kept, None, StoreOptions::default()).expect("what was kept is whole");
    assert_eq!(
        stage_of(&kept, Arc::clone(&file)).session(id).await.head,
        build::jti_hash("s/1")
    );
}

#[tokio::test]
async fn a_log_that_was_left_in_haste_is_kept_with_its_database() {
    let (file, store, stage, to) = signed_in().await;
    take(&file, &to);
    stage.rotate(build::session_id("s"), "s/0", "s/1", 1).await;
    // As a power failure leaves it: the database with its log, copied away under whoever has it open.
    let crashed = file.path().with_file_name("crashed.db");
    fs::copy(file.path(), &crashed).expect("it copies");
    fs::copy(beside(&file, "auth.db-wal"), beside(&file, "crashed.db-wal")).expect("it copies");
    store.shutdown();
    restore(&to, &crashed, "before").expect("it is put back");
    assert!(
        !beside(&file, "crashed.db-wal").exists(),
        "an old log must not be taken for the new one's"
    );
    let kept = DatabaseUrl::file(beside(&file, "crashed.db.before"));
    let kept = auth_storage::open(&kept, None, StoreOptions::default()).expect("what was kept is whole");
    let head = stage_of(&kept, Arc::clone(&file))
        .session(build::session_id("s"))
        .await
        .head;
    assert_eq!(head, build::jti_hash("s/1"), "the log was kept too");
}

#[tokio::test]
async fn a_database_too_broken_to_open_is_replaced_as_well() {
    let (file, store, _stage, to) = signed_in().await;
    take(&file, &to);
    store.shutdown();
    fs::write(file.path(), "no database at all").expect("it writes");
    restore(&to, &file.path(), "broken").expect("it is put back");
    assert_eq!(
        fs::read(beside(&file, "auth.db.broken")).expect("it reads"),
        b"no database at all"
    );
    let store = file.open();
    let stage = stage_of(&store, Arc::clone(&file));
    stage.session(build::session_id("s")).await;
}

#[tokio::test]
async fn a_backup_is_restored_to_where_there_was_nothing() {
    let (file, _store, _stage, to) = signed_in().await;
    take(&file, &to);
    let place = file.path().with_file_name("elsewhere").join("auth.db");
    let restored = restore(&to, &place, "before").expect("it is put back");
    assert_eq!(restored.kept, None);
    assert!(place.exists());
}

#[tokio::test]
async fn what_was_kept_before_is_not_overwritten() {
    let (file, store, _stage, to) = signed_in().await;
    take(&file, &to);
    store.shutdown();
    fs::write(beside(&file, "auth.db.before"), "precious").expect("it writes");
    let refused = restore(&to, &file.path(), "before").expect_err("the name is taken");
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert_eq!(names_in(&file), ["auth.db", "auth.db.before", "backup.db"]);
}

#[rstest]
#[case::to_everybody(0o777)]
#[case::to_everybody_who_may_not_remove(0o1777)]
#[case::to_a_group(0o770)]
#[tokio::test]
async fn nothing_is_written_to_a_folder_that_is_open_to_others(#[case] mode: u32) {
    let (file, store, _stage, sound) = signed_in().await;
    take(&file, &sound);
    store.shutdown();
    let folder = beside(&file, "shared");
    fs::create_dir(&folder).expect("it is made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("it is the test's own");
    let to = folder.join("auth.db");
    let refusals = [
        backup(&file.path(), &to, Overwrite::Never, &mut |_| {}).expect_err("it would be changed"),
        restore(&sound, &to, "before").expect_err("it would be changed"),
    ];
    for refused in refusals {
        assert!(
            matches!(refused, BackupError::FolderOpenToOthers { mode: told, .. } if told == mode),
            "{refused}"
        );
    }
    assert_eq!(fs::read_dir(&folder).expect("it reads").count(), 0);
}

/// What is done to a sound backup, so that it is none.
type Harm = fn(&Path);

fn cut_off(path: &Path) {
    let file = fs::File::options().write(true).open(path).expect("it opens");
    let length = file.metadata().expect("it is there").len();
    file.set_len(length / 2).expect("it is cut");
}

fn overwrite_a_page(path: &Path) {
    let mut bytes = fs::read(path).expect("it reads");
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    bytes
        .iter_mut()
        .skip(middle)
        .take(4_096)
        .for_each(|byte| *byte = 0xa5);
    fs::write(path, bytes).expect("it writes");
}

fn orphan_a_session(path: &Path) {
    run(path, "PRAGMA foreign_keys = OFF; DELETE FROM users;");
}

fn come_from_the_future(path: &Path) {
    run(
        path,
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999');",
    );
}

fn be_another_program(path: &Path) {
    fs::remove_file(path).expect("it goes");
    run(path, "CREATE TABLE users (id INTEGER);");
}

fn be_a_text(path: &Path) {
    fs::write(path, "SQLite format 3\0, or so it says").expect("it writes");
}

fn leave_a_log(path: &Path) {
    fs::write(path.with_file_name("backup.db-wal"), "something").expect("it writes");
}

fn run(path: &Path, sql: &str) {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    let mut conn = SqliteConnection::establish(path.to_str().expect("UTF-8")).expect("it opens");
    conn.batch_execute(sql).expect("the statement is good");
}

fn bring_a_trigger(path: &Path) {
    run(
        path,
        "CREATE TRIGGER undo AFTER UPDATE OF revoked_at ON sessions \
         BEGIN UPDATE sessions SET revoked_at = NULL, revoked_reason = NULL WHERE id = NEW.id; END;",
    );
}

fn bring_a_view(path: &Path) {
    run(path, "CREATE VIEW people AS SELECT * FROM users;");
}

fn bring_a_virtual_table(path: &Path) {
    run(path, "CREATE VIRTUAL TABLE places USING rtree (id, least, most);");
}

fn lose_an_index(path: &Path) {
    run(path, "DROP INDEX sessions_by_user;");
}

fn be_laxer(path: &Path) {
    run(path, "ALTER TABLE users ADD COLUMN token TEXT;");
}

fn hide_behind_the_record(path: &Path) {
    run(
        path,
        "ALTER TABLE __diesel_schema_migrations RENAME TO record; \
         CREATE VIEW __diesel_schema_migrations AS SELECT * FROM record;",
    );
}

#[rstest]
#[case::a_trigger(bring_a_trigger, "it has the trigger undo, which this program does not make")]
#[case::a_view(bring_a_view, "it has the view people, which this program does not make")]
#[case::a_virtual_table(bring_a_virtual_table, "places")]
#[case::an_index_less(lose_an_index, "its index sessions_by_user is missing")]
#[case::a_column_more(be_laxer, "its table users is not as this program makes it")]
#[case::a_record_that_is_a_view(hide_behind_the_record, "it is no database of this program")]
#[tokio::test]
async fn what_this_program_does_not_make_is_named_and_neither_put_in_place_nor_backed_up(
    #[case] harm: Harm,
    #[case] named: &str,
) {
    let (file, store, _stage, to) = signed_in().await;
    take(&file, &to);
    store.shutdown();
    harm(&to);
    let refused = restore(&to, &file.path(), "before").expect_err("it is a stranger's");
    assert!(matches!(refused, BackupError::Unsound { .. }), "{refused}");
    assert!(refused.to_string().contains(named), "{refused}");
    assert!(!beside(&file, "auth.db.before").exists());

    harm(&file.path());
    let again = beside(&file, "again.db");
    let refused = backup(&file.path(), &again, Overwrite::Never, &mut |_| {}).expect_err("it is changed");
    assert!(refused.to_string().contains(named), "{refused}");
    assert!(!again.exists());
}

#[tokio::test]
async fn a_backup_of_an_earlier_version_is_put_back() {
    let (file, store, _stage, _) = signed_in().await;
    store.shutdown();
    let migrations = Migrations::of(&file.url());
    for version in ["0003", "0002", "0001"] {
        migrations.down().expect("it goes back");
        let to = beside(&file, version);
        assert_eq!(take(&file, &to).schema, version);
        let restored = restore(&to, &file.path(), version).expect("it is put back");
        assert_eq!(restored.contents.schema, version);
    }
}

#[rstest]
#[case::cut_off(cut_off)]
#[case::a_page_overwritten(overwrite_a_page)]
#[case::a_session_without_its_user(orphan_a_session)]
#[case::of_a_later_version(come_from_the_future)]
#[case::of_another_program(be_another_program)]
#[case::no_database(be_a_text)]
#[case::not_alone(leave_a_log)]
#[tokio::test]
async fn what_is_no_sound_backup_is_not_put_in_place(#[case] harm: Harm) {
    let (file, store, _stage, to) = signed_in().await;
    take(&file, &to);
    store.shutdown();
    harm(&to);
    let before = fs::read(file.path()).expect("it reads");
    let refused = restore(&to, &file.path(), "before").expect_err("it is unsound");
    assert!(matches!(refused, BackupError::Unsound { .. }), "{refused}");
    assert_eq!(fs::read(file.path()).expect("it reads"), before);
    assert!(!beside(&file, "auth.db.before").exists());
    assert!(!names_in(&file).iter().any(|name| name.contains("partial")));
}
