//! What the platform's own programs rely on: the Gateway, the Flutter application, and the internal services.

use auth_domain::claims::Issuer;
use auth_domain::client::{Client, ClientAuthentication, ClientStatus, GrantType, WireProfile};
use auth_domain::token_service::PasswordGrant;
use serde_json::Value;

use super::finding::Finding;
use crate::bootstrap::{FLUTTER_CLIENT, INTERNAL_CLIENT};
use crate::settings::Tokens;

/// What the Gateway wants an access token to be for.
const GATEWAYS_AUDIENCE: &str = "codelab-api";

/// Judges what the Gateway will make of tokens and keys. It validates by python-jose.
pub(super) fn gateway(tokens: &Issuer, key_set: Option<&Value>) -> Vec<Finding> {
    let mut findings = vec![audience(&tokens.audience), leeway(tokens.not_before_leeway.get())];
    findings.extend(key_set.map(only_rsa));
    findings
}

fn audience(audience: &str) -> Finding {
    if audience == GATEWAYS_AUDIENCE {
        return Finding::ok("gateway", "access tokens are for codelab-api, as it wants them");
    }
    Finding::warn(
        "gateway",
        format!("access tokens are for {audience}, and it wants them for {GATEWAYS_AUDIENCE}"),
        "Leave AUTH_SERVICE__JWT_AUDIENCE as it is by default, or set the Gateway to the same.",
    )
}

fn leeway(seconds: u32) -> Finding {
    if seconds > 0 {
        return Finding::ok(
            "gateway",
            format!("nbf lies {seconds} s back, since it allows no clock skew"),
        );
    }
    Finding::warn(
        "gateway",
        "nbf is the very second of the sign-in: it allows no clock skew, and refuses new tokens where its clock is behind",
        "Set AUTH_SERVICE__NOT_BEFORE_LEEWAY to some seconds; 5 is the default.",
    )
}

fn only_rsa(key_set: &Value) -> Finding {
    let keys = key_set.get("keys").and_then(Value::as_array);
    let other = keys.into_iter().flatten().find_map(|key| {
        let kind = key.get("kty").and_then(Value::as_str).unwrap_or("none");
        (kind != "RSA").then_some(kind)
    });
    match other {
        None => Finding::ok(
            "gateway",
            "every published key is RSA, the one kind that it takes",
        ),
        Some(kind) => Finding::fail(
            "gateway",
            format!("a published key is of kind {kind}, and it fails on all but RSA"),
            "Is this an auth-service? It publishes no such key.",
        ),
    }
}

/// Judges the built-in clients. Who runs this server for something else may have neither.
pub(super) fn built_in(clients: &[Client], tokens: &Tokens) -> Vec<Finding> {
    let find = |id: &str| clients.iter().find(|client| client.client_id.as_str() == id);
    match (find(FLUTTER_CLIENT), find(INTERNAL_CLIENT)) {
        (None, None) => vec![Finding::ok(
            "clients",
            "neither of the built-in clients is there: this server is nobody's of the platform",
        )],
        (flutter, internal) => vec![
            flutter.map_or_else(|| missing(FLUTTER_CLIENT), |client| application(client, tokens)),
            internal.map_or_else(|| missing(INTERNAL_CLIENT), services),
        ],
    }
}

fn missing(id: &str) -> Finding {
    Finding::warn(
        "clients",
        format!("{id} is not there"),
        "`auth-service client create` registers it; the platform's programs that use it can't sign in.",
    )
}

fn application(client: &Client, tokens: &Tokens) -> Finding {
    let has = |grant| client.allowed_grants.contains(&grant);
    let is_public = matches!(client.authentication, ClientAuthentication::Public);
    let faults = [
        (client.status == ClientStatus::Disabled, "it is disabled"),
        (
            !is_public,
            "it has a secret, which no installed application keeps",
        ),
        (
            client.wire_profile != WireProfile::CodelabFlutter,
            "its wire profile is not codelab-flutter: it takes no 400 for a refused sign-in, and no issued_at",
        ),
        (!has(GrantType::Password), "it lacks the grant password"),
        (!has(GrantType::RefreshToken), "it lacks the grant refresh_token"),
        (
            tokens.password_grant == PasswordGrant::Off,
            "PASSWORD_GRANT_ENABLED is false, and it knows no other grant",
        ),
    ];
    told(FLUTTER_CLIENT, &faults, "the application signs in by it")
}

