//! The key ring: signs by the active key, verifies by the published ones, and follows its directory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use auth_domain::claims::{AccessClaims, RefreshClaims, SignedPair, TokenPairClaims};
use auth_domain::key::{self, KeyState, KeyTimes};
use auth_domain::ports::{Clock, Genuine, KeySet, TokenSigner, Unavailable};
use auth_domain::secret::Token;
use auth_domain::time::{Seconds, Timestamp};
use serde::de::DeserializeOwned;

use crate::compact::{self, Parts};
use crate::error::{BoxError, KeyError};
use crate::file;
use crate::kid::Kid;
use crate::rsa::RsaKey;
use crate::snapshot::{HeldKey, NamedKey, Snapshot};
use crate::store::{self, DirectorySettings, KeyDescription, KeyStore};

const SIGN: &str = "sign tokens";
const VERIFY: &str = "verify a token";
const NO_KEY: &str = "no key is active: is the clock right?";
const OTHER_TYPE: &str = "a token of another type";
const NOT_READ: &str = "the key directory could not be read a moment ago";

/// How far ahead of need the manifest is told how long a key's tokens live: so it is written once a day, not at
/// every sign-in.
const HEADROOM: Seconds = Seconds::new(86_400);

/// A token under an unknown key makes the ring look at its directory, but strangers may not make it do so often.
const LOOK_AGAIN_AFTER: Seconds = Seconds::new(5);

/// Where the keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A directory that this server keeps, shared with its other instances.
    Directory(DirectorySettings),
    /// One given key pair, used as it is and never rotated.
    Pair {
        /// The private key, PEM, mode 0600.
        private_key_path: PathBuf,
        /// The public key, PEM; checked to belong to the private one.
        public_key_path: Option<PathBuf>,
        /// The key's name; its thumbprint without one.
        kid: Option<Kid>,
    },
}

/// Signs and verifies tokens. Cheap to clone; all clones are one ring.
#[derive(Clone)]
pub struct KeyRing {
    ring: Arc<Ring>,
}

struct Ring {
    clock: Arc<dyn Clock>,
    store: Option<KeyStore>,
    snapshot: RwLock<Arc<Snapshot>>,
    holdings: Mutex<Holdings>,
    /// Held while the manifest is told how long a key's tokens live, so that one thread tells it and the rest wait.
    raising: Mutex<()>,
    /// The last look at the directory that an unknown key has caused.
    look: Mutex<Option<Look>>,
}

/// What the keys are doing, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFigures {
    /// How many are published and do not sign yet.
    pub published: usize,
    /// How many sign: one, or none where the clock is before the first.
    pub active: usize,
    /// How many only verify.
    pub retiring: usize,
    /// Since when the active one has been signing; `None` for a given pair, which has no times.
    pub active_since: Option<Timestamp>,
    /// When the active one hands over to the next; `None` where keys are not rotated by themselves.
    pub active_until: Option<Timestamp>,
}

/// A look at the directory.
#[derive(Clone, Copy)]
struct Look {
    at: Timestamp,
    has_failed: bool,
}

/// Who signs a pair of tokens.
struct Signers {
    of_access: Arc<NamedKey>,
    of_refresh: Arc<NamedKey>,
}

/// Why there are no claims.
enum NotVerified {
    /// The token is none of ours.
    Forged(&'static str),
    /// It can't be told.
    Unknown(Unavailable),
}

impl From<&'static str> for NotVerified {
    fn from(reason: &'static str) -> Self {
        Self::Forged(reason)
    }
}

impl From<Unavailable> for NotVerified {
    fn from(outage: Unavailable) -> Self {
        Self::Unknown(outage)
    }
}

/// What has been read.
#[derive(Default)]
struct Holdings {
    manifest: Vec<u8>,
    keys: Vec<HeldKey>,
}

