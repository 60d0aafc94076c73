//! Good token requests: what comes back, and in how many ways one may ask.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use async_trait::async_trait;
use auth_domain::client::Client;
use auth_domain::ports::{Hashed, PasswordHasher, Unavailable, Verified};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::throttle::{AccountKey, CounterKey};
use auth_testkit::fake::FakeHasher;
use auth_testkit::{TestBed, build};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::rig::{PUBLIC, Rig, encode, form_request, login, refresh};

#[actix_web::test]
async fn a_password_grant_answers_with_exactly_the_five_members() {
    let rig = Rig::default();
    let reply = rig
        .post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
        .await;
    assert_eq!(reply.status, 200);
    let shape = five_members(&reply.json());
    let expected = serde_json::json!({
        "access_token": "token",
        "refresh_token": "token",
        "token_type": "bearer",
        "expires_in": 900,
        "scope": "api:read api:write"
    });
    assert_eq!(shape, expected);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("pragma"), Some("no-cache"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

/// The body with its tokens, which differ each time, made equal.
fn five_members(body: &Value) -> Value {
    let mut body = body.clone();
    for name in ["access_token", "refresh_token"] {
        assert!(body[name].as_str().unwrap().split('.').count() == 3, "{body}");
        body[name] = Value::from("token");
    }
    body
}

#[actix_web::test]
async fn a_refresh_gives_new_tokens_and_the_same_members() {
    let rig = Rig::default();
    let first = rig.sign_in(PUBLIC).await;
    let reply = rig.post(&refresh(PUBLIC, &first)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(five_members(&reply.json()).as_object().unwrap().len(), 5);
    assert_ne!(reply.member("refresh_token"), first);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn a_refresh_may_narrow_the_scope() {
    let rig = Rig::default();
    let first = rig.sign_in(PUBLIC).await;
    let reply = rig
        .post(&format!("{}&scope=api%3Aread", refresh(PUBLIC, &first)))
        .await;
    assert_eq!(reply.member("scope"), "api:read");
}

#[actix_web::test]
async fn unknown_parameters_are_ignored_and_empty_ones_count_as_absent() {
    let rig = Rig::default();
    let form = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let reply = rig
        .post(&format!("{form}&scope=&client_secret=&colour=blue&colour=red&&"))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[actix_web::test]
async fn the_content_type_may_have_parameters_and_any_case() {
    for content_type in [
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded;charset=UTF-8;charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded",
    ] {
        let form = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
        let request = form_request(&form).insert_header((CONTENT_TYPE, content_type));
        assert_eq!(Rig::default().send(request).await.status, 200, "{content_type}");
    }
}

#[actix_web::test]
async fn the_user_may_be_named_by_the_address_in_any_case() {
    let reply = Rig::default()
        .post(&login(PUBLIC, "Alice@Example.COM", build::ALICE_PASSWORD))
        .await;
    assert_eq!(reply.status, 200);
}

#[actix_web::test]
async fn a_confidential_client_shows_its_secret_in_the_form_or_by_basic() {
    let form = login(build::BACKEND, build::ALICE, build::ALICE_PASSWORD);
    let in_form = format!("{form}&client_secret={}", build::BACKEND_SECRET);
    assert_eq!(Rig::default().post(&in_form).await.status, 200);
    let pair = STANDARD.encode(format!("{}:{}", build::BACKEND, build::BACKEND_SECRET));
    for scheme in ["Basic", "basic", "BASIC"] {
        let by_basic = form_request(&form).insert_header((AUTHORIZATION, format!("{scheme} {pair}")));
        assert_eq!(Rig::default().send(by_basic).await.status, 200, "{scheme}");
    }
}

#[actix_web::test]
async fn basic_credentials_are_form_encoded_before_they_are_joined() {
    let (client_id, secret) = ("a client: with %+&= signs", "päss:word +%&=\u{1f511}");
    let rig = Rig::default();
    rig.bed.store.put_client(Client {
        client_id: build::client_id(client_id),
        ..build::confidential_client("special", secret)
    });
    let form = login("x", build::ALICE, build::ALICE_PASSWORD).replace("client_id=x&", "");
    let pair = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
    let request = form_request(&form).insert_header((AUTHORIZATION, format!("Basic {pair}")));
    assert_eq!(rig.send(request).await.status, 200);
}

#[actix_web::test]
async fn parameters_in_the_query_are_not_parameters() {
    let form = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let request = form_request("").uri(&format!("/oauth/token?{form}"));
    let reply = Rig::default().send(request).await;
    assert_eq!(
        (reply.status.as_u16(), reply.member("error").as_str()),
        (400, "invalid_request")
    );
}

#[actix_web::test]
async fn the_audit_trail_knows_where_a_request_came_from() {
    let rig = Rig::default();
    let form = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    rig.send(form_request(&form).insert_header(("User-Agent", "app/1\t0")))
        .await;
    let trail = rig.bed.store.audit_trail();
    let context = &trail.last().unwrap().context;
    assert_eq!(context.ip, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(context.user_agent.as_deref(), Some("app/1?0"));
    assert_eq!(context.correlation_id, "test-1");
}

/// A hasher that takes its time, as the real one does.
struct Slow(FakeHasher);

#[async_trait]
impl PasswordHasher for Slow {
    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable> {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.0.verify(password, stored).await
    }

    async fn hash(&self, password: &Password) -> Result<Hashed, Unavailable> {
        self.0.hash(password).await
    }
}

#[actix_web::test]
async fn a_login_goes_to_its_end_though_the_client_hangs_up() {
    let bed = TestBed::default();
    let rig = Rig::with_hasher(bed.clone(), Arc::new(Slow(bed.hasher.clone())));
    rig.post_and_hang_up(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
        .await;
    rig.post_and_hang_up(&login(PUBLIC, build::ALICE, "wrong")).await;
    let trail = bed.store.audit_trail();
    let events: Vec<_> = trail.iter().map(|row| row.event.event_type()).collect();
    assert_eq!(events, ["login_success", "login_failed"]);
    let failures = CounterKey::FailuresFor(AccountKey::of_user(build::user_id(build::ALICE)));
    assert_eq!(
        bed.throttle.standing(failures).map(|count| count.hits),
        Some(1),
        "the wrong one alone"
    );
    let metrics = rig.get("/metrics").await.body;
    assert!(
        metrics.contains(r#"auth_failed_login_attempts_total{reason="invalid_credentials"} 1"#),
        "{metrics}"
    );
}
