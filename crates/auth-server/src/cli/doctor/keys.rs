//! The signing keys: private, of one owner, one that signs, and the next one in time.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auth_domain::key::{self, KeyState, KeyTimes};
use auth_domain::ports::{Clock as _, TokenSigner as _};
use auth_domain::time::{Seconds, Timestamp};
use auth_jwt::{KeyDescription, KeyError, KeyStore};
use serde_json::Value;

use super::finding::Finding;
use super::place::{self, Owned};
use crate::cli::failure::Failure;
use crate::cli::output::moment;
use crate::compose::{self, StartError};
use crate::files::user_named;
use crate::settings::{KeyPlace, Settings};
use crate::system::SystemClock;

const SUBJECT: &str = "keys";
/// What everybody may do.
const OF_EVERYBODY: u32 = 0o007;
const DAY: i64 = 86_400;
/// A key that no setting rotates and that is older than this should be, by somebody.
const OLD: i64 = 400 * DAY;
/// How late the next key may be: longer than a running server takes to make one.
const LATE: Seconds = Seconds::new(3_600);

/// What the keys came to.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    /// The names that a server by these settings publishes; `None` where that could not be found out.
    pub(super) published: Option<BTreeSet<String>>,
    /// Whether the folder holds keys, or may: something in it could not be read.
    pub(super) are_kept: bool,
}

/// Looks at the keys of the settings. Makes none.
pub(super) fn look(settings: &Settings) -> Examined {
    match &settings.keys.place {
        KeyPlace::Folder(folder) => look_into(folder, settings),
        KeyPlace::Pair { private, .. } => look_at_pair(private, settings),
    }
}

fn look_at_pair(private: &Path, settings: &Settings) -> Examined {
    let key_set = compose::open_keys(settings, Arc::new(SystemClock)).map(|keys| keys.key_set());
    match key_set {
        Ok(Ok(key_set)) => {
            let said = format!("{} and its public half belong together", private.display());
            Examined {
                findings: vec![Finding::ok(SUBJECT, said)],
                published: serde_json::from_slice(&key_set.json)
                    .ok()
                    .map(|set| names_in(&set)),
                are_kept: false,
            }
        }
        Ok(Err(outage)) => Examined::only(Finding::of_failure(SUBJECT, outage.into())),
        Err(error) => Examined::only(unusable(&settings.keys.place, error)),
    }
}

fn look_into(folder: &Path, settings: &Settings) -> Examined {
    let now = SystemClock.now();
    let found = match place::owned(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Examined::nothing(folder),
        Err(error) => return Examined::only(place::unreadable(SUBJECT, folder, &error)).kept(),
    };
    let store = match KeyStore::open_existing(compose::key_directory(settings, folder)) {
        Ok(Some(store)) => store,
        Ok(None) => return Examined::nothing(folder),
        Err(error) => return Examined::only(unusable(&settings.keys.place, error)).kept(),
    };
    let keys = match store.list(now) {
        Ok(keys) => keys,
        Err(error) => return Examined::only(unusable(&settings.keys.place, error)).kept(),
    };
    let lead = now.seconds_until(store.turned_over_after(now));
    let interval = settings.keys.rotation_interval;
    let mut findings = vec![access(folder, found), active(&keys, interval, now)];
    findings.extend(next(&keys, interval, lead, now));
    findings.extend(files(folder, found, &keys));
    Examined {
        findings,
        published: Some(published(&keys)),
        are_kept: true,
    }
}

impl Examined {
    fn only(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            ..Self::default()
        }
    }

    /// No key in a folder: what a server that runs publishes comes from elsewhere.
    fn nothing(folder: &Path) -> Self {
        Self {
            published: Some(BTreeSet::new()),
            ..Self::only(none_yet(folder))
        }
    }

    fn kept(self) -> Self {
        Self {
            are_kept: true,
            ..self
        }
    }

    /// The same beside a database in which users are signed in: where there is no key, there was one.
    pub(super) fn beside_sessions(self, place: &KeyPlace) -> Self {
        match (place, &self.published) {
            (KeyPlace::Folder(folder), Some(names)) if names.is_empty() && !self.are_kept => Self {
                findings: vec![lost(folder)],
                ..self
            },
            _ => self,
        }
    }
}

