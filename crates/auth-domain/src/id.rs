//! Names of things: one type for each, so that no two can be confused.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ports::Random;
use crate::time::Timestamp;

/// A public client identifier (RFC 6749 section 2.2): 3 to 255 printable ASCII characters.
///
/// Never of the form of a UUID: a user's `sub` is one, and a client's `sub` must not be taken for it
/// (RFC 9068 section 5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClientId(String);

/// Why a text can't be a client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdFault {
    /// Shorter than 3 or longer than 255 characters.
    #[error("a client id has 3 to 255 characters")]
    Length,
    /// Holds something other than printable ASCII (`VSCHAR` of RFC 6749 appendix A.1).
    #[error("a client id is printable ASCII")]
    Character,
    /// Reads as a UUID.
    #[error("a client id must not read as a UUID, since user ids do")]
    Uuid,
}

impl ClientId {
    /// Takes a text as a client identifier.
    ///
    /// # Errors
    /// The first rule of RFC 6749 appendix A.1 (or of this type) that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ClientIdFault> {
        if !(3..=255).contains(&text.len()) {
            return Err(ClientIdFault::Length);
        }
        if !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            return Err(ClientIdFault::Character);
        }
        if Uuid::try_parse(text).is_ok() {
            return Err(ClientIdFault::Uuid);
        }
        Ok(Self(text.to_owned()))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(source)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes a UUID as this id.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the id.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// A new id whose bytes sort by the time it was made (UUID version 7, RFC 9562 section 5.7).
            pub fn generate(random: &dyn Random, now: Timestamp) -> Self {
                let mut tail = [0_u8; 10];
                random.fill(&mut tail);
                Self(time_ordered_uuid(now, &tail))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

uuid_id! {
    /// A user, for good: the `sub` of the user's tokens.
    UserId
}
uuid_id! {
    /// A sign-in and the chain of refresh tokens that hangs on it: the `sid` of a refresh token.
    SessionId
}
uuid_id! {
    /// A row that nothing but its table refers to: a client's, a token's or an audit row's primary key.
    RowId
}
uuid_id! {
    /// A running process, anew at each start: who holds a lease.
    InstanceId
}

impl RowId {
    /// A bound that no id is below that was made in this moment's millisecond or later, and every id that was made
    /// before it is.
    pub fn first_of(at: Timestamp) -> Self {
        Self(time_ordered_uuid(at, &[0; 10]))
    }
}

/// A UUID version 7 (RFC 9562 section 5.7) of this moment and these bits.
pub(crate) fn time_ordered_uuid(at: Timestamp, tail: &[u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(unix_millis(at), tail).into_uuid()
}

/// What of a moment fits the 48 bits that RFC 9562 gives it: the years 1970 to 10889.
fn unix_millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros() / 1_000)
        .unwrap_or(0)
        .min((1 << 48) - 1)
}

/// The identifier of one token (`jti`, RFC 7519 section 4.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Jti(Uuid);

impl Jti {
    /// Takes a UUID as a token's identifier.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// A new random identifier (UUID version 4).
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes);
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The identifier of the only successor that a refresh token can have: a one-way function over the whole
    /// token, its signature included, shaped as a UUID version 8 (RFC 9562 section 5.8).
    ///
    /// Only the holder of the token can compute it, so the same successor can be given again after a lost answer
    /// though nothing but hashes is stored.
    pub fn successor_of(token: &str) -> Self {
        let digest = Sha256::new_with_prefix(b"codelab-auth/successor/1\0")
            .chain_update(token.as_bytes())
            .finalize();
        let mut bytes = [0_u8; 16];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = from;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// What the database keeps of this identifier.
    pub fn hash(self) -> JtiHash {
        let mut buffer = Uuid::encode_buffer();
        let text = self.0.hyphenated().encode_lower(&mut buffer);
        JtiHash(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Display for Jti {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// SHA-256 of a `jti` in its textual form: all that is ever stored of a refresh token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JtiHash([u8; 32]);

impl JtiHash {
    /// Takes 32 bytes read from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for JtiHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JtiHash(..)")
    }
}

/// Whom a token speaks for (`sub`, RFC 7519 section 4.1.2; RFC 9068 section 2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A person, by the user's id.
    User(UserId),
    /// A client on its own behalf, by its client id.
    Client(ClientId),
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(out),
            Self::Client(client) => client.fmt(out),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(source)?;
        if let Ok(uuid) = Uuid::try_parse(&text) {
            return Ok(Self::User(UserId(uuid)));
        }
        ClientId::parse(&text)
            .map(Self::Client)
            .map_err(serde::de::Error::custom)
    }
}
