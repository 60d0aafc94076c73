//! What connections may cost: slow ones, many, endless and ambiguous ones, beside those of normal use.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::installation::Installation;
use auth_e2e::raw::{Ending, Reaction, send};
use auth_e2e::scale;
use auth_e2e::server::{Server, within};
use auth_e2e::wire::{self, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const PATIENCE: Duration = Duration::from_secs(40);
/// How long a head or a body may take, and as much again for a machine that is busy with other tests.
const IN_TIME: Duration = Duration::from_secs(15);
/// How many connections keep the server waiting at once.
const SLOW: usize = 500;
/// How often refreshes must be slowed down before it is believed.
const MEASUREMENTS: usize = 3;
/// How often a slow client sends a byte.
const DRIP: Duration = Duration::from_millis(400);

/// What a slow client is slow at.
#[derive(Debug, Clone, Copy)]
enum Slow {
    Head,
    Body,
    SecondHead,
}

impl Slow {
    fn of(number: usize) -> Self {
        [Self::Head, Self::Body, Self::SecondHead][number % 3]
    }

    /// What it sends at once.
    fn start(self) -> &'static str {
        match self {
            Self::Head => "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            Self::Body => {
                "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                 Content-Length: 1000\r\n\r\ngrant_type="
            }
            Self::SecondHead => "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n",
        }
    }

    /// Begins, and then sends a byte now and then until the server has had enough; how long that took.
    async fn carry_on(self, address: SocketAddr, from: Ipv4Addr) -> io::Result<Duration> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let mut stream = socket.connect(address).await?;
        let begun = Instant::now();
        stream.write_all(self.start().as_bytes()).await?;
        let mut answer = [0; 8192];
        if matches!(self, Self::SecondHead) {
            assert!(
                stream.read(&mut answer).await? > 0,
                "the first request is answered"
            );
            stream.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ").await?;
        }
        let mut drip = interval(DRIP);
        loop {
            tokio::select! {
                read = stream.read(&mut answer) => match read {
                    Ok(length) if length > 0 => {}
                    Ok(_) | Err(_) => return Ok(begun.elapsed()),
                },
                _ = drip.tick() => {
                    // Where that fails, reading says why.
                    let _ = stream.write_all(b"a").await;
                }
            }
        }
    }
}

/// The latencies of refreshes, four users at a time, for as long as the other thing goes on.
async fn refreshes(address: SocketAddr, tokens: Vec<String>, span: Duration) -> Vec<Duration> {
    let mut users = JoinSet::new();
    for mut token in tokens {
        users.spawn(async move {
            let mut latencies = Vec::new();
            let mut connection = Connection::open(address).await.unwrap();
            let begun = Instant::now();
            while begun.elapsed() < span {
                let request = wire::token_request(address, &wire::refresh_form(FLUTTER, &token));
                let sent = Instant::now();
                let reply = connection.exchange(&request).await.unwrap();
                latencies.push(sent.elapsed());
                assert_eq!(reply.status, 200);
                token = wire::refresh_token(reply.body).unwrap().to_owned();
            }
            latencies
        });
    }
    users.join_all().await.concat()
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

fn sign_in_four(server: &Server) -> Vec<String> {
    let client = Client::flutter(server.http());
    (0..4).map(|_| client.admin_tokens().refresh).collect()
}

#[test]
fn five_hundred_slow_connections_are_closed_in_time_and_slow_nobody_else() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let mut ratios = Vec::new();
    for _ in 0..scale::times(1, MEASUREMENTS) {
        let ratio = slowdown_beside_slow_connections(&server);
        scale::attempts(SLOW);
        if ratio <= 2.0 {
            return;
        }
        ratios.push(ratio);
    }
    // Among other tests it is these that slow it down.
    assert!(
        !scale::is_full(),
        "p99 of refreshes beside {SLOW} slow connections, as a multiple of the quiet one: {ratios:.2?}"
    );
}

/// How many times as long refreshes take beside slow connections, at their p99.
fn slowdown_beside_slow_connections(server: &Server) -> f64 {
    let address = server.address();
    let span = Duration::from_secs(6);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let quiet = p99(runtime.block_on(refreshes(address, sign_in_four(server), span)));
    let tokens = sign_in_four(server);
    let (beside, closed) = runtime.block_on(async move {
        let mut slow = JoinSet::new();
        for number in 0..SLOW {
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 250).unwrap() + 1);
            slow.spawn(async move { Slow::of(number).carry_on(address, from).await.unwrap() });
        }
        let beside = refreshes(address, tokens, span).await;
        (p99(beside), timeout(PATIENCE, slow.join_all()).await.unwrap())
    });
    assert_eq!(closed.len(), SLOW);
    let longest = closed.iter().max().unwrap();
    let ratio = beside.as_secs_f64() / quiet.as_secs_f64();
    scale::say(&format!(
        "p99 of refreshes: quiet {quiet:?}, beside {SLOW} slow connections {beside:?}, ratio {ratio:.2}; the last one \
         closed after {longest:?}"
    ));
    assert!(*longest < IN_TIME, "{longest:?}");
    ratio
}

/// What the process holds in memory, in MiB.
fn resident(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1_024
}

