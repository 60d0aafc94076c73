//! The measuring of a machine: what it says, and that it leaves everything as it was. How fast a machine is passes or
//! fails no test.

use std::fs;
use std::process::Command;
use std::thread;

use auth_testkit::server::{Database, RedisServer};
use rstest::rstest;
use serde_json::Value;

use crate::desk::{Desk, Ran, bytes_of};

/// As short as can be.
const SHORT: [&str; 3] = ["bench", "--seconds", "0.01"];

fn bench(desk: &Desk, code: i32, settings: &[&str]) -> Value {
    let settings: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let ran = desk.run(&[&SHORT, settings.as_slice(), &["--json"]].concat());
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err))
}

#[track_caller]
fn is_positive(report: &Value, pointer: &str) {
    let figure = report.pointer(pointer).and_then(Value::as_f64);
    assert!(figure.is_some_and(|figure| figure > 0.0), "{pointer}: {report:#}");
}

/// The parts that could not be measured.
fn failures(report: &Value) -> Vec<&str> {
    let failures = report["failures"].as_array().unwrap().iter();
    failures
        .map(|failure| failure["part"].as_str().unwrap())
        .collect()
}

#[test]
fn a_folder_without_a_database_is_measured_and_stays_empty() {
    let desk = Desk::new();
    let report = bench(&desk, 0, &[]);
    for pointer in [
        "/machine/cores",
        "/machine/workers",
        "/signing/sign_us",
        "/signing/verify_us",
        "/signing/bound_per_second",
        "/passwords/hash_ms",
        "/passwords/threads",
        "/passwords/memory_kib",
        "/database/sync/p50_ms",
        "/database/rotation/count",
        "/database/rotation/p50_ms",
        "/database/rotation/p99_ms",
        "/database/together/rotation/p99_ms",
        "/database/together/per_second",
        "/database/together/cpu_us",
        "/estimate/refreshes_per_second_of_one_core",
        "/estimate/refreshes_per_second",
        "/estimate/refresh_alone_ms",
        "/estimate/sign_ins_per_second",
    ] {
        is_positive(&report, pointer);
    }
    assert_eq!(report["database"]["kind"], "sqlite");
    assert_eq!(report["redis"], Value::Null);
    assert_eq!(failures(&report), [""; 0]);
    assert!(desk.is_empty());
}

#[test]
fn people_get_a_table_with_what_to_expect_below_it() {
    let said = Desk::new().run(&SHORT).succeeded().out;
    for part in [
        "part       what ",
        "\nsigning    RSA 2048, sign ",
        "\npasswords  argon2id m=19456 t=2 p=1 ",
        "\ndatabase   a refresh, stored ",
        "\n\nEstimates, at best:\n",
        " sign-ins a second",
        "docs/PERFORMANCE.md",
    ] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
}

#[test]
fn a_database_and_keys_that_are_there_stay_as_they_are() {
    let desk = Desk::new();
    desk.serve().stop();
    let database = desk.path("data/auth.db");
    let listed = || {
        let entries = fs::read_dir(desk.path("data")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = (
        listed(),
        bytes_of(&database),
        bytes_of(&desk.path("data/keys/keyring.json")),
    );
    let report = bench(&desk, 0, &["rsa_bits=4096"]);
    assert_eq!(
        report["signing"]["key_bits"], 2_048,
        "the key that signs has 2,048 bits, whatever the next one will have"
    );
    assert!(report["database"]["folder"].as_str().unwrap().ends_with("data"));
    let after = (
        listed(),
        bytes_of(&database),
        bytes_of(&desk.path("data/keys/keyring.json")),
    );
    assert!(before == after, "something has changed");
}

#[rstest]
fn whoever_ends_it_finds_nothing_left_behind(#[values("HUP", "INT", "QUIT", "TERM")] signal: &str) {
    let desk = Desk::new();
    // Of each part so much that it is at the database for a while.
    let mut bench = desk.start(&["bench", "--seconds", "0.4"]);
    while desk.is_empty() {
        assert_eq!(
            bench.try_wait().unwrap(),
            None,
            "it has ended before anything was seen"
        );
        thread::yield_now();
    }
    let pid = bench.id().to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    assert!(sent.unwrap().success());
    Ran::from(bench.wait_with_output().unwrap()).failed(1, "interrupted");
    assert!(desk.is_empty());
}

#[test]
fn beside_a_server_that_runs_it_measures_too() {
    let desk = Desk::new();
    let _server = desk.serve();
    assert_eq!(failures(&bench(&desk, 0, &[])), [""; 0]);
}

#[test]
fn other_settings_are_measured_as_they_are_set() {
    let settings = ["rsa_bits=3072", "workers=1", "hashing_threads=3"];
    let report = bench(&Desk::new(), 0, &settings);
    assert_eq!(report["signing"]["key_bits"], 3_072);
    assert_eq!(report["machine"]["workers"], 1);
    assert_eq!(report["passwords"]["threads"], 3);
    assert_eq!(report["passwords"]["memory_kib"], 3 * 19_456);
}

#[test]
fn wrong_settings_and_spans_end_it_before_it_begins() {
    let desk = Desk::new();
    desk.run(&["bench", "--set", "log_level=loud"])
        .failed(2, "LOG_LEVEL");
    for seconds in ["0", "-1", "601", "long"] {
        desk.run(&["bench", &format!("--seconds={seconds}")])
            .failed(2, "seconds");
    }
    assert!(desk.is_empty());
}

#[test]
fn what_can_not_be_measured_is_said_beside_what_was() {
    let settings = ["db_url=sqlite:////proc/auth.db", "redis_url=redis://127.0.0.1:1"];
    let report = bench(&Desk::new(), 1, &settings);
    assert_eq!(failures(&report), ["database", "redis"]);
    is_positive(&report, "/signing/bound_per_second");
    is_positive(&report, "/estimate/refreshes_per_second");
    assert_eq!(report["estimate"]["refresh_alone_ms"], Value::Null);
    let away = bench(
        &Desk::new().with("AUTH_SERVICE__DB_URL", "postgresql://u:pencil@127.0.0.1:1/d"),
        1,
        &[],
    );
    assert_eq!(failures(&away), ["database"]);
    assert!(!away.to_string().contains("pencil"));
}

#[test]
fn the_ways_to_postgresql_and_redis_are_measured_and_nothing_is_stored_there() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let desk = Desk::new().with("AUTH_SERVICE__DB_URL", &database.url());
    let redis_url = format!("redis_url={}", redis.url());
    let report = bench(&desk, 0, &[&redis_url]);
    assert_eq!(report["database"]["kind"], "postgresql");
    for pointer in [
        "/database/answer/p50_ms",
        "/database/commit/p99_ms",
        "/redis/answer/p50_ms",
        "/estimate/refresh_alone_ms",
    ] {
        is_positive(&report, pointer);
    }
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(database.tell(tables).unwrap().trim(), "0");
    assert!(redis.tell("DBSIZE").unwrap().starts_with(":0\r\n"));
    assert!(desk.is_empty());
    let people = desk.run(&[&SHORT, ["--set", &redis_url].as_slice()].concat());
    let people = people.succeeded().out;
    assert!(
        people.contains("\ndatabase   a commit ") && people.contains("\nredis      an answer "),
        "{people}"
    );
}