/// The names in a key set.
pub(super) fn names_in(key_set: &Value) -> BTreeSet<String> {
    let keys = key_set.get("keys").and_then(Value::as_array);
    let names = keys
        .into_iter()
        .flatten()
        .filter_map(|key| key.get("kid")?.as_str());
    names.map(ToOwned::to_owned).collect()
}

fn published(keys: &[KeyDescription]) -> BTreeSet<String> {
    let names = keys.iter().filter(|key| key.state != KeyState::Removed);
    names.map(|key| key.kid.to_string()).collect()
}

fn none_yet(folder: &Path) -> Finding {
    Finding::warn(
        SUBJECT,
        format!("there are none in {} yet", folder.display()),
        "`auth-service serve` makes the first one. If there should be some, is the folder mounted? AUTH_SERVICE__KEYS_DIR \
         names it.",
    )
}

fn lost(folder: &Path) -> Finding {
    Finding::fail(
        SUBJECT,
        format!(
            "there is none in {}, and users are signed in: their tokens were signed by keys that are somewhere else",
            folder.display()
        ),
        "`auth-service serve` does not start so. Is the folder mounted, and is it the one that all instances share \
         (AUTH_SERVICE__KEYS_DIR)? Put the keys of a backup there (docs/BACKUP.md). Where they are lost for good, \
         `auth-service keys rotate` makes new ones, and everybody signs in again.",
    )
}

fn unusable(place: &KeyPlace, error: KeyError) -> Finding {
    if let KeyError::Io { path, source, .. } = &error {
        return place::unreadable(SUBJECT, path, source);
    }
    let (KeyError::ReadableByOthers { path, .. } | KeyError::WritableByOthers { path, .. }) = &error else {
        return Finding::of_failure(SUBJECT, Failure::from(StartError::Keys(error)));
    };
    let commands = match place {
        KeyPlace::Folder(folder) => {
            let folder = folder.display();
            format!("chmod 0700 {folder} && chmod 0600 {folder}/*.pem {folder}/keyring.json")
        }
        // What else lies beside it is not known here.
        KeyPlace::Pair { .. } => format!("chmod 0600 {}", path.display()),
    };
    let mend = format!(
        "{commands}: nobody but the server's user, to whom it has to belong, may read a key. Who could before may have a \
         copy: docs/SECURITY.md says what to do then."
    );
    Finding {
        mend: Some(mend),
        ..Finding::of_failure(SUBJECT, Failure::from(StartError::Keys(error)))
    }
}

fn access(folder: &Path, found: Owned) -> Finding {
    let said = format!(
        "{} belongs to {}, mode {:04o}",
        folder.display(),
        user_named(found.owner),
        found.mode
    );
    if found.mode & OF_EVERYBODY == 0 {
        return Finding::ok(SUBJECT, said);
    }
    Finding::warn(
        SUBJECT,
        format!("{said}: everybody may see what lies in it"),
        format!("chmod 0700 {}", folder.display()),
    )
}

fn active(keys: &[KeyDescription], interval: Option<Seconds>, now: Timestamp) -> Finding {
    let Some(active) = keys.iter().find(|key| key.state == KeyState::Active) else {
        return Finding::fail(
            SUBJECT,
            "none of them signs now, so nobody can sign in",
            "Is this machine's clock right? `auth-service keys list` shows from when each signs; `auth-service keys rotate \
             --immediately` lets a new one sign at once.",
        );
    };
    let age = now.unix_seconds() - active.times.activates_at.unix_seconds();
    let said = format!(
        "{} signs, of {} bits, since {} days",
        active.kid,
        active.bits,
        age / DAY
    );
    match interval {
        None if age > OLD => Finding::warn(
            SUBJECT,
            format!("{said}, and no setting rotates it"),
            "`auth-service keys rotate` lets another follow; AUTH_SERVICE__KEY_ROTATION_INTERVAL does so by itself.",
        ),
        Some(interval) if age > i64::from(interval.get()) + i64::from(LATE.get()) => Finding::warn(
            SUBJECT,
            format!("{said}, longer than KEY_ROTATION_INTERVAL says"),
            "A running server publishes the next one in time: does one run, and may it write to the folder?",
        ),
        None | Some(_) => Finding::ok(SUBJECT, said),
    }
}

