//! The Debian package: made of the program that was built, looked into, unpacked, and run from where it was unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use auth_e2e::binary::auth_service;
use tempfile::TempDir;

use super::systemd::make_user_and_folders;
use super::{carried_out, command_of, deployed, text};

const DATE: &str = "1700000000";

/// Makes the package as quickly as that can be done; `None` where this is no Debian.
fn built(folder: &Path) -> Option<PathBuf> {
    command_of("dpkg-deb")?;
    let mut build = Command::new(deployed("debian/build"));
    build.env("COMPRESSION", "none").env("SOURCE_DATE_EPOCH", DATE);
    let said = carried_out(build.arg(auth_service()).arg(folder));
    Some(PathBuf::from(said.trim()))
}

fn dpkg_deb(arguments: &[&str], package: &Path, rest: &[&Path]) -> String {
    carried_out(Command::new("dpkg-deb").args(arguments).arg(package).args(rest))
}

/// The files of a package with their modes and owners.
fn contents(package: &Path) -> BTreeMap<String, String> {
    dpkg_deb(&["--contents"], package, &[])
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (
                words[5].trim_start_matches('.').to_owned(),
                format!("{} {}", words[0], words[1]),
            )
        })
        .collect()
}

#[test]
fn the_package_holds_the_program_its_unit_its_manual_and_settings_that_an_upgrade_keeps() {
    let folder = TempDir::new().unwrap();
    let Some(package) = built(folder.path()) else {
        return;
    };
    let contents = contents(&package);
    for (path, mode) in [
        ("/", "drwxr-xr-x"),
        ("/usr/bin/auth-service", "-rwxr-xr-x"),
        ("/usr/lib/systemd/system/auth-service.service", "-rw-r--r--"),
        ("/usr/lib/sysusers.d/auth-service.conf", "-rw-r--r--"),
        ("/usr/lib/tmpfiles.d/auth-service.conf", "-rw-r--r--"),
        ("/etc/auth-service/auth-service.toml", "-rw-r-----"),
        ("/usr/share/man/man1/auth-service.1.gz", "-rw-r--r--"),
        ("/usr/share/man/man1/auth-service-user-create.1.gz", "-rw-r--r--"),
        (
            "/usr/share/bash-completion/completions/auth-service",
            "-rw-r--r--",
        ),
        ("/usr/share/zsh/vendor-completions/_auth-service", "-rw-r--r--"),
        (
            "/usr/share/fish/vendor_completions.d/auth-service.fish",
            "-rw-r--r--",
        ),
        ("/usr/share/doc/auth-service/copyright", "-rw-r--r--"),
        ("/usr/share/doc/auth-service/changelog.gz", "-rw-r--r--"),
        ("/usr/share/doc/auth-service/README.md", "-rw-r--r--"),
        ("/usr/share/doc/auth-service/docs/SETTINGS.md", "-rw-r--r--"),
        ("/usr/share/doc/auth-service/docs/openapi.json", "-rw-r--r--"),
        (
            "/usr/share/doc/auth-service/deploy/nginx/auth-service.conf",
            "-rw-r--r--",
        ),
        (
            "/usr/share/doc/auth-service/deploy/grafana/auth-service.json",
            "-rw-r--r--",
        ),
    ] {
        let expected = format!("{mode} root/root");
        assert_eq!(contents.get(path), Some(&expected), "{path} in {contents:#?}");
    }
    let strangers: Vec<_> = contents
        .iter()
        .filter(|(_, of)| !of.ends_with(" root/root"))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");

    let field = |name: &str| {
        dpkg_deb(&["--field"], &package, &[Path::new(name)])
            .trim()
            .to_owned()
    };
    assert_eq!(field("Package"), "auth-service");
    assert!(
        field("Version").starts_with(env!("CARGO_PKG_VERSION")),
        "{}",
        field("Version")
    );
    assert!(field("Installed-Size").parse::<u64>().unwrap() > 1_000);
    let kept = dpkg_deb(&["--info"], &package, &[Path::new("conffiles")]);
    assert_eq!(kept, text("debian/conffiles"));
}

#[test]
fn the_same_program_makes_the_same_package() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let packages = folders.each_ref().map(|folder| built(folder.path()));
    let [Some(first), Some(second)] = packages else {
        return;
    };
    assert_eq!(first.file_name(), second.file_name());
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap());
}

#[test]
fn the_unpacked_program_runs_and_its_user_may_read_its_settings_and_nobody_else() {
    let folder = TempDir::new().unwrap();
    let Some(package) = built(folder.path()) else {
        return;
    };
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    dpkg_deb(&["--extract"], &package, &[&root]);
    let version = carried_out(Command::new(root.join("usr/bin/auth-service")).arg("--version"));
    assert_eq!(
        version.trim(),
        format!("auth-service {}", env!("CARGO_PKG_VERSION"))
    );

    if !make_user_and_folders(&root) {
        return;
    }
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let user = users
        .lines()
        .find(|line| line.starts_with("auth-service:"))
        .unwrap();
    let fields: Vec<_> = user.split(':').collect();
    assert_eq!(
        (fields[5], fields[6]),
        ("/var/lib/auth-service", "/usr/sbin/nologin")
    );
    let (uid, gid): (u32, u32) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
    for (path, mode, owner) in [
        ("var/lib/auth-service", 0o700, (uid, gid)),
        ("etc/auth-service", 0o750, (0, gid)),
        ("etc/auth-service/secrets", 0o750, (0, gid)),
        ("etc/auth-service/auth-service.toml", 0o640, (0, gid)),
    ] {
        let metadata = fs::metadata(root.join(path)).unwrap();
        let found = (
            metadata.permissions().mode() & 0o7777,
            (metadata.uid(), metadata.gid()),
        );
        assert_eq!(found, (mode, owner), "{path}");
    }
}

/// Where links lead that are about the source, which no package holds.
const OF_THE_SOURCE: [&str; 4] = [".ci", "crates", "integrations", "tests"];

#[test]
fn every_link_of_the_documents_leads_somewhere_within_the_package() {
    let folder = TempDir::new().unwrap();
    let Some(package) = built(folder.path()) else {
        return;
    };
    dpkg_deb(&["--extract"], &package, &[folder.path()]);
    let root = folder.path().join("usr/share/doc/auth-service");
    let mut broken = Vec::new();
    for page in crate::documents::pages() {
        if page.path.starts_with("integrations/") {
            continue;
        }
        let file = root.join(&page.path);
        assert!(file.exists(), "{} is not in the package", page.path);
        for (line, link) in &page.links {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains(':') {
                continue;
            }
            let target = crate::documents::without_dots(&Path::new(&page.path).parent().unwrap().join(path));
            let is_source = OF_THE_SOURCE.iter().any(|folder| target.starts_with(folder));
            if !is_source && !root.join(&target).exists() {
                broken.push(format!("{}:{line}: {link}", page.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_scripts_of_the_package_are_sound_shell() {
    for script in ["build", "postinst", "prerm", "postrm", "../compose/prepare"] {
        carried_out(Command::new("sh").arg("-n").arg(deployed("debian").join(script)));
    }
}
