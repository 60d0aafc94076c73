//! How long it takes to judge a token, beside what its one RSA verification takes by the same library in the same run:
//! `cargo bench --package codelab-auth-resource`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use codelab_auth_resource::{FetchError, FetchKeySet, KeySetCache, KeySetLimits, Policy, TokenVerifier};
use josekit::jwk::Jwk;
use josekit::jws::{JwsVerifier as _, RS256};
use serde_json::Value;

const ROUNDS: u32 = 20;
const TOKENS_PER_ROUND: u32 = 1_000;

struct Fixed(Vec<u8>);

impl FetchKeySet for Fixed {
    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        Ok(self.0.clone())
    }
}

#[expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a program for developers"
)]
fn main() {
    let vectors: Value = serde_json::from_str(include_str!("../../contracts/validation.json"))
        .expect("the contracts are JSON");
    let token = vectors["cases"][0]["token"].as_str().expect("a token").to_owned();
    let now = vectors["now"].as_f64().expect("a time");
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let members = vectors["key_set"]["keys"][0].as_object().expect("a key").clone();
    let key = Jwk::from_map(members).expect("a key");
    let key = RS256.verifier_from_jwk(&key).expect("an RSA key");

    let begun = Instant::now();
    let source = Fixed(vectors["key_set"].to_string().into_bytes());
    let keys = KeySetCache::of(source, KeySetLimits::default(), Arc::new(move || begun.elapsed()));
    let policy = Policy::of("https://auth.example.org");
    let verifier = TokenVerifier::by_clock(keys, policy, Arc::new(move || now));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");

    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(timed(|| {
            key.verify(black_box(signed.as_bytes()), &signature)
                .expect("a good signature");
        }));
        whole.push(timed(|| {
            let verdict = runtime.block_on(verifier.verify(black_box(&token)));
            verdict.expect("keys").expect("a good token");
        }));
    }
    let (whole, alone) = (median(whole), median(alone));
    println!("RSA verification alone   {alone:>8.2?}");
    println!("the whole judgement      {whole:>8.2?}");
    println!(
        "ratio                    {:>8.2}",
        whole.as_secs_f64() / alone.as_secs_f64()
    );
}

/// The time of one of many.
fn timed(mut work: impl FnMut()) -> Duration {
    let begun = Instant::now();
    for _ in 0..TOKENS_PER_ROUND {
        work();
    }
    begun.elapsed() / TOKENS_PER_ROUND
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
