//! What must not be so in production, each with what to do about it; all of it is told at once.

use std::time::Duration;

use auth_domain::throttle::Limits;
use auth_storage::DatabaseUrl;
use ipnet::IpNet;

use super::layers::{Layers, Source};
use super::problem::Problem;
use super::table::Key;
use super::{LogLevel, Settings};
use crate::bootstrap::master_key_faults;
use crate::http::cors::AllowedOrigins;

/// What keeps a server from starting in production.
pub(super) fn problems(settings: &Settings, layers: &Layers) -> Vec<(Key, Problem)> {
    [
        plain_http(settings),
        wide(
            Key::TrustedProxies,
            &settings.listen.trust.proxies,
            "anybody in it could claim any address, and so be held to no limit: name your proxies' own networks",
        ),
        wide(
            Key::RateLimitExemptNetworks,
            &settings.listen.trust.exempt,
            "nobody in it is held to the limits by address: name the networks of your own machines",
        ),
        any_origin(settings),
        plain_issuer(settings),
        nobodys_issuer(layers),
        no_limits(settings),
        endless_guesses(settings),
        weak_master_key(settings),
    ]
    .into_iter()
    .flatten()
    .map(|(key, fault)| (key, problem(key, &format!("{fault} (ENVIRONMENT is production)"))))
    .collect()
}

/// What should be known about a server that starts in production.
pub(super) fn warnings(settings: &Settings) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if settings.log.levels.most() >= LogLevel::Debug {
        warnings.push(problem(
            Key::LogLevel,
            "is for looking into trouble: in production it is a cost for every request; info is enough",
        ));
    }
    let unwise = [
        many_guesses(settings),
        many_guesses_from_one_address(settings),
        no_floor(settings),
        open_metrics(settings),
        database_in_clear(Key::DbUrl, Some(&settings.database.url)),
        database_in_clear(Key::DbReadUrl, settings.database.replica.as_ref()),
    ];
    warnings.extend(
        unwise
            .into_iter()
            .flatten()
            .map(|(key, fault)| problem(key, &fault)),
    );
    warnings
}

/// A setting and what is wrong with it.
type Fault = (Key, String);

fn problem(key: Key, fault: &str) -> Problem {
    Problem::new(format!("AUTH_SERVICE__{}", key.entry().name), fault)
}

/// More guesses than this in an hour at one account are as good as no limit.
const ENDLESS: u64 = 1_000;
/// So many are ten times what the defaults allow.
const MANY: u64 = 100;
/// The same for one address, at whichever accounts.
const MANY_FROM_ONE_ADDRESS: u64 = 10_000;
/// A failed sign-in that is answered sooner than this tells by its time whether there is such a user.
const SHORTEST_FLOOR: Duration = Duration::from_millis(100);

fn plain_http(settings: &Settings) -> Option<Fault> {
    let is_plain = settings.listen.tls.is_none() && settings.listen.trust.proxies.is_empty();
    is_plain.then(|| {
        let fault = "must name a certificate, and TLS_KEY_PATH its key, or TRUSTED_PROXIES the proxies that terminate TLS; \
                     tokens and passwords never travel in the clear (RFC 6749 section 3.2)";
        (Key::TlsCertPath, fault.to_owned())
    })
}

fn wide(key: Key, networks: &[IpNet], why: &str) -> Option<Fault> {
    let is_wide = |network: &&IpNet| match network {
        // The widest networks that are somebody's own: 10.0.0.0/8 and fc00::/7.
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 7,
    };
    let found = networks.iter().find(is_wide)?;
    Some((key, format!("{found} is too wide, since {why}")))
}

/// A proxy in front may keep strangers from them, or not: it is not seen from here.
fn open_metrics(settings: &Settings) -> Option<Fault> {
    let is_open = settings.listen.operators.is_none() && !settings.listen.host.is_loopback();
    is_open.then(|| {
        let fault = "is not set, so /metrics is open to whoever reaches HOST and PORT: name an address that is reached \
                     from inside only, such as 127.0.0.1:9464, or see to it that the proxy does not pass /metrics on";
        (Key::MetricsAddr, fault.to_owned())
    })
}