impl KeyRing {
    /// Reads the keys; makes the directory and a first key where there is none. Blocks.
    ///
    /// # Errors
    /// Keys that are malformed, too short or readable by others, halves that don't belong together, or a file
    /// system that refuses.
    pub fn open(source: KeySource, clock: Arc<dyn Clock>) -> Result<Self, KeyError> {
        let now = clock.now();
        let (store, holdings) = match source {
            KeySource::Directory(settings) => {
                let store = KeyStore::open(settings, now)?;
                let holdings = read(&store, &[], now)?;
                (Some(store), holdings)
            }
            KeySource::Pair {
                private_key_path,
                public_key_path,
                kid,
            } => (None, read_pair(private_key_path, public_key_path, kid)?),
        };
        let snapshot = Snapshot::of(&holdings.keys, now, None).map_err(unwritable)?;
        let ring = Ring {
            clock,
            store,
            snapshot: RwLock::new(Arc::new(snapshot)),
            holdings: Mutex::new(holdings),
            raising: Mutex::new(()),
            look: Mutex::new(None),
        };
        Ok(Self { ring: Arc::new(ring) })
    }

    /// The directory behind the ring, for administration; `None` where one key pair was given.
    pub fn store(&self) -> Option<&KeyStore> {
        self.ring.store.as_ref()
    }

    /// What the keys are doing now. Waits while the directory is being read.
    pub fn figures(&self) -> KeyFigures {
        let now = self.ring.clock.now();
        let held: Vec<KeyTimes> = self
            .ring
            .holdings()
            .keys
            .iter()
            .map(HeldKey::current_times)
            .collect();
        let states = key::states(&held, now);
        let count = |wanted| states.iter().filter(|state| **state == wanted).count();
        let active = key::active_index(&held, now).and_then(|index| held.get(index));
        let store = self.ring.store.as_ref();
        let since = store.and(active).map(|times| times.activates_at);
        let interval = store.and_then(KeyStore::rotation_interval);
        // One that is published already takes over, wherever it comes from.
        let next = held
            .iter()
            .map(|times| times.activates_at)
            .filter(|at| *at > now)
            .min();
        KeyFigures {
            published: count(KeyState::Published),
            active: count(KeyState::Active),
            retiring: count(KeyState::Retiring),
            active_since: since,
            active_until: interval
                .zip(since)
                .map(|(interval, since)| next.unwrap_or(since.plus(interval))),
        }
    }

    /// To be called every few seconds, where blocking is allowed: follows what other instances and the operator
    /// have done to the directory, and publishes the next key where the rotation interval says so. Gives that key.
    ///
    /// # Errors
    /// A directory that can't be read or written; the ring goes on with the keys it has.
    pub fn refresh(&self) -> Result<Option<KeyDescription>, KeyError> {
        let now = self.ring.clock.now();
        let Some(store) = &self.ring.store else {
            return Ok(None);
        };
        let published = store.rotate_if_due(now)?;
        self.ring.follow(store, now)?;
        Ok(published)
    }
}

#[async_trait]
impl TokenSigner for KeyRing {
    /// Signs on the calling thread: two signatures take half a millisecond, less than any hand-over is worth. Must
    /// run within a tokio runtime, whose blocking threads write the manifest once a day.
    async fn sign_pair(&self, claims: &TokenPairClaims) -> Result<SignedPair, Unavailable> {
        let signers = self.ring.signers(claims.refresh.iat.into())?;
        // The refresh token first: it lives longer, so that where one key signs both, one note does for both.
        self.note_expiry(&signers.of_refresh, claims.refresh.exp.into())
            .await?;
        self.note_expiry(&signers.of_access, claims.access.exp.into())
            .await?;
        let outage = |fault| Unavailable::new(SIGN, fault);
        let (key, header) = (
            &signers.of_access,
            signers.of_access.access_header(claims.access_type),
        );
        let access = compact::sign(header, &claims.access, &key.key).map_err(outage)?;
        let key = &signers.of_refresh;
        let refresh = compact::sign(&key.refresh_header, &claims.refresh, &key.key).map_err(outage)?;
        Ok(SignedPair {
            access: Token::new(access),
            refresh: Token::new(refresh),
        })
    }

    fn verify_refresh(&self, token: &Token) -> Result<Genuine<RefreshClaims>, Unavailable> {
        self.ring
            .verify(token, &RefreshClaims::TYPES, RefreshClaims::belong_under)
    }

    fn verify_access(&self, token: &Token) -> Result<Genuine<AccessClaims>, Unavailable> {
        self.ring
            .verify(token, &AccessClaims::TYPES, AccessClaims::belong_under)
    }

