//! What limits tell on the wire: the room of the network, in structured fields, and nothing of an account.

use auth_domain::throttle::Limits;
use auth_domain::time::Seconds;
use auth_testkit::{TestBed, build};

use crate::rig::{PUBLIC, Reply, Rig, form_request, login, refresh};

fn told(reply: &Reply) -> (Option<&str>, Option<&str>) {
    (reply.header("ratelimit-policy"), reply.header("ratelimit"))
}

#[actix_web::test]
async fn an_answer_says_what_the_limit_of_its_address_has_left() {
    let rig = Rig::default();
    let good = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let first = rig.post(&good).await;
    let policy = Some(r#""password";q=5;w=60"#);
    assert_eq!(told(&first), (policy, Some(r#""password";r=4;t=60"#)));
    rig.bed.clock.advance(Seconds::new(23));
    let wrong = rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    assert_eq!(told(&wrong), (policy, Some(r#""password";r=3;t=37"#)));
    for _ in 0..3 {
        rig.post(&good).await;
    }
    let limited = rig.post(&good).await;
    assert_eq!(limited.status, 429);
    assert_eq!(limited.header("retry-after"), Some("37"));
    assert_eq!(told(&limited), (policy, Some(r#""password";r=0;t=37"#)));
}

#[actix_web::test]
async fn refreshes_and_revocations_have_one_limit_of_their_own() {
    let mut bed = TestBed::default();
    bed.policy.limits = Some(Limits {
        refreshes_per_network: 3,
        ..Limits::default()
    });
    let rig = Rig::new(bed);
    let token = rig.sign_in(PUBLIC).await;
    let refreshed = rig.post(&refresh(PUBLIC, &token)).await;
    let policy = Some(r#""refresh_token";q=3;w=60"#);
    assert_eq!(told(&refreshed), (policy, Some(r#""refresh_token";r=2;t=60"#)));
    let form = format!("client_id={PUBLIC}&token=abc");
    let revoke = || rig.send(form_request(&form).uri("/oauth/revoke"));
    assert_eq!(
        told(&revoke().await),
        (policy, Some(r#""refresh_token";r=1;t=60"#))
    );
    revoke().await;
    let limited = revoke().await;
    assert_eq!(
        (limited.status.as_u16(), limited.member("error").as_str()),
        (429, "rate_limit_exceeded")
    );
    assert_eq!(told(&limited), (policy, Some(r#""refresh_token";r=0;t=60"#)));
}

#[actix_web::test]
async fn nothing_is_told_where_nothing_was_judged() {
    let unlimited = Rig::new(TestBed::without_limits());
    let good = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    assert_eq!(told(&unlimited.post(&good).await), (None, None));
    let rig = Rig::default();
    assert_eq!(told(&rig.post("").await), (None, None), "no request");
    let form = format!(
        "client_id={}&client_secret={}&token=abc",
        build::BACKEND,
        build::BACKEND_SECRET
    );
    let asked = rig.send(form_request(&form).uri("/oauth/introspect")).await;
    assert_eq!(asked.status, 200);
    assert_eq!(told(&asked), (None, None), "introspection is not limited");
}

#[actix_web::test]
async fn an_exempt_network_is_told_nothing_and_held_to_nothing() {
    let rig = Rig::default().set(|settings| {
        settings.trust.exempt = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let good = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    for _ in 0..10 {
        let reply = rig.post(&good).await;
        assert_eq!(reply.status, 200);
        assert_eq!(told(&reply), (None, None));
    }
    assert_eq!(rig.post(&good).await.status, 429, "the account's own limit holds");
}
