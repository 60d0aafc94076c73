//! The rule of dependencies: they point inward, and each outside library stays in the crates it was taken for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use auth_e2e::binary::workspace_root;
use serde_json::Value;

/// What each crate uses, exactly: of ours, and of the outside. A new library is a decision, and is entered here.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    (
        "auth-domain",
        &[],
        &[
            "async-trait",
            "base64",
            "hmac",
            "secrecy",
            "serde",
            "sha2",
            "subtle",
            "thiserror",
            "time",
            "uuid",
            "zeroize",
        ],
    ),
    (
        "auth-storage",
        &["auth-domain"],
        &[
            "async-trait",
            "diesel",
            "diesel_migrations",
            "libsqlite3-sys",
            "percent-encoding",
            "r2d2",
            "rusqlite",
            "rustix",
            "secrecy",
            "serde_json",
            "sha2",
            "tempfile",
            "thiserror",
            "tokio",
            "tracing",
            "uuid",
        ],
    ),
    (
        "auth-jwt",
        &["auth-domain"],
        &[
            "async-trait",
            "base64",
            "josekit",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "zeroize",
        ],
    ),
    (
        "auth-password",
        &["auth-domain"],
        &[
            "argon2",
            "async-trait",
            "bcrypt",
            "rustix",
            "subtle",
            "thiserror",
            "tokio",
            "tracing",
        ],
    ),
    (
        "auth-redis",
        &["auth-domain"],
        &["deadpool-redis", "futures", "sha2", "thiserror", "tokio"],
    ),
    (
        "auth-testkit",
        &["auth-domain"],
        &[
            "async-trait",
            "opentelemetry-proto",
            "prost",
            "rustix",
            "serde",
            "serde_json",
            "sha2",
            "tempfile",
            "tokio",
            "tonic",
            "uuid",
        ],
    ),
    (
        "auth-server",
        &[
            "auth-domain",
            "auth-jwt",
            "auth-password",
            "auth-redis",
            "auth-storage",
        ],
        &[
            "actix-http",
            "actix-server",
            "actix-service",
            "actix-web",
            "arc-swap",
            "async-trait",
            "base64",
            "clap",
            "clap_complete",
            "clap_mangen",
            "csv",
            "futures",
            "getrandom",
            "indicatif",
            "ipnet",
            "metrics",
            "metrics-exporter-prometheus",
            "opentelemetry",
            "opentelemetry-http",
            "opentelemetry-otlp",
            "opentelemetry_sdk",
            "rpassword",
            "rustix",
            "rustls",
            "secrecy",
            "serde",
            "serde_json",
            "strsim",
            "tempfile",
            "thiserror",
            "time",
            "tokio",
            "tokio-rustls",
            "toml",
            "tracing",
            "tracing-appender",
            "tracing-opentelemetry",
            "tracing-subscriber",
            "ureq",
            "utoipa",
            "uuid",
            "x509-cert",
            "zeroize",
        ],
    ),
    // For the services that receive tokens: it knows the server by its key set alone.
    (
        "codelab-auth-resource",
        &[],
        &[
            "actix-web",
            "base64",
            "http",
            "josekit",
            "rustls",
            "rustls-native-certs",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tower-layer",
            "tower-service",
            "tracing",
            "ureq",
        ],
    ),
];

/// This crate: it tests all others, and nobody uses it.
const TESTS: &str = "auth-e2e";

/// What the domain must not reach by any path: other people's runtimes, clocks, randomness, files and sockets.
const FOREIGN_TO_THE_DOMAIN: &[&str] = &[
    "actix",
    "argon2",
    "bcrypt",
    "diesel",
    "getrandom",
    "josekit",
    "libc",
    "mio",
    "openssl",
    "r2d2",
    "rand",
    "rustix",
    "serde_json",
    "socket2",
    "tokio",
    "tracing",
];

/// By these features, libraries that the domain has values of would ask the world for one of their own. Those that are
/// not named bring one of these along.
const WORLDLY_FEATURES: &[(&str, &[&str])] = &[("time", &["std"]), ("uuid", &["rng", "v1", "v6"])];

