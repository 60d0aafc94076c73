//! `POST /oauth/revoke` on the wire.

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::test::TestRequest;
use auth_domain::id::SessionId;
use auth_domain::ports::{Genuine, TokenSigner};
use auth_domain::secret::Token;
use auth_domain::session::SessionState;
use auth_testkit::{TestBed, build};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::rig::{PUBLIC, Reply, Rig, form, form_request, login, refresh};

const PATH: &str = "/oauth/revoke";

pub(crate) fn about(client_id: &str, token: &str) -> String {
    form(&[("client_id", client_id), ("token", token)])
}

async fn revoke(rig: &Rig, form: &str) -> Reply {
    rig.send(form_request(form).uri(PATH)).await
}

fn session_of(rig: &Rig, token: &str) -> SessionId {
    match rig
        .bed
        .signer
        .verify_refresh(&Token::new(token.to_owned()))
        .unwrap()
    {
        Genuine::Yes(claims) => claims.sid.unwrap(),
        Genuine::No(reason) => panic!("{reason}"),
    }
}

fn is_live(rig: &Rig, session: SessionId) -> bool {
    rig.bed.store.session(session).unwrap().state == SessionState::Live
}

#[actix_web::test]
async fn a_refresh_token_is_revoked_with_its_chain() {
    let rig = Rig::default();
    let first = rig.sign_in(PUBLIC).await;
    let second = rig.post(&refresh(PUBLIC, &first)).await.member("refresh_token");
    let reply = revoke(&rig, &about(PUBLIC, &first)).await;
    insta::assert_snapshot!(reply.text());
    assert_eq!(rig.post(&refresh(PUBLIC, &second)).await.status, 400);
}

