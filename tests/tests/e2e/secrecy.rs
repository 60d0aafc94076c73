//! Nothing secret leaves the server but in the answer it belongs to: not in what it prints, counts, says in errors or
//! stores.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use auth_e2e::client::{Client, FLUTTER, TOKEN, Tokens};
use auth_e2e::http::{Answer, Http};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use auth_e2e::wire;
use auth_testkit::server::{Collector, Durability, PostgresServer, RedisServer};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::database::Database;
use crate::support::everything_in;
use crate::tls::{self, Authority, GOOD};

const PASSWORD: &str = "Analytical-Engine-Mill-1843";
const WRONG_PASSWORD: &str = "Difference-Engine-1822";
const EMAIL: &str = "ada@lovelace.example";
const USERNAME: &str = "ada.king-1815-lovelace";
const CONFIDENTIAL: &str = "back-office";
const REDIS_PASSWORD: &str = "Bernoulli:Numbers/Note-G";
const COLLECTORS_KEY: &str = "Jacquard-Loom-Card-1804";

#[test]
fn nothing_secret_is_ever_printed_counted_traced_or_stored() {
    let collector = Collector::grpc();
    let redis = RedisServer::start();
    let installation = traced(Installation::new().unlimited(), &collector, &redis);
    let server = installation.start();
    let client_secret = register(&installation);
    let mut seen = Seen::default();
    let newest = use_everything(&server.http(), &client_secret, &mut seen);
    server.stop();
    let server = installation.start();
    let tokens = Tokens::of(&Client::flutter(server.http()).refresh(&newest));
    seen.add(&tokens);
    seen.said.push(server.http().get("/metrics").unwrap().text());
    server.stop();

    let printed = installation.printed();
    let printed_once = generated_secret(&printed);
    seen.secrets.extend(
        [
            PASSWORD,
            WRONG_PASSWORD,
            ADMIN_PASSWORD,
            REDIS_PASSWORD,
            COLLECTORS_KEY,
        ]
        .map(str::to_owned),
    );
    seen.secrets.extend([client_secret, printed_once.clone()]);
    seen.secrets.extend(private_keys(&installation));
    if let Ok(sealing) = fs::read_to_string(installation.keys().join("device.secret")) {
        seen.secrets.push(sealing.trim().to_owned());
    }
    let trail = everything_in(&installation.run(&["audit", "export"], "").unwrap());
    assert!(
        trail.contains("login_failed"),
        "there is a trail to look at: {trail}"
    );
    let stored = files_below(installation.directory(), &["keys", "printed.log"]);
    // The search would find something: the address is stored, each sign-in is in the log, and spans have come.
    let spans = text(&collector.raw());
    assert!(stored.contains(EMAIL) && printed.contains("login_success") && spans.contains("sessions.open"));
    assert_eq!(collector.header("x-key").first().unwrap(), COLLECTORS_KEY);

    let places = [
        ("what was printed", printed.replacen(&printed_once, "", 1)),
        ("what a command says", commands(&installation)),
        ("the audit trail", trail),
        ("what was answered", seen.said.concat()),
        ("what is stored", stored),
        ("the traces", spans.clone()),
    ];
    assert_absent(&seen.secrets, &places);
    scale::attempts(seen.secrets.len());
    let mut private = Database::open(&installation.database()).password_hashes();
    assert_eq!(private.len(), 2);
    private.push(EMAIL.to_owned());
    assert_absent(&private, &[("what was answered", seen.said.concat())]);
    private.push(USERNAME.to_owned());
    let metrics = seen.said.pop().unwrap();
    assert_absent(
        &private,
        &[
            ("what was printed", printed),
            ("the traces", spans),
            ("metrics", metrics),
        ],
    );
}

