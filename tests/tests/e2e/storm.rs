//! Input that no decent client sends: it is refused as the client's fault, and the server lives on.

use std::fmt::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::installation::Installation;
use auth_e2e::raw::{self, Ending, Reaction};
use auth_e2e::scale;
use auth_e2e::server::Server;

use crate::support::Chance;

const PATIENCE: Duration = Duration::from_secs(20);
const FORM: &str = "content-type: application/x-www-form-urlencoded";
const REFRESH: &str = "grant_type=refresh_token&client_id=codelab-flutter-app&refresh_token=";

#[test]
fn malformed_requests_are_refused_as_the_clients_fault() {
    let installation = Installation::new().unlimited();
    let mut server = installation.start();
    let requests = bad_requests();
    for (name, request, allowed) in &requests {
        let reaction = raw::send(server.address(), request, Ending::Closed, PATIENCE).unwrap();
        let is_right = match &reaction {
            Reaction::Answered(statuses) => statuses.iter().all(|status| allowed.contains(status)),
            Reaction::Closed => allowed.contains(&HUNG_UP),
            Reaction::Silent => false,
        };
        assert!(is_right, "{name}: {reaction:?}, not one of {allowed:?}");
    }
    assert_lives_on(&installation, &mut server);
    scale::attempts(requests.len());
}

/// Stands in a list of statuses for a connection that is closed without a word.
const HUNG_UP: u16 = 0;

fn bad_requests() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let mut requests = bad_bodies();
    requests.extend(bad_heads());
    requests.extend(bad_framing());
    requests
}

fn bad_bodies() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let sign_in = |value: &str| {
        form(&format!(
            "grant_type=password&client_id={FLUTTER}&username=a&password={value}"
        ))
    };
    vec![
        ("no body", form(""), &[400]),
        ("100,000 parameters", form(&"a=1&".repeat(100_000)), &[400]),
        ("5,000 parameters in 16 KiB", form(&"a&".repeat(5_000)), &[400]),
        ("only separators", form(&"&=".repeat(5_000)), &[400]),
        (
            "a parameter twice",
            form("grant_type=password&grant_type=password"),
            &[400],
        ),
        ("a body of a megabyte", form(&"x".repeat(1_000_000)), &[400]),
        ("a password of 15 KiB", sign_in(&"x".repeat(15_000)), &[400]),
        (
            "a refresh token of 15 KiB",
            form(&format!("{REFRESH}{}", "x".repeat(15_000))),
            &[400],
        ),
        (
            "10,000 scopes",
            form(&format!("{REFRESH}x&scope={}", "a+".repeat(7_000))),
            &[400],
        ),
        ("NUL", sign_in("a%00b"), &[400]),
        ("invalid UTF-8", sign_in("%ff%fe"), &[400]),
        ("overlong UTF-8", sign_in("%c0%80"), &[400]),
        ("a lone surrogate", sign_in("%ed%a0%80"), &[400]),
        ("a broken escape", sign_in("%zz"), &[400]),
        ("a cut escape", sign_in("%f"), &[400]),
        ("raw bytes", post(FORM, &(0..=255).collect::<Vec<u8>>()), &[400]),
        (
            "JSON",
            post("content-type: application/json", b"{\"grant_type\":\"password\"}"),
            &[415],
        ),
        (
            "multipart",
            post("content-type: multipart/form-data; boundary=x", b"--x--\r\n"),
            &[415],
        ),
        ("no type", post("x-nothing: 1", b"grant_type=password"), &[415]),
        (
            "two types",
            post(
                &format!("{FORM}\r\ncontent-type: application/json"),
                b"grant_type=password",
            ),
            &[415],
        ),
        (
            "compressed",
            post(&format!("{FORM}\r\ncontent-encoding: gzip"), b"\x1f\x8b\x08"),
            &[400, 415],
        ),
        (
            "terminal escapes",
            form(&format!("{REFRESH}%1b%5b2J%0d%0aX-Injected:%201")),
            &[401],
        ),
        (
            "SQL",
            form(&format!("{REFRESH}%27%3BDROP%20TABLE%20users%3B--")),
            &[401],
        ),
    ]
}

