//! What the answer to a sign-in tells by its bytes and by its time: never who exists, who is switched off, who is locked,
//! or whose password came from the older service.
//!
//! Times are compared by Welch's t-test over samples taken in turn, so that whatever else the machine does meets all
//! alike; the slowest of each kind are left out, since those are other programs' doing. A difference counts where it is
//! significant at p < 0.001 and more than 1 % of the mean, and is found again each time the whole is repeated.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Answer;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use auth_e2e::server::Server;
use auth_e2e::wire::{self, Connection};
use diesel::connection::SimpleConnection;
use diesel::{Connection as _, SqliteConnection};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;

const WRONG: &str = "Wrong-Horse-7-Battery";
/// Nobody's password, at a cost several times that of a new hash, and far below the floor on a busy machine too.
const LEGACY_HASH: &str = "$2b$10$abcdefghijklmnopqrstuun904e1JFGpjEo7QEOBcsaf0LpT1VbF6";
/// No failed sign-in is answered sooner, unless a test says otherwise.
const FLOOR: Duration = Duration::from_millis(500);
/// The floor by which times are measured, in milliseconds: less than the half of what it is by default, and four times
/// what the hashes take that are asked for at once, on two cores.
const SHORT_FLOOR: &str = "200";
/// Over how many connections at once is asked what waits for the floor: one for each kind.
const CONNECTIONS: usize = 4;
/// How often a difference must be found before it is believed.
const MEASUREMENTS: usize = 4;

/// A way in which a sign-in fails.
#[derive(Clone, Copy)]
struct Failure {
    name: &'static str,
    username: &'static str,
    password: &'static str,
}

const UNKNOWN: Failure = Failure {
    name: "unknown user",
    username: "nobody",
    password: WRONG,
};
const WRONG_PASSWORD: Failure = Failure {
    name: "wrong password",
    username: "admin",
    password: WRONG,
};
const INACTIVE: Failure = Failure {
    name: "inactive user",
    username: "former",
    password: ADMIN_PASSWORD,
};
const LEGACY: Failure = Failure {
    name: "wrong password to a hash of the older service",
    username: "legacy",
    password: WRONG,
};

#[test]
fn who_exists_is_not_told_by_the_work_that_is_done() {
    let installation = inhabited().with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let server = installation.start();
    let samples = scale::times(60, 500);
    assert_same_time(&server, &[UNKNOWN, WRONG_PASSWORD, INACTIVE], 401, samples, 1);
}

#[test]
fn who_exists_and_whose_hash_is_older_is_not_told_by_the_time_of_an_answer() {
    let installation = inhabited()
        .with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", SHORT_FLOOR)
        .with("AUTH_SERVICE__HASHING_THREADS", "2");
    let server = installation.start();
    let samples = scale::times(20, 500);
    assert_same_time(
        &server,
        &[UNKNOWN, WRONG_PASSWORD, INACTIVE, LEGACY],
        401,
        samples,
        CONNECTIONS,
    );
}

#[test]
fn a_client_can_not_use_up_the_time_of_its_refusal_by_holding_back_the_last_byte() {
    let installation = inhabited();
    let server = installation.start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for failure in [UNKNOWN, WRONG_PASSWORD, LEGACY] {
        let request = request(server.address(), failure);
        let (last, before) = request.split_last().unwrap();
        let took = runtime.block_on(async {
            let mut connection = Connection::open(server.address()).await.unwrap();
            connection.send(before).await.unwrap();
            sleep(FLOOR + FLOOR / 2).await;
            let sent = Instant::now();
            connection.send(&[*last]).await.unwrap();
            assert_eq!(connection.receive().await.unwrap().status, 401);
            sent.elapsed()
        });
        assert!(took >= FLOOR, "{}: {took:?} after the last byte", failure.name);
    }
    scale::attempts(3);
}

/// Without this the test of times would say nothing.
#[test]
fn without_the_floor_an_older_hash_is_told_by_its_time() {
    let installation = inhabited().with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let server = installation.start();
    let measured = measure(server.address(), &[UNKNOWN, LEGACY], 401, 20, 1);
    assert!(told_apart(&measured[0], &measured[1]).is_some());
}

#[test]
fn whether_a_locked_account_exists_is_not_told_by_the_time_of_an_answer() {
    let installation = locking();
    let server = installation.start();
    for failure in [UNKNOWN, WRONG_PASSWORD] {
        lock(&server, failure);
    }
    let samples = scale::times(100, 500);
    assert_same_time(&server, &[UNKNOWN, WRONG_PASSWORD], 429, samples, 1);
}

