//! `keyring.json`: which keys a directory holds, and the points in time from which their states follow.

use std::path::Path;

use auth_domain::key::{self, KeyState, KeyTimes};
use auth_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::KeyError;
use crate::kid::Kid;

/// The file's name.
pub(crate) const MANIFEST: &str = "keyring.json";

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    version: Version,
    pub(crate) keys: Vec<KeyRecord>,
}

/// The one form of the file there has been. Another is refused, not guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    #[serde(rename = "1")]
    One,
}

/// One key of the directory. Times are in microseconds since 1970, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRecord {
    pub(crate) kid: Kid,
    published_at: i64,
    activates_at: i64,
    signed_until: i64,
}

impl Manifest {
    /// That of a directory without keys.
    pub(crate) const fn empty() -> Self {
        Self {
            version: Version::One,
            keys: Vec::new(),
        }
    }

    /// Reads the file's content.
    pub(crate) fn parse(content: &[u8], path: &Path) -> Result<Self, KeyError> {
        serde_json::from_slice(content).map_err(|fault| KeyError::Manifest {
            path: path.to_owned(),
            source: fault.into(),
        })
    }

    /// The file's content.
    pub(crate) fn to_json(&self, path: &Path) -> Result<Vec<u8>, KeyError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|fault| KeyError::Manifest {
            path: path.to_owned(),
            source: fault.into(),
        })?;
        json.push(b'\n');
        Ok(json)
    }

    /// The points in time of each key, in the file's order.
    pub(crate) fn times(&self) -> Vec<KeyTimes> {
        self.keys.iter().map(KeyRecord::times).collect()
    }

    /// Each key with its state.
    pub(crate) fn with_states(&self, now: Timestamp) -> impl Iterator<Item = (&KeyRecord, KeyState)> {
        self.keys.iter().zip(key::states(&self.times(), now))
    }

    pub(crate) fn find_mut(&mut self, kid: &Kid) -> Option<&mut KeyRecord> {
        self.keys.iter_mut().find(|record| record.kid == *kid)
    }
}

impl KeyRecord {
    pub(crate) const fn new(kid: Kid, times: KeyTimes) -> Self {
        Self {
            kid,
            published_at: times.published_at.as_micros(),
            activates_at: times.activates_at.as_micros(),
            signed_until: times.signed_until.as_micros(),
        }
    }

    pub(crate) const fn times(&self) -> KeyTimes {
        KeyTimes {
            published_at: Timestamp::from_micros(self.published_at),
            activates_at: Timestamp::from_micros(self.activates_at),
            signed_until: Timestamp::from_micros(self.signed_until),
        }
    }

    /// Notes that the key signs tokens that live so long.
    pub(crate) fn raise_signed_until(&mut self, until: Timestamp) {
        self.signed_until = self.signed_until.max(until.as_micros());
    }
}
