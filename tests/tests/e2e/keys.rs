//! Keys and what hangs on them: the published set, tokens under it, forgeries, restarts.

use auth_e2e::client::Client;
use auth_e2e::installation::Installation;
use josekit::jwk::JwkSet;
use josekit::jws::RS256;
use josekit::jwt;
use serde_json::Value;

use crate::forged::{forgeries, header};
use crate::support::assert_refused;

#[test]
fn the_published_keys_verify_both_tokens() {
    let installation = Installation::new();
    let server = installation.start();
    let tokens = Client::flutter(server.http()).admin_tokens();
    let published = server.http().get("/.well-known/jwks.json").unwrap();
    let key_set = JwkSet::from_bytes(&published.body).unwrap();

    for (token, kind, use_of_it) in [
        (&tokens.access, "at+jwt", "access"),
        (&tokens.refresh, "rt+jwt", "refresh"),
    ] {
        let kid = header(token)["kid"].as_str().unwrap().to_owned();
        let key = key_set.get(&kid)[0];
        let verifier = RS256.verifier_from_jwk(key).unwrap();
        let (claims, header) = jwt::decode_with_verifier(token, &verifier).unwrap();
        assert_eq!(header.token_type(), Some(kind));
        assert_eq!(claims.claim("type"), Some(&Value::from(use_of_it)));
        assert_eq!(claims.issuer(), Some("https://auth.codelab.local"));
    }
}

#[test]
fn the_key_set_is_cached_by_its_tag() {
    let installation = Installation::new();
    let server = installation.start();
    let first = server.http().get("/.well-known/jwks.json").unwrap();
    assert_eq!(first.header("cache-control"), Some("public, max-age=3600"));
    let tag = first.header("etag").unwrap();
    let again = server
        .http()
        .get_with("/.well-known/jwks.json", &[("if-none-match", tag)])
        .unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn forged_refresh_tokens_are_refused_and_leave_the_chain_alone() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    for (trick, forged) in forgeries(&tokens.refresh, &server.http()) {
        let answer = client.refresh(&forged);
        assert_eq!(
            answer.member("error").as_deref(),
            Some("invalid_grant"),
            "{trick}: {}",
            answer.text()
        );
        assert_refused(&answer);
    }
    assert_refused(&client.refresh(&tokens.access));
    client.refreshed(&tokens);
}

#[test]
fn a_restart_keeps_keys_and_sessions() {
    let installation = Installation::new();
    let server = installation.start();
    let tokens = Client::flutter(server.http()).admin_tokens();
    let published = server.http().get("/.well-known/jwks.json").unwrap();
    assert_eq!(server.stop().and_then(|status| status.code()), Some(0));

    let server = installation.start();
    assert_eq!(
        server.http().get("/.well-known/jwks.json").unwrap().body,
        published.body
    );
    let client = Client::flutter(server.http());
    client.refreshed(&client.refreshed(&tokens));
}
