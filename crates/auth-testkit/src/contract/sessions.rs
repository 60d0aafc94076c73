//! What every store of sessions must keep.

use auth_domain::audit::AuditEvent;
use auth_domain::id::SessionId;
use auth_domain::ports::admin::{Changed, ClientChange, UserChange};
use auth_domain::session::{
    NewSession, Opened, Revocation, RevocationReason, RevocationTarget, Rotated, SessionKey, SessionState,
    SessionView,
};
use auth_domain::user::UserStatus;

use super::stage::{SeenAudit, Stage, after, note, rotation};
use crate::build;
use crate::clock::START;
use crate::fake::{FakeHasher, StoredToken};

const OTHER: &str = "other-client";

/// What is opened is found again, to the microsecond.
pub async fn an_opened_session_is_found_as_it_was_stored(stage: Stage) {
    let (user, client) = stage.populate().await;
    let session = build::new_session("s", &user, &client);
    let id = session.id;
    let first = session.first;
    assert_eq!(stage.open(session).await, Opened::Opened);
    let expected = SessionView {
        id,
        user_id: user.id,
        user_status: UserStatus::Active,
        client_id: client.client_id,
        scope: build::scope("api:read api:write"),
        head: first.jti_hash,
        previous: None,
        head_issued_at: START,
        expires_at: first.expires_at,
        state: SessionState::Live,
        created_at: START,
    };
    assert_eq!(stage.session(id).await, expected);
    assert_eq!(stage.tokens(id), [first.jti_hash]);
}

/// A session that nobody opened is not found.
pub async fn an_unknown_session_is_none(stage: Stage) {
    let key = SessionKey::Id(build::session_id("nobody's"));
    assert!(stage.find_session(&key).await.is_none());
}

/// Any number of tokens of the older service find the session that they belong to, whatever has become of it since.
pub async fn tokens_of_the_older_service_find_their_session(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    for token in ["s/0", "one", "other"] {
        stage.inside.put_legacy_token(build::jti_hash(token), id);
    }
    stage.rotate(id, "s/0", "s/1", 1).await;
    stage.revoke(RevocationTarget::Session(id), 2).await;
    let session = stage.session(id).await;
    for token in ["s/0", "one", "other"] {
        let key = SessionKey::Legacy(build::jti_hash(token));
        assert_eq!(stage.find_session(&key).await.as_ref(), Some(&session), "{token}");
    }
}

/// A token that was not taken over finds nothing: nor does one of ours without its session's id.
pub async fn an_unknown_token_of_the_older_service_finds_nothing(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    stage.inside.put_legacy_token(build::jti_hash("one"), id);
    for token in ["s/0", "nobody's"] {
        let key = SessionKey::Legacy(build::jti_hash(token));
        assert!(stage.find_session(&key).await.is_none(), "{token}");
    }
}

/// A session that is deleted takes along what is known of its older tokens, and nothing else.
pub async fn a_deleted_session_takes_its_older_tokens_along(stage: Stage) {
    let ids = four_sessions(&stage).await;
    let keys = ids.map(|id| build::jti_hash(&format!("of {id}")));
    for (key, id) in keys.iter().zip(ids) {
        stage.inside.put_legacy_token(*key, id);
    }
    let alice = build::user_id(build::ALICE);
    let changed = stage
        .user_directory
        .change(alice, UserChange::Delete, after(2), note("delete"))
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
    let mut found = Vec::new();
    for key in keys {
        found.push(
            stage
                .find_session(&SessionKey::Legacy(key))
                .await
                .map(|session| session.id),
        );
    }
    assert_eq!(found, [None, None, Some(ids[2]), Some(ids[3])]);
}

/// A sign-in moves `last_login_at` and leaves the hash alone where there is no new one.
pub async fn a_sign_in_moves_the_last_login(stage: Stage) {
    let (user, _, _) = stage.signed_in().await;
    let stored = stage.user(user.id).await;
    assert_eq!(stored.last_login_at, Some(START));
    assert_eq!(stored.updated_at, user.updated_at);
    assert!(stored.password_hash.is_same(&user.password_hash));
}

