//! What every store of denied access tokens must keep.

use auth_domain::id::{JtiHash, UserId};
use auth_domain::ports::admin::{Changed, ClientChange, UserChange};
use auth_domain::ports::{AccessStanding, Denial};
use auth_domain::time::Timestamp;

use super::stage::{Stage, after, note};
use crate::build;

async fn deny(stage: &Stage, token: &str, until: Timestamp, text: &str) {
    let jti_hash = build::jti_hash(token);
    let denied = stage
        .access_tokens
        .deny(Denial { jti_hash, until }, note(text))
        .await;
    denied.expect("the store is there");
}

async fn standing_of(stage: &Stage, token: &str, user: UserId, client: &str) -> AccessStanding {
    let (jti, client): (JtiHash, _) = (build::jti_hash(token), build::client_id(client));
    let standing = stage.access_tokens.standing(&jti, user, &client).await;
    standing.expect("the store is there")
}

/// Whether alice's token at the public client is in good standing.
async fn is_good(stage: &Stage, token: &str) -> bool {
    let standing = standing_of(stage, token, build::user_id(build::ALICE), build::FLUTTER).await;
    standing != AccessStanding::Bad
}

/// A token of an active user at an active client is good, and the answer names the user.
pub async fn a_token_that_nobody_denied_is_good(stage: Stage) {
    let (user, _) = stage.populate().await;
    let standing = standing_of(&stage, "token", user.id, build::FLUTTER).await;
    let username = user.username;
    assert_eq!(standing, AccessStanding::Good { username });
}

/// A denial is about one token, and is written with its audit row.
pub async fn a_denied_token_is_bad_and_others_are_not(stage: Stage) {
    stage.populate().await;
    let rows = stage.audit_rows();
    deny(&stage, "stolen", after(900), "deny").await;
    assert!(!is_good(&stage, "stolen").await);
    assert!(is_good(&stage, "another").await);
    assert_eq!(stage.audit_rows(), rows + 1);
}

/// Whoever denies a token again finds it denied, and fills no audit trail.
pub async fn a_second_denial_changes_nothing_and_leaves_no_row(stage: Stage) {
    stage.populate().await;
    deny(&stage, "stolen", after(900), "deny").await;
    let rows = stage.audit_rows();
    deny(&stage, "stolen", after(1), "deny again").await;
    assert_eq!(stage.audit_rows(), rows);
    assert_eq!(
        forget(&stage, after(900), 10).await,
        0,
        "it ends when it did before"
    );
    assert!(!is_good(&stage, "stolen").await);
}

/// What was issued to somebody who may no longer sign in is no longer good.
pub async fn a_token_is_bad_without_an_active_user_and_client(stage: Stage) {
    let (user, client) = stage.populate().await;
    let bob = build::user("bob");
    stage.create_user(&bob).await;
    let nobody = build::user_id("nobody");
    let standing = standing_of(&stage, "token", nobody, build::FLUTTER).await;
    assert_eq!(standing, AccessStanding::Bad, "no such user");
    let standing = standing_of(&stage, "token", user.id, "no-such-client").await;
    assert_eq!(standing, AccessStanding::Bad, "no such client");
    for (change, expected) in [
        (UserChange::Deactivate, false),
        (UserChange::Activate, true),
        (UserChange::Delete, false),
    ] {
        let record = note(&format!("user {expected} {change:?}"));
        let changed = stage.user_directory.change(user.id, change, after(1), record);
        assert_eq!(changed.await.expect("the store is there"), Changed::Changed);
        assert_eq!(is_good(&stage, "token").await, expected);
    }
    for (change, expected) in [
        (ClientChange::Disable, AccessStanding::Bad),
        (
            ClientChange::Enable,
            AccessStanding::Good {
                username: bob.username.clone(),
            },
        ),
        (ClientChange::Delete, AccessStanding::Bad),
    ] {
        let record = note(&format!("client {change:?}"));
        let id = &client.client_id;
        let changed = stage.client_directory.change(id, change, after(2), record);
        assert_eq!(changed.await.expect("the store is there"), Changed::Changed);
        assert_eq!(
            standing_of(&stage, "token", bob.id, build::FLUTTER).await,
            expected
        );
    }
}

async fn forget(stage: &Stage, before: Timestamp, at_most: u32) -> u64 {
    let forgotten = stage.access_tokens.forget_denials(before, at_most).await;
    forgotten.expect("the store is there")
}

/// A denial is forgotten once the moment it ends at has passed, no more of them at once than asked for.
pub async fn ended_denials_are_forgotten_in_bounded_batches(stage: Stage) {
    stage.populate().await;
    for token in ["one", "two", "three"] {
        deny(&stage, token, after(100), token).await;
    }
    deny(&stage, "later", after(200), "later").await;
    let rows = stage.audit_rows();
    assert_eq!(
        forget(&stage, after(100), 10).await,
        0,
        "not at the moment itself"
    );
    let past = after(101);
    assert_eq!(forget(&stage, past, 0).await, 0);
    assert_eq!(forget(&stage, past, 2).await, 2);
    assert_eq!(forget(&stage, past, 2).await, 1);
    assert_eq!(forget(&stage, past, 2).await, 0);
    assert!(is_good(&stage, "one").await);
    assert!(!is_good(&stage, "later").await);
    assert_eq!(
        stage.audit_rows(),
        rows,
        "what is forgotten leaves no trace of its own"
    );
}

/// No answer is older than the question: what was denied before it was asked is denied.
pub async fn a_denial_is_seen_by_whoever_asks_after_it(stage: Stage) {
    stage.populate().await;
    for round in 0..20 {
        let token = format!("token {round}");
        deny(&stage, &token, after(900), &token).await;
        assert!(!is_good(&stage, &token).await, "{token}");
    }
}
