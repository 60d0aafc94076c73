use std::ffi::OsString;
use std::path::{Path, PathBuf};

use auth_domain::password::{HashScheme, LegacyHashes};
use auth_domain::token_service::{PasswordGrant, ReuseRevokes};
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::*;
use crate::telemetry::traces::Protocol;

fn environment(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        ..Sources::default()
    }
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn load(variables: &[(&str, &str)]) -> Settings {
    Settings::load(&environment(variables)).unwrap()
}

fn complaint(variables: &[(&str, &str)]) -> String {
    Settings::load(&environment(variables)).unwrap_err().to_string()
}

#[test]
fn without_any_setting_everything_has_its_default() {
    let settings = load(&[]);
    assert_eq!(settings.listen.address().to_string(), "127.0.0.1:8003");
    assert_eq!(settings.database.url.path(), Some(Path::new("data/auth.db")));
    assert_eq!(settings.keys.place, KeyPlace::Folder("data/keys".into()));
    assert_eq!(settings.limits, Some(Limits::default()));
    assert_eq!(settings.passwords.scheme, HashScheme::OWASP_ARGON2ID);
    assert_eq!(settings.tokens.password_grant, PasswordGrant::Offered);
    assert_eq!(settings.tokens.issuer.url, "https://auth.codelab.local");
    assert_eq!(settings.tokens.access_lifetime, Seconds::new(900));
    assert_eq!(settings.tokens.refresh_lifetime, Seconds::new(2_592_000));
    assert!(settings.warnings.is_empty());
}

#[test]
fn devices_are_known_for_half_a_year_by_a_secret_that_lies_beside_the_keys() {
    let devices = load(&[]).devices.unwrap();
    assert_eq!(devices.lifetime, Seconds::new(180 * 86_400));
    assert!(devices.secret.is_none());
    let devices = load(&[
        ("AUTH_SERVICE__DEVICE_LIFETIME", "60"),
        ("AUTH_SERVICE__DEVICE_SECRET", &"0a".repeat(32)),
    ]);
    let devices = devices.devices.unwrap();
    assert_eq!(devices.lifetime, Seconds::new(60));
    assert!(devices.secret.is_some());
}

#[rstest]
#[case("AUTH_SERVICE__KNOWN_DEVICES")]
#[case("AUTH_SERVICE__ENABLE_RATE_LIMITING")]
fn no_device_is_known_where_that_or_every_limit_is_switched_off(#[case] name: &str) {
    assert!(load(&[(name, "false")]).devices.is_none());
}

#[test]
fn a_secret_of_devices_that_is_none_is_refused_and_not_repeated() {
    for secret in ["pencil", &"g".repeat(64), &"a".repeat(63)] {
        let complaint = complaint(&[("AUTH_SERVICE__DEVICE_SECRET", secret)]);
        assert!(
            complaint.contains("AUTH_SERVICE__DEVICE_SECRET: must be 64 hexadecimal digits"),
            "{complaint}"
        );
        assert!(!complaint.contains(secret), "{complaint}");
    }
}

#[rstest]
#[case(None, LegacyHashes::Replaced)]
#[case(Some("true"), LegacyHashes::Replaced)]
#[case(Some("false"), LegacyHashes::Kept)]
fn bcrypt_hashes_give_way_unless_a_trial_asks_for_them(
    #[case] given: Option<&str>,
    #[case] expected: LegacyHashes,
) {
    let variables: Vec<_> = given
        .map(|value| ("AUTH_SERVICE__REHASH_LEGACY_PASSWORDS", value))
        .into_iter()
        .collect();
    assert_eq!(load(&variables).passwords.legacy, expected);
}

#[rstest]
#[case(None, Some(400 * 86_400))]
#[case(Some("0"), None)]
#[case(Some("86400"), Some(86_400))]
fn audit_rows_are_kept_for_400_days_or_as_long_as_is_said(
    #[case] given: Option<&str>,
    #[case] kept: Option<u32>,
) {
    let variables: Vec<_> = given
        .map(|value| ("AUTH_SERVICE__AUDIT_RETENTION", value))
        .into_iter()
        .collect();
    let settings = load(&variables);
    assert_eq!(settings.housekeeping.audit_retention, kept.map(Seconds::new));
    assert_eq!(settings.housekeeping.interval, Duration::from_hours(1));
}

#[rstest]
#[case("400")]
#[case("86399")]
#[case("-1")]
#[case("315360001")]
#[case("400d")]
fn a_retention_of_less_than_a_day_is_taken_for_a_mistake(#[case] value: &str) {
    let complaint = complaint(&[("AUTH_SERVICE__AUDIT_RETENTION", value)]);
    assert!(
        complaint.contains("must be 0, which keeps for ever"),
        "{complaint}"
    );
}

#[test]
fn every_name_of_the_table_is_unique_and_found() {
    for key in Key::ALL {
        assert_eq!(Key::named(key.entry().name), Some(*key));
    }
}

