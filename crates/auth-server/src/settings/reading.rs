//! Converts texts into validated settings, and collects everything that is wrong on the way.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use auth_domain::claims::Issuer;
use auth_domain::device::DeviceSecret;
use auth_domain::password::{HashScheme, LegacyHashes, PasswordPolicy};
use auth_domain::secret::Password;
use auth_domain::throttle::Limits;
use auth_domain::time::Seconds;
use auth_domain::token_service::{PasswordGrant, ReuseRevokes};
use auth_jwt::{KeyBits, Kid};
use auth_redis::RedisUrl;
use auth_storage::DatabaseUrl;
use secrecy::ExposeSecret;

use crate::http::client_address::{AddressHeader, Trust};
use crate::http::docs::DocsPage;
use crate::http::tls::TlsFiles;
use crate::telemetry::traces::{Collector, Protocol, TraceSettings};

use super::layers::{Layers, Source, Sourced};
use super::problem::Problem;
use super::production;
use super::table::{Key, Secrecy};
use super::values::{self, Parsed};
use super::{
    Database, Devices, Environment, Housekeeping, KeyPlace, Keys, Listen, Log, LogFormat, LogLevel,
    Migration, Passwords, Redis, Settings, Tokens,
};

/// Validates all settings that could be read, beside the problems of those that could not.
///
/// # Errors
/// Everything that is wrong, at once.
pub(super) fn validate(layers: &Layers, problems: Vec<Problem>) -> Result<Settings, Vec<Problem>> {
    let mut reading = Reading::of(layers, problems);
    let settings = reading.settings();
    match (settings, reading.problems.is_empty()) {
        (Ok(settings), true) => Ok(settings),
        _ => Err(reading.problems),
    }
}

/// The same, and in production all that is unsafe there beside what is wrong.
///
/// # Errors
/// Everything that is wrong or unsafe, at once.
pub(super) fn validate_to_serve(layers: &Layers, problems: Vec<Problem>) -> Result<Settings, Vec<Problem>> {
    let mut reading = Reading::of(layers, problems);
    let settings = reading.settings();
    let mut problems = std::mem::take(&mut reading.problems);
    let rest = layers.without(&reading.wrong);
    let readable = match &settings {
        Ok(settings) => Some(settings.clone()),
        // What is right is judged as if nobody had set what is wrong.
        Err(Noted) => Reading::of(&rest, Vec::new()).settings().ok(),
    };
    let is_noted = |unsafe_one: &(Key, Problem)| !reading.wrong.contains(&unsafe_one.0);
    let in_production = readable.filter(|settings| settings.environment == Environment::Production);
    let unsafe_ones = in_production.map(|settings| production::problems(&settings, &rest));
    let unsafe_ones = unsafe_ones.into_iter().flatten().filter(is_noted);
    problems.extend(unsafe_ones.map(|(_, problem)| problem));
    match (settings, problems.is_empty()) {
        (Ok(settings), true) => Ok(settings),
        _ => Err(problems),
    }
}

/// That a value is wrong, and stands among the problems already.
struct Noted;

struct Reading<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    /// Which settings they are about, as far as they are about settings.
    wrong: BTreeSet<Key>,
}

impl<'a> Reading<'a> {
    const fn of(layers: &'a Layers, problems: Vec<Problem>) -> Self {
        Self {
            layers,
            problems,
            wrong: BTreeSet::new(),
        }
    }

    /// Each section is read before the first fault of another ends the reading.
    fn settings(&mut self) -> Result<Settings, Noted> {
        let environment = self.value(Key::Environment, values::one_of(ENVIRONMENTS));
        let listen = self.listen();
        let database = self.database();
        let redis = self.redis();
        let housekeeping = self.housekeeping();
        let tokens = self.tokens();
        let keys = self.keys();
        let passwords = self.passwords();
        let limits = self.limits();
        let devices = self.devices();
        let log = self.log();
        let traces = self.traces(environment.as_ref().ok().copied());
        let (limits, listen, passwords, database) = (limits?, listen?, passwords?, database?);
        self.check_times(&listen, &passwords)?;
        let warnings = [
            self.idle_redis(limits.as_ref(), &database),
            self.open_plain_http(&listen),
        ];
        let mut settings = Settings {
            environment: environment?,
            listen,
            database,
            redis: redis?,
            housekeeping: housekeeping?,
            tokens: tokens?,
            keys: keys?,
            passwords,
            devices: devices?.filter(|_| limits.is_some()),
            limits,
            log: log?,
            traces: traces?,
            warnings: warnings
                .into_iter()
                .flatten()
                .chain(self.layers.warnings())
                .collect(),
        };
        if settings.environment == Environment::Production {
            let more = production::warnings(&settings);
            settings.warnings.extend(more);
        }
        Ok(settings)
    }

