//! Outages: whichever call of a port fails, nothing is claimed that was not done, and nothing is a 500.

use auth_testkit::build;

use crate::rig::{PUBLIC, Reply, Rig, login, refresh};

/// More calls than any grant makes.
const CALLS: u64 = 12;

#[actix_web::test]
async fn a_sign_in_with_the_nth_call_to_the_store_failing_is_503_or_has_stored_its_session() {
    let mut failures = 0;
    for n in 1..=CALLS {
        let rig = Rig::default();
        rig.bed.store.outage.fail_nth(n);
        let reply = rig
            .post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
            .await;
        failures += check(&rig, &reply, n, "login_success");
    }
    assert_eq!(failures, 3, "client, user, session");
}

#[actix_web::test]
async fn a_refresh_with_the_nth_call_to_the_store_failing_is_503_or_has_rotated() {
    let mut failures = 0;
    for n in 1..=CALLS {
        let rig = Rig::default();
        let token = rig.sign_in(PUBLIC).await;
        rig.bed.store.outage.fail_nth(n);
        let reply = rig.post(&refresh(PUBLIC, &token)).await;
        failures += check(&rig, &reply, n, "token_refresh");
        if reply.status != 200 {
            let again = rig.post(&refresh(PUBLIC, &token)).await;
            assert_eq!(
                again.status, 200,
                "call {n}: the token still works after the outage"
            );
        }
    }
    assert_eq!(failures, 3, "client, session, rotation");
}

#[actix_web::test]
async fn a_reuse_with_the_nth_call_to_the_store_failing_is_503_or_has_ended_the_chain() {
    for n in 1..=CALLS {
        let rig = Rig::default();
        let first = rig.sign_in(PUBLIC).await;
        let second = rig.post(&refresh(PUBLIC, &first)).await.member("refresh_token");
        rig.bed.store.outage.fail_nth(n);
        let replay = rig.post(&refresh(PUBLIC, &first)).await;
        rig.bed.store.outage.end();
        let owner = rig.post(&refresh(PUBLIC, &second)).await;
        match replay.status.as_u16() {
            400 => assert_eq!(owner.status, 400, "call {n}: the chain is dead"),
            503 => assert_eq!(owner.status, 200, "call {n}: nothing was changed"),
            other => panic!("call {n}: {other}"),
        }
    }
}

#[actix_web::test]
async fn a_failed_login_whose_audit_row_can_not_be_written_is_503() {
    let rig = Rig::default();
    rig.bed.store.outage.fail_nth(3);
    let reply = rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    assert_eq!(reply.status, 503);
}

#[actix_web::test]
async fn a_signer_or_a_hasher_that_is_away_changes_nothing() {
    for n in 1..=2 {
        let rig = Rig::default();
        let token = rig.sign_in(PUBLIC).await;
        rig.bed.signer.outage.fail_nth(n);
        assert_eq!(rig.post(&refresh(PUBLIC, &token)).await.status, 503);
        assert_eq!(rig.post(&refresh(PUBLIC, &token)).await.status, 200);
    }
    let rig = Rig::default();
    rig.bed.hasher.outage.begin();
    let reply = rig
        .post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
        .await;
    assert_eq!(reply.status, 503);
    assert!(rig.bed.store.audit_trail().is_empty());
}

/// One if it failed. What is answered by 200 has left its row in the audit trail, and what is not has not.
fn check(rig: &Rig, reply: &Reply, n: u64, event: &str) -> u32 {
    let trail = rig.bed.store.audit_trail();
    let was_done = trail.iter().any(|row| row.event.event_type() == event);
    assert_eq!(was_done, reply.status == 200, "call {n}: {reply:?}");
    if reply.status == 200 {
        return 0;
    }
    assert_eq!(reply.status, 503, "call {n}");
    assert_eq!(reply.member("error"), "temporarily_unavailable");
    assert_eq!(reply.header("retry-after"), Some("5"));
    1
}
