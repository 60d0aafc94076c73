//! The benchmark itself: each of its scenarios, too short to say anything but that it works.

use std::fs;
use std::process::{Command, Output};

use auth_e2e::binary::{BINARY_VARIABLE, auth_service, workspace_root};
use auth_e2e::load::report::{pages, read_all};
use auth_e2e::load::results::Results;
use rstest::rstest;
use tempfile::TempDir;

const SHORT: [&str; 10] = [
    "--runs",
    "2",
    "--seconds",
    "0.2",
    "--warm-up",
    "0.05",
    "--rsa-seconds",
    "0.02",
    "--users-core",
    "0",
];

fn bench(arguments: &[&str]) -> Output {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.env(BINARY_VARIABLE, auth_service()).args(arguments);
    bench.output().unwrap()
}

/// What a scenario writes for programs; it must have ended well, and have printed each of its cases.
fn measured(scenario: &str, options: &str) -> Results {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("results.json");
    let mut arguments = vec![scenario];
    arguments.extend(SHORT);
    arguments.extend(options.split_whitespace());
    arguments.extend(["--json", file.to_str().unwrap()]);
    let output = bench(&arguments);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let results = Results::read(&file).unwrap();
    assert_eq!(results.scenario, scenario);
    for case in &results.cases {
        assert!(printed.contains(&case.name), "{} in {printed}", case.name);
    }
    results
}

const REFRESHES: &str = "requests_per_second p50_ms p95_ms p99_ms max_ms server_cpu_us_each peak_memory_mib rsa_sign_us \
                         rsa_verify_us bound_per_second ratio_to_bound";
const BESIDE: &str = "requests_per_second p95_ms rsa_sign_us raw_per_second ratio_to_raw";
const PLAIN: &str = "requests_per_second p99_ms server_cpu_us_each";
const PACED: &str = "requests_per_second offered_per_second p99_ms served_p99_ms";

/// With cases by their names, and the figures that each must have.
#[rstest]
#[case::refresh("refresh", "--connections 2", &[("2 connections", REFRESHES), ("2 connections", "written_bytes_each")])]
#[case::refresh_pg(
    "refresh-pg",
    "--connections 2",
    &[("2 connections", REFRESHES), ("2 connections", "wal_bytes_each round_trips_each")]
)]
#[case::login("login", "--connections 2", &[("2 connections", BESIDE)])]
#[case::jwks("jwks", "--connections 2", &[("2 connections", BESIDE)])]
#[case::revoke("revoke", "--connections 2 --tokens 20", &[("2 connections", PLAIN)])]
#[case::introspect("introspect", "--connections 2", &[("2 connections", PLAIN)])]
#[case::mixed("mixed", "--connections 2", &[("2 connections", PLAIN)])]
#[case::storm(
    "storm",
    "--rounds 1 --users 2 --flood 64 --rate 50 --one-core",
    &[
        ("refresh, quiet", "p99_ms"),
        ("key set, quiet", "p99_ms"),
        ("refresh, under the flood", "p99_over_quiet"),
        ("key set, under the flood", "p99_over_quiet"),
        ("sign-ins of the flood", "offered_per_second raw_per_second"),
    ]
)]
#[case::scale(
    "scale",
    "--connections 2 --in-use 4 --chains 1000",
    &[("0 chains", REFRESHES), ("1,000 chains", "ratio_to_bound ratio_to_empty")]
)]
#[case::instances(
    "instances",
    "--instances 2 --cores 1 --connections 2 --counted 2 --redis",
    &[
        ("round trips of 2 users", "round_trips_each"),
        ("instances: 2, on cores: 1", "ratio_to_bound wal_bytes_each"),
    ]
)]
#[case::saturation(
    "saturation",
    "--connections 4",
    &[("peak", PLAIN), ("1 x the peak", PACED), ("4 x the peak", "ratio_to_peak unsent_share")]
)]
#[case::half_load("half-load", "--connections 2", &[("peak", PLAIN), ("half of the peak", PACED)])]
#[case::cores(
    "cores",
    "--connections 2 --second-core 0",
    &[("one core", REFRESHES), ("two cores", "ratio_to_one_core generator_share_of_core")]
)]
#[case::rest(
    "rest",
    "--connections 4 --starts 2",
    &[
        ("start", "start_ms"),
        ("at rest", "memory_mib"),
        ("4 connections", "hashing_memory_mib memory_beside_hashing_mib"),
    ]
)]
fn each_scenario_is_measured_and_has_its_figures(
    #[case] scenario: &str,
    #[case] options: &str,
    #[case] expected: &[(&str, &str)],
) {
    let results = serde_json::to_value(measured(scenario, options)).unwrap();
    let cases = results["cases"].as_array().unwrap();
    for (name, figures) in expected {
        let case = cases.iter().find(|case| case["name"] == **name);
        let case = case.unwrap_or_else(|| panic!("no case {name} in {results}"));
        for figure in figures.split_whitespace() {
            let value = case["median"]["figures"][figure].as_f64();
            // Linux counts processor time in hundredths of a second: in so short a run it may be none.
            let may_be_nothing = figure.contains("cpu") || figure.contains("share");
            let is_measured = value.is_some_and(|value| value > 0.0 || may_be_nothing);
            assert!(is_measured, "{figure} in {case}");
        }
    }
}

