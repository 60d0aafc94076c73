//! Pages of other origins: which may read what, and what a browser is told before it asks.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use auth_server::http::cors::AllowedOrigins;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use crate::rig::{PUBLIC, Reply, Rig, form_request, login};

const APP: &str = "https://app.example.com";

fn listing(origins: &[&str]) -> Rig {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Rig::new(TestBed::default()).set(|settings| settings.origins = AllowedOrigins::These(origins))
}

async fn preflight(rig: &Rig, path: &str, origin: &str, method: &str) -> Reply {
    let request = TestRequest::default()
        .method(Method::OPTIONS)
        .uri(path)
        .insert_header(("Origin", origin))
        .insert_header(("Access-Control-Request-Method", method))
        .insert_header(("Access-Control-Request-Headers", "content-type"));
    rig.send(request).await
}

fn cors(reply: &Reply) -> Vec<&str> {
    let cors = |(name, _): &&(String, String)| name.starts_with("access-control-") || name == "vary";
    reply
        .headers
        .iter()
        .filter(cors)
        .map(|(_, value)| value.as_str())
        .collect()
}

#[actix_web::test]
async fn a_page_of_a_listed_origin_may_sign_in() {
    let rig = listing(&[APP, "https://other.example"]);
    let asked = preflight(&rig, "/oauth/token", APP, "POST").await;
    assert_eq!((asked.status.as_u16(), asked.body.as_str()), (204, ""));
    assert_eq!(asked.header("access-control-allow-origin"), Some(APP));
    assert_eq!(asked.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(asked.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(asked.header("vary"), Some("Origin"));
    let form = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let reply = rig.send(form_request(&form).insert_header(("Origin", APP))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some(APP));
    let exposed = reply.header("access-control-expose-headers").unwrap();
    assert_eq!(
        exposed,
        "Retry-After, RateLimit, RateLimit-Policy, X-Correlation-ID"
    );
}

#[rstest]
#[case::another("https://evil.example")]
#[case::null("null")]
#[case::prefix("https://app.example.com.evil.example")]
#[case::suffix("https://notapp.example.com")]
#[case::port("https://app.example.com:8443")]
#[case::scheme("http://app.example.com")]
#[case::case("https://APP.example.com")]
#[case::list("https://app.example.com, https://evil.example")]
#[case::slash("https://app.example.com/")]
#[actix_web::test]
async fn no_other_origin_is_told_anything(#[case] origin: &str) {
    let rig = listing(&[APP]);
    let asked = preflight(&rig, "/oauth/token", origin, "POST").await;
    assert_eq!((asked.status.as_u16(), cors(&asked)), (405, vec!["Origin"]));
    let request = form_request("").insert_header(("Origin", origin));
    assert_eq!(cors(&rig.send(request).await), ["Origin"]);
}

#[actix_web::test]
async fn two_origins_in_one_request_are_none() {
    let request = form_request("")
        .append_header(("Origin", APP))
        .append_header(("Origin", APP));
    assert_eq!(cors(&listing(&[APP]).send(request).await), ["Origin"]);
}

#[actix_web::test]
async fn without_the_setting_no_answer_speaks_of_origins() {
    let rig = Rig::default();
    assert_eq!(preflight(&rig, "/oauth/token", APP, "POST").await.status, 405);
    let request = form_request("").insert_header(("Origin", APP));
    assert!(cors(&rig.send(request).await).is_empty());
}

#[actix_web::test]
async fn a_wildcard_goes_without_cookies() {
    let rig = Rig::default().set(|settings| settings.origins = AllowedOrigins::Any);
    let asked = preflight(&rig, "/oauth/token", "https://any.example", "POST").await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), Some("*"));
    assert_eq!(asked.header("access-control-allow-credentials"), None);
}

#[actix_web::test]
async fn only_what_browsers_have_a_use_for_is_open_to_them() {
    let rig = listing(&[APP]).at("/auth");
    for (path, method) in [
        ("/oauth/token", "POST"),
        ("/auth/oauth/token", "POST"),
        ("/oauth/revoke", "POST"),
        ("/.well-known/jwks.json", "GET"),
        ("/auth/.well-known/jwks.json", "GET"),
        ("/.well-known/oauth-authorization-server", "GET"),
    ] {
        let asked = preflight(&rig, path, APP, method).await;
        assert_eq!(asked.status, 204, "{path}");
        assert_eq!(
            asked.header("access-control-allow-methods"),
            Some(method),
            "{path}"
        );
    }
    for path in ["/oauth/introspect", "/health", "/ready", "/metrics", "/nothing"] {
        let asked = preflight(&rig, path, APP, "GET").await;
        assert!(cors(&asked).is_empty() && asked.status != 204, "{path}");
    }
}
