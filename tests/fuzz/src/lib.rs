//! What must hold for any input: one function for each parser that reads what a stranger sends.
//!
//! The fuzz targets feed them what a fuzzer makes up; a test of the server feeds them the checked-in corpus.
#![expect(clippy::expect_used, reason = "a check that can't be set up has failed")]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use auth_domain::client_auth::BasicCredentials;
use auth_domain::device::{DeviceSecret, KnownDevice};
use auth_domain::ports::{Clock, Genuine, TokenSigner};
use auth_domain::request::{AboutToken, Grant, MAX_LOGIN_BYTES, MAX_TOKEN_BYTES, TokenRequest};
use auth_domain::scope::{MAX_SCOPE_TOKENS, Scope};
use auth_domain::secret::{DeviceToken, Token};
use auth_domain::time::Timestamp;
use auth_jwt::{KeyBits, KeyRing, KeySource, Kid, RsaKey};
use auth_server::http::client_address::{AddressHeader, Trust, origin};
use auth_server::http::{basic, device_cookie, form};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::{Value, json};

/// A form that is read can be written again, and then reads the same.
///
/// # Panics
/// Where that is not so.
pub fn form(body: &[u8]) {
    let Ok(pairs) = form::decode(body) else {
        return;
    };
    assert!(pairs.len() <= form::MAX_PAIRS);
    for (name, value) in &pairs {
        assert!(!name.contains('\0') && !value.contains('\0'));
    }
    let written: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    assert_eq!(form::decode(written.join("&").as_bytes()), Ok(pairs));
}

/// Reading a header of HTTP Basic never fails otherwise than by its own errors, and an empty secret is none.
///
/// # Panics
/// Where that is not so.
pub fn basic(header: &[u8]) {
    if let Ok(credentials) = basic::parse(header) {
        assert!(
            header
                .trim_ascii()
                .get(..5)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
        );
        assert!(
            credentials
                .secret
                .is_none_or(|secret| !secret.expose().is_empty())
        );
    }
}

/// Whatever lines a stranger sends, its address stays its own; and whatever stands left of what the nearest proxy says,
/// what that says holds. Each line is a line of both headers.
///
/// # Panics
/// Where that is not so.
pub fn client_address(lines: &[u8]) {
    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
    let proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    let said = [
        (AddressHeader::XForwardedFor, "x-forwarded-for", "203.0.113.9"),
        (AddressHeader::Forwarded, "forwarded", "for=203.0.113.9"),
    ];
    for (header, name, last) in said {
        let trust = Trust {
            proxies: proxies.clone(),
            header,
            exempt: Vec::new(),
        };
        let name = HeaderName::from_static(name);
        let mut headers = HeaderMap::new();
        for line in lines.split(|byte| *byte == b'\n') {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append(name.clone(), value);
            }
        }
        assert_eq!(origin(STRANGER, &headers, &trust).ip, STRANGER);
        let found = origin(PROXY, &headers, &trust).ip;
        assert_eq!(found, found.to_canonical());
        // The nearest proxy adds to the last line, or writes one of its own.
        let mut on_the_last_line = HeaderMap::new();
        let mut values: Vec<&HeaderValue> = headers.get_all(&name).collect();
        let end = values.pop().map_or(&b""[..], HeaderValue::as_bytes);
        for value in values {
            on_the_last_line.append(name.clone(), value.clone());
        }
        let end = [end, b", ", last.as_bytes()].concat();
        on_the_last_line.append(name.clone(), HeaderValue::from_bytes(&end).expect("a value"));
        assert_eq!(origin(PROXY, &on_the_last_line, &trust).ip, CLIENT);
        headers.append(name, HeaderValue::from_static(last));
        assert_eq!(origin(PROXY, &headers, &trust).ip, CLIENT);
    }
}

/// A scope that is read is within the bounds, and its written form reads as the same scope.
///
/// # Panics
/// Where that is not so.
pub fn scope(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(scope) = Scope::parse(text) else {
        return;
    };
    assert!(scope.tokens().count() <= MAX_SCOPE_TOKENS);
    assert_eq!(scope.is_empty(), text.is_empty());
    let written = scope.to_string();
    assert!(written.len() <= text.len());
    assert_eq!(Scope::parse(&written), Ok(scope));
}

/// What a message consists of: its first line is the `Authorization` header, if it is not empty; the rest is the body.
fn taken_apart(message: &[u8]) -> Option<(Option<BasicCredentials>, &[u8])> {
    let mut parts = message.splitn(2, |byte| *byte == b'\n');
    let header = parts.next().filter(|line| !line.is_empty());
    let body = parts.next().unwrap_or_default();
    Some((basic::from_headers(header.into_iter()).ok()?, body))
}

/// A token request that is understood holds nothing beyond the bounds; what shows it shows no secret of it.
/// The first line is the `Authorization` header, if it is not empty; the rest is the body.
///
/// # Panics
/// Where that is not so.
pub fn token_request(message: &[u8]) {
    let Some((credentials, body)) = taken_apart(message) else {
        return;
    };
    let Ok(pairs) = form::decode(body) else {
        return;
    };
    let Ok(request) = TokenRequest::parse(pairs, credentials) else {
        return;
    };
    assert!(!request.client.client_id.is_empty());
    assert!(
        request
            .client
            .secret
            .as_ref()
            .is_none_or(|secret| !secret.expose().is_empty())
    );
    match &request.grant {
        Grant::Password { username, password } => {
            assert!((1..=MAX_LOGIN_BYTES).contains(&username.len()));
            assert!(!password.expose().is_empty() && !password.expose().contains('\0'));
            let shown = format!("{:?}", request.grant);
            assert_eq!(
                shown,
                format!("Password {{ username: {username:?}, password: Password(..) }}")
            );
        }
        Grant::RefreshToken(token) => {
            assert!((1..=MAX_TOKEN_BYTES).contains(&token.expose().len()));
            assert_eq!(format!("{:?}", request.grant), "RefreshToken(Token(..))");
        }
    }
}