#[test]
fn every_failed_sign_in_is_answered_byte_for_byte_alike() {
    let installation = inhabited().with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let server = installation.start();
    let client = Client::flutter(server.http());
    let answer_to = |failure: Failure| shown(&client.sign_in(failure.username, failure.password));
    let expected = answer_to(UNKNOWN);
    assert!(expected.contains("invalid_grant"), "{expected}");
    for failure in [WRONG_PASSWORD, INACTIVE, LEGACY] {
        assert_eq!(answer_to(failure), expected, "{}", failure.name);
    }
    scale::attempts(4);
}

#[test]
fn a_locked_account_is_answered_alike_whether_it_exists_or_not() {
    let installation = locking();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut answers = Vec::new();
    for failure in [UNKNOWN, WRONG_PASSWORD] {
        lock(&server, failure);
        let answer = client.sign_in(failure.username, ADMIN_PASSWORD);
        assert_eq!(answer.status, 429, "{}", answer.text());
        // The seconds that are left go on while this is asked.
        answers.push(without_numbers(&shown(&answer)));
    }
    assert_eq!(answers[0], answers[1]);
    scale::attempts(2);
}

/// An installation with each kind of user, and without limits.
fn inhabited() -> Installation {
    let installation = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__HASHING_DEADLINE", "60000")
        .with("AUTH_SERVICE__REQUEST_TIMEOUT", "120");
    // The first start makes the database and `admin`.
    assert!(installation.start().stop().unwrap().success());
    for name in [INACTIVE.username, LEGACY.username] {
        let email = format!("{name}@example.org");
        let create = ["user", "create", name, "--email", &email, "--password-stdin"];
        let created = installation.run(&create, ADMIN_PASSWORD).unwrap();
        assert!(created.status.success(), "{created:?}");
    }
    let deactivated = installation
        .run(&["user", "deactivate", INACTIVE.username, "--yes"], "")
        .unwrap();
    assert!(deactivated.status.success(), "{deactivated:?}");
    let database = installation.database();
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    let legacy = LEGACY.username;
    connection
        .batch_execute(&format!(
            "PRAGMA busy_timeout = 10000; UPDATE users SET password_hash = '{LEGACY_HASH}' WHERE username = '{legacy}'"
        ))
        .unwrap();
    installation
}

/// An installation that locks an account at its first failure, and nobody's address.
fn locking() -> Installation {
    Installation::new()
        .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000000")
        .with("AUTH_SERVICE__RATE_LIMIT_PER_USERNAME", "1000000")
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD", "1")
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000000")
}

fn lock(server: &Server, failure: Failure) {
    let answer = Client::flutter(server.http()).sign_in(failure.username, WRONG);
    assert_eq!(answer.status, 401, "{}", answer.text());
}

/// Status, headers and body, without what differs from one answer to the next by its nature.
fn shown(answer: &Answer) -> String {
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-correlation-id"))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    format!("{}\n{}\n\n{}", answer.status, headers.join("\n"), answer.text())
}

fn without_numbers(text: &str) -> String {
    text.replace(|character: char| character.is_ascii_digit(), "#")
}

/// Fails where two kinds are told apart in each of several measurements.
#[track_caller]
fn assert_same_time(server: &Server, failures: &[Failure], status: u16, samples: usize, connections: usize) {
    let mut found = Vec::new();
    for _ in 0..MEASUREMENTS {
        let measured = measure(server.address(), failures, status, samples, connections);
        found = differences(failures, &measured);
        for (failure, times) in failures.iter().zip(&measured) {
            scale::say(&format!("{}: {times}", failure.name));
        }
        scale::attempts(samples * failures.len());
        if found.is_empty() {
            return;
        }
    }
    panic!(
        "told apart in each of {MEASUREMENTS} measurements: {}",
        found.join("; ")
    );
}

fn differences(failures: &[Failure], measured: &[Sample]) -> Vec<String> {
    let kinds: Vec<_> = failures.iter().zip(measured).collect();
    let mut found = Vec::new();
    for (place, (one, times)) in kinds.iter().enumerate() {
        for (other, other_times) in &kinds[place + 1..] {
            if let Some(t) = told_apart(times, other_times) {
                found.push(format!(
                    "{} {times}, {} {other_times}, t = {t:.1}",
                    one.name, other.name
                ));
            }
        }
    }
    found
}

