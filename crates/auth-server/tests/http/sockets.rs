//! The server on a real socket: broken transfers, and a shutdown that finishes what it has begun.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use auth_domain::password::Pace;
use auth_server::http::{HttpSettings, Services, prepare, serve, serve_operators};
use auth_server::telemetry::Stopwatch;
use auth_testkit::{TestBed, build};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::rig::{FORM, login};

fn start(bed: &TestBed) -> (SocketAddr, ServerHandle) {
    start_with(bed, Pace::default(), HttpSettings::default().request_timeout)
}

pub(crate) fn services(bed: &TestBed, pace: Pace) -> Services {
    Services {
        tokens: bed.service(),
        signer: Arc::new(bed.signer.clone()),
        store: Arc::new(bed.store.clone()),
        redis: None,
        news: None,
        clock: Arc::new(bed.clock.clone()),
        random: Arc::new(bed.random.clone()),
        pace,
        is_traced: false,
        gauges: Arc::new(|| Box::pin(std::future::ready(()))),
    }
}

fn start_with(bed: &TestBed, pace: Pace, request_timeout: Duration) -> (SocketAddr, ServerHandle) {
    bed.store.put_client(build::public_client(crate::rig::PUBLIC));
    let settings = HttpSettings {
        shutdown_timeout: Duration::from_secs(5),
        request_timeout,
        ..HttpSettings::default()
    };
    serve_at(services(bed, pace), settings)
}

/// Serves on the loopback interface: where, and how to stop it.
pub(crate) fn serve_at(services: Services, settings: HttpSettings) -> (SocketAddr, ServerHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(&prepare(services).unwrap(), settings, listener).unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

/// Sends bytes and reads what comes until the end of a JSON object, or until the server hangs up.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") && stream.read_buf(&mut answer).await.unwrap() > 0 {}
    String::from_utf8(answer).unwrap()
}

fn head(fields: &str) -> String {
    format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {FORM}\r\n{fields}\r\n"
    )
}

