//! How devices are known: where the secret comes from that their notes are sealed with.
//!
//! All instances must have the same one, or a note of one is none to the next; so it is given by a setting, lies beside
//! the signing keys that they share, or follows from the key pair that they are given.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use auth_domain::device::{DevicePolicy, DeviceSecret};
use auth_domain::ports::Random;

use crate::files::{self, FileFault};
use crate::settings::{KeyPlace, Settings};

/// The name of the secret's file among the keys. It does not end as a key's does, and none is taken for it.
const SECRET_FILE: &str = "device.secret";

/// Why the secret can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFault {
    /// Its file can't be used.
    #[error("{}: {fault}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        fault: FileFault,
    },
    /// There is no file, and none can be made.
    #[error(
        "{} can't be made ({cause}): give the secret by AUTH_SERVICE__DEVICE_SECRET, or know no devices, by \
         AUTH_SERVICE__KNOWN_DEVICES=false",
        path.display()
    )]
    NotMade {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Its file holds something else.
    #[error("{}: it does not hold 64 hexadecimal digits", path.display())]
    NoSecret {
        /// Which.
        path: PathBuf,
    },
}

/// How devices are known by these settings; `None` where they are not. Makes the secret's file where there is none.
///
/// # Errors
/// [`DeviceFault`].
pub fn policy(settings: &Settings, random: &dyn Random) -> Result<Option<DevicePolicy>, DeviceFault> {
    let Some(devices) = &settings.devices else {
        return Ok(None);
    };
    let secret = match (&devices.secret, &settings.keys.place) {
        (Some(given), _) => given.clone(),
        (None, KeyPlace::Folder(folder)) => kept(&folder.join(SECRET_FILE), random)?,
        (None, KeyPlace::Pair { private, .. }) => derived(private)?,
    };
    Ok(Some(DevicePolicy {
        secret,
        lifetime: devices.lifetime,
    }))
}

/// Where the secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// Nowhere: no devices are known.
    Nowhere,
    /// In the settings.
    Setting,
    /// It follows from the given key pair.
    Derived,
    /// In this file, which is as it should be.
    File(PathBuf),
    /// It will be in this file, which is not there yet.
    NotYet(PathBuf),
}

/// Where the secret is by these settings. Makes none.
///
/// # Errors
/// [`DeviceFault`].
pub fn look_for_secret(settings: &Settings) -> Result<SecretPlace, DeviceFault> {
    let Some(devices) = &settings.devices else {
        return Ok(SecretPlace::Nowhere);
    };
    let path = match (&devices.secret, &settings.keys.place) {
        (Some(_), _) => return Ok(SecretPlace::Setting),
        (None, KeyPlace::Pair { private, .. }) => {
            return derived(private).map(|_| SecretPlace::Derived);
        }
        (None, KeyPlace::Folder(folder)) => folder.join(SECRET_FILE),
    };
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(SecretPlace::NotYet(path)),
        Err(error) => Err(fault_of(&path)(error.into())),
        Ok(_) => read(&path).map(|_| SecretPlace::File(path)),
    }
}

fn derived(private_key: &Path) -> Result<DeviceSecret, DeviceFault> {
    let content = files::read_private(private_key).map_err(fault_of(private_key))?;
    Ok(DeviceSecret::derived_from(&content))
}

/// The secret of a file, made where there is none.
fn kept(path: &Path, random: &dyn Random) -> Result<DeviceSecret, DeviceFault> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(path, random).map_err(|cause| DeviceFault::NotMade {
                path: path.to_owned(),
                cause,
            })?;
        }
        Err(error) => return Err(fault_of(path)(error.into())),
    }
    read(path)
}

fn read(path: &Path) -> Result<DeviceSecret, DeviceFault> {
    let content = files::read_private(path).map_err(fault_of(path))?;
    let secret = std::str::from_utf8(&content)
        .ok()
        .map(str::trim_ascii_end)
        .and_then(DeviceSecret::parse);
    secret.ok_or_else(|| DeviceFault::NoSecret {
        path: path.to_owned(),
    })
}

