//! What is acknowledged stays; what fails, fails alone or as a whole, and is never called a success.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use auth_domain::id::RowId;
use auth_domain::ports::{StoreReadiness, Unavailable};
use auth_domain::session::{Opened, Rotated, SessionKey};
use auth_storage::{Migrations, OpenError};
use auth_testkit::build;
use auth_testkit::contract::stage::{Inside, note};
use diesel::connection::SimpleConnection;

use crate::file::{File, stage_of};

/// The error and all that caused it.
fn chain(error: &Unavailable) -> String {
    format!("{error}: {}", error.source)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let file = File::new();
    let url = file.url();
    let store = file.open();
    let stage = stage_of(&store, file);
    let (_, _, id) = stage.signed_in().await;
    assert_eq!(stage.rotate(id, "s/0", "s/1", 1).await, Rotated::Rotated);
    let before = stage.session(id).await;
    store.shutdown();
    let reopened =
        auth_storage::open(&url, None, auth_storage::StoreOptions::default()).expect("the file opens");
    let found = reopened.sessions.find(&SessionKey::Id(id)).await;
    assert_eq!(found.expect("the store is there"), Some(before));
}

#[tokio::test]
async fn a_store_that_was_shut_down_is_unavailable() {
    let file = File::new();
    let store = file.open();
    store.shutdown();
    store.shutdown();
    let read = store.clients.find(&build::client_id(build::FLUTTER)).await;
    assert!(chain(&read.expect_err("it is closed")).contains("shut down"));
    let written = store.audit.record(note("late")).await;
    assert!(chain(&written.expect_err("it is closed")).contains("shut down"));
}

#[tokio::test]
async fn a_command_that_fails_half_way_leaves_nothing() {
    let file = File::new();
    let store = file.open();
    let stage = stage_of(&store, file);
    let (user, client) = stage.populate().await;
    let session = build::new_session("s", &user, &client);
    let id = session.id;
    // The audit row is written last, and its key is taken.
    let taken = note("taken");
    stage
        .audit
        .record(taken.clone())
        .await
        .expect("the store is there");
    let opened = stage.sessions.open(session.clone(), taken).await;
    assert!(opened.is_err());
    assert!(stage.find_session(&SessionKey::Id(id)).await.is_none());
    assert!(stage.inside.history(id).is_empty());
    assert_eq!(stage.user(user.id).await.last_login_at, None);
    assert_eq!(stage.open(session).await, Opened::Opened);
}

#[tokio::test]
async fn a_lock_held_too_long_is_an_outage_that_ends_with_it() {
    let file = File::new();
    let store = file.open();
    let mut lock = file.connect();
    let stage = stage_of(&store, file);
    lock.batch_execute("BEGIN IMMEDIATE").expect("the lock is free");
    let refused = stage.audit.record(note("locked")).await;
    assert!(chain(&refused.expect_err("it is locked")).contains("locked"));
    let readable = stage.clients.find(&build::client_id(build::FLUTTER)).await;
    readable.expect("readers do not wait for writers");
    let probed = stage.probe.check().await;
    assert!(chain(&probed.expect_err("nothing can be written")).contains("locked"));
    lock.batch_execute("COMMIT").expect("the lock is let go");
    stage
        .audit
        .record(note("free"))
        .await
        .expect("the store is there again");
    assert_eq!(stage.audit_rows(), 1);
    let probed = stage.probe.check().await;
    assert_eq!(probed.expect("it can be written"), StoreReadiness::Ready);
}

#[tokio::test]
async fn a_statement_that_can_not_be_run_is_an_outage_that_ends_with_its_cause() {
    let file = File::new();
    let store = file.open();
    file.execute("ALTER TABLE audit_logs RENAME TO away");
    let refused = store.audit.record(note("early")).await;
    assert!(chain(&refused.expect_err("there is no table")).contains("no such table"));
    file.execute("ALTER TABLE away RENAME TO audit_logs");
    store
        .audit
        .record(note("late"))
        .await
        .expect("the store is there again");
    assert_eq!(file.audit_trail().len(), 1);
}

#[tokio::test]
async fn concurrent_writers_of_two_processes_both_come_through() {
    let file = File::new();
    let url = file.url();
    let options = auth_storage::StoreOptions::default();
    let one = auth_storage::open(&url, None, options).expect("the file opens");
    let other = auth_storage::open(&url, None, options).expect("the file opens");
    let writes: Vec<_> = (0..40)
        .map(|n| {
            let store = if n % 2 == 0 { one.clone() } else { other.clone() };
            let mut record = note(&format!("row {n}"));
            record.id = RowId::from_uuid(build::uuid(&format!("row {n}")));
            tokio::spawn(async move { store.audit.record(record).await })
        })
        .collect();
    for write in writes {
        write.await.expect("no write panics").expect("the store is there");
    }
    assert_eq!(file.audit_trail().len(), 40);
}

