//! The life of a signing key, told from a few points in time alone: every instance that reads the same record of
//! a key and the same clock comes to the same state, without anything being written when a state changes.

use serde::{Deserialize, Serialize};

use crate::time::{Seconds, Timestamp};

/// The points in time that decide a key's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTimes {
    /// Since when it has been in the published key set.
    pub published_at: Timestamp,
    /// From when on it signs, until a later key does.
    pub activates_at: Timestamp,
    /// No token that it signed expires after this.
    pub signed_until: Timestamp,
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// In the key set, so that no verifier's cache is behind, but not signing yet.
    Published,
    /// Signs.
    Active,
    /// Verifies what it signed, and signs no more.
    Retiring,
    /// Neither in the key set nor good for anything; its file may go.
    Removed,
}

impl KeyState {
    /// Whether the key is in the published set, and verifies.
    pub const fn is_published(self) -> bool {
        match self {
            Self::Published | Self::Active | Self::Retiring => true,
            Self::Removed => false,
        }
    }
}

/// The state of each key, in the order given.
///
/// The active key is the one that activated last. Before the first activation there is none. A key retires until
/// the last token it signed has expired; one that was overtaken before it ever signed is removed at once.
pub fn states(keys: &[KeyTimes], now: Timestamp) -> Vec<KeyState> {
    let active = active_index(keys, now);
    keys.iter()
        .enumerate()
        .map(|(index, key)| state_of(index, key, active, now))
        .collect()
}

fn state_of(index: usize, key: &KeyTimes, active: Option<usize>, now: Timestamp) -> KeyState {
    if active == Some(index) {
        KeyState::Active
    } else if now < key.activates_at {
        KeyState::Published
    } else if now < key.signed_until {
        KeyState::Retiring
    } else {
        KeyState::Removed
    }
}

/// Which key signs: of those whose time has come, the one that activates last; of equals, the later in the list.
pub fn active_index(keys: &[KeyTimes], now: Timestamp) -> Option<usize> {
    keys.iter()
        .enumerate()
        .filter(|(_, key)| key.activates_at <= now)
        .max_by_key(|(index, key)| (key.activates_at, *index))
        .map(|(index, _)| index)
}

/// When a key that is published now may sign: `lead` later, in which every verifier's cache turns over.
pub fn activation_of_new_key(keys: &[KeyTimes], lead: Seconds, now: Timestamp) -> Timestamp {
    if active_index(keys, now).is_none() {
        now
    } else {
        now.plus(lead)
    }
}

/// Whether it is time to publish the next key, so that it activates when the active one has signed for `interval`.
pub fn rotation_is_due(keys: &[KeyTimes], interval: Seconds, lead: Seconds, now: Timestamp) -> bool {
    let newest = keys.iter().map(|key| key.activates_at).max();
    newest.is_none_or(|activates_at| activates_at.plus(interval).minus(lead) <= now)
}
