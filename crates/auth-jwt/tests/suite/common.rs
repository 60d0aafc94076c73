//! Key rings in temporary directories.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auth_domain::time::{Seconds, Timestamp};
use auth_jwt::{DirectorySettings, KeyBits, KeyError, KeyRing, KeySource, KeyStore, Kid, PUBLICATION_MARGIN};
use auth_testkit::MockClock;
use tempfile::TempDir;

/// How long verifiers keep the key set.
pub(crate) const CACHE: Seconds = Seconds::new(3_600);

/// How long a new key is published before it signs.
pub(crate) const LEAD: Seconds = Seconds::new(CACHE.get() + PUBLICATION_MARGIN.get());

/// The name of the older service's key.
pub(crate) const KID_OF_OLD: &str = "2024-01-key-1";

/// A directory of its own for each test.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("there is room for a test's files")
}

/// Settings of a directory in which only the test rotates.
pub(crate) fn settings(path: &Path) -> DirectorySettings {
    DirectorySettings {
        path: path.to_owned(),
        bits: KeyBits::Rsa2048,
        rotation_interval: None,
        cache_lifetime: CACHE,
    }
}

/// A ring over a directory.
pub(crate) fn try_ring(path: &Path, clock: &MockClock) -> Result<KeyRing, KeyError> {
    KeyRing::open(KeySource::Directory(settings(path)), Arc::new(clock.clone()))
}

/// A ring over a directory that is in order.
pub(crate) fn ring(path: &Path, clock: &MockClock) -> KeyRing {
    try_ring(path, clock).expect("the directory is in order")
}

/// The directory itself, as the command line uses it.
pub(crate) fn store(path: &Path, now: Timestamp) -> KeyStore {
    KeyStore::open(settings(path), now).expect("the directory is in order")
}

/// A name.
pub(crate) fn kid(text: &str) -> Kid {
    Kid::parse(text).expect("a test's kid is a good one")
}

/// A file among the fixtures.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/older-service")
        .join(name);
    std::fs::read(path).expect("the fixture is there")
}

/// A file among what the older service leaves behind.
pub(crate) fn legacy_fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/legacy")
        .join(name);
    std::fs::read(path).expect("the fixture is there")
}

/// Writes a file of that mode.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> PathBuf {
    std::fs::write(path, content).expect("there is room for a test's files");
    set_mode(path, mode);
    path.to_owned()
}

/// Sets a file's mode.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is the test's own");
}

/// The mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path)
        .expect("the file is there")
        .permissions()
        .mode()
        & 0o7777
}

/// The older service's key pair, as it would be given by settings.
pub(crate) fn pair_of_old(directory: &Path) -> KeySource {
    KeySource::Pair {
        private_key_path: write(&directory.join("private.pem"), &fixture("private_key.pem"), 0o600),
        public_key_path: Some(write(
            &directory.join("public.pem"),
            &fixture("public_key.pem"),
            0o644,
        )),
        kid: Some(kid(KID_OF_OLD)),
    }
}

/// A ring of the older service's key pair.
pub(crate) fn ring_of_old(directory: &Path) -> KeyRing {
    KeyRing::open(pair_of_old(directory), Arc::new(MockClock::default())).expect("the pair is in order")
}
