//! What one connection of HTTP/2 may cost: heads, streams and answers without end, by frames that no client sends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use auth_e2e::installation::Installation;
use auth_e2e::server::Server;

use crate::tls::{self, Authority, GOOD, Secured};

const PATIENCE: Duration = Duration::from_mins(1);
/// An answer that is not taken is given up after 20 s.
const ANSWER: Duration = Duration::from_secs(20);
/// A head may take 5 s.
const HEAD: Duration = Duration::from_secs(5);
/// How much later than that it may become on a machine that is busy with other tests.
const LATENESS: Duration = Duration::from_secs(15);
/// How much more memory the server may hold afterwards, in MiB.
const ROOM: usize = 32;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![high, middle, low, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A method, by its place in the static table, and a path, of https://localhost.
fn head(method: u8, path: &str) -> Vec<u8> {
    let mut head = vec![method, 0x87, 0x01, 9];
    head.extend(b"localhost");
    head.extend([0x04, u8::try_from(path.len()).unwrap()]);
    head.extend(path.as_bytes());
    head
}

fn get(path: &str) -> Vec<u8> {
    head(0x82, path)
}

/// The streams of a client, as many as wanted.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// A server with a certificate, and a client that speaks to it.
struct Rig {
    installation: Installation,
    server: Server,
    authority: Authority,
    /// What it holds in memory before anything is tried, in MiB.
    before: usize,
}

impl Rig {
    fn new() -> Self {
        let authority = Authority::new();
        let installation = tls::installation(&authority.issue(1, GOOD));
        let server = tls::start(&installation, &authority);
        let before = server_memory(&server);
        Self {
            installation,
            server,
            authority,
            before,
        }
    }

    /// A connection with these settings, each a number and a value.
    fn connect(&self, settings: &[(u16, u32)]) -> Secured {
        let client = self.authority.client(None, b"\x02h2");
        let mut stream = tls::connect(self.server.address(), &client).unwrap();
        stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &payload)).unwrap();
        stream
    }

    /// Fails where the server has suffered.
    fn is_well(&self) {
        let after = server_memory(&self.server);
        assert!(
            after < self.before + ROOM,
            "from {} MiB to {after} MiB",
            self.before
        );
        let printed = self.installation.printed();
        assert!(!printed.contains("panicked"), "{printed}");
        let mut stream = self.connect(&[]);
        stream
            .write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/health")))
            .unwrap();
        assert_eq!(
            tls::first_head(&mut stream).first(),
            Some(&0x88),
            "it answers 200"
        );
    }
}

fn server_memory(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1_024
}

/// How long it takes until the server hangs up.
#[track_caller]
fn until_hung_up(stream: &mut Secured) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 16 * 1_024];
    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
        assert!(begun.elapsed() < PATIENCE, "it is never ended");
    }
    let took = begun.elapsed();
    assert!(took < PATIENCE, "it is never ended");
    took
}

#[test]
fn who_lets_no_answer_come_is_hung_up_on() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let rig = Rig::new();
    let mut stream = rig.connect(&[(INITIAL_WINDOW_SIZE, 0)]);
    for number in streams().take(90) {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, number, &get("/openapi.json"));
        stream.write_all(&request).unwrap();
    }
    let took = until_hung_up(&mut stream);
    assert!(took < ANSWER + LATENESS, "{took:?}");
    rig.is_well();
}

#[test]
fn a_head_that_does_not_end_is_given_up_on() {
    let rig = Rig::new();
    let mut stream = rig.connect(&[]);
    stream
        .write_all(&frame(HEADERS, END_STREAM, 1, &get("/health")))
        .unwrap();
    let took = until_hung_up(&mut stream);
    assert!(took < HEAD + LATENESS, "{took:?}");
    rig.is_well();
}

/// One field, and then only its number in the table, over and over: a byte each on the wire.
#[test]
fn a_head_that_is_small_on_the_wire_and_large_in_memory_is_refused_early() {
    let rig = Rig::new();
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut stream = rig.connect(&[]);
        let mut fields = get("/health");
        fields.extend(b"\x40\x01a\x00");
        stream.write_all(&frame(HEADERS, END_STREAM, 1, &fields)).unwrap();
        for _ in 0..30 {
            // It may be hung up on already.
            let _ = stream.write_all(&frame(CONTINUATION, 0, 1, &[0xbe; 16_000]));
        }
        all.push(stream);
    }
    for stream in &mut all {
        until_hung_up(stream);
    }
    rig.is_well();
}

#[test]
fn a_head_of_very_many_fields_brings_nothing_down() {
    let rig = Rig::new();
    let mut stream = rig.connect(&[]);
    stream
        .write_all(&frame(HEADERS, END_STREAM, 1, &get("/health")))
        .unwrap();
    for block in 0..10_u16 {
        let names = (0..2_500_u16).map(|place| (block * 2_500 + place).to_be_bytes());
        let letter = |half: u8| b'a' + half % 26;
        let fields = names.flat_map(|[high, low]| {
            [
                0,
                4,
                letter(high),
                letter(high / 26),
                letter(low),
                letter(low / 26),
                0,
            ]
        });
        let fields: Vec<u8> = fields.collect();
        let flags = if block == 9 { END_HEADERS } else { 0 };
        for part in fields.chunks(16_000) {
            let _ = stream.write_all(&frame(CONTINUATION, flags, 1, part));
        }
    }
    until_hung_up(&mut stream);
    rig.is_well();
}

#[test]
fn more_requests_at_once_than_anybody_needs_end_the_connection() {
    const POST: u8 = 0x83;
    let rig = Rig::new();
    let mut stream = rig.connect(&[]);
    let mut fields = head(POST, "/oauth/token");
    // content-type, by its place in the static table.
    fields.extend(b"\x0f\x10\x21application/x-www-form-urlencoded");
    for number in streams().take(2_000) {
        let mut request = frame(HEADERS, END_HEADERS, number, &fields);
        request.extend(frame(DATA, 0, number, b"grant_type="));
        if stream.write_all(&request).is_err() {
            break;
        }
    }
    let took = until_hung_up(&mut stream);
    assert!(took < LATENESS, "{took:?}");
    rig.is_well();
}

#[test]
fn requests_that_are_taken_back_at_once_cost_nothing() {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let rig = Rig::new();
    let mut stream = rig.connect(&[]);
    for number in streams().take(50_000) {
        let mut request = frame(HEADERS, END_HEADERS | END_STREAM, number, &get("/openapi.json"));
        request.extend(frame(RST_STREAM, 0, number, &CANCEL));
        if stream.write_all(&request).is_err() {
            break;
        }
    }
    rig.is_well();
}