    /// Whether a failed sign-in is answered before its time is up: else it would be an outage, and a good one not.
    fn check_times(&mut self, listen: &Listen, passwords: &Passwords) -> Result<(), Noted> {
        let longest = passwords.deadline + passwords.failed_login_floor;
        if listen.request_timeout > longest {
            return Ok(());
        }
        let fault = format!(
            "must be more than HASHING_DEADLINE and FAILED_LOGIN_FLOOR together, which are {} ms",
            longest.as_millis()
        );
        Err(self.note(Key::RequestTimeout, fault))
    }

    /// A Redis that nothing is counted in, and nothing is heard through.
    fn idle_redis(&self, limits: Option<&Limits>, database: &Database) -> Option<Problem> {
        let redis = self.layers.find(Key::RedisUrl)?;
        let is_idle = limits.is_none() && database.client_cache.is_none();
        is_idle.then(|| {
            let fault = "has nothing to do: ENABLE_RATE_LIMITING is false, so there are no counters to be shared, and \
                         no clients are remembered that could be changed elsewhere";
            Problem::new(place(Key::RedisUrl, &redis.source), fault)
        })
    }

    /// Passwords and tokens that travel in the clear, further than this machine.
    fn open_plain_http(&self, listen: &Listen) -> Option<Problem> {
        let host = self.layers.find(Key::Host)?;
        let is_open = !listen.host.is_loopback() && listen.tls.is_none() && listen.trust.proxies.is_empty();
        is_open.then(|| {
            let fault = "is reached from other machines, over plain HTTP: passwords and tokens travel in the clear \
                         (TLS_CERT_PATH and TLS_KEY_PATH, or TRUSTED_PROXIES)";
            Problem::new(place(Key::Host, &host.source), fault)
        })
    }

    fn listen(&mut self) -> Result<Listen, Noted> {
        let host = self.value(Key::Host, values::host);
        let port = self.value(Key::Port, values::port);
        let base_path = self.optional(Key::BasePath, values::base_path);
        let trust = self.trust();
        let tls = self.tls();
        let origins = self.optional(Key::CorsAllowedOrigins, values::origins);
        let docs_page = self.value(Key::DocsPage, values::truth);
        let request_timeout = self.value(Key::RequestTimeout, values::seconds(1..=300));
        let max_connections = self.value(Key::MaxConnections, values::count(1..=1_000_000));
        let per_address = self.value(Key::MaxConnectionsPerAddress, values::count(1..=1_000_000));
        let in_hand = self.value(Key::MaxRequestsInHand, values::count(0..=1_000_000));
        let workers = self.optional(Key::Workers, values::count(1..=256));
        let shutdown_timeout = self.value(Key::ShutdownTimeout, values::seconds(0..=3_600));
        let drain_delay = self.value(Key::DrainDelay, values::seconds(0..=3_600));
        let operators = self.optional(Key::MetricsAddr, values::socket_address);
        let (host, port, operators) = (host?, port?, operators?);
        if port != 0 && operators == Some(SocketAddr::new(host, port)) {
            return Err(self.note(
                Key::MetricsAddr,
                "must differ from HOST and PORT together".to_owned(),
            ));
        }
        Ok(Listen {
            host,
            port,
            operators,
            drain_delay: Duration::from_secs(drain_delay?.get().into()),
            base_path: base_path?.unwrap_or_default(),
            trust: trust?,
            tls: tls?,
            origins: origins?.unwrap_or_default(),
            docs_page: if docs_page? {
                DocsPage::Served
            } else {
                DocsPage::Absent
            },
            request_timeout: Duration::from_secs(request_timeout?.get().into()),
            max_connections: max_connections?,
            max_connections_per_address: per_address?,
            requests_in_hand: NonZeroUsize::new(in_hand?),
            workers: workers?,
            shutdown_timeout: Duration::from_secs(shutdown_timeout?.get().into()),
        })
    }