#[test]
fn the_settings_of_the_older_service_are_understood() {
    let settings = load(&[
        (
            "AUTH_SERVICE__DB_URL",
            "sqlite+aiosqlite:////var/lib/auth/auth.db",
        ),
        ("AUTH_SERVICE__JWT_ISSUER", "https://auth.example.com"),
        ("AUTH_SERVICE__JWT_AUDIENCE", "api"),
        ("AUTH_SERVICE__ACCESS_TOKEN_LIFETIME", "600"),
        ("AUTH_SERVICE__REFRESH_TOKEN_LIFETIME", "86400"),
        ("AUTH_SERVICE__PRIVATE_KEY_PATH", "/keys/private.pem"),
        ("AUTH_SERVICE__PUBLIC_KEY_PATH", "/keys/public.pem"),
        ("AUTH_SERVICE__MASTER_KEY", "a-long-master-key"),
        ("AUTH_SERVICE__ENABLE_RATE_LIMITING", "True"),
        ("AUTH_SERVICE__RATE_LIMIT_PER_IP", "7"),
        ("AUTH_SERVICE__RATE_LIMIT_PER_USERNAME", "8"),
        ("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD", "9"),
        ("AUTH_SERVICE__BRUTE_FORCE_LOCKOUT_DURATION", "10"),
        ("AUTH_SERVICE__LOG_LEVEL", "WARNING"),
        ("ENVIRONMENT", "staging"),
        ("PORT", "9003"),
    ]);
    assert_eq!(
        settings.database.url.path(),
        Some(Path::new("/var/lib/auth/auth.db"))
    );
    assert_eq!(settings.tokens.issuer.audience, "api");
    assert_eq!(settings.tokens.access_lifetime, Seconds::new(600));
    let pair = KeyPlace::Pair {
        private: "/keys/private.pem".into(),
        public: "/keys/public.pem".into(),
        kid: None,
    };
    assert_eq!(settings.keys.place, pair);
    let limits = settings.limits.unwrap();
    assert_eq!((limits.logins_per_network, limits.logins_per_account), (7, 8));
    assert_eq!(
        (limits.failures_per_account, limits.lockout),
        (9, Seconds::new(10))
    );
    assert_eq!(settings.log.levels.all, LogLevel::Warn);
    assert_eq!(
        (settings.environment, settings.listen.port),
        (Environment::Staging, 9003)
    );
    assert_eq!(
        settings.passwords.master_key.unwrap().expose(),
        "a-long-master-key"
    );
}

#[rstest]
#[case(
    "AUTH_SERVICE__ACCESS_TOKEN_LIFETIM",
    "10",
    "did you mean AUTH_SERVICE__ACCESS_TOKEN_LIFETIME?"
)]
#[case(
    "AUTH_SERVICE__access_token_lifetime",
    "10",
    "did you mean AUTH_SERVICE__ACCESS_TOKEN_LIFETIME?"
)]
#[case("AUTH_SERVICE__QQQQ", "", "`auth-service config reference`")]
#[case("AUTH_SERVICE__PORT_FILE", "/port", "is not a setting")]
#[case("AUTH_SERVICE__MASTER_KEY_FILE", "/does/not/exist", "can't be read")]
#[case(
    "AUTH_SERVICE__ACCESS_TOKEN_LIFETIME",
    "15m",
    "'15m' must be a whole number of seconds from 1 to 86400"
)]
#[case("AUTH_SERVICE__ACCESS_TOKEN_LIFETIME", "0", "from 1 to 86400")]
#[case("PORT", "80030", "must be a whole number from 0 to 65535")]
#[case("ENVIRONMENT", "prod", "development, test, staging, production")]
#[case("AUTH_SERVICE__HOST", "example.com", "must be an IP address")]
#[case(
    "AUTH_SERVICE__DB_URL",
    "postgresql+asyncpg://u:pencil@h",
    "a PostgreSQL URL names its database"
)]
#[case("AUTH_SERVICE__DB_URL", "mysql://h/db", "sqlite:///relative/path")]
#[case("AUTH_SERVICE__DB_URL", "sqlite:///", "names a file")]
#[case("AUTH_SERVICE__DB_URL", "sqlite:///data/", "sqlite:///relative/path")]
#[case("AUTH_SERVICE__DB_URL", "sqlite:///a.db?mode=ro", "takes no parameters")]
#[case("AUTH_SERVICE__JWT_ISSUER", "auth.example.com", "RFC 8414 section 2")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://h/?a", "RFC 8414 section 2")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https:///a", "RFC 8414 section 2")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://u@h", "RFC 8414 section 2")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://h/{a", "its path of letters")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://h/{a}", "its path of letters")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://h/a*", "its path of letters")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://h/%61", "its path of letters")]
#[case("AUTH_SERVICE__JWT_ISSUER", "https://h/a/../b", "its path of letters")]
#[case("AUTH_SERVICE__BASE_PATH", "/{a", "must be a path")]
#[case("AUTH_SERVICE__BASE_PATH", "/{a}", "must be a path")]
#[case("AUTH_SERVICE__BASE_PATH", "auth", "must be a path")]
#[case("AUTH_SERVICE__BASE_PATH", "/a/../b", "must be a path")]
#[case("AUTH_SERVICE__REUSE_REVOKES", "all", "chain, user_client")]
#[case("AUTH_SERVICE__PASSWORD_HASH", "md5", "argon2id, bcrypt")]
#[case("AUTH_SERVICE__RSA_BITS", "1024", "2048, 3072, 4096")]
#[case("AUTH_SERVICE__TRUSTED_PROXIES", "10.0.0.0/40", "'10.0.0.0/40' is none")]
#[case("AUTH_SERVICE__TRUSTED_PROXIES", ",", "must be networks")]
#[case("AUTH_SERVICE__ENABLE_RATE_LIMITING", "maybe", "must be true or false")]
#[case("AUTH_SERVICE__MASTER_KEY", "short", "at least 8 characters")]
#[case("AUTH_SERVICE__PRIVATE_KEY_PATH", "/k.pem", "needs PUBLIC_KEY_PATH")]
#[case("AUTH_SERVICE__PUBLIC_KEY_PATH", "/k.pem", "needs PRIVATE_KEY_PATH")]
#[case("AUTH_SERVICE__KEY_ID", "k1", "PRIVATE_KEY_PATH, which is not set")]
#[case("AUTH_SERVICE__KEY_ID", "../k1", "letters, digits")]
#[case(
    "AUTH_SERVICE__DB_READ_URL",
    "postgresql://h/db",
    "goes with a PostgreSQL database in DB_URL"
)]
#[case("AUTH_SERVICE__CORS_ALLOWED_ORIGINS", "null", "'null' is none")]
#[case(
    "AUTH_SERVICE__CLIENT_ADDRESS_HEADER",
    "x-real-ip",
    "x-forwarded-for, forwarded"
)]
#[case("AUTH_SERVICE__RATE_LIMIT_EXEMPT_NETWORKS", "our office", "must be networks")]
#[case("AUTH_SERVICE__REQUEST_TIMEOUT", "0", "from 1 to 300")]
#[case("AUTH_SERVICE__MAX_CONNECTIONS", "0", "from 1 to 1000000")]
#[case("AUTH_SERVICE__MAX_CONNECTIONS_PER_ADDRESS", "many", "from 1 to 1000000")]
#[case("AUTH_SERVICE__METRICS_ADDR", "9464", "an IP address and a port")]
#[case(
    "AUTH_SERVICE__METRICS_ADDR",
    "127.0.0.1:8003",
    "must differ from HOST and PORT together"
)]
#[case("AUTH_SERVICE__DRAIN_DELAY", "soon", "from 0 to 3600")]
#[case("AUTH_SERVICE__LOG_LEVEL", "loud", "must be one of: error, warn, info")]
#[case("AUTH_SERVICE__LOG_LEVEL", "info,auth_storage=loud", "must be one of: error")]
#[case(
    "AUTH_SERVICE__LOG_LEVEL",
    "info,auth_store=debug",
    "a module 'auth_store' that logs nothing"
)]
#[case("AUTH_SERVICE__LOG_LEVEL", "info,debug", "two levels for all modules")]
#[case("AUTH_SERVICE__LOG_LEVEL", "info,h2=trace", "h2 for more than info")]
#[case(
    "AUTH_SERVICE__OTLP_ENDPOINT",
    "127.0.0.1:4317",
    "must be a URL such as http://127.0.0.1:4317"
)]
#[case("AUTH_SERVICE__OTLP_ENDPOINT", "http://:4317", "must be a URL such as")]
#[case("AUTH_SERVICE__OTLP_PROTOCOL", "thrift", "grpc, http")]
#[case("AUTH_SERVICE__OTLP_HEADERS", "x-key", "must be headers as they are sent")]
#[case(
    "AUTH_SERVICE__OTLP_HEADERS",
    "x key=pencil",
    "must be headers as they are sent"
)]
#[case("AUTH_SERVICE__OTLP_HEADERS", "x-key=pencil", "goes with OTLP_ENDPOINT")]
#[case("AUTH_SERVICE__TRACE_SAMPLE_RATIO", "5%", "must be a number from 0 to 1")]
#[case("AUTH_SERVICE__TRACE_SAMPLE_RATIO", "NaN", "must be a number from 0 to 1")]
fn a_wrong_setting_is_named_with_what_would_be_right(
    #[case] name: &str,
    #[case] value: &str,
    #[case] advice: &str,
) {
    let complaint = complaint(&[(name, value)]);
    assert!(complaint.starts_with(name), "{complaint}");
    assert!(complaint.contains(advice), "{complaint}");
    assert!(!complaint.contains("pencil"), "{complaint}");
}

