//! What every store must keep when it is swept, and when processes ask it who may.

use auth_domain::id::{InstanceId, JtiHash, RowId, SessionId};
use auth_domain::ports::admin::{Lease, Sweep, Swept};
use auth_domain::session::{NewSession, Opened, RevocationTarget, Rotated, Rotation, SessionKey, TokenRow};
use auth_domain::time::Timestamp;

use super::stage::{Stage, after, note};
use crate::build;
use crate::random::SeededRandom;

/// A row's id as the service makes it: of its time.
fn row_id(text: &str, at: Timestamp) -> RowId {
    RowId::generate(&seeded(text), at)
}

fn seeded(text: &str) -> SeededRandom {
    let (seed, _) = build::uuid(text).as_u64_pair();
    SeededRandom::new(seed)
}

/// A token issued and expiring so many seconds after the start.
fn token(text: &str, issued: u32, expires: u32) -> TokenRow {
    TokenRow {
        id: row_id(text, after(issued)),
        jti_hash: build::jti_hash(text),
        issued_at: after(issued),
        expires_at: after(expires),
    }
}

/// Signs alice in so many seconds after the start, with a token that expires so many seconds after it.
async fn sign_in(stage: &Stage, text: &str, issued: u32, expires: u32) -> SessionId {
    let user = build::user(build::ALICE);
    let id = SessionId::generate(&seeded(text), after(issued));
    let session = NewSession {
        id,
        first: token(text, issued, expires),
        ..build::new_session(text, &user, &build::flutter_client())
    };
    assert_eq!(stage.open(session).await, Opened::Opened);
    id
}

async fn rotate(stage: &Stage, session_id: SessionId, from: &str, to: TokenRow) {
    let from = build::jti_hash(from);
    let record = note(&format!("rotate {}", to.id));
    let rotation = Rotation { session_id, from, to };
    let rotated = stage.sessions.rotate(rotation, record).await;
    assert_eq!(rotated.expect("the store is there"), Rotated::Rotated);
}

fn sweep(expired_before: Timestamp, at_most: u32) -> Sweep {
    Sweep {
        after: None,
        expired_before,
        at_most,
    }
}

async fn sweep_tokens(stage: &Stage, sweep: Sweep) -> Swept {
    let swept = stage.upkeep.sweep_tokens(sweep).await;
    swept.expect("the store is there")
}

async fn sweep_sessions(stage: &Stage, sweep: Sweep) -> Swept {
    let swept = stage.upkeep.sweep_sessions(sweep).await;
    swept.expect("the store is there")
}

fn hashes(texts: &[&str]) -> Vec<JtiHash> {
    texts.iter().map(|text| build::jti_hash(text)).collect()
}

/// Sweeps tokens part by part from the beginning to the end; how many went in each part.
async fn sweep_all_tokens(stage: &Stage, before: Timestamp, at_most: u32) -> Vec<u64> {
    let mut parts = Vec::new();
    let mut next = sweep(before, at_most);
    loop {
        let swept = sweep_tokens(stage, next).await;
        parts.push(swept.deleted);
        match swept.next {
            Some(place) => next.after = Some(place),
            None => return parts,
        }
    }
}

/// A token goes when the moment it expired at has passed, and not before; the chain goes on without it.
pub async fn an_expired_token_leaves_the_history_and_its_chain_goes_on(stage: Stage) {
    stage.populate().await;
    let id = sign_in(&stage, "one", 0, 100).await;
    rotate(&stage, id, "one", token("two", 50, 150)).await;
    rotate(&stage, id, "two", token("three", 120, 220)).await;
    assert_eq!(sweep_tokens(&stage, sweep(after(100), 10)).await.deleted, 0);
    assert_eq!(stage.tokens(id), hashes(&["one", "two", "three"]));
    assert_eq!(sweep_tokens(&stage, sweep(after(101), 10)).await.deleted, 1);
    assert_eq!(stage.tokens(id), hashes(&["two", "three"]));
    rotate(&stage, id, "three", token("four", 200, 300)).await;
    assert_eq!(stage.tokens(id), hashes(&["two", "three", "four"]));
    assert_eq!(stage.session(id).await.head, build::jti_hash("four"));
}

