//! The image: what its recipe says, and what the program needs of it. No engine builds it here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use auth_e2e::binary::{auth_service, workspace_root};
use tempfile::TempDir;

use super::{Environment, carried_out, command_of, files_under, text};

const DOCKERFILE: &str = "docker/Dockerfile";

/// The libraries that the program asks the system for, and the packages that hold them.
const LIBRARIES: &[(&str, &str)] = &[
    ("ld-linux-x86-64.so.2", "libc6"),
    ("libc.so.6", "libc6"),
    ("libcrypto.so.3", "libssl3"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libm.so.6", "libc6"),
    ("libpq.so.5", "libpq5"),
    ("libssl.so.3", "libssl3"),
];
/// What every Debian has.
const ALWAYS_THERE: &[&str] = &["libc6", "libgcc-s1"];

/// The instructions of the recipe, each on one line.
fn instructions() -> Vec<String> {
    let lines = text(DOCKERFILE);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Those of the image that is run.
fn last_stage() -> Vec<String> {
    let all = instructions();
    let begin = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    all[begin..].to_vec()
}

/// What follows the only instruction of a kind in the last stage.
#[track_caller]
fn only(kind: &str) -> String {
    let found: Vec<_> = last_stage()
        .iter()
        .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ').map(str::to_owned))
        .collect();
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0].clone()
}

/// The settings that the image has while nobody says otherwise.
pub(super) fn settings() -> Environment {
    only("ENV")
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The user that the image runs as, and its group.
pub(super) fn user() -> u32 {
    let user = only("USER");
    let (user, group) = user.split_once(':').unwrap();
    assert_eq!(user, group);
    user.parse().unwrap()
}

#[test]
fn the_recipe_is_as_hadolint_wants_it() {
    if let Some(mut hadolint) = command_of("hadolint") {
        carried_out(hadolint.arg("deploy/docker/Dockerfile"));
    }
}

#[test]
fn the_image_is_built_by_the_pinned_compiler() {
    let toolchain = fs::read_to_string(workspace_root().join("rust-toolchain.toml")).unwrap();
    let toolchain: toml::Table = toolchain.parse().unwrap();
    let pinned = toolchain["toolchain"]["channel"].as_str().unwrap();
    let instructions = instructions();
    let is_there = |line: &str| instructions.iter().any(|instruction| instruction == line);
    assert!(is_there(&format!("FROM rust:{pinned}-slim-bookworm AS build")));
    assert!(is_there(&format!("ENV RUSTUP_TOOLCHAIN={pinned}")));
    assert!(
        instructions
            .iter()
            .any(|line| line.contains("cargo build --locked --release"))
    );
}

#[test]
fn the_image_runs_as_a_number_that_is_not_root_and_needs_no_shell() {
    assert!(user() >= 10_000, "no user of the machine has that number");
    assert_eq!(only("ENTRYPOINT"), r#"["/usr/bin/auth-service"]"#);
    assert_eq!(only("CMD"), r#"["serve"]"#);
    assert!(only("HEALTHCHECK").ends_with(r#"CMD ["/usr/bin/auth-service", "health", "--live"]"#));
    let page = fs::read_to_string(workspace_root().join("docs/DEPLOYMENT.md")).unwrap();
    assert!(
        page.contains("`auth-service health --live`"),
        "the page says another"
    );
    assert_eq!(only("STOPSIGNAL"), "SIGTERM");
    assert_eq!(only("VOLUME"), r#"["/data"]"#);
}

#[test]
fn the_image_refuses_to_serve_the_world_by_what_it_has_and_says_what_is_missing() {
    let output = super::checked(&settings());
    let said = crate::support::everything_in(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("TRUSTED_PROXIES") && said.contains("JWT_ISSUER"),
        "{said}"
    );
    let given = [
        ("AUTH_SERVICE__JWT_ISSUER", "https://auth.example.org"),
        ("AUTH_SERVICE__TRUSTED_PROXIES", "10.0.0.0/24"),
    ];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    super::assert_accepted(&[settings(), given.to_vec()].concat());
}

#[test]
fn the_program_needs_no_library_that_the_image_and_the_package_do_not_install() {
    let Some(mut readelf) = command_of("readelf") else {
        return;
    };
    let headers = carried_out(readelf.args(["--dynamic", "--wide"]).arg(auth_service()));
    let needed: BTreeSet<&str> = headers
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
        .collect();
    assert!(needed.contains("libpq.so.5"), "{needed:?}");
    let run = last_stage()
        .into_iter()
        .find(|line| line.starts_with("RUN "))
        .unwrap();
    let depends = text("debian/control.in");
    let depends = depends
        .lines()
        .find(|line| line.starts_with("Depends: "))
        .unwrap();
    for library in needed {
        let known = LIBRARIES.iter().find(|(name, _)| *name == library);
        let (_, package) = known.unwrap_or_else(|| panic!("which package is {library} in?"));
        let is_in_image = ALWAYS_THERE.contains(package) || run.split(' ').any(|word| word == *package);
        assert!(is_in_image, "the image lacks {package}");
        let is_in_package = depends.split([',', ' ']).any(|word| word == *package);
        assert!(is_in_package, "the package lacks {package}");
    }
}

#[test]
fn what_the_image_is_built_from_is_whole_and_nothing_else() {
    let context = TempDir::new().unwrap();
    let rules = text("docker/Dockerfile.dockerignore");
    let (everything, kept): (Vec<_>, Vec<_>) = rules
        .lines()
        .filter(|line| !line.starts_with('#'))
        .partition(|line| !line.starts_with('!'));
    assert_eq!(everything, ["*"], "all is left out but what is named");
    for path in kept.iter().filter_map(|line| line.strip_prefix('!')) {
        copy(&workspace_root().join(path), &context.path().join(path));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "metadata",
        "--locked",
        "--offline",
        "--quiet",
        "--format-version",
        "1",
    ];
    carried_out(Command::new(cargo).args(arguments).current_dir(context.path()));
    // Whatever the code takes in at compile time is there as well.
    assert!(
        context
            .path()
            .join("migrations/postgres/0001_initial/up.sql")
            .exists()
    );
    for file in files_under(&workspace_root().join("crates")) {
        let is_source = file.extension().is_some_and(|extension| extension == "rs");
        let is_test = file.components().any(|part| part.as_os_str() == "tests");
        if is_source && !is_test {
            assert_includes_are_in(context.path(), &file);
        }
    }
}

/// Checks that the files which a source file includes are in a copy of the repository.
fn assert_includes_are_in(context: &Path, source: &Path) {
    let code = fs::read_to_string(source).unwrap();
    // What only tests of the same file include is not compiled into the program.
    let code = code.split("#[cfg(test)]").next().unwrap();
    let relative = source.strip_prefix(workspace_root()).unwrap();
    for macro_name in ["include_str!(\"", "include_bytes!(\""] {
        for rest in code.split(macro_name).skip(1) {
            let (named, _) = rest.split_once('"').unwrap();
            let included = context.join(relative).parent().unwrap().join(named);
            assert!(included.exists(), "{}: {named}", relative.display());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}
