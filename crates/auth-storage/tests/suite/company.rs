//! What PostgreSQL is asked for and told in company: each gets its own answer, whatever becomes of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_domain::id::SessionId;
use auth_domain::ports::Sessions;
use auth_domain::ports::admin::AuditFilter;
use auth_domain::session::{Opened, Rotated, SessionKey};
use auth_storage::{DatabaseUrl, Migrations, Pool, Store, StoreOptions};
use auth_testkit::build;
use auth_testkit::contract::stage::Stage;
use auth_testkit::server::{Database, Tap};
use diesel::connection::SimpleConnection;
use futures::future::join_all;

use crate::file::stage_over;
use crate::postgres::Shared;

/// By when whatever is waited for has come, on any machine.
const LONG: Duration = Duration::from_mins(1);

/// A store whose way to its database is watched.
struct Scene {
    store: Store,
    tap: Tap,
    database: Arc<Shared>,
}

impl Scene {
    fn new() -> Self {
        let database = Database::new();
        let tap = Tap::before(&database);
        let url = DatabaseUrl::parse(tap.url()).expect("the way is a good URL");
        Migrations::of(&url)
            .up()
            .expect("an empty database takes the schema");
        // Nothing is given up because the machine is busy.
        let options = StoreOptions {
            busy_timeout: LONG,
            patience: LONG,
            ..StoreOptions::default()
        };
        let store = auth_storage::open(&url, None, options).expect("the database opens");
        Self {
            store,
            tap,
            database: Arc::new(Shared::of(database)),
        }
    }

    fn stage(&self) -> Stage {
        stage_over(&self.store, Arc::clone(&self.database) as _)
    }

    /// A stage with so many sessions, each known by its number.
    async fn populated(&self, sessions: usize) -> (Stage, Vec<SessionId>) {
        let stage = self.stage();
        let (user, client) = stage.populate().await;
        let sign_in = async |number: usize| {
            let session = build::new_session(&name(number), &user, &client);
            let id = session.id;
            assert_eq!(stage.open(session).await, Opened::Opened);
            id
        };
        let ids = join_all((0..sessions).map(sign_in)).await;
        (stage, ids)
    }
}

/// Waits until it is so.
async fn comes(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LONG, "{what}");
        tokio::task::yield_now().await;
    }
}

/// Closes the store, and waits until none of its connections is left: each has told by then what it has read.
async fn close(store: &Store, database: &Shared) {
    store.shutdown();
    let left = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'codelab-auth'";
    comes("every connection is closed", || database.tell(left).trim() == "0").await;
}

fn name(number: usize) -> String {
    format!("s{number}")
}

/// Looks all of them up at once.
async fn find_all(sessions: &Arc<dyn Sessions>, ids: &[SessionId]) -> Vec<Result<Option<SessionId>, String>> {
    let look_up = async |id: &SessionId| {
        let found = sessions.find(&SessionKey::Id(*id)).await;
        let id = found.map(|view| view.map(|view| view.id));
        id.map_err(|outage| outage.source.to_string())
    };
    join_all(ids.iter().map(look_up)).await
}

/// Rotates each from its first token to its second, all at once.
async fn rotate_all(stage: &Stage, ids: &[SessionId]) -> Vec<Rotated> {
    let turns = ids.iter().enumerate().map(|(number, id)| async move {
        let name = name(number);
        stage
            .rotate(*id, &format!("{name}/0"), &format!("{name}/1"), 1)
            .await
    });
    join_all(turns).await
}