#[test]
fn clients_that_ask_without_end_and_read_nothing_are_cut_off() {
    let installation = Installation::new();
    let server = installation.start();
    let before = resident(&server);
    let request = wire::get(server.address(), "/openapi.json").repeat(50);
    let streams: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    for stream in &streams {
        stream.set_nonblocking(true).unwrap();
    }
    let mut open = streams;
    let mut largest = before;
    let cut = within(Duration::from_mins(1), || {
        open.retain_mut(|stream| match stream.write(&request) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        largest = largest.max(resident(&server));
        open.is_empty().then_some(())
    });
    assert!(cut.is_some(), "{} are still open", open.len());
    assert!(largest < before + 48, "from {before} MiB to {largest} MiB");
    assert_eq!(server.http().get("/health").unwrap().status, 200);
}

#[test]
fn a_body_without_end_is_refused_however_it_comes() {
    let installation = Installation::new();
    let server = installation.start();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    for chunk in [
        "1\r\na\r\n".to_owned(),
        format!("1000\r\n{}\r\n", "a".repeat(0x1000)),
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let begun = Instant::now();
        // Until it is reset.
        while stream.write_all(chunk.as_bytes()).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "it is never refused");
        }
        assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    }
}

/// Requests that a proxy in front might read otherwise than we do. Each holds a second one.
fn ambiguous() -> Vec<(&'static str, String)> {
    let second = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let with = |fields: &str, body: &str| {
        format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}{second}")
    };
    let chunked = |line: &str| with("Transfer-Encoding: chunked", line);
    vec![
        (
            "length, then chunked",
            with("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ),
        (
            "chunked, then length",
            with("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
        ),
        ("two lengths", with("Content-Length: 0\r\nContent-Length: 34", "")),
        (
            "two lengths, the same",
            with("Content-Length: 0\r\nContent-Length: 0", ""),
        ),
        ("list of lengths", with("Content-Length: 0, 34", "")),
        ("signed length", with("Content-Length: +0", "")),
        ("negative length", with("Content-Length: -1", "")),
        ("hexadecimal length", with("Content-Length: 0x0", "")),
        ("huge length", with("Content-Length: 99999999999999999999999", "")),
        ("space before the colon", with("Content-Length : 0", "")),
        (
            "folded header",
            with("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
        ),
        ("folded value", with("X-A: a\r\n b\r\nContent-Length: 0", "")),
        ("bare line feed", with("X-A: a\nContent-Length: 0", "")),
        (
            "bare line feeds alone",
            "GET /health HTTP/1.1\nHost: x\n\n".repeat(2),
        ),
        ("bare carriage return", with("X-A: a\rContent-Length: 0", "")),
        ("NUL", with("X-A: a\0b\r\nContent-Length: 0", "")),
        ("unknown coding", with("Transfer-Encoding: xchunked", "0\r\n\r\n")),
        (
            "two codings",
            with("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        ),
        (
            "coding twice",
            with(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
        ),
        (
            "coding with a control character",
            with("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
        ),
        (
            "coding in HTTP/1.0",
            with("Transfer-Encoding: chunked", "0\r\n\r\n").replacen("1.1", "1.0", 1),
        ),
        ("chunk size with a prefix", chunked("0x0\r\n\r\n")),
        ("negative chunk size", chunked("-1\r\n\r\n")),
        ("chunk size that overflows", chunked("fffffffffffffffff\r\n\r\n")),
        ("chunk longer than its size", chunked("1\r\nabc\r\n0\r\n\r\n")),
        ("no version", format!("GET /health\r\n\r\n{second}")),
    ]
}

#[test]
fn an_ambiguous_request_is_refused_and_what_it_smuggles_is_never_answered() {
    let installation = Installation::new();
    let server = installation.start();
    for (what, request) in ambiguous() {
        let reaction = send(server.address(), request.as_bytes(), Ending::Open, PATIENCE).unwrap();
        match &reaction {
            Reaction::Answered(statuses) => {
                assert_eq!(statuses.len(), 1, "{what}: {statuses:?}");
                assert!((400..500).contains(&statuses[0]), "{what}: {statuses:?}");
            }
            Reaction::Closed => {}
            Reaction::Silent => panic!("{what}: kept open"),
        }
    }
    scale::attempts(ambiguous().len());
}

/// Whether a connection from this address is kept open.
fn is_let_in(address: SocketAddr, from: [u8; 4]) -> Option<TcpStream> {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (&stream).write_all(&wire::get(address, "/ready")).ok()?;
    let mut answer = [0; 1024];
    match (&stream).read(&mut answer) {
        Ok(length) if length > 0 => Some(stream),
        Ok(_) | Err(_) => None,
    }
}

#[test]
fn an_address_has_only_so_many_connections_and_a_trusted_proxy_as_many_as_there_are() {
    let installation = Installation::new()
        .with("AUTH_SERVICE__MAX_CONNECTIONS", "12")
        .with("AUTH_SERVICE__MAX_CONNECTIONS_PER_ADDRESS", "4")
        .with("AUTH_SERVICE__TRUSTED_PROXIES", "127.0.9.9");
    let server = installation.start();
    let open = |from: [u8; 4], times: usize| -> Vec<_> {
        (0..times)
            .filter_map(|_| is_let_in(server.address(), from))
            .collect()
    };
    let mut one = open([127, 0, 2, 1], 6);
    assert_eq!(one.len(), 4);
    assert_eq!(open([127, 0, 2, 2], 1).len(), 1, "another address has its own");
    one.clear();
    assert!(within(PATIENCE, || is_let_in(server.address(), [127, 0, 2, 1])).is_some());
    let proxy = within(PATIENCE, || {
        let proxy = open([127, 0, 9, 9], 14);
        (proxy.len() == 12).then_some(proxy)
    });
    assert!(
        proxy.is_some(),
        "more than the cap of an address, and no more than there are in all"
    );
}
