//! Token requests: what is understood, and what is refused with which word.

use auth_domain::client::GrantType;
use auth_domain::client_auth::BasicCredentials;
use auth_domain::refusal::{Challenge, Parameter, Refusal, RequestFault};
use auth_domain::request::{Grant, MAX_LOGIN_BYTES, MAX_TOKEN_BYTES, TokenRequest};
use auth_domain::secret::ClientSecret;
use proptest::prelude::*;
use rstest::rstest;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const PASSWORD: Pairs<'_> = &[
    ("grant_type", "password"),
    ("client_id", "app"),
    ("username", "alice"),
    ("password", "Secret-1"),
];

fn parse(pairs: Pairs<'_>) -> Result<TokenRequest, Refusal> {
    TokenRequest::parse(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        None,
    )
}

fn with(extra: Pairs<'_>) -> Vec<(&str, &str)> {
    PASSWORD.iter().chain(extra).copied().collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    PASSWORD
        .iter()
        .filter(|(other, _)| *other != name)
        .copied()
        .collect()
}

#[test]
fn a_password_grant_is_read_into_what_it_means() {
    let request = parse(&with(&[("scope", "b a"), ("foo", "bar")])).unwrap();
    assert_eq!(request.grant.grant_type(), GrantType::Password);
    let Grant::Password { username, password } = request.grant else {
        panic!("a password grant")
    };
    assert_eq!((username.as_str(), password.expose()), ("alice", "Secret-1"));
    assert_eq!(request.scope.unwrap().to_string(), "a b");
    assert_eq!(request.client.client_id, "app");
    assert!(request.client.secret.is_none());
    assert_eq!(request.client.challenge, Challenge::Other);
}

#[test]
fn a_refresh_grant_is_read_into_what_it_means() {
    let pairs = [
        ("grant_type", "refresh_token"),
        ("client_id", "app"),
        ("client_secret", "s"),
        ("refresh_token", "t"),
    ];
    let request = parse(&pairs).unwrap();
    assert_eq!(request.grant.grant_type(), GrantType::RefreshToken);
    let Grant::RefreshToken(token) = request.grant else {
        panic!("a refresh grant")
    };
    assert_eq!(token.expose(), "t");
    assert_eq!(request.client.secret.unwrap().expose(), "s");
    assert!(request.scope.is_none());
}

#[rstest]
#[case("grant_type", Parameter::GrantType)]
#[case("client_id", Parameter::ClientId)]
#[case("username", Parameter::Username)]
#[case("password", Parameter::Password)]
fn a_missing_parameter_is_named_and_an_empty_one_is_missing(
    #[case] name: &str,
    #[case] parameter: Parameter,
) {
    let refusal = Refusal::InvalidRequest(RequestFault::Missing(parameter));
    assert_eq!(parse(&without(name)).unwrap_err(), refusal);
    let mut empty = without(name);
    empty.push((parameter.as_str(), ""));
    assert_eq!(parse(&empty).unwrap_err(), refusal);
}

#[test]
fn a_refresh_grant_without_its_token_is_no_request() {
    let refusal = parse(&[("grant_type", "refresh_token"), ("client_id", "app")]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::InvalidRequest(RequestFault::Missing(Parameter::RefreshToken))
    );
}

#[test]
fn any_known_parameter_sent_twice_is_refused_even_where_it_is_empty_or_not_needed() {
    for parameter in Parameter::ALL {
        for values in [["a", "a"], ["", "x"], ["", ""]] {
            let mut pairs = without(parameter.as_str());
            pairs.extend(values.map(|value| (parameter.as_str(), value)));
            let refusal = parse(&pairs).unwrap_err();
            assert_eq!(
                refusal,
                Refusal::InvalidRequest(RequestFault::Repeated(parameter))
            );
        }
    }
}

#[test]
fn an_unknown_parameter_is_ignored_however_often_it_is_sent() {
    assert!(parse(&with(&[("resource", "a"), ("resource", "b\0")])).is_ok());
}

#[test]
fn a_nul_in_any_known_parameter_is_refused() {
    for parameter in Parameter::ALL {
        let mut pairs = without(parameter.as_str());
        pairs.push((parameter.as_str(), "a\0b"));
        let refusal = parse(&pairs).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::InvalidRequest(RequestFault::BadValue(parameter))
        );
    }
}