#[test]
fn a_settings_file_that_is_not_there_is_named() {
    let complaint = complaint(&[("AUTH_SERVICE__CONFIG_FILE", "/does/not/exist.toml")]);
    assert!(
        complaint.starts_with("/does/not/exist.toml: the settings file can't be read"),
        "{complaint}"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let complaint = complaint(&[
        ("PORT", "x"),
        ("AUTH_SERVICE__WORKERS", "0"),
        ("AUTH_SERVICE__LOG_LEVEL", "loud"),
    ]);
    assert_eq!(complaint.lines().count(), 3, "{complaint}");
}

#[test]
fn a_variable_with_an_empty_value_counts_as_not_set() {
    let settings = load(&[
        ("AUTH_SERVICE__REDIS_URL", ""),
        ("AUTH_SERVICE__PORT", ""),
        ("PORT", ""),
    ]);
    assert_eq!(settings.listen.port, 8003);
    assert!(settings.warnings.is_empty());
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        folder.path(),
        "a.toml",
        "port = 1001\nworkers = 3\nhost = \"::1\"\n",
    );
    let mut sources = environment(&[("PORT", "1002"), ("AUTH_SERVICE__WORKERS", "4")]);
    sources.config_file = Some(path);
    let settings = Settings::load(&sources).unwrap();
    assert_eq!((settings.listen.port, settings.listen.workers), (1002, Some(4)));
    assert_eq!(settings.listen.host.to_string(), "::1");

    sources
        .environment
        .push(("AUTH_SERVICE__PORT".into(), "1003".into()));
    assert_eq!(Settings::load(&sources).unwrap().listen.port, 1003);

    sources.flags.push(Flag {
        key: Key::Port,
        value: "1004".to_owned(),
        written: "--port",
    });
    assert_eq!(Settings::load(&sources).unwrap().listen.port, 1004);
}