/// A request about a token that is understood holds nothing beyond the bounds; what shows it shows no secret of it. Its
/// form is that of [`token_request`].
///
/// # Panics
/// Where that is not so.
pub fn about_token(message: &[u8]) {
    let Some((credentials, body)) = taken_apart(message) else {
        return;
    };
    let Ok(pairs) = form::decode(body) else {
        return;
    };
    let Ok(request) = AboutToken::parse(pairs, credentials) else {
        return;
    };
    assert!(!request.client.client_id.is_empty());
    let token = request.token.expose();
    assert!((1..=MAX_TOKEN_BYTES).contains(&token.len()) && !token.contains('\0'));
    assert!(format!("{request:?}").ends_with(", token: Token(..) }"));
}

/// Of cookies at most one is taken for the note of a device, which is short, plain, and not believed. Each line is a
/// header.
///
/// # Panics
/// Where that is not so.
pub fn cookie(headers: &[u8]) {
    let lines = || headers.split(|byte| *byte == b'\n');
    for is_secure in [false, true] {
        let Some(note) = device_cookie::find(lines(), is_secure) else {
            continue;
        };
        let text = note.expose();
        assert!((1..=256).contains(&text.len()));
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        );
        let later = [&b"codelab-device=later"[..], b"__Host-codelab-device=later"];
        let first = device_cookie::find(lines().chain(later), is_secure);
        assert_eq!(first.as_ref().map(DeviceToken::expose), Some(text));
        let secret = DeviceSecret::from_bytes([7; 32]);
        assert_eq!(KnownDevice::open(&note, &secret, Timestamp::default()), None);
    }
}

/// No text is a genuine token unless the key has signed it; and where it has, only a header of ours makes it one,
/// and no other spelling of it is. An input that starts with `r` is a token; one that starts with `s` is a header,
/// a line break and claims, which are then signed with the real key.
///
/// # Panics
/// Where that is not so.
pub fn jwt(input: &[u8]) {
    match input.split_first() {
        Some((b'r', token)) => forged_token(&String::from_utf8_lossy(token)),
        Some((b's', parts)) => {
            let mut parts = parts.splitn(2, |byte| *byte == b'\n');
            signed_token(parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        }
        _ => {}
    }
}

fn forged_token(token: &str) {
    assert!(!is_refresh_token(token), "{token}");
    assert!(!is_access_token(token), "{token}");
}

fn signed_token(header: &[u8], claims: &[u8]) {
    let token = SIGNER.sign(header, claims);
    let named = |typ: &str| {
        serde_json::from_slice::<Value>(header)
            .is_ok_and(|header| header == json!({ "alg": "RS256", "kid": KID, "typ": typ }))
    };
    let is_object = serde_json::from_slice::<Value>(claims).is_ok_and(|claims| claims.is_object());
    if is_refresh_token(&token) {
        assert!(named("rt+jwt") && is_object);
        respelled_token(&token, claims.len());
    }
    if is_access_token(&token) {
        assert!((named("at+jwt") || named("JWT")) && is_object);
        respelled_token(&token, claims.len());
    }
}

/// Another character anywhere, the last one of the signature included, and the token is none.
fn respelled_token(token: &str, position: usize) {
    for position in [position % token.len(), token.len() - 1] {
        let mut other = token.to_owned().into_bytes();
        if let Some(byte) = other.get_mut(position) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
        forged_token(&String::from_utf8_lossy(&other));
    }
    forged_token(&format!("{token}="));
    forged_token(&format!("{token}\n"));
}

fn is_refresh_token(token: &str) -> bool {
    let verdict = SIGNER.ring.verify_refresh(&Token::new(token.to_owned()));
    matches!(verdict, Ok(Genuine::Yes(_)))
}

fn is_access_token(token: &str) -> bool {
    let verdict = SIGNER.ring.verify_access(&Token::new(token.to_owned()));
    matches!(verdict, Ok(Genuine::Yes(_)))
}

const KID: &str = "fuzz";

static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::new);

/// A key ring of one key made for this process, and the key itself, to sign whatever shall be signed.
struct Signer {
    ring: KeyRing,
    key: RsaKey,
}

impl Signer {
    fn new() -> Self {
        let (key, pem) = RsaKey::generate(KeyBits::Rsa2048).expect("a key");
        // A temporary file is readable by nobody else, as the ring demands.
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &pem[..]).expect("the key in it");
        let source = KeySource::Pair {
            private_key_path: file.path().to_owned(),
            public_key_path: None,
            kid: Some(Kid::parse(KID).expect("a kid")),
        };
        let ring = KeyRing::open(source, Arc::new(Epoch)).expect("a ring");
        Self { ring, key }
    }

    fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A clock that stands still: no verdict of a ring of one given pair depends on the time.
struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}

/// The form encoding of a text, all but letters and digits escaped.
fn escaped(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}
