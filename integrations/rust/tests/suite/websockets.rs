//! WebSockets on actix-web: judged before they are accepted, closed when their token expires.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::rt::{spawn, task::spawn_blocking, time::sleep};
use actix_web::web::{Bytes, Data};
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use codelab_auth_resource::{Identity, TokenVerifier};
use futures::stream;

use crate::vectors::{token, verifier_after};

/// A close frame with the code 1008, a violation of policy (RFC 6455 section 7.4.1).
const CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xf0];
/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts, says nothing, and closes when the token expires.
async fn talk(user: Identity, verifier: Data<TokenVerifier>) -> HttpResponse {
    let left = verifier.time_left(&user);
    let closing = stream::once(async move {
        sleep(left).await;
        Ok::<_, Error>(Bytes::from_static(CLOSE))
    });
    HttpResponse::SwitchingProtocols()
        .upgrade("websocket")
        .streaming(closing)
}

/// A server whose time is so many seconds after that of the vectors.
fn serve(seconds: f64) -> SocketAddr {
    let verifier = verifier_after(seconds);
    let server = HttpServer::new(move || {
        let verifier = Data::new(verifier.clone());
        App::new().app_data(verifier).route("/talk", web::get().to(talk))
    });
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    spawn(server.run());
    address
}

/// The head of the answer to a request for a WebSocket, and what comes after it where it is accepted.
async fn ask(address: SocketAddr, shown: String) -> (String, Vec<u8>) {
    let asked = spawn_blocking(move || {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            connection,
            "GET /talk HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n{shown}\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut frame = vec![0; CLOSE.len()];
        if head.starts_with("HTTP/1.1 101") {
            connection.read_exact(&mut frame).unwrap();
        }
        (head, frame)
    });
    asked.await.unwrap()
}

#[actix_web::test]
async fn a_websocket_with_no_or_a_bad_or_an_expired_token_is_refused() {
    let address = serve(0.0);
    let shown = |token: &str| {
        [
            format!("authorization: Bearer {token}\r\n"),
            format!("sec-websocket-protocol: bearer, {token}\r\n"),
        ]
    };
    let bad = ["expired long ago", "signed by a stranger", "a refresh token"].map(token);
    let all = bad.into_iter().flat_map(shown).chain([String::new()]);
    for shown in all {
        let (head, _) = ask(address, shown.clone()).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{shown}: {head}");
    }
}

#[actix_web::test]
async fn a_websocket_is_closed_when_its_token_expires() {
    // A tenth of a second before the end of the token and the leeway.
    let address = serve(904.9);
    let good = token("an access token is accepted");
    for shown in [
        format!("authorization: Bearer {good}\r\n"),
        format!("sec-websocket-protocol: bearer, {good}\r\n"),
    ] {
        let (head, frame) = ask(address, shown).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert_eq!(frame, CLOSE);
    }
}