#[test]
fn a_settings_file_may_hold_texts_numbers_truths_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    let text = "jwt_audience = \"api\"\nclock_skew = 0\npassword_grant_enabled = false\n\
                trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nreuse_revokes = 'user_client'\n";
    let path = file(folder.path(), "a.toml", text);
    let settings = load(&[("AUTH_SERVICE__CONFIG_FILE", path.to_str().unwrap())]);
    assert_eq!(settings.tokens.issuer.audience, "api");
    assert_eq!(settings.tokens.issuer.clock_skew, Seconds::ZERO);
    assert_eq!(settings.tokens.password_grant, PasswordGrant::Off);
    assert_eq!(settings.tokens.reuse_revokes, ReuseRevokes::UserClient);
    assert_eq!(settings.listen.trust.proxies.len(), 2);
}

#[rstest]
#[case(
    "acess_token_lifetime = 9",
    "acess_token_lifetime in",
    "did you mean access_token_lifetime?"
)]
#[case("PORT = 9", "PORT in", "did you mean port?")]
#[case("[server]\nport = 9", "server in", "is not a setting")]
#[case("port = [9]", "port in", "must be a text, a number")]
#[case("port = 'x'", "port in", "from 0 to 65535")]
#[case("host = '::1'\nmaster_key = pencil", "a.toml, line 2", "is not valid TOML")]
fn a_wrong_line_of_a_settings_file_is_named(#[case] text: &str, #[case] place: &str, #[case] advice: &str) {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources {
        config_file: Some(file(folder.path(), "a.toml", text)),
        ..Sources::default()
    };
    let complaint = Settings::load(&sources).unwrap_err().to_string();
    assert!(
        complaint.contains(place) && complaint.contains(advice),
        "{complaint}"
    );
    assert!(!complaint.contains("pencil"), "{complaint}");
}

#[test]
fn a_secret_may_come_from_a_file_but_not_from_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "master", "Correct-Horse-7\n");
    let variable = ("AUTH_SERVICE__MASTER_KEY_FILE", path.to_str().unwrap());
    let settings = load(&[variable]);
    assert_eq!(settings.passwords.master_key.unwrap().expose(), "Correct-Horse-7");
    let complaint = complaint(&[variable, ("AUTH_SERVICE__MASTER_KEY", "Another-Horse-7")]);
    assert!(complaint.contains("is set twice"), "{complaint}");
    assert!(!complaint.contains("Horse"), "{complaint}");
}

#[test]
fn a_settings_file_may_name_the_file_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(folder.path(), "master", "Correct-Horse-7\n");
    let named = format!("master_key_file = '{}'\n", secret.display());
    let path = file(folder.path(), "a.toml", &named);
    let config = ("AUTH_SERVICE__CONFIG_FILE", path.to_str().unwrap());
    let settings = load(&[config]);
    assert_eq!(settings.passwords.master_key.unwrap().expose(), "Correct-Horse-7");
    let over = load(&[config, ("AUTH_SERVICE__MASTER_KEY", "Another-Horse-7")]);
    assert_eq!(over.passwords.master_key.unwrap().expose(), "Another-Horse-7");

    for (text, said) in [
        (
            format!("{named}master_key = 'Another-Horse-7'\n"),
            "is set twice: remove it or master_key",
        ),
        (
            "master_key_file = '/does/not/exist'".to_owned(),
            "master_key_file in",
        ),
        ("port_file = '/port'".to_owned(), "is not a setting"),
        (
            "MASTER_KEY_FILE = '/port'".to_owned(),
            "did you mean master_key_file?",
        ),
    ] {
        let path = file(folder.path(), "a.toml", &text);
        let complaint = complaint(&[("AUTH_SERVICE__CONFIG_FILE", path.to_str().unwrap())]);
        assert!(complaint.contains(said), "{complaint}");
        assert!(!complaint.contains("Horse"), "{complaint}");
    }
}

#[test]
fn a_key_pair_goes_with_its_own_name_and_without_rotation() {
    let pair = [
        ("AUTH_SERVICE__PRIVATE_KEY_PATH", "/a.pem"),
        ("AUTH_SERVICE__PUBLIC_KEY_PATH", "/b.pem"),
        ("AUTH_SERVICE__KEY_ID", "2024-01-key-1"),
    ];
    let KeyPlace::Pair { kid, .. } = load(&pair).keys.place else {
        panic!("a pair")
    };
    assert_eq!(kid.map(|kid| kid.to_string()).as_deref(), Some("2024-01-key-1"));
    let mut rotating = pair.to_vec();
    rotating.push(("AUTH_SERVICE__KEY_ROTATION_INTERVAL", "7776000"));
    assert!(complaint(&rotating).contains("never rotated"));
}

#[test]
fn redis_is_read_and_named_where_it_has_nothing_to_do() {
    let url = ("AUTH_SERVICE__REDIS_URL", "redis://:pencil@h/0");
    let settings = load(&[url, ("AUTH_SERVICE__REDIS_TIMEOUT", "120")]);
    assert_eq!(
        settings.redis.map(|redis| redis.timeout),
        Some(Duration::from_millis(120))
    );
    assert!(settings.warnings.is_empty());
    assert!(load(&[]).redis.is_none());
    let no_limits = ("AUTH_SERVICE__ENABLE_RATE_LIMITING", "false");
    let idle = load(&[url, no_limits]);
    let warnings: Vec<_> = idle.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("AUTH_SERVICE__REDIS_URL") && !warnings[0].contains("pencil"));
    let across_a_network = ("AUTH_SERVICE__DB_URL", "postgresql://h/auth");
    assert!(load(&[url, no_limits, across_a_network]).warnings.is_empty());
}