#[tokio::test(flavor = "multi_thread")]
async fn look_ups_that_come_together_share_round_trips_and_each_finds_its_own() {
    let scene = Scene::new();
    let (stage, mut ids) = scene.populated(40).await;
    let stranger = build::session_id("nobody's");
    ids.extend([stranger, ids[7], ids[7]]);
    find_all(&stage.sessions, &ids).await;
    let before = scene.tap.seen();
    let expected: Vec<_> = ids
        .iter()
        .map(|id| Ok((*id != stranger).then_some(*id)))
        .collect();
    for _ in 0..5 {
        assert_eq!(find_all(&stage.sessions, &ids).await, expected);
    }
    let seen = scene.tap.seen().since(&before);
    let look_ups = 5 * ids.len() as u64;
    assert!(seen.round_trips * 2 < look_ups, "{look_ups} look-ups: {seen:?}");
    assert_eq!(seen.texts, 0, "the query is prepared already");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_that_come_together_share_round_trips() {
    let scene = Scene::new();
    let (stage, ids) = scene.populated(40).await;
    let before = scene.tap.seen();
    assert_eq!(rotate_all(&stage, &ids).await, [Rotated::Rotated; 40]);
    let seen = scene.tap.seen().since(&before);
    assert!(seen.round_trips < 20, "40 rotations: {seen:?}");
    assert!(ids.iter().all(|id| stage.tokens(*id).len() == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_fails_nobody_elses_look_up() {
    let scene = Scene::new();
    let (stage, mut ids) = scene.populated(12).await;
    let broken = ids[5];
    let spoil = format!(
        "UPDATE sessions SET scope = 'no \" scope' WHERE id = '{}'",
        broken.as_uuid()
    );
    scene
        .database
        .connect()
        .batch_execute(&spoil)
        .expect("the statement is good");
    ids.push(broken);
    let found = find_all(&stage.sessions, &ids).await;
    for (id, found) in ids.iter().zip(found) {
        match found {
            Ok(found) => assert_eq!((found, *id == broken), (Some(*id), false)),
            Err(fault) => {
                assert_eq!(*id, broken, "{fault}");
                assert!(
                    fault.contains("table sessions, column scope"),
                    "it is told what is wrong: {fault}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_answer_is_lost_is_asked_again_for_all_who_wait_for_it() {
    let scene = Scene::new();
    let (stage, ids) = scene.populated(30).await;
    find_all(&stage.sessions, &ids).await;
    for round in 1..=3 {
        scene.tap.lose_next_answer();
        let found = find_all(&stage.sessions, &ids).await;
        assert!(
            found.iter().zip(&ids).all(|(found, id)| *found == Ok(Some(*id))),
            "{found:?}"
        );
        assert_eq!(scene.tap.seen().lost, round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_whose_answer_is_lost_are_told_as_what_they_were() {
    let scene = Scene::new();
    let (stage, ids) = scene.populated(30).await;
    scene.tap.lose_next_answer();
    assert_eq!(rotate_all(&stage, &ids).await, [Rotated::Rotated; 30]);
    assert_eq!(scene.tap.seen().lost, 1);
    let rows: BTreeMap<_, _> = ids.iter().map(|id| (id, stage.tokens(*id).len())).collect();
    assert!(rows.values().all(|tokens| *tokens == 2), "{rows:?}");
    let rotated = stage.inside.audit_trail();
    let opened_and_rotated = 2 * ids.len() + 2;
    assert_eq!(
        rotated.len(),
        opened_and_rotated,
        "each has left one row of the audit trail"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_of_the_audit_trail_keep_no_look_up_waiting() {
    let scene = Scene::new();
    let (stage, ids) = scene.populated(2).await;
    let mut rival = scene.database.connect();
    let mut tell = |sql: &str| rival.batch_execute(sql).expect("the statement is good");
    tell("BEGIN; LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE");
    // More than there are threads that read.
    let searches: Vec<_> = (0..24)
        .map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.audit_log.tail(&AuditFilter::default(), 10).await })
        })
        .collect();
    let reads = |store: &Store| {
        let figures = store.figures();
        let reads = figures.iter().find(|figures| figures.pool == Pool::Reads);
        reads.map_or(0, |reads| reads.waiting)
    };
    comes("some of them wait", || reads(&scene.store) > 0).await;
    let found = find_all(&stage.sessions, &ids).await;
    assert_eq!(found, [Ok(Some(ids[0])), Ok(Some(ids[1]))]);
    assert!(reads(&scene.store) > 0, "the searches are waiting still");
    tell("ROLLBACK");
    for search in searches {
        let found = search
            .await
            .expect("it does not panic")
            .expect("nobody is in its way");
        assert_eq!(found.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_read_by_their_keys_however_small_they_were_when_it_was_planned() {
    let scene = Scene::new();
    let (_, ids) = scene.populated(3).await;
    // The server knows how small they are, and would read them as a whole.
    let mut rival = scene.database.connect();
    rival
        .batch_execute("ANALYZE sessions; ANALYZE users")
        .expect("the statement is good");
    close(&scene.store, &scene.database).await;
    let look =
        "SELECT seq_scan FROM pg_stat_user_tables WHERE relname IN ('sessions', 'users') ORDER BY relname";
    let by_key = "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_tables WHERE relname = 'sessions'";
    let count = || scene.database.tell(by_key).trim().parse::<u64>().unwrap_or(0);
    let (before, keys_before) = (scene.database.tell(look), count());
    // All that this one does is what is to be looked at.
    let store = auth_storage::open(&scene.database.url(), None, StoreOptions::default());
    let store = store.expect("the database opens");
    let stage = stage_over(&store, Arc::clone(&scene.database) as _);
    for _ in 0..8 {
        find_all(&stage.sessions, &ids).await;
    }
    for (number, id) in ids.iter().enumerate() {
        let (from, to) = (format!("s{number}/0"), format!("s{number}/1"));
        assert_eq!(stage.rotate(*id, &from, &to, 1).await, Rotated::Rotated);
    }
    close(&store, &scene.database).await;
    comes("it is told what was read", || count() >= keys_before + 11).await;
    assert_eq!(scene.database.tell(look), before);
}

/// The replica here has the user and the client, and has heard of no session: as far behind as one can be.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_refresh_asks_is_asked_of_the_primary_however_far_the_replica_is_behind() {
    let (primary, replica) = (Arc::new(Shared::new()), Arc::new(Shared::new()));
    let url = replica.url();
    let behind = auth_storage::open(&url, None, StoreOptions::default()).expect("the replica opens");
    stage_over(&behind, Arc::clone(&replica) as _).populate().await;
    let store =
        auth_storage::open(&primary.url(), Some(&url), StoreOptions::default()).expect("the database opens");
    let stage = stage_over(&store, primary as _);
    let (_, _, id) = stage.signed_in().await;
    let mut from = "s/0".to_owned();
    for number in 1..=5 {
        let to = format!("s/{number}");
        assert_eq!(stage.rotate(id, &from, &to, number).await, Rotated::Rotated);
        assert_eq!(
            stage.session(id).await.head,
            build::jti_hash(&to),
            "of step {number}"
        );
        from = to;
    }
    let replica = store
        .figures()
        .into_iter()
        .find(|figures| figures.pool == Pool::Replica);
    let replica = replica.expect("there is one");
    assert_eq!(
        (replica.busy, replica.idle),
        (0, Some(0)),
        "nobody has asked it anything"
    );
}