/// Whether the key that is to follow is published as long before as every verifier needs.
fn next(
    keys: &[KeyDescription],
    interval: Option<Seconds>,
    lead: Seconds,
    now: Timestamp,
) -> Option<Finding> {
    let following = keys.iter().find(|key| key.state == KeyState::Published);
    if let Some(key) = following {
        let from = moment(key.times.activates_at);
        return Some(Finding::ok(
            SUBJECT,
            format!("{} is published, and signs from {from} on", key.kid),
        ));
    }
    let times: Vec<KeyTimes> = keys.iter().map(|key| key.times).collect();
    let is_late = key::rotation_is_due(&times, interval?, lead, now.minus(LATE));
    Some(if is_late {
        Finding::warn(
            SUBJECT,
            "the next one should have been published by now",
            "A running server publishes it by itself: does one run, and may it write to the folder?",
        )
    } else {
        Finding::ok(SUBJECT, "the next one is not due yet")
    })
}

/// Files of keys that are not in use, and files of somebody else.
fn files(folder: &Path, found: Owned, keys: &[KeyDescription]) -> Vec<Finding> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()),
        Err(error) => return vec![place::unreadable(SUBJECT, folder, &error)],
    };
    let entries: Vec<(PathBuf, u32)> = entries
        .filter_map(|path| place::owned(&path).ok().map(|owned| (path, owned.owner)))
        .collect();
    vec![owners(found.owner, &entries), strays(&entries, keys)]
}

fn owners(owner: u32, entries: &[(PathBuf, u32)]) -> Finding {
    let strangers: Vec<_> = entries
        .iter()
        .filter(|(_, of_file)| *of_file != owner)
        .map(|(path, of_file)| format!("{} to {}", path.display(), user_named(*of_file)))
        .collect();
    if strangers.is_empty() {
        return Finding::ok(SUBJECT, "folder and files belong to one user");
    }
    Finding::warn(
        SUBJECT,
        format!(
            "the folder belongs to {}, but {}",
            user_named(owner),
            strangers.join(", ")
        ),
        format!(
            "chown {owner} them: a command that ran as another user has made them, and the server can't read them."
        ),
    )
}

fn strays(entries: &[(PathBuf, u32)], keys: &[KeyDescription]) -> Finding {
    let is_known = |path: &Path| {
        keys.iter()
            .any(|key| path.file_stem() == Some(key.kid.as_str().as_ref()))
    };
    let is_key = |path: &Path| path.extension() == Some("pem".as_ref());
    let strays: Vec<_> = entries
        .iter()
        .filter(|(path, _)| is_key(path) && !is_known(path))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if strays.is_empty() {
        return Finding::ok(
            SUBJECT,
            "no private key lies about that is not in use, a revoked one say",
        );
    }
    Finding::warn(
        SUBJECT,
        format!("in no use, and still private keys: {}", strays.join(", ")),
        "Delete them if nobody needs them: they were revoked, or never taken in.",
    )
}

#[cfg(test)]
mod tests {
    use auth_jwt::Kid;
    use rstest::rstest;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn key(name: &str, state: KeyState, days_ago: i64) -> KeyDescription {
        let at = Timestamp::from_unix_seconds(NOW.unix_seconds() - days_ago * DAY);
        KeyDescription {
            kid: Kid::parse(name).unwrap(),
            bits: 2_048,
            state,
            times: KeyTimes {
                published_at: at,
                activates_at: at,
                signed_until: at,
            },
        }
    }

    const MONTH: Seconds = Seconds::new(30 * 86_400);

    #[rstest]
    #[case(10, None, Verdict::Ok)]
    #[case(399, None, Verdict::Ok)]
    #[case(401, None, Verdict::Warn)]
    #[case(29, Some(MONTH), Verdict::Ok)]
    #[case(31, Some(MONTH), Verdict::Warn)]
    fn a_key_that_signs_for_too_long_is_warned_of(
        #[case] age: i64,
        #[case] interval: Option<Seconds>,
        #[case] verdict: Verdict,
    ) {
        let keys = [key("now", KeyState::Active, age)];
        assert_eq!(active(&keys, interval, NOW).verdict, verdict);
    }