    fn trust(&mut self) -> Result<Trust, Noted> {
        let proxies = self.optional(Key::TrustedProxies, values::networks);
        let header = self.value(Key::ClientAddressHeader, values::one_of(ADDRESS_HEADERS));
        let exempt = self.optional(Key::RateLimitExemptNetworks, values::networks);
        Ok(Trust {
            proxies: proxies?.unwrap_or_default(),
            header: header?,
            exempt: exempt?.unwrap_or_default(),
        })
    }

    fn tls(&mut self) -> Result<Option<TlsFiles>, Noted> {
        let certificate = self.optional(Key::TlsCertPath, values::path)?;
        let key = self.optional(Key::TlsKeyPath, values::path)?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.note(Key::TlsCertPath, "needs TLS_KEY_PATH beside it".to_owned())),
            (None, Some(_)) => Err(self.note(Key::TlsKeyPath, "needs TLS_CERT_PATH beside it".to_owned())),
        }
    }

    fn database(&mut self) -> Result<Database, Noted> {
        let url = self.value(Key::DbUrl, |text| {
            DatabaseUrl::parse(text).map_err(|fault| fault.to_string())
        });
        let readers = self.value(Key::DbReaders, values::number(1..=64));
        let replica = self.optional(Key::DbReadUrl, |text| {
            DatabaseUrl::parse(text).map_err(|fault| fault.to_string())
        });
        let connections = self.value(Key::DbPoolSize, values::number(1..=256));
        let migration = self.value(Key::AutoMigrate, values::truth);
        let client_cache = self.value(Key::ClientCacheLifetime, values::seconds(0..=3_600));
        let (url, replica) = (url?, replica?);
        if let Some(replica) = &replica
            && (url.is_embedded() || replica.is_embedded())
        {
            let fault = "goes with a PostgreSQL database in DB_URL, and is one itself";
            return Err(self.note(Key::DbReadUrl, fault.to_owned()));
        }
        let client_cache = client_cache?;
        let is_of_use = !url.is_embedded() && client_cache > Seconds::ZERO;
        Ok(Database {
            client_cache: is_of_use.then_some(client_cache),
            url,
            replica,
            readers: readers?,
            connections: connections?,
            migration: if migration? {
                Migration::AtStart
            } else {
                Migration::ByHand
            },
        })
    }

    fn redis(&mut self) -> Result<Option<Redis>, Noted> {
        let url = self.optional(Key::RedisUrl, |text| {
            RedisUrl::parse(text).map_err(|fault| fault.to_string())
        });
        let timeout = self.value(Key::RedisTimeout, values::milliseconds(5..=5_000))?;
        Ok(url?.map(|url| Redis { url, timeout }))
    }

    fn housekeeping(&mut self) -> Result<Housekeeping, Noted> {
        let audit_retention = self.value(Key::AuditRetention, values::retention);
        let expired_tokens_kept = self.value(Key::ExpiredTokensKept, values::seconds(3_600..=31_536_000));
        let interval = self.value(Key::HousekeepingInterval, values::seconds(60..=86_400));
        let batch = self.value(Key::HousekeepingBatch, values::number(10..=10_000));
        Ok(Housekeeping {
            audit_retention: audit_retention?,
            expired_tokens_kept: expired_tokens_kept?,
            interval: Duration::from_secs(interval?.get().into()),
            batch: batch?,
        })
    }

    fn tokens(&mut self) -> Result<Tokens, Noted> {
        let issuer = self.issuer();
        let access_lifetime = self.value(Key::AccessTokenLifetime, values::seconds(1..=86_400));
        let refresh_lifetime = self.value(Key::RefreshTokenLifetime, values::seconds(1..=31_622_400));
        let reuse_revokes = self.value(Key::ReuseRevokes, |text| {
            ReuseRevokes::parse(text).map_err(|fault| fault.to_string())
        });
        let password_grant = self.value(Key::PasswordGrantEnabled, values::truth);
        Ok(Tokens {
            issuer: issuer?,
            access_lifetime: access_lifetime?,
            refresh_lifetime: refresh_lifetime?,
            reuse_revokes: reuse_revokes?,
            password_grant: if password_grant? {
                PasswordGrant::Offered
            } else {
                PasswordGrant::Off
            },
        })
    }

    fn issuer(&mut self) -> Result<Issuer, Noted> {
        let url = self.value(Key::JwtIssuer, values::issuer);
        let audience = self.value(Key::JwtAudience, values::text);
        let clock_skew = self.value(Key::ClockSkew, values::seconds(0..=300));
        let not_before_leeway = self.value(Key::NotBeforeLeeway, values::seconds(0..=300));
        let (url, audience) = (url?, audience?);
        if url == audience {
            return Err(self.note(
                Key::JwtAudience,
                "must differ from JWT_ISSUER, which is the audience of refresh tokens: a service would take one for an \
                 access token"
                    .to_owned(),
            ));
        }
        Ok(Issuer {
            url,
            audience,
            not_before_leeway: not_before_leeway?,
            clock_skew: clock_skew?,
        })
    }

    fn keys(&mut self) -> Result<Keys, Noted> {
        let place = self.key_place();
        let bits = self.value(Key::RsaBits, values::one_of(RSA_BITS));
        let rotation_interval = self.optional(Key::KeyRotationInterval, values::seconds(7_200..=315_360_000));
        Ok(Keys {
            place: place?,
            bits: bits?,
            rotation_interval: rotation_interval?,
        })
    }

    fn key_place(&mut self) -> Result<KeyPlace, Noted> {
        let folder = self.value(Key::KeysDir, values::path);
        let private = self.optional(Key::PrivateKeyPath, values::path)?;
        let public = self.optional(Key::PublicKeyPath, values::path)?;
        let kid = self.optional(Key::KeyId, |text| {
            Kid::parse(text).map_err(|fault| fault.to_string())
        });
        match (private, public) {
            (Some(private), Some(public)) => {
                self.refuse_with_pair(Key::KeyRotationInterval);
                Ok(KeyPlace::Pair {
                    private,
                    public,
                    kid: kid?,
                })
            }
            (None, None) if matches!(kid, Ok(Some(_))) => Err(self.note(
                Key::KeyId,
                "names the key of PRIVATE_KEY_PATH, which is not set; keys of KEYS_DIR carry their own names"
                    .to_owned(),
            )),
            (None, None) => kid.and(folder).map(KeyPlace::Folder),
            (Some(_), None) => {
                Err(self.note(Key::PrivateKeyPath, "needs PUBLIC_KEY_PATH beside it".to_owned()))
            }
            (None, Some(_)) => {
                Err(self.note(Key::PublicKeyPath, "needs PRIVATE_KEY_PATH beside it".to_owned()))
            }
        }
    }

    fn refuse_with_pair(&mut self, key: Key) {
        if self.layers.find(key).is_some() {
            self.note(
                key,
                "does not go with PRIVATE_KEY_PATH: a given key pair is never rotated".to_owned(),
            );
        }
    }

    fn passwords(&mut self) -> Result<Passwords, Noted> {
        let scheme = self.value(Key::PasswordHash, values::one_of(SCHEMES));
        let rehashes = self.value(Key::RehashLegacyPasswords, values::truth);
        let policy = self.value(Key::PasswordPolicy, values::one_of(POLICIES));
        let threads = self.optional(Key::HashingThreads, values::count(1..=64));
        let queue = self.value(Key::HashingQueue, values::count(1..=10_000));
        let deadline = self.value(Key::HashingDeadline, values::milliseconds(1..=60_000));
        let floor = self.value(Key::FailedLoginFloor, values::milliseconds(0..=10_000));
        // Where the scheme is wrong itself, the master key is held to what every scheme asks.
        let bounds = scheme
            .as_ref()
            .map_or(HashScheme::OWASP_ARGON2ID, |scheme| *scheme);
        let master_key = self.optional(Key::MasterKey, |text| {
            auth_domain::password::check_size(text, bounds)
                .map(|()| Password::new(text.to_owned()))
                .map_err(|fault| format!("can't be a password: {fault}"))
        });
        Ok(Passwords {
            policy: policy?,
            scheme: scheme?,
            legacy: if rehashes? {
                LegacyHashes::Replaced
            } else {
                LegacyHashes::Kept
            },
            threads: threads?.and_then(NonZeroUsize::new),
            queue: queue?,
            deadline: deadline?,
            failed_login_floor: floor?,
            master_key: master_key?,
            master_key_place: self
                .layers
                .find(Key::MasterKey)
                .map_or_else(String::new, |sourced| place(Key::MasterKey, &sourced.source)),
        })
    }

    fn limits(&mut self) -> Result<Option<Limits>, Noted> {
        let is_on = self.value(Key::EnableRateLimiting, values::truth);
        let logins_per_network = self.value(Key::RateLimitPerIp, values::number(1..=1_000_000));
        let logins_per_account = self.value(Key::RateLimitPerUsername, values::number(1..=1_000_000));
        let failures_per_account = self.value(Key::BruteForceThreshold, values::number(1..=1_000_000));
        let failures_per_network = self.value(Key::BruteForceThresholdPerIp, values::number(1..=1_000_000));
        let lockout = self.value(Key::BruteForceLockoutDuration, values::seconds(1..=86_400));
        let refreshes_per_network = self.value(Key::RefreshRateLimit, values::number(1..=100_000_000));
        let limits = Limits {
            logins_per_network: logins_per_network?,
            logins_per_account: logins_per_account?,
            failures_per_account: failures_per_account?,
            failures_per_network: failures_per_network?,
            lockout: lockout?,
            refreshes_per_network: refreshes_per_network?,
        };
        Ok(is_on?.then_some(limits))
    }

    fn devices(&mut self) -> Result<Option<Devices>, Noted> {
        let are_known = self.value(Key::KnownDevices, values::truth);
        let lifetime = self.value(Key::DeviceLifetime, values::seconds(60..=31_622_400));
        let secret = self.optional(Key::DeviceSecret, |text| {
            DeviceSecret::parse(text).ok_or_else(|| "must be 64 hexadecimal digits".to_owned())
        });
        let devices = Devices {
            lifetime: lifetime?,
            secret: secret?,
        };
        Ok(are_known?.then_some(devices))
    }

    fn log(&mut self) -> Result<Log, Noted> {
        let levels = self.value(Key::LogLevel, |text| values::log_levels(text, LEVELS));
        let format = self.value(Key::LogFormat, values::one_of(FORMATS));
        Ok(Log {
            levels: levels?,
            format: format?,
        })
    }

    /// A setting that has a default, so that some value is there.
    fn traces(&mut self, environment: Option<Environment>) -> Result<Option<TraceSettings>, Noted> {
        let endpoint = self.optional(Key::OtlpEndpoint, values::collector);
        let protocol = self.value(Key::OtlpProtocol, values::one_of(OTLP_PROTOCOLS));
        let headers = self.optional(Key::OtlpHeaders, values::headers);
        let sample_ratio = self.value(Key::TraceSampleRatio, values::ratio);
        let (endpoint, protocol, headers, sample_ratio) = (endpoint?, protocol?, headers?, sample_ratio?);
        if endpoint.is_none() && headers.is_some() {
            let fault = "goes with OTLP_ENDPOINT, which says where they are sent";
            return Err(self.note(Key::OtlpHeaders, fault.to_owned()));
        }
        Ok(endpoint.map(|endpoint| TraceSettings {
            collector: Collector {
                endpoint,
                protocol,
                headers: headers.unwrap_or_default(),
            },
            sample_ratio,
            environment: environment.map_or("", Environment::as_str),
        }))
    }

    fn value<T>(&mut self, key: Key, parse: impl Fn(&str) -> Parsed<T>) -> Result<T, Noted> {
        match self.optional(key, parse)? {
            Some(value) => Ok(value),
            None => Err(self.note(key, "must be set".to_owned())),
        }
    }

    /// A setting that need not be set.
    fn optional<T>(&mut self, key: Key, parse: impl Fn(&str) -> Parsed<T>) -> Result<Option<T>, Noted> {
        let Some(sourced) = self.layers.find(key) else {
            return Ok(None);
        };
        match parse(sourced.text.expose_secret()) {
            Ok(value) => Ok(Some(value)),
            Err(right) => {
                let fault = match key.entry().secrecy {
                    Secrecy::Open if !may_hold_secret(sourced) => {
                        format!("{}{right}", quoted(sourced, &right))
                    }
                    Secrecy::Open | Secrecy::Url | Secrecy::Secret => right,
                };
                Err(self.note(key, fault))
            }
        }
    }

    fn note(&mut self, key: Key, fault: String) -> Noted {
        let place = match self.layers.find(key) {
            Some(sourced) => place(key, &sourced.source),
            None => format!("AUTH_SERVICE__{}", key.entry().name),
        };
        self.problems.push(Problem::new(place, fault));
        self.wrong.insert(key);
        Noted
    }
}