/// A part is no larger than asked for, rows that stay count too, and the next part goes on where it ended.
pub async fn tokens_are_swept_in_bounded_parts_from_the_oldest_on(stage: Stage) {
    stage.populate().await;
    let mut lasting = Vec::new();
    for number in 0..10 {
        // Every third one lives on.
        let expires = if number % 3 == 0 { 10_000 } else { 100 };
        let text = format!("token {number}");
        let id = sign_in(&stage, &text, number, expires).await;
        if expires > 100 {
            lasting.push((id, text));
        }
    }
    assert_eq!(sweep_all_tokens(&stage, after(101), 4).await, [2, 3, 1]);
    for (id, text) in lasting {
        assert_eq!(stage.tokens(id), hashes(&[&text]));
    }
    assert_eq!(
        sweep_all_tokens(&stage, after(101), 4).await,
        [0, 0],
        "four are left"
    );
}

/// What was issued after the moment can't have expired before it: the sweep ends there.
pub async fn a_sweep_ends_where_nothing_can_have_expired(stage: Stage) {
    stage.populate().await;
    for number in 0..3 {
        sign_in(&stage, &format!("young {number}"), 1_000 + number, 2_000).await;
    }
    let swept = sweep_tokens(&stage, sweep(after(1_000), 1)).await;
    assert_eq!((swept.deleted, swept.next), (0, None));
    let swept = sweep_sessions(&stage, sweep(after(1_000), 1)).await;
    assert_eq!((swept.deleted, swept.next), (0, None));
}

/// A session goes once its head has expired, whether it was revoked or not, and with it nothing but itself.
pub async fn an_expired_session_goes_and_a_revoked_one_no_sooner(stage: Stage) {
    stage.populate().await;
    let ended = sign_in(&stage, "ended", 0, 100).await;
    let revoked = sign_in(&stage, "revoked", 1, 100).await;
    let lasting = sign_in(&stage, "lasting", 2, 1_000).await;
    let renewed = sign_in(&stage, "renewed", 3, 100).await;
    rotate(&stage, renewed, "renewed", token("renewed again", 90, 190)).await;
    assert_eq!(stage.revoke(RevocationTarget::Session(revoked), 10).await, 1);
    let rows = stage.audit_rows();

    assert_eq!(sweep_sessions(&stage, sweep(after(100), 10)).await.deleted, 0);
    let swept = sweep_sessions(&stage, sweep(after(101), 10)).await;
    assert_eq!((swept.deleted, swept.next), (2, None));
    for (id, is_there) in [(ended, false), (revoked, false), (lasting, true), (renewed, true)] {
        let found = stage.find_session(&SessionKey::Id(id)).await;
        assert_eq!(found.is_some(), is_there);
    }
    assert_eq!(stage.tokens(renewed).len(), 2);
    assert_eq!(
        stage.audit_rows(),
        rows,
        "what is swept leaves no trace of its own"
    );
}

/// The bound of a part holds for sessions as well.
pub async fn sessions_are_swept_in_bounded_parts_from_the_oldest_on(stage: Stage) {
    stage.populate().await;
    for number in 0..5 {
        sign_in(&stage, &format!("session {number}"), number, 100).await;
    }
    let mut next = sweep(after(101), 2);
    for expected in [2, 2, 1] {
        let swept = sweep_sessions(&stage, next).await;
        assert_eq!(swept.deleted, expected);
        assert_eq!(swept.next.is_some(), expected == 2);
        next.after = swept.next;
    }
}

