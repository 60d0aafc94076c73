//! Tokens that look like the server's own, and are not.

use auth_e2e::http::Http;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{HS256, JwsSigner};
use openssl::bn::BigNum;
use openssl::rsa::Rsa;
use serde_json::{Value, json};

use crate::database::payload;

/// Forgeries of a token, by the name of the trick.
pub(crate) fn forgeries(of: &str, http: &Http) -> Vec<(&'static str, String)> {
    let claims = payload(of);
    let public_key = public_key_pem(http);
    vec![
        ("tampered claims", with_other_claims(of)),
        ("tampered signature", with_other_signature(of)),
        ("no signature", format!("{}.", of.rsplit_once('.').unwrap().0)),
        ("alg none", unsigned(of, &claims)),
        ("HS256 by the public key", signed_hs256(of, &claims, &public_key)),
        ("unknown kid", with_header(of, "kid", &json!("no-such-key"))),
        (
            "key in the header",
            with_header(of, "jku", &json!("https://keys.example/set")),
        ),
    ]
}

/// One character in the middle of the claims changed.
fn with_other_claims(token: &str) -> String {
    let start = token.find('.').unwrap() + 1;
    let end = token.rfind('.').unwrap();
    changed_at(token, usize::midpoint(start, end))
}

/// One character in the middle of the signature changed.
fn with_other_signature(token: &str) -> String {
    changed_at(token, usize::midpoint(token.rfind('.').unwrap(), token.len()))
}

fn changed_at(token: &str, place: usize) -> String {
    let mut bytes = token.as_bytes().to_vec();
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

fn unsigned(of: &str, claims: &[u8]) -> String {
    let mut header = header(of);
    header["alg"] = json!("none");
    format!("{}.{}.", encoded(&header), URL_SAFE_NO_PAD.encode(claims))
}

fn signed_hs256(of: &str, claims: &[u8], key: &[u8]) -> String {
    let mut header = header(of);
    header["alg"] = json!("HS256");
    let input = format!("{}.{}", encoded(&header), URL_SAFE_NO_PAD.encode(claims));
    let signature = HS256
        .signer_from_bytes(key)
        .unwrap()
        .sign(input.as_bytes())
        .unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn with_header(of: &str, name: &str, value: &Value) -> String {
    let mut header = header(of);
    header[name] = value.clone();
    format!("{}.{}", encoded(&header), of.split_once('.').unwrap().1)
}

/// The header of a token.
pub(crate) fn header(of: &str) -> Value {
    let encoded = of.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

fn encoded(header: &Value) -> String {
    URL_SAFE_NO_PAD.encode(header.to_string())
}

/// The published key, as somebody would write it down who wants it taken for a shared secret.
fn public_key_pem(http: &Http) -> Vec<u8> {
    let key_set = http.get("/.well-known/jwks.json").unwrap().json();
    let number = |name: &str| {
        let encoded = key_set["keys"][0][name].as_str().unwrap();
        BigNum::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
    };
    let key = Rsa::from_public_components(number("n"), number("e")).unwrap();
    key.public_key_to_pem().unwrap()
}
