//! The metrics that dashboards and alerts read.

use auth_domain::time::Seconds;
use auth_testkit::build;

use crate::rig::{PUBLIC, Rig, login, refresh};

async fn line(rig: &Rig, start: &str) -> Option<String> {
    let text = rig.get("/metrics").await.body;
    let found = text.lines().find(|line| line.starts_with(start));
    found.map(|line| line.rsplit(' ').next().unwrap().to_owned())
}

#[actix_web::test]
async fn requests_are_counted_by_grant_and_status_and_timed_with_a_bucket_at_200_ms() {
    let rig = Rig::default();
    rig.sign_in(PUBLIC).await;
    rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    rig.post("").await;
    for (line_start, count) in [
        (
            r#"auth_token_requests_total{grant_type="password",status="200"}"#,
            "1",
        ),
        (
            r#"auth_token_requests_total{grant_type="password",status="400"}"#,
            "1",
        ),
        (
            r#"auth_token_requests_total{grant_type="unknown",status="400"}"#,
            "1",
        ),
        (
            r#"auth_token_request_duration_seconds_bucket{grant_type="password",le="0.2"}"#,
            "2",
        ),
        (
            r#"auth_token_request_duration_seconds_count{grant_type="password"}"#,
            "2",
        ),
    ] {
        assert_eq!(
            line(&rig, line_start).await.as_deref(),
            Some(count),
            "{line_start}"
        );
    }
}

#[actix_web::test]
async fn failed_logins_are_counted_by_reason() {
    let rig = Rig::default();
    rig.post(&login(PUBLIC, "nobody", "x")).await;
    for _ in 0..4 {
        rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    }
    rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    rig.bed.clock.advance(Seconds::new(60));
    rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    for (line_start, count) in [
        // Whom there is no account for is not told apart: whoever reads the metrics could ask who exists.
        (
            r#"auth_failed_login_attempts_total{reason="invalid_credentials"}"#,
            "6",
        ),
        (r#"auth_failed_login_attempts_total{reason="locked"}"#, "1"),
        (r#"auth_rate_limited_total{grant_type="password"}"#, "1"),
        ("auth_locked_total", "1"),
    ] {
        assert_eq!(
            line(&rig, line_start).await.as_deref(),
            Some(count),
            "{line_start}"
        );
    }
}

#[actix_web::test]
async fn rotations_are_counted_by_what_became_of_them_and_reuse_by_itself() {
    let rig = Rig::default();
    assert_eq!(
        line(&rig, "auth_refresh_token_reuse_total").await.as_deref(),
        Some("0")
    );
    let first = rig.sign_in(PUBLIC).await;
    for _ in 0..3 {
        rig.post(&refresh(PUBLIC, &first)).await;
    }
    for (line_start, count) in [
        (r#"auth_refresh_token_rotations_total{result="rotated"}"#, "1"),
        (r#"auth_refresh_token_rotations_total{result="reuse"}"#, "1"),
        (r#"auth_refresh_token_rotations_total{result="refused"}"#, "1"),
        ("auth_refresh_token_reuse_total", "1"),
    ] {
        assert_eq!(
            line(&rig, line_start).await.as_deref(),
            Some(count),
            "{line_start}"
        );
    }
}

#[actix_web::test]
async fn uses_of_the_wire_profiles_are_counted() {
    let rig = Rig::default();
    rig.sign_in(build::FLUTTER).await;
    rig.sign_in(build::FLUTTER).await;
    rig.sign_in(PUBLIC).await;
    for (line_start, count) in [
        (r#"auth_wire_profile_uses_total{profile="codelab-flutter"}"#, "2"),
        (r#"auth_wire_profile_uses_total{profile="rfc"}"#, "1"),
    ] {
        assert_eq!(
            line(&rig, line_start).await.as_deref(),
            Some(count),
            "{line_start}"
        );
    }
}

#[actix_web::test]
async fn labels_are_bounded_whatever_strangers_send() {
    let rig = Rig::default();
    rig.post("").await;
    let before = rig.get("/metrics").await.body.lines().count();
    for n in 0..50 {
        rig.post(&format!("grant_type=grant{n}&client_id=client{n}"))
            .await;
        rig.post(&login(&format!("client{n}"), &format!("user{n}"), "x"))
            .await;
    }
    let after = rig.get("/metrics").await.body.lines().count();
    // At most the series of one more grant: two statuses and a histogram.
    assert!(after - before < 25, "{before} lines, then {after}");
}