/// The passwords of other machines, and the key of the certificate, also while what they open is away.
#[test]
fn nothing_that_opens_other_machines_is_ever_printed() {
    let (collector, mut redis) = (Collector::grpc(), RedisServer::start());
    let mut postgres = PostgresServer::start(Durability::Fast);
    let authority = Authority::new();
    let pair = authority.issue(1, GOOD);
    let database = postgres.database();
    let password = password_of(&database.url());
    let installation = traced(tls::installation(&pair).on_postgres(database), &collector, &redis);
    let server = tls::start(&installation, &authority);
    let form = format!("grant_type=password&client_id={FLUTTER}&username=admin&password={ADMIN_PASSWORD}");
    let ask = || {
        let client = authority.client(None, b"\x08http/1.1");
        let mut stream = tls::connect(server.address(), &client).unwrap();
        let request = wire::token_request(server.address(), &form);
        stream.write_all(&request).unwrap();
        let mut buffer = [0; 8192];
        let length = stream.read(&mut buffer).unwrap();
        text(&buffer[..length])
    };
    assert!(ask().starts_with("HTTP/1.1 200"));
    redis.kill();
    assert!(ask().starts_with("HTTP/1.1 200"));
    postgres.kill();
    let refused = ask();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    server.stop();
    let key = String::from_utf8(pair.1.clone()).unwrap();
    let mut secrets: Vec<_> = key
        .lines()
        .filter(|line| line.len() == 64)
        .skip(1)
        .map(str::to_owned)
        .collect();
    assert!(!secrets.is_empty(), "there is a key: {key}");
    secrets.extend([password, REDIS_PASSWORD.to_owned(), COLLECTORS_KEY.to_owned()]);
    let printed = installation.printed();
    assert!(
        printed.contains("\"unavailable\"") && printed.contains("\"redis\""),
        "{printed}"
    );
    let places = [
        ("what was printed", printed),
        ("what a command says", commands(&installation)),
        ("what was answered", refused),
        ("the traces", text(&collector.raw())),
    ];
    assert_absent(&secrets, &places);
}

/// One that says as much as it can, sends traces, and shares its counters through a Redis with a password.
fn traced(installation: Installation, collector: &Collector, redis: &RedisServer) -> Installation {
    redis
        .tell(&format!("CONFIG SET requirepass {REDIS_PASSWORD}"))
        .unwrap();
    let escaped = percent_encoded(REDIS_PASSWORD);
    let url = redis
        .url()
        .replacen("redis://", &format!("redis://:{escaped}@"), 1);
    installation
        .with("AUTH_SERVICE__LOG_LEVEL", "trace")
        .with("AUTH_SERVICE__REDIS_URL", &url)
        .with("AUTH_SERVICE__OTLP_ENDPOINT", &collector.endpoint())
        .with("AUTH_SERVICE__OTLP_HEADERS", &format!("x-key={COLLECTORS_KEY}"))
}

fn password_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    let (before, _) = rest.rsplit_once('@').unwrap();
    before.split_once(':').unwrap().1.to_owned()
}

/// What commands print that look at everything.
fn commands(installation: &Installation) -> String {
    let commands: [&[&str]; 5] = [
        &["config", "check"],
        &["--json", "config", "check"],
        &["doctor"],
        &["--json", "doctor"],
        &["health"],
    ];
    let run = |arguments: &&[&str]| everything_in(&installation.run(arguments, "").unwrap());
    commands.iter().map(run).collect()
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let installation = Installation::new();
    let server = installation.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let limit: Vec<&str> = limit.split_whitespace().collect();
    assert_eq!(limit[4..6], ["0", "0"]);
}

/// What went over the wire: the secrets of the good answers, and the text of all others.
#[derive(Default)]
struct Seen {
    secrets: Vec<String>,
    said: Vec<String>,
}

impl Seen {
    /// A token is usable whole; its signature and its claims are what would make one.
    fn add(&mut self, tokens: &Tokens) {
        for token in [&tokens.access, &tokens.refresh] {
            let (input, signature) = token.rsplit_once('.').unwrap();
            let (_, claims) = input.split_once('.').unwrap();
            self.secrets
                .extend([token.as_str(), signature, claims].map(str::to_owned));
        }
    }

    fn granted(&mut self, answer: &Answer) -> Tokens {
        let tokens = Tokens::of(answer);
        self.add(&tokens);
        // What a known device shows is a secret too, where one is given.
        if let Some((cookie, _)) = answer
            .header("set-cookie")
            .and_then(|cookie| cookie.split_once(';'))
        {
            let (_, value) = cookie.split_once('=').unwrap();
            self.secrets.push(value.to_owned());
        }
        tokens
    }

    #[track_caller]
    fn refused(&mut self, answer: &Answer) {
        assert!(
            (400..500).contains(&answer.status),
            "{} {}",
            answer.status,
            answer.text()
        );
        self.said.push(format!("{:?} {}", answer.headers, answer.text()));
    }
}