/// A sign-in puts the new hash in place of the one that was verified.
pub async fn a_sign_in_replaces_an_outdated_hash(stage: Stage) {
    let (user, client) = stage.populate().await;
    let rehashed = FakeHasher::outdated_hash_of("rehashed");
    let session = NewSession {
        rehashed: Some(rehashed.clone()),
        ..build::new_session("s", &user, &client)
    };
    assert_eq!(stage.open(session).await, Opened::Opened);
    assert!(stage.user(user.id).await.password_hash.is_same(&rehashed));
}

/// Asserts that a sign-in is overtaken and has written nothing.
async fn assert_overtaken(stage: &Stage, session: NewSession) {
    let (id, user_id) = (session.id, session.user_id);
    let rows = stage.audit_rows();
    assert_eq!(stage.open(session).await, Opened::Overtaken);
    assert_eq!(stage.audit_rows(), rows, "no audit row");
    assert!(stage.tokens(id).is_empty(), "no token");
    let found = stage.find_session(&SessionKey::Id(id)).await;
    assert!(found.is_none(), "no session");
    let user = stage
        .user_directory
        .find(&auth_domain::ports::UserKey::Id(user_id))
        .await;
    if let Some(user) = user.expect("the store is there") {
        assert_eq!(user.last_login_at, None, "no login");
    }
}

async fn change_user(stage: &Stage, session: &NewSession, change: UserChange) {
    let record = note(&format!("change {change:?}"));
    let changed = stage
        .user_directory
        .change(session.user_id, change, after(1), record)
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
}

async fn change_client(stage: &Stage, session: &NewSession, change: ClientChange) {
    let record = note(&format!("change {change:?}"));
    let changed = stage
        .client_directory
        .change(&session.client_id, change, after(1), record)
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
}

async fn sign_in_about_to_happen(stage: &Stage) -> NewSession {
    let (user, client) = stage.populate().await;
    NewSession {
        rehashed: Some(FakeHasher::hash_of("rehashed")),
        ..build::new_session("s", &user, &client)
    }
}

/// A sign-in by a password that was changed meanwhile stores nothing.
pub async fn a_sign_in_is_overtaken_by_a_new_password(stage: Stage) {
    let session = sign_in_about_to_happen(&stage).await;
    let change = UserChange::SetPassword(FakeHasher::hash_of("another"));
    change_user(&stage, &session, change).await;
    assert_overtaken(&stage, session).await;
}

/// A sign-in of a user that was deactivated meanwhile stores nothing.
pub async fn a_sign_in_is_overtaken_by_deactivation(stage: Stage) {
    let session = sign_in_about_to_happen(&stage).await;
    change_user(&stage, &session, UserChange::Deactivate).await;
    assert_overtaken(&stage, session).await;
}

/// A sign-in of a user that was deleted meanwhile stores nothing.
pub async fn a_sign_in_is_overtaken_by_deletion(stage: Stage) {
    let session = sign_in_about_to_happen(&stage).await;
    change_user(&stage, &session, UserChange::Delete).await;
    assert_overtaken(&stage, session).await;
}

/// A sign-in at a client that was disabled meanwhile stores nothing.
pub async fn a_sign_in_is_overtaken_by_disabling_the_client(stage: Stage) {
    let session = sign_in_about_to_happen(&stage).await;
    change_client(&stage, &session, ClientChange::Disable).await;
    assert_overtaken(&stage, session).await;
}

/// A sign-in at a client that was deleted meanwhile stores nothing.
pub async fn a_sign_in_is_overtaken_by_deleting_the_client(stage: Stage) {
    let session = sign_in_about_to_happen(&stage).await;
    change_client(&stage, &session, ClientChange::Delete).await;
    assert_overtaken(&stage, session).await;
}

