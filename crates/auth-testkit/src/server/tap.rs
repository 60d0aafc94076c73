//! A way to a PostgreSQL that counts what goes over it, and can be cut at a point of a test's choice.

use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::Database;

/// A listener before a database's server, which passes on what comes, as long as it is not told otherwise.
#[derive(Debug)]
pub struct Tap {
    url: String,
    address: SocketAddr,
    meter: Arc<Meter>,
}

/// What has gone over it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// How often the server has said that it is ready for the next: once for each round trip, and for each connection.
    pub round_trips: u64,
    /// How many statements it was given as text, to be prepared or to be run at once.
    pub texts: u64,
    /// Bytes on the way to the server.
    pub sent: u64,
    /// Bytes on the way back.
    pub received: u64,
    /// How many answers were lost as it was asked for.
    pub lost: u64,
}

impl Traffic {
    /// What has gone over it since an earlier look.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            round_trips: self.round_trips - earlier.round_trips,
            texts: self.texts - earlier.texts,
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            lost: self.lost - earlier.lost,
        }
    }
}

#[derive(Debug, Default)]
struct Meter {
    round_trips: AtomicU64,
    texts: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    /// The answer to the next prepared statement is to be lost, together with its connection.
    loses_answer: AtomicBool,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Tap {
    /// A way to a database.
    ///
    /// # Panics
    /// Where there is no free port, or the database's URL names no address.
    pub fn before(database: &Database) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = database.url();
        let (user, rest) = url.split_once('@').expect("a URL with a user");
        let (server, name) = rest.split_once('/').expect("a URL with a database");
        let server: SocketAddr = server.parse().expect("a URL with an address");
        let meter = Arc::<Meter>::default();
        let kept = Arc::clone(&meter);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if kept.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever finds nobody behind it is cut off.
                if let Ok(server) = TcpStream::connect(server) {
                    kept.connect(client, server);
                }
            }
        });
        Self {
            url: format!("{user}@{address}/{name}?sslmode=disable"),
            address,
            meter,
        }
    }

    /// The database's URL by this way.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What has gone over it so far.
    pub fn seen(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Traffic {
            round_trips: read(&self.meter.round_trips),
            texts: read(&self.meter.texts),
            sent: read(&self.meter.sent),
            received: read(&self.meter.received),
            lost: read(&self.meter.lost),
        }
    }

    /// Lets the next prepared statement reach the server, and cuts its connection when the answer comes.
    pub fn lose_next_answer(&self) {
        self.meter.loses_answer.store(true, Ordering::SeqCst);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.meter.is_over.store(true, Ordering::SeqCst);
        for stream in self.meter.open().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        // Wakes the one that waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

impl Meter {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on between the two until one of them ends.
    fn connect(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let copy = |stream: &TcpStream| stream.try_clone().expect("a socket has copies");
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a socket takes its options");
            self.open().push(copy(stream));
        }
        let (to_client, to_server) = (copy(&client), copy(&server));
        // The answer to a statement of this connection is to be lost.
        let is_doomed = Arc::<AtomicBool>::default();
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let doom = Arc::clone(&is_doomed);
        thread::spawn(move || {
            let mut messages = Messages::after_a_first_one();
            pass_on(client, to_server, |bytes| {
                there.sent.fetch_add(length(bytes), Ordering::SeqCst);
                messages.read(bytes, |kind| match kind {
                    b'P' | b'Q' => drop(there.texts.fetch_add(1, Ordering::SeqCst)),
                    b'B' if there.loses_answer.swap(false, Ordering::SeqCst) => {
                        doom.store(true, Ordering::SeqCst);
                    }
                    _ => {}
                });
                true
            });
        });
        thread::spawn(move || {
            let mut messages = Messages::default();
            pass_on(server, to_client, |bytes| {
                if is_doomed.load(Ordering::SeqCst) {
                    back.lost.fetch_add(1, Ordering::SeqCst);
                    return false;
                }
                back.received.fetch_add(length(bytes), Ordering::SeqCst);
                messages.read(bytes, |kind| {
                    if kind == b'Z' {
                        back.round_trips.fetch_add(1, Ordering::SeqCst);
                    }
                });
                true
            });
        });
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Passes on what is good, until the end or something that is not.
fn pass_on(mut from: TcpStream, mut to: TcpStream, mut is_good: impl FnMut(&[u8]) -> bool) {
    let mut room = vec![0; 64 * 1_024];
    while let Ok(read @ 1..) = from.read(&mut room) {
        let bytes = room.get(..read).unwrap_or_default();
        // Counted before it is passed on: whoever has an answer sees it counted.
        if !is_good(bytes) || to.write_all(bytes).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        drop(stream.shutdown(Shutdown::Both));
    }
}

/// Finds the messages of PostgreSQL's protocol in a stream: a byte that says what it is, then how long it is.
#[derive(Debug, Default)]
struct Messages {
    header: Vec<u8>,
    /// The first message of a client has no kind.
    is_untyped: bool,
    /// So much is left of the message at hand.
    left: usize,
}

impl Messages {
    fn after_a_first_one() -> Self {
        Self {
            is_untyped: true,
            ..Self::default()
        }
    }

    fn read(&mut self, mut bytes: &[u8], mut saw: impl FnMut(u8)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            self.header.push(byte);
            let (kind, length) = match (&self.header[..], self.is_untyped) {
                (&[a, b, c, d], true) => (0, [a, b, c, d]),
                (&[kind, a, b, c, d], false) => (kind, [a, b, c, d]),
                _ => continue,
            };
            // The length counts itself.
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.left = length.saturating_sub(4);
            self.is_untyped = false;
            self.header.clear();
            saw(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let stream = b"\0\0\0\x08abcdQ\0\0\0\x06hiS\0\0\0\x04X\0\0\0\x04";
        for size in 1..=stream.len() {
            let (mut messages, mut kinds) = (Messages::after_a_first_one(), Vec::new());
            for part in stream.chunks(size) {
                messages.read(part, |kind| kinds.push(kind));
            }
            assert_eq!(kinds, [0, b'Q', b'S', b'X'], "in parts of {size}");
        }
    }
}
