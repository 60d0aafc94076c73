//! The load generator itself: a measurement of each kind, too short to say anything but that it works.

use std::time::Duration;

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
