//! The one table of settings: their names, defaults and descriptions. Everything that knows a setting by name
//! (reading, `config check`, the reference) is driven by it.

/// What is known about a setting.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name after the prefix `AUTH_SERVICE__`; in a file, the same in lower case.
    pub name: &'static str,
    /// The heading it stands under in the reference.
    pub group: Group,
    /// What it holds while nobody sets it.
    pub default: Fallback,
    /// How much of its value may be shown.
    pub secrecy: Secrecy,
    /// What it takes.
    pub takes: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// What a setting holds while nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Value(&'static str),
    /// None; the text says what that comes to.
    Unset(&'static str),
}

/// How much of a setting's value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the password that the URL may hold.
    Url,
    /// Nothing.
    Secret,
}

impl Secrecy {
    /// Whether the value may also come from a file named by the variable, or the name in a settings file, with `_FILE` at its end.
    pub const fn is_readable_from_file(self) -> bool {
        matches!(self, Self::Url | Self::Secret)
    }
}

/// A heading of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where and how the server listens.
    Server,
    /// Where the data are.
    Storage,
    /// What tokens say and how long they live.
    Tokens,
    /// What signs them.
    Keys,
    /// How passwords are hashed.
    Passwords,
    /// How guessing is slowed down.
    Limits,
    /// What is logged, measured and traced.
    Telemetry,
}

impl Group {
    /// All headings, in the order of the reference.
    pub const ALL: &'static [Self] = &[
        Self::Server,
        Self::Storage,
        Self::Tokens,
        Self::Keys,
        Self::Passwords,
        Self::Limits,
        Self::Telemetry,
    ];

    /// The heading's text.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Storage => "Storage",
            Self::Tokens => "Tokens",
            Self::Keys => "Keys",
            Self::Passwords => "Passwords",
            Self::Limits => "Limits",
            Self::Telemetry => "Logs, metrics and traces",
        }
    }
}

macro_rules! settings {
    ($($key:ident $name:literal $group:ident $secrecy:ident;
        takes $takes:literal; default $default:expr; $about:literal)+) => {
        /// A setting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key {
            $(#[doc = $about] $key),+
        }

        impl Key {
            /// All settings, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$key),+];

            /// What is known about this setting.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$key => Entry {
                        name: $name,
                        group: Group::$group,
                        default: $default,
                        secrecy: Secrecy::$secrecy,
                        takes: $takes,
                        about: $about,
                    }),+
                }
            }
        }
    };
}

use Fallback::{Unset, Value};

