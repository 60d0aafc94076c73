//! A database of the older service is told from one that is empty, and nothing is done to it.

use std::fs;

use auth_storage::transfer::{Side, Surplus, TransferError, transfer};
use auth_storage::{OpenError, StoreOptions};
use rstest::rstest;

use crate::place::{Kind, Place};

/// The older service's tables, past this program.
fn older_service(kind: Kind) -> Place {
    let place = Place::unmigrated(kind);
    if let Place::File(file) = &place {
        let folder = file.path().parent().expect("a folder").to_owned();
        fs::create_dir_all(folder).expect("a new folder");
    }
    for table in ["users", "oauth_clients", "refresh_tokens", "audit_logs"] {
        place.change(&format!("CREATE TABLE {table} (id VARCHAR(36) PRIMARY KEY)"));
    }
    place
}

/// What would be left behind by a migration that was begun, or by the journal that this program turns on.
fn traces(place: &Place) -> (Vec<String>, Vec<u8>) {
    let tables = match place {
        Place::File(_) => "SELECT name AS line FROM sqlite_schema ORDER BY name",
        Place::Server(_) => {
            "SELECT tablename::text AS line FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        }
    };
    let bytes = match place {
        Place::File(file) => fs::read(file.path()).expect("it reads"),
        Place::Server(_) => Vec::new(),
    };
    (place.lines(tables), bytes)
}

fn is_named<T>(outcome: Result<T, OpenError>) -> bool {
    let Err(error) = outcome else { return false };
    let told = error.to_string();
    matches!(error, OpenError::Foreign { .. })
        && told.contains("import-legacy")
        && told.contains("TAKEOVER.md")
}

#[rstest]
fn the_older_services_database_is_named_and_never_begun_on(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
) {
    let place = older_service(kind);
    let before = traces(&place);
    let migrations = place.migrations();
    assert!(is_named(migrations.status()));
    assert!(is_named(migrations.later()));
    assert!(is_named(migrations.up()));
    assert!(is_named(migrations.down()));
    if kind == Kind::Sqlite {
        assert!(is_named(auth_storage::open(
            &place.url(),
            None,
            StoreOptions::default()
        )));
    }
    assert_eq!(traces(&place), before);
}

#[rstest]
fn the_older_services_database_is_neither_end_of_a_transfer(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
    #[values(Side::Source, Side::Target)] side: Side,
) {
    let (older, own) = (older_service(kind), Place::migrated(Kind::Sqlite));
    let before = traces(&older);
    let (from, to) = match side {
        Side::Source => (older.url(), own.url()),
        Side::Target => (own.url(), older.url()),
    };
    let refused = transfer(&from, &to, Surplus::Deleted, &mut |_| {}).expect_err("it is not ours");
    assert!(
        matches!(&refused, TransferError::Open { side: named, source: OpenError::Foreign { .. } } if *named == side),
        "{refused:?}"
    );
    assert_eq!(traces(&older), before);
}

#[rstest]
fn tables_of_other_names_may_stand_beside_ours(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let place = Place::unmigrated(kind);
    place.migrations().up().expect("up");
    place.change("CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    while place.migrations().down().expect("down").is_some() {}
    let applied = place.migrations().up().expect("up again");
    assert!(!applied.is_empty());
}