/// A rotation moves the head, remembers the one before, and appends to the history with its parent.
pub async fn a_rotation_moves_the_head(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    let before = stage.session(id).await;
    assert_eq!(stage.rotate(id, "s/0", "s/1", 1).await, Rotated::Rotated);
    let to = build::token_row("s/1", after(1));
    let expected = SessionView {
        head: to.jti_hash,
        previous: Some(build::jti_hash("s/0")),
        head_issued_at: after(1),
        expires_at: to.expires_at,
        ..before
    };
    assert_eq!(stage.session(id).await, expected);
    assert_eq!(stage.rotate(id, "s/1", "s/2", 2).await, Rotated::Rotated);
    let token = |text, parent: Option<&str>, seconds| {
        let row = build::token_row(text, after(seconds));
        StoredToken {
            session_id: id,
            jti_hash: row.jti_hash,
            parent: parent.map(build::jti_hash),
            issued_at: row.issued_at,
            expires_at: row.expires_at,
        }
    };
    let chain = [
        token("s/0", None, 0),
        token("s/1", Some("s/0"), 1),
        token("s/2", Some("s/1"), 2),
    ];
    assert_eq!(stage.inside.history(id), chain);
}

/// A rotation away from a token that is not the head writes nothing, the audit row neither.
pub async fn a_superseded_rotation_writes_nothing(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    stage.rotate(id, "s/0", "s/1", 1).await;
    let (session, rows) = (stage.session(id).await, stage.audit_rows());
    assert_eq!(stage.rotate(id, "s/0", "s/2", 2).await, Rotated::Superseded);
    assert_eq!(stage.rotate(id, "never", "s/3", 2).await, Rotated::Superseded);
    let nobodys = build::session_id("nobody's");
    assert_eq!(stage.rotate(nobodys, "s/1", "s/4", 2).await, Rotated::Superseded);
    assert_eq!(stage.session(id).await, session);
    assert_eq!(stage.tokens(id).len(), 2);
    assert_eq!(stage.audit_rows(), rows);
}

/// A revoked chain does not rotate.
pub async fn a_revoked_chain_does_not_rotate(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    stage.revoke(RevocationTarget::Session(id), 1).await;
    let rows = stage.audit_rows();
    assert_eq!(stage.rotate(id, "s/0", "s/1", 2).await, Rotated::Superseded);
    assert_eq!(stage.audit_rows(), rows);
}

/// A chain counts as live until it ends, and until it expires.
pub async fn a_live_chain_is_noticed_and_an_ended_or_expired_one_is_not(stage: Stage) {
    let has_live = async |seconds| {
        let found = stage.founding.has_live_chains(after(seconds)).await;
        found.expect("the store is there")
    };
    assert!(!has_live(0).await);
    let (_, _, id) = stage.signed_in().await;
    assert!(has_live(0).await);
    assert!(has_live(2_591_999).await);
    assert!(!has_live(2_592_000).await);
    stage.revoke(RevocationTarget::Session(id), 1).await;
    assert!(!has_live(0).await);
}