#[test]
fn clients_are_remembered_where_the_database_is_across_a_network() {
    let postgresql = ("AUTH_SERVICE__DB_URL", "postgresql://h/auth");
    let lifetime = |seconds| ("AUTH_SERVICE__CLIENT_CACHE_LIFETIME", seconds);
    for (set, remembered) in [
        (vec![postgresql], Some(300)),
        (vec![postgresql, lifetime("20")], Some(20)),
        (vec![postgresql, lifetime("0")], None),
        (vec![lifetime("20")], None),
        (vec![], None),
    ] {
        let client_cache = load(&set).database.client_cache;
        assert_eq!(client_cache.map(Seconds::get), remembered, "{set:?}");
    }
    assert!(complaint(&[lifetime("3601")]).contains("CLIENT_CACHE_LIFETIME"));
}

#[test]
fn a_redis_that_can_not_be_used_as_told_stops_the_start() {
    for (url, right) in [
        ("rediss://:pencil@h:6380/0", "TLS"),
        ("http://pencil", "must be a URL such as redis://"),
    ] {
        let complaint = complaint(&[("AUTH_SERVICE__REDIS_URL", url)]);
        assert!(
            complaint.contains(right) && !complaint.contains("pencil"),
            "{complaint}"
        );
    }
}

fn serving<T: AsRef<str>>(variables: &[(T, T)]) -> Result<Settings, WrongSettings> {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect();
    Settings::load_to_serve(&environment(&variables))
}

#[test]
fn plain_http_beyond_this_machine_is_warned_of() {
    let open = ("AUTH_SERVICE__HOST", "0.0.0.0");
    let warnings = load(&[open]).warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].place, "AUTH_SERVICE__HOST");
    assert_eq!(
        load(&[open, ("AUTH_SERVICE__TRUSTED_PROXIES", "10.0.0.1")]).warnings,
        []
    );
    assert_eq!(load(&[("AUTH_SERVICE__HOST", "::1")]).warnings, []);
}

/// What production needs at the least.
const IN_EARNEST: [(&str, &str); 3] = [
    ("ENVIRONMENT", "production"),
    ("AUTH_SERVICE__TRUSTED_PROXIES", "10.0.0.1, fd00::/8"),
    ("AUTH_SERVICE__JWT_ISSUER", "https://auth.example.com"),
];

#[test]
fn production_needs_https_or_a_proxy_that_has_it() {
    let said = serving(&[("ENVIRONMENT", "production")]).unwrap_err().to_string();
    assert!(
        said.contains("TLS_CERT_PATH") && said.contains("TRUSTED_PROXIES"),
        "{said}"
    );
    assert_eq!(serving(&IN_EARNEST).unwrap().warnings, []);
    let with_certificate = [
        IN_EARNEST[0],
        IN_EARNEST[2],
        ("AUTH_SERVICE__TLS_CERT_PATH", "/cert.pem"),
        ("AUTH_SERVICE__TLS_KEY_PATH", "/key.pem"),
    ];
    assert!(serving(&with_certificate).is_ok());
    assert!(serving::<&str>(&[]).is_ok());
}

#[test]
fn production_needs_an_issuer_that_somebody_has_set() {
    let mut variables = IN_EARNEST.to_vec();
    variables.retain(|(name, _)| *name != "AUTH_SERVICE__JWT_ISSUER");
    let said = serving(&variables).unwrap_err().to_string();
    assert!(
        said.starts_with("AUTH_SERVICE__JWT_ISSUER: must be set, to the public URL"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
    variables.push(("AUTH_SERVICE__JWT_ISSUER", "https://auth.codelab.local"));
    assert!(serving(&variables).is_ok());
}

#[rstest]
#[case::all_ipv4("TRUSTED_PROXIES", "0.0.0.0/0", "too wide")]
#[case::all_ipv6("TRUSTED_PROXIES", "10.0.0.1,::/0", "too wide")]
#[case::half_of_it("TRUSTED_PROXIES", "128.0.0.0/1", "too wide")]
#[case::exempt("RATE_LIMIT_EXEMPT_NETWORKS", "0.0.0.0/0", "too wide")]
#[case::any_origin("CORS_ALLOWED_ORIGINS", "*", "must list")]
#[case::plain_issuer("JWT_ISSUER", "http://auth.example.com", "https")]
#[case::no_limits("ENABLE_RATE_LIMITING", "false", "must be true")]
#[case::weak_master_key("MASTER_KEY", "Password123!", "weak")]
fn production_refuses_what_is_unsafe_in_earnest(#[case] name: &str, #[case] value: &str, #[case] word: &str) {
    let full = format!("AUTH_SERVICE__{name}");
    let wrong = |environment| {
        let mut variables = IN_EARNEST.to_vec();
        variables.retain(|(name, _)| *name != full && *name != "ENVIRONMENT");
        variables.extend([(full.as_str(), value), ("ENVIRONMENT", environment)]);
        serving(&variables).map(drop)
    };
    let WrongSettings(problems) = wrong("production").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].place, full);
    assert!(problems[0].fault.contains(word), "{}", problems[0].fault);
    assert_eq!(wrong("staging"), Ok(()));
}

