//! A worker on a real socket that has as much in hand as it takes: places come back however a request ends, and what is
//! refused leaves its connection in step.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use async_trait::async_trait;
use auth_domain::client::Client;
use auth_domain::id::ClientId;
use auth_domain::password::Pace;
use auth_domain::ports::{Clients, Unavailable};
use auth_domain::token_service::{Ports, TokenService};
use auth_server::http::{HttpSettings, Services};
use auth_testkit::fake::FakeStore;
use auth_testkit::{TestBed, build};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::rig::{FORM, PUBLIC, form, login, refresh};
use crate::sockets::{exchange, serve_at, services};

/// The client whose requests wait until they are let go on.
const HELD: &str = "held";
/// The client at whose look-up the server panics.
const DEFECT: &str = "defect";
/// What a connection is asked after something else, to see whether it is in step.
const LIVE: &str = "GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Looks clients up, and lets one wait.
#[derive(Clone)]
struct Gate {
    store: FakeStore,
    reached: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

#[async_trait]
impl Clients for Gate {
    async fn find(&self, client_id: &ClientId) -> Result<Option<Client>, Unavailable> {
        assert_ne!(client_id.as_str(), DEFECT);
        if client_id.as_str() == HELD {
            self.reached.add_permits(1);
            self.opened.acquire().await.unwrap().forget();
        }
        Clients::find(&self.store, client_id).await
    }
}

/// A server with one worker.
struct Busy {
    bed: TestBed,
    gate: Gate,
    address: SocketAddr,
    handle: ServerHandle,
    /// Good for one refresh.
    token: String,
}

impl Busy {
    async fn start(most: usize, pace: Pace, request_timeout: Duration) -> Self {
        let bed = TestBed::without_limits();
        bed.store.put_client(build::public_client(PUBLIC));
        bed.store.put_client(build::public_client(HELD));
        let gate = Gate {
            store: bed.store.clone(),
            reached: Arc::new(Semaphore::new(0)),
            opened: Arc::new(Semaphore::new(0)),
        };
        let ports = Ports {
            clients: Arc::new(gate.clone()),
            ..bed.ports()
        };
        let services = Services {
            tokens: TokenService::new(ports, bed.policy.clone()),
            ..services(&bed, pace)
        };
        let settings = HttpSettings {
            requests_in_hand: NonZeroUsize::new(most),
            request_timeout,
            ..HttpSettings::default()
        };
        let (address, handle) = serve_at(services, settings);
        let token = bed.sign_in().await.tokens.refresh.expose().to_owned();
        Self {
            bed,
            gate,
            address,
            handle,
            token,
        }
    }

    async fn taking(most: usize) -> Self {
        Self::start(most, Pace::default(), HttpSettings::default().request_timeout).await
    }

    /// Begins a request that goes on once it is [let](Self::let_go_on).
    async fn hold(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        self.until_held().await;
        stream
    }

    async fn until_held(&self) {
        let reached = timeout(Duration::from_secs(10), self.gate.reached.acquire());
        reached.await.unwrap().unwrap().forget();
    }

    fn let_go_on(&self) {
        self.gate.opened.add_permits(1);
    }

    fn refresh(&self) -> String {
        post("/oauth/token", &refresh(build::FLUTTER, &self.token))
    }

    /// Whether a refresh is refused since there is too much in hand.
    async fn refuses(&self) -> bool {
        let answer = exchange(self.address, &self.refresh()).await;
        let is_refused = answer.starts_with("HTTP/1.1 503 ");
        assert!(is_refused || answer.starts_with("HTTP/1.1 200 "), "{answer}");
        is_refused
    }

    /// Refreshes as often as it takes to be served: none that is refused has consumed the token.
    async fn until_served(&self) {
        let served = async { while self.refuses().await {} };
        timeout(Duration::from_secs(10), served).await.unwrap();
    }

    async fn stop(self) {
        self.handle.stop(false).await;
    }
}

fn post(path: &str, form: &str) -> String {
    head(path, &format!("Content-Length: {}\r\n", form.len())) + form
}

fn head(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n{fields}\r\n")
}

fn sign_in(client: &str) -> String {
    post(
        "/oauth/token",
        &login(client, build::ALICE, build::ALICE_PASSWORD),
    )
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") && stream.read_buf(&mut answer).await.unwrap() > 0 {}
    String::from_utf8(answer).unwrap()
}

#[actix_web::test]
async fn a_place_is_held_until_the_answer() {
    let busy = Busy::taking(1).await;
    let held = busy.hold(&sign_in(HELD)).await;
    assert!(busy.refuses().await);
    busy.let_go_on();
    let answer = answer_of(held).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!busy.refuses().await);
    busy.stop().await;
}

#[actix_web::test]
async fn a_place_comes_back_after_a_panic() {
    let busy = Busy::taking(1).await;
    let answer = exchange(busy.address, &sign_in(DEFECT)).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(!busy.refuses().await);
    busy.stop().await;
}

#[actix_web::test]
async fn a_place_comes_back_when_the_work_is_done_though_the_client_has_hung_up() {
    let busy = Busy::taking(1).await;
    drop(busy.hold(&sign_in(HELD)).await);
    assert!(busy.refuses().await);
    busy.let_go_on();
    busy.until_served().await;
    busy.stop().await;
}

