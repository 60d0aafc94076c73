//! What a stranger sends has a bound, however much of it there is: the server answers, and grows no larger.

use std::fs;
use std::time::Duration;

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::raw;
use auth_e2e::scale;
use auth_e2e::server::Server;
use auth_e2e::wire::{self, Connection};
use tokio::runtime::Builder;

const PATIENCE: Duration = Duration::from_secs(20);
/// By how much a server may grow while it is flooded, in MiB: what its threads keep at hand, not what was sent.
const GROWTH: usize = 48;

/// What the process holds in memory, in MiB.
fn resident(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1_024
}

#[track_caller]
fn assert_has_not_grown(server: &Server, before: usize) {
    let after = resident(server);
    assert!(after < before + GROWTH, "from {before} MiB to {after} MiB");
}

#[test]
fn oversized_requests_are_refused_and_leave_no_memory_behind() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    client.refreshed(&client.admin_tokens());
    for request in oversized() {
        raw::exchange(server.address(), &request.0, PATIENCE).unwrap();
    }
    let before = resident(&server);
    let rounds = scale::times(5, 50);
    for _ in 0..rounds {
        for (request, allowed) in oversized() {
            let answer = raw::exchange(server.address(), &request, PATIENCE).unwrap();
            let statuses = raw::statuses(&answer);
            // A connection may be reset while its request is still being sent: then the answer is lost on its way.
            assert!(
                statuses.is_empty() || allowed.contains(&statuses[0]),
                "{statuses:?}, not one of {allowed:?}"
            );
        }
    }
    assert_has_not_grown(&server, before);
    client.admin_tokens();
    scale::attempts(rounds * oversized().len());
}

/// Requests beyond a bound, and the statuses that are right for them.
fn oversized() -> Vec<(Vec<u8>, &'static [u16])> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let sign_in = |rest: &str| format!("grant_type=password&client_id={FLUTTER}&username=admin&{rest}");
    let megabyte = "x".repeat(1_000_000);
    vec![
        (post(FORM, &sign_in(&format!("password={megabyte}"))), &[400, 413]),
        (
            post(FORM, &sign_in(&format!("password={}", &megabyte[..2_000]))),
            &[400],
        ),
        (post(FORM, &"a=1&".repeat(100_000)), &[400, 413]),
        (post(FORM, &"a&".repeat(7_000)), &[400]),
        (
            post(
                FORM,
                &sign_in(&format!("password=x&scope={}", "a+".repeat(10_000))),
            ),
            &[400, 413],
        ),
        (
            post(
                FORM,
                &sign_in(&format!("password=x&scope={}", "a+".repeat(5_000))),
            ),
            &[400],
        ),
        (post("application/json", &"[".repeat(15_000)), &[415]),
        (post("application/json", &"{\"a\":".repeat(200_000)), &[413, 415]),
        (
            post("multipart/form-data; boundary=x", &"--x\r\n\r\n".repeat(10_000)),
            &[413, 415],
        ),
        (
            post("text/xml", "<!DOCTYPE a [<!ENTITY b \"bb\">]><a>&b;</a>"),
            &[415],
        ),
        (get(&format!("x-large: {megabyte}\r\n")), &[400, 431]),
        (get(&"x-many: 1\r\n".repeat(10_000)), &[400, 431]),
    ]
}

fn post(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn get(headers: &str) -> Vec<u8> {
    format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

#[test]
fn ever_new_names_fill_no_cache_no_counter_and_no_metric() {
    let installation = Installation::new().with("AUTH_SERVICE__REFRESH_RATE_LIMIT", "100000000");
    let server = installation.start();
    let warm = scale::times(200, 5_000);
    let flood = scale::times(2_000, 50_000);
    flood_with_new_names(&server, 0, warm);
    let before = resident(&server);
    let metrics_before = metrics_length(&server.http());
    flood_with_new_names(&server, warm, flood);
    assert_has_not_grown(&server, before);
    let metrics = metrics_length(&server.http());
    assert!(
        metrics < metrics_before + 2_000,
        "from {metrics_before} to {metrics} bytes of metrics"
    );
    scale::attempts(flood);
}

/// Each request by a client, a user, a token, a key and a correlation id that nobody has named before.
fn flood_with_new_names(server: &Server, from: usize, number: usize) {
    let address = server.address();
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::open(address).await.unwrap();
        for number in from..from + number {
            let form = match number % 3 {
                0 => format!("grant_type=password&client_id=app-{number}&username=user-{number}&password=x"),
                1 => format!("grant_type=password&client_id={FLUTTER}&username=user-{number}&password=x"),
                _ => wire::refresh_form(FLUTTER, &format!("eyJraWQiOiJ{number}.{number}.{number}")),
            };
            let reply = connection
                .exchange(&wire::token_request(address, &form))
                .await
                .unwrap();
            assert!(matches!(reply.status, 400 | 401 | 429 | 503), "{}", reply.status);
        }
    });
}

fn metrics_length(http: &Http) -> usize {
    http.get("/metrics").unwrap().body.len()
}