#[actix_web::test]
async fn a_good_request_is_answered() {
    let (address, handle) = start(&TestBed::default());
    let form = login(crate::rig::PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let request = head(&format!("Content-Length: {}\r\n", form.len())) + &form;
    let answer = exchange(address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    handle.stop(true).await;
}

#[actix_web::test]
async fn what_may_have_changed_something_is_answered_late_rather_than_by_an_outage() {
    let floor = Pace::with_floor(Duration::from_millis(600));
    let (address, handle) = start_with(&TestBed::default(), floor, Duration::from_millis(200));
    let form = login(crate::rig::PUBLIC, build::ALICE, "wrong");
    let request = head(&format!("Content-Length: {}\r\n", form.len())) + &form;
    let answer = exchange(address, &request).await;
    assert!(answer.contains(r#"{"error":"invalid_grant","#), "{answer}");
    handle.stop(true).await;
}

#[actix_web::test]
async fn broken_chunks_and_endless_ones_are_invalid_requests() {
    let (address, handle) = start(&TestBed::default());
    let chunked = head("Transfer-Encoding: chunked\r\n");
    let endless = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(2);
    for body in ["zz\r\nabc\r\n", &endless] {
        let answer = exchange(address, &format!("{chunked}{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains(r#"{"error":"invalid_request","#), "{answer}");
        assert!(answer.contains("x-correlation-id: "), "{answer}");
    }
    handle.stop(false).await;
}

#[actix_web::test]
async fn a_body_shorter_than_it_says_is_an_invalid_request() {
    let (address, handle) = start(&TestBed::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = head("Content-Length: 100\r\n") + "grant_type=password";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    handle.stop(true).await;
}

#[actix_web::test]
async fn a_head_request_gets_the_head_alone() {
    let (address, handle) = start(&TestBed::default());
    let request = "HEAD /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("content-length: ") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    handle.stop(true).await;
}

#[actix_web::test]
async fn from_the_announcement_of_its_end_the_server_keeps_no_connection() {
    let state = prepare(services(&TestBed::default(), Pace::default())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(&state, HttpSettings::default(), listener).unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let request = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(
            stream.read_buf(&mut answer).await.unwrap() > 0,
            "it is kept so far"
        );
    }
    state.stopping().begin();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    handle.stop(true).await;
}

#[actix_web::test]
async fn a_shutdown_finishes_a_request_it_has_begun_and_takes_no_new_one() {
    let (address, handle) = start(&TestBed::default());
    let form = login(crate::rig::PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let (first, rest) = form.split_at(10);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = head(&format!(
        "Content-Length: {}\r\nExpect: 100-continue\r\n",
        form.len()
    ));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(
        &go_on, b"HTTP/1.1 100 Continue\r\n\r\n",
        "the request has been begun"
    );
    stream.write_all(first.as_bytes()).await.unwrap();
    let stopping = actix_web::rt::spawn(handle.stop(true));
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    stopping.await.unwrap();
}

/// Sends bytes, and how long it takes until the server has hung up; what it has answered until then.
async fn until_hung_up(address: SocketAddr, request: &[u8]) -> (Duration, Vec<u8>) {
    let stopwatch = Stopwatch::start();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // Past that the server never hangs up.
    timeout(Duration::from_secs(15), stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    (stopwatch.elapsed(), answer)
}

#[actix_web::test]
async fn a_refused_body_that_never_ends_holds_its_connection_for_a_moment_only() {
    let (address, handle) = start(&TestBed::default());
    let chunked = head("Transfer-Encoding: chunked\r\n").replace("close", "keep-alive");
    let endless = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(2);
    let elsewhere =
        |target: &str| format!("{target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc");
    for request in [
        head("Content-Length: 100000\r\n") + "grant_type=password",
        chunked.clone() + &endless,
        chunked.replace(FORM, "text/plain") + "5\r\nabc",
        elsewhere("GET /health"),
        elsewhere("POST /nothing"),
    ] {
        let (took, answer) = until_hung_up(address, request.as_bytes()).await;
        assert!(
            answer.starts_with(b"HTTP/1.1 "),
            "{request:.80} {}",
            answer.escape_ascii()
        );
        assert!(took < Duration::from_secs(4), "{request:.80} took {took:?}");
    }
    handle.stop(false).await;
}

#[actix_web::test]
async fn a_chunked_body_that_was_read_to_its_end_leaves_the_connection_open() {
    let (address, handle) = start(&TestBed::default());
    let form = login(crate::rig::PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let chunked = head("Transfer-Encoding: chunked\r\n").replace("close", "keep-alive");
    let mut stream = TcpStream::connect(address).await.unwrap();
    for end in ["0\r\n\r\n", "0\r\nX-Trailer: 1\r\n\r\n"] {
        let request = format!("{chunked}{:x}\r\n{form}\r\n{end}", form.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") && stream.read_buf(&mut answer).await.unwrap() > 0 {}
        assert!(
            answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
            "{}",
            answer.escape_ascii()
        );
    }
    handle.stop(false).await;
}

#[actix_web::test]
async fn many_lingering_connections_keep_no_request_waiting() {
    let (address, handle) = start(&TestBed::default());
    let endless = head("Transfer-Encoding: chunked\r\n") + "5\r\nabc";
    let refused = endless.replace(FORM, "text/plain");
    let mut lingering = Vec::new();
    for request in [&endless, &refused].repeat(100) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        lingering.push(stream);
    }
    let health = exchange(
        address,
        "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let answer = timeout(Duration::from_secs(2), health).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    handle.stop(false).await;
}

#[actix_web::test]
async fn a_slow_head_and_a_slow_body_are_cut_off() {
    let (address, handle) = start(&TestBed::default());
    let slow_body = head("Content-Length: 100\r\n") + "grant_type=";
    let slow_chunk = head("Transfer-Encoding: chunked\r\n") + "5\r\nabc";
    let answers = futures::future::join_all(
        ["GET /health HTTP/1.1\r\nHost", &slow_body, &slow_chunk]
            .map(|request| until_hung_up(address, request.as_bytes())),
    );
    let starts: Vec<_> = answers
        .await
        .into_iter()
        .map(|(_, answer)| String::from_utf8_lossy(answer.get(..12).unwrap()).into_owned())
        .collect();
    assert_eq!(starts, ["HTTP/1.1 408", "HTTP/1.1 400", "HTTP/1.1 400"]);
    handle.stop(false).await;
}

/// The framework's bound. No byte more is sent, since what it leaves unread would reset the connection.
const LONGEST_HEAD: usize = 128 * 1024;

#[actix_web::test]
async fn what_never_reaches_a_handler_is_refused_without_detail() {
    let (address, handle) = start(&TestBed::default());
    let start_of_huge = "GET / HTTP/1.1\r\nx: ";
    let huge = format!(
        "{start_of_huge}{}",
        "x".repeat(LONGEST_HEAD - start_of_huge.len())
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let get = |fields: &str| format!("GET /health HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET  /health HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET /health HTTP/3.0\r\n\r\n".to_owned(), "400"),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        ("GET /\u{7f} HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (get("a b: c"), "400"),
        (get("User-Agent: \x1b[31m"), "400"),
        (get("Content-Length: -1"), "400"),
        (get("Content-Length: 1\r\nContent-Length: 2"), "400"),
        (get("Content-Length: 1\r\nTransfer-Encoding: chunked"), "400"),
        (get("Transfer-Encoding: gzip"), "400"),
        (many, "431"),
        (huge, "431"),
    ] {
        let (_, answer) = until_hung_up(address, request.as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.get(9..12), Some(status), "{request:.60} {answer}");
        assert_eq!(body, "", "{request:.60}");
    }
    handle.stop(false).await;
}

/// Whether the process says that it lives, asked from one of the machine's own addresses.
async fn lives(address: SocketAddr, from: [u8; 4]) -> bool {
    let ask = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream
            .write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer).await;
        read.is_ok() && &answer == b"HTTP/1.1 200"
    };
    timeout(Duration::from_secs(1), ask).await == Ok(true)
}

#[actix_web::test]
async fn nobody_keeps_operators_and_probes_out_by_connections_that_are_left_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = prepare(services(&TestBed::default(), Pace::default())).unwrap();
    let server = serve_operators(&state, listener).unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let mut left_open = Vec::new();
    // Those who ask, and stay.
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(1), stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        left_open.push(stream);
    }
    assert!(lives(address, [127, 0, 0, 1]).await);
    // Those who say nothing: their own address is full then, and no other.
    for _ in 0..100 {
        left_open.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(lives(address, [127, 0, 0, 2]).await);
    handle.stop(false).await;
}
