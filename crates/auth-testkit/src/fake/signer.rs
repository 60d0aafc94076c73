//! Tokens that look like JWTs, can be read by eye, and are sealed by a keyed checksum instead of a signature.

use std::sync::Arc;

use async_trait::async_trait;
use auth_domain::claims::{AccessClaims, RefreshClaims, SignedPair, TokenPairClaims};
use auth_domain::client::AccessTokenType;
use auth_domain::ports::{Genuine, KeySet, TokenSigner, Unavailable};
use auth_domain::secret::Token;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Outage;

/// A signer whose tokens are `hex(header).hex(claims).checksum`. The same claims give the same token; any change
/// to one is seen. Copies share the outage.
#[derive(Debug, Clone)]
pub struct FakeSigner {
    /// Which calls fail.
    pub outage: Outage,
    kid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    typ: String,
    kid: String,
}

impl Default for FakeSigner {
    fn default() -> Self {
        Self::with_key("fake-key")
    }
}

impl FakeSigner {
    /// A signer of another key: what it signs is forged to every other.
    pub fn with_key(kid: &str) -> Self {
        Self {
            outage: Outage::default(),
            kid: kid.to_owned(),
        }
    }

    /// Signs a refresh token of any claims, also of such as the rules would never issue: without `sid` it is one of
    /// the older service, by its type too.
    pub fn sign_refresh(&self, claims: &RefreshClaims) -> Token {
        self.sign(claims.token_type(), claims)
    }

    /// Signs an access token of any claims, also of such as the rules would never issue.
    pub fn sign_access(&self, token_type: AccessTokenType, claims: &AccessClaims) -> Token {
        self.sign(token_type.as_str(), claims)
    }

    fn sign(&self, typ: &str, claims: &impl Serialize) -> Token {
        let header = Header {
            typ: typ.to_owned(),
            kid: self.kid.clone(),
        };
        let body = format!("{}.{}", encode(&header), encode(claims));
        let seal = self.seal(&body);
        Token::new(format!("{body}.{seal}"))
    }

    fn seal(&self, body: &str) -> String {
        let digest = Sha256::new_with_prefix(self.kid.as_bytes())
            .chain_update(body)
            .finalize();
        hex(&digest)
    }

    fn verify<C: DeserializeOwned>(
        &self,
        token: &Token,
        belong_under: impl Fn(&C, &str) -> bool,
    ) -> Genuine<C> {
        let Some((body, seal)) = token.expose().rsplit_once('.') else {
            return Genuine::No("not three parts");
        };
        if seal != self.seal(body) {
            return Genuine::No("the checksum is another");
        }
        let parts = body
            .split_once('.')
            .and_then(|(header, claims)| Some((decode::<Header>(header)?, decode::<C>(claims))));
        match parts {
            Some((header, Some(claims))) if belong_under(&claims, &header.typ) => Genuine::Yes(claims),
            Some((_, Some(_))) => Genuine::No("a token of another type"),
            Some((_, None)) | None => Genuine::No("unreadable"),
        }
    }
}

#[async_trait]
impl TokenSigner for FakeSigner {
    async fn sign_pair(&self, claims: &TokenPairClaims) -> Result<SignedPair, Unavailable> {
        self.outage.pass("sign a pair of tokens")?;
        Ok(SignedPair {
            access: self.sign_access(claims.access_type, &claims.access),
            refresh: self.sign_refresh(&claims.refresh),
        })
    }

    fn verify_refresh(&self, token: &Token) -> Result<Genuine<RefreshClaims>, Unavailable> {
        self.outage.pass("verify a refresh token")?;
        Ok(self.verify(token, RefreshClaims::belong_under))
    }

    fn verify_access(&self, token: &Token) -> Result<Genuine<AccessClaims>, Unavailable> {
        self.outage.pass("verify an access token")?;
        Ok(self.verify(token, AccessClaims::belong_under))
    }

    fn key_set(&self) -> Result<Arc<KeySet>, Unavailable> {
        self.outage.pass("read the key set")?;
        let json = format!(
            r#"{{"keys":[{{"kty":"RSA","use":"sig","alg":"RS256","kid":"{}","n":"AQAB","e":"AQAB"}}]}}"#,
            self.kid
        );
        Ok(Arc::new(KeySet {
            json: json.into_bytes().into_boxed_slice(),
            etag: format!("\"{}\"", self.kid),
            active_kid: self.kid.clone(),
        }))
    }
}

fn encode(value: &impl Serialize) -> String {
    hex(&serde_json::to_vec(value).expect("claims are plain data"))
}

fn decode<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&unhex(text)?).ok()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