/// How long each kind takes to be answered, in milliseconds, asked for in turn over so many connections at once.
fn measure(
    address: SocketAddr,
    failures: &[Failure],
    status: u16,
    samples: usize,
    connections: usize,
) -> Vec<Sample> {
    let requests: Vec<Vec<u8>> = failures
        .iter()
        .map(|failure| request(address, *failure))
        .collect();
    let rounds = samples.div_ceil(connections);
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let all = runtime.block_on(async {
        let mut asking = JoinSet::new();
        for first in 0..connections {
            asking.spawn(ask_in_turn(address, requests.clone(), first, status, rounds));
        }
        asking.join_all().await
    });
    let of_kind = |kind: usize| all.iter().flat_map(|times| times[kind].clone()).collect();
    (0..failures.len())
        .map(|kind| Sample::trimmed(of_kind(kind)))
        .collect()
}

async fn ask_in_turn(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    first: usize,
    status: u16,
    rounds: usize,
) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(rounds); requests.len()];
    let mut connection = Connection::open(address).await.unwrap();
    for round in 0..=rounds {
        // Forwards and backwards, from another kind each time: each comes after each other one.
        let step = if round % 2 == 0 { 1 } else { requests.len() - 1 };
        for place in 0..requests.len() {
            let kind = (first + round + place * step) % requests.len();
            let sent = Instant::now();
            let reply = connection.exchange(&requests[kind]).await.unwrap();
            let took = sent.elapsed();
            assert_eq!(reply.status, status);
            // The first round warms up.
            if round > 0 {
                times[kind].push(took.as_secs_f64() * 1_000.0);
            }
        }
    }
    times
}

fn request(address: SocketAddr, failure: Failure) -> Vec<u8> {
    let Failure {
        username, password, ..
    } = failure;
    let form = format!("grant_type=password&client_id={FLUTTER}&username={username}&password={password}");
    wire::token_request(address, &form)
}

/// Times of one kind, in milliseconds.
struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    /// Without the slowest fifth, which other programs on the machine have made.
    fn trimmed(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() - times.len() / 5);
        let count = f64::from(u32::try_from(times.len()).unwrap());
        let mean = times.iter().sum::<f64>() / count;
        let squares = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
        Self {
            count,
            mean,
            variance: squares / (count - 1.0),
        }
    }

    /// The square of the mean's standard error.
    fn error(&self) -> f64 {
        self.variance / self.count
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.3} ± {:.3} ms", self.mean, self.error().sqrt())
    }
}

/// Welch's t, where it is significant at p < 0.001 and the means differ by more than 1 %.
fn told_apart(one: &Sample, other: &Sample) -> Option<f64> {
    let difference = one.mean - other.mean;
    let error = one.error() + other.error();
    let t = difference / error.sqrt();
    let freedom = error.powi(2)
        / (one.error().powi(2) / (one.count - 1.0) + other.error().powi(2) / (other.count - 1.0));
    let is_large = difference.abs() > 0.01 * f64::midpoint(one.mean, other.mean);
    (is_large && t.abs() > critical(freedom)).then_some(t)
}

/// The two-sided bound of Student's t at p = 0.001: the normal one, with the first terms of its expansion in 1/ν
/// (Cornish and Fisher).
fn critical(freedom: f64) -> f64 {
    const Z: f64 = 3.290_53;
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    Z + first / freedom + second / freedom.powi(2)
}

#[test]
fn the_test_of_times_knows_what_is_told_apart() {
    // Student's t at p = 0.001, two-sided, from tables.
    for (freedom, expected) in [(20.0, 3.850), (60.0, 3.460), (120.0, 3.373)] {
        assert!(
            (critical(freedom) - expected).abs() < 0.02,
            "{}",
            critical(freedom)
        );
    }
    let around =
        |mean: f64| Sample::trimmed((0..100).map(|place| mean + f64::from(place % 7) / 10.0).collect());
    assert!(told_apart(&around(10.0), &around(10.0)).is_none());
    // Significant, and less than 1 %.
    assert!(told_apart(&around(100.0), &around(100.5)).is_none());
    assert!(told_apart(&around(100.0), &around(101.5)).is_some());
    // More than 1 %, and lost in the noise.
    let noisy =
        |mean: f64| Sample::trimmed((0..10).map(|place| mean + f64::from(place % 5) * 10.0).collect());
    assert!(told_apart(&noisy(100.0), &noisy(103.0)).is_none());
}
