//! Scopes: form, limits, and the sets they are.

use auth_domain::scope::{MAX_SCOPE_BYTES, MAX_SCOPE_TOKENS, Scope, ScopeFault, narrow};
use proptest::prelude::*;
use rstest::rstest;

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

#[rstest]
#[case::one("api:read", "api:read")]
#[case::sorted_and_once("b a b", "a b")]
#[case::none("", "")]
#[case::edges_of_the_alphabet("! # [ ] ~", "! # [ ] ~")]
fn a_scope_is_written_sorted_with_each_token_once(#[case] text: &str, #[case] written: &str) {
    assert_eq!(scope(text).to_string(), written);
}

#[rstest]
#[case::two_spaces("a  b")]
#[case::leading_space(" a")]
#[case::trailing_space("a ")]
#[case::only_a_space(" ")]
#[case::quote("a\"b")]
#[case::backslash("a\\b")]
#[case::tab("a\tb")]
#[case::nul("a\0")]
#[case::delete("a\u{7f}")]
#[case::not_ascii("é")]
fn what_rfc_6749_does_not_allow_is_malformed(#[case] text: &str) {
    assert_eq!(Scope::parse(text), Err(ScopeFault::Malformed));
}

#[test]
fn a_scope_has_limits_of_size() {
    let longest = "a".repeat(MAX_SCOPE_BYTES);
    assert!(Scope::parse(&longest).is_ok());
    assert_eq!(Scope::parse(&format!("{longest}a")), Err(ScopeFault::TooLarge));
    let tokens = |count: usize| {
        (0..count)
            .map(|number| format!("s{number}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(Scope::parse(&tokens(MAX_SCOPE_TOKENS)).is_ok());
    assert_eq!(
        Scope::parse(&tokens(MAX_SCOPE_TOKENS + 1)),
        Err(ScopeFault::TooLarge)
    );
}

#[test]
fn without_a_request_everything_grantable_is_granted() {
    assert_eq!(narrow(&scope("a b"), None), Some(scope("a b")));
}

#[test]
fn a_request_within_what_is_grantable_is_granted_as_asked() {
    assert_eq!(narrow(&scope("a b"), Some(&scope("b"))), Some(scope("b")));
}

#[test]
fn a_request_beyond_what_is_grantable_gets_nothing() {
    assert_eq!(narrow(&scope("a b"), Some(&scope("b c"))), None);
}

#[test]
fn an_empty_grant_is_no_grant() {
    assert_eq!(narrow(&scope(""), None), None);
    assert_eq!(narrow(&scope("a"), Some(&scope(""))), None);
}

#[test]
fn sets_know_their_tokens_and_their_emptiness() {
    assert!(scope("").is_empty());
    assert!(!scope("a").is_empty());
    assert_eq!(scope("b a").tokens().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(scope("a b c").intersection(&scope("b c d")), scope("b c"));
}

#[test]
fn a_scope_survives_json_and_a_bad_one_does_not_enter_by_it() {
    let json = serde_json::to_string(&scope("b a")).unwrap();
    assert_eq!(json, r#""a b""#);
    assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope("a b"));
    let error = serde_json::from_str::<Scope>(r#""a  b""#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("single spaces"), "{error}");
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop::collection::btree_set("[a-e]", 0..5)
        .prop_map(|tokens| scope(&tokens.into_iter().collect::<Vec<_>>().join(" ")))
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_fall_over(text in any::<String>()) {
        if let Ok(parsed) = Scope::parse(&text) {
            prop_assert_eq!(Scope::parse(&parsed.to_string()).unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_granted_is_never_wider_than_what_may_be(grantable in any_scope(), requested in prop::option::of(any_scope())) {
        if let Some(granted) = narrow(&grantable, requested.as_ref()) {
            prop_assert!(granted.is_within(&grantable));
            prop_assert!(!granted.is_empty());
            if let Some(requested) = requested {
                prop_assert_eq!(granted, requested);
            }
        }
    }
}
