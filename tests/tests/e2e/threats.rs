//! The list of threats in `tests/threats.toml`: every row is held by tests that exist, or by an argument that does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use auth_e2e::binary::workspace_root;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Threats {
    threat: Vec<Threat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Threat {
    section: String,
    #[serde(rename = "threat")]
    name: String,
    behaviour: String,
    figure: String,
    #[serde(default)]
    tests: Vec<String>,
    argument: Option<String>,
}

fn threats() -> Vec<Threat> {
    let text = fs::read_to_string(workspace_root().join("tests/threats.toml")).unwrap();
    toml::from_str::<Threats>(&text).unwrap().threat
}

#[test]
fn every_threat_is_held_by_a_test_or_an_argument() {
    let threats = threats();
    assert!(threats.len() > 30);
    for threat in &threats {
        let Threat {
            section,
            name,
            behaviour,
            figure,
            ..
        } = threat;
        assert!(
            [section, name, behaviour, figure]
                .iter()
                .all(|text| !text.is_empty()),
            "{name}"
        );
        assert!(
            !threat.tests.is_empty() || threat.argument.is_some(),
            "{name} is held by nothing"
        );
        if let Some(argument) = &threat.argument {
            let (document, anchor) = argument.split_once('#').unwrap();
            let anchors = anchors(&workspace_root().join(document));
            assert!(anchors.contains(anchor), "{name}: no {argument}");
        }
    }
    let names: BTreeSet<&str> = threats.iter().map(|threat| threat.name.as_str()).collect();
    assert_eq!(names.len(), threats.len(), "two rows have one name");
}

/// The anchors that a page's headings make.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let slug = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|kept| kept.is_alphanumeric() || matches!(kept, ' ' | '-' | '_'));
        kept.map(|kept| if kept == ' ' { '-' } else { kept }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn every_test_that_the_threats_name_exists() {
    for name in threats().iter().flat_map(|threat| &threat.tests) {
        let (binary, test) = name.split_once(' ').unwrap();
        let package = binary.split("::").next().unwrap();
        let function = format!("fn {}(", test.rsplit("::").next().unwrap());
        // A contract's tests are written once, in the testkit, and named where they are run.
        let sources = [sources_of(package), sources_of("auth-testkit")].concat();
        let is_there = sources
            .iter()
            .any(|file| fs::read_to_string(file).unwrap().contains(&function));
        assert!(is_there, "{name} does not exist");
    }
}

fn sources_of(package: &str) -> Vec<PathBuf> {
    let root = workspace_root();
    let folder = if package == "auth-e2e" {
        root.join("tests")
    } else {
        root.join("crates").join(package)
    };
    let mut files = Vec::new();
    for part in ["src", "tests"] {
        collect(&folder.join(part), &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_and_known_holes_are_below_the_locked_versions() {
    let root = workspace_root();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for folder in fs::read_dir(root.join("crates")).unwrap() {
        let manifest = fs::read_to_string(folder.unwrap().path().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{manifest}");
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    // The first versions without a hole that was known when this was written.
    for (name, floor) in [
        ("diesel", [2, 3, 10]),
        ("bcrypt", [0, 19, 2]),
        ("openssl", [0, 10, 72]),
    ] {
        assert!(locked_version(&lock, name).unwrap() >= floor, "{name}");
    }
    // Its timing tells the private key (RUSTSEC-2023-0071).
    assert!(
        locked_version(&lock, "rsa").is_none(),
        "the crate rsa signs nothing here"
    );
}

fn locked_version(lock: &str, name: &str) -> Option<[u32; 3]> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    let (version, _) = rest.split_once('"')?;
    let mut numbers = version
        .split(['.', '-', '+'])
        .map(|number| number.parse().unwrap());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}
