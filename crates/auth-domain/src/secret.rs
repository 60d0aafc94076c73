//! Values that must never be seen: no `Display`, a redacted `Debug`, wiped when dropped, compared in constant time.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::ports::Random;

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Takes the text; the caller's copy is gone with it.
            pub fn new(text: String) -> Self {
                Self(SecretString::from(text))
            }

            /// The text itself, for the one place that must have it.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_text! {
    /// A password as somebody typed it.
    Password
}
secret_text! {
    /// A confidential client's secret (RFC 6749 section 2.3.1).
    ClientSecret
}
secret_text! {
    /// A signed token in its compact form (RFC 7515 section 7.1).
    Token
}
secret_text! {
    /// What a known device shows: see [`KnownDevice`](crate::device::KnownDevice).
    DeviceToken
}
secret_text! {
    /// A password hash in the PHC string format or in bcrypt's own (`$2b$…`).
    PasswordHash
}

impl PasswordHash {
    /// Whether two stored hashes are the same string: tells that a password was changed in between.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Password {
    /// A new password of 256 random bits, as 64 hexadecimal digits.
    pub fn generate(random: &dyn Random) -> Self {
        Self::new(random_hex(random))
    }
}

impl ClientSecret {
    /// A new secret of 256 random bits, as 64 hexadecimal digits.
    pub fn generate(random: &dyn Random) -> Self {
        Self::new(random_hex(random))
    }
}

/// SHA-256 of a client secret that this server generated.
///
/// A fast hash is enough there: the secret has 256 random bits, so there is nothing to guess, and a slow one
/// would cost a confidential client's every refresh as much as a login.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecretHash([u8; 32]);

impl ClientSecretHash {
    /// The hash of a generated secret.
    pub fn of(secret: &ClientSecret) -> Self {
        Self(Sha256::digest(secret.expose().as_bytes()).into())
    }

    /// Takes 32 bytes read from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is the hash of the presented secret, in constant time.
    pub fn matches(&self, presented: &ClientSecret) -> bool {
        self.0.ct_eq(&Self::of(presented).0).into()
    }
}

impl fmt::Debug for ClientSecretHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClientSecretHash(..)")
    }
}

pub(crate) fn random_hex(random: &dyn Random) -> String {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random.fill(bytes.as_mut());
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
