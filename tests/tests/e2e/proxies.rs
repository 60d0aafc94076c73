//! Where a request came from: what strangers claim changes nothing, and what trusted proxies say does.

use auth_e2e::client::{FLUTTER, TOKEN};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::scale;

/// How many sign-ins a minute one address has by default.
const LIMIT: usize = 5;

/// Signs somebody in who does not exist, another one each time, and says whether the address had its fill.
fn is_limited(http: &Http, name: usize, headers: &[(&str, &str)]) -> bool {
    let username = format!("stranger-{name}");
    let form = [
        ("grant_type", "password"),
        ("client_id", FLUTTER),
        ("username", &username),
        ("password", "Wrong-Horse-7-Battery"),
    ];
    let answer = http.post_form(TOKEN, headers, &form).unwrap();
    match answer.status {
        401 => false,
        429 => true,
        other => panic!("{other}: {}", answer.text()),
    }
}

fn trusting() -> Installation {
    Installation::new().with("AUTH_SERVICE__TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8")
}

/// How many of some sign-ins were let through, each with headers of its own.
fn passed(
    installation: &Installation,
    times: usize,
    headers: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> usize {
    let server = installation.start();
    let http = server.http();
    let passes = |name: &usize| {
        let headers = headers(*name);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        !is_limited(&http, *name, &headers)
    };
    scale::attempts(times);
    (0..times).filter(passes).count()
}

#[test]
fn headers_from_a_stranger_change_nothing() {
    let all = |name: usize| {
        let address = format!("198.51.100.{name}");
        vec![
            ("x-forwarded-for", address.clone()),
            ("forwarded", format!("for={address};proto=https")),
            ("x-real-ip", address.clone()),
            ("true-client-ip", address.clone()),
            ("cf-connecting-ip", address),
        ]
    };
    assert_eq!(passed(&Installation::new(), 3 * LIMIT, all), LIMIT);
}

#[test]
fn a_client_that_rotates_what_it_claims_is_limited_by_what_the_proxy_saw() {
    let claimed = |name: usize| {
        let claims = [
            format!("198.51.100.{name}"),
            format!("198.51.100.{name}, 10.0.0.{name}"),
            "unknown".to_owned(),
            format!("\"198.51.100.{name}"),
            ",,,".to_owned(),
        ];
        let claim = &claims[name % claims.len()];
        vec![("x-forwarded-for", format!("{claim}, 203.0.113.9, 10.1.1.1"))]
    };
    assert_eq!(passed(&trusting(), 3 * LIMIT, claimed), LIMIT);
}

#[test]
fn clients_behind_a_trusted_proxy_are_limited_each_for_itself() {
    let own = |name: usize| vec![("x-forwarded-for", format!("198.51.100.{name}"))];
    assert_eq!(passed(&trusting(), 3 * LIMIT, own), 3 * LIMIT);
}

#[test]
fn the_addresses_of_one_ipv6_network_behind_a_proxy_are_one() {
    let near = |name: usize| vec![("x-forwarded-for", format!("[2001:db8::{name}]:4711"))];
    assert_eq!(passed(&trusting(), 3 * LIMIT, near), LIMIT);
}

#[test]
fn by_setting_forwarded_is_read_and_the_other_header_is_not() {
    let installation = trusting().with("AUTH_SERVICE__CLIENT_ADDRESS_HEADER", "forwarded");
    let both = |name: usize| {
        vec![
            ("x-forwarded-for", format!("198.51.100.{name}")),
            (
                "forwarded",
                format!("for=\"198.51.100.{name}, for=203.0.113.9;proto=https"),
            ),
        ]
    };
    assert_eq!(passed(&installation, 3 * LIMIT, both), LIMIT);
}

#[test]
fn exempt_networks_are_not_held_to_the_limits_by_address() {
    let installation = trusting().with("AUTH_SERVICE__RATE_LIMIT_EXEMPT_NETWORKS", "203.0.113.0/24");
    let exempt = |_| vec![("x-forwarded-for", "203.0.113.9".to_owned())];
    assert_eq!(passed(&installation, 3 * LIMIT, exempt), 3 * LIMIT);
    let other = |_| vec![("x-forwarded-for", "203.0.114.9".to_owned())];
    assert_eq!(passed(&installation, 3 * LIMIT, other), LIMIT);
}

#[test]
fn hsts_is_sent_where_the_proxy_was_called_over_https() {
    let server = trusting().start();
    let hsts = |headers: &[(&str, &str)]| {
        let answer = server.http().get_with("/health", headers).unwrap();
        answer.header("strict-transport-security").map(str::to_owned)
    };
    let https = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")];
    assert!(hsts(&https).is_some());
    assert_eq!(hsts(&[("x-forwarded-proto", "http")]), None);
    assert_eq!(hsts(&[]), None);
}
