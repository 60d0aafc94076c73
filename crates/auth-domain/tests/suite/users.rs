//! Names of users.

use auth_domain::user::{Email, Login, NameFault, Username};
use rstest::rstest;

#[rstest]
#[case("bob")]
#[case("Анна Иванова")]
fn a_user_name_may_be_of_any_script(#[case] text: &str) {
    assert_eq!(Username::parse(text).unwrap().as_str(), text);
}

#[test]
fn a_user_name_has_3_to_255_characters_not_bytes() {
    assert!(Username::parse(&"ы".repeat(255)).is_ok());
    for length in [0, 2, 256] {
        assert_eq!(
            Username::parse(&"ы".repeat(length)),
            Err(NameFault::UsernameLength)
        );
    }
}

#[rstest]
#[case(" bob")]
#[case("bob ")]
#[case("bo\nb")]
#[case("bo\u{1b}b")]
#[case("bob@home")]
fn a_user_name_can_forge_neither_a_line_nor_an_address(#[case] text: &str) {
    assert_eq!(Username::parse(text), Err(NameFault::UsernameCharacter));
}

#[rstest]
#[case("a@b")]
#[case("\"odd@local\"@example.org")]
fn an_address_has_a_name_and_a_domain(#[case] text: &str) {
    assert_eq!(Email::parse(text).unwrap().as_str(), text);
}

#[rstest]
#[case("ab")]
#[case("@b")]
#[case("a@")]
#[case("a b@c")]
#[case("a@b\n")]
#[case("a\u{0}@b")]
fn anything_else_is_no_address(#[case] text: &str) {
    assert_eq!(Email::parse(text), Err(NameFault::Email));
}

#[test]
fn an_address_has_at_most_254_bytes() {
    assert!(Email::parse(&format!("{}@b", "a".repeat(252))).is_ok());
    assert_eq!(
        Email::parse(&format!("{}@b", "a".repeat(253))),
        Err(NameFault::Email)
    );
}

#[test]
fn addresses_are_compared_without_regard_to_case_and_names_are_not() {
    assert_eq!(
        Email::parse("Bob@Example.ORG").unwrap().folded(),
        "bob@example.org"
    );
    assert_eq!(
        Login::parse("Bob@Example.ORG"),
        Login::Email("bob@example.org".into())
    );
    assert_eq!(Login::parse("Bob"), Login::Username("Bob".into()));
    assert_eq!(Login::parse("Bob").key(), "Bob");
    assert_eq!(Login::parse("B@b").key(), "b@b");
}