#[test]
fn a_new_file_can_be_opened_by_many_at_once() {
    for _ in 0..100 {
        let folder = tempfile::tempdir().expect("a folder");
        let url = auth_storage::DatabaseUrl::file(folder.path().join("new.db"));
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    auth_storage::open(&url, None, auth_storage::StoreOptions::default()).expect("it opens");
                });
            }
        });
    }
}

#[tokio::test]
async fn an_operation_without_its_table_is_an_outage() {
    let file = File::unmigrated();
    let store = file.open();
    let readiness = store.probe.check().await.expect("the store is there");
    assert_eq!(readiness, StoreReadiness::MigrationsPending);
    let found = store.clients.find(&build::client_id(build::FLUTTER)).await;
    assert!(chain(&found.expect_err("there is no table")).contains("no such table"));
    assert!(store.audit.record(note("early")).await.is_err());
}

#[test]
fn a_path_that_can_not_be_a_database_is_an_error_that_names_it() {
    let file = File::new();
    let as_folder = file.path().join("below/auth.db");
    let url = auth_storage::DatabaseUrl::file(&as_folder);
    let refused = auth_storage::open(&url, None, auth_storage::StoreOptions::default()).err();
    let refused = refused.expect("a file is no folder");
    assert!(matches!(&refused, OpenError::Folder { path, .. } if path.ends_with("below")));

    fs::write(
        file.path(),
        "this is no database, and long enough to be told from one",
    )
    .expect("writable");
    let refused = auth_storage::open(&file.url(), None, auth_storage::StoreOptions::default()).err();
    assert!(matches!(refused, Some(OpenError::Database { .. })));
}

fn mode_of(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

#[tokio::test]
async fn a_database_its_log_and_its_folder_are_for_their_owner_only() {
    let file = File::new();
    let store = file.open();
    store.audit.record(note("row")).await.expect("the store is there");
    for name in ["auth.db", "auth.db-wal", "auth.db-shm"] {
        assert_eq!(mode_of(&file.path().with_file_name(name)), 0o600, "{name}");
    }
    assert_eq!(mode_of(file.path().parent().expect("a folder")), 0o700);
}

#[tokio::test]
async fn a_database_that_others_may_read_is_refused_until_it_is_private() {
    let file = File::new();
    let store = file.open();
    store.audit.record(note("row")).await.expect("the store is there");
    let open = || auth_storage::open(&file.url(), None, auth_storage::StoreOptions::default());
    for name in ["auth.db", "auth.db-wal", "auth.db-shm"] {
        let path = file.path().with_file_name(name);
        for mode in [0o604, 0o602, 0o620, 0o644, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            let refused = open().err().expect("others may read it");
            let told = refused.to_string();
            let is_named = told.contains(&*path.to_string_lossy()) && told.contains("chmod 600");
            assert!(is_named && told.contains(&format!("{mode:04o}")), "{told}");
            let migrated = Migrations::of(&file.url()).up();
            assert!(matches!(migrated, Err(OpenError::OpenToOthers { .. })));
        }
        for mode in [0o640, 0o600] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            open().expect("a group may be let read it");
        }
    }
}

#[test]
fn a_folder_in_which_others_may_exchange_the_database_is_refused_until_it_is_the_owners() {
    let file = File::new();
    drop(file.open());
    let folder = file.path().parent().expect("a folder").to_owned();
    let open = || auth_storage::open(&file.url(), None, auth_storage::StoreOptions::default());
    for mode in [0o777, 0o1777, 0o770, 0o702] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("it is ours");
        let told = open().err().expect("others may write to it").to_string();
        assert!(
            told.contains(&*folder.to_string_lossy()) && told.contains(&format!("{mode:04o}")),
            "{told}"
        );
    }
    for mode in [0o755, 0o750, 0o700] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("it is ours");
        open().expect("others may look into it at most");
    }
}

#[tokio::test]
async fn a_row_that_can_not_be_read_is_named_with_its_table_and_column() {
    let file = File::new();
    let store = file.open();
    let stage = stage_of(&store, File::unmigrated());
    let (_, client) = stage.populate().await;
    file.execute("UPDATE oauth_clients SET wire_profile = 'morse'");
    let found = store.clients.find(&client.client_id).await;
    let told = chain(&found.expect_err("there is no such profile"));
    let id = client.id.as_uuid().to_string();
    for part in ["oauth_clients", "wire_profile", id.as_str()] {
        assert!(told.contains(part), "{told}");
    }
}
