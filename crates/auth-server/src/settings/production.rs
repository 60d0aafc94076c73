//! What must not be so in production, each with what to do about it; all of it is told at once.

use ipnet::IpNet;

use super::problem::Problem;
use super::{LogLevel, Settings};
use crate::bootstrap::master_key_faults;
use crate::http::cors::AllowedOrigins;

/// What keeps a server from starting in production.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    [
        plain_http(settings),
        wide(
            "TRUSTED_PROXIES",
            &settings.listen.trust.proxies,
            "anybody in it could claim any address, and so be held to no limit: name your proxies' own networks",
        ),
        wide(
            "RATE_LIMIT_EXEMPT_NETWORKS",
            &settings.listen.trust.exempt,
            "nobody in it is held to the limits by address: name the networks of your own machines",
        ),
        any_origin(settings),
        plain_issuer(settings),
        no_limits(settings),
        weak_master_key(settings),
    ]
    .into_iter()
    .flatten()
    .map(|(name, fault)| {
        Problem::new(
            format!("AUTH_SERVICE__{name}"),
            format!("{fault} (ENVIRONMENT is production)"),
        )
    })
    .collect()
}

/// What should be known about a server that starts in production.
pub(super) fn warnings(settings: &Settings) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if matches!(settings.log.level, LogLevel::Debug | LogLevel::Trace) {
        warnings.push(Problem::new(
            "AUTH_SERVICE__LOG_LEVEL",
            "is for looking into trouble: in production it is a cost for every request; info is enough",
        ));
    }
    warnings
}

/// A setting and what is wrong with it.
type Fault = (&'static str, String);

fn plain_http(settings: &Settings) -> Option<Fault> {
    let is_plain = settings.listen.tls.is_none() && settings.listen.trust.proxies.is_empty();
    is_plain.then(|| {
        let fault = "must name a certificate, and TLS_KEY_PATH its key, or TRUSTED_PROXIES the proxies that terminate TLS; \
                     tokens and passwords never travel in the clear (RFC 6749 section 3.2)";
        ("TLS_CERT_PATH", fault.to_owned())
    })
}

fn wide(name: &'static str, networks: &[IpNet], why: &str) -> Option<Fault> {
    let is_wide = |network: &&IpNet| match network {
        // The widest networks that are somebody's own: 10.0.0.0/8 and fc00::/7.
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 7,
    };
    let found = networks.iter().find(is_wide)?;
    Some((name, format!("{found} is too wide, since {why}")))
}

fn any_origin(settings: &Settings) -> Option<Fault> {
    (settings.listen.origins == AllowedOrigins::Any).then(|| {
        let fault = "must list the origins of your own pages, such as https://app.example.com, and not be *";
        ("CORS_ALLOWED_ORIGINS", fault.to_owned())
    })
}

fn plain_issuer(settings: &Settings) -> Option<Fault> {
    let is_plain = !settings.tokens.issuer.url.starts_with("https://");
    is_plain.then(|| {
        let fault = "must be an https URL: services fetch the key set from there (RFC 8414 section 2)";
        ("JWT_ISSUER", fault.to_owned())
    })
}

fn no_limits(settings: &Settings) -> Option<Fault> {
    settings.limits.is_none().then(|| {
        let fault = "must be true: without limits passwords can be guessed; RATE_LIMIT_EXEMPT_NETWORKS names those that \
                     none hold for";
        ("ENABLE_RATE_LIMITING", fault.to_owned())
    })
}

fn weak_master_key(settings: &Settings) -> Option<Fault> {
    let faults = master_key_faults(settings).unwrap_or_default();
    let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
    (!said.is_empty()).then(|| {
        let fault = format!(
            "is weak for the password of an administrator ({}): choose another, or remove it once the first start is done",
            said.join("; ")
        );
        ("MASTER_KEY", fault)
    })
}