/// Of 64 uses of one head at once exactly one consumes it, and the chain is in exactly that state.
pub async fn of_64_contenders_for_one_head_one_wins(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    let rows = stage.audit_rows();
    let contenders: Vec<_> = (0..64)
        .map(|n| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.rotate(id, "s/0", &format!("s/1/{n}"), 1).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (n, contender) in contenders.into_iter().enumerate() {
        if contender.await.expect("no rotation panics") == Rotated::Rotated {
            winners.push(build::jti_hash(&format!("s/1/{n}")));
        }
    }
    let [winner] = winners[..] else {
        panic!("{} winners", winners.len());
    };
    let session = stage.session(id).await;
    assert_eq!(session.head, winner);
    assert_eq!(session.previous, Some(build::jti_hash("s/0")));
    assert_eq!(stage.tokens(id), [build::jti_hash("s/0"), winner]);
    assert_eq!(stage.audit_rows(), rows + 1);
}

/// A revocation commits with its reason and its audit row.
pub async fn a_revocation_is_stored_with_its_audit_row(stage: Stage) {
    let (user, client, id) = stage.signed_in().await;
    let target = RevocationTarget::Session(id);
    let mut record = note("reuse");
    record.user_id = Some(user.id);
    record.client_id = Some(client.client_id);
    record.event = AuditEvent::SecurityIncident {
        session_id: id,
        revoked: target.clone(),
    };
    let revocation = Revocation {
        target,
        reason: RevocationReason::Reuse,
        at: after(7),
    };
    let ended = stage.sessions.revoke(revocation, record.clone()).await;
    assert_eq!(ended.expect("the store is there"), 1);
    let revoked = SessionState::Revoked {
        at: after(7),
        reason: RevocationReason::Reuse,
    };
    assert_eq!(stage.session(id).await.state, revoked);
    assert!(stage.inside.audit_trail().contains(&SeenAudit::from(&record)));
}

/// Revoking again ends nothing more, changes nothing, and fills no audit trail.
pub async fn a_second_revocation_changes_nothing_and_leaves_no_row(stage: Stage) {
    let (_, _, id) = stage.signed_in().await;
    assert_eq!(stage.revoke(RevocationTarget::Session(id), 1).await, 1);
    let (session, rows) = (stage.session(id).await, stage.audit_rows());
    assert_eq!(stage.revoke(RevocationTarget::Session(id), 2).await, 0);
    assert_eq!(stage.session(id).await, session);
    assert_eq!(stage.audit_rows(), rows);
}

/// Four sessions: alice at both clients, bob at both clients.
async fn four_sessions(stage: &Stage) -> [SessionId; 4] {
    let (alice, flutter) = stage.populate().await;
    let (bob, other) = (build::user("bob"), build::public_client(OTHER));
    stage.create_user(&bob).await;
    stage.create_client(&other).await;
    let sessions = [
        build::new_session("alice flutter", &alice, &flutter),
        build::new_session("alice other", &alice, &other),
        build::new_session("bob flutter", &bob, &flutter),
        build::new_session("bob other", &bob, &other),
    ];
    let ids = sessions.each_ref().map(|session| session.id);
    for session in sessions {
        assert_eq!(stage.open(session).await, Opened::Opened);
    }
    ids
}

async fn live(stage: &Stage, ids: [SessionId; 4]) -> Vec<bool> {
    let mut live = Vec::new();
    for id in ids {
        let found = stage.find_session(&SessionKey::Id(id)).await;
        live.push(found.is_some_and(|session| session.state == SessionState::Live));
    }
    live
}

/// A target says which chains end, and no others do.
pub async fn a_revocation_ends_its_target_and_nothing_else(stage: Stage) {
    let ids = four_sessions(&stage).await;
    let alice = build::user_id(build::ALICE);
    let flutter = build::client_id(build::FLUTTER);
    assert_eq!(stage.revoke(RevocationTarget::Session(ids[3]), 1).await, 1);
    assert_eq!(live(&stage, ids).await, [true, true, true, false]);
    let target = RevocationTarget::UserAtClient(alice, flutter.clone());
    assert_eq!(stage.revoke(target, 2).await, 1);
    assert_eq!(live(&stage, ids).await, [false, true, true, false]);
    assert_eq!(stage.revoke(RevocationTarget::Client(flutter), 3).await, 1);
    assert_eq!(live(&stage, ids).await, [false, true, false, false]);
    assert_eq!(stage.revoke(RevocationTarget::User(alice), 4).await, 1);
    assert_eq!(live(&stage, ids).await, [false; 4]);
}

/// A change to a user ends that user's chains with it, for the reason it is.
async fn assert_user_change_ends_chains(stage: Stage, change: UserChange, reason: RevocationReason) {
    let ids = four_sessions(&stage).await;
    let alice = build::user_id(build::ALICE);
    let changed = stage
        .user_directory
        .change(alice, change, after(5), note("change"))
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
    assert_eq!(live(&stage, ids).await, [false, false, true, true]);
    let revoked = SessionState::Revoked { at: after(5), reason };
    assert_eq!(stage.session(ids[0]).await.state, revoked);
    assert_eq!(
        stage.rotate(ids[0], "alice flutter/0", "next", 6).await,
        Rotated::Superseded
    );
}

/// Deactivating a user ends the user's chains; activating brings none of them back.
pub async fn deactivating_a_user_ends_the_chains_for_good(stage: Stage) {
    let again = stage.clone();
    assert_user_change_ends_chains(stage, UserChange::Deactivate, RevocationReason::UserDeactivated).await;
    let alice = build::user_id(build::ALICE);
    let changed = again
        .user_directory
        .change(alice, UserChange::Activate, after(6), note("activate"))
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
    let session = again.session(build::session_id("alice flutter")).await;
    assert_eq!(session.user_status, UserStatus::Active);
    assert_ne!(session.state, SessionState::Live);
}

/// A new password ends the user's chains.
pub async fn a_new_password_ends_the_chains(stage: Stage) {
    let change = UserChange::SetPassword(FakeHasher::hash_of("another"));
    assert_user_change_ends_chains(stage, change, RevocationReason::PasswordChanged).await;
}

/// A deleted user takes sessions and tokens along; those of others and the audit trail stay.
pub async fn deleting_a_user_deletes_the_chains_and_not_the_trail(stage: Stage) {
    let ids = four_sessions(&stage).await;
    stage
        .rotate(ids[0], "alice flutter/0", "alice flutter/1", 1)
        .await;
    stage.rotate(ids[2], "bob flutter/0", "bob flutter/1", 1).await;
    let rows = stage.audit_rows();
    let alice = build::user_id(build::ALICE);
    let changed = stage
        .user_directory
        .change(alice, UserChange::Delete, after(2), note("delete"))
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
    assert_eq!(live(&stage, ids).await, [false, false, true, true]);
    let tokens = ids.map(|id| stage.tokens(id).len());
    assert_eq!(tokens, [0, 0, 2, 1]);
    assert_eq!(stage.audit_rows(), rows + 1);
}

/// Disabling a client ends the client's chains, and no others.
pub async fn disabling_a_client_ends_its_chains(stage: Stage) {
    let ids = four_sessions(&stage).await;
    let changed = stage
        .client_directory
        .change(
            &build::client_id(OTHER),
            ClientChange::Disable,
            after(5),
            note("disable"),
        )
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
    assert_eq!(live(&stage, ids).await, [true, false, true, false]);
    let revoked = SessionState::Revoked {
        at: after(5),
        reason: RevocationReason::ClientDisabled,
    };
    assert_eq!(stage.session(ids[1]).await.state, revoked);
}

/// A deleted client takes sessions and tokens along; the audit trail stays.
pub async fn deleting_a_client_deletes_its_chains_and_not_the_trail(stage: Stage) {
    let ids = four_sessions(&stage).await;
    stage.rotate(ids[1], "alice other/0", "alice other/1", 1).await;
    let rows = stage.audit_rows();
    let changed = stage
        .client_directory
        .change(
            &build::client_id(OTHER),
            ClientChange::Delete,
            after(5),
            note("delete"),
        )
        .await;
    assert_eq!(changed.expect("the store is there"), Changed::Changed);
    assert_eq!(live(&stage, ids).await, [true, false, true, false]);
    assert_eq!(ids.map(|id| stage.tokens(id).len()), [1, 0, 1, 0]);
    assert_eq!(stage.audit_rows(), rows + 1);
}

/// How many races to run: as many as the list of threats promises where that is asked for.
fn rounds() -> u32 {
    let is_full = std::env::var("AUTH_E2E_SCALE").is_ok_and(|scale| scale == "full");
    if is_full { 1_000 } else { 100 }
}

/// A rotation and a revocation at once: one order or the other, and never a chain that lives on.
#[expect(
    clippy::print_stdout,
    reason = "`make test-security` adds up what tests say they tried"
)]
pub async fn no_chain_survives_a_revocation_that_races_a_rotation(stage: Stage) {
    let (user, client) = stage.populate().await;
    for round in 0..rounds() {
        let name = format!("round {round}");
        let session = build::new_session(&name, &user, &client);
        let id = session.id;
        assert_eq!(stage.open(session).await, Opened::Opened);
        let (from, to) = (format!("{name}/0"), format!("{name}/1"));
        let rotating = {
            let stage = stage.clone();
            tokio::spawn(async move {
                let step = rotation(id, &from, &to, 1);
                stage.sessions.rotate(step, note(&format!("rotate {to}"))).await
            })
        };
        let ended = stage.revoke(RevocationTarget::Session(id), 1 + round).await;
        rotating
            .await
            .expect("no rotation panics")
            .expect("the store is there");
        assert_eq!(ended, 1);
        let session = stage.session(id).await;
        assert_ne!(session.state, SessionState::Live, "round {round}");
        let next = stage.sessions.rotate(
            rotation(id, &format!("{name}/1"), &format!("{name}/2"), 2),
            note(&format!("again {name}")),
        );
        assert_eq!(next.await.expect("the store is there"), Rotated::Superseded);
    }
    println!("attempts={}", rounds());
}
