//! What the rules cost that each refresh asks. No port is called, and nothing waits.
#![expect(clippy::expect_used, reason = "a benchmark stops at what it did not expect")]

use auth_domain::client::ClientPolicy;
use auth_domain::id::Jti;
use auth_domain::request::TokenRequest;
use auth_domain::rotation::{Presented, Redemption, redeem};
use auth_domain::scope::{Scope, narrow};
use auth_domain::session::{SessionState, SessionView};
use auth_domain::throttle::{Count, Counter, Judgement, Limits, NetworkKey, judge};
use auth_domain::time::Seconds;
use auth_domain::user::UserStatus;
use auth_testkit::build;
use auth_testkit::clock::START;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// As long as a refresh token is under a key of 2,048 bits.
const TOKEN_BYTES: usize = 840;

#[divan::bench]
fn parse_a_token_request(bencher: Bencher<'_, '_>) {
    let token = "a".repeat(TOKEN_BYTES);
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", build::FLUTTER),
        ("refresh_token", token.as_str()),
    ];
    let form = || form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    bencher
        .with_inputs(form)
        .bench_values(|form| TokenRequest::parse(form, None).expect("the form is a good one"));
}

#[divan::bench]
fn derive_the_successor(bencher: Bencher<'_, '_>) {
    let token = "a".repeat(TOKEN_BYTES);
    bencher.bench(|| Jti::successor_of(black_box(&token)).hash());
}

#[divan::bench]
fn judge_a_rotation(bencher: Bencher<'_, '_>) {
    let (presented, session) = (presented(), session());
    let policy = ClientPolicy::default();
    let judge = || redeem(black_box(&presented), black_box(&session), &policy, START);
    assert!(matches!(judge(), Redemption::Rotate(_)));
    bencher.bench(judge);
}

#[divan::bench]
fn narrow_a_scope(bencher: Bencher<'_, '_>) {
    let (granted, requested) = (build::scope("api:read api:write"), build::scope("api:read"));
    let narrowed = || narrow(black_box(&granted), Some(black_box(&requested)));
    assert_eq!(narrowed().as_ref(), Some(&requested));
    bencher.bench(narrowed);
}

#[divan::bench]
fn read_a_scope(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Scope::parse(black_box("api:read api:write")));
}

#[divan::bench]
fn count_a_request(bencher: Bencher<'_, '_>) {
    let [counter] = refreshes();
    let standing = Count {
        hits: 10,
        refusal_is_told: false,
        ends_at: START.plus(Seconds::new(30)),
    };
    let count = || judge(black_box(&counter), Some(black_box(standing)), START);
    assert!(matches!(count(), Judgement::Room(_)));
    bencher.bench(count);
}

fn refreshes() -> [Counter; 1] {
    let ip = build::context().ip.expect("the builder names an address");
    Limits::default().refresh_from(NetworkKey::of(ip))
}

fn presented() -> Presented {
    Presented {
        jti_hash: build::jti_hash("head"),
        successor: Jti::successor_of("the token itself"),
        expires_at: START.plus(Seconds::new(1_000)),
        client_id: build::client_id(build::FLUTTER),
    }
}

fn session() -> SessionView {
    SessionView {
        id: build::session_id("s"),
        user_id: build::user_id(build::ALICE),
        user_status: UserStatus::Active,
        client_id: build::client_id(build::FLUTTER),
        scope: build::scope("api:read api:write"),
        head: build::jti_hash("head"),
        previous: None,
        head_issued_at: START,
        expires_at: START.plus(Seconds::new(1_000)),
        state: SessionState::Live,
        created_at: START,
    }
}
