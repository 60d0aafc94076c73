//! Reads `application/x-www-form-urlencoded` bodies, strictly: what is not exactly that form is refused, never guessed at.

use auth_domain::refusal::RequestFault;

/// The most pairs that are looked at in one form. The parameters of OAuth and its extensions are far fewer.
pub const MAX_PAIRS: usize = 64;

/// Why bytes are not in the form encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormFault {
    /// A `%` without two hexadecimal digits after it.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Escape,
    /// What it decodes to is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// It holds a NUL character, which no parameter may.
    #[error("a NUL character")]
    Nul,
    /// More pairs than [`MAX_PAIRS`].
    #[error("too many parameters")]
    TooManyPairs,
}

impl From<FormFault> for RequestFault {
    fn from(_: FormFault) -> Self {
        Self::Malformed
    }
}

/// The name and value pairs of a form, in the order sent, repeated ones too (HTML section 4.10.21.6, RFC 6749
/// appendix B).
///
/// # Errors
/// The first [`FormFault`] found.
pub fn decode(body: &[u8]) -> Result<Vec<(String, String)>, FormFault> {
    let pairs = || body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    if pairs().nth(MAX_PAIRS).is_some() {
        return Err(FormFault::TooManyPairs);
    }
    pairs().map(decode_pair).collect()
}

fn decode_pair(pair: &[u8]) -> Result<(String, String), FormFault> {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    let name = decode_text(halves.next().unwrap_or_default())?;
    let value = decode_text(halves.next().unwrap_or_default())?;
    Ok((name, value))
}

/// One name or value: `+` is a space, `%` and two hexadecimal digits a byte, all else itself.
///
/// The text is built in place in one allocation, so that no copy of a secret is left behind on the way.
///
/// # Errors
/// A [`FormFault`] other than [`FormFault::TooManyPairs`].
pub fn decode_text(text: &[u8]) -> Result<String, FormFault> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => escaped(bytes.next(), bytes.next()).ok_or(FormFault::Escape)?,
            other => other,
        });
    }
    if decoded.contains(&0) {
        return Err(FormFault::Nul);
    }
    String::from_utf8(decoded).map_err(|_| FormFault::Utf8)
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| {
        char::from(byte?)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}
