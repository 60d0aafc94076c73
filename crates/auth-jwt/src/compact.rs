//! The compact form of a token (RFC 7515 section 7.1): written in one way, and read in that one way only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::BoxError;
use crate::rsa::RsaKey;

/// Ten times the size of our tokens; more is not looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The header of our tokens: these members, and no others. So nothing in a header can name another key (`jwk`,
/// `jku`, `x5u`, `x5c`; RFC 8725 section 3.1) or ask for anything (`crit`), and a member that comes twice is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header<'a> {
    pub(crate) alg: &'a str,
    pub(crate) kid: &'a str,
    pub(crate) typ: &'a str,
}

impl Header<'_> {
    /// The first part of a token.
    pub(crate) fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_vec(self).map(|json| URL_SAFE_NO_PAD.encode(json))
    }
}

/// Signs claims under an encoded header.
pub(crate) fn sign(header: &str, claims: &impl Serialize, key: &RsaKey) -> Result<String, BoxError> {
    let claims = serde_json::to_vec(claims)?;
    let mut token = String::with_capacity(token_length(header, &claims, key));
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn token_length(header: &str, claims: &[u8], key: &RsaKey) -> usize {
    let signature = usize::try_from(key.bits() / 8).unwrap_or(0);
    header.len() + 2 + claims.len().div_ceil(3) * 4 + signature.div_ceil(3) * 4
}

/// A token taken apart, of which nothing is believed yet.
pub(crate) struct Parts<'a> {
    header: Vec<u8>,
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes a token apart. Says why not, for the log.
    pub(crate) fn of(token: &'a str) -> Result<Self, &'static str> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err("longer than any token of ours");
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("not three parts");
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err("a part is empty");
        }
        let signed = token
            .get(..header.len() + 1 + claims.len())
            .ok_or("not three parts")?;
        Ok(Self {
            header: decode(header)?,
            signed,
            claims,
            signature,
        })
    }

    /// What the header says.
    pub(crate) fn header(&self) -> Result<Header<'_>, &'static str> {
        object(&self.header).ok_or("not a header of ours")
    }

    /// The claims, if the signature is the key's.
    pub(crate) fn claims<C: DeserializeOwned>(&self, key: &RsaKey) -> Result<C, &'static str> {
        let signature = decode(self.signature)?;
        if !key.verify(self.signed.as_bytes(), &signature) {
            return Err("the signature is not the key's");
        }
        let claims = decode(self.claims)?;
        object(&claims).ok_or("not claims of ours")
    }
}

/// Reads a JSON object. A derived reader alone would also take an array of the members' values.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    if json.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Decodes base64url in the one form that encoding gives: without padding, white space or stray bits in the last
/// character. So a token has one spelling, and what is derived from its text has one value.
fn decode(part: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| "not base64url without padding")
}
