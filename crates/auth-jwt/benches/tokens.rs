//! What tokens cost: to sign a pair of them, to verify one, and the bare signature below both.
//!
//! Under callgrind what lies outside libcrypto can be told apart: that is the assembly of the payload.
#![expect(clippy::expect_used, reason = "a benchmark stops at what it did not expect")]

use std::sync::Arc;

use auth_domain::ports::{Genuine, TokenSigner as _};
use auth_jwt::{DirectorySettings, KeyBits, KeyRing, KeySource, RsaKey};
use auth_testkit::MockClock;
use auth_testkit::clock::START;
use auth_testkit::contract::signer;
use divan::{Bencher, black_box};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

fn main() {
    divan::main();
}

#[divan::bench]
fn sign_a_pair(bencher: Bencher<'_, '_>) {
    let (_folder, ring, runtime) = ring();
    let claims = signer::pair_claims(START);
    let sign = || runtime.block_on(signer::sign(&ring, black_box(&claims)));
    // The first one has the manifest told how long the key's tokens live.
    sign();
    bencher.bench_local(sign);
}

#[divan::bench]
fn verify_a_refresh_token(bencher: Bencher<'_, '_>) {
    let (_folder, ring, runtime) = ring();
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
    let (key, _) = RsaKey::generate(KeyBits::Rsa2048).expect("OpenSSL makes a key");
    let signed = "a".repeat(500);
    bencher.bench_local(|| key.sign(black_box(signed.as_bytes())).expect("the key signs"));
}

/// A ring of one key of 2,048 bits in a directory, and a runtime to ask it in.
fn ring() -> (TempDir, KeyRing, Runtime) {
    let folder = TempDir::new().expect("there is room for a key");
    let settings = DirectorySettings {
        path: folder.path().to_owned(),
        bits: KeyBits::Rsa2048,
        rotation_interval: None,
        cache_lifetime: auth_domain::time::Seconds::new(3_600),
    };
    let ring = KeyRing::open(KeySource::Directory(settings), Arc::new(MockClock::default()));
    let runtime = Builder::new_current_thread().build();
    (
        folder,
        ring.expect("the directory is new"),
        runtime.expect("a runtime starts"),
    )
}
