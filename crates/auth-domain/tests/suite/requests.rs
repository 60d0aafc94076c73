//! Token requests: what is understood, and what is refused with which word.

use auth_domain::client::GrantType;
use auth_domain::client_auth::BasicCredentials;
use auth_domain::refusal::{Challenge, Parameter, Refusal, RequestFault};
use auth_domain::request::{AboutToken, Grant, MAX_LOGIN_BYTES, MAX_TOKEN_BYTES, TokenRequest};
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
    for parameter in Parameter::OF_TOKEN_REQUEST.iter().copied() {
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
    for parameter in Parameter::OF_TOKEN_REQUEST.iter().copied() {
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
    let names = |parameters: &[Parameter]| -> Vec<_> {
        let names = parameters.iter().map(|parameter| parameter.as_str());
        names.collect()
    };
    assert_eq!(
        names(Parameter::OF_TOKEN_REQUEST),
        [
            "grant_type",
            "client_id",
            "client_secret",
            "username",
            "password",
            "refresh_token",
            "scope",
        ]
    );
    assert_eq!(
        names(Parameter::ABOUT_TOKEN),
        ["client_id", "client_secret", "token", "token_type_hint"]
    );
}

fn about(pairs: Pairs<'_>) -> Result<AboutToken, Refusal> {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    AboutToken::parse(pairs, None)
}

const ABOUT: Pairs<'_> = &[("client_id", "app"), ("token", "secret.token")];

#[rstest]
#[case(&[])]
#[case(&[("token_type_hint", "refresh_token")])]
#[case(&[("token_type_hint", "access_token")])]
#[case(&[("token_type_hint", "no such kind of token")])]
#[case(&[("token_type_hint", "")])]
#[case(&[("grant_type", "a"), ("grant_type", "b"), ("scope", "a\0")])]
fn a_request_about_a_token_takes_any_hint_and_ignores_what_it_does_not_know(#[case] extra: Pairs<'_>) {
    let pairs: Vec<_> = ABOUT.iter().chain(extra).copied().collect();
    let request = about(&pairs).unwrap();
    assert_eq!(request.client.client_id, "app");
    assert_eq!(request.token.expose(), "secret.token");
    assert!(!format!("{request:?}").contains("secret.token"));
}

#[rstest]
#[case(&[("client_id", "app")], RequestFault::Missing(Parameter::Token))]
#[case(&[("client_id", "app"), ("token", "")], RequestFault::Missing(Parameter::Token))]
#[case(&[("token", "x")], RequestFault::Missing(Parameter::ClientId))]
#[case(&[("client_id", "app"), ("token", "x"), ("token", "x")], RequestFault::Repeated(Parameter::Token))]
#[case(
    &[("client_id", "app"), ("token", "x"), ("token_type_hint", ""), ("token_type_hint", "")],
    RequestFault::Repeated(Parameter::TokenTypeHint)
)]
#[case(&[("client_id", "app"), ("token", "x\0")], RequestFault::BadValue(Parameter::Token))]
fn a_request_about_no_token_is_none(#[case] pairs: Pairs<'_>, #[case] fault: RequestFault) {
    assert_eq!(about(pairs).unwrap_err(), Refusal::InvalidRequest(fault));
}

#[test]
fn a_token_that_is_asked_about_has_the_size_that_any_token_may_have() {
    let of_size = |size: usize| about(&[("client_id", "app"), ("token", &"t".repeat(size))]);
    assert!(of_size(MAX_TOKEN_BYTES).is_ok());
    let too_long = Refusal::InvalidRequest(RequestFault::BadValue(Parameter::Token));
    assert_eq!(of_size(MAX_TOKEN_BYTES + 1).unwrap_err(), too_long);
}

#[test]
fn parameters_of_the_siblings_are_unknown_to_the_token_endpoint() {
    assert!(
        parse(&with(&[
            ("token", "a"),
            ("token", "b"),
            ("token_type_hint", "c\0")
        ]))
        .is_ok()
    );
}

proptest! {
    #[test]
    fn no_form_makes_the_parser_fall_over(
        pairs in prop::collection::vec((prop_oneof![
            prop::sample::select(vec![
                "grant_type", "client_id", "client_secret", "username", "password", "refresh_token", "scope", "token",
                "token_type_hint",
            ]).prop_map(str::to_owned),
            any::<String>(),
        ], any::<String>()), 0..12),
        with_basic in any::<bool>(),
    ) {
        let credentials = with_basic.then(|| basic("app", Some("s")));
        let _ = AboutToken::parse(pairs.clone(), with_basic.then(|| basic("app", None)));
        let _ = TokenRequest::parse(pairs, credentials);
    }
}
