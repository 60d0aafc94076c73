//! One RSA key: signer, verifier and public half, built once and kept (RS256, RFC 7518 section 3.3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::KeyPair as _;
use josekit::jws::alg::rsassa::{RsassaJwsSigner, RsassaJwsVerifier};
use josekit::jws::{JwsSigner as _, JwsVerifier as _, RS256};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::BoxError;
use crate::kid::{Kid, KidFault};

/// How long a new key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyBits {
    /// 2,048 bits.
    #[default]
    Rsa2048,
    /// 3,072 bits.
    Rsa3072,
    /// 4,096 bits.
    Rsa4096,
}

/// A length that new keys may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 2048, 3072 or 4096 bits, not {0}")]
pub struct KeyBitsFault(u32);

impl KeyBits {
    /// The number of bits.
    pub const fn get(self) -> u32 {
        match self {
            Self::Rsa2048 => 2_048,
            Self::Rsa3072 => 3_072,
            Self::Rsa4096 => 4_096,
        }
    }
}

impl TryFrom<u32> for KeyBits {
    type Error = KeyBitsFault;

    fn try_from(bits: u32) -> Result<Self, KeyBitsFault> {
        match bits {
            2_048 => Ok(Self::Rsa2048),
            3_072 => Ok(Self::Rsa3072),
            4_096 => Ok(Self::Rsa4096),
            other => Err(KeyBitsFault(other)),
        }
    }
}

/// Why a text is no RSA key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum RsaKeyFault {
    /// It is not an unencrypted RSA private key in PEM, PKCS #8 or PKCS #1, of at least 2,048 bits.
    #[error(
        "it is not an unencrypted RSA private key of at least 2048 bits in PEM form (PKCS #8 or PKCS #1)"
    )]
    Private(#[source] BoxError),
    /// It is not an RSA public key in PEM of at least 2,048 bits.
    #[error("it is not an RSA public key of at least 2048 bits in PEM form")]
    Public(#[source] BoxError),
    /// The library did not say what the public half is.
    #[error("its public half could not be read")]
    PublicHalf,
    /// What it signs, it does not verify: its numbers don't belong together.
    #[error("it does not verify its own signature")]
    Inconsistent,
    /// The library could not make one.
    #[error("the cryptographic library could not make one")]
    Generate(#[source] BoxError),
    /// Its thumbprint is no `kid`; can't happen while thumbprints are base64url.
    #[error("its thumbprint is no kid")]
    Thumbprint(#[source] KidFault),
}

/// An RSA key, ready to sign and to verify.
///
/// Threads share it: one signer for all of them is faster than one each.
#[derive(Debug)]
pub struct RsaKey {
    signer: RsassaJwsSigner,
    verifier: RsassaJwsVerifier,
    modulus: String,
    exponent: String,
    bits: u32,
}

impl RsaKey {
    /// What a token's header says of this key's algorithm.
    pub const ALGORITHM: &'static str = "RS256";

    /// A new key, and its PKCS #8 PEM form, which exists nowhere else.
    ///
    /// # Errors
    /// [`RsaKeyFault::Generate`], where the library can't.
    pub fn generate(bits: KeyBits) -> Result<(Self, Zeroizing<Vec<u8>>), RsaKeyFault> {
        let pair = RS256
            .generate_key_pair(bits.get())
            .map_err(|fault| RsaKeyFault::Generate(fault.into()))?;
        let pem = Zeroizing::new(pair.to_pem_private_key());
        Ok((Self::from_pem(&pem)?, pem))
    }

    /// Reads a private key, and tries it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RsaKeyFault> {
        let pair = RS256
            .key_pair_from_pem(pem)
            .map_err(|fault| RsaKeyFault::Private(fault.into()))?;
        let public = pair.to_jwk_public_key();
        let parameter = |name: &str| {
            let value = public.parameter(name).and_then(|value| value.as_str());
            value.map(str::to_owned).ok_or(RsaKeyFault::PublicHalf)
        };
        let key = Self {
            modulus: parameter("n")?,
            exponent: parameter("e")?,
            bits: pair.key_len() * 8,
            verifier: RS256
                .verifier_from_der(pair.to_der_public_key())
                .map_err(|fault| RsaKeyFault::Public(fault.into()))?,
            signer: RS256
                .signer_from_der(Zeroizing::new(pair.to_der_private_key()))
                .map_err(|fault| RsaKeyFault::Private(fault.into()))?,
        };
        key.try_itself()?;
        Ok(key)
    }

    fn try_itself(&self) -> Result<(), RsaKeyFault> {
        let message = b"a signature to try the key";
        let is_consistent = self
            .sign(message)
            .is_ok_and(|signature| self.verify(message, &signature));
        is_consistent.then_some(()).ok_or(RsaKeyFault::Inconsistent)
    }

    /// Whether a public key in PEM is this key's public half.
    ///
    /// # Errors
    /// [`RsaKeyFault::Public`], where it is no RSA public key at all.
    pub fn has_public_half(&self, pem: &[u8]) -> Result<bool, RsaKeyFault> {
        let verifier = RS256
            .verifier_from_pem(pem)
            .map_err(|fault| RsaKeyFault::Public(fault.into()))?;
        let message = b"a signature to compare keys by";
        let signature = self.sign(message).map_err(RsaKeyFault::Private)?;
        Ok(verifier.verify(message, &signature).is_ok())
    }

    /// Signs a message. The same message gives the same signature.
    ///
    /// # Errors
    /// What the cryptographic library says, where it fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BoxError> {
        self.signer.sign(message).map_err(Into::into)
    }

    /// Whether this is the message's signature by this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify(message, signature).is_ok()
    }

    /// The length of the modulus.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// The modulus, base64url (`n`, RFC 7518 section 6.3.1.1).
    pub(crate) fn modulus(&self) -> &str {
        &self.modulus
    }

    /// The public exponent, base64url (`e`).
    pub(crate) fn exponent(&self) -> &str {
        &self.exponent
    }

    /// The SHA-256 thumbprint of RFC 7638, base64url: a name that follows from the key itself.
    ///
    /// # Errors
    /// Never, in truth: base64url text of that length is a [`Kid`].
    pub fn thumbprint(&self) -> Result<Kid, RsaKeyFault> {
        // RFC 7638 section 3.2: the required members only, in lexicographic order, without white space.
        let members = format!(
            r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
            self.exponent, self.modulus
        );
        Kid::parse(&URL_SAFE_NO_PAD.encode(Sha256::digest(members))).map_err(RsaKeyFault::Thumbprint)
    }
}