fn bad_heads() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let basic = |value: &str| {
        post(
            &format!("{FORM}\r\nauthorization: {value}"),
            b"grant_type=password",
        )
    };
    let many: String = (0..1_000).fold(String::new(), |mut headers, number| {
        let _ = write!(headers, "x-{number}: 1\r\n");
        headers
    });
    vec![
        ("Basic that is not base64", basic("Basic !!!"), &[400, 401]),
        ("Basic without a colon", basic("Basic YWJj"), &[400, 401]),
        ("Basic with NUL", basic("Basic AAA6AAA="), &[400, 401]),
        ("Basic that is not UTF-8", basic("Basic /////w=="), &[400, 401]),
        (
            "Basic of 30 KiB",
            basic(&format!("Basic {}", "QUFB".repeat(7_500))),
            &[400, 401, 431],
        ),
        (
            "two authorizations",
            basic("Basic YTpi\r\nauthorization: Basic YTpi"),
            &[400],
        ),
        (
            "a header of a megabyte",
            get("/health", &format!("x-big: {}\r\n", "x".repeat(1_000_000))),
            &[400, 431, HUNG_UP],
        ),
        ("1,000 headers", get("/health", &many), &[400, 431, HUNG_UP]),
        (
            "a path of 100 KiB",
            get(&format!("/{}", "x".repeat(100_000)), ""),
            &[400, 404, 414, 431, HUNG_UP],
        ),
        (
            "a path out of the root",
            get("/../../etc/passwd", ""),
            &[400, 404],
        ),
        ("an escaped path", get("/%2e%2e/%00/%ff", ""), &[400, 404]),
        (
            "NUL in a header",
            get("/health", "x-nul: a\0b\r\n"),
            &[400, HUNG_UP],
        ),
        (
            "a header of raw bytes",
            get("/health", "x-raw: \u{fffd}\u{1f600}\r\n"),
            &[200, 400],
        ),
        (
            "a correlation id of 10 KiB",
            get(
                "/health",
                &format!("x-correlation-id: {}\r\n", "x".repeat(10_000)),
            ),
            &[200],
        ),
        (
            "a wrong method",
            request("PUT /oauth/token", "content-length: 0\r\n", b""),
            &[405],
        ),
        (
            "a method of its own",
            request("BREW /oauth/token", "", b""),
            &[400, 405],
        ),
        ("TRACE", request("TRACE /oauth/token", "", b""), &[405]),
        (
            "CONNECT",
            b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n".to_vec(),
            &[400, 404, 405, HUNG_UP],
        ),
        (
            "no HTTP at all",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &[400, HUNG_UP],
        ),
        (
            "HTTP/9.9",
            b"GET /health HTTP/9.9\r\n\r\n".to_vec(),
            &[400, HUNG_UP],
        ),
        ("a bare line end", b"\n\n\n\n".to_vec(), &[400, HUNG_UP]),
    ]
}

fn bad_framing() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let framed =
        |headers: &str, body: &[u8]| request("POST /oauth/token", &format!("{FORM}\r\n{headers}\r\n"), body);
    let chunked = "transfer-encoding: chunked";
    vec![
        (
            "a body shorter than its length",
            framed("content-length: 1000", b"grant_type=password"),
            &[400, HUNG_UP],
        ),
        (
            "a body longer than its length",
            framed("content-length: 3", b"grant_type=password"),
            &[400],
        ),
        (
            "a negative length",
            framed("content-length: -1", b""),
            &[400, HUNG_UP],
        ),
        (
            "a length beyond all bounds",
            framed("content-length: 99999999999999999999", b""),
            &[400, HUNG_UP],
        ),
        (
            "two lengths",
            framed("content-length: 3\r\ncontent-length: 4", b"a=b&"),
            &[400, HUNG_UP],
        ),
        (
            "length and chunks",
            framed(&format!("content-length: 4\r\n{chunked}"), b"0\r\n\r\n"),
            &[400, HUNG_UP],
        ),
        (
            "chunks without end",
            framed(chunked, b"3\r\na=b\r\n"),
            &[400, HUNG_UP],
        ),
        (
            "a chunk without a size",
            framed(chunked, b"zz\r\na=b\r\n0\r\n\r\n"),
            &[400, HUNG_UP],
        ),
        (
            "a chunk of a size beyond all bounds",
            framed(chunked, b"ffffffffffffffffff\r\na=b"),
            &[400, HUNG_UP],
        ),
        (
            "a megabyte in chunks",
            framed(chunked, &b"4\r\na=b&\r\n".repeat(250_000)),
            &[400, HUNG_UP],
        ),
        (
            "an unknown coding",
            framed("transfer-encoding: gzip, chunked", b"0\r\n\r\n"),
            &[400, 501, HUNG_UP],
        ),
    ]
}

