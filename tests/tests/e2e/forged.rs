//! Tokens that look like the server's own, and are not.

use std::fs;
use std::path::Path;

use auth_e2e::http::Http;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{HS256, JwsSigner};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
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

/// Tokens under the server's own signature that it never gave out, by what is wrong with them: for each the header or
/// the claims are another's.
pub(crate) fn misfits(of: &str, keys: &Path) -> Vec<(&'static str, String)> {
    let claims = String::from_utf8(payload(of)).unwrap();
    let header = header(of).to_string();
    let key = own_key(keys);
    let mut signed = Vec::new();
    for (trick, header) in misfit_headers(&header) {
        signed.push((trick, signed_rs256(&header, &claims, &key)));
    }
    for (trick, claims) in misfit_claims(&claims) {
        signed.push((trick, signed_rs256(&header, &claims, &key)));
    }
    assert!(
        signed.iter().all(|(_, token)| token != of),
        "each differs from the genuine one"
    );
    signed
}

fn misfit_headers(header: &str) -> Vec<(&'static str, String)> {
    let with = |member: &str| header.replacen('{', &format!("{{{member},"), 1);
    let changed = |name: &str, value: Value| {
        let mut header: Value = serde_json::from_str(header).unwrap();
        header[name] = value;
        header.to_string()
    };
    let own_kid = serde_json::from_str::<Value>(header).unwrap()["kid"].clone();
    vec![
        ("jku", with(r#""jku":"https://attacker.example/keys""#)),
        ("x5u", with(r#""x5u":"https://attacker.example/chain""#)),
        ("x5c", with(r#""x5c":["MIIB"]"#)),
        ("jwk", with(r#""jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}"#)),
        ("crit", with(r#""crit":["exp"]"#)),
        ("b64", with(r#""b64":false"#)),
        ("kid twice", with(&format!(r#""kid":{own_kid}"#))),
        ("alg none, signed all the same", changed("alg", json!("none"))),
        ("alg HS256, signed by RSA", changed("alg", json!("HS256"))),
        ("alg RS512", changed("alg", json!("RS512"))),
        ("alg PS256", changed("alg", json!("PS256"))),
        ("alg of another case", changed("alg", json!("rs256"))),
        ("alg null", changed("alg", Value::Null)),
        ("kid of a path", changed("kid", json!("../../etc/passwd"))),
        ("kid of SQL", changed("kid", json!("' OR 1=1 --"))),
        (
            "kid with NUL",
            changed("kid", json!(format!("{}\0", own_kid.as_str().unwrap()))),
        ),
        ("kid empty", changed("kid", json!(""))),
        ("typ of nobody", changed("typ", json!("JOSE"))),
        ("typ empty", changed("typ", json!(""))),
        ("a header that is a list", format!("[{header}]")),
        ("a header deeper than any", "[".repeat(4_000)),
        ("NUL after the header", format!("{header}\0")),
    ]
}

fn misfit_claims(claims: &str) -> Vec<(&'static str, String)> {
    let with = |member: &str| claims.replacen('{', &format!("{{{member},"), 1);
    let changed = |name: &str, value: Value| {
        let mut claims: Value = serde_json::from_str(claims).unwrap();
        claims[name] = value;
        claims.to_string()
    };
    let number = |name: &str| {
        serde_json::from_str::<Value>(claims).unwrap()[name]
            .as_i64()
            .unwrap()
    };
    vec![
        (
            "another issuer",
            changed("iss", json!("https://attacker.example")),
        ),
        (
            "the issuer with a slash",
            changed("iss", json!("https://auth.codelab.local/")),
        ),
        ("another audience", changed("aud", json!("another-api"))),
        (
            "audiences",
            changed("aud", json!(["https://auth.codelab.local", "codelab-api"])),
        ),
        ("a type of nobody", changed("type", json!("id"))),
        ("from the future", changed("nbf", json!(number("nbf") + 3_600))),
        ("a fraction of a second", changed("nbf", json!(0.5))),
        ("an expiry beyond all bounds", changed("exp", json!(1e300))),
        ("a client with NUL", changed("client_id", json!("codelab\0app"))),
        ("no subject", changed("sub", Value::Null)),
        ("the subject of SQL", changed("sub", json!("' OR 1=1 --"))),
        ("no jti", changed("jti", Value::Null)),
        ("iss twice", with(r#""iss":"https://attacker.example""#)),
        ("exp twice", with(r#""exp":99999999999"#)),
        ("type twice", with(r#""type":"refresh""#)),
        ("claims twice", format!("{claims}{claims}")),
        ("NUL after the claims", format!("{claims}\0")),
        ("claims that are a list", format!("[{claims}]")),
        ("no claims", "{}".to_owned()),
        ("claims deeper than any", "[".repeat(4_000)),
    ]
}

fn signed_rs256(header: &str, claims: &str, key: &PKey<Private>) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
    let signature = signer.sign_oneshot_to_vec(input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The server's only private key, from its directory: the forger has everything but a token's place in its chain.
fn own_key(keys: &Path) -> PKey<Private> {
    let files = fs::read_dir(keys).unwrap().map(|entry| entry.unwrap().path());
    let mut found = files.filter_map(|file| PKey::private_key_from_pem(&fs::read(file).unwrap()).ok());
    found.next().unwrap()
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
