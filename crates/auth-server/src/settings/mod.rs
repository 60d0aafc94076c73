//! Settings: defaults, TOML file, environment, flags, each over the one before; converted once into validated
//! types. Nothing behind this module sees a setting as a text, and nothing here opens a database or a socket.

mod layers;
mod problem;
mod production;
mod reading;
pub mod reference;
pub mod report;
mod table;
pub mod values;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::client_address::Trust;
use crate::http::cors::AllowedOrigins;
use crate::http::docs::DocsPage;
use crate::http::tls::TlsFiles;
use crate::telemetry::traces::TraceSettings;
use auth_domain::claims::Issuer;
use auth_domain::device::DeviceSecret;
use auth_domain::password::{HashScheme, LegacyHashes, NewPasswordRules, Pace, PasswordPolicy};
use auth_domain::secret::Password;
use auth_domain::throttle::Limits;
use auth_domain::time::Seconds;
use auth_domain::token_service::{PasswordGrant, ReuseRevokes};
use auth_jwt::{KeyBits, Kid};
use auth_redis::RedisUrl;
use auth_storage::DatabaseUrl;

pub use layers::{Flag, Layers, Source, Sourced, Sources};
pub use problem::{Problem, WrongSettings};
pub use table::{Entry, Fallback, Group, Key, Secrecy};

/// Everything an operator can decide, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the server runs.
    pub environment: Environment,
    /// Where and how it listens.
    pub listen: Listen,
    /// Where the data are.
    pub database: Database,
    /// Where instances share their counters; `None` where each counts for itself.
    pub redis: Option<Redis>,
    /// What of the data is kept for how long.
    pub housekeeping: Housekeeping,
    /// What tokens say.
    pub tokens: Tokens,
    /// What signs them.
    pub keys: Keys,
    /// How passwords are hashed.
    pub passwords: Passwords,
    /// How guessing is slowed down; `None` where it is not.
    pub limits: Option<Limits>,
    /// How devices are known; `None` where they are not, or where no limit holds.
    pub devices: Option<Devices>,
    /// What is logged.
    pub log: Log,
    /// What is traced; `None` where nothing is.
    pub traces: Option<TraceSettings>,
    /// What is accepted but should be known at every start.
    pub warnings: Vec<Problem>,
}

/// Where the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// On somebody's desk.
    Development,
    /// Under test.
    Test,
    /// Before production.
    Staging,
    /// In earnest: what is unsafe is refused.
    Production,
}

impl Environment {
    /// Its name, as it is set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// Where and how the server listens.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address.
    pub host: IpAddr,
    /// The port; 0 is any free one.
    pub port: u16,
    /// A prefix of the routes; empty for none.
    pub base_path: String,
    /// Whose word is taken about where requests come from.
    pub trust: Trust,
    /// The certificate to serve HTTPS with; `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The origins whose pages may read answers.
    pub origins: AllowedOrigins,
    /// Whether there is a page to read the API on.
    pub docs_page: DocsPage,
    /// How long a request may go without an answer.
    pub request_timeout: Duration,
    /// How many connections may be open.
    pub max_connections: usize,
    /// How many of them one address may have.
    pub max_connections_per_address: usize,
    /// How many requests about tokens a worker works on at a time; any number where it is `None`.
    pub requests_in_hand: Option<NonZeroUsize>,
    /// How many threads serve; `None` is one for each CPU core.
    pub workers: Option<usize>,
    /// How long a shutdown waits.
    pub shutdown_timeout: Duration,
    /// How long it is announced before.
    pub drain_delay: Duration,
    /// Where operators have a listener of their own; `None` where they use the other.
    pub operators: Option<SocketAddr>,
}

impl Listen {
    /// The address and port to bind.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// The scheme of the server's own addresses.
    pub const fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

/// Where the data are.
#[derive(Debug, Clone)]
pub struct Database {
    /// The database.
    pub url: DatabaseUrl,
    /// A copy of it for what may be a little old.
    pub replica: Option<DatabaseUrl>,
    /// How many connections read, of an SQLite database.
    pub readers: u32,
    /// How many connections to a PostgreSQL server there are, besides four for rotations.
    pub connections: u32,
    /// Who applies migrations.
    pub migration: Migration,
    /// How long a client that was found is remembered; `None` where it is looked up each time. A database of this
    /// machine answers faster than anything that may be out of date is worth (ADR 0019).
    pub client_cache: Option<Seconds>,
}

/// Where instances share their counters, and hear of changes of clients.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where it is.
    pub url: RedisUrl,
    /// How long a request waits for it.
    pub timeout: Duration,
}

