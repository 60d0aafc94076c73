//! Properties of what parses a stranger's bytes: it never panics, and takes back what was encoded.

use auth_domain::client_auth::BasicCredentials;
use auth_server::http::basic::{self, BasicFault};
use auth_server::http::form::{self, FormFault};
use auth_server::http::incoming::user_agent;
use auth_server::http::traceparent::TraceParent;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::rig::encode;

/// Any text a parameter may hold: no NUL.
fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,24}"
}

proptest! {
    #[test]
    fn reading_a_form_never_panics(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = form::decode(&body);
    }

    #[test]
    fn reading_a_form_made_of_its_special_characters_never_panics(body in "[%&=+0-9a-fA-F\u{e4}]{0,64}") {
        let _ = form::decode(body.as_bytes());
    }

    #[test]
    fn a_form_comes_back_as_it_was_encoded(pairs in proptest::collection::vec((text(), text()), 0..20)) {
        let pairs: Vec<_> = pairs
            .into_iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (name, Zeroizing::new(value)))
            .collect();
        let encoded: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value).replace("%20", "+")))
            .collect();
        prop_assert_eq!(form::decode(encoded.join("&").as_bytes()).unwrap(), pairs);
    }

    #[test]
    fn reading_an_authorization_header_never_panics(header in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = basic::parse(&header);
        let _ = basic::parse(format!("Basic {}", STANDARD.encode(&header)).as_bytes());
    }

    #[test]
    fn basic_credentials_come_back_as_they_were_encoded(client_id in text(), secret in text()) {
        let BasicCredentials { client_id: read_id, secret: read_secret } = basic::parse(&header(&client_id, &secret)).unwrap();
        prop_assert_eq!(read_id, client_id);
        let read_secret = read_secret.map(|secret| secret.expose().to_owned());
        prop_assert_eq!(read_secret, (!secret.is_empty()).then_some(secret));
    }

    #[test]
    fn reading_a_traceparent_never_panics(header in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = TraceParent::parse(&header);
    }
}

fn header(client_id: &str, secret: &str) -> Vec<u8> {
    let pair = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
    format!("Basic {pair}").into_bytes()
}

#[test]
fn what_is_not_the_form_encoding_is_refused_and_named() {
    for (body, fault) in [
        (&b"a=%"[..], FormFault::Escape),
        (b"a=%4", FormFault::Escape),
        (b"a=%4g", FormFault::Escape),
        (b"a=%+1", FormFault::Escape),
        (b"%zz=a", FormFault::Escape),
        (b"a=\xff", FormFault::Utf8),
        (b"a=%c0%80", FormFault::Utf8),
        (b"a=%ed%a0%80", FormFault::Utf8),
        (b"a=%00", FormFault::Nul),
        (b"a\0=b", FormFault::Nul),
    ] {
        assert_eq!(form::decode(body), Err(fault), "{}", body.escape_ascii());
    }
}

#[test]
fn a_form_is_split_at_ampersands_and_at_the_first_equals_sign() {
    let pair = |name: &str, value: &str| (name.to_owned(), Zeroizing::new(value.to_owned()));
    let pairs = form::decode(b"a=b=c&&d&=e&a=%3d%26+").unwrap();
    assert_eq!(
        pairs,
        [pair("a", "b=c"), pair("d", ""), pair("", "e"), pair("a", "=& ")]
    );
    assert_eq!(form::decode(b"").unwrap(), []);
}

#[test]
fn a_form_has_a_bounded_number_of_pairs() {
    assert_eq!(
        form::decode("a=b&".repeat(form::MAX_PAIRS).as_bytes())
            .unwrap()
            .len(),
        form::MAX_PAIRS
    );
    let one_more = "a=b&".repeat(form::MAX_PAIRS + 1);
    assert_eq!(form::decode(one_more.as_bytes()), Err(FormFault::TooManyPairs));
}

#[test]
fn what_is_not_basic_is_told_from_what_is_malformed() {
    for (header, fault) in [
        ("", BasicFault::OtherScheme),
        ("Basic", BasicFault::OtherScheme),
        ("Bearer YTpi", BasicFault::OtherScheme),
        ("BasicYTpi", BasicFault::OtherScheme),
        ("Basic a:b", BasicFault::Malformed),
        ("Basic YTpi=", BasicFault::Malformed),
        ("Basic YTpiYw", BasicFault::Malformed),
        ("Basic YWJj", BasicFault::Malformed),
        ("Basic YTpi YTpi", BasicFault::Malformed),
        ("Basic YTol", BasicFault::Malformed),
        ("Basic YTr/", BasicFault::Malformed),
    ] {
        assert_eq!(basic::parse(header.as_bytes()).unwrap_err(), fault, "{header}");
    }
    assert_eq!(basic::parse(b"Basic  YTpi ").unwrap().client_id, "a");
}

#[test]
fn only_a_valid_traceparent_names_a_trace() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("00-{trace}-b7ad6b7169203331-01");
    let of_later_version = header.replacen("00-", "01-", 1);
    for right in [&header, &of_later_version, &format!("{of_later_version}-x")] {
        let parent = TraceParent::parse(right.as_bytes()).unwrap();
        assert_eq!((parent.trace_id().as_str(), parent.flags), (trace, 1), "{right}");
    }
    for wrong in [
        header.to_uppercase(),
        header.replacen("00-", "ff-", 1),
        format!("{header}-x"),
        format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{trace}-b7ad6b7169203331"),
        header.replace('a', "g"),
    ] {
        assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn a_user_agent_is_shown_in_printable_ascii_alone() {
    for (sent, shown) in [
        (&b"Mozilla/5.0 (X11; ~)"[..], "Mozilla/5.0 (X11; ~)"),
        (b"a\x1b[31mb", "a?[31mb"),
        (b"a\r\nb\tc\0d\x7f", "a??b?c?d?"),
        ("a\u{202e}b\u{2066}".as_bytes(), "a???b???"),
        ("a\u{9b}31m".as_bytes(), "a??31m"),
        (b"a\x9b\xff", "a??"),
        (b"", ""),
    ] {
        assert_eq!(user_agent(sent), shown, "{}", sent.escape_ascii());
    }
    assert_eq!(user_agent(&[b'x'; 600]), "x".repeat(512));
}
