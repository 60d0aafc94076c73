//! Who gets through, and what the others are told, by actix-web and by tower.

use std::convert::Infallible;
use std::task::{Context, Poll};

use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use codelab_auth_resource::{Denial, Identity, TokenVerifier, actix, bearer, tower};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::{Value, json};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::vectors::{document, token, verifier_after};

const GOOD: &str = "an access token is accepted";
const BARE: &str = "Bearer realm=\"codelab\"";

/// What a request was answered: status, challenge, body.
type Told = (u16, String, Value);

async fn me(user: Identity) -> String {
    json!({ "user": user.user_id }).to_string()
}

async fn admin(user: Identity) -> Result<&'static str, Denial> {
    user.require(&["api:admin"])?;
    Ok("{}")
}

async fn by_actix(verifier: TokenVerifier, path: &str, headers: &[(&str, &str)]) -> Told {
    let routes = |config: &mut web::ServiceConfig| {
        config
            .route("/me", web::get().to(me))
            .route("/admin", web::get().to(admin));
    };
    let guarded = web::scope("/guarded")
        .wrap(actix::RequireToken::by(verifier.clone()))
        .configure(routes);
    let extracted = web::scope("/extracted")
        .app_data(web::Data::new(verifier))
        .configure(routes);
    let app = init_service(App::new().service(guarded).service(extracted)).await;
    let mut request = TestRequest::get().uri(path);
    for header in headers {
        request = request.append_header(*header);
    }
    let answer = call_service(&app, request.to_request()).await;
    let challenge = answer
        .headers()
        .get("www-authenticate")
        .map(|value| value.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body = serde_json::from_slice(&read_body(answer).await).unwrap();
    (status, challenge.unwrap_or_default(), body)
}

/// A service that says who is asking.
#[derive(Clone)]
struct Me;

impl Service<Request<()>> for Me {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let user = request.extensions().get::<Identity>().unwrap();
        std::future::ready(Ok(Response::new(json!({ "user": user.user_id }).to_string())))
    }
}

async fn by_tower(verifier: TokenVerifier, headers: &[(&str, &str)]) -> Told {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut service = tower::RequireToken::by(verifier).layer(Me);
    let answer = service.call(request.body(()).unwrap()).await.unwrap();
    let challenge = answer
        .headers()
        .get("www-authenticate")
        .map(|value| value.to_str().unwrap().to_owned());
    let body = serde_json::from_str(answer.body()).unwrap();
    (answer.status().as_u16(), challenge.unwrap_or_default(), body)
}

/// The same request by every way there is; all tell the same.
async fn tell(headers: &[(&str, &str)]) -> Told {
    let told = by_tower(verifier_after(0.0), headers).await;
    for path in ["/guarded/me", "/extracted/me"] {
        assert_eq!(by_actix(verifier_after(0.0), path, headers).await, told, "{path}");
    }
    told
}

fn authorization(token: &str) -> String {
    format!("Bearer {token}")
}

#[actix_web::test]
async fn a_good_token_says_who_is_asking() {
    let user = document()["cases"][0]["accepted"]["sub"].clone();
    for scheme in ["Bearer", "bEARER"] {
        let (status, _, body) = tell(&[("authorization", &format!("{scheme} {}", token(GOOD)))]).await;
        assert_eq!((status, &body["user"]), (200, &user));
    }
    let (status, ..) = tell(&[
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", &format!("bearer, {}", token(GOOD))),
    ])
    .await;
    assert_eq!(status, 200);
}

#[actix_web::test]
async fn without_a_token_the_challenge_names_no_error() {
    let offered = format!("bearer, {}", token(GOOD));
    for headers in [
        vec![],
        vec![("authorization", "Basic bWF5YTpzZWNyZXQ=")],
        vec![("authorization", "Bearers x")],
        vec![("sec-websocket-protocol", offered.as_str())],
    ] {
        let (status, challenge, _) = tell(&headers).await;
        assert_eq!((status, challenge.as_str()), (401, BARE), "{headers:?}");
    }
}

#[actix_web::test]
async fn every_bad_token_gets_the_same_answer() {
    let cases = document()["cases"].as_array().unwrap();
    let bad = cases.iter().filter(|case| case.get("refused").is_some());
    // What a header can't hold an HTTP library doesn't send.
    let tokens = bad
        .map(|case| case["token"].as_str().unwrap())
        .filter(|token| token.trim() == *token);
    for token in tokens {
        let (status, challenge, body) = tell(&[("authorization", &authorization(token))]).await;
        assert_eq!(
            (status, &body["error"]),
            (401, &json!("invalid_token")),
            "{token}"
        );
        assert!(
            challenge.starts_with(&format!("{BARE}, error=\"invalid_token\"")),
            "{challenge}"
        );
    }
}

#[actix_web::test]
async fn two_tokens_are_a_bad_request() {
    let good = authorization(token(GOOD));
    let (status, challenge, _) = tell(&[("authorization", &good), ("authorization", &good)]).await;
    assert_eq!(status, 400);
    assert!(challenge.contains("error=\"invalid_request\""), "{challenge}");
}

#[actix_web::test]
async fn a_missing_scope_is_named() {
    let good = authorization(token(GOOD));
    let (status, challenge, _) =
        by_actix(verifier_after(0.0), "/guarded/admin", &[("authorization", &good)]).await;
    assert_eq!(status, 403);
    assert_eq!(
        challenge,
        format!("{BARE}, error=\"insufficient_scope\", scope=\"api:admin\"")
    );
}

#[test]
fn a_token_that_is_no_text_is_a_bad_one() {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_bytes(b"Bearer \xff").unwrap());
    assert_eq!(bearer(&headers), Err(Denial::BadToken));
}

#[test]
fn who_can_not_be_judged_may_come_again() {
    let headers = Denial::Unavailable.headers();
    assert_eq!(Denial::Unavailable.status(), 503);
    assert!(headers.contains(&("retry-after", "5".to_owned())));
    assert!(headers.iter().all(|(name, _)| *name != "www-authenticate"));
}
