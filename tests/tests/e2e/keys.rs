//! Keys and what hangs on them: the published set, tokens under it, forgeries, restarts.

use std::time::Duration;

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use auth_e2e::server::within;
use josekit::jwk::JwkSet;
use josekit::jws::RS256;
use josekit::jwt;
use serde_json::Value;

use crate::forged::{forgeries, header, misfits};
use crate::support::{assert_refused, confidential_client, everything_in};

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
fn a_leaked_key_is_worth_nothing_once_it_is_withdrawn_beside_the_running_server() {
    const ASKS: &str = "back-office";
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let secret = confidential_client(&installation, ASKS);
    let http = server.http();
    let client = Client::flutter(http.clone());
    let tokens = client.admin_tokens();
    let leaked = header(&tokens.access)["kid"].as_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let ran = installation.run(arguments, "").unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", everything_in(&ran));
    };
    run(&["keys", "rotate", "--immediately", "--yes"]);
    run(&["keys", "revoke", &leaked, "--yes"]);
    let is_gone = || {
        let published = http.get("/.well-known/jwks.json").unwrap();
        (!published.text().contains(&leaked)).then_some(())
    };
    within(Duration::from_secs(20), is_gone).expect("the server looks at the folder every few seconds");

    assert_refused(&client.refresh(&tokens.refresh));
    let asking = [("client_id", ASKS), ("client_secret", secret.as_str())];
    let form = [&asking[..], &[("token", &tokens.access)]].concat();
    let told = http.post_form("/oauth/introspect", &[], &form).unwrap();
    assert_eq!(told.text(), "{\"active\":false}");

    let anew = client.admin_tokens();
    assert_ne!(header(&anew.access)["kid"].as_str().unwrap(), leaked);
    client.refreshed(&anew);
}

#[test]
fn forged_refresh_tokens_are_refused_and_leave_the_chain_alone() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let forgeries = forgeries(&tokens.refresh, &server.http());
    for (trick, forged) in &forgeries {
        let answer = client.refresh(forged);
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
    scale::attempts(forgeries.len() + 1);
}

#[test]
fn a_token_that_was_never_given_out_is_refused_even_under_the_servers_own_signature() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let elsewhere = client.admin_tokens();
    let mut misfits = misfits(&tokens.refresh, &installation.keys());
    misfits.extend(self::misfits(&tokens.access, &installation.keys()));
    let bodies: Vec<_> = misfits
        .iter()
        .map(|(trick, token)| {
            let answer = client.refresh(token);
            assert_eq!(answer.status, 401, "{trick}: {}", answer.text());
            answer.body
        })
        .collect();
    // Nobody learns which check it was that failed.
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    // Nor does a forgery end anything.
    client.refreshed(&tokens);
    client.refreshed(&elsewhere);
    scale::attempts(misfits.len());
}

#[test]
fn forged_tokens_are_worth_nothing_to_introspection_and_revocation() {
    const ASKS: &str = "back-office";
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let secret = confidential_client(&installation, ASKS);
    let http = server.http();
    let client = Client::flutter(http.clone());
    let tokens = client.admin_tokens();
    let about = |path: &str, client: &[(&str, &str)], token: &str| {
        let answer = http
            .post_form(path, &[], &[client, &[("token", token)]].concat())
            .unwrap();
        (answer.status, answer.text())
    };
    let asking = [("client_id", ASKS), ("client_secret", secret.as_str())];
    let mut tried = 0;
    for genuine in [&tokens.access, &tokens.refresh] {
        let mut forged = forgeries(genuine, &http);
        forged.extend(misfits(genuine, &installation.keys()));
        for (trick, token) in &forged {
            let told = about("/oauth/introspect", &asking, token);
            assert_eq!(told, (200, "{\"active\":false}".to_owned()), "{trick}");
            // A revocation asks neither for the time nor for whom the token speaks: under a good signature it ends what is
            // named.
            if matches!(*trick, "from the future" | "the subject of SQL") {
                continue;
            }
            let told = about("/oauth/revoke", &[("client_id", FLUTTER)], token);
            assert_eq!(told, (200, "{\"revoked\":true}".to_owned()), "{trick}");
            let (_, told) = about("/oauth/introspect", &asking, &tokens.access);
            assert!(
                told.starts_with("{\"active\":true"),
                "{trick} was taken for the genuine one: {told}"
            );
        }
        tried += 2 * forged.len();
    }
    client.refreshed(&tokens);
    scale::attempts(tried);
}

#[test]
fn a_token_of_another_client_is_refused_and_its_chain_lives_on() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let create =
        "client create other-app --name Other --grant password --grant refresh_token --scope api:read";
    let create: Vec<&str> = create.split(' ').collect();
    let created = installation.run(&create, "").unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
    let owner = Client::flutter(server.http());
    let tokens = owner.admin_tokens();
    let stranger = Client::new(server.http(), "other-app").refresh(&tokens.refresh);
    let told = (stranger.status, stranger.member("error"));
    assert_eq!(told, (400, Some("invalid_grant".to_owned())));
    owner.refreshed(&tokens);
}

#[test]
fn tokens_of_another_servers_keys_are_refused_and_both_chains_live_on() {
    let [installation, elsewhere] = [(); 2].map(|()| Installation::new().unlimited());
    let (server, other_server) = (installation.start(), elsewhere.start());
    let client = Client::flutter(server.http());
    let foreign_client = Client::flutter(other_server.http());
    let (own, foreign) = (client.admin_tokens(), foreign_client.admin_tokens());
    for token in [&foreign.refresh, &foreign.access, &own.access] {
        assert_refused(&client.refresh(token));
    }
    client.refreshed(&own);
    foreign_client.refreshed(&foreign);
    scale::attempts(3);
}

#[test]
fn two_instances_over_one_database_with_different_keys_refuse_each_others_tokens_and_end_nothing() {
    let first = Installation::new().unlimited();
    let server = first.start();
    let client = Client::flutter(server.http());
    let second = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__DB_URL", first.database_url());
    // Before anybody has signed in; after that it would be refused.
    let other = second.start();
    let tokens = client.admin_tokens();
    assert_refused(&Client::flutter(other.http()).refresh(&tokens.refresh));
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