fn services(client: &Client) -> Finding {
    let is_public = matches!(client.authentication, ClientAuthentication::Public);
    let faults = [
        (client.status == ClientStatus::Disabled, "it is disabled"),
        (is_public, "it has no secret: anybody may sign in by it"),
    ];
    told(INTERNAL_CLIENT, &faults, "the platform's services sign in by it")
}

fn told(id: &str, faults: &[(bool, &str)], well: &str) -> Finding {
    let faults: Vec<_> = faults
        .iter()
        .filter_map(|(is_so, fault)| is_so.then_some(*fault))
        .collect();
    if faults.is_empty() {
        return Finding::ok("clients", format!("{id} is as it should be: {well}"));
    }
    Finding::warn(
        "clients",
        format!("{id}: {}", faults.join("; ")),
        format!("`auth-service client show {id}` shows it, `client update` and `client enable` change it."),
    )
}

#[cfg(test)]
mod tests {
    use auth_testkit::build;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::Verdict;
    use crate::settings::{Settings, Sources};

    #[rstest]
    #[case("codelab-api", Verdict::Ok)]
    #[case("other", Verdict::Warn)]
    fn the_gateway_wants_its_own_audience(#[case] of: &str, #[case] verdict: Verdict) {
        assert_eq!(audience(of).verdict, verdict);
    }

    #[rstest]
    #[case(5, Verdict::Ok)]
    #[case(0, Verdict::Warn)]
    fn the_gateway_allows_no_skew(#[case] seconds: u32, #[case] verdict: Verdict) {
        assert_eq!(leeway(seconds).verdict, verdict);
    }

    #[rstest]
    #[case(json!({ "keys": [{ "kty": "RSA" }] }), Verdict::Ok)]
    #[case(json!({ "keys": [{ "kty": "RSA" }, { "kty": "EC" }] }), Verdict::Fail)]
    #[case(json!({ "keys": [{}] }), Verdict::Fail)]
    fn the_gateway_takes_rsa_keys_alone(#[case] key_set: Value, #[case] verdict: Verdict) {
        assert_eq!(only_rsa(&key_set).verdict, verdict);
    }

    fn tokens(password_grant: PasswordGrant) -> Tokens {
        let mut tokens = Settings::load(&Sources::default()).unwrap().tokens;
        tokens.password_grant = password_grant;
        tokens
    }

    fn worst(clients: &[Client]) -> Option<Verdict> {
        let findings = built_in(clients, &tokens(PasswordGrant::Offered));
        findings.iter().map(|finding| finding.verdict).max()
    }

    #[test]
    fn the_application_needs_its_profile_its_grants_and_no_secret() {
        let good = build::flutter_client();
        let offered = tokens(PasswordGrant::Offered);
        assert_eq!(application(&good, &offered).verdict, Verdict::Ok, "{good:?}");
        assert_eq!(
            application(&good, &tokens(PasswordGrant::Off)).verdict,
            Verdict::Warn
        );
        for bad in [
            Client {
                wire_profile: WireProfile::Rfc,
                ..good.clone()
            },
            Client {
                allowed_grants: [GrantType::Password].into(),
                ..good.clone()
            },
            Client {
                status: ClientStatus::Disabled,
                ..good.clone()
            },
            Client {
                authentication: build::confidential_client("other", "secret").authentication,
                ..good.clone()
            },
        ] {
            assert_eq!(application(&bad, &offered).verdict, Verdict::Warn, "{bad:?}");
        }
    }

    #[test]
    fn who_has_neither_of_the_built_in_clients_is_left_alone_and_who_has_one_is_told() {
        let internal = build::confidential_client(INTERNAL_CLIENT, "secret");
        let flutter = build::flutter_client();
        assert_eq!(worst(&[]), Some(Verdict::Ok));
        assert_eq!(worst(&[flutter.clone(), internal.clone()]), Some(Verdict::Ok));
        assert_eq!(worst(std::slice::from_ref(&internal)), Some(Verdict::Warn));
        let disabled = Client {
            status: ClientStatus::Disabled,
            ..internal
        };
        assert_eq!(worst(&[flutter, disabled]), Some(Verdict::Warn));
    }
}