/// A user and a confidential client; says the client's secret.
fn register(installation: &Installation) -> String {
    let user = ["user", "create", USERNAME, "--email", EMAIL, "--password-stdin"];
    let created = installation.run(&user, PASSWORD).unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
    let create = [
        "--json",
        "client",
        "create",
        CONFIDENTIAL,
        "--name",
        "Back office",
        "--confidential",
    ];
    let grants = [
        "--grant",
        "password",
        "--grant",
        "refresh_token",
        "--scope",
        "api:read",
    ];
    let created = installation
        .run(&[&create[..], &grants[..]].concat(), "")
        .unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
    let created: Value = serde_json::from_slice(&created.stdout).unwrap();
    created["client_secret"].as_str().unwrap().to_owned()
}

/// What anybody may read.
const PUBLIC: [&str; 9] = [
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/openapi.json",
    "/docs",
    "/docs/",
    "/health",
    "/ready",
    "/live",
    "/metrics",
];

/// Good requests and bad ones, with secrets where they belong and where they do not. Says the newest refresh token.
fn use_everything(http: &Http, client_secret: &str, seen: &mut Seen) -> String {
    let client = Client::flutter(http.clone());
    let first = seen.granted(&client.sign_in(EMAIL, PASSWORD));
    let second = seen.granted(&client.refresh(&first.refresh));
    seen.refused(&client.sign_in(USERNAME, WRONG_PASSWORD));
    seen.refused(&client.refresh(&first.access));
    seen.refused(&client.refresh(&first.refresh));
    seen.refused(&client.refresh(&second.refresh));
    use_confidential_client(http, client_secret, seen);
    misplace(http, client_secret, &second, seen);
    ask_about_tokens(http, client_secret, seen);
    for path in PUBLIC {
        seen.said.push(http.get(path).unwrap().text());
    }
    let last = seen.granted(&client.sign_in(USERNAME, PASSWORD));
    last.refresh
}

fn use_confidential_client(http: &Http, client_secret: &str, seen: &mut Seen) {
    let sign_in = [
        ("grant_type", "password"),
        ("username", USERNAME),
        ("password", PASSWORD),
    ];
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("{CONFIDENTIAL}:{secret}")));
    let by_header = |secret: &str| {
        http.post_form(TOKEN, &[("authorization", &basic(secret))], &sign_in)
            .unwrap()
    };
    seen.granted(&by_header(client_secret));
    seen.refused(&by_header(WRONG_PASSWORD));
    let in_form = [("client_id", CONFIDENTIAL), ("client_secret", client_secret)];
    let form = [&sign_in[..], &in_form[..]].concat();
    seen.granted(&http.post_form(TOKEN, &[], &form).unwrap());
    seen.refused(
        &http
            .post_form(TOKEN, &[("authorization", &basic(client_secret))], &form)
            .unwrap(),
    );
}

/// Introspection and revocation, of tokens that are good and of texts that are other secrets; by clients that prove
/// themselves and by one that does not.
fn ask_about_tokens(http: &Http, client_secret: &str, seen: &mut Seen) {
    let tokens = seen.granted(&Client::flutter(http.clone()).sign_in(USERNAME, PASSWORD));
    let proved = [("client_id", CONFIDENTIAL), ("client_secret", client_secret)];
    let unproved = [("client_id", CONFIDENTIAL), ("client_secret", WRONG_PASSWORD)];
    for token in [tokens.access.as_str(), &tokens.refresh, PASSWORD, client_secret] {
        for path in ["/oauth/introspect", "/oauth/revoke"] {
            let ask = |client: &[(&str, &str)]| {
                http.post_form(path, &[], &[client, &[("token", token)]].concat())
                    .unwrap()
            };
            seen.refused(&ask(&unproved));
            let told = ask(&proved);
            assert!(
                matches!(told.status, 200 | 400),
                "{} {}",
                told.status,
                told.text()
            );
            seen.said.push(format!("{:?} {}", told.headers, told.text()));
        }
    }
    let revoked = [("client_id", FLUTTER), ("token", tokens.refresh.as_str())];
    let revoked = http.post_form("/oauth/revoke", &[], &revoked).unwrap();
    assert_eq!(revoked.status, 200);
    seen.said
        .push(format!("{:?} {}", revoked.headers, revoked.text()));
}