/// Makes the file, whole or not at all: of several processes at once one wins, and the others find its file. It is
/// written under a name that nobody else has, and then linked to its own, which fails where that is taken.
fn make(path: &Path, random: &dyn Random) -> io::Result<()> {
    let mut tail = [0_u8; 8];
    random.fill(&mut tail);
    let unfinished = path.with_extension(format!("{:016x}.new", u64::from_be_bytes(tail)));
    let linked = write_private(&unfinished, &DeviceSecret::generate_text(random))
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    let removed = std::fs::remove_file(&unfinished);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => other?,
    }
    removed?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn fault_of(path: &Path) -> impl FnOnce(FileFault) -> DeviceFault {
    let path = path.to_owned();
    |fault| DeviceFault::File { path, fault }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Barrier;
    use std::thread;

    use auth_domain::device::{KnownDevice, PasswordMark};
    use auth_testkit::build;
    use auth_testkit::clock::START;

    use super::*;
    use crate::system::SystemRandom;

    fn seal(secret: &DeviceSecret) -> String {
        let device = KnownDevice {
            id: auth_domain::device::DeviceId::generate(&auth_testkit::random::SeededRandom::default()),
            user_id: build::user_id(build::ALICE),
            password: PasswordMark::of(&build::user(build::ALICE).password_hash),
            expires_at: START,
        };
        device.seal(secret).expose().to_owned()
    }

    fn said(secret: Result<DeviceSecret, DeviceFault>) -> String {
        secret.map_or_else(|fault| fault.to_string(), |secret| seal(&secret))
    }

    #[test]
    fn the_secret_is_made_once_private_and_then_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SECRET_FILE);
        let first = seal(&kept(&path, &SystemRandom).unwrap());
        assert_eq!(first, seal(&kept(&path, &SystemRandom).unwrap()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim_end().len(), 64);
    }

    #[test]
    fn of_many_that_begin_at_once_all_have_the_same_secret() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(SECRET_FILE);
            let together = Barrier::new(8);
            let seals: BTreeSet<String> = thread::scope(|scope| {
                let begin = || {
                    together.wait();
                    said(kept(&path, &SystemRandom))
                };
                let starts: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            assert_eq!(seals.len(), 1, "{seals:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SECRET_FILE);
        kept(&path, &SystemRandom).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let fault = said(kept(&path, &SystemRandom));
        assert!(fault.contains("device.secret: others may read"), "{fault}");
    }

    #[test]
    fn where_no_file_can_be_made_the_message_names_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let message = said(kept(
            &folder.path().join("missing").join(SECRET_FILE),
            &SystemRandom,
        ));
        assert!(message.contains("AUTH_SERVICE__DEVICE_SECRET"), "{message}");
    }

    #[test]
    fn what_holds_anything_else_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SECRET_FILE);
        for content in [&b""[..], b"abc\n", &[b'a'; 63], &[b'a'; 65], b"\xff"] {
            write_private(&path, "").unwrap();
            fs::write(&path, content).unwrap();
            let fault = said(kept(&path, &SystemRandom));
            assert!(fault.contains("does not hold 64 hexadecimal digits"), "{fault}");
            assert_eq!(fs::read(&path).unwrap(), content);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_ordinary_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SECRET_FILE);
        fs::create_dir(&path).unwrap();
        let fault = said(kept(&path, &SystemRandom));
        assert!(fault.contains("no ordinary file"), "{fault}");
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let fault = said(kept(&path, &SystemRandom));
        assert!(fault.contains("no ordinary file"), "{fault}");
    }

    #[test]
    fn a_given_pair_gives_the_secret_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private.pem");
        write_private(&path, &"a key".repeat(50)).unwrap();
        assert_eq!(said(derived(&path)), said(derived(&path)));
        let other = folder.path().join("other.pem");
        write_private(&other, &"A key".repeat(50)).unwrap();
        assert_ne!(said(derived(&path)), said(derived(&other)));
    }
}
