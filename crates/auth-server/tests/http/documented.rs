//! The OpenAPI document against the server: each example is asked for, each answer has the members, the status and the
//! headers that the document says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH};
use actix_web::test::TestRequest;
use async_trait::async_trait;
use auth_domain::client::{Client, GrantType};
use auth_domain::device::{DevicePolicy, DeviceSecret};
use auth_domain::ports::{StoreProbe, StoreReadiness, Unavailable};
use auth_domain::time::Seconds;
use auth_domain::user::User;
use auth_server::http::PlainHttp;
use auth_server::http::docs::DocsPage;
use auth_testkit::fake::FakeHasher;
use auth_testkit::{TestBed, build};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::rig::{CONFIDENTIAL_FLUTTER, FORM, PUBLIC, Reply, Rig, form, form_request};

const TOKEN: &str = "/oauth/token";
const REVOKE: &str = "/oauth/revoke";
const INTROSPECT: &str = "/oauth/introspect";
const FORMS: [&str; 3] = [TOKEN, REVOKE, INTROSPECT];

fn document() -> Value {
    serde_json::from_str(&auth_server::http::openapi::document().unwrap()).unwrap()
}

/// What `$ref` leads to.
fn resolved<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    match part["$ref"].as_str() {
        Some(reference) => resolved(
            document,
            document.pointer(reference.trim_start_matches('#')).unwrap(),
        ),
        None => part,
    }
}

/// Each documented answer, by path and status.
fn answers(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        let operations = methods.as_object().unwrap().values();
        operations.map(move |operation| (path.clone(), operation))
    });
    operations
        .flat_map(|(path, operation)| {
            let answers = operation["responses"].as_object().unwrap();
            answers
                .iter()
                .map(move |(status, answer)| (path.clone(), status.clone(), answer.clone()))
        })
        .collect()
}

/// The examples of a documented answer, by name.
fn examples(answer: &Value) -> Map<String, Value> {
    let content = answer["content"].as_object().into_iter().flat_map(Map::values);
    let examples = content.filter_map(|content| content["examples"].as_object());
    examples
        .flatten()
        .map(|(name, given)| (name.clone(), given["value"].clone()))
        .collect()
}

#[actix_web::test]
async fn every_example_of_an_answer_is_what_the_server_answers() {
    let document = document();
    let mut checked = 0;
    for (path, status, answer) in answers(&document) {
        for (name, example) in examples(resolved(&document, &answer)) {
            let reply = provoked(&path, &status, &name).await;
            let what = format!("{path} {status} {name}: {}", reply.body);
            assert_eq!(reply.status.as_str(), status, "{what}");
            assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
            if example["error"].is_string() {
                assert_eq!(reply.json(), example, "{what}");
            }
            assert_eq!(shape(&reply.json()), shape(&example), "{what}");
            checked += 1;
        }
    }
    assert!(checked > 70, "{checked}");
}

