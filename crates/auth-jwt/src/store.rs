//! A directory of keys: one PEM file for each, and a manifest from whose points in time every state follows.
//!
//! Nothing is written when a state merely changes. Every change is read, made and written under a lock, so that
//! several processes may share the directory.

use std::path::{Path, PathBuf};

use auth_domain::key::{self, KeyState, KeyTimes};
use auth_domain::time::{Seconds, Timestamp};
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::file;
use crate::kid::Kid;
use crate::manifest::{KeyRecord, MANIFEST, Manifest};
use crate::rsa::{KeyBits, RsaKey};

/// Where keys are kept, and how they follow each other.
#[derive(Debug, Clone)]
pub struct DirectorySettings {
    /// The directory.
    pub path: PathBuf,
    /// The length of new keys.
    pub bits: KeyBits,
    /// How long a key signs before the next one does; `None` where only the operator rotates.
    pub rotation_interval: Option<Seconds>,
    /// How long a verifier may keep the key set: a new key does not sign before that and
    /// [`PUBLICATION_MARGIN`] have passed.
    pub cache_lifetime: Seconds,
}

/// How much longer a new key is published before it signs than verifiers may keep the key set.
///
/// A running server notices a key that another process made only when it next looks at the directory, which takes
/// seconds, or more where reading fails for a while; and until then verifiers still fetch the older set. The clocks of
/// instances differ, and a shared cache may be slow to let go. Ten minutes cover all of that together.
pub const PUBLICATION_MARGIN: Seconds = Seconds::new(600);

impl DirectorySettings {
    /// How long a new key is published before it signs.
    const fn publication_lead(&self) -> Seconds {
        Seconds::new(self.cache_lifetime.get().saturating_add(PUBLICATION_MARGIN.get()))
    }
}

/// A directory of keys, for administration. The server uses it through [`KeyRing`](crate::KeyRing).
#[derive(Debug)]
pub struct KeyStore {
    settings: DirectorySettings,
}

/// What there is to say about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// Its name.
    pub kid: Kid,
    /// The length of its modulus.
    pub bits: u32,
    /// Its state at the moment asked for.
    pub state: KeyState,
    /// The points in time from which the state follows.
    pub times: KeyTimes,
}

/// What an imported key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportAs {
    /// It shall sign, once verifiers know it: the next key. Where there is none yet it is the first, and signs at once.
    Signer,
    /// It has signed elsewhere, and shall only verify until the last of those tokens has expired.
    Verifier {
        /// When that is.
        until: Timestamp,
    },
}

/// What came of withdrawing a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// It is in the key set no more, and was in this state before.
    Done(KeyState),
    /// It is the key that signs: without it nobody could sign in. Another has to take over first.
    Signs,
    /// There is no key of that name.
    Unknown,
}

impl KeyStore {
    /// Opens a directory; makes it, and a first key that signs at once, where there is none yet.
    ///
    /// # Errors
    /// A directory or key that others can write or read, a manifest that is lost or malformed, or a file system
    /// that refuses.
    pub fn open(settings: DirectorySettings, now: Timestamp) -> Result<Self, KeyError> {
        let store = Self { settings };
        file::private_directory(store.path())?;
        if !store.has_keys()? {
            store.make_first(now)?;
        }
        Ok(store)
    }

