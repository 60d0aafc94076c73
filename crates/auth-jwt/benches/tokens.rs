//! What tokens cost: to sign a pair of them, to verify one, and the bare signature below both.
//!
//! Under callgrind what lies outside libcrypto can be told apart: that is the assembly of the payload.
#![expect(clippy::expect_used, reason = "a benchmark stops at what it did not expect")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use auth_domain::ports::{Genuine, TokenSigner as _};
use auth_jwt::{KeyRing, KeySource, RsaKey};
use auth_testkit::MockClock;
use auth_testkit::clock::START;
use auth_testkit::contract::signer;
use divan::{Bencher, black_box};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Always the same one, of 2,048 bits: to make a key takes longer one time than another, by more than all that is
/// counted here.
const KEY: &[u8] = include_bytes!("../tests/fixtures/older-service/private_key.pem");

fn main() {
    divan::main();
}

#[divan::bench]
fn sign_a_pair(bencher: Bencher<'_, '_>) {
    let (ring, runtime) = ring();
    let claims = signer::pair_claims(START);
    let sign = || runtime.block_on(signer::sign(&ring, black_box(&claims)));
    bencher.bench_local(sign);
}

#[divan::bench]
fn verify_a_refresh_token(bencher: Bencher<'_, '_>) {
    let (ring, runtime) = ring();
    let token = runtime
        .block_on(signer::sign(&ring, &signer::pair_claims(START)))
        .refresh;
    let verify = || {
        ring.verify_refresh(black_box(&token))
            .expect("the keys are there")
    };
    assert!(matches!(verify(), Genuine::Yes(_)));
    bencher.bench_local(verify);
}

#[divan::bench]
fn sign_alone(bencher: Bencher<'_, '_>) {
    let key = RsaKey::from_pem(KEY).expect("the fixture is a key");
    let signed = "a".repeat(500);
    bencher.bench_local(|| key.sign(black_box(signed.as_bytes())).expect("the key signs"));
}

/// A ring of that key, and a runtime to ask it in.
fn ring() -> (KeyRing, Runtime) {
    let folder = TempDir::new().expect("there is room for a key");
    let file = folder.path().join("private.pem");
    fs::write(&file, KEY).expect("there is room for a key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let source = KeySource::Pair {
        private_key_path: file,
        public_key_path: None,
        kid: None,
    };
    let ring = KeyRing::open(source, Arc::new(MockClock::default()));
    let runtime = Builder::new_current_thread().build();
    (
        ring.expect("the key is in order"),
        runtime.expect("a runtime starts"),
    )
}