/// Names a setting the way it was set.
fn place(key: Key, source: &Source) -> String {
    let name = key.entry().name;
    match source {
        Source::Default => format!("AUTH_SERVICE__{name}"),
        Source::File(path) => format!("{} in {}", name.to_ascii_lowercase(), path.display()),
        Source::Variable(variable) | Source::SecretFile(variable) => variable.clone(),
        Source::Flag(flag @ "--set") => format!("{flag} {name}"),
        Source::Flag(flag) => (*flag).to_owned(),
    }
}

/// Whether a value that should be open looks like a URL with a password or a query, where vendors put keys.
fn may_hold_secret(sourced: &Sourced) -> bool {
    sourced.text.expose_secret().contains(['@', '?'])
}

/// The value before what would be right, save where that quotes all of it.
fn quoted(sourced: &Sourced, right: &str) -> String {
    let quoted = format!("'{}'", abridged(sourced));
    if right.contains(&quoted) {
        String::new()
    } else {
        format!("{quoted} ")
    }
}

/// As much of a value as tells which one is meant.
fn abridged(sourced: &Sourced) -> String {
    let text = sourced.text.expose_secret();
    let start: String = text
        .chars()
        .take(60)
        .filter(|character| !character.is_control())
        .collect();
    if start.len() < text.len() {
        format!("{start}…")
    } else {
        start
    }
}

