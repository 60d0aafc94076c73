//! The load generator itself: a measurement of each kind, too short to say anything but that it works.

use std::time::Duration;

use auth_e2e::load::fleet::{Case, Fleet};
use auth_e2e::load::run::Plan;
use auth_e2e::load::users::Scenario;

#[test]
fn each_scenario_is_measured_without_a_failed_request() {
    for (scenario, has_ratio) in [
        (Scenario::Refresh, true),
        (Scenario::Login, false),
        (Scenario::Jwks, false),
    ] {
        let plan = Plan {
            scenario,
            connections: 2,
            runs: 2,
            long: Duration::from_millis(200),
            warm_up: Duration::from_millis(50),
            rsa: Duration::from_millis(20),
            server_core: 0,
            users_core: 0,
            directory: std::env::temp_dir(),
        };
        let measured = serde_json::to_value(plan.carry_out().unwrap()).unwrap();
        assert_eq!(measured["runs"].as_array().unwrap().len(), 2);
        let median = &measured["median"];
        for figure in ["requests_per_second", "p50_us", "bound_per_second"] {
            assert!(
                median[figure].as_f64().unwrap() > 0.0,
                "{scenario:?}: {figure} in {measured}"
            );
        }
        assert_eq!(median["ratio_to_bound"].is_number(), has_ratio);
    }
}

#[test]
fn several_instances_over_one_postgresql_are_measured_without_a_failed_request() {
    let fleet = Fleet {
        cases: vec![Case {
            instances: 2,
            cores: 1,
        }],
        connections: 4,
        runs: 2,
        long: Duration::from_millis(500),
        warm_up: Duration::from_millis(50),
        rsa: Duration::from_millis(20),
        redis: true,
    };
    let findings = serde_json::to_value(fleet.carry_out(&std::env::temp_dir()).unwrap()).unwrap();
    let median = &findings["measured"][0]["median"];
    for figure in [
        "refreshes_per_second",
        "ratio_to_bound",
        "server_cpu_us_each",
        "wal_bytes_each",
    ] {
        assert!(median[figure].as_f64().unwrap() > 0.0, "{figure} in {findings}");
    }
    // A look at the session, and its rotation, at the least.
    let round_trips = findings["round_trips_per_refresh"][0][1].as_f64().unwrap();
    assert!((1.0..10.0).contains(&round_trips), "{round_trips}");
}