#[actix_web::test]
async fn whatever_the_token_is_the_answer_is_the_same() {
    let rig = Rig::new(TestBed::without_limits());
    let login = rig
        .post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
        .await;
    let (access, own) = (login.member("access_token"), login.member("refresh_token"));
    let first = revoke(&rig, &about(PUBLIC, &own)).await;
    assert_eq!(first.body, r#"{"revoked":true}"#);
    for token in [&access, &own, "abc", "a.b.c", "\u{1b}[2J", "' OR 1=1 --"] {
        assert_eq!(revoke(&rig, &about(PUBLIC, token)).await, first, "{token}");
    }
}

#[actix_web::test]
async fn a_hint_is_a_hint() {
    for hint in ["refresh_token", "access_token", "no such thing", ""] {
        let rig = Rig::default();
        let token = rig.sign_in(PUBLIC).await;
        let hinted = form(&[
            ("client_id", PUBLIC),
            ("token", &token),
            ("token_type_hint", hint),
        ]);
        assert_eq!(revoke(&rig, &hinted).await.status, 200, "{hint}");
        assert!(!is_live(&rig, session_of(&rig, &token)), "{hint}");
    }
}

#[actix_web::test]
async fn a_token_of_another_client_is_refused_by_the_one_table_and_stays_good() {
    let rig = Rig::new(TestBed::without_limits());
    let token = rig.sign_in(build::FLUTTER).await;
    let by_rfc = revoke(&rig, &about(PUBLIC, &token)).await;
    assert_eq!(
        (by_rfc.status.as_u16(), by_rfc.member("error").as_str()),
        (400, "invalid_grant")
    );
    let others = rig.sign_in(PUBLIC).await;
    let by_flutter = revoke(&rig, &about(build::FLUTTER, &others)).await;
    assert_eq!(by_flutter.status, 401);
    assert_eq!(by_flutter.body, by_rfc.body);
    assert!(is_live(&rig, session_of(&rig, &token)));
    assert!(is_live(&rig, session_of(&rig, &others)));
}

#[actix_web::test]
async fn a_confidential_client_proves_who_it_is_by_either_method() {
    let rig = Rig::new(TestBed::without_limits());
    let secret = ("client_secret", build::BACKEND_SECRET);
    let in_form = form(&[("client_id", build::BACKEND), secret, ("token", "abc")]);
    assert_eq!(revoke(&rig, &in_form).await.status, 200);
    let pair = STANDARD.encode(format!("{}:{}", build::BACKEND, build::BACKEND_SECRET));
    let by_basic = form_request("token=abc")
        .uri(PATH)
        .insert_header((AUTHORIZATION, format!("Basic {pair}")));
    assert_eq!(rig.send(by_basic).await.status, 200);
    let without = revoke(&rig, &about(build::BACKEND, "abc")).await;
    assert_eq!(
        (without.status.as_u16(), without.member("error").as_str()),
        (401, "invalid_client")
    );
}

/// Requests that both siblings of the token endpoint refuse alike.
pub(crate) fn faulty(path: &str) -> Vec<(&'static str, TestRequest)> {
    let good = about(PUBLIC, "abc");
    let of = |form: String| form_request(&form).uri(path);
    vec![
        ("no parameters at all", of(String::new())),
        ("token missing", of(form(&[("client_id", PUBLIC)]))),
        ("token empty", of(about(PUBLIC, ""))),
        ("client_id missing", of(form(&[("token", "abc")]))),
        ("token repeated", of(format!("{good}&token=abc"))),
        (
            "hint repeated",
            of(format!("{good}&token_type_hint=&token_type_hint=")),
        ),
        ("token too long", of(about(PUBLIC, &"t".repeat(8_193)))),
        ("NUL in the token", of(about(PUBLIC, "a\0b"))),
        ("invalid UTF-8", of(format!("{good}&token_type_hint=%ff"))),
        (
            "body over 16 KiB",
            of(format!("{good}&x={}", "x".repeat(16 * 1_024))),
        ),
        ("too many parameters", of(format!("{good}{}", "&a=b".repeat(100)))),
        (
            "content type JSON",
            of(good.clone()).insert_header((CONTENT_TYPE, "application/json")),
        ),
        ("client unknown", of(about("nobody", "abc"))),
        (
            "secret shown by a public client",
            of(format!("{good}&client_secret=x")),
        ),
        (
            "Basic malformed",
            of(good).insert_header((AUTHORIZATION, "Basic !!!")),
        ),
        (
            "token in the query",
            of(String::new()).uri(&format!("{path}?client_id={PUBLIC}&token=abc")),
        ),
    ]
}

pub(crate) async fn table(path: &str) -> String {
    let mut rows = Vec::new();
    for (name, request) in faulty(path) {
        let rig = Rig::new(TestBed::without_limits());
        rows.push(format!("== {name}\n{}", rig.send(request).await.text()));
    }
    rows.join("\n\n")
}

#[actix_web::test]
async fn what_is_no_revocation_is_refused_like_a_token_request() {
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
async fn with_the_nth_call_to_the_store_failing_nothing_is_claimed() {
    for n in 1..=6 {
        for name in ["access_token", "refresh_token"] {
            let rig = Rig::default();
            let signed_in = rig
                .post(&login(PUBLIC, build::ALICE, build::ALICE_PASSWORD))
                .await;
            let token = signed_in.member(name);
            rig.bed.store.outage.fail_nth(n);
            let reply = revoke(&rig, &about(PUBLIC, &token)).await;
            let trail = rig.bed.store.audit_trail();
            let is_done = trail.iter().any(|row| row.event.event_type() == "token_revoke");
            let expected = if is_done { 200 } else { 503 };
            assert_eq!(reply.status, expected, "call {n}: {reply:?}");
            assert_eq!(is_done, n > 2, "client, revocation");
        }
    }
}

#[actix_web::test]
async fn a_revocation_is_counted_by_what_became_of_it_and_leaves_a_line() {
    let rig = Rig::new(TestBed::without_limits());
    let token = rig.sign_in(PUBLIC).await;
    for _ in 0..2 {
        revoke(&rig, &about(PUBLIC, &token)).await;
    }
    revoke(&rig, &about(PUBLIC, "abc")).await;
    revoke(&rig, "").await;
    let metrics = rig.get("/metrics").await.body;
    for line in [
        r#"auth_revocations_total{result="chain"} 1"#,
        r#"auth_revocations_total{result="ended_before"} 1"#,
        r#"auth_revocations_total{result="unknown"} 1"#,
        r#"auth_revocations_total{result="refused"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}
