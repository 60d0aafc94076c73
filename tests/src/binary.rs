//! Finds the server's binary, and has it built first where that is still to be done.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The variable that names a binary to be used as it is, in place of the one of this workspace.
pub const BINARY_VARIABLE: &str = "AUTH_E2E_BINARY";

/// The path of `auth-service`, built by the profile and into the directory that this program was built by and into.
///
/// # Panics
/// Where the build fails: there is nothing to test then.
pub fn auth_service() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os(BINARY_VARIABLE).map_or_else(build, PathBuf::from))
}

/// The directory that holds this workspace's `Cargo.toml`.
pub fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The directory that cargo builds this workspace into.
///
/// # Panics
/// Where this program does not lie where cargo puts its programs.
pub fn target_directory() -> PathBuf {
    layout().0
}

#[expect(clippy::panic, reason = "without the binary no test can say anything")]
fn build() -> PathBuf {
    let (target, profile) = layout();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "auth-server",
            "--bin",
            "auth-service",
        ])
        .args(["--profile", if profile == "debug" { "dev" } else { &profile }])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace_root())
        .status();
    match built {
        Ok(status) if status.success() => target.join(profile).join("auth-service"),
        Ok(status) => panic!("the server could not be built: cargo ended with {status}"),
        Err(error) => panic!("the server could not be built: {error}"),
    }
}

/// Cargo's target directory and the folder of the profile in it: programs lie in `TARGET/PROFILE`, tests in
/// `TARGET/PROFILE/deps`.
#[expect(clippy::panic, reason = "without the binary no test can say anything")]
fn layout() -> (PathBuf, String) {
    let found = env::current_exe().ok().and_then(|program| {
        let folder = program.parent()?;
        let profile = if folder.ends_with("deps") {
            folder.parent()?
        } else {
            folder
        };
        let name = profile.file_name()?.to_str()?.to_owned();
        Some((profile.parent()?.to_owned(), name))
    });
    found.unwrap_or_else(|| panic!("this program does not lie where cargo puts its programs"))
}