#[test]
fn each_crate_uses_exactly_what_it_may() {
    for package in packages() {
        let Some((_, ours, outside)) = ALLOWED.iter().find(|(name, ..)| *name == package.name) else {
            assert_eq!(package.name, TESTS, "this crate has no entry in the rule");
            continue;
        };
        let uses = &package.normal;
        let (our_uses, outside_uses): (BTreeSet<_>, BTreeSet<_>) = uses
            .iter()
            .map(String::as_str)
            .partition(|name| name.starts_with("auth-"));
        assert_eq!(
            our_uses,
            ours.iter().copied().collect(),
            "ours, used by {}",
            package.name
        );
        assert_eq!(
            outside_uses,
            outside.iter().copied().collect(),
            "libraries of {}",
            package.name
        );
    }
}

#[test]
fn every_entry_of_the_rule_is_a_crate() {
    let names: BTreeSet<String> = packages().into_iter().map(|package| package.name).collect();
    let entries = ALLOWED.iter().map(|(name, ..)| (*name).to_owned());
    assert_eq!(names, entries.chain([TESTS.to_owned()]).collect());
}

#[test]
fn tests_of_a_crate_add_only_the_testkit_of_ours() {
    for package in packages().iter().filter(|package| package.name != TESTS) {
        let foreign: Vec<&String> = package
            .dev
            .iter()
            .filter(|name| {
                name.starts_with("auth-") && *name != "auth-testkit" && !package.normal.contains(*name)
            })
            .collect();
        assert!(foreign.is_empty(), "tests of {} use {foreign:?}", package.name);
    }
}

#[test]
fn the_domain_reaches_no_io_clock_or_randomness_by_any_path() {
    let tree = cargo(&[
        "tree",
        "--package",
        "auth-domain",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ]);
    let reached: BTreeMap<&str, &str> = tree
        .lines()
        .filter_map(|line| {
            let (package, features) = line.split_once('|')?;
            Some((package.split(' ').next()?, features))
        })
        .collect();
    assert!(reached.contains_key("auth-domain"), "the tree has a root: {tree}");
    for name in reached.keys() {
        let foreign = FOREIGN_TO_THE_DOMAIN
            .iter()
            .find(|foreign| name.split(['-', '_']).next() == Some(**foreign));
        assert_eq!(foreign, None, "the domain reaches {name}");
    }
    for (name, worldly) in WORLDLY_FEATURES {
        let features = reached[name];
        let found = features
            .split([',', ' '])
            .find(|feature| worldly.contains(feature));
        assert_eq!(found, None, "a feature of the domain's {name}");
    }
}

#[test]
fn versions_stand_in_the_workspace_alone() {
    let folders = fs::read_dir(workspace_root().join("crates")).unwrap();
    let manifests = folders
        .map(|folder| folder.unwrap().path().join("Cargo.toml"))
        .chain(["tests/Cargo.toml", "integrations/rust/Cargo.toml"].map(|path| workspace_root().join(path)));
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).unwrap();
        let own: Vec<&str> = dependency_lines(&text)
            .filter(|line| !line.contains("workspace = true"))
            .collect();
        assert!(
            own.is_empty(),
            "{} has versions of its own: {own:?}",
            manifest.display()
        );
    }
}

/// The lines of a manifest that name a dependency.
fn dependency_lines(manifest: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    manifest.lines().filter(move |line| {
        if line.starts_with('[') {
            within = line.trim_end_matches(']').ends_with("dependencies");
            return false;
        }
        within && !line.trim().is_empty() && !line.starts_with('#')
    })
}

/// A member of the workspace and the names of what it depends on.
struct Package {
    name: String,
    normal: BTreeSet<String>,
    dev: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

fn package(package: &Value) -> Package {
    let dependencies = package["dependencies"].as_array().unwrap();
    let of_kind = |is_dev: bool| {
        dependencies
            .iter()
            .filter(|dependency| (dependency["kind"] == "dev") == is_dev)
            // What only a build script uses is not in the program.
            .filter(|dependency| dependency["kind"] != "build")
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect()
    };
    Package {
        name: package["name"].as_str().unwrap().to_owned(),
        normal: of_kind(false),
        dev: of_kind(true),
    }
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(workspace_root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
