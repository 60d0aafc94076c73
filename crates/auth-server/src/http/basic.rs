//! Reads the `Authorization` header of a client that authenticates by HTTP Basic (RFC 7617, RFC 6749 section 2.3.1).

use std::mem;

use auth_domain::client_auth::BasicCredentials;
use auth_domain::refusal::{Challenge, Refusal, RequestFault};
use auth_domain::secret::ClientSecret;
use base64::engine::general_purpose::STANDARD;
use base64::{Engine, decoded_len_estimate};
use zeroize::Zeroizing;

use super::form;

/// What is wrong with an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BasicFault {
    /// A scheme other than Basic.
    #[error("not the scheme Basic")]
    OtherScheme,
    /// Not base64, or what it decodes to is not a pair in the form encoding.
    #[error("not base64 of a form-encoded pair")]
    Malformed,
}

impl From<BasicFault> for Refusal {
    fn from(fault: BasicFault) -> Self {
        Self::InvalidClient(match fault {
            BasicFault::OtherScheme => Challenge::Other,
            BasicFault::Malformed => Challenge::Basic,
        })
    }
}

/// The credentials in the `Authorization` headers of a request; `None` where there is no such header.
///
/// # Errors
/// `invalid_request` where the header is repeated, `invalid_client` where it can't be read.
pub fn from_headers<'a>(
    mut headers: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<BasicCredentials>, Refusal> {
    let Some(header) = headers.next() else {
        return Ok(None);
    };
    if headers.next().is_some() {
        return Err(Refusal::InvalidRequest(RequestFault::RepeatedAuthorization));
    }
    Ok(Some(parse(header)?))
}

/// Reads one header's value: `Basic`, a space, base64 of `client_id:client_secret`, both halves form-encoded.
///
/// # Errors
/// [`BasicFault`], for anything else.
pub fn parse(header: &[u8]) -> Result<BasicCredentials, BasicFault> {
    let (scheme, credentials) = split_once(header.trim_ascii(), b' ').ok_or(BasicFault::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return Err(BasicFault::OtherScheme);
    }
    let pair = decode_base64(credentials.trim_ascii_start())?;
    // The first colon parts them: a user-id holds none (RFC 7617 section 2), and one in a client id is escaped.
    let (client_id, secret) = split_once(&pair, b':').ok_or(BasicFault::Malformed)?;
    let mut client_id = form::decode_text(client_id).map_err(|_| BasicFault::Malformed)?;
    let mut secret = form::decode_text(secret).map_err(|_| BasicFault::Malformed)?;
    Ok(BasicCredentials {
        client_id: mem::take(&mut *client_id),
        secret: (!secret.is_empty()).then(|| ClientSecret::new(mem::take(&mut *secret))),
    })
}

/// The bytes behind base64, wiped when dropped, also where the text breaks off being base64 halfway.
fn decode_base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BasicFault> {
    let mut bytes = Zeroizing::new(vec![0; decoded_len_estimate(text.len())]);
    let length = STANDARD
        .decode_slice(text, &mut bytes)
        .map_err(|_| BasicFault::Malformed)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let mut halves = bytes.splitn(2, |byte| *byte == separator);
    Some((halves.next()?, halves.next()?))
}
