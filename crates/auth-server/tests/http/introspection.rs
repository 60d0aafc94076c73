//! `POST /oauth/introspect` on the wire.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use auth_domain::client::{Client, ClientPolicy};
use auth_domain::time::Seconds;
use auth_testkit::{TestBed, build};

use crate::revocation::{about, table};
use crate::rig::{PUBLIC, Reply, Rig, form, form_request, login, refresh};

const PATH: &str = "/oauth/introspect";
const INACTIVE: &str = r#"{"active":false}"#;

async fn ask(rig: &Rig, token: &str) -> Reply {
    let form = form(&[
        ("client_id", build::BACKEND),
        ("client_secret", build::BACKEND_SECRET),
        ("token", token),
    ]);
    rig.send(form_request(&form).uri(PATH)).await
}

async fn tokens(rig: &Rig, form: &str) -> (String, String) {
    let reply = rig.post(form).await;
    (reply.member("access_token"), reply.member("refresh_token"))
}

fn backend_login() -> String {
    let form = login(build::BACKEND, build::ALICE, build::ALICE_PASSWORD);
    format!("{form}&client_secret={}", build::BACKEND_SECRET)
}

/// The answer with its identifiers, which differ each time, made equal.
fn told(reply: &Reply) -> String {
    let mut text = reply.text();
    for name in ["jti", "sid"] {
        if let Some(value) = reply.json()[name].as_str() {
            text = text.replace(value, name);
        }
    }
    text
}

#[actix_web::test]
async fn a_good_access_token_is_told_in_full() {
    let rig = Rig::default();
    let (access, _) = tokens(&rig, &login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)).await;
    insta::assert_snapshot!(told(&ask(&rig, &access).await));
}

#[actix_web::test]
async fn an_access_token_that_names_its_session_is_told_with_it() {
    let rig = Rig::default();
    rig.bed.store.put_client(Client {
        policy: ClientPolicy {
            session_id_in_access_token: true,
            ..ClientPolicy::default()
        },
        ..build::public_client(PUBLIC)
    });
    let (access, refresh) = tokens(&rig, &login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)).await;
    assert!(ask(&rig, &access).await.json()["sid"].is_string());
    let ended = form_request(&about(PUBLIC, &refresh)).uri("/oauth/revoke");
    assert_eq!(rig.send(ended).await.status, 200);
    assert_eq!(ask(&rig, &access).await.body, INACTIVE);
}

#[actix_web::test]
async fn a_good_refresh_token_is_told_to_its_own_client_without_a_token_type() {
    let rig = Rig::default();
    let (_, refresh) = tokens(&rig, &backend_login()).await;
    insta::assert_snapshot!(told(&ask(&rig, &refresh).await));
}

#[actix_web::test]
async fn of_a_token_that_is_no_good_that_alone_is_told() {
    let rig = Rig::new(TestBed::without_limits());
    let (access, first) = tokens(&rig, &login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)).await;
    let forged = format!("{}x", &access[..access.len() - 1]);
    for token in [&first, &forged, "abc", "a.b.c", "\u{1b}[2J"] {
        assert_eq!(ask(&rig, token).await.body, INACTIVE, "{token}");
    }
    let denied = form_request(&about(PUBLIC, &access)).uri("/oauth/revoke");
    rig.send(denied).await;
    let reply = ask(&rig, &access).await;
    assert_eq!(reply.body, INACTIVE);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("pragma"), Some("no-cache"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[actix_web::test]
async fn a_token_is_inactive_once_nobody_accepts_it() {
    let rig = Rig::default();
    let (access, _) = tokens(&rig, &login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)).await;
    rig.bed.clock.advance(Seconds::new(959));
    assert_eq!(ask(&rig, &access).await.json()["active"], true);
    rig.bed.clock.advance(Seconds::new(1));
    assert_eq!(ask(&rig, &access).await.body, INACTIVE);
}

#[actix_web::test]
async fn asking_about_a_refresh_token_does_not_consume_it() {
    let rig = Rig::default();
    let (_, first) = tokens(&rig, &backend_login()).await;
    for _ in 0..3 {
        assert_eq!(ask(&rig, &first).await.json()["active"], true);
    }
    let secret = format!("client_secret={}", build::BACKEND_SECRET);
    let form = format!("{}&{secret}", refresh(build::BACKEND, &first));
    let second = rig.post(&form).await.member("refresh_token");
    assert_eq!(ask(&rig, &first).await.body, INACTIVE, "consumed");
    assert_eq!(ask(&rig, &second).await.json()["active"], true);
}

#[actix_web::test]
async fn a_public_client_may_not_ask() {
    let rig = Rig::default();
    let (access, _) = tokens(&rig, &login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)).await;
    let reply = rig.send(form_request(&about(PUBLIC, &access)).uri(PATH)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.member("error").as_str()),
        (401, "invalid_client")
    );
    assert!(reply.header("www-authenticate").is_some());
}

#[actix_web::test]
async fn what_is_no_introspection_is_refused_like_a_token_request() {
    insta::assert_snapshot!(table(PATH).await);
}

#[actix_web::test]
async fn only_a_post_is_known() {
    let rig = Rig::default();
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
        let reply = rig.send(TestRequest::default().method(method).uri(PATH)).await;
        assert_eq!(reply.status, 405);
        assert_eq!(reply.header("allow"), Some("POST"));
    }
}

#[actix_web::test]
async fn with_the_nth_call_to_the_store_failing_no_good_token_is_said_to_be_inactive() {
    for n in 1..=6 {
        let rig = Rig::default();
        let (access, refresh) = tokens(&rig, &backend_login()).await;
        for (token, calls) in [(access, 2), (refresh, 3)] {
            rig.bed.store.outage.fail_nth(n);
            let reply = ask(&rig, &token).await;
            rig.bed.store.outage.end();
            if n <= calls {
                assert_eq!(reply.status, 503, "call {n}: {reply:?}");
            } else {
                assert_eq!(reply.json()["active"], true, "call {n}: {reply:?}");
            }
        }
    }
}

#[actix_web::test]
async fn an_introspection_is_counted_by_what_was_told() {
    let rig = Rig::default();
    let (access, _) = tokens(&rig, &login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)).await;
    ask(&rig, &access).await;
    ask(&rig, "abc").await;
    ask(&rig, "def").await;
    rig.send(form_request("").uri(PATH)).await;
    let metrics = rig.get("/metrics").await.body;
    for line in [
        r#"auth_introspections_total{result="active"} 1"#,
        r#"auth_introspections_total{result="inactive"} 2"#,
        r#"auth_introspections_total{result="refused"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}