#[test]
fn production_warns_of_a_database_that_is_reached_in_clear() {
    let warned = |name: &str, url: &str| {
        let mut variables = IN_EARNEST.to_vec();
        let main = ("AUTH_SERVICE__DB_URL", "postgresql://u:pencil@localhost/db");
        variables.extend([main, (name, url), ("ENVIRONMENT", "production")]);
        let warnings = serving(&variables).unwrap().warnings;
        let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert!(!said.iter().any(|warning| warning.contains("pencil")), "{said:?}");
        said.iter()
            .any(|warning| warning.starts_with(name) && warning.contains("sslmode"))
    };
    assert!(warned(
        "AUTH_SERVICE__DB_READ_URL",
        "postgresql://u:pencil@db.example/db"
    ));
    assert!(!warned(
        "AUTH_SERVICE__DB_READ_URL",
        "postgresql://u:pencil@db.example/db?sslmode=verify-full"
    ));
    assert!(warned(
        "AUTH_SERVICE__DB_URL",
        "postgresql://u:pencil@db.example/db"
    ));
}

#[rstest]
#[case::beside_a_file("sqlite:///data/auth.db", "postgresql://u:pencil@h/db")]
#[case::a_file("postgresql://u:pencil@h/db", "sqlite:///data/auth.db")]
fn only_a_postgresql_database_has_a_replica(#[case] url: &str, #[case] replica: &str) {
    let said = complaint(&[
        ("AUTH_SERVICE__DB_URL", url),
        ("AUTH_SERVICE__DB_READ_URL", replica),
    ]);
    assert!(
        said.starts_with("AUTH_SERVICE__DB_READ_URL: goes with a PostgreSQL"),
        "{said}"
    );
    assert!(!said.contains("pencil"));
}

#[test]
fn production_says_all_that_is_unsafe_at_once() {
    let refused = serving(&[
        ("ENVIRONMENT", "production"),
        ("AUTH_SERVICE__CORS_ALLOWED_ORIGINS", "*"),
        ("AUTH_SERVICE__JWT_ISSUER", "http://auth.example.com"),
        ("AUTH_SERVICE__ENABLE_RATE_LIMITING", "false"),
    ]);
    assert_eq!(refused.unwrap_err().0.len(), 4);
}

#[test]
fn production_says_what_is_unsafe_beside_what_is_wrong() {
    let refused = serving(&[
        ("ENVIRONMENT", "production"),
        ("AUTH_SERVICE__MASTER_KEY", "admin"),
        ("AUTH_SERVICE__WORKERS", "none"),
        ("AUTH_SERVICE__CORS_ALLOWED_ORIGINS", "*"),
        ("AUTH_SERVICE__TRUSTED_PROXIES", "0.0.0.0/0"),
        ("AUTH_SERVICE__ENABLE_RATE_LIMITING", "false"),
    ]);
    let WrongSettings(problems) = refused.unwrap_err();
    let mut places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
    places.sort_unstable();
    let expected = [
        "CORS_ALLOWED_ORIGINS",
        "ENABLE_RATE_LIMITING",
        "JWT_ISSUER",
        "MASTER_KEY",
        "TRUSTED_PROXIES",
        "WORKERS",
    ];
    assert_eq!(places, expected.map(|name| format!("AUTH_SERVICE__{name}")));
}

#[rstest]
#[case::no_limit_of_names(&[("RATE_LIMIT_PER_USERNAME", "1000000"), ("BRUTE_FORCE_THRESHOLD", "1000000")])]
#[case::short_locks(&[("RATE_LIMIT_PER_USERNAME", "1000000"), ("BRUTE_FORCE_LOCKOUT_DURATION", "1")])]
fn production_refuses_limits_that_are_none(#[case] variables: &[(&str, &str)]) {
    let said = serving(&in_earnest_with(variables)).unwrap_err().to_string();
    assert!(
        said.contains("AUTH_SERVICE__RATE_LIMIT_PER_USERNAME: lets strangers guess"),
        "{said}"
    );
}

#[rstest]
#[case(&[("RATE_LIMIT_PER_USERNAME", "500"), ("BRUTE_FORCE_THRESHOLD", "50")], "RATE_LIMIT_PER_USERNAME")]
#[case(&[("RATE_LIMIT_PER_IP", "10000"), ("BRUTE_FORCE_LOCKOUT_DURATION", "1")], "RATE_LIMIT_PER_IP")]
#[case(&[("FAILED_LOGIN_FLOOR", "0")], "FAILED_LOGIN_FLOOR")]
fn production_warns_of_limits_that_are_weak(#[case] variables: &[(&str, &str)], #[case] name: &str) {
    let warnings = serving(&in_earnest_with(variables)).unwrap().warnings;
    let places: Vec<_> = warnings.iter().map(|warning| warning.place.as_str()).collect();
    assert_eq!(places, [format!("AUTH_SERVICE__{name}")]);
}

fn in_earnest_with(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let more = variables
        .iter()
        .map(|(name, value)| owned(&format!("AUTH_SERVICE__{name}"), value));
    let least = IN_EARNEST.iter().map(|(name, value)| owned(name, value));
    least.chain(more).collect()
}

#[test]
fn production_warns_of_what_is_unwise_only() {
    let settings = serving(&in_earnest_with(&[("LOG_LEVEL", "debug")])).unwrap();
    let places: Vec<_> = settings
        .warnings
        .iter()
        .map(|warning| warning.place.as_str())
        .collect();
    assert_eq!(places, ["AUTH_SERVICE__LOG_LEVEL"]);
}

#[test]
fn production_warns_of_metrics_that_whoever_reaches_the_server_reads() {
    let places = |variables: &[(&str, &str)]| -> Vec<String> {
        let warnings = serving(&in_earnest_with(variables)).unwrap().warnings;
        warnings.into_iter().map(|warning| warning.place).collect()
    };
    let open = ("HOST", "0.0.0.0");
    assert_eq!(places(&[open]), ["AUTH_SERVICE__METRICS_ADDR"]);
    assert_eq!(places(&[open, ("METRICS_ADDR", "10.1.2.3:9464")]), [""; 0]);
    assert_eq!(places(&[]), [""; 0], "on loopback alone");
}