/// Chains that rotate while the history is swept lose nothing that has not expired.
pub async fn sweeping_beside_rotations_breaks_no_chain(stage: Stage) {
    stage.populate().await;
    for number in 0..20 {
        sign_in(&stage, &format!("old {number}"), number, 100).await;
    }
    let id = sign_in(&stage, "link 0", 50, 10_000).await;
    let rotating = {
        let stage = stage.clone();
        tokio::spawn(async move {
            for link in 0..30 {
                let next = token(&format!("link {}", link + 1), 200 + link, 10_000);
                rotate(&stage, id, &format!("link {link}"), next).await;
            }
        })
    };
    let mut swept = 0;
    while swept < 20 {
        swept += sweep_all_tokens(&stage, after(200), 3).await.iter().sum::<u64>();
    }
    rotating.await.expect("no rotation panics");
    assert_eq!(stage.tokens(id).len(), 31);
    assert_eq!(stage.session(id).await.head, build::jti_hash("link 30"));
}

const NAME: &str = "a thing done by one";

fn lease(holder: &str, until: u32) -> Lease {
    Lease {
        name: NAME,
        holder: InstanceId::from_uuid(build::uuid(holder)),
        until: after(until),
    }
}

async fn takes(stage: &Stage, holder: &str, now: u32, until: u32) -> bool {
    let taken = stage.upkeep.take_lease(lease(holder, until), after(now)).await;
    taken.expect("the store is there")
}

async fn gives_back(stage: &Stage, holder: &str) {
    let given = stage.upkeep.give_back_lease(lease(holder, 0)).await;
    given.expect("the store is there");
}

/// A lease is its holder's until it is given back or over; the holder may prolong it.
pub async fn a_lease_has_one_holder_until_its_end(stage: Stage) {
    assert!(takes(&stage, "one", 0, 100).await);
    assert!(!takes(&stage, "other", 50, 150).await);
    assert!(takes(&stage, "one", 60, 200).await, "its own is prolonged");
    assert!(!takes(&stage, "other", 200, 300).await, "not at the end itself");
    assert!(takes(&stage, "other", 201, 300).await, "its time is up");
    assert!(!takes(&stage, "one", 202, 400).await, "it has lost it");
}

/// A lease that ends later than its like can is of a clock that is wrong, and keeps nobody from the work.
pub async fn a_lease_of_a_clock_that_is_far_ahead_keeps_nobody_off(stage: Stage) {
    assert!(takes(&stage, "ahead", 100, 200).await);
    assert!(
        !takes(&stage, "other", 0, 100).await,
        "it may be as far ahead as it lasts"
    );
    assert!(takes(&stage, "ahead", 101, 201).await);
    assert!(takes(&stage, "other", 0, 100).await, "but no further");
    assert!(takes(&stage, "a year ahead", 31_536_000, 31_536_100).await);
    assert!(takes(&stage, "other", 0, 100).await);
}

/// Whoever gives a lease back makes room at once; nobody gives another's back.
pub async fn a_lease_is_given_back_by_its_holder_alone(stage: Stage) {
    assert!(takes(&stage, "one", 0, 100).await);
    gives_back(&stage, "other").await;
    assert!(!takes(&stage, "other", 1, 100).await);
    gives_back(&stage, "one").await;
    assert!(takes(&stage, "other", 2, 100).await);
}

/// Leases of other names are other leases.
pub async fn leases_of_different_names_do_not_meet(stage: Stage) {
    assert!(takes(&stage, "one", 0, 100).await);
    let another = Lease {
        name: "another thing",
        ..lease("other", 100)
    };
    let taken = stage.upkeep.take_lease(another, after(0)).await;
    assert!(taken.expect("the store is there"));
}

/// Of many who ask at once, for a lease that was never taken and then for one whose time is up, one gets it.
pub async fn of_many_who_ask_for_a_lease_at_once_one_has_it(stage: Stage) {
    for round in 0..5 {
        let contenders: Vec<_> = (0..16)
            .map(|number| {
                let stage = stage.clone();
                let holder = format!("contender {round} {number}");
                tokio::spawn(
                    async move { takes(&stage, &holder, 1_000 * round + 500, 1_000 * round + 900).await },
                )
            })
            .collect();
        let mut winners = 0;
        for contender in contenders {
            winners += u32::from(contender.await.expect("no contender panics"));
        }
        assert_eq!(winners, 1, "round {round}");
    }
}
