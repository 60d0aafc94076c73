//! What the keys come to at one moment: which signs, which verify, and the published document; made once per change.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_domain::claims::REFRESH_TOKEN_TYPE;
use auth_domain::client::AccessTokenType;
use auth_domain::key::{self, KeyState, KeyTimes};
use auth_domain::ports::KeySet;
use auth_domain::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::compact::Header;
use crate::error::BoxError;
use crate::kid::Kid;
use crate::rsa::RsaKey;

/// A key in use, with what each of its tokens begins with.
#[derive(Debug)]
pub(crate) struct NamedKey {
    pub(crate) kid: Kid,
    pub(crate) key: RsaKey,
    pub(crate) refresh_header: String,
    at_jwt_header: String,
    jwt_header: String,
    /// The latest expiry noted in the manifest, in microseconds.
    signed_until: AtomicI64,
}

impl NamedKey {
    pub(crate) fn new(kid: Kid, key: RsaKey, signed_until: Timestamp) -> Result<Self, serde_json::Error> {
        let header = |typ: &str| {
            let alg = RsaKey::ALGORITHM;
            let kid = kid.as_str();
            Header { alg, kid, typ }.encode()
        };
        Ok(Self {
            refresh_header: header(REFRESH_TOKEN_TYPE)?,
            at_jwt_header: header(AccessTokenType::AtJwt.as_str())?,
            jwt_header: header(AccessTokenType::Jwt.as_str())?,
            signed_until: AtomicI64::new(signed_until.as_micros()),
            kid,
            key,
        })
    }

    pub(crate) fn access_header(&self, access_type: AccessTokenType) -> &str {
        match access_type {
            AccessTokenType::AtJwt => &self.at_jwt_header,
            AccessTokenType::Jwt => &self.jwt_header,
        }
    }

    /// Whether the manifest knows that tokens of this key live so long.
    pub(crate) fn is_known_to_sign_until(&self, expiry: Timestamp) -> bool {
        expiry.as_micros() <= self.signed_until.load(Ordering::Acquire)
    }

    /// Takes note that the manifest knows it now.
    pub(crate) fn note_signed_until(&self, until: Timestamp) {
        self.signed_until.fetch_max(until.as_micros(), Ordering::AcqRel);
    }
}

/// A key that the ring has loaded, and the times that decide its state.
#[derive(Debug, Clone)]
pub(crate) struct HeldKey {
    pub(crate) key: Arc<NamedKey>,
    pub(crate) times: KeyTimes,
}

impl HeldKey {
    pub(crate) fn current_times(&self) -> KeyTimes {
        let noted = Timestamp::from_micros(self.key.signed_until.load(Ordering::Acquire));
        KeyTimes {
            signed_until: self.times.signed_until.max(noted),
            ..self.times
        }
    }
}

/// The keys at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Those that verify, the active one included.
    pub(crate) published: Vec<Arc<NamedKey>>,
    /// The one that signs, and the key set that names it.
    pub(crate) active: Option<(Arc<NamedKey>, Arc<KeySet>)>,
    /// The times of every key, and in the same place the key, where it is published.
    history: (Vec<KeyTimes>, Vec<Option<Arc<NamedKey>>>),
    /// From when until when the states of these keys are as they are here.
    since: Timestamp,
    until: Timestamp,
}

impl Snapshot {
    /// What the keys come to now. A key set that has not changed is kept.
    pub(crate) fn of(held: &[HeldKey], now: Timestamp, before: Option<&Self>) -> Result<Self, BoxError> {
        let times: Vec<KeyTimes> = held.iter().map(HeldKey::current_times).collect();
        let states = key::states(&times, now);
        let of_state = |wanted: fn(KeyState) -> bool| {
            let keys = held.iter().zip(&states);
            keys.filter(move |(_, state)| wanted(**state))
                .map(|(held, _)| Arc::clone(&held.key))
        };
        let published: Vec<_> = of_state(KeyState::is_published).collect();
        let active = of_state(|state| state == KeyState::Active).next();
        let active = match active {
            Some(key) => {
                let key_set = key_set(&published, &key)?;
                let known = before.and_then(|before| before.active.as_ref());
                let key_set = match known {
                    Some((_, known)) if **known == key_set => Arc::clone(known),
                    _ => Arc::new(key_set),
                };
                Some((key, key_set))
            }
            None => None,
        };
        let (since, until) = constant_around(&times, &states, now);
        let in_place = held.iter().zip(&states);
        let in_place = in_place
            .map(|(held, state)| state.is_published().then(|| Arc::clone(&held.key)))
            .collect();
        Ok(Self {
            published,
            active,
            history: (times, in_place),
            since,
            until,
        })
    }

    /// Whether this is still what the keys come to.
    pub(crate) fn is_current(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.until
    }

    /// The key that signed at that moment, if it is still published. None signs for a time before it was published.
    pub(crate) fn signer_at(&self, moment: Timestamp) -> Option<&Arc<NamedKey>> {
        let (times, keys) = &self.history;
        let index = key::active_index(times, moment)?;
        let is_of_its_time = times.get(index)?.published_at <= moment;
        keys.get(index)?.as_ref().filter(|_| is_of_its_time)
    }

    /// The key of that name, if it verifies.
    pub(crate) fn find(&self, kid: &str) -> Option<&Arc<NamedKey>> {
        self.published.iter().find(|key| key.kid.as_str() == kid)
    }
}

/// The span around now in which no key changes its state. While a key is active, the end of the last token it has
/// signed so far changes nothing.
fn constant_around(times: &[KeyTimes], states: &[KeyState], now: Timestamp) -> (Timestamp, Timestamp) {
    let ends = times
        .iter()
        .zip(states)
        .filter(|(_, state)| **state != KeyState::Active)
        .map(|(key, _)| key.signed_until);
    let moments: Vec<Timestamp> = times.iter().map(|key| key.activates_at).chain(ends).collect();
    let past = moments.iter().filter(|moment| **moment <= now).max();
    let future = moments.iter().filter(|moment| **moment > now).min();
    (
        past.copied().unwrap_or(Timestamp::from_micros(i64::MIN)),
        future.copied().unwrap_or(Timestamp::from_micros(i64::MAX)),
    )
}

/// The JWK Set document (RFC 7517 section 5).
#[derive(Serialize)]
struct JwkSet<'a> {
    keys: Vec<Jwk<'a>>,
}

#[derive(Serialize)]
struct Jwk<'a> {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: &'a str,
    n: &'a str,
    e: &'a str,
}

fn key_set(published: &[Arc<NamedKey>], active: &NamedKey) -> Result<KeySet, BoxError> {
    let keys = published.iter().map(|named| Jwk::of(named)).collect();
    let json = serde_json::to_vec(&JwkSet { keys })?;
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&json)));
    Ok(KeySet {
        json: json.into_boxed_slice(),
        etag,
        active_kid: active.kid.to_string(),
    })
}

impl<'a> Jwk<'a> {
    fn of(named: &'a NamedKey) -> Self {
        Self {
            kty: "RSA",
            usage: "sig",
            alg: RsaKey::ALGORITHM,
            kid: named.kid.as_str(),
            n: named.key.modulus(),
            e: named.key.exponent(),
        }
    }
}
