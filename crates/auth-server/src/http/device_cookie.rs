//! The cookie in which a client keeps the note of a known device (RFC 6265), so that it comes back by itself.
//!
//! It authenticates nobody: whoever steals it has a few guesses of their own at one password, and no more.

use actix_web::http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use auth_domain::device::DeviceNote;
use auth_domain::secret::DeviceToken;

/// The name over HTTPS. Browsers take a cookie of such a name from this very host alone, over HTTPS alone.
const SECURE_NAME: &str = "__Host-codelab-device";
/// The name over plain HTTP, which is for development.
const PLAIN_NAME: &str = "codelab-device";
/// More than any note of ours is long, in bytes.
const MAX_NOTE_BYTES: usize = 256;

/// The note in the `Cookie` headers of a request (RFC 6265 section 5.4): what the first cookie of the right name holds,
/// where that has the form of one. Whatever else the headers hold is passed over.
pub fn find<'a>(mut headers: impl Iterator<Item = &'a [u8]>, is_secure: bool) -> Option<DeviceToken> {
    let name = name(is_secure).as_bytes();
    let note = headers.find_map(|header| value_of(name, header))?;
    let is_note_like = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_sane = (1..=MAX_NOTE_BYTES).contains(&note.len()) && note.iter().all(is_note_like);
    let text = std::str::from_utf8(note).ok().filter(|_| is_sane)?;
    Some(DeviceToken::new(text.to_owned()))
}

/// Has the client keep a note: out of reach of scripts, and sent by no page of another site.
pub(super) fn put_on(headers: &mut HeaderMap, note: &DeviceNote, is_secure: bool) {
    let cookie = format!(
        "{}={}; Path=/; Max-Age={}; HttpOnly;{} SameSite=Strict",
        name(is_secure),
        note.token.expose(),
        note.lifetime.get(),
        if is_secure { " Secure;" } else { "" },
    );
    if let Ok(mut value) = HeaderValue::try_from(cookie) {
        value.set_sensitive(true);
        headers.append(SET_COOKIE, value);
    }
}

const fn name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_NAME } else { PLAIN_NAME }
}

/// The value of the first cookie of a name, without the quotes that it may stand in.
fn value_of<'a>(name: &[u8], header: &'a [u8]) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name)?;
        let value = value.strip_prefix(b"=")?.trim_ascii();
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        Some(quoted.unwrap_or(value))
    })
}