    /// Opens a directory to take a key in, and makes it where there is none yet. A first key of its own it gets only
    /// where the one to be taken in shall not sign: verifiers that know an older server's key alone, from their copy of its
    /// key set, then never meet another before its time.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for_import(
        settings: DirectorySettings,
        purpose: ImportAs,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let ImportAs::Signer = purpose else {
            return Self::open(settings, now);
        };
        let store = Self { settings };
        file::private_directory(store.path())?;
        let _lock = file::lock_directory(store.path())?;
        store.begin()?;
        Ok(store)
    }

    /// Opens a directory that has keys, and makes nothing: `None` where there is none, or no key in it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(settings: DirectorySettings) -> Result<Option<Self>, KeyError> {
        let store = Self { settings };
        let path = store.path();
        if !path.try_exists().map_err(KeyError::io("look for", path))? {
            return Ok(None);
        }
        file::check_private_directory(path)?;
        Ok(store.has_keys()?.then_some(store))
    }

    /// Every key of the directory, in the order in which they came.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn list(&self, now: Timestamp) -> Result<Vec<KeyDescription>, KeyError> {
        let manifest = self.manifest()?;
        manifest
            .with_states(now)
            .map(|(record, state)| {
                Ok(KeyDescription {
                    kid: record.kid.clone(),
                    bits: self.load(&record.kid)?.bits(),
                    state,
                    times: record.times(),
                })
            })
            .collect()
    }

    /// Makes a new key and publishes it. It signs when every verifier's cache has turned over, and
    /// [`PUBLICATION_MARGIN`] later.
    ///
    /// # Errors
    /// A key that can't be made, or a file system that refuses.
    pub fn rotate(&self, now: Timestamp) -> Result<KeyDescription, KeyError> {
        self.publish_new(now, |times| self.activation(times, now))
    }

    /// Makes a new key that signs at once.
    ///
    /// For a key that has leaked, and nothing else: for as long as a verifier keeps its copy of the key set (an hour
    /// in the field) it refuses every token that the new key signs, so users see errors or are signed out.
    ///
    /// # Errors
    /// A key that can't be made, or a file system that refuses.
    pub fn rotate_at_once(&self, now: Timestamp) -> Result<KeyDescription, KeyError> {
        self.publish_new(now, |_| now)
    }

    /// Takes a key in that was made elsewhere: an RSA private key in PEM. Without a `kid` it is named by its
    /// thumbprint. To take in a verifier again only makes it verify for longer, where that is later than before.
    ///
    /// # Errors
    /// A text that is no usable key, a name that is taken, or a file system that refuses.
    pub fn import(
        &self,
        pem: &[u8],
        kid: Option<Kid>,
        purpose: ImportAs,
        now: Timestamp,
    ) -> Result<KeyDescription, KeyError> {
        let key = RsaKey::from_pem(pem).map_err(KeyError::NotImportable)?;
        let kid = match kid {
            Some(given) => given,
            None => key.thumbprint().map_err(KeyError::NotImportable)?,
        };
        self.update(|manifest| {
            if let ImportAs::Verifier { until } = purpose
                && let Some(known) = self.find_same(manifest, &kid, &key)?
            {
                known.raise_signed_until(until);
                let times = known.times();
                return Ok(describe(kid, &key, manifest, times, now));
            }
            let times = match purpose {
                ImportAs::Signer => unused(now, self.activation(&manifest.times(), now)),
                // Before every other activation, so that it never signs.
                ImportAs::Verifier { until } => KeyTimes {
                    published_at: now,
                    activates_at: Timestamp::default(),
                    signed_until: until,
                },
            };
            self.add(manifest, pem, &kid, times)?;
            Ok(describe(kid, &key, manifest, times, now))
        })
    }

    /// The state of a key, if there is one of that name. Its file is not read.
    ///
    /// # Errors
    /// A manifest that can't be read.
    pub fn state(&self, kid: &Kid, now: Timestamp) -> Result<Option<KeyState>, KeyError> {
        Ok(state_in(&self.manifest()?, kid, now))
    }

    /// Takes a key that does not sign out of the key set at once, and deletes its file: for one that has leaked, or
    /// that nobody wanted. Whatever it has signed is refused from then on, here at once, by a verifier when its copy of
    /// the key set has turned over.
    ///
    /// A file that can't be deleted is good for nothing all the same; [`strays`](Self::strays) tells of it.
    ///
    /// # Errors
    /// A file system that refuses: then nothing has changed.
    pub fn withdraw(&self, kid: &Kid, now: Timestamp) -> Result<Withdrawn, KeyError> {
        let _lock = file::lock_directory(self.path())?;
        let mut manifest = self.manifest()?;
        let before = match state_in(&manifest, kid, now) {
            None => return Ok(Withdrawn::Unknown),
            Some(KeyState::Active) => return Ok(Withdrawn::Signs),
            Some(before) => before,
        };
        manifest.keys.retain(|record| record.kid != *kid);
        self.write(&manifest)?;
        let _ = std::fs::remove_file(self.key_path(kid));
        Ok(Withdrawn::Done(before))
    }

    /// When no verifier has the key set of before that moment any more: when its caches have turned over, and
    /// [`PUBLICATION_MARGIN`] later.
    pub const fn turned_over_after(&self, moment: Timestamp) -> Timestamp {
        moment.plus(self.settings.publication_lead())
    }

    /// Deletes the files of keys that are good for nothing any more, and says which.
    ///
    /// # Errors
    /// A file system that refuses.
    pub fn sweep(&self, now: Timestamp) -> Result<Vec<Kid>, KeyError> {
        let _lock = file::lock_directory(self.path())?;
        let mut manifest = self.manifest()?;
        let is_removed = |(record, state): (&KeyRecord, KeyState)| {
            (state == KeyState::Removed).then(|| record.kid.clone())
        };
        let removed: Vec<Kid> = manifest.with_states(now).filter_map(is_removed).collect();
        if removed.is_empty() {
            return Ok(removed);
        }
        // The manifest first: a key without an entry is ignored, an entry without its key stops the next start.
        manifest.keys.retain(|record| !removed.contains(&record.kid));
        self.write(&manifest)?;
        for kid in &removed {
            let path = self.key_path(kid);
            std::fs::remove_file(&path).map_err(KeyError::io("delete", &path))?;
        }
        file::sync_directory(self.path())?;
        Ok(removed)
    }

    /// The key files that the manifest does not name: left by a deletion that failed or a process that died, or put
    /// there by somebody. They are good for nothing here, but still private keys.
    ///
    /// # Errors
    /// A file system that refuses.
    pub fn strays(&self) -> Result<Vec<PathBuf>, KeyError> {
        // Under the lock: a key that is being added has its file before its entry.
        let _lock = file::lock_directory(self.path())?;
        let manifest = self.manifest()?;
        let mut files = self.key_files()?;
        files.retain(|file| {
            !manifest
                .keys
                .iter()
                .any(|record| *file == self.key_path(&record.kid))
        });
        Ok(files)
    }

    /// How long a key signs before the next one does, where keys are rotated without an operator.
    pub(crate) const fn rotation_interval(&self) -> Option<Seconds> {
        self.settings.rotation_interval
    }

    /// Publishes the next key where the interval says so.
    pub(crate) fn rotate_if_due(&self, now: Timestamp) -> Result<Option<KeyDescription>, KeyError> {
        let Some(interval) = self.settings.rotation_interval else {
            return Ok(None);
        };
        let is_due = |manifest: &Manifest| {
            key::rotation_is_due(&manifest.times(), interval, self.settings.publication_lead(), now)
        };
        if !is_due(&self.manifest()?) {
            return Ok(None);
        }
        let (key, pem, kid) = self.generate()?;
        self.update(|manifest| {
            // Another process may have come first while the key was made.
            if !is_due(manifest) {
                return Ok(None);
            }
            let times = unused(now, self.activation(&manifest.times(), now));
            self.add(manifest, &pem, &kid, times)?;
            Ok(Some(describe(kid, &key, manifest, times, now)))
        })
    }

    /// Notes, durably, that a key has signed tokens that live so long, here or elsewhere: it verifies until then at
    /// least, and never for less than it did before.
    ///
    /// # Errors
    /// No key of that name, or a file system that refuses.
    pub fn raise_signed_until(&self, kid: &Kid, until: Timestamp) -> Result<(), KeyError> {
        self.update(|manifest| {
            manifest
                .find_mut(kid)
                .map(|record| record.raise_signed_until(until))
                .ok_or_else(|| KeyError::Gone(kid.clone()))
        })
    }

    /// The manifest as it is on the disk. It is small: reading it is as cheap as asking whether it has changed, and
    /// can't be deceived by a coarse clock.
    pub(crate) fn read_manifest(&self) -> Result<Vec<u8>, KeyError> {
        file::read_public(&self.manifest_path()).map(|mut content| std::mem::take(&mut *content))
    }

    /// Understands what [`read_manifest`](Self::read_manifest) read.
    pub(crate) fn parse_manifest(&self, content: &[u8]) -> Result<Manifest, KeyError> {
        Manifest::parse(content, &self.manifest_path())
    }

    /// Reads one key.
    pub(crate) fn load(&self, kid: &Kid) -> Result<RsaKey, KeyError> {
        load_private(&self.key_path(kid))
    }

    fn path(&self) -> &Path {
        &self.settings.path
    }

    fn manifest_path(&self) -> PathBuf {
        self.path().join(MANIFEST)
    }

    fn key_path(&self, kid: &Kid) -> PathBuf {
        self.path().join(key_file(kid))
    }

    fn manifest(&self) -> Result<Manifest, KeyError> {
        self.parse_manifest(&self.read_manifest()?)
    }

    fn activation(&self, keys: &[KeyTimes], now: Timestamp) -> Timestamp {
        key::activation_of_new_key(keys, self.settings.publication_lead(), now)
    }

    fn has_keys(&self) -> Result<bool, KeyError> {
        let path = self.manifest_path();
        if path.try_exists().map_err(KeyError::io("look for", &path))? {
            return Ok(!self.manifest()?.keys.is_empty());
        }
        if self.has_stray_keys()? {
            return Err(KeyError::ManifestLost {
                path: self.path().to_owned(),
            });
        }
        Ok(false)
    }

    fn has_stray_keys(&self) -> Result<bool, KeyError> {
        Ok(!self.key_files()?.is_empty())
    }

    fn key_files(&self) -> Result<Vec<PathBuf>, KeyError> {
        let entries = std::fs::read_dir(self.path()).map_err(KeyError::io("list", self.path()))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(KeyError::io("list", self.path()))?.path();
            if path.extension() == Some("pem".as_ref()) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// First start: a key that signs at once.
    fn make_first(&self, now: Timestamp) -> Result<(), KeyError> {
        let _lock = file::lock_directory(self.path())?;
        let Some(mut manifest) = self.begin()? else {
            return Ok(());
        };
        let (_, pem, kid) = self.generate()?;
        self.add(&mut manifest, &pem, &kid, unused(now, now))?;
        self.write(&manifest)
    }

    /// An empty manifest is written before the first key, so that a crash in between leaves a directory that is plainly
    /// new, not one that has lost its manifest. `None` where there are keys already. The caller holds the lock.
    fn begin(&self) -> Result<Option<Manifest>, KeyError> {
        if self.has_keys()? {
            return Ok(None);
        }
        let manifest = Manifest::empty();
        self.write(&manifest)?;
        Ok(Some(manifest))
    }

    fn publish_new(
        &self,
        now: Timestamp,
        activation: impl FnOnce(&[KeyTimes]) -> Timestamp,
    ) -> Result<KeyDescription, KeyError> {
        // Made before the lock is taken: a long key takes seconds.
        let (key, pem, kid) = self.generate()?;
        self.update(|manifest| {
            let times = unused(now, activation(&manifest.times()));
            self.add(manifest, &pem, &kid, times)?;
            Ok(describe(kid, &key, manifest, times, now))
        })
    }

    fn generate(&self) -> Result<(RsaKey, Zeroizing<Vec<u8>>, Kid), KeyError> {
        let (key, pem) = RsaKey::generate(self.settings.bits).map_err(KeyError::Generate)?;
        let kid = key.thumbprint().map_err(KeyError::Generate)?;
        Ok((key, pem, kid))
    }

    /// The entry of that name, if it is this very key's.
    fn find_same<'a>(
        &self,
        manifest: &'a mut Manifest,
        kid: &Kid,
        key: &RsaKey,
    ) -> Result<Option<&'a mut KeyRecord>, KeyError> {
        match manifest.find_mut(kid) {
            Some(known) if self.load(kid)?.modulus() == key.modulus() => Ok(Some(known)),
            Some(_) | None => Ok(None),
        }
    }

    /// Puts a key's file in place, then its entry: a file without an entry is ignored.
    fn add(&self, manifest: &mut Manifest, pem: &[u8], kid: &Kid, times: KeyTimes) -> Result<(), KeyError> {
        if manifest.find_mut(kid).is_some() {
            return Err(KeyError::KidTaken(kid.clone()));
        }
        file::write_private(self.path(), &key_file(kid), pem)?;
        manifest.keys.push(KeyRecord::new(kid.clone(), times));
        Ok(())
    }

    /// Reads the manifest, changes it and writes it back, all under the lock.
    fn update<T>(&self, change: impl FnOnce(&mut Manifest) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let _lock = file::lock_directory(self.path())?;
        let before = self.manifest()?;
        let mut manifest = before.clone();
        let answer = change(&mut manifest)?;
        if manifest != before {
            self.write(&manifest)?;
        }
        Ok(answer)
    }

    fn write(&self, manifest: &Manifest) -> Result<(), KeyError> {
        let json = manifest.to_json(&self.manifest_path())?;
        file::write_private(self.path(), MANIFEST, &json)
    }
}

/// Reads a private key's file.
pub(crate) fn load_private(path: &Path) -> Result<RsaKey, KeyError> {
    let pem = file::read_private(path)?;
    RsaKey::from_pem(&pem).map_err(|source| KeyError::NotAKey {
        path: path.to_owned(),
        source,
    })
}

fn state_in(manifest: &Manifest, kid: &Kid, now: Timestamp) -> Option<KeyState> {
    manifest
        .with_states(now)
        .find(|(record, _)| record.kid == *kid)
        .map(|(_, state)| state)
}

fn key_file(kid: &Kid) -> String {
    format!("{kid}.pem")
}

/// The times of a key that has signed nothing yet.
const fn unused(published_at: Timestamp, activates_at: Timestamp) -> KeyTimes {
    KeyTimes {
        published_at,
        activates_at,
        signed_until: published_at,
    }
}

fn describe(kid: Kid, key: &RsaKey, manifest: &Manifest, times: KeyTimes, now: Timestamp) -> KeyDescription {
    let state = state_in(manifest, &kid, now).unwrap_or(KeyState::Published);
    KeyDescription {
        kid,
        bits: key.bits(),
        state,
        times,
    }
}