fn any_origin(settings: &Settings) -> Option<Fault> {
    (settings.listen.origins == AllowedOrigins::Any).then(|| {
        let fault = "must list the origins of your own pages, such as https://app.example.com, and not be *";
        (Key::CorsAllowedOrigins, fault.to_owned())
    })
}

fn plain_issuer(settings: &Settings) -> Option<Fault> {
    let is_plain = !settings.tokens.issuer.url.starts_with("https://");
    is_plain.then(|| {
        let fault = "must be an https URL: services fetch the key set from there (RFC 8414 section 2)";
        (Key::JwtIssuer, fault.to_owned())
    })
}

/// An issuer that nobody has set is somebody else's, and every token dies on the day when it is set.
fn nobodys_issuer(layers: &Layers) -> Option<Fault> {
    let issuer = layers.find(Key::JwtIssuer)?;
    (issuer.source == Source::Default).then(|| {
        let fault = "must be set, to the public URL of this server such as https://auth.example.com, before the first \
                     sign-in: it is the `iss` of every token, and tokens of another issuer are refused";
        (Key::JwtIssuer, fault.to_owned())
    })
}

fn no_limits(settings: &Settings) -> Option<Fault> {
    settings.limits.is_none().then(|| {
        let fault = "must be true: without limits passwords can be guessed; RATE_LIMIT_EXEMPT_NETWORKS names those that \
                     none hold for";
        (Key::EnableRateLimiting, fault.to_owned())
    })
}

fn endless_guesses(settings: &Settings) -> Option<Fault> {
    let (key, guesses) = guesses_at_one_account(&settings.limits?);
    (guesses > ENDLESS).then(|| {
        (
            key,
            format!("{}, which is as good as no limit", let_guess(guesses)),
        )
    })
}

fn many_guesses(settings: &Settings) -> Option<Fault> {
    let (key, guesses) = guesses_at_one_account(&settings.limits?);
    (guesses > MANY).then(|| (key, format!("{}; by default it is 10", let_guess(guesses))))
}

fn let_guess(guesses: u64) -> String {
    format!(
        "lets strangers guess at one account {guesses} times an hour, together with BRUTE_FORCE_THRESHOLD and \
         BRUTE_FORCE_LOCKOUT_DURATION"
    )
}

/// How many passwords strangers may try at one account in an hour: what the lower of the two limits allows.
fn guesses_at_one_account(limits: &Limits) -> (Key, u64) {
    let by_locks = guesses_by_locks(limits.failures_per_account, limits);
    (
        Key::RateLimitPerUsername,
        by_locks.min(limits.logins_per_account.into()),
    )
}

fn many_guesses_from_one_address(settings: &Settings) -> Option<Fault> {
    let limits = settings.limits?;
    let by_locks = guesses_by_locks(limits.failures_per_network, &limits);
    let guesses = by_locks.min(u64::from(limits.logins_per_network) * 60);
    (guesses > MANY_FROM_ONE_ADDRESS).then(|| {
        let fault = format!(
            "lets one address guess {guesses} times an hour, together with BRUTE_FORCE_THRESHOLD_PER_IP and \
             BRUTE_FORCE_LOCKOUT_DURATION; by default it is 40"
        );
        (Key::RateLimitPerIp, fault)
    })
}

/// So many failures, and then a lock, over and over for an hour.
fn guesses_by_locks(failures: u32, limits: &Limits) -> u64 {
    u64::from(failures) * 3_600_u64.div_ceil(limits.lockout.get().max(1).into())
}

fn no_floor(settings: &Settings) -> Option<Fault> {
    let floor = settings.passwords.failed_login_floor;
    (floor < SHORTEST_FLOOR).then(|| {
        let fault = format!(
            "of {} ms is less than a hash takes: the time of an answer tells which users there are; 500 is the default",
            floor.as_millis()
        );
        (Key::FailedLoginFloor, fault)
    })
}

fn database_in_clear(key: Key, url: Option<&DatabaseUrl>) -> Option<Fault> {
    let Some(DatabaseUrl::Postgres(url)) = url else {
        return None;
    };
    url.may_go_in_clear().then(|| {
        let fault = "lets the database be reached without TLS: whoever listens on the way reads everybody's password \
                     hash; add sslmode=verify-full, or at least sslmode=require";
        (key, fault.to_owned())
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
        (Key::MasterKey, fault)
    })
}
