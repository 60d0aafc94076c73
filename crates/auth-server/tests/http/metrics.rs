//! The metrics that dashboards and alerts read.

use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::test::TestRequest;
use auth_domain::time::Seconds;
use auth_server::http::PlainHttp;
use auth_server::telemetry::{Kind, METRICS, Telemetry, Values};
use auth_testkit::build;
use auth_testkit::metrics::{Exported, Listed, Reference};

use crate::rig::{PUBLIC, Rig, form, form_request, login, refresh};

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

/// What `docs/METRICS.md` lists.
fn reference() -> Reference {
    Reference::read(include_str!("../../../../docs/METRICS.md"))
}

#[test]
fn the_document_lists_every_metric_with_its_type_labels_values_and_buckets() {
    let values = |values: &Values| values.known().iter().map(|value| (*value).to_owned()).collect();
    let listed = METRICS.iter().map(|metric| {
        let labels = metric.labels.iter();
        let listed = Listed {
            kind: metric.kind.as_str().to_owned(),
            labels: labels
                .map(|(label, known)| ((*label).to_owned(), values(known)))
                .collect(),
        };
        (metric.name.to_owned(), listed)
    });
    let bounds: Vec<_> = Telemetry::buckets().iter().map(ToString::to_string).collect();
    let histograms = METRICS.iter().filter(|metric| metric.kind == Kind::Histogram);
    let own = Reference {
        metrics: listed.collect(),
        buckets: histograms
            .map(|metric| (metric.name.to_owned(), bounds.clone()))
            .collect(),
    };
    assert_eq!(own, reference());
}

/// Asks for all there is, by every way that a stranger has.
async fn ask_for_everything(rig: &Rig, made_up: &str) {
    let paths = [
        "/oauth/token",
        "/oauth/revoke",
        "/oauth/introspect",
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/health",
        "/ready",
        "/live",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/",
        made_up,
        &format!("/auth{made_up}"),
        &format!("/docs{made_up}"),
    ];
    let own = Method::from_bytes(made_up.trim_start_matches('/').as_bytes()).unwrap();
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::OPTIONS,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::TRACE,
        own,
    ];
    for path in paths {
        for method in &methods {
            let request = TestRequest::with_uri(path).method(method.clone());
            rig.send(request.insert_header(("User-Agent", made_up))).await;
        }
    }
    let name = made_up.trim_start_matches('/');
    for form in [
        format!("grant_type={name}&client_id={name}"),
        login(name, name, name),
        login(PUBLIC, name, name),
        refresh(name, name),
        refresh(PUBLIC, name),
        form(&[("token", name), ("client_id", PUBLIC), ("token_type_hint", name)]),
    ] {
        for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
            let request = form_request(&form).uri(path);
            rig.send(request.insert_header(("User-Agent", made_up))).await;
        }
        rig.bed.clock.advance(Seconds::new(86_400));
    }
}

#[actix_web::test]
async fn labels_are_bounded_whatever_strangers_send() {
    let rig = Rig::default().at("/auth");
    ask_for_everything(&rig, "/first").await;
    let before = exported(&rig).await;
    for n in 0..20 {
        ask_for_everything(&rig, &format!("/made-up-{n}")).await;
    }
    let after = exported(&rig).await;
    assert_eq!(before.len(), after.len());
    assert_eq!(after.strays(&reference()), [""; 0]);
    assert!(after.len() < 1_000, "{}", after.len());
}

async fn exported(rig: &Rig) -> Exported {
    Exported::read(&rig.get("/metrics").await.body)
}

#[actix_web::test]
async fn requests_are_counted_by_route_method_and_status_and_timed_by_route() {
    let rig = Rig::default().at("/auth");
    rig.get("/health").await;
    rig.get("/auth/health").await;
    rig.get("/nowhere").await;
    rig.get("/oauth/token").await;
    rig.sign_in(PUBLIC).await;
    let exported = exported(&rig).await;
    for (series, value) in [
        (
            r#"auth_http_requests_total{route="/health",method="GET",status="200"}"#,
            Some(2.0),
        ),
        (
            r#"auth_http_requests_total{route="other",method="GET",status="404"}"#,
            Some(1.0),
        ),
        (
            r#"auth_http_requests_total{route="/oauth/token",method="GET",status="405"}"#,
            Some(1.0),
        ),
        (
            r#"auth_http_requests_total{route="/oauth/token",method="POST",status="200"}"#,
            Some(1.0),
        ),
        (
            r#"auth_http_request_duration_seconds_count{route="/health"}"#,
            Some(2.0),
        ),
        // It is timed by itself.
        (
            r#"auth_http_request_duration_seconds_count{route="/oauth/token"}"#,
            None,
        ),
        (
            r#"auth_token_requests_total{grant_type="unknown",status="other"}"#,
            None,
        ),
    ] {
        assert_eq!(exported.value(series), value, "{series}");
    }
}

#[actix_web::test]
async fn a_token_request_that_no_use_case_saw_is_counted_by_its_status() {
    let rig = Rig::default().set(|settings| settings.plain_http = PlainHttp::Refused);
    rig.post(&login(PUBLIC, build::ALICE, "x")).await;
    let refused = exported(&rig).await;
    assert_eq!(
        refused.value(r#"auth_token_requests_total{grant_type="unknown",status="403"}"#),
        Some(1.0)
    );
    let rig = Rig::default();
    let long = "x".repeat(40_000);
    rig.send(form_request("").insert_header(("X-Long", long))).await;
    rig.send(form_request("").insert_header((CONTENT_TYPE, "text/plain")))
        .await;
    let exported = exported(&rig).await;
    for series in [
        r#"auth_token_requests_total{grant_type="unknown",status="431"}"#,
        r#"auth_token_requests_total{grant_type="unknown",status="415"}"#,
    ] {
        assert_eq!(exported.value(series), Some(1.0), "{series}");
    }
}