#[test]
fn a_body_that_never_ends_is_given_up_on() {
    let installation = Installation::new().unlimited();
    let mut server = installation.start();
    let head = format!("{FORM}\r\ncontent-length: 1000\r\n");
    let begun = request("POST /oauth/token", &head, b"grant_type=password");
    let reaction = raw::send(server.address(), &begun, Ending::Open, PATIENCE).unwrap();
    assert!(
        reaction == Reaction::Closed
            || matches!(&reaction, Reaction::Answered(statuses) if matches!(statuses[..], [400 | 408])),
        "{reaction:?}"
    );
    assert_lives_on(&installation, &mut server);
}

#[test]
fn no_mutation_of_a_request_brings_a_500_or_the_server_down() {
    let requests = scale::times(3_000, 40_000);
    let installation = Installation::new().unlimited();
    let mut server = installation.start();
    let address = server.address();
    let token = Client::flutter(server.http()).admin_tokens().refresh;
    let originals = [
        form(&format!("{REFRESH}{token}")),
        form("grant_type=password&client_id=nobody&username=a%20b&password=c%2Bd&scope=api%3Aread"),
        post(
            &format!("{FORM}\r\nauthorization: Basic YWJjOmRlZg=="),
            b"grant_type=refresh_token&refresh_token=a.b.c",
        ),
        get("/.well-known/jwks.json", "if-none-match: \"a\", W/\"b\"\r\n"),
        get(
            "/health",
            "x-correlation-id: abc\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        ),
    ];
    thread::scope(|scope| {
        for stretch in 0..4_u64 {
            let originals = &originals;
            scope.spawn(move || mutate_and_send(address, originals, stretch, requests / 4));
        }
    });
    assert_lives_on(&installation, &mut server);
    scale::attempts(requests);
}

fn mutate_and_send(address: SocketAddr, originals: &[Vec<u8>], seed: u64, requests: usize) {
    let mut chance = Chance::seeded(seed);
    for number in 0..requests {
        let mut request = chance.one_of(originals).clone();
        for _ in 0..=chance.below(4) {
            mutate(&mut chance, &mut request);
        }
        let reaction = raw::send(address, &request, Ending::Closed, PATIENCE).unwrap();
        let is_fine = match &reaction {
            Reaction::Answered(statuses) => statuses.iter().all(|status| *status < 500 || *status == 501),
            Reaction::Closed => true,
            Reaction::Silent => false,
        };
        assert!(
            is_fine,
            "seed {seed}, request {number}: {reaction:?} to {}",
            request.escape_ascii()
        );
    }
}

fn mutate(chance: &mut Chance, bytes: &mut Vec<u8>) {
    const DELICATE: &[&[u8]] = &[
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"%",
        b"%00",
        b"&",
        b"=",
        b"+",
        b":",
        b"\xff",
        b"0\r\n\r\n",
        b"\"",
        b"-1",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"HTTP/1.1",
    ];
    if bytes.is_empty() {
        bytes.push(b'G');
    }
    let place = chance.below(bytes.len());
    match chance.below(6) {
        0 => bytes[place] ^= 1 << chance.below(8),
        1 => bytes[place] = u8::try_from(chance.below(256)).unwrap(),
        2 => drop(bytes.remove(place)),
        3 => bytes.truncate(place.max(1)),
        4 => drop(bytes.splice(place..place, chance.one_of(DELICATE).iter().copied())),
        _ => {
            let end = (place + chance.below(40)).min(bytes.len());
            let piece = bytes[place..end].to_vec();
            bytes.splice(place..place, piece);
        }
    }
}

/// The server answers, and none of its threads has panicked.
#[track_caller]
fn assert_lives_on(installation: &Installation, server: &mut Server) {
    assert!(server.is_running());
    assert_eq!(server.http().get("/health").unwrap().status, 200);
    let panicked: Vec<String> = installation
        .printed()
        .lines()
        .filter(|line| line.contains("panic"))
        .map(str::to_owned)
        .collect();
    assert!(panicked.is_empty(), "{panicked:?}");
}

fn form(body: &str) -> Vec<u8> {
    post(FORM, body.as_bytes())
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    request(
        "POST /oauth/token",
        &format!("{headers}\r\ncontent-length: {}\r\n", body.len()),
        body,
    )
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    request(&format!("GET {path}"), headers, b"")
}

fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}