#[rstest]
#[case("127.0.0.1:9464", "127.0.0.1:9464")]
#[case("localhost:0", "127.0.0.1:0")]
#[case("[::1]:9464", "[::1]:9464")]
fn operators_have_a_listener_of_their_own_where_one_is_named(#[case] text: &str, #[case] address: &str) {
    let listen = load(&[("AUTH_SERVICE__METRICS_ADDR", text)]).listen;
    assert_eq!(listen.operators, Some(address.parse().unwrap()));
    assert_eq!(load(&[]).listen.operators, None);
}

#[test]
fn a_log_has_a_level_and_modules_have_theirs() {
    let levels = |text: &str| load(&[("AUTH_SERVICE__LOG_LEVEL", text)]).log.levels;
    let of_modules = levels("warn, auth_storage=DEBUG,actix_http=error");
    assert_eq!(
        (of_modules.all, of_modules.most()),
        (LogLevel::Warn, LogLevel::Debug)
    );
    let modules = [("auth_storage", LogLevel::Debug), ("actix_http", LogLevel::Error)];
    assert_eq!(
        of_modules.modules,
        modules.map(|(name, level)| (name.to_owned(), level))
    );
    assert_eq!(levels("auth_server::http=trace").all, LogLevel::Info);
}

#[test]
fn traces_are_sent_where_a_collector_is_named() {
    assert!(load(&[]).traces.is_none());
    let variables = [
        ("AUTH_SERVICE__OTLP_ENDPOINT", "https://collector.example.com"),
        ("AUTH_SERVICE__OTLP_PROTOCOL", "http"),
        ("AUTH_SERVICE__OTLP_HEADERS", "X-Key=pencil=1, tenant=a b"),
        ("AUTH_SERVICE__TRACE_SAMPLE_RATIO", "0.05"),
    ];
    let traces = load(&variables).traces.unwrap();
    assert_eq!(traces.collector.protocol, Protocol::Http);
    assert!((traces.sample_ratio - 0.05).abs() < f64::EPSILON);
    let headers = traces.collector.headers.iter();
    let headers: Vec<_> = headers
        .map(|header| (header.name.as_str(), header.value.expose_secret()))
        .collect();
    assert_eq!(headers, [("x-key", "pencil=1"), ("tenant", "a b")]);
    assert!(!format!("{traces:?}").contains("pencil"), "{traces:?}");
}

#[test]
fn a_certificate_and_its_key_go_together() {
    for (name, other) in [
        ("TLS_CERT_PATH", "TLS_KEY_PATH"),
        ("TLS_KEY_PATH", "TLS_CERT_PATH"),
    ] {
        let said = complaint(&[(&format!("AUTH_SERVICE__{name}"), "/a.pem")]);
        assert!(
            said.contains(&format!("AUTH_SERVICE__{name}: needs {other}")),
            "{said}"
        );
    }
}

#[test]
fn the_audience_of_access_tokens_is_not_that_of_refresh_tokens() {
    let said = complaint(&[
        ("AUTH_SERVICE__JWT_ISSUER", "https://auth.example.com"),
        ("AUTH_SERVICE__JWT_AUDIENCE", "https://auth.example.com"),
    ]);
    assert!(said.contains("must differ from JWT_ISSUER"), "{said}");
}

#[rstest]
#[case::one("https://app.example.com", true)]
#[case::with_a_port("http://localhost:3000", true)]
#[case::address("http://127.0.0.1:3000", true)]
#[case::ipv6("http://[::1]:3000", true)]
#[case::several("https://a.example, https://b.example", true)]
#[case::null("null", false)]
#[case::all_among_others("https://a.example,*", false)]
#[case::wildcard_host("https://*.example.com", false)]
#[case::slash("https://app.example.com/", false)]
#[case::path("https://app.example.com/app", false)]
#[case::query("https://app.example.com?x", false)]
#[case::user("https://a@app.example.com", false)]
#[case::upper_case("https://App.example.com", false)]
#[case::own_port("https://app.example.com:443", false)]
#[case::own_port_of_http("http://app.example.com:80", false)]
#[case::leading_zero("https://app.example.com:0443", false)]
#[case::no_host("https://", false)]
#[case::empty_port("https://a.example:", false)]
#[case::other_scheme("app://a.example", false)]
#[case::long_ipv6("http://[0:0:0:0:0:0:0:1]:3000", false)]
fn origins_are_written_as_browsers_send_them(#[case] text: &str, #[case] is_good: bool) {
    assert_eq!(values::origins(text).is_ok(), is_good);
}

#[test]
fn all_origins_are_a_word_of_their_own() {
    assert_eq!(values::origins("*"), Ok(AllowedOrigins::Any));
    assert_eq!(
        values::origins("https://a.example"),
        Ok(AllowedOrigins::These(vec!["https://a.example".to_owned()]))
    );
}

#[rstest]
#[case("10.0.0.0/8", "10.0.0.0/8")]
#[case("10.0.0.1", "10.0.0.1/32")]
#[case("::ffff:10.0.0.0/104", "10.0.0.0/8")]
#[case("::ffff:10.0.0.1", "10.0.0.1/32")]
#[case("::/0", "::/0")]
#[case("fd00::/8", "fd00::/8")]
fn networks_are_kept_as_addresses_are_compared(#[case] text: &str, #[case] kept: &str) {
    let networks = values::networks(text).unwrap();
    assert_eq!(networks, [kept.parse().unwrap()]);
}

