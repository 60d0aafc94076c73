//! Nothing secret leaves the server but in the answer it belongs to: not in what it prints, counts, says in errors or
//! stores.

use std::fs;
use std::path::Path;

use auth_e2e::client::{Client, FLUTTER, TOKEN, Tokens};
use auth_e2e::http::{Answer, Http};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::database::Database;
use crate::support::everything_in;

const PASSWORD: &str = "Analytical-Engine-1843";
const WRONG_PASSWORD: &str = "Difference-Engine-1822";
const EMAIL: &str = "ada@lovelace.example";
const CONFIDENTIAL: &str = "back-office";

#[test]
fn nothing_secret_is_ever_printed_counted_or_stored() {
    let installation = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__LOG_LEVEL", "trace");
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
    seen.secrets
        .extend([PASSWORD, WRONG_PASSWORD, ADMIN_PASSWORD].map(str::to_owned));
    seen.secrets.extend([client_secret, printed_once.clone()]);
    seen.secrets.extend(private_keys(&installation));
    if let Ok(sealing) = fs::read_to_string(installation.keys().join("device.secret")) {
        seen.secrets.push(sealing.trim().to_owned());
    }
    let config = everything_in(&installation.run(&["config", "check"], "").unwrap());
    let trail = everything_in(&installation.run(&["audit", "export"], "").unwrap());
    assert!(
        trail.contains("login_failed"),
        "there is a trail to look at: {trail}"
    );
    let stored = files_below(installation.directory(), &["keys", "printed.log"]);
    // The search would find something: the address is stored, and each sign-in is in the log.
    assert!(is_in(EMAIL, &stored) && is_in("login_success", printed.as_bytes()));

    let after_first_start = printed.replacen(&printed_once, "", 1);
    for secret in &seen.secrets {
        assert_absent(secret, after_first_start.as_bytes(), "what was printed");
        assert_absent(secret, config.as_bytes(), "the settings");
        assert_absent(secret, trail.as_bytes(), "the audit trail");
        assert_absent(secret, seen.said.concat().as_bytes(), "what was answered");
        assert_absent(secret, &stored, "what is stored");
    }
    scale::attempts(seen.secrets.len());
    let hashes = Database::open(&installation.database()).password_hashes();
    assert_eq!(hashes.len(), 2);
    for private in hashes.iter().map(String::as_str).chain([EMAIL]) {
        assert_absent(private, printed.as_bytes(), "what was printed");
        assert_absent(private, seen.said.concat().as_bytes(), "what was answered");
    }
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
    let user = ["user", "create", "ada", "--email", EMAIL, "--password-stdin"];
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

/// Good requests and bad ones, with secrets where they belong and where they do not. Says the newest refresh token.
fn use_everything(http: &Http, client_secret: &str, seen: &mut Seen) -> String {
    let client = Client::flutter(http.clone());
    let first = seen.granted(&client.sign_in(EMAIL, PASSWORD));
    let second = seen.granted(&client.refresh(&first.refresh));
    seen.refused(&client.sign_in("ada", WRONG_PASSWORD));
    seen.refused(&client.refresh(&first.access));
    seen.refused(&client.refresh(&first.refresh));
    seen.refused(&client.refresh(&second.refresh));
    use_confidential_client(http, client_secret, seen);
    misplace(http, client_secret, &second, seen);
    ask_about_tokens(http, client_secret, seen);
    seen.said.push(http.get("/metrics").unwrap().text());
    let last = seen.granted(&client.sign_in("ada", PASSWORD));
    last.refresh
}

fn use_confidential_client(http: &Http, client_secret: &str, seen: &mut Seen) {
    let sign_in = [
        ("grant_type", "password"),
        ("username", "ada"),
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
    let tokens = seen.granted(&Client::flutter(http.clone()).sign_in("ada", PASSWORD));
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
            ("username", "ada"),
            ("password", PASSWORD),
        ],
        [
            ("grant_type", PASSWORD),
            ("client_id", FLUTTER),
            ("username", "ada"),
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
            ("username", "ada"),
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
fn files_below(directory: &Path, except: &[&str]) -> Vec<u8> {
    let mut content = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if except.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            content.extend(files_below(&path, except));
        } else {
            content.extend(fs::read(path).unwrap());
        }
    }
    content
}

#[track_caller]
fn assert_absent(secret: &str, from: &[u8], what: &str) {
    assert!(secret.len() >= 16, "too short to search for");
    if let Some(place) = place_in(secret, from) {
        let around = &from[place.saturating_sub(200)..from.len().min(place + 200)];
        panic!("a secret stands in {what}: {}", String::from_utf8_lossy(around));
    }
}

fn is_in(text: &str, content: &[u8]) -> bool {
    place_in(text, content).is_some()
}

fn place_in(text: &str, content: &[u8]) -> Option<usize> {
    content
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}
