//! `integrations/contracts/validation.json`, case by case.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use codelab_auth_resource::{
    FetchError, FetchKeySet, KeySetCache, KeySetLimits, Policy, Refusal, TokenVerifier,
};
use josekit::jws::{JwsSigner as _, RS256};
use serde_json::{Value, json};

/// A key set that never changes.
pub(crate) struct Fixed(pub(crate) Value);

impl FetchKeySet for Fixed {
    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        Ok(self.0.to_string().into_bytes())
    }
}

pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(include_str!("../../../contracts/validation.json")).unwrap())
}

pub(crate) fn token(name: &str) -> &'static str {
    let cases = document()["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    case["token"].as_str().unwrap()
}

/// A verifier by the contract's keys and policy, some seconds after the contract's time.
pub(crate) fn verifier_after(seconds: f64) -> TokenVerifier {
    let keys = KeySetCache::of(
        Fixed(document()["key_set"].clone()),
        KeySetLimits::default(),
        Arc::new(|| Duration::ZERO),
    );
    let policy = &document()["policy"];
    let policy = Policy {
        issuer: policy["issuer"].as_str().unwrap().to_owned(),
        audience: policy["audience"].as_str().unwrap().to_owned(),
        leeway: Duration::from_secs(policy["leeway"].as_u64().unwrap()),
    };
    let now = document()["now"].as_f64().unwrap() + seconds;
    TokenVerifier::by_clock(keys, policy, Arc::new(move || now))
}

#[tokio::test]
async fn every_token_gets_the_verdict_of_the_contract() {
    let verifier = verifier_after(0.0);
    let cases = document()["cases"].as_array().unwrap();
    assert!(cases.len() > 60, "{}", cases.len());
    for case in cases {
        let verdict = verifier.verify(case["token"].as_str().unwrap()).await.unwrap();
        let told = match verdict {
            Ok(who) => {
                json!({ "accepted": { "sub": who.user_id, "scope": who.scope, "client_id": who.client_id } })
            }
            Err(refusal) => json!({ "refused": refusal.as_str() }),
        };
        for (member, value) in told.as_object().unwrap() {
            assert_eq!(case.get(member), Some(value), "{}", case["name"]);
        }
    }
}

#[tokio::test]
async fn a_good_token_says_how_long_it_goes_on() {
    let verifier = verifier_after(600.0);
    let identity = verifier
        .verify(token("an access token is accepted"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(verifier.time_left(&identity), Duration::from_secs(305));
    assert_eq!(verifier_after(2_000.0).time_left(&identity), Duration::ZERO);
    assert!(identity.has_scopes(&["api:read", "api:write"]));
    assert!(!identity.has_scopes(&["api"]));
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_though_it_is_signed() {
    const HEADER: &str = r#"{"alg":"RS256","kid":"first","typ":"at+jwt"}"#;
    let claims = claims();
    let twice = claims.replacen('{', r#"{"type":"refresh","#, 1);
    let cases = [
        (HEADER, claims.clone(), None),
        (HEADER, twice, Some(Refusal::Malformed)),
        (
            r#"{"alg":"none","alg":"RS256","kid":"first","typ":"at+jwt"}"#,
            claims.clone(),
            Some(Refusal::Malformed),
        ),
        (HEADER, with(&claims, "sub", "a\0b"), Some(Refusal::Claims)),
        (HEADER, with(&claims, "client_id", "a\0"), Some(Refusal::Claims)),
        (HEADER, with(&claims, "scope", "\0"), Some(Refusal::Claims)),
    ];
    for (header, claims, refusal) in cases {
        let verdict = verifier_after(0.0)
            .verify(&signed(header, &claims))
            .await
            .unwrap();
        assert_eq!(verdict.err(), refusal, "{header} {claims}");
    }
}

/// The claims of the contract's first good token, as they stand there.
fn claims() -> String {
    let claims = token("an access token is accepted").split('.').nth(1).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn with(claims: &str, name: &str, value: &str) -> String {
    let mut claims: Value = serde_json::from_str(claims).unwrap();
    claims[name] = value.into();
    claims.to_string()
}

fn signed(header: &str, claims: &str) -> String {
    let key = include_bytes!("../../../contracts/keys/first.pem");
    let content = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = RS256
        .signer_from_pem(key)
        .unwrap()
        .sign(content.as_bytes())
        .unwrap();
    format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature))
}
