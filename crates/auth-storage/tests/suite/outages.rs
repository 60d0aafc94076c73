//! What becomes of work when a PostgreSQL server restarts, cuts connections, ends a deadlock or keeps a lock.
//!
//! Each test has a server of its own, since it does to it what others could not bear.

use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_domain::id::SessionId;
use auth_domain::ports::StoreReadiness;
use auth_domain::ports::admin::{Changed, UserChange};
use auth_domain::session::{
    Opened, Revocation, RevocationReason, RevocationTarget, Rotated, SessionKey, SessionState,
};
use auth_storage::{DatabaseUrl, Migrations, Store, StoreOptions};
use auth_testkit::build;
use auth_testkit::contract::stage::{Stage, after, note, rotation};
use auth_testkit::server::{Database, Durability, PostgresServer};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use futures::future::join_all;

use crate::file::stage_over;
use crate::postgres::Shared;

/// A server, a database in it and a store over that.
struct Scene {
    store: Store,
    database: Arc<Shared>,
    server: PostgresServer,
}

impl Scene {
    fn new() -> Self {
        let server = PostgresServer::start(Durability::Durable);
        let database = Shared::of(server.database());
        Migrations::of(&database.url())
            .up()
            .expect("an empty database takes the schema");
        let store =
            auth_storage::open(&database.url(), None, StoreOptions::default()).expect("the database opens");
        Self {
            store,
            database: Arc::new(database),
            server,
        }
    }

    fn stage(&self) -> Stage {
        stage_over(&self.store, Arc::clone(&self.database) as _)
    }

    /// A connection past the store, to keep locks by.
    fn rival(&self) -> PgConnection {
        self.database.connect()
    }

    /// Ends every connection but its own.
    fn cut_all_connections(&self) {
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        self.server.tell(all).expect("an administrator may do so");
    }
}

fn tell(rival: &mut PgConnection, sql: &str) {
    rival.batch_execute(sql).expect("the rival's statement is good");
}

/// Signs the same user in as often as there are texts.
async fn sign_in_all(stage: &Stage, texts: &[&str]) -> Vec<SessionId> {
    let (user, client) = stage.populate().await;
    let mut ids = Vec::new();
    for text in texts {
        let session = build::new_session(text, &user, &client);
        ids.push(session.id);
        assert_eq!(stage.open(session).await, Opened::Opened);
    }
    ids
}

