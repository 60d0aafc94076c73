//! The secret that cookies of known devices are sealed with: there, private, and no secret of somebody else's making.

use super::finding::Finding;
use super::place;
use crate::cli::failure::causes;
use crate::devices::{DeviceFault, SecretPlace, look_for_secret};
use crate::files::FileFault;
use crate::settings::{KeyPlace, Settings};

const SUBJECT: &str = "devices";

/// Looks for the secret of these settings. Makes none.
pub(super) fn look(settings: &Settings) -> Finding {
    match look_for_secret(settings) {
        Ok(place) => found(&place),
        Err(fault) => unusable(&fault, &settings.keys.place),
    }
}

fn found(place: &SecretPlace) -> Finding {
    match place {
        SecretPlace::Nowhere => Finding::ok(SUBJECT, "none are known: no secret is needed"),
        SecretPlace::Setting => Finding::ok(
            SUBJECT,
            "their secret is a setting: it must be the same for all instances",
        ),
        SecretPlace::Derived => Finding::ok(SUBJECT, "their secret follows from the given key pair"),
        SecretPlace::File(path) => Finding::ok(
            SUBJECT,
            format!("their secret is in {}, and private", path.display()),
        ),
        SecretPlace::NotYet(path) => Finding::ok(
            SUBJECT,
            format!("the next start makes their secret, in {}", path.display()),
        ),
    }
}

fn unusable(fault: &DeviceFault, keys: &KeyPlace) -> Finding {
    match fault {
        // There is no file of its own that could be mended.
        fault if matches!(keys, KeyPlace::Pair { .. }) => Finding::fail(
            SUBJECT,
            causes(fault),
            "Their secret follows from the given key pair: what mends the keys mends this too. Leave the key where it is.",
        ),
        DeviceFault::File {
            path,
            fault: FileFault::Io(error),
        } => place::unreadable(SUBJECT, path, error),
        other => Finding::fail(
            SUBJECT,
            causes(other),
            "The server would not start. Mend the file, or move it away: then a new one is made, and devices are known anew \
             after their next sign-in.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    #[test]
    fn a_secret_may_be_anywhere_but_must_not_be_readable_by_others() {
        let path = || PathBuf::from("device.secret");
        for place in [
            SecretPlace::Nowhere,
            SecretPlace::Setting,
            SecretPlace::Derived,
            SecretPlace::File(path()),
            SecretPlace::NotYet(path()),
        ] {
            assert_eq!(found(&place).verdict, Verdict::Ok, "{place:?}");
        }
        for fault in [
            DeviceFault::NoSecret { path: path() },
            DeviceFault::File {
                path: path(),
                fault: FileFault::ReadableByOthers { mode: 0o644 },
            },
            DeviceFault::File {
                path: path(),
                fault: FileFault::Io(std::io::ErrorKind::PermissionDenied.into()),
            },
        ] {
            let finding = unusable(&fault, &KeyPlace::Folder(PathBuf::new()));
            assert_eq!(finding.verdict, Verdict::Fail, "{finding:?}");
            assert!(finding.mend.is_some());
        }
    }
    #[test]
    fn nobody_is_advised_to_move_a_given_key_away() {
        let private = PathBuf::from("private.pem");
        let fault = DeviceFault::File {
            path: private.clone(),
            fault: FileFault::ReadableByOthers { mode: 0o644 },
        };
        let place = KeyPlace::Pair {
            public: private.clone(),
            private,
            kid: None,
        };
        let finding = unusable(&fault, &place);
        assert_eq!(finding.verdict, Verdict::Fail);
        let mend = finding.mend.unwrap();
        assert!(
            mend.contains("Leave the key") && !mend.contains("move it away"),
            "{mend}"
        );
    }
}
