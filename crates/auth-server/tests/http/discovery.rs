//! The key set, the metadata, the OpenAPI document, and the prefix under which all is served as well.

use actix_web::http::header::IF_NONE_MATCH;
use actix_web::test::TestRequest;
use auth_domain::token_service::PasswordGrant;
use auth_testkit::TestBed;

use crate::rig::{Reply, Rig, form_request};

const KEYS: &str = "/.well-known/jwks.json";
const METADATA: &str = "/.well-known/oauth-authorization-server";

#[actix_web::test]
async fn the_key_set_may_be_kept_for_an_hour_and_has_a_strong_tag() {
    insta::assert_snapshot!(Rig::default().get(KEYS).await.text());
}

#[actix_web::test]
async fn whoever_has_the_key_set_is_not_sent_it_again() {
    for tags in [
        r#""fake-key""#,
        r#"W/"fake-key""#,
        "*",
        r#""older", "fake-key""#,
        r#""older",W/"fake-key" , "other""#,
    ] {
        let reply = ask_for_keys_with(tags).await;
        assert_eq!(reply.status, 304, "{tags}");
        assert_eq!(reply.body, "");
        assert_eq!(reply.header("etag"), Some(r#""fake-key""#));
        assert_eq!(reply.header("cache-control"), Some("public, max-age=3600"));
    }
}

#[actix_web::test]
async fn whoever_has_another_key_set_is_sent_it() {
    for tags in [r#""older""#, "fake-key", r#""fake-key"x"#, "", r#"w/"fake-key""#] {
        assert_eq!(ask_for_keys_with(tags).await.status, 200, "{tags}");
    }
}

async fn ask_for_keys_with(tags: &str) -> Reply {
    let request = TestRequest::get().uri(KEYS).insert_header((IF_NONE_MATCH, tags));
    Rig::default().send(request).await
}

#[actix_web::test]
async fn without_keys_the_key_set_is_unavailable_for_the_moment() {
    let rig = Rig::default();
    rig.bed.signer.outage.begin();
    insta::assert_snapshot!(rig.get(KEYS).await.text());
}

#[actix_web::test]
async fn the_metadata_announce_what_works_and_nothing_else() {
    insta::assert_snapshot!(Rig::default().get(METADATA).await.text());
}

#[actix_web::test]
async fn a_grant_that_is_switched_off_is_not_announced() {
    let mut bed = TestBed::default();
    bed.policy.password_grant = PasswordGrant::Off;
    let metadata = Rig::new(bed).get(METADATA).await.json();
    assert_eq!(
        metadata["grant_types_supported"],
        serde_json::json!(["refresh_token"])
    );
}

#[actix_web::test]
async fn an_issuer_with_a_path_has_its_metadata_where_rfc_8414_looks() {
    let mut bed = TestBed::default();
    bed.policy.issuer.url = "https://example.com/auth/".to_owned();
    let rig = Rig::new(bed);
    let metadata = rig
        .get("/.well-known/oauth-authorization-server/auth")
        .await
        .json();
    assert_eq!(metadata["issuer"], "https://example.com/auth/");
    assert_eq!(metadata["token_endpoint"], "https://example.com/auth/oauth/token");
}

#[actix_web::test]
async fn that_path_too_is_served_under_the_base_path() {
    let mut bed = TestBed::default();
    bed.policy.issuer.url = "https://example.com/auth".to_owned();
    let rig = Rig::new(bed).at("/prefix");
    for prefix in ["", "/prefix"] {
        let path = format!("{prefix}/.well-known/oauth-authorization-server/auth");
        assert_eq!(rig.get(&path).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn every_path_is_served_under_the_base_path_too() {
    for base_path in ["/auth", "/auth/", "/a/b"] {
        let rig = Rig::under(base_path);
        let prefix = base_path.trim_end_matches('/');
        for path in [KEYS, METADATA, "/health", "/ready", "/metrics", "/openapi.json"] {
            assert_eq!(rig.get(path).await.status, 200, "{path}");
            assert_eq!(
                rig.get(&format!("{prefix}{path}")).await.status,
                200,
                "{prefix}{path}"
            );
        }
        for path in ["/oauth/token", "/oauth/revoke", "/oauth/introspect"] {
            let form = form_request("").uri(&format!("{prefix}{path}"));
            assert_eq!(rig.send(form).await.member("error"), "invalid_request", "{path}");
        }
        assert_eq!(rig.get(&format!("{prefix}/nothing")).await.status, 404);
    }
}

#[actix_web::test]
async fn head_is_answered_where_get_is() {
    let rig = Rig::default();
    for path in [KEYS, METADATA, "/health", "/ready", "/metrics", "/openapi.json"] {
        let reply = rig
            .send(
                TestRequest::default()
                    .method(actix_web::http::Method::HEAD)
                    .uri(path),
            )
            .await;
        assert_eq!(reply.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn the_document_in_the_repository_is_the_one_that_is_served() {
    let in_repository = include_str!("../../../../docs/openapi.json");
    assert!(
        Rig::default().get("/openapi.json").await.body == in_repository,
        "write it anew: auth-service openapi > docs/openapi.json"
    );
}

#[actix_web::test]
async fn the_document_shows_an_example_of_every_row_of_the_table() {
    let document = Rig::default().get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let shown = |path: &str| {
        ["400", "401", "415", "429", "503"].map(|status| {
            let response = &document["paths"][path]["post"]["responses"][status];
            let examples = response["content"]["application/json"]["examples"].as_object();
            examples.map_or(0, serde_json::Map::len)
        })
    };
    assert_eq!(shown("/oauth/token"), [12, 3, 1, 2, 2]);
    assert_eq!(shown("/oauth/revoke"), [9, 3, 1, 1, 1]);
    assert_eq!(shown("/oauth/introspect"), [8, 2, 1, 0, 1]);
}
