//! Reads `application/x-www-form-urlencoded` bodies, strictly: what is not exactly that form is refused, never guessed at.

use std::mem;

use auth_domain::refusal::RequestFault;
use zeroize::{Zeroize as _, Zeroizing};

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
/// appendix B). Any value may be a secret, so each is wiped when dropped, also where a later pair is refused.
///
/// # Errors
/// The first [`FormFault`] found.
pub fn decode(body: &[u8]) -> Result<Vec<(String, Zeroizing<String>)>, FormFault> {
    let mut pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let form = pairs
        .by_ref()
        .take(MAX_PAIRS)
        .map(decode_pair)
        .collect::<Result<_, _>>()?;
    match pairs.next() {
        None => Ok(form),
        Some(_) => Err(FormFault::TooManyPairs),
    }
}

fn decode_pair(pair: &[u8]) -> Result<(String, Zeroizing<String>), FormFault> {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    let mut name = decode_text(halves.next().unwrap_or_default())?;
    let value = decode_text(halves.next().unwrap_or_default())?;
    Ok((mem::take(&mut *name), value))
}

/// One name or value: `+` is a space, `%` and two hexadecimal digits a byte, all else itself.
///
/// The text is built in one allocation that never moves, and is wiped when dropped, also where it is refused.
///
/// # Errors
/// A [`FormFault`] other than [`FormFault::TooManyPairs`].
pub fn decode_text(text: &[u8]) -> Result<Zeroizing<String>, FormFault> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    // Most values, tokens above all, are written as they are. To look at all of them at once is faster than to stop.
    let is_plain = |plain: bool, byte: &u8| plain & !matches!(byte, b'+' | b'%');
    if text.iter().fold(true, is_plain) {
        decoded.extend_from_slice(text);
    } else {
        decode_bytes(text, &mut decoded)?;
    }
    if decoded.contains(&0) {
        return Err(FormFault::Nul);
    }
    match String::from_utf8(mem::take(&mut *decoded)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(fault) => {
            fault.into_bytes().zeroize();
            Err(FormFault::Utf8)
        }
    }
}

fn decode_bytes(text: &[u8], decoded: &mut Vec<u8>) -> Result<(), FormFault> {
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => escaped(bytes.next(), bytes.next()).ok_or(FormFault::Escape)?,
            other => other,
        });
    }
    Ok(())
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| {
        char::from(byte?)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}