/// A value with its members and their kinds, and nothing else of it.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(values) => values.iter().take(1).map(shape).collect(),
        Value::String(_) => Value::from("text"),
        Value::Number(_) => Value::from("number"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

#[actix_web::test]
async fn every_header_of_an_answer_is_documented_and_every_documented_header_is_given() {
    let document = document();
    for (path, status, answer) in answers(&document) {
        let answer = resolved(&document, &answer);
        let mut given = BTreeSet::new();
        let mut cases: Vec<_> = examples(answer).into_iter().map(|(name, _)| name).collect();
        if cases.is_empty() {
            cases.push(String::new());
        }
        for case in cases {
            let reply = provoked(&path, &status, &case).await;
            assert_eq!(reply.status.as_str(), status, "{path} {case}");
            given.extend(telling(&reply));
        }
        assert_eq!(names(&answer["headers"]), given, "{path} {status}");
    }
}

#[actix_web::test]
async fn what_may_be_answered_anywhere_is_described_once() {
    let document = document();
    let rig = rig();
    let by_get_only = TestRequest::post().uri("/docs");
    for (name, reply) in [
        ("NotFound", rig.get("/nothing").await),
        ("MethodNotAllowed", rig.send(by_get_only).await),
    ] {
        let described = &document["components"]["responses"][name];
        let examples = examples(described);
        assert_eq!(examples.values().collect::<Vec<_>>(), [&reply.json()], "{name}");
        assert_eq!(names(&described["headers"]), telling(&reply), "{name}");
    }
}

/// The names of documented headers.
fn names(headers: &Value) -> BTreeSet<String> {
    let names = headers.as_object().into_iter().flat_map(Map::keys);
    names.map(|name| name.to_ascii_lowercase()).collect()
}

/// The names of the headers of an answer, without those that every answer has and those that HTTP itself brings along.
fn telling(reply: &Reply) -> BTreeSet<String> {
    const EVERYWHERE: [(&str, &str); 8] = [
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("content-type", ""),
        ("cross-origin-opener-policy", ""),
        ("permissions-policy", ""),
        ("pragma", ""),
        ("referrer-policy", ""),
        ("x-content-type-options", ""),
        ("x-frame-options", ""),
    ];
    let is_everywhere = |name: &str, value: &str| {
        let mut everywhere = EVERYWHERE.iter();
        everywhere.any(|(own, of)| *own == name && (of.is_empty() || *of == value))
    };
    let headers = reply.headers.iter();
    headers
        .filter(|(name, value)| !is_everywhere(name, value))
        .map(|(name, _)| name.clone())
        .collect()
}

#[actix_web::test]
async fn every_example_of_a_request_is_accepted() {
    let document = document();
    for path in FORMS {
        let content = &document["paths"][path]["post"]["requestBody"]["content"][FORM];
        let examples = content["examples"].as_object().unwrap();
        assert!(!examples.is_empty(), "{path}");
        for (name, example) in examples {
            let rig = rig();
            let tokens = sign_in(&rig, build::FLUTTER).await;
            // A refresh token is told to its own client alone.
            let token = tokens.member(if path == INTROSPECT {
                "access_token"
            } else {
                "refresh_token"
            });
            let form = filled(&example["value"], &token);
            let reply = rig.send(form_request(&form).uri(path)).await;
            assert_eq!(reply.status, 200, "{path} {name}: {}", reply.body);
            assert_ne!(reply.json()["active"], false, "{path} {name}");
        }
    }
}

/// A form as in the document, with a good token where that has but the beginning of one.
fn filled(example: &Value, token: &str) -> String {
    let pairs: Vec<(&str, &str)> = example
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .map(|(name, value)| (name, if value.ends_with('…') { token } else { value }))
        .collect();
    form(&pairs)
}

#[actix_web::test]
async fn each_parameter_of_an_example_is_one_of_the_form() {
    let document = document();
    for path in FORMS {
        let content = &document["paths"][path]["post"]["requestBody"]["content"][FORM];
        let schema = resolved(&document, &content["schema"]);
        for (name, example) in content["examples"].as_object().unwrap() {
            for parameter in example["value"].as_object().unwrap().keys() {
                assert!(
                    schema["properties"][parameter].is_object(),
                    "{path} {name}: {parameter}"
                );
            }
        }
    }
}

#[test]
fn every_operation_has_a_summary_a_tag_that_is_described_and_a_name_of_its_own() {
    let document = document();
    let tags: BTreeSet<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].clone().to_string())
        .collect();
    let mut names = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            assert!(operation["summary"].is_string(), "{path}");
            assert!(tags.contains(&operation["tags"][0].to_string()), "{path}");
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert_eq!(names.insert(name, path), None, "{path}");
        }
    }
}

/// A server that knows the user and the clients of the examples.
fn rig() -> Rig {
    rig_over(TestBed::default())
}

