//! The schema goes up, down and up again, and is the same schema; and it is the same for both kinds of databases.

use auth_domain::client::Client;
use auth_domain::id::SessionId;
use auth_domain::ports::Denial;
use auth_domain::session::{Opened, RevocationTarget, Rotated};
use auth_domain::user::User;
use auth_storage::{MigrationStatus, Migrations};
use auth_testkit::build;
use auth_testkit::contract::stage::{Stage, after, note};
use rstest::rstest;

use crate::place::Kind::{Postgres, Sqlite};
use crate::place::{Kind, Place};

const FIRST: &str = "0001_initial";
/// The last migration that what signs in, refreshes and revokes has ever needed.
const BEFORE: &str = "0002_denied_access_tokens";

/// What the sessions' users and clients are called, past the store.
fn inhabitants(place: &Place) -> Vec<String> {
    place.lines(
        "SELECT users.username || ' at ' || sessions.client_id AS line \
         FROM sessions JOIN users ON users.id = sessions.user_id",
    )
}

/// Opens a database, puts a session into it and closes it again.
async fn inhabit(place: &Place) {
    let store = place.open();
    let stage = place.stage(&store);
    let (user, client) = stage.populate().await;
    let session = build::new_session("s", &user, &client);
    assert_eq!(stage.open(session).await, Opened::Opened);
    store.shutdown();
}

fn is_applied_beyond(migrations: &Migrations, name: &str) -> bool {
    let status = migrations.status().expect("readable");
    status
        .iter()
        .any(|migration| migration.is_applied && migration.name.as_str() > name)
}

fn take_back_to(migrations: &Migrations, name: &str) {
    while is_applied_beyond(migrations, name) {
        let undone = migrations.down().expect("down");
        undone.expect("there is one to take back");
    }
}

#[rstest]
#[case::on_sqlite(Sqlite)]
#[case::on_postgresql(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn up_down_and_up_again_is_the_same_schema(#[case] kind: Kind) {
    let place = Place::unmigrated(kind);
    let migrations = place.migrations();
    let names: Vec<String> = migrations
        .status()
        .expect("readable")
        .into_iter()
        .map(|migration| migration.name)
        .collect();
    assert!(!place.has_file(), "asking for the status makes no file");
    assert_eq!(migrations.up().expect("up"), names);
    assert_eq!(migrations.up().expect("up"), Vec::<String>::new());
    let first = place.catalogue();
    assert!(
        first
            .iter()
            .any(|line| line.starts_with("refresh_tokens_classic"))
    );
    inhabit(&place).await;

    let mut undone = Vec::new();
    while let Some(name) = migrations.down().expect("down") {
        undone.insert(0, name);
    }
    assert_eq!(undone, names);
    assert_eq!(place.catalogue(), Vec::<String>::new());
    migrations.up().expect("up");
    assert_eq!(place.catalogue(), first);
}

#[rstest]
#[case::on_sqlite(Sqlite)]
#[case::on_postgresql(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_first_version_keeps_its_rows_on_the_way_up_and_down(#[case] kind: Kind) {
    let place = Place::migrated(kind);
    let migrations = place.migrations();
    take_back_to(&migrations, FIRST);
    inhabit(&place).await;
    let before = inhabitants(&place);
    assert_eq!(before.len(), 1);

    migrations.up().expect("up");
    assert_eq!(inhabitants(&place), before);
    let store = place.open();
    let denial = Denial {
        jti_hash: build::jti_hash("denied"),
        until: after(900),
    };
    let denied = store.access_tokens.deny(denial, note("deny")).await;
    denied.expect("the new table is there");
    store.shutdown();

    take_back_to(&migrations, FIRST);
    assert_eq!(inhabitants(&place), before);
}

/// What the next version adds, whoever still runs this one never asks for; what is added is not there yet for whoever
/// runs the next one already. So instances can be exchanged one by one.
#[rstest]
#[case::on_sqlite(Sqlite)]
#[case::on_postgresql(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn a_running_store_serves_on_the_schema_before_and_after_each_migration(#[case] kind: Kind) {
    let place = Place::migrated(kind);
    let migrations = place.migrations();
    let store = place.open();
    let stage = place.stage(&store);
    let (user, client, id) = stage.signed_in().await;
    let mut generation = 0;
    while is_applied_beyond(&migrations, BEFORE) {
        migrations.down().expect("down").expect("there is one");
        generation = serve(&stage, &user, &client, id, generation).await;
    }
    assert!(generation > 0, "there are later ones");
    migrations.up().expect("up");
    serve(&stage, &user, &client, id, generation).await;
}

/// Rotates one chain, signs in and ends another, looks things up; says which generation of tokens the chain is at.
async fn serve(stage: &Stage, user: &User, client: &Client, id: SessionId, generation: u32) -> u32 {
    let (from, to) = (format!("s/{generation}"), format!("s/{}", generation + 1));
    let rotated = stage.rotate(id, &from, &to, generation + 1).await;
    assert_eq!(rotated, Rotated::Rotated);
    let name = format!("at {generation}");
    let other = build::new_session(&name, user, client);
    let other_id = other.id;
    assert_eq!(stage.open(other).await, Opened::Opened);
    let ended = stage
        .revoke(RevocationTarget::Session(other_id), generation)
        .await;
    assert_eq!(ended, 1);
    assert_eq!(stage.user(user.id).await.id, user.id);
    generation + 1
}

#[test]
fn both_kinds_of_databases_have_the_same_tables_columns_and_indexes() {
    assert_eq!(
        Place::migrated(Sqlite).outline(),
        Place::migrated(Postgres).outline()
    );
}

#[test]
fn both_kinds_of_databases_have_migrations_of_the_same_names() {
    let names = |kind| -> Vec<String> {
        let status = Place::unmigrated(kind).migrations().status().expect("readable");
        status.into_iter().map(|migration| migration.name).collect()
    };
    assert_eq!(names(Sqlite), names(Postgres));
}

#[rstest]
#[case::on_sqlite(Sqlite)]
#[case::on_postgresql(Postgres)]
fn the_status_tells_applied_from_pending(#[case] kind: Kind) {
    let place = Place::unmigrated(kind);
    let migrations = place.migrations();
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

#[rstest]
#[case::on_sqlite(Sqlite)]
#[case::on_postgresql(Postgres)]
fn migrations_of_a_later_version_are_known_for_such(#[case] kind: Kind) {
    let place = Place::unmigrated(kind);
    let migrations = place.migrations();
    assert_eq!(migrations.later().expect("readable"), Vec::<String>::new());
    assert!(!place.has_file(), "asking makes no file");
    migrations.up().expect("up");
    assert_eq!(migrations.later().expect("readable"), Vec::<String>::new());
    for version in ["0099", "0098"] {
        place.change(&format!(
            "INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}')"
        ));
    }
    assert_eq!(migrations.later().expect("readable"), ["0098", "0099"]);
    assert_eq!(migrations.up().expect("nothing to do"), Vec::<String>::new());
}

#[rstest]
#[case::on_sqlite(Sqlite)]
#[case::on_postgresql(Postgres)]
fn processes_that_migrate_at_once_do_it_once(#[case] kind: Kind) {
    let place = Place::unmigrated(kind);
    let migrations = place.migrations();
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
