//! The schema goes up, down and up again, and is the same schema.

use std::path::Path;
use std::sync::Arc;

use auth_domain::ports::Denial;
use auth_domain::session::Opened;
use auth_storage::{DatabaseUrl, MigrationStatus, Migrations};
use auth_testkit::build;
use auth_testkit::contract::stage::{after, note};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use crate::file::{File, stage_of};

#[derive(QueryableByName, PartialEq, Eq, Debug)]
struct Entry {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    sql: Option<String>,
}

/// What the database says it holds, but for the record of migrations.
fn catalogue(url: &DatabaseUrl) -> Vec<Entry> {
    let name = url
        .path()
        .and_then(Path::to_str)
        .expect("a temporary path is UTF-8");
    let mut conn = SqliteConnection::establish(name).expect("the file opens");
    diesel::sql_query(
        "SELECT name, sql FROM sqlite_schema WHERE substr(tbl_name, 1, 2) <> '__' ORDER BY name",
    )
    .load(&mut conn)
    .expect("the catalogue reads")
}

#[tokio::test]
async fn up_down_and_up_again_is_the_same_schema() {
    let file = File::unmigrated();
    let migrations = Migrations::of(&file.url());
    let names: Vec<String> = migrations
        .status()
        .expect("readable")
        .into_iter()
        .map(|migration| migration.name)
        .collect();
    assert!(!file.path().exists(), "asking for the status makes no file");
    assert_eq!(migrations.up().expect("up"), names);
    assert_eq!(migrations.up().expect("up"), Vec::<String>::new());
    let url = file.url();
    let first = catalogue(&url);
    assert!(first.iter().any(|entry| entry.name == "refresh_tokens_classic"));

    let store = file.open();
    let stage = stage_of(&store, file);
    let (user, client) = stage.populate().await;
    let session = build::new_session("s", &user, &client);
    assert_eq!(stage.open(session).await, Opened::Opened);
    store.shutdown();

    let mut undone = Vec::new();
    while let Some(name) = migrations.down().expect("down") {
        undone.insert(0, name);
    }
    assert_eq!(undone, names);
    assert_eq!(catalogue(&url), []);
    migrations.up().expect("up");
    assert_eq!(catalogue(&url), first);
}

/// What the sessions' user and client are called, past the store.
fn inhabitants(file: &File) -> Vec<Entry> {
    diesel::sql_query(
        "SELECT users.username AS name, sessions.client_id AS sql \
         FROM sessions JOIN users ON users.id = sessions.user_id",
    )
    .load(&mut file.connect())
    .expect("the tables read")
}

#[tokio::test]
async fn a_database_of_the_first_version_keeps_its_rows_on_the_way_up_and_down() {
    let file = Arc::new(File::new());
    let migrations = Migrations::of(&file.url());
    let first = "0001_initial";
    while is_applied_beyond(&migrations, first) {
        migrations
            .down()
            .expect("down")
            .expect("there is one to take back");
    }
    let store = file.open();
    let stage = stage_of(&store, Arc::clone(&file));
    let (user, client) = stage.populate().await;
    let session = build::new_session("s", &user, &client);
    assert_eq!(stage.open(session).await, Opened::Opened);
    store.shutdown();
    let before = inhabitants(&file);
    assert_eq!(before.len(), 1);

    migrations.up().expect("up");
    assert_eq!(inhabitants(&file), before);
    let store = file.open();
    let stage = stage_of(&store, Arc::clone(&file));
    let denial = Denial {
        jti_hash: build::jti_hash("denied"),
        until: after(900),
    };
    let denied = stage.access_tokens.deny(denial, note("deny")).await;
    denied.expect("the new table is there");
    store.shutdown();

    while is_applied_beyond(&migrations, first) {
        migrations
            .down()
            .expect("down")
            .expect("there is one to take back");
    }
    assert_eq!(inhabitants(&file), before);
}

fn is_applied_beyond(migrations: &Migrations, name: &str) -> bool {
    let status = migrations.status().expect("readable");
    status
        .iter()
        .any(|migration| migration.is_applied && migration.name != name)
}

#[test]
fn the_status_tells_applied_from_pending() {
    let file = File::unmigrated();
    let migrations = Migrations::of(&file.url());
    let all = |is_applied| {
        let status = migrations.status().expect("readable");
        !status.is_empty()
            && status
                .iter()
                .all(|migration: &MigrationStatus| migration.is_applied == is_applied)
    };
    assert!(all(false));
    migrations.up().expect("up");
    assert!(all(true));
}

#[test]
fn processes_that_migrate_at_once_do_it_once() {
    let file = File::unmigrated();
    let migrations = Migrations::of(&file.url());
    let all = migrations.status().expect("readable").len();
    let applied: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| migrations.up().expect("up").len()))
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("no racer panics"))
            .sum()
    });
    assert_eq!(applied, all);
}