#[rstest]
#[case("password", Parameter::Password, "password", 1_024)]
#[case("password", Parameter::Username, "username", MAX_LOGIN_BYTES)]
#[case("refresh_token", Parameter::RefreshToken, "refresh_token", MAX_TOKEN_BYTES)]
fn sizes_are_bounded_before_any_work(
    #[case] grant_type: &'static str,
    #[case] parameter: Parameter,
    #[case] name: &'static str,
    #[case] most: usize,
) {
    for (length, is_good) in [(most, true), (most + 1, false)] {
        let value = "x".repeat(length);
        let mut pairs = without("grant_type");
        pairs.retain(|(other, _)| *other != name);
        let mut pairs: Vec<(&str, &str)> = pairs;
        pairs.push(("grant_type", grant_type));
        pairs.push((name, &value));
        match parse(&pairs) {
            Ok(_) => assert!(is_good),
            Err(refusal) => {
                assert!(!is_good);
                assert_eq!(
                    refusal,
                    Refusal::InvalidRequest(RequestFault::BadValue(parameter))
                );
            }
        }
    }
}

#[rstest]
#[case("authorization_code")]
#[case("Password")]
#[case("client_credentials")]
fn a_grant_type_that_is_not_known_is_unsupported(#[case] grant_type: &'static str) {
    let mut pairs = without("grant_type");
    pairs.push(("grant_type", grant_type));
    assert_eq!(parse(&pairs).unwrap_err(), Refusal::UnsupportedGrantType);
}

#[test]
fn a_malformed_scope_is_an_invalid_scope_and_an_empty_one_is_absent() {
    assert_eq!(
        parse(&with(&[("scope", "a  b")])).unwrap_err(),
        Refusal::InvalidScope
    );
    assert!(parse(&with(&[("scope", "")])).unwrap().scope.is_none());
}

fn basic(client_id: &str, secret: Option<&str>) -> BasicCredentials {
    let secret = secret.map(|secret| ClientSecret::new(secret.to_owned()));
    BasicCredentials {
        client_id: client_id.to_owned(),
        secret,
    }
}

fn parse_basic(extra: Pairs<'_>, basic: BasicCredentials) -> Result<TokenRequest, Refusal> {
    let pairs = without("client_id");
    let form = pairs
        .iter()
        .chain(extra)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    TokenRequest::parse(form.collect::<Vec<_>>(), Some(basic))
}

#[test]
fn a_client_may_name_itself_by_http_basic() {
    let request = parse_basic(&[], basic("app", Some("s"))).unwrap();
    assert_eq!(request.client.client_id, "app");
    assert_eq!(request.client.secret.unwrap().expose(), "s");
    assert_eq!(request.client.challenge, Challenge::Basic);
}

#[test]
fn the_same_name_in_the_form_does_no_harm_and_another_is_refused() {
    assert!(parse_basic(&[("client_id", "app")], basic("app", None)).is_ok());
    let refusal = parse_basic(&[("client_id", "app2")], basic("app", None)).unwrap_err();
    assert_eq!(refusal, Refusal::InvalidRequest(RequestFault::TwoClients));
}

#[test]
fn two_ways_to_authenticate_at_once_are_refused() {
    let refusal = parse_basic(&[("client_secret", "s")], basic("app", Some("s"))).unwrap_err();
    assert_eq!(refusal, Refusal::InvalidRequest(RequestFault::TwoAuthentications));
}

#[test]
fn a_parsed_request_shows_no_secret() {
    let pairs = with(&[("client_secret", "hidden-2")]);
    let shown = format!("{:?}", parse(&pairs).unwrap());
    assert!(
        !shown.contains("Secret-1") && !shown.contains("hidden-2"),
        "{shown}"
    );
}

#[test]
fn each_parameter_has_its_name_on_the_wire() {
    let names = Parameter::ALL.map(Parameter::as_str);
    let expected = [
        "grant_type",
        "client_id",
        "client_secret",
        "username",
        "password",
        "refresh_token",
        "scope",
    ];
    assert_eq!(names, expected);
}

proptest! {
    #[test]
    fn no_form_makes_the_parser_fall_over(
        pairs in prop::collection::vec((prop_oneof![
            prop::sample::select(Parameter::ALL.map(|parameter| parameter.as_str().to_owned()).to_vec()),
            any::<String>(),
        ], any::<String>()), 0..12),
        with_basic in any::<bool>(),
    ) {
        let credentials = with_basic.then(|| basic("app", Some("s")));
        let _ = TokenRequest::parse(pairs, credentials);
    }
}