settings! {
    Environment "ENVIRONMENT" Server Open;
        takes "`development`, `test`, `staging` or `production`"; default Value("development");
        "Where the server runs. `production` refuses to start on settings that are unsafe in earnest, such as plain HTTP without `TRUSTED_PROXIES`, or `JWT_ISSUER` left unset; and what signs in, refreshes, revokes or introspects has to come over HTTPS. Read without the prefix too."
    Host "HOST" Server Open;
        takes "an IP address, or `localhost`"; default Value("127.0.0.1");
        "The address to listen on. `0.0.0.0` is every IPv4 address of the machine."
    Port "PORT" Server Open;
        takes "0 to 65535"; default Value("8003");
        "The port to listen on; 0 takes any free one. Read without the prefix too."
    BasePath "BASE_PATH" Server Open;
        takes "a path such as `/auth`"; default Unset("no prefix");
        "A prefix under which every route is served as well, for clients whose base URL ends in one."
    TrustedProxies "TRUSTED_PROXIES" Server Open;
        takes "networks such as `10.0.0.0/8`, separated by commas"; default Unset("nobody is trusted");
        "The proxies before this server. What they say about where a request came from is believed; what anybody else says is not. Whole networks: `10.0.0.1/8` is refused."
    ClientAddressHeader "CLIENT_ADDRESS_HEADER" Server Open;
        takes "`x-forwarded-for` or `forwarded`"; default Value("x-forwarded-for");
        "The one header that trusted proxies write the client's address into: `X-Forwarded-For` with `X-Forwarded-Proto`, or `Forwarded` (RFC 7239). The other one is not read, since a proxy passes it on as the client wrote it."
    Workers "WORKERS" Server Open;
        takes "1 to 256"; default Unset("one for each CPU core");
        "How many threads serve requests."
    ShutdownTimeout "SHUTDOWN_TIMEOUT" Server Open;
        takes "seconds, 0 to 3600"; default Value("30");
        "How long a shutdown waits for requests that have begun, once nothing new is let in."
    DrainDelay "DRAIN_DELAY" Server Open;
        takes "seconds, 0 to 3600"; default Value("0");
        "How long after SIGTERM the server goes on as before, but for `/ready`, which answers 503 at once: so that whoever passes requests on has noticed before the shutdown begins. Twice the interval of the probes of `/ready` is enough. A second SIGTERM, or SIGINT, ends it."
    RequestTimeout "REQUEST_TIMEOUT" Server Open;
        takes "seconds, 1 to 300"; default Value("10");
        "How long a request may go without an answer before that is 503. A sign-in, a refresh or a revocation that has been begun is waited for, and never begun by the database later than half of it. More than `HASHING_DEADLINE` and `FAILED_LOGIN_FLOOR` together."
    MaxConnections "MAX_CONNECTIONS" Server Open;
        takes "1 to 1000000"; default Value("10000");
        "How many connections may be open; one more is closed at once."
    MaxConnectionsPerAddress "MAX_CONNECTIONS_PER_ADDRESS" Server Open;
        takes "1 to 1000000"; default Value("1024");
        "How many of them one address may have (an IPv6 /64 counts as one). `TRUSTED_PROXIES` are not held to it."
    MaxRequestsInHand "MAX_REQUESTS_IN_HAND" Server Open;
        takes "1 to 1000000, or 0"; default Value("1024");
        "How many requests to sign in, refresh, revoke or introspect a worker works on at a time; at most a quarter of them sign-ins. One more is answered 503 with `Retry-After` before anything has been begun for it, so that whoever is served waits no longer than for these. A client that drops its tokens at any failed refresh, as the CodeLab Flutter application does, is signed out by that: don't set it lower than what comes while a disk is slow for a moment. All workers together have 4096 places in the queue of the database; 0 is any number."
    TlsCertPath "TLS_CERT_PATH" Server Open;
        takes "a PEM file"; default Unset("plain HTTP");
        "The certificate to serve HTTPS with, and after it those that lead to its issuer. Read again when it changes, and on SIGHUP. `TLS_KEY_PATH` belongs to it."
    TlsKeyPath "TLS_KEY_PATH" Server Open;
        takes "a PEM file"; default Unset("plain HTTP");
        "The private key of that certificate, of mode 0600 or 0640."
    CorsAllowedOrigins "CORS_ALLOWED_ORIGINS" Server Open;
        takes "origins such as `https://app.example.com`, separated by commas, or `*`"; default Unset("none");
        "The origins whose pages may call the server from a browser, and send it cookies (`fetch` with `credentials: 'include'`). The cookie of a known device is `SameSite=Strict`: it comes with them only from pages of the server's own site, such as `https://app.example.com` for `https://auth.example.com`; pages of another site sign in as unknown devices. `*` is every origin, without cookies, and not for production."
    DocsPage "DOCS_PAGE" Server Open;
        takes "`true` or `false`"; default Value("true");
        "Whether `/docs` serves the page to read and try the API on. `/openapi.json` is there in either case."

    DbUrl "DB_URL" Storage Url;
        takes "`sqlite:///FILE` (`sqlite:////FILE` is absolute), or `postgresql://USER:PASSWORD@HOST:5432/DATABASE` with `?sslmode=verify-full` and the like"; default Value("sqlite:///data/auth.db");
        "The database. An SQLite file and its folder are created at the first start; a PostgreSQL database (15 or later) must be there. `postgresql+asyncpg://` and `sqlite+aiosqlite://` are understood as well."
    DbReadUrl "DB_READ_URL" Storage Url;
        takes "`postgresql://...`"; default Unset("everything is read from `DB_URL`");
        "A replica of the PostgreSQL database. It answers what may be a little old: `audit` and lists of users and clients, never a token request. While it is away `DB_URL` does."
    DbReaders "DB_READERS" Storage Open;
        takes "1 to 64"; default Value("4");
        "How many connections read an SQLite database beside the one that writes."
    DbPoolSize "DB_POOL_SIZE" Storage Open;
        takes "1 to 256"; default Value("8");
        "How many connections an instance has to a PostgreSQL server at most, besides four: two that rotate refresh tokens, and two for what has to wait for somebody else. A replica gets half as many. All instances together must stay below the server's `max_connections`."
    AutoMigrate "AUTO_MIGRATE" Storage Open;
        takes "`true` or `false`"; default Value("true");
        "Whether `serve` applies pending migrations before it listens. Where not, `auth-service migrate up` does."
    AuditRetention "AUDIT_RETENTION" Storage Open;
        takes "seconds, 86400 to 315360000, or 0"; default Value("34560000");
        "How long audit rows are kept, 400 days by default; 0 keeps them for ever. Older ones are deleted for good, a few at a time: `audit export` saves them before."
    HousekeepingInterval "HOUSEKEEPING_INTERVAL" Storage Open;
        takes "seconds, 60 to 86400"; default Value("3600");
        "How often the server deletes what need not be kept any more: audit rows past `AUDIT_RETENTION`, refresh tokens and sessions past `EXPIRED_TOKENS_KEPT`, denials of access tokens that have expired. The first time soon after its start; of several instances one at a time."
    HousekeepingBatch "HOUSEKEEPING_BATCH" Storage Open;
        takes "10 to 10000"; default Value("500");
        "How many rows are deleted in one transaction at most. Less makes each shorter, and the whole longer."
    ExpiredTokensKept "EXPIRED_TOKENS_KEPT" Storage Open;
        takes "seconds, 3600 to 31536000"; default Value("604800");
        "How long refresh tokens and sessions are kept after they have expired, 7 days by default."
    ClientCacheLifetime "CLIENT_CACHE_LIFETIME" Storage Open;
        takes "seconds, 0 to 3600"; default Value("300");
        "How long an instance goes by what it has read of a client from a PostgreSQL database; 0 reads it for each request. With `REDIS_URL` the instances hear of a change at once; without, or while Redis is away, a rotated secret or a changed scope is noticed within this time. An SQLite database is always read."
    RedisUrl "REDIS_URL" Storage Url;
        takes "`redis://:PASSWORD@HOST:6379/0` or `unix:///FILE?db=0`"; default Unset("counters are kept in the process");
        "Where several instances share their counters, and hear of changes of clients. Each deployment has a database of its own there. TLS (`rediss://`) is refused."
    RedisTimeout "REDIS_TIMEOUT" Storage Open;
        takes "milliseconds, 5 to 5000"; default Value("50");
        "How long a request waits for Redis at most; after that it is taken for lost, until a probe finds it back."

    JwtIssuer "JWT_ISSUER" Tokens Open;
        takes "an http or https URL without query and fragment, its path of letters, digits, `-`, `_`, `.` and `~`"; default Value("https://auth.codelab.local");
        "The issuer: the `iss` of every token, and the base of the metadata's addresses. `production` wants it set: tokens of another issuer are refused, so all die when it is set later."
    JwtAudience "JWT_AUDIENCE" Tokens Open;
        takes "a text"; default Value("codelab-api");
        "The `aud` of access tokens."
    AccessTokenLifetime "ACCESS_TOKEN_LIFETIME" Tokens Open;
        takes "seconds, 1 to 86400"; default Value("900");
        "How long an access token is valid, for clients created without a lifetime of their own."
    RefreshTokenLifetime "REFRESH_TOKEN_LIFETIME" Tokens Open;
        takes "seconds, 1 to 31622400"; default Value("2592000");
        "How long a refresh token is valid, for clients created without a lifetime of their own."
    ClockSkew "CLOCK_SKEW" Tokens Open;
        takes "seconds, 0 to 300"; default Value("60");
        "How far another machine's clock may be off when a token's times are checked."
    NotBeforeLeeway "NOT_BEFORE_LEEWAY" Tokens Open;
        takes "seconds, 0 to 300"; default Value("5");
        "How long before `iat` the `nbf` of a token lies, for verifiers that allow no clock skew."
    ReuseRevokes "REUSE_REVOKES" Tokens Open;
        takes "`chain` or `user_client`"; default Value("chain");
        "What presenting a consumed refresh token ends: its chain, or every chain of that user at that client."
    PasswordGrantEnabled "PASSWORD_GRANT_ENABLED" Tokens Open;
        takes "`true` or `false`"; default Value("true");
        "Whether the password grant is offered at all."

    KeysDir "KEYS_DIR" Keys Open;
        takes "a folder"; default Value("data/keys");
        "The folder of signing keys, created with a first key at the first start. Not used where `PRIVATE_KEY_PATH` is set."
    PrivateKeyPath "PRIVATE_KEY_PATH" Keys Open;
        takes "a PEM file"; default Unset("keys are kept in `KEYS_DIR`");
        "A given RSA private key, used as it is and never rotated. `PUBLIC_KEY_PATH` belongs to it."
    PublicKeyPath "PUBLIC_KEY_PATH" Keys Open;
        takes "a PEM file"; default Unset("keys are kept in `KEYS_DIR`");
        "The public key that belongs to `PRIVATE_KEY_PATH`."
    KeyId "KEY_ID" Keys Open;
        takes "1 to 64 of `A-Z a-z 0-9 . _ -`"; default Unset("the key's RFC 7638 thumbprint");
        "The `kid` of the given key pair. `2024-01-key-1` takes over the tokens of the older service."
    RsaBits "RSA_BITS" Keys Open;
        takes "`2048`, `3072` or `4096`"; default Value("2048");
        "The size of new signing keys."
    KeyRotationInterval "KEY_ROTATION_INTERVAL" Keys Open;
        takes "seconds, 7200 to 315360000"; default Unset("keys are rotated by `keys rotate` only");
        "How long a key signs before the next one takes over by itself."

    MasterKey "MASTER_KEY" Passwords Secret;
        takes "a password"; default Unset("a random password, printed once");
        "The password of the user `admin` that the first start creates. Not read again afterwards."
    PasswordHash "PASSWORD_HASH" Passwords Open;
        takes "`argon2id` or `bcrypt`"; default Value("argon2id");
        "How new passwords are hashed. Hashes of the other kind go on working, and are replaced at the next sign-in."
    RehashLegacyPasswords "REHASH_LEGACY_PASSWORDS" Passwords Open;
        takes "`true` or `false`"; default Value("true");
        "Whether a sign-in replaces a bcrypt hash. `false` leaves those of the older service as they are, while it may have to take over again; new passwords are hashed by `PASSWORD_HASH` all the same."
    PasswordPolicy "PASSWORD_POLICY" Passwords Open;
        takes "`classic` or `nist`"; default Value("classic");
        "What is asked of new passwords. `classic`: at least 8 characters, of four kinds. `nist`: at least 15 of any kind (SP 800-63B-4). Neither takes one that many people use, or the user's own name."
    HashingThreads "HASHING_THREADS" Passwords Open;
        takes "1 to 64"; default Unset("one less than there are CPU cores, but one at least");
        "How many passwords are hashed at once. A core without hashing keeps all else quick under a flood of sign-ins."
    HashingQueue "HASHING_QUEUE" Passwords Open;
        takes "1 to 10000"; default Value("4");
        "How many more may wait; beyond that the answer is 503 at once."
    HashingDeadline "HASHING_DEADLINE" Passwords Open;
        takes "milliseconds, 1 to 60000"; default Value("2000");
        "How long each may wait; one that has waited for longer is not hashed, and answered by 503."
    FailedLoginFloor "FAILED_LOGIN_FLOOR" Passwords Open;
        takes "milliseconds, 0 to 10000"; default Value("500");
        "The shortest time in which a failed sign-in is answered, so that the time tells nobody which names exist or whose hash is of the older kind. It should be more than the dearest stored hash takes."

    EnableRateLimiting "ENABLE_RATE_LIMITING" Limits Open;
        takes "`true` or `false`"; default Value("true");
        "Whether any of the limits below holds."
    RateLimitPerIp "RATE_LIMIT_PER_IP" Limits Open;
        takes "1 to 1000000"; default Value("5");
        "Password grants a minute from one address (an IPv6 /64 counts as one)."
    RateLimitPerUsername "RATE_LIMIT_PER_USERNAME" Limits Open;
        takes "1 to 1000000"; default Value("10");
        "Password grants an hour for one user name."
    BruteForceThreshold "BRUTE_FORCE_THRESHOLD" Limits Open;
        takes "1 to 1000000"; default Value("5");
        "Failures that lock a user name."
    BruteForceThresholdPerIp "BRUTE_FORCE_THRESHOLD_PER_IP" Limits Open;
        takes "1 to 1000000"; default Value("10");
        "Failures that lock an address."
    BruteForceLockoutDuration "BRUTE_FORCE_LOCKOUT_DURATION" Limits Open;
        takes "seconds, 1 to 86400"; default Value("900");
        "How long a lock lasts."
    RefreshRateLimit "REFRESH_RATE_LIMIT" Limits Open;
        takes "1 to 100000000"; default Value("6000");
        "Refresh grants a minute from one address."
    RateLimitExemptNetworks "RATE_LIMIT_EXEMPT_NETWORKS" Limits Open;
        takes "networks such as `192.0.2.0/24`, separated by commas"; default Unset("none");
        "Networks that the limits by address do not hold for. Those by user name do."

    KnownDevices "KNOWN_DEVICES" Limits Open;
        takes "`true` or `false`"; default Value("true");
        "Whether a device that somebody has signed in from keeps a budget of its own for that account, so that guesses from elsewhere lock its owner out of nothing. The client shows it by a cookie; one that keeps none shares the account's budget."
    DeviceLifetime "DEVICE_LIFETIME" Limits Open;
        takes "seconds, 60 to 31622400"; default Value("15552000");
        "How long a device is known after the last sign-in from it."
    DeviceSecret "DEVICE_SECRET" Limits Secret;
        takes "64 hexadecimal digits, the same for all instances"; default Unset("the file `device.secret` in `KEYS_DIR`, made at the first start; with `PRIVATE_KEY_PATH`, derived from that key");
        "What the cookies of known devices are sealed with. Needed where instances share no folder of keys."

    LogLevel "LOG_LEVEL" Telemetry Open;
        takes "`error`, `warn`, `info`, `debug` or `trace`, and levels of modules: `info,auth_storage=debug,actix_server=error`"; default Value("info");
        "The least severe log line that is written; of a module that is named, by its own level. The modules are `auth_server`, `auth_storage`, `auth_redis`, `auth_jwt`, `auth_password`, `auth_domain`, those within them, and a few libraries, of which no more than `info` can be had. Any case; `WARNING` and `CRITICAL` are read as well."
    LogFormat "LOG_FORMAT" Telemetry Open;
        takes "`json`, `text` or `auto`"; default Value("auto");
        "How log lines are written; `auto` is text on a terminal and JSON elsewhere."
    MetricsAddr "METRICS_ADDR" Telemetry Open;
        takes "an address and port such as `127.0.0.1:9464`; port 0 takes any free one"; default Unset("`/metrics` is where everything else is");
        "A listener of its own for operators and their machines: `/metrics`, `/health`, `/ready` and `/live`, over plain HTTP, to be reached from inside only. `/metrics` is there alone then; the others are in both places."
    OtlpEndpoint "OTLP_ENDPOINT" Telemetry Open;
        takes "a URL such as `http://127.0.0.1:4317`"; default Unset("no traces");
        "The OpenTelemetry collector that traces are sent to. By `http`, `/v1/traces` is put behind it where it is not there. Of `https://`, the certificates that the system trusts are, or those in the file named by `SSL_CERT_FILE`."
    OtlpProtocol "OTLP_PROTOCOL" Telemetry Open;
        takes "`grpc` or `http`"; default Value("grpc");
        "How the collector is spoken to: OTLP/gRPC (port 4317 as a rule) or OTLP/HTTP (4318)."
    OtlpHeaders "OTLP_HEADERS" Telemetry Secret;
        takes "`name=value`, separated by commas"; default Unset("none");
        "Headers that the collector wants to see, such as a key. Sent as they stand here."
    TraceSampleRatio "TRACE_SAMPLE_RATIO" Telemetry Open;
        takes "0 to 1"; default Value("1");
        "The share of requests that are traced, of those whose caller has not decided: one that comes with a `traceparent` is traced where that says so."
}

impl Key {
    /// The setting of that name, written as after the prefix.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.entry().name == name)
    }

    /// The name that is most like a text, where one is like it at all: what was probably meant.
    pub fn nearest(text: &str) -> Option<&'static str> {
        let text = text.to_ascii_uppercase();
        Self::ALL
            .iter()
            .map(|key| key.entry().name)
            .map(|name| (strsim::normalized_damerau_levenshtein(name, &text), name))
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, name)| name)
    }
}
