//! What must not be told apart: an answer never says whether an account exists, is switched off, or is locked.

use auth_domain::time::Seconds;
use auth_domain::user::{User, UserStatus};
use auth_testkit::build;

use crate::rig::{PUBLIC, Reply, Rig, login};

#[actix_web::test]
async fn unknown_user_wrong_password_and_inactive_user_are_the_same_answer_byte_for_byte() {
    for client in [PUBLIC, build::FLUTTER] {
        let wrong = Rig::default().post(&login(client, build::ALICE, "wrong")).await;
        let unknown = Rig::default().post(&login(client, "nobody", "wrong")).await;
        let inactive = with_inactive_user()
            .post(&login(client, build::ALICE, build::ALICE_PASSWORD))
            .await;
        assert_eq!(wrong, unknown);
        assert_eq!(wrong, inactive);
        assert_eq!(wrong.member("error"), "invalid_grant");
    }
}

#[actix_web::test]
async fn a_locked_account_is_told_in_the_words_of_a_wrong_password() {
    let rig = Rig::default();
    let wrong = fail_until_locked(&rig, build::ALICE).await;
    let locked = rig
        .post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
        .await;
    assert_eq!(locked.status, 429);
    assert_eq!(locked.body, wrong.body);
}

#[actix_web::test]
async fn a_name_that_is_nobodys_is_locked_like_an_account() {
    let (known, unknown) = (Rig::default(), Rig::default());
    fail_until_locked(&known, build::ALICE).await;
    fail_until_locked(&unknown, "nobody").await;
    assert_eq!(
        known.post(&login(PUBLIC, build::ALICE, "wrong")).await,
        unknown.post(&login(PUBLIC, "nobody", "wrong")).await
    );
}

/// Five failures, then a minute's rest so that it is the lock that speaks and not the limit of the address.
async fn fail_until_locked(rig: &Rig, username: &str) -> Reply {
    let mut last = rig.post(&login(PUBLIC, username, "wrong")).await;
    for _ in 1..5 {
        last = rig.post(&login(PUBLIC, username, "wrong")).await;
    }
    rig.bed.clock.advance(Seconds::new(60));
    last
}

fn with_inactive_user() -> Rig {
    let rig = Rig::default();
    rig.bed.store.put_user(User {
        status: UserStatus::Inactive,
        ..build::user(build::ALICE)
    });
    rig
}
