//! `integrations/contracts/validation.json`, case by case.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use codelab_auth_resource::{FetchError, FetchKeySet, KeySetCache, KeySetLimits, Policy, TokenVerifier};
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