    fn key_set(&self) -> Result<Arc<KeySet>, Unavailable> {
        self.ring
            .active("publish the key set")
            .map(|(_, key_set)| key_set)
    }
}

impl KeyRing {
    /// Sees to it that the manifest knows how long this key's tokens live, before there is such a token: else the
    /// key might be removed while it is needed.
    async fn note_expiry(&self, key: &Arc<NamedKey>, expiry: Timestamp) -> Result<(), Unavailable> {
        if key.is_known_to_sign_until(expiry) {
            return Ok(());
        }
        let ring = Arc::clone(&self.ring);
        let key = Arc::clone(key);
        tokio::task::spawn_blocking(move || ring.raise_signed_until(&key, expiry))
            .await
            .map_err(|lost| Unavailable::new(SIGN, lost))?
            .map_err(|fault| Unavailable::new(SIGN, fault))
    }
}

impl Ring {
    fn raise_signed_until(&self, key: &NamedKey, expiry: Timestamp) -> Result<(), KeyError> {
        let _turn = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = &self.store else {
            return Ok(());
        };
        if key.is_known_to_sign_until(expiry) {
            return Ok(());
        }
        let until = expiry.plus(HEADROOM);
        store.raise_signed_until(&key.kid, until)?;
        key.note_signed_until(until);
        Ok(())
    }

    /// The active key for the access token. For a refresh token that was issued at that moment the key that was active
    /// then: so a retry gets the very same token also when the next key has become active in between.
    fn signers(&self, issued_at: Timestamp) -> Result<Signers, Unavailable> {
        let snapshot = self
            .snapshot(self.clock.now())
            .map_err(|fault| Unavailable::new(SIGN, fault))?;
        let (active, _) = snapshot
            .active
            .as_ref()
            .ok_or_else(|| Unavailable::new(SIGN, NO_KEY))?;
        Ok(Signers {
            of_access: Arc::clone(active),
            of_refresh: Arc::clone(snapshot.signer_at(issued_at).unwrap_or(active)),
        })
    }

    /// The active key and the key set that names it.
    fn active(&self, what: &'static str) -> Result<(Arc<NamedKey>, Arc<KeySet>), Unavailable> {
        self.snapshot(self.clock.now())
            .map_err(|fault| Unavailable::new(what, fault))?
            .active
            .clone()
            .ok_or_else(|| Unavailable::new(what, NO_KEY))
    }

    fn verify<C: DeserializeOwned>(
        &self,
        token: &Token,
        types: &[&str],
        belong_under: impl Fn(&C, &str) -> bool,
    ) -> Result<Genuine<C>, Unavailable> {
        match self.claims(token.expose(), types, belong_under) {
            Ok(claims) => Ok(Genuine::Yes(claims)),
            Err(NotVerified::Forged(reason)) => Ok(Genuine::No(reason)),
            Err(NotVerified::Unknown(outage)) => Err(outage),
        }
    }

    fn claims<C: DeserializeOwned>(
        &self,
        token: &str,
        types: &[&str],
        belong_under: impl Fn(&C, &str) -> bool,
    ) -> Result<C, NotVerified> {
        let parts = Parts::of(token)?;
        let header = parts.header()?;
        if header.alg != RsaKey::ALGORITHM {
            return Err("an algorithm that is not the key's".into());
        }
        if !types.contains(&header.typ) {
            return Err(OTHER_TYPE.into());
        }
        let key = self.published(header.kid)?.ok_or("signed by no published key")?;
        let claims = parts.claims(&key.key)?;
        if belong_under(&claims, header.typ) {
            Ok(claims)
        } else {
            Err(OTHER_TYPE.into())
        }
    }

    /// The key of that name. That there is none is only said after a look at the directory: else a token would be
    /// taken for a forgery though nobody has looked.
    fn published(&self, kid: &str) -> Result<Option<Arc<NamedKey>>, Unavailable> {
        let now = self.clock.now();
        let known = || -> Result<_, Unavailable> {
            let snapshot = self
                .snapshot(now)
                .map_err(|fault| Unavailable::new(VERIFY, fault))?;
            Ok(snapshot.find(kid).cloned())
        };
        if let Some(key) = known()? {
            return Ok(Some(key));
        }
        self.look_again(now)?;
        known()
    }