#[test]
fn an_address_with_the_length_of_a_prefix_is_a_slip() {
    let said = complaint(&[("AUTH_SERVICE__TRUSTED_PROXIES", "10.0.0.1/8")]);
    assert!(
        said.contains("the network is 10.0.0.0/8, the address alone 10.0.0.1"),
        "{said}"
    );
}

#[test]
fn a_url_that_may_hold_a_secret_is_refused_without_being_quoted() {
    for (name, value) in [
        ("OTLP_ENDPOINT", "http://user:pencil@127.0.0.1:4317"),
        ("OTLP_ENDPOINT", "user:pencil@127.0.0.1:4317"),
        ("OTLP_ENDPOINT", "https://127.0.0.1:4317/x?token=pencil"),
        ("JWT_ISSUER", "https://user:pencil@auth.example.com"),
        ("JWT_ISSUER", "https://auth.example.com?key=pencil"),
    ] {
        let said = complaint(&[(&format!("AUTH_SERVICE__{name}"), value)]);
        assert!(said.contains(name) && !said.contains("pencil"), "{said}");
    }
}

#[test]
fn a_wrong_value_is_quoted_once() {
    for (name, value) in [
        ("CORS_ALLOWED_ORIGINS", "a.b"),
        ("TRUSTED_PROXIES", "a.b"),
        ("PORT", "a.b"),
    ] {
        let said = complaint(&[(&format!("AUTH_SERVICE__{name}"), value)]);
        assert_eq!(said.matches("'a.b'").count(), 1, "{said}");
    }
}

#[test]
fn a_settings_file_is_an_ordinary_file() {
    for path in ["/dev/zero", "/dev/null", "/"] {
        let sources = Sources {
            config_file: Some(path.into()),
            ..Sources::default()
        };
        let said = Settings::load(&sources).unwrap_err().to_string();
        assert!(said.contains("it is no ordinary file"), "{said}");
        let said = complaint(&[("AUTH_SERVICE__MASTER_KEY_FILE", path)]);
        assert!(said.contains("it is no ordinary file"), "{said}");
    }
}

#[rstest]
#[case(&[("AUTH_SERVICE__REQUEST_TIMEOUT", "2")])]
#[case(&[("AUTH_SERVICE__HASHING_DEADLINE", "9500")])]
#[case(&[("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "8000")])]
fn a_sign_in_that_could_not_be_refused_in_time_is_refused_as_a_setting(#[case] variables: &[(&str, &str)]) {
    let complaint = complaint(variables);
    assert!(
        complaint
            .contains("REQUEST_TIMEOUT: must be more than HASHING_DEADLINE and FAILED_LOGIN_FLOOR together"),
        "{complaint}"
    );
}

#[test]
fn a_short_time_for_requests_goes_with_short_times_for_sign_ins() {
    let settings = load(&[
        ("AUTH_SERVICE__REQUEST_TIMEOUT", "1"),
        ("AUTH_SERVICE__HASHING_DEADLINE", "499"),
    ]);
    assert_eq!(settings.listen.request_timeout, Duration::from_secs(1));
}

#[test]
fn limits_can_be_switched_off() {
    assert_eq!(
        load(&[("AUTH_SERVICE__ENABLE_RATE_LIMITING", "false")]).limits,
        None
    );
}

#[rstest]
#[case("postgresql://u:pencil@h:5/db", "postgresql://******@h:5/db")]
#[case("postgresql://u:pen/cil@h/db", "postgresql://******@h/db")]
#[case("sqlite:///data/auth.db", "sqlite:///data/auth.db")]
#[case("redis://h:6379/0", "redis://h:6379/0")]
#[case("u:pencil", "******")]
#[case("redis://:pen?cil@h:6379/0", "redis://******")]
#[case("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=0")]
#[case("unix:///run/redis.sock?db=0&pass=pencil", "unix:///run/redis.sock?******")]
#[case("unix:///run/redis.sock?pass=pen@cil", "unix://******")]
#[case(
    "redis+unix:///run/redis.sock?user=u&pass=pencil",
    "redis+unix:///run/redis.sock?******"
)]
#[case("redis://h:6379/0?password=pencil", "redis://h:6379/0?******")]
#[case("redis://h:6379/0#pencil", "redis://h:6379/0?******")]
fn a_url_is_shown_without_its_password(#[case] url: &str, #[case] shown: &str) {
    assert_eq!(values::mask_url(url), shown);
}

#[test]
fn the_report_names_sources_and_shows_no_secret() {
    let sources = environment(&[
        ("AUTH_SERVICE__MASTER_KEY", "pencil-pencil"),
        ("AUTH_SERVICE__REDIS_URL", "redis://:pencil@h/0"),
        ("PORT", "1"),
    ]);
    let layers = Layers::read(&sources).unwrap();
    let lines = report::effective(&layers);
    let find = |name| lines.iter().find(|line| line.name == name).unwrap();
    assert_eq!(find("PORT").source, "environment, PORT");
    assert_eq!(find("HOST").source, "default");
    assert_eq!(find("MASTER_KEY").value.as_deref(), Some(report::MASK));
    assert_eq!(lines.len(), Key::ALL.len());
    assert!(!format!("{lines:?}{layers:?}{:?}", Settings::load(&sources)).contains("pencil"));
}

#[test]
fn the_reference_in_the_repository_is_the_one_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SETTINGS.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        written,
        reference::markdown(),
        "write it anew: auth-service config reference > docs/SETTINGS.md"
    );
}