/// Who applies migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// `serve`, before it listens.
    AtStart,
    /// An operator, by `migrate up`.
    ByHand,
}

/// What of the data is kept for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Housekeeping {
    /// How long audit rows are kept; `None` for ever.
    pub audit_retention: Option<Seconds>,
    /// How long refresh tokens and sessions are kept after they have expired.
    pub expired_tokens_kept: Seconds,
    /// How often what is too old is deleted.
    pub interval: Duration,
    /// How many rows a transaction deletes at most.
    pub batch: u32,
}

/// What tokens say and how long they live.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Who issues them, for whom.
    pub issuer: Issuer,
    /// The lifetime of access tokens of clients that have none of their own.
    pub access_lifetime: Seconds,
    /// The same for refresh tokens.
    pub refresh_lifetime: Seconds,
    /// What a reuse ends.
    pub reuse_revokes: ReuseRevokes,
    /// Whether the password grant is offered.
    pub password_grant: PasswordGrant,
}

/// What signs tokens.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Where the keys are.
    pub place: KeyPlace,
    /// The size of new keys.
    pub bits: KeyBits,
    /// How long a key signs before the next takes over; `None` where only an operator rotates.
    pub rotation_interval: Option<Seconds>,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a folder of this server's.
    Folder(PathBuf),
    /// A given pair, used as it is.
    Pair {
        /// The private key's file.
        private: PathBuf,
        /// The public key's file.
        public: PathBuf,
        /// Its `kid`; `None` is its thumbprint.
        kid: Option<Kid>,
    },
}

/// How passwords are hashed.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// What is asked of new ones.
    pub policy: PasswordPolicy,
    /// How new ones are.
    pub scheme: HashScheme,
    /// What becomes of bcrypt hashes at a sign-in.
    pub legacy: LegacyHashes,
    /// How many at once; `None` is one less than there are CPU cores.
    pub threads: Option<NonZeroUsize>,
    /// How many more may wait.
    pub queue: usize,
    /// How long each may wait.
    pub deadline: Duration,
    /// The shortest time in which a failed sign-in is answered.
    pub failed_login_floor: Duration,
    /// The password of the first `admin`.
    pub master_key: Option<Password>,
    /// How that was set, for people; empty where it was not.
    pub master_key_place: String,
}

/// How devices are known.
#[derive(Debug, Clone)]
pub struct Devices {
    /// For how long after a sign-in.
    pub lifetime: Seconds,
    /// What their notes are sealed with; `None` where that lies beside the keys or follows from them.
    pub secret: Option<DeviceSecret>,
}

impl Passwords {
    /// When the refusal of one may leave.
    pub fn pace(&self) -> Pace {
        Pace::with_floor(self.failed_login_floor)
    }

    /// What is held against a new password.
    pub const fn rules(&self) -> NewPasswordRules {
        NewPasswordRules {
            policy: self.policy,
            scheme: self.scheme,
        }
    }
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub levels: LogLevels,
    /// In which form.
    pub format: LogFormat,
}

/// The least severe level that is written, in all and module by module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevels {
    /// Of every module of this program that is not named.
    pub all: LogLevel,
    /// Of modules, by the beginnings of their paths.
    pub modules: Vec<(String, LogLevel)>,
}

impl LogLevels {
    /// The least severe that any module may say.
    pub fn most(&self) -> LogLevel {
        let of_modules = self.modules.iter().map(|(_, level)| *level);
        of_modules.fold(self.all, Ord::max)
    }
}

/// How severe a log line is; the most severe is the least of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names every logging library uses")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The level's name as filters write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
    /// For people on a terminal, else JSON.
    Auto,
}

impl Settings {
    /// Reads and validates everything.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(sources: &Sources) -> Result<Self, WrongSettings> {
        let (layers, problems) = Layers::gather(sources);
        reading::validate(&layers, problems).map_err(WrongSettings)
    }

    /// The same for whoever is to serve by them: in production, only where all of it is safe in earnest.
    ///
    /// # Errors
    /// All that is wrong and all that is unsafe, at once, and what to do about it.
    pub fn load_to_serve(sources: &Sources) -> Result<Self, WrongSettings> {
        let (layers, problems) = Layers::gather(sources);
        reading::validate_to_serve(&layers, problems).map_err(WrongSettings)
    }
}

#[cfg(test)]
mod tests;