/// Rotates each session from its first token to its second, all at once.
async fn rotate_all(stage: &Stage, ids: &[SessionId], texts: &[&str]) -> Vec<Rotated> {
    let turns = ids.iter().zip(texts).map(|(id, text)| async move {
        stage
            .rotate(*id, &format!("{text}/0"), &format!("{text}/1"), 1)
            .await
    });
    join_all(turns).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_first_of_each_kind_of_work_succeeds() {
    let mut scene = Scene::new();
    let stage = scene.stage();
    let (user, client, id) = stage.signed_in().await;
    assert_eq!(stage.rotate(id, "s/0", "second", 1).await, Rotated::Rotated);
    for round in 0..3 {
        scene.server.stop();
        scene.server.start_again();
        let (from, to) = if round == 0 {
            ("second".to_owned(), "next 0".to_owned())
        } else {
            (format!("next {}", round - 1), format!("next {round}"))
        };
        let rotated = stage.rotate(id, &from, &to, 2 + round).await;
        assert_eq!(rotated, Rotated::Rotated, "round {round}");
        assert!(stage.find_session(&SessionKey::Id(id)).await.is_some());
        let another = build::new_session(&format!("s{round}"), &user, &client);
        assert_eq!(stage.open(another).await, Opened::Opened);
    }
    assert_eq!(stage.tokens(id).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_while_idle_are_not_noticed() {
    let scene = Scene::new();
    let stage = scene.stage();
    let ids = sign_in_all(&stage, &["a", "b", "c", "d"]).await;
    join_all(ids.iter().map(|id| stage.session(*id))).await;
    scene.cut_all_connections();
    join_all(ids.iter().map(|id| stage.session(*id))).await;
    scene.cut_all_connections();
    assert_eq!(
        rotate_all(&stage, &ids, &["a", "b", "c", "d"]).await,
        [Rotated::Rotated; 4]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn work_fails_while_the_server_is_away_and_succeeds_when_it_is_back() {
    let mut scene = Scene::new();
    let stage = scene.stage();
    let (_, _, id) = stage.signed_in().await;
    scene.server.kill();
    let away = stage.sessions.find(&SessionKey::Id(id)).await;
    away.expect_err("nobody is there to be asked");
    let turn = rotation(id, "s/0", "second", 1);
    let away = stage.sessions.rotate(turn.clone(), note("lost")).await;
    away.expect_err("nobody is there to keep it");
    stage.probe.check().await.expect_err("nobody is there");
    scene.server.start_again();
    // Found anew by attempts beside the requests, half a second apart at most.
    let since = Instant::now();
    while stage.probe.check().await.is_err() {
        assert!(since.elapsed() < Duration::from_mins(1), "it is found again");
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.rotate(id, "s/0", "second", 1).await, Rotated::Rotated);
    assert_eq!(stage.tokens(id).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_session_keeps_no_other_from_rotating() {
    let scene = Scene::new();
    let stage = scene.stage();
    let texts: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ids = sign_in_all(&stage, &names).await;
    let (locked, others) = ids.split_first().expect("there are twelve");
    let mut rival = scene.rival();
    let lock = format!(
        "BEGIN; UPDATE sessions SET last_used_at = now() WHERE id = '{}'",
        locked.as_uuid()
    );
    tell(&mut rival, &lock);
    let waiting = stage.rotate(*locked, "s0/0", "s0/1", 1);
    let release = async {
        assert_eq!(
            rotate_all(&stage, others, &names[1..]).await,
            [Rotated::Rotated; 11]
        );
        tell(&mut rival, "ROLLBACK");
    };
    let (waited, ()) = tokio::join!(waiting, release);
    assert_eq!(waited, Rotated::Rotated);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_wait_for_a_lock_the_others_go_on() {
    let scene = Scene::new();
    let stage = scene.stage();
    let ids = sign_in_all(&stage, &["held", "a", "b", "c"]).await;
    let user = build::user(build::ALICE);
    let slow = build::public_client("slow");
    stage.create_client(&slow).await;
    let mut rival = scene.rival();
    let lock = format!(
        "BEGIN; UPDATE sessions SET last_used_at = now() WHERE id = '{}'; UPDATE oauth_clients SET name = 'held' \
         WHERE client_id = 'slow'",
        ids[0].as_uuid()
    );
    tell(&mut rival, &lock);
    let held_up: Vec<_> = (0..40)
        .map(|number| {
            let (stage, user, slow, held) = (stage.clone(), user.clone(), slow.clone(), ids[0]);
            tokio::spawn(async move {
                let record = note(&format!("wait {number}"));
                if number % 2 == 0 {
                    let sign_in = build::new_session(&format!("w{number}"), &user, &slow);
                    stage.sessions.open(sign_in, record).await.map(drop)
                } else {
                    let revocation = Revocation {
                        target: RevocationTarget::Session(held),
                        reason: RevocationReason::Requested,
                        at: after(1),
                    };
                    stage.sessions.revoke(revocation, record).await.map(drop)
                }
            })
        })
        .collect();
    for round in 0..20 {
        let (from, to) = (format!("{round}"), format!("{}", round + 1));
        for (id, text) in ids[1..].iter().zip(["a", "b", "c"]) {
            stage.session(*id).await;
            let (from, to) = (format!("{text}/{from}"), format!("{text}/{to}"));
            assert_eq!(stage.rotate(*id, &from, &to, round + 1).await, Rotated::Rotated);
        }
        let other = build::new_session(&format!("o{round}"), &user, &build::flutter_client());
        assert_eq!(stage.open(other).await, Opened::Opened);
    }
    assert!(
        held_up.iter().any(|waiting| !waiting.is_finished()),
        "all this was while others waited"
    );
    tell(&mut rival, "ROLLBACK");
    for waiting in held_up {
        // Who has waited for too long is told so; nobody is forgotten.
        let _ = waiting.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_a_deadlock_is_tried_again() {
    let scene = Scene::new();
    let stage = scene.stage();
    let (user, _, id) = stage.signed_in().await;
    // The rival looks for deadlocks so late that it is always the store that is ended. It has the session when the
    // store comes for it, and then comes for the user, whom the store has.
    let crossing = format!(
        "SET deadlock_timeout = '1min'; BEGIN; UPDATE sessions SET last_used_at = now() WHERE id = '{}'; \
         SELECT pg_advisory_xact_lock(7); DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.005); \
         END LOOP; END $$; UPDATE users SET updated_at = now() WHERE id = '{}'; ROLLBACK;",
        id.as_uuid(),
        user.id.as_uuid()
    );
    let database = Arc::clone(&scene.database);
    let rivalry = tokio::task::spawn_blocking(move || database.tell(&crossing));
    let mut onlooker = scene.database.connect();
    let rival_has_it = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'";
    while diesel::sql_query(rival_has_it)
        .execute(&mut onlooker)
        .expect("a query")
        == 0
    {
        tokio::task::yield_now().await;
    }
    let change = UserChange::Deactivate;
    let changed = stage
        .user_directory
        .change(user.id, change, after(1), note("deactivate"))
        .await;
    assert_eq!(changed.expect("it is tried again"), Changed::Changed);
    rivalry.await.expect("the rival gets its way");
    assert_ne!(stage.session(id).await.state, SessionState::Live);
    let log = scene.server.log();
    assert!(log.contains("deadlock detected"), "there was one: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_not_ready() {
    let scene = Scene::new();
    let stage = scene.stage();
    assert_eq!(
        stage.probe.check().await.expect("it is there"),
        StoreReadiness::Ready
    );
    let alter = |state: &str| {
        let name = scene.database.tell("SELECT current_database()");
        let alter = format!(
            "SET default_transaction_read_only = off; ALTER DATABASE {} SET default_transaction_read_only = {state}",
            name.trim()
        );
        scene.database.tell(&alter);
        scene.cut_all_connections();
    };
    alter("on");
    let refused = stage.probe.check().await.expect_err("it can't be written to");
    assert!(
        refused.source.to_string().contains("read-only"),
        "{}",
        refused.source
    );
    alter("off");
    assert_eq!(
        stage.probe.check().await.expect("it is there"),
        StoreReadiness::Ready
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_its_schema_says_that_migrations_are_pending() {
    let database = Database::new();
    let url = DatabaseUrl::parse(&database.url()).expect("a good URL");
    let store = auth_storage::open(&url, None, StoreOptions::default()).expect("the database opens");
    let readiness = store.probe.check().await.expect("it is there");
    assert_eq!(readiness, StoreReadiness::MigrationsPending);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_from_the_replica_and_from_the_primary_where_that_is_away() {
    let scene = Scene::new();
    // Not a copy at all, so that the two can be told apart.
    let replica = Shared::new();
    let seen = auth_storage::open(&replica.url(), None, StoreOptions::default()).expect("it opens");
    stage_over(&seen, Arc::new(Shared::new()) as _)
        .create_user(&build::user("replica"))
        .await;
    seen.shutdown();
    let store = auth_storage::open(
        &scene.database.url(),
        Some(&replica.url()),
        StoreOptions::default(),
    );
    let store = store.expect("both open");
    let stage = stage_over(&store, Arc::clone(&scene.database) as _);
    stage.create_user(&build::user("primary")).await;
    let names = || async {
        let users = stage
            .user_directory
            .list(None, 9)
            .await
            .expect("one of both is there");
        users
            .into_iter()
            .map(|user| user.username.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["replica"]);
    assert_eq!(
        stage.user(build::user_id("primary")).await.username.as_str(),
        "primary"
    );
    drop(replica);
    assert_eq!(names().await, ["primary"]);
}
