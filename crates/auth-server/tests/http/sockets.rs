//! The server on a real socket: broken transfers, and a shutdown that finishes what it has begun.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use auth_server::http::{HttpSettings, Services, serve};
use auth_testkit::{TestBed, build};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{FORM, login};

fn start(bed: &TestBed) -> (SocketAddr, ServerHandle) {
    bed.store.put_client(build::public_client(crate::rig::PUBLIC));
    let services = Services {
        tokens: bed.service(),
        signer: Arc::new(bed.signer.clone()),
        store: Arc::new(bed.store.clone()),
        clock: Arc::new(bed.clock.clone()),
        random: Arc::new(bed.random.clone()),
    };
    let settings = HttpSettings {
        base_path: String::new(),
        workers: 1,
        shutdown_timeout: Duration::from_secs(5),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(services, settings, listener).unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

/// Sends bytes and reads what comes until the end of a JSON object, or until the server hangs up.
async fn exchange(address: SocketAddr, request: &str) -> String {
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