#[test]
fn without_a_subcommand_refreshes_are_measured() {
    let output = bench(&[SHORT.as_slice(), &["--connections", "1"]].concat());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.starts_with("scenario     refresh, "), "{printed}");
}

#[test]
fn a_missed_goal_ends_a_strict_run_with_one() {
    // B is of keys of 2,048 bits: by a longer one nobody signs at that rate.
    let arguments = "refresh --strict --connections 64 --set RSA_BITS=3072";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = bench(&[arguments.as_slice(), &SHORT].concat());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("\nmissed: refresh, 64 connections, of B: "),
        "{printed}"
    );
    assert!(printed.contains(", wanted at least 80.0 %\n"), "{printed}");
}

#[test]
fn a_strict_run_that_measures_no_goal_says_so_and_ends_with_one() {
    let output = bench(&[&["jwks", "--strict", "--connections", "1"], SHORT.as_slice()].concat());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("\nnot judged: "), "{printed}");
}

#[test]
fn the_documents_say_what_the_files_of_results_say() {
    for page in pages(workspace_root()).unwrap() {
        let written = fs::read_to_string(&page.path).unwrap_or_default();
        let path = page.path.display();
        assert_eq!(written, page.text, "`make bench-report` writes {path} anew");
    }
}

#[test]
fn scenarios_are_measured_one_after_another_and_their_goals_are_told() {
    let directory = TempDir::new().unwrap();
    let into = directory.path().to_str().unwrap();
    let output = bench(
        &[
            &["all", "--into", into, "--only", "half-load,rest", "--"],
            SHORT.as_slice(),
            &["--connections", "2"],
        ]
        .concat(),
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    let names: Vec<String> = read_all(directory.path())
        .unwrap()
        .into_iter()
        .map(|kept| kept.name)
        .collect();
    assert_eq!(names, ["half-load", "rest"]);
    assert!(printed.contains("| goal | wanted | measured | |"), "{printed}");
    let is_measured = |printed: &str, goal: &str| {
        let row = printed.lines().find(|line| line.starts_with(goal));
        !row.unwrap().ends_with("| not measured |")
    };
    assert!(is_measured(&printed, "| memory at rest "));
    let failing = [
        "all",
        "--into",
        into,
        "--only",
        "rest",
        "--",
        "--server-core",
        "1023",
    ];
    let output = bench(&failing);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(
        !is_measured(&printed, "| memory at rest "),
        "of an older run: {printed}"
    );
    assert!(is_measured(&printed, "| refresh at half load, p99 "), "{printed}");
}