    #[test]
    fn without_a_key_that_signs_nobody_signs_in() {
        let keys = [
            key("next", KeyState::Published, -1),
            key("old", KeyState::Retiring, 9),
        ];
        assert_eq!(active(&keys, None, NOW).verdict, Verdict::Fail);
    }

    #[rstest]
    #[case(&[("now", KeyState::Active, 29)], Some(MONTH), Some(Verdict::Ok))]
    #[case(&[("now", KeyState::Active, 30)], Some(MONTH), Some(Verdict::Warn))]
    #[case(&[("now", KeyState::Active, 30), ("next", KeyState::Published, -1)], Some(MONTH), Some(Verdict::Ok))]
    #[case(&[("now", KeyState::Active, 300)], None, None)]
    fn the_next_key_is_published_before_the_interval_ends(
        #[case] keys: &[(&str, KeyState, i64)],
        #[case] interval: Option<Seconds>,
        #[case] verdict: Option<Verdict>,
    ) {
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, state, ago)| key(name, *state, *ago))
            .collect();
        let found = next(&keys, interval, Seconds::new(4_200), NOW);
        assert_eq!(found.map(|finding| finding.verdict), verdict);
    }

    #[rstest]
    #[case(0o700, Verdict::Ok)]
    #[case(0o750, Verdict::Ok)]
    #[case(0o755, Verdict::Warn)]
    fn a_folder_that_everybody_may_see_into_is_warned_of(#[case] mode: u32, #[case] verdict: Verdict) {
        assert_eq!(
            access(Path::new("keys"), Owned { owner: 1, mode }).verdict,
            verdict
        );
    }

    #[rstest]
    #[case(KeyPlace::Folder("keys".into()), "chmod 0700 keys && chmod 0600 keys/*.pem keys/keyring.json:")]
    #[case(
        KeyPlace::Pair { private: "etc/a.pem".into(), public: "etc/b.pem".into(), kid: None },
        "chmod 0600 etc/a.pem:"
    )]
    fn what_lies_beside_the_keys_is_left_alone(#[case] place: KeyPlace, #[case] command: &str) {
        let error = KeyError::ReadableByOthers {
            path: "etc/a.pem".into(),
            mode: 0o644,
        };
        let finding = unusable(&place, error);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(
            finding.mend.as_deref().unwrap().starts_with(command),
            "{finding:?}"
        );
    }

    #[test]
    fn keys_that_are_not_there_yet_are_lost_beside_sessions() {
        let place = KeyPlace::Folder("keys".into());
        let verdict = |examined: Examined| examined.findings[0].verdict;
        assert_eq!(verdict(Examined::nothing(Path::new("keys"))), Verdict::Warn);
        let lost = Examined::nothing(Path::new("keys")).beside_sessions(&place);
        assert_eq!(verdict(lost), Verdict::Fail);
        let unread = Examined::only(Finding::ok(SUBJECT, "x"))
            .kept()
            .beside_sessions(&place);
        assert_eq!(verdict(unread), Verdict::Ok);
    }

    #[test]
    fn files_of_another_user_and_keys_in_no_use_are_told() {
        let entries = |names: &[(&str, u32)]| {
            names
                .iter()
                .map(|(name, owner)| (Path::new("keys").join(name), *owner))
                .collect::<Vec<_>>()
        };
        let own = entries(&[("now.pem", 7), ("keyring.json", 7), ("device.secret", 7)]);
        assert_eq!(owners(7, &own).verdict, Verdict::Ok);
        let other = owners(7, &entries(&[("now.pem", 4_000_000_000)]));
        assert!(
            other.verdict == Verdict::Warn && other.said.contains("keys/now.pem to user 4000000000"),
            "{other:?}"
        );
        let keys = [key("now", KeyState::Active, 1)];
        assert_eq!(strays(&own, &keys).verdict, Verdict::Ok);
        let stray = strays(&entries(&[("now.pem", 7), ("leaked.pem", 7)]), &keys);
        assert!(
            stray.verdict == Verdict::Warn && stray.said.contains("leaked.pem"),
            "{stray:?}"
        );
    }
}