fn rig_over(mut bed: TestBed) -> Rig {
    bed.policy.devices = Some(DevicePolicy {
        secret: DeviceSecret::from_bytes([7; 32]),
        lifetime: Seconds::new(15_552_000),
    });
    bed.store.put_user(User {
        password_hash: FakeHasher::hash_of("Analytical-Engine-1843"),
        ..build::user("ada")
    });
    bed.store.put_client(build::confidential_client(
        "reporting",
        "example-secret-of-the-client",
    ));
    bed.store.put_client(Client {
        allowed_grants: [GrantType::RefreshToken].into(),
        ..build::public_client("refresh-only")
    });
    Rig::new(bed)
}

/// A client's part of a form.
fn by(client: &str) -> String {
    let secret = match client {
        build::BACKEND | CONFIDENTIAL_FLUTTER => build::BACKEND_SECRET,
        _ => return format!("client_id={client}"),
    };
    format!("client_id={client}&client_secret={secret}")
}

/// A good form for an endpoint, without the client's part.
fn good(path: &str) -> String {
    match path {
        TOKEN => form(&[
            ("grant_type", "password"),
            ("username", build::ALICE),
            ("password", build::ALICE_PASSWORD),
        ]),
        _ => "token=abc".to_owned(),
    }
}

async fn sign_in(rig: &Rig, client: &str) -> Reply {
    let reply = rig.post(&format!("{}&{}", good(TOKEN), by(client))).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply
}

async fn post(rig: &Rig, path: &str, form: &str) -> Reply {
    rig.send(form_request(form).uri(path)).await
}

fn basic(secret: &str) -> (actix_web::http::header::HeaderName, String) {
    let pair = STANDARD.encode(format!("{}:{secret}", build::BACKEND));
    (AUTHORIZATION, format!("Basic {pair}"))
}

/// What the server answers where an example says it does.
async fn provoked(path: &str, status: &str, name: &str) -> Reply {
    match status {
        "431" => {
            let long = TestRequest::get()
                .uri(path)
                .insert_header(("X-Long", "x".repeat(33 * 1_024)));
            rig().send(long).await
        }
        "500" => panicked().await,
        _ if FORMS.contains(&path) => match status {
            "200" => accepted(path, name).await,
            _ => refused(path, name).await,
        },
        _ => read(path, status, name).await,
    }
}

/// A store whose probe panics, and a request that comes to it: which handler it is makes no difference to the answer.
async fn panicked() -> Reply {
    struct Panicking;

    #[async_trait]
    impl StoreProbe for Panicking {
        async fn check(&self) -> Result<StoreReadiness, Unavailable> {
            panic!("a defect")
        }
    }

    let bed = TestBed::default();
    let signer = Arc::new(bed.signer.clone());
    Rig::with_ports(bed, Arc::new(Panicking), signer)
        .get("/health")
        .await
}

async fn read(path: &str, status: &str, name: &str) -> Reply {
    let rig = rig();
    match (status, name) {
        ("304", _) => {
            let tag = rig.get(path).await.header("etag").unwrap().to_owned();
            let again = TestRequest::get().uri(path).insert_header((IF_NONE_MATCH, tag));
            return rig.send(again).await;
        }
        ("404", _) => {
            let without = rig.set(|settings| settings.docs_page = DocsPage::Absent);
            return without.get(path).await;
        }
        ("503", "stopping") => rig.begin_stopping(),
        ("503", _) => {
            rig.bed.store.outage.begin();
            rig.bed.signer.outage.begin();
        }
        _ => {}
    }
    rig.get(path).await
}

async fn accepted(path: &str, name: &str) -> Reply {
    let rig = rig();
    let client = if name == "refresh_token" {
        build::BACKEND
    } else {
        PUBLIC
    };
    let tokens = sign_in(&rig, client).await;
    let about = match (path, name) {
        (TOKEN, _) => return tokens,
        (INTROSPECT, "refresh_token") => tokens.member("refresh_token"),
        (INTROSPECT, "inactive") => "abc".to_owned(),
        _ => tokens.member("access_token"),
    };
    let asking = if path == REVOKE { PUBLIC } else { build::BACKEND };
    post(&rig, path, &format!("token={about}&{}", by(asking))).await
}