const ENVIRONMENTS: &[(&str, Environment)] = &[
    ("development", Environment::Development),
    ("test", Environment::Test),
    ("staging", Environment::Staging),
    ("production", Environment::Production),
];

const ADDRESS_HEADERS: &[(&str, AddressHeader)] = &[
    ("x-forwarded-for", AddressHeader::XForwardedFor),
    ("forwarded", AddressHeader::Forwarded),
];

const RSA_BITS: &[(&str, KeyBits)] = &[
    ("2048", KeyBits::Rsa2048),
    ("3072", KeyBits::Rsa3072),
    ("4096", KeyBits::Rsa4096),
];

const POLICIES: &[(&str, PasswordPolicy)] = &[
    ("classic", PasswordPolicy::Classic),
    ("nist", PasswordPolicy::Nist),
];

const SCHEMES: &[(&str, HashScheme)] = &[
    ("argon2id", HashScheme::OWASP_ARGON2ID),
    ("bcrypt", HashScheme::BCRYPT_12),
];

const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
    ("warning", LogLevel::Warn),
    ("critical", LogLevel::Error),
];

const OTLP_PROTOCOLS: &[(&str, Protocol)] = &[("grpc", Protocol::Grpc), ("http", Protocol::Http)];

const FORMATS: &[(&str, LogFormat)] = &[
    ("json", LogFormat::Json),
    ("text", LogFormat::Text),
    ("auto", LogFormat::Auto),
];
