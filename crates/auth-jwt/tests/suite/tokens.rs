//! Tokens: what this server signs, and what it takes for its own.

use std::sync::{Arc, LazyLock};

use auth_domain::claims::RefreshClaims;
use auth_domain::ports::{Genuine, TokenSigner as _};
use auth_domain::secret::Token;
use auth_jwt::{KeyBits, KeyRing, KeySource, RsaKey};
use auth_testkit::clock::START;
use auth_testkit::contract::signer as contract;
use auth_testkit::{MockClock, build};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use proptest::prelude::*;

use crate::common::{self, KID_OF_OLD, directory, fixture, kid, legacy_fixture, ring, ring_of_old, write};

/// A token of the older service's key with any header and claims, each as text.
fn signed_by_key_of_old(header: &str, claims: &str) -> String {
    let key = RsaKey::from_pem(&fixture("private_key.pem")).expect("the fixture is a key");
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = key.sign(signed.as_bytes()).expect("the key signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn refresh_claims() -> String {
    serde_json::to_string(&contract::pair_claims(START).refresh).expect("claims are JSON")
}

/// Those of a refresh token of the older service.
fn legacy_claims() -> String {
    let claims = RefreshClaims {
        sid: None,
        aud: "codelab-api".to_owned(),
        ..contract::pair_claims(START).refresh
    };
    serde_json::to_string(&claims).expect("claims are JSON")
}

const HEADER: &str = r#"{"alg":"RS256","kid":"2024-01-key-1","typ":"rt+jwt"}"#;

#[tokio::test]
async fn the_key_ring_keeps_the_contract() {
    let (own, other) = (directory(), directory());
    let clock = MockClock::default();
    let ring = ring(own.path(), &clock);
    contract::what_was_signed_verifies_to_the_same_claims(&ring).await;
    contract::equal_claims_give_equal_tokens(&ring).await;
    contract::neither_token_passes_for_the_other(&ring).await;
    contract::nothing_may_be_added_to_a_token(&ring).await;
    contract::no_other_text_is_a_token(&ring);
    contract::tokens_of_another_signer_are_refused(&ring, &common::ring(other.path(), &clock)).await;
    contract::the_key_set_names_the_key_that_signs(&ring);
}

#[tokio::test]
async fn no_character_of_a_token_can_be_changed() {
    let own = directory();
    contract::every_change_to_a_token_is_noticed(&ring_of_old(own.path())).await;
}

#[tokio::test]
async fn the_header_says_algorithm_key_and_type_and_nothing_else() {
    let own = directory();
    let pair = contract::sign(&ring_of_old(own.path()), &contract::pair_claims(START)).await;
    let header = |token: &Token| {
        let first = token
            .expose()
            .split('.')
            .next()
            .expect("a token has parts")
            .to_owned();
        String::from_utf8(URL_SAFE_NO_PAD.decode(first).expect("base64url")).expect("text")
    };
    assert_eq!(header(&pair.access), HEADER.replace("rt+jwt", "at+jwt"));
    assert_eq!(header(&pair.refresh), HEADER);
}

#[tokio::test]
async fn a_token_is_what_openssl_signs_over_the_claims_as_json() {
    let own = directory();
    let pair = contract::sign(&ring_of_old(own.path()), &contract::pair_claims(START)).await;
    assert_eq!(
        pair.refresh.expose(),
        signed_by_key_of_old(HEADER, &refresh_claims())
    );
}

#[test]
fn a_token_of_the_older_service_verifies_by_its_key() {
    let own = directory();
    let text = String::from_utf8(fixture("access_token.txt")).expect("a token is text");
    let verified = ring_of_old(own.path())
        .verify_access(&Token::new(text))
        .expect("no outage");
    let Genuine::Yes(claims) = verified else {
        panic!("{verified:?}");
    };
    assert_eq!(claims.client_id.as_str(), "codelab-flutter-app");
    assert_eq!(claims.aud, "codelab-api");
}

/// The answers of its token endpoint, as the databases' fixtures tell them.
#[derive(serde::Deserialize)]
struct Expected {
    tokens: Vec<IssuedTokens>,
}

#[derive(serde::Deserialize)]
struct IssuedTokens {
    access_token: Option<String>,
    refresh_token: String,
}

#[test]
fn every_token_that_the_older_service_issued_verifies_as_what_it_is_and_as_nothing_else() {
    let own = directory();
    let pair = KeySource::Pair {
        private_key_path: write(
            &own.path().join("private.pem"),
            &legacy_fixture("keys/private_key.pem"),
            0o600,
        ),
        public_key_path: Some(write(
            &own.path().join("public.pem"),
            &legacy_fixture("keys/public_key.pem"),
            0o644,
        )),
        kid: Some(kid(KID_OF_OLD)),
    };
    let ring = KeyRing::open(pair, Arc::new(MockClock::default())).expect("the pair is in order");
    for database in ["sqlite", "postgres"] {
        let expected: Expected =
            serde_json::from_slice(&legacy_fixture(&format!("{database}/expected.json"))).expect("JSON");
        assert!(expected.tokens.len() >= 9, "{database}");
        for issued in expected.tokens {
            let refresh = Token::new(issued.refresh_token);
            let verified = ring.verify_refresh(&refresh).expect("no outage");
            let Genuine::Yes(claims) = verified else {
                panic!("{verified:?}");
            };
            assert_eq!(claims.sid, None);
            assert!(!is_genuine(&ring.verify_access(&refresh).expect("no outage")));
            let Some(access) = issued.access_token.map(Token::new) else {
                continue;
            };
            assert!(is_genuine(&ring.verify_access(&access).expect("no outage")));
            assert!(!is_genuine(&ring.verify_refresh(&access).expect("no outage")));
        }
    }
}

#[test]
fn the_tokens_that_the_forgeries_start_from_are_good() {
    let own = directory();
    let token = signed_by_key_of_old(HEADER, &refresh_claims());
    assert!(contract::accepts(&ring_of_old(own.path()), &token));
}

#[test]
fn headers_that_ask_for_anything_else_are_refused_though_the_signature_is_good() {
    let own = directory();
    let ring = ring_of_old(own.path());
    let with = |member: &str| HEADER.replace('}', &format!(",{member}}}"));
    let headers = [
        with(r#""jku":"https://attacker.example/keys""#),
        with(r#""x5u":"https://attacker.example/chain""#),
        with(r#""x5c":["MIIB"]"#),
        with(r#""jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}"#),
        with(r#""crit":["exp"]"#),
        with(r#""b64":false"#),
        with(r#""cty":"JWT""#),
        with(r#""kid":"2024-01-key-1""#),
        with(r#""alg":"RS256""#),
        HEADER.replace("RS256", "none"),
        HEADER.replace("RS256", "HS256"),
        HEADER.replace("RS256", "ES256"),
        HEADER.replace("RS256", "PS256"),
        HEADER.replace("RS256", "RS512"),
        HEADER.replace("RS256", "rs256"),
        HEADER.replace("2024-01-key-1", "2024-01-key-2"),
        HEADER.replace("2024-01-key-1", "../private"),
        HEADER.replace("2024-01-key-1", ""),
        HEADER.replace("2024-01-key-1", "2024-01-key-1\\u0000"),
        HEADER.replace("rt+jwt", "JOSE"),
        HEADER.replace("rt+jwt", "dpop+jwt"),
        HEADER.replace("rt+jwt", ""),
        HEADER.replace("rt+jwt", "at+jwt"),
        HEADER.replace(r#","typ":"rt+jwt""#, ""),
        HEADER.replace(r#""kid":"2024-01-key-1","#, ""),
        HEADER.replace(r#""alg":"RS256","#, ""),
        HEADER.replace(r#""RS256""#, "null"),
        HEADER.replace(r#""RS256""#, r#"["RS256"]"#),
        format!("{HEADER}{HEADER}"),
        format!("{HEADER}\0"),
        format!("[{HEADER}]"),
        "[".repeat(4_000),
        "null".to_owned(),
        "{}".to_owned(),
    ];
    for header in headers {
        let token = Token::new(signed_by_key_of_old(&header, &refresh_claims()));
        let verified = ring.verify_refresh(&token).expect("no token is an outage");
        assert!(matches!(verified, Genuine::No(_)), "{header}");
    }
}

#[test]
fn claims_that_come_twice_or_are_of_another_kind_are_refused_though_the_signature_is_good() {
    let own = directory();
    let ring = ring_of_old(own.path());
    let claims = refresh_claims();
    let twice = |member: &str| claims.replacen('{', &format!("{{{member},"), 1);
    let bodies = [
        twice(r#""exp":1"#),
        twice(r#""iss":"https://attacker.example""#),
        twice(r#""sub":"00000000-0000-0000-0000-000000000000""#),
        twice(r#""type":"refresh""#),
        claims.replace(r#""type":"refresh""#, r#""type":"other""#),
        claims.replace(r#""iat":"#, r#""iat":0."#),
        claims.replace(r#""exp":"#, r#""exp":9999999999999999999"#),
        claims.replace("codelab-flutter-app", "codelab\\u0000app"),
        format!("{claims}{claims}"),
        "{}".to_owned(),
        "null".to_owned(),
        "\0".to_owned(),
        "[".repeat(4_000),
    ];
    for body in bodies {
        let token = signed_by_key_of_old(HEADER, &body);
        assert!(!contract::accepts(&ring, &token), "{body}");
    }
}

/// What the older service signed, or could have signed, by the key that is published here.
#[test]
fn each_kind_of_token_passes_under_its_own_type_alone() {
    let own = directory();
    let ring = ring_of_old(own.path());
    let pair = contract::pair_claims(START);
    let access = serde_json::to_string(&pair.access).expect("claims are JSON");
    let refresh = refresh_claims();
    let legacy = legacy_claims();
    let null_sid = legacy.replacen('{', r#"{"sid":null,"#, 1);
    let access_of_session = access.replacen('{', &format!(r#"{{"sid":"{}","#, build::uuid("session")), 1);
    let typed = |claims: &str, kind: &str| {
        claims
            .replace(r#""type":"access""#, kind)
            .replace(r#""type":"refresh""#, kind)
    };
    let untyped = |claims: &str| {
        claims
            .replace(r#""type":"access","#, "")
            .replace(r#""type":"refresh","#, "")
    };
    // (claims, the types under which they are a refresh token, and an access token)
    let table: [(String, &[&str], &[&str]); 11] = [
        (access.clone(), &[], &["at+jwt", "JWT"]),
        (access_of_session.clone(), &[], &["at+jwt", "JWT"]),
        (refresh.clone(), &["rt+jwt"], &[]),
        (legacy.clone(), &["JWT"], &[]),
        (null_sid, &["JWT"], &[]),
        // An access token that calls itself a refresh token is one in every respect but its audience, which the rules
        // look at: only the key can make it.
        (typed(&access, r#""type":"refresh""#), &["JWT"], &[]),
        (typed(&access_of_session, r#""type":"refresh""#), &["rt+jwt"], &[]),
        (typed(&refresh, r#""type":"access""#), &[], &["at+jwt", "JWT"]),
        (untyped(&legacy), &[], &[]),
        (untyped(&refresh), &[], &[]),
        (legacy.replacen('{', r#"{"sid":"","#, 1), &[], &[]),
    ];
    for (claims, as_refresh, as_access) in table {
        for typ in ["rt+jwt", "at+jwt", "JWT", "jwt", "JWS", ""] {
            let token = Token::new(signed_by_key_of_old(&HEADER.replace("rt+jwt", typ), &claims));
            let refresh = ring.verify_refresh(&token).expect("no token is an outage");
            assert_eq!(is_genuine(&refresh), as_refresh.contains(&typ), "{typ} {claims}");
            let access = ring.verify_access(&token).expect("no token is an outage");
            assert_eq!(is_genuine(&access), as_access.contains(&typ), "{typ} {claims}");
        }
    }
}

const fn is_genuine<C>(verdict: &Genuine<C>) -> bool {
    matches!(verdict, Genuine::Yes(_))
}

#[test]
fn tokens_sealed_by_anything_but_the_private_key_are_refused() {
    let own = directory();
    let ring = ring_of_old(own.path());
    let (stranger, _) = RsaKey::generate(KeyBits::Rsa2048).expect("a key can be made");
    let hmac = |secret: &[u8], signed: &str| {
        let key = PKey::hmac(secret).expect("any secret will do");
        let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("HMAC is there");
        signer
            .sign_oneshot_to_vec(signed.as_bytes())
            .expect("HMAC is there")
    };
    for alg in ["none", "HS256", "RS256"] {
        let signed = format!(
            "{}.{}",
            encode(&HEADER.replace("RS256", alg)),
            encode(&refresh_claims())
        );
        let seals = [
            Vec::new(),
            vec![0],
            vec![0; 256],
            vec![0xff; 256],
            hmac(&fixture("public_key.pem"), &signed),
            hmac(fixture("public_key.pem").trim_ascii(), &signed),
            hmac(KID_OF_OLD.as_bytes(), &signed),
            stranger.sign(signed.as_bytes()).expect("the key signs"),
        ];
        for seal in seals {
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&seal));
            assert!(!contract::accepts(&ring, &token), "{alg} {seal:?}");
        }
    }
}

#[test]
fn a_token_has_one_spelling() {
    let own = directory();
    let ring = ring_of_old(own.path());
    let token = signed_by_key_of_old(HEADER, &refresh_claims());
    let (signed, signature) = token.rsplit_once('.').expect("a token has parts");
    // 256 bytes leave four bits of the last character unused: sixteen texts decode to one signature.
    let (all_but_last, _) = signature.split_at(signature.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let spellings = alphabet
        .chars()
        .map(|last| format!("{signed}.{all_but_last}{last}"));
    assert_eq!(spellings.filter(|text| contract::accepts(&ring, text)).count(), 1);
    for other in [
        format!("{token}=="),
        format!("{signed}.{}", signature.replace('-', "+").replace('_', "/")) + "A",
        token.replace('.', ".\n"),
        format!("Bearer {token}"),
        format!("{signed}.{signature}.{signature}"),
    ] {
        assert!(!contract::accepts(&ring, &other), "{other}");
    }
}

#[test]
fn keys_too_short_or_of_another_kind_are_refused() {
    let short = openssl::rsa::Rsa::generate(1_024).expect("OpenSSL makes short keys");
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).expect("P-256");
    let curve = openssl::ec::EcKey::generate(&group).expect("OpenSSL makes curve keys");
    let pem = |key: PKey<openssl::pkey::Private>| key.private_key_to_pem_pkcs8().expect("PEM");
    let locked = PKey::from_rsa(openssl::rsa::Rsa::generate(2_048).expect("a key"))
        .and_then(|key| {
            key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"secret")
        })
        .expect("PEM");
    for text in [
        pem(PKey::from_rsa(short).expect("a key")),
        pem(PKey::from_ec_key(curve).expect("a key")),
        pem(PKey::generate_ed25519().expect("a key")),
        locked,
        fixture("public_key.pem"),
        fixture("private_key.pem")[..600].to_vec(),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
        b"".to_vec(),
        vec![0; 100],
    ] {
        assert!(RsaKey::from_pem(&text).is_err());
    }
}

#[test]
fn a_key_of_the_traditional_form_is_taken() {
    let key = openssl::rsa::Rsa::private_key_from_pem(&fixture("private_key.pem")).expect("a key");
    let traditional = key.private_key_to_pem().expect("PEM");
    assert!(traditional.starts_with(b"-----BEGIN RSA PRIVATE KEY-----"));
    assert!(RsaKey::from_pem(&traditional).is_ok());
}

#[test]
fn a_longer_key_signs_and_verifies() {
    let (key, _) = RsaKey::generate(KeyBits::Rsa3072).expect("a key can be made");
    assert_eq!(key.bits(), 3_072);
    let signature = key.sign(b"message").expect("the key signs");
    assert!(key.verify(b"message", &signature));
    assert!(!key.verify(b"massage", &signature));
}

#[test]
fn new_keys_have_a_length_from_the_list() {
    for bits in [2_048, 3_072, 4_096] {
        assert_eq!(KeyBits::try_from(bits).map(KeyBits::get), Ok(bits));
    }
    for bits in [0, 1_024, 2_047, 8_192] {
        assert!(KeyBits::try_from(bits).is_err());
    }
}

#[test]
fn a_thumbprint_is_that_of_rfc_7638() {
    let key = RsaKey::from_pem(&fixture("private_key.pem")).expect("the fixture is a key");
    // By OpenSSL's command line and Python's hashlib.
    let expected = "aAchSf2JlPqHvuYLs1uZfn6YTyjgi2TkLsAaVHNMH8s";
    assert_eq!(key.thumbprint().expect("a kid").as_str(), expected);
}

/// One ring for all cases of a property.
static RING: LazyLock<KeyRing> = LazyLock::new(|| ring_of_old(directory().path()));

proptest! {
    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,200}") {
        prop_assert!(!contract::accepts(&*RING, &text));
    }

    #[test]
    fn no_three_parts_make_the_verifier_panic(parts in proptest::collection::vec(any::<Vec<u8>>(), 3)) {
        let parts: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        prop_assert!(!contract::accepts(&*RING, &parts.join(".")));
    }

    #[test]
    fn no_claims_under_a_good_signature_make_the_verifier_panic(claims in "\\PC{0,200}") {
        let token = signed_by_key_of_old(HEADER, &claims);
        prop_assert!(!contract::accepts(&*RING, &token));
    }
}