async fn refused(path: &str, name: &str) -> Reply {
    let (good, needed) = (good(path), if path == TOKEN { "grant_type" } else { "token" });
    let whole = format!("{good}&{}", by(build::BACKEND));
    let rig = rig();
    let send = |form: String| form_request(&form).uri(path);
    let request = match name {
        "missing_parameter" => send(whole.replacen(&format!("{needed}="), "x=", 1)),
        "repeated_parameter" => send(format!("{whole}&{needed}=x")),
        "malformed_parameter" => {
            let bounded = if path == TOKEN { "username=" } else { "token=" };
            send(whole.replacen(bounded, &format!("{bounded}{}", "x".repeat(8_193)), 1))
        }
        "malformed_body" => send(format!("{whole}&x=%ff%fe")),
        "oversized_body" => send(format!("{whole}&x={}", "x".repeat(16 * 1_024))),
        "repeated_authorization" => send(good).append_header(basic("a")).append_header(basic("a")),
        "two_authentications" => send(whole).insert_header(basic(build::BACKEND_SECRET)),
        "two_clients" => {
            send(format!("{good}&client_id={PUBLIC}")).insert_header(basic(build::BACKEND_SECRET))
        }
        "wrong_content_type" => send(whole).insert_header((CONTENT_TYPE, "application/json")),
        "invalid_client" => send(format!("{good}&client_id=nobody")),
        "invalid_client_by_basic" => send(good).insert_header(basic("wrong")),
        "storage_down" => {
            rig.bed.store.outage.begin();
            send(whole)
        }
        "plain_http_in_production" => {
            let strict = rig.set(|settings| settings.plain_http = PlainHttp::Refused);
            return strict.send(send(whole)).await;
        }
        "invalid_grant" | "invalid_grant_in_profile_codelab_flutter" => {
            let asking = if name == "invalid_grant" {
                build::BACKEND
            } else {
                CONFIDENTIAL_FLUTTER
            };
            return with_a_bad_grant(&rig, path, asking).await;
        }
        "rate_limit_exceeded" => return limited(path).await,
        _ => return refused_a_token(&rig, name).await,
    };
    rig.send(request).await
}

async fn with_a_bad_grant(rig: &Rig, path: &str, asking: &str) -> Reply {
    let foreign = sign_in(rig, PUBLIC).await.member("refresh_token");
    let form = match path {
        TOKEN => good(TOKEN).replace("password=", "password=wrong"),
        _ => format!("token={foreign}"),
    };
    post(rig, path, &format!("{form}&{}", by(asking))).await
}

async fn limited(path: &str) -> Reply {
    let mut bed = TestBed::default();
    if let Some(limits) = &mut bed.policy.limits {
        (limits.logins_per_network, limits.refreshes_per_network) = (1, 1);
    }
    let rig = rig_over(bed);
    let form = format!("{}&{}", good(path), by(build::BACKEND));
    post(&rig, path, &form).await;
    post(&rig, path, &form).await
}

async fn refused_a_token(rig: &Rig, name: &str) -> Reply {
    let whole = format!("{}&{}", good(TOKEN), by(build::BACKEND));
    let form = match name {
        "unauthorized_client" => format!("{}&{}", good(TOKEN), by("refresh-only")),
        "unsupported_grant_type" => whole.replace("grant_type=password", "grant_type=implicit"),
        "invalid_scope" => format!("{whole}&scope=api%3Aadmin"),
        "locked" => {
            let mut bed = TestBed::default();
            if let Some(limits) = &mut bed.policy.limits {
                limits.failures_per_account = 1;
            }
            let rig = rig_over(bed);
            post(&rig, TOKEN, &whole.replace("&password=", "&password=wrong")).await;
            return post(&rig, TOKEN, &whole).await;
        }
        "hashing_saturated" => {
            rig.bed.hasher.saturate(Seconds::new(1));
            whole
        }
        other => panic!("the document has an example that no test asks for: {other}"),
    };
    post(rig, TOKEN, &form).await
}
