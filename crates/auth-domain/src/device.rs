//! Known devices: a sealed note that an account's owner has signed in from here before, so that guessing from
//! elsewhere can't lock the owner out (OWASP, "Slow down online guessing attacks with device cookies").
//!
//! The note proves nothing but that: it signs nobody in, and it gives its bearer no more guesses than a stranger has.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::Key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use crate::id::UserId;
use crate::ports::Random;
use crate::secret::{DeviceToken, PasswordHash, random_hex};
use crate::time::{Seconds, Timestamp};
use crate::user::User;

/// The layout of a note; another one gets another number.
const VERSION: u8 = 1;
const NOTE_BYTES: usize = 1 + 16 + 16 + 16 + 8;
const SEAL_BYTES: usize = 32;

/// A device, as far as limits go: a random name, drawn when somebody first signed in from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId([u8; 16]);

impl DeviceId {
    /// A new name.
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes);
        Self(bytes)
    }

    /// The name's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// How devices are known.
#[derive(Debug, Clone)]
pub struct DevicePolicy {
    /// What the notes are sealed with.
    pub secret: DeviceSecret,
    /// How long a note is believed after the sign-in that wrote it.
    pub lifetime: Seconds,
}

/// What a secret that is derived is derived for, and by which rule.
const DERIVATION: &[u8] = b"codelab-auth/device-notes/1";

/// What notes are sealed with: 256 random bits that all instances share, and nobody else knows.
#[derive(Clone)]
pub struct DeviceSecret(Zeroizing<[u8; 32]>);

impl DeviceSecret {
    /// Takes 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads 64 hexadecimal digits, in any case; `None` where the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = Zeroizing::new(text.chars().map(digit).collect::<Option<Vec<u8>>>()?);
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let mut bytes = Zeroizing::new([0_u8; 32]);
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = high * 16 + low;
        }
        Some(Self(bytes))
    }

    /// A new secret, written as [`parse`](Self::parse) reads it.
    pub fn generate_text(random: &dyn Random) -> Zeroizing<String> {
        Zeroizing::new(random_hex(random))
    }

    /// The secret that follows from another one, of more than 64 bytes: always the same, and of no use for finding the
    /// other. It is an HMAC of a fixed label under the other one, which is so long that it enters as its hash.
    pub fn derived_from(other: &[u8]) -> Self {
        let key = Self::from_bytes(Sha256::digest(other).into());
        Self::from_bytes(key.seal(DERIVATION).finalize().into_bytes().into())
    }

    fn seal(&self, note: &[u8]) -> Hmac<Sha256> {
        // A key shorter than the hash's block is filled up with zeros (RFC 2104 section 2).
        let mut key = Key::<Hmac<Sha256>>::default();
        for (to, from) in key.iter_mut().zip(&*self.0) {
            *to = *from;
        }
        let mut mac = Hmac::<Sha256>::new(&key);
        key.zeroize();
        mac.update(note);
        mac
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("DeviceSecret(..)")
    }
}

/// A note as it is handed out.
#[derive(Debug, Clone)]
pub struct DeviceNote {
    /// The sealed note.
    pub token: DeviceToken,
    /// How long it is worth keeping.
    pub lifetime: Seconds,
}

fn digit(character: char) -> Option<u8> {
    character.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Which password somebody signed in by: a note ends with it, so that notes gathered by whoever had the password are
/// worth nothing once it has been changed. Made of the stored hash, whose salt makes it another each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordMark([u8; 16]);

impl PasswordMark {
    /// The mark of a stored hash.
    pub fn of(hash: &PasswordHash) -> Self {
        let digest = Sha256::new_with_prefix(b"device\0")
            .chain_update(hash.expose())
            .finalize();
        let mut mark = [0_u8; 16];
        for (to, from) in mark.iter_mut().zip(digest) {
            *to = from;
        }
        Self(mark)
    }
}

/// What a note says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDevice {
    /// Which device.
    pub id: DeviceId,
    /// Who has signed in from it.
    pub user_id: UserId,
    /// By which password.
    pub password: PasswordMark,
    /// The second at which the note ceases to be believed.
    pub expires_at: Timestamp,
}

impl KnownDevice {
    /// Writes the note and seals it.
    pub fn seal(&self, secret: &DeviceSecret) -> DeviceToken {
        let mut bytes = self.note();
        let seal = secret.seal(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal);
        DeviceToken::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether this is a device of this very user, who has not changed the password since.
    pub fn is_of(&self, user: &User) -> bool {
        self.user_id == user.id && self.password == PasswordMark::of(&user.password_hash)
    }

    /// Reads a note, where the seal is ours and its time has not come. The seal is compared in constant time.
    pub fn open(token: &DeviceToken, secret: &DeviceSecret, now: Timestamp) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
        let (note, seal) = bytes.split_at_checked(NOTE_BYTES)?;
        if seal.len() != SEAL_BYTES || secret.seal(note).verify_slice(seal).is_err() {
            return None;
        }
        let device = Self::read(note)?;
        (now < device.expires_at).then_some(device)
    }

    fn note(&self) -> Vec<u8> {
        let mut note = Vec::with_capacity(NOTE_BYTES + SEAL_BYTES);
        note.push(VERSION);
        note.extend_from_slice(self.user_id.as_uuid().as_bytes());
        note.extend_from_slice(self.id.as_bytes());
        note.extend_from_slice(&self.password.0);
        note.extend_from_slice(&self.expires_at.unix_seconds().to_be_bytes());
        note
    }

    fn read(note: &[u8]) -> Option<Self> {
        let (version, rest) = note.split_first()?;
        let (user, rest) = rest.split_first_chunk::<16>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (password, rest) = rest.split_first_chunk::<16>()?;
        let (expires_at, _) = rest.split_first_chunk::<8>()?;
        (*version == VERSION).then(|| Self {
            id: DeviceId(*id),
            user_id: UserId::from_uuid(Uuid::from_bytes(*user)),
            password: PasswordMark(*password),
            expires_at: Timestamp::from_unix_seconds(i64::from_be_bytes(*expires_at)),
        })
    }
}