    /// Another instance may have published a key since the last look. Not more than once in a while; meanwhile what
    /// the last look came to holds, and who comes during one waits for it.
    fn look_again(&self, now: Timestamp) -> Result<(), Unavailable> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let mut last = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |look: &Look| look.at <= now && now < look.at.plus(LOOK_AGAIN_AFTER);
        match last.filter(is_recent) {
            Some(look) if look.has_failed => Err(Unavailable::new(VERIFY, NOT_READ)),
            Some(_) => Ok(()),
            None => {
                let looked = self.follow(store, now);
                let has_failed = looked.is_err();
                *last = Some(Look { at: now, has_failed });
                looked.map_err(|fault| Unavailable::new(VERIFY, fault))
            }
        }
    }

    /// Reads the directory again if its manifest has changed.
    fn follow(&self, store: &KeyStore, now: Timestamp) -> Result<(), KeyError> {
        let mut holdings = self.holdings();
        if store.read_manifest()? == holdings.manifest {
            return Ok(());
        }
        *holdings = read(store, &holdings.keys, now)?;
        self.take_snapshot(&holdings, now).map(drop).map_err(unwritable)
    }

    /// What the keys come to now: made anew when a key has changed its state since the last one was made.
    fn snapshot(&self, now: Timestamp) -> Result<Arc<Snapshot>, BoxError> {
        let current = self.current_snapshot();
        if current.is_current(now) {
            return Ok(current);
        }
        let holdings = self.holdings();
        let current = self.current_snapshot();
        if current.is_current(now) {
            return Ok(current);
        }
        self.take_snapshot(&holdings, now)
    }

    fn take_snapshot(&self, holdings: &Holdings, now: Timestamp) -> Result<Arc<Snapshot>, BoxError> {
        let before = self.current_snapshot();
        let fresh = Arc::new(Snapshot::of(&holdings.keys, now, Some(&before))?);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }

    fn current_snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn holdings(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the keys that are good for something, and keeps those that are held already.
fn read(store: &KeyStore, held: &[HeldKey], now: Timestamp) -> Result<Holdings, KeyError> {
    let content = store.read_manifest()?;
    let manifest = store.parse_manifest(&content)?;
    let mut keys = Vec::with_capacity(manifest.keys.len());
    for (record, state) in manifest.with_states(now) {
        if state == KeyState::Removed {
            continue;
        }
        let times = record.times();
        let known = held.iter().find(|known| known.key.kid == record.kid);
        let key = match known {
            Some(known) => {
                known.key.note_signed_until(times.signed_until);
                Arc::clone(&known.key)
            }
            None => named(record.kid.clone(), store.load(&record.kid)?, times)?,
        };
        keys.push(HeldKey { key, times });
    }
    Ok(Holdings {
        manifest: content,
        keys,
    })
}

/// Reads a given pair, which is active for all time.
fn read_pair(private: PathBuf, public: Option<PathBuf>, kid: Option<Kid>) -> Result<Holdings, KeyError> {
    let key = store::load_private(&private)?;
    let unusable = |path: &PathBuf| {
        let path = path.clone();
        move |source| KeyError::NotAKey { path, source }
    };
    if let Some(public) = public {
        let pem = file::read_public(&public)?;
        if !key.has_public_half(&pem).map_err(unusable(&public))? {
            return Err(KeyError::NotAPair { public, private });
        }
    }
    let kid = match kid {
        Some(given) => given,
        None => key.thumbprint().map_err(unusable(&private))?,
    };
    let times = KeyTimes {
        published_at: Timestamp::from_micros(i64::MIN),
        activates_at: Timestamp::from_micros(i64::MIN),
        signed_until: Timestamp::from_micros(i64::MAX),
    };
    Ok(Holdings {
        manifest: Vec::new(),
        keys: vec![HeldKey {
            key: named(kid, key, times)?,
            times,
        }],
    })
}

fn named(kid: Kid, key: RsaKey, times: KeyTimes) -> Result<Arc<NamedKey>, KeyError> {
    NamedKey::new(kid, key, times.signed_until)
        .map(Arc::new)
        .map_err(|fault| unwritable(fault.into()))
}

fn unwritable(fault: BoxError) -> KeyError {
    KeyError::KeySet(fault)
}