#[actix_web::test]
async fn a_place_comes_back_when_the_work_is_done_though_it_was_answered_as_late() {
    let busy = Busy::start(1, Pace::default(), Duration::from_millis(100)).await;
    let introspection = post("/oauth/introspect", &form(&[("client_id", HELD), ("token", "x")]));
    let answer = answer_of(busy.hold(&introspection).await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(busy.refuses().await);
    busy.let_go_on();
    busy.until_served().await;
    busy.stop().await;
}

#[actix_web::test]
async fn a_failed_sign_in_that_waits_for_the_floor_holds_no_place() {
    let forever = Pace::with_floor(Duration::from_hours(1));
    let busy = Busy::start(1, forever, HttpSettings::default().request_timeout).await;
    let failed = post("/oauth/token", &login(PUBLIC, build::ALICE, "wrong"));
    let mut stream = TcpStream::connect(busy.address).await.unwrap();
    stream.write_all(failed.as_bytes()).await.unwrap();
    let before = busy.bed.store.audit_trail().len();
    let judged = async {
        while busy.bed.store.audit_trail().len() == before {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), judged).await.unwrap();
    busy.until_served().await;
    busy.stop().await;
}

#[actix_web::test]
async fn sign_ins_that_wait_leave_room_for_refreshes() {
    let busy = Busy::taking(4).await;
    let held = busy.hold(&sign_in(HELD)).await;
    let answer = exchange(busy.address, &sign_in(PUBLIC)).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(!busy.refuses().await);
    busy.let_go_on();
    answer_of(held).await;
    busy.stop().await;
}

#[actix_web::test]
async fn whoever_was_let_in_by_the_head_is_looked_at_once_more_when_the_body_has_come() {
    let busy = Busy::taking(1).await;
    let mut waiting = Vec::new();
    for form in [
        login(HELD, build::ALICE, build::ALICE_PASSWORD),
        refresh(build::FLUTTER, &busy.token),
    ] {
        let mut stream = TcpStream::connect(busy.address).await.unwrap();
        let fields = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", form.len());
        let head = head("/oauth/token", &fields);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "it is let in");
        waiting.push((stream, form));
    }
    for (stream, form) in &mut waiting {
        stream.write_all(form.as_bytes()).await.unwrap();
        if form.contains(HELD) {
            busy.until_held().await;
        }
    }
    let (refused, _) = waiting.pop().unwrap();
    let answer = answer_of(refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
    let metrics = all_of(busy.address, &LIVE.replace("/live", "/metrics")).await;
    for line in [
        "auth_http_requests_turned_away_total 1",
        "auth_http_requests_in_hand 1",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} in {metrics}");
    }
    busy.let_go_on();
    busy.until_served().await;
    busy.stop().await;
}

/// All that is answered until the server hangs up.
async fn all_of(address: SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let all = async { while matches!(stream.read_buf(&mut answers).await, Ok(1..)) {} };
    timeout(Duration::from_secs(15), all).await.unwrap();
    String::from_utf8(answers).unwrap()
}

/// The statuses of all that is answered until the server hangs up.
async fn statuses(address: SocketAddr, requests: &str) -> Vec<String> {
    let answers = all_of(address, requests).await;
    let answers = answers.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer[..3].to_owned()).collect()
}

#[actix_web::test]
async fn what_is_refused_leaves_its_connection_in_step() {
    let busy = Busy::taking(1).await;
    let held = busy.hold(&sign_in(HELD)).await;
    let chunked = head("/oauth/token", "Transfer-Encoding: chunked\r\n");
    let smuggled = LIVE.repeat(3);
    let short = post("/oauth/token", &smuggled);
    let in_chunks = |end: &str| format!("{chunked}{:x}\r\n{smuggled}\r\n0\r\n{end}\r\n", smuggled.len());
    for (requests, expected) in [
        (short.clone(), ["503", "200"].as_slice()),
        (in_chunks(""), &["503", "200"]),
        (in_chunks("X-Trailer: 1\r\n"), &["503", "200"]),
        (post("/oauth/revoke", ""), &["503", "200"]),
        (
            short.clone() + &in_chunks("") + &short,
            &["503", "503", "503", "200"],
        ),
    ] {
        assert_eq!(
            statuses(busy.address, &(requests.clone() + LIVE)).await,
            expected,
            "{requests}"
        );
    }
    busy.let_go_on();
    answer_of(held).await;
    busy.stop().await;
}

#[actix_web::test]
async fn what_is_refused_with_more_of_a_body_than_is_read_ends_its_connection() {
    let busy = Busy::taking(1).await;
    let held = busy.hold(&sign_in(HELD)).await;
    let smuggled = LIVE.repeat(64 * 1024 / LIVE.len());
    let chunk = format!("{:x}\r\n{smuggled}\r\n", smuggled.len());
    let chunked = head("/oauth/token", "Transfer-Encoding: chunked\r\n") + &chunk;
    for request in [
        post("/oauth/token", &smuggled),
        chunked.clone() + "0\r\n\r\n",
        chunked.clone() + &chunk,
        chunked + "zz\r\n",
    ] {
        assert_eq!(
            statuses(busy.address, &(request.clone() + LIVE)).await,
            ["503"],
            "{request:.200}"
        );
    }
    busy.let_go_on();
    answer_of(held).await;
    busy.stop().await;
}