/// Secrets in the path, the query, foreign headers, repeated and unknown parameters, and under a wrong type.
fn misplace(http: &Http, client_secret: &str, tokens: &Tokens, seen: &mut Seen) {
    seen.refused(
        &http
            .get(&format!("/{PASSWORD}/{client_secret}?token={}", tokens.access))
            .unwrap(),
    );
    let query = format!("{TOKEN}?password={PASSWORD}&refresh_token={}", tokens.refresh);
    seen.refused(&http.get(&query).unwrap());
    let headers = [
        ("x-correlation-id", tokens.access.as_str()),
        ("user-agent", "a client"),
        ("content-type", "application/json"),
    ];
    seen.refused(
        &http
            .post_form(TOKEN, &headers, &[("password", PASSWORD)])
            .unwrap(),
    );
    for form in [
        [
            ("grant_type", "password"),
            ("client_id", PASSWORD),
            ("username", USERNAME),
            ("password", PASSWORD),
        ],
        [
            ("grant_type", PASSWORD),
            ("client_id", FLUTTER),
            ("username", USERNAME),
            ("password", PASSWORD),
        ],
        [
            ("grant_type", "password"),
            ("client_id", FLUTTER),
            ("password", PASSWORD),
            ("password", PASSWORD),
        ],
        [
            ("grant_type", "password"),
            ("client_id", FLUTTER),
            ("username", USERNAME),
            (PASSWORD, PASSWORD),
        ],
        [
            ("grant_type", "refresh_token"),
            ("client_id", FLUTTER),
            ("refresh_token", client_secret),
            ("scope", PASSWORD),
        ],
    ] {
        seen.refused(&http.post_form(TOKEN, &[], &form).unwrap());
    }
}

/// The secret of the built-in client, which the first start prints, and never again: 64 hexadecimal digits.
fn generated_secret(printed: &str) -> String {
    let words = printed.split(|character: char| !character.is_ascii_alphanumeric());
    let secrets: Vec<&str> = words
        .filter(|word| word.len() == 64 && word.chars().all(|character| character.is_ascii_hexdigit()))
        .collect();
    assert_eq!(
        secrets.len(),
        1,
        "the first start prints one generated secret, once: {printed}"
    );
    secrets[0].to_owned()
}

/// The lines of the private keys' files, but for what surrounds the key itself.
fn private_keys(installation: &Installation) -> Vec<String> {
    let files = fs::read_dir(installation.keys())
        .unwrap()
        .map(|file| file.unwrap().path());
    let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    assert!(text.contains("PRIVATE KEY"), "there is a private key");
    let lines = text
        .lines()
        .filter(|line| line.len() == 64 && !line.contains(' '));
    // The first line of every RSA key is the same but for its end; each later one is this key's own.
    lines.skip(1).map(str::to_owned).collect()
}

/// The content of every file below a directory, but for the entries named.
fn files_below(directory: &Path, except: &[&str]) -> String {
    let mut content = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if except.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            content.push_str(&files_below(&path, except));
        } else {
            content.push_str(&text(&fs::read(path).unwrap()));
        }
    }
    content
}

/// What is no text has other characters in its place; what is searched for is ASCII.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Looks for each secret in each place, as it is and as it would be written in a URL or a header.
#[track_caller]
fn assert_absent(secrets: &[String], places: &[(&str, String)]) {
    for secret in secrets {
        assert!(secret.len() >= 16, "too short to search for");
        for form in forms(secret) {
            for (what, content) in places {
                if let Some(place) = content.find(&form) {
                    let around = content
                        .chars()
                        .skip(content[..place].chars().count().saturating_sub(200));
                    let around: String = around.take(400 + form.len()).collect();
                    panic!("a secret stands in {what}: {around}");
                }
            }
        }
    }
}

fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), percent_encoded(secret)];
    // Wherever it begins in what was encoded: three shifts, without the digits that its neighbours have a part in.
    for (before, cut) in [("", 0), ("x", 2), ("xx", 3)] {
        let shifted = format!("{before}{secret}");
        for encoded in [STANDARD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let whole = encoded.trim_end_matches('=');
            forms.push(whole[cut..whole.len() - 1].to_owned());
        }
    }
    forms
}

fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}
