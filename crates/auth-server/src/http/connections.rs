//! Connections: how many there may be, and for how long one may keep us waiting. What a stranger can hold is bounded
//! in number, in time and in memory, whatever it sends or leaves unread.
//!
//! The framework times the head of a connection's first request and the pauses between requests. All else is
//! watched here, below it, where bytes are read and written: the head of a later request, and a client that does not
//! take its answers. Nor is more read of a connection than there is a use for: what waits, waits at the client. It speaks
//! HTTP/1.1 alone (ADR 0014).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest};
use auth_domain::throttle::NetworkKey;
use futures::Stream as AsyncStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_address::Trust;
use crate::telemetry::{self, Cut, TurnedAway};

/// How much is read of a connection before what came is looked at. The framework takes apart all that has come, and keeps each request that it
/// finds, so this is what a client can make it keep that sends many at once.
const PART: usize = 2 * 1024;

/// How many connections there may be, and how long one may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections in all.
    pub total: usize,
    /// Connections from one address (an IPv6 /64 counts as one). Trusted proxies are not held to it.
    pub per_address: usize,
    /// How long a connection is kept open between requests.
    pub keep_alive: Duration,
    /// How long the head of a request may take to arrive, and a TLS handshake to be done.
    pub head: Duration,
    /// How long a client may take to take what it is sent.
    pub answer: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 10_000,
            per_address: 1_024,
            // Longer than any proxy in front keeps them, so that it never writes into one that is just being closed.
            keep_alive: Duration::from_secs(75),
            head: Duration::from_secs(5),
            answer: Duration::from_secs(20),
        }
    }
}

/// Lets connections in; shared by all workers.
pub(super) struct Door {
    limits: ConnectionLimits,
    trust: Trust,
    tls: Option<TlsAcceptor>,
    open: Arc<Open>,
}

impl Door {
    pub(super) fn new(limits: ConnectionLimits, trust: Trust, tls: Option<TlsAcceptor>) -> Self {
        Self {
            limits,
            trust,
            tls,
            open: Arc::default(),
        }
    }

    /// The same, telling the metrics how many connections are open.
    pub(super) fn counted(self) -> Self {
        let open = Open {
            is_counted: true,
            ..Open::default()
        };
        Self {
            open: Arc::new(open),
            ..self
        }
    }

    /// How many connections there may be, and for how long one may keep us waiting.
    pub(super) const fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Lets a connection in where there is room for it, and makes it secure where that is called for.
    pub(super) async fn admit(&self, stream: TcpStream) -> io::Result<(Connection, Option<SocketAddr>)> {
        let peer = stream.peer_addr()?;
        let seat = self.seat(peer.ip()).map_err(|why| {
            telemetry::turned_away(why);
            io::ErrorKind::ConnectionRefused
        })?;
        // An answer is written at once and whole: there is nothing to wait for.
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(Box::new(self.shake_hands(tls, stream).await?)),
        };
        Ok((Connection::new(stream, self.limits, seat), Some(peer)))
    }

    async fn shake_hands(&self, tls: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let done = timeout(self.limits.head, tls.accept(stream)).await;
        let done = done.unwrap_or_else(|late| Err(late.into()));
        done.inspect_err(|_| telemetry::turned_away(TurnedAway::Handshake))
    }

    fn seat(&self, peer: IpAddr) -> Result<Seat, TurnedAway> {
        let network = (!self.trust.is_proxy(peer)).then(|| NetworkKey::of(peer));
        let mut seats = self.open.seats();
        if seats.total >= self.limits.total {
            return Err(TurnedAway::Full);
        }
        if let Some(network) = network {
            let taken = seats.by_network.entry(network).or_default();
            if *taken >= self.limits.per_address {
                return Err(TurnedAway::Address);
            }
            *taken += 1;
        }
        seats.total += 1;
        self.open.tell(&seats);
        Ok(Seat {
            network,
            open: Arc::clone(&self.open),
        })
    }
}

/// The connections that are open. Bounded by their number, since a network without any has no entry.
#[derive(Default)]
struct Open {
    seats: Mutex<Seats>,
    /// Whether the metrics are told.
    is_counted: bool,
}

#[derive(Default)]
struct Seats {
    total: usize,
    by_network: HashMap<NetworkKey, usize>,
}

impl Open {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, seats: &Seats) {
        if self.is_counted {
            telemetry::connections(seats.total);
        }
    }
}

/// An open connection's place among the others.
struct Seat {
    /// `None` for a trusted proxy.
    network: Option<NetworkKey>,
    open: Arc<Open>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.open.seats();
        seats.total = seats.total.saturating_sub(1);
        self.open.tell(&seats);
        let Some(network) = self.network else { return };
        if let Some(taken) = seats.by_network.get_mut(&network) {
            *taken -= 1;
            if *taken == 0 {
                seats.by_network.remove(&network);
            }
        }
    }
}

/// What bytes come and go by.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is known about a connection's requests; its requests and the connection itself share it.
pub(super) struct Watch {
    is_tls: bool,
    /// Requests that have been begun, and whose answers are not sent yet.
    going: Cell<usize>,
    /// Since when there is none.
    idle_since: Cell<Instant>,
    /// Whether there has been one.
    has_served: Cell<bool>,
    /// Since when the head of the next one has been coming.
    head_since: Cell<Option<Instant>>,
    /// What has been seen of that head.
    head: Cell<Head>,
    /// Whether a handler waits for more of a body.
    is_body_wanted: Cell<bool>,
    /// The connection, where it reads no more for the moment.
    reader: RefCell<Option<Waker>>,
}

impl Watch {
    fn begin(self: &Rc<Self>) -> Going {
        self.going.set(self.going.get() + 1);
        self.has_served.set(true);
        self.head_since.set(None);
        self.head.set(Head::Ended);
        Going(Rc::clone(self))
    }

    fn is_idle(&self) -> bool {
        self.going.get() == 0
    }

    /// Whether nobody has a use for what might come: a request is being worked on that wants no more of its body.
    fn is_reading_of_no_use(&self) -> bool {
        !self.is_idle() && !self.is_body_wanted.get()
    }

    fn want_body(&self) {
        self.is_body_wanted.set(true);
        self.read_on();
    }

    fn read_on(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A request that is being worked on or answered, until this is dropped.
pub(super) struct Going(Rc<Watch>);

impl Drop for Going {
    fn drop(&mut self) {
        let Self(watch) = self;
        watch.going.set(watch.going.get().saturating_sub(1));
        if watch.is_idle() {
            watch.idle_since.set(Instant::now());
            watch.head_since.set(None);
            watch.head.set(Head::default());
            watch.is_body_wanted.set(false);
            watch.read_on();
        }
    }
}

/// Notes that a request has been begun; `None` where it came by no connection of ours, as in tests.
pub(super) fn begin(request: &mut ServiceRequest) -> Option<Going> {
    let watch = Rc::clone(request.request().conn_data::<Rc<Watch>>()?);
    let headers = request.headers();
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        let body = WatchedBody {
            body: request.take_payload(),
            watch: Rc::clone(&watch),
        };
        request.set_payload(Payload::Stream {
            payload: Box::pin(body),
        });
    }
    Some(watch.begin())
}

/// A body that tells its connection when a handler waits for more of it.
struct WatchedBody {
    body: Payload,
    watch: Rc<Watch>,
}

impl AsyncStream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.body).poll_next(context);
        if polled.is_pending() {
            self.watch.want_body();
        }
        polled
    }
}

/// Whether a request came over TLS.
pub(super) fn is_tls(request: &HttpRequest) -> bool {
    request.conn_data::<Rc<Watch>>().is_some_and(|watch| watch.is_tls)
}

/// A client's connection, which ends by an error where the client keeps us waiting for too long.
pub(super) struct Connection {
    stream: Stream,
    limits: ConnectionLimits,
    watch: Rc<Watch>,
    patience: Alarm,
    /// By when what is to be sent must be taken, where something is.
    answer_by: Option<Instant>,
    answer: Alarm,
    has_just_read: bool,
    _seat: Seat,
}

impl Connection {
    fn new(stream: Stream, limits: ConnectionLimits, seat: Seat) -> Self {
        let watch = Watch {
            is_tls: matches!(stream, Stream::Tls(_)),
            going: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            has_served: Cell::new(false),
            head_since: Cell::new(None),
            head: Cell::default(),
            is_body_wanted: Cell::new(false),
            reader: RefCell::default(),
        };
        Self {
            stream,
            limits,
            watch: Rc::new(watch),
            patience: Alarm::default(),
            answer_by: None,
            answer: Alarm::default(),
            has_just_read: false,
            _seat: seat,
        }
    }

    /// What its requests find it by.
    pub(super) fn watch(&self) -> Rc<Watch> {
        Rc::clone(&self.watch)
    }

    /// Reads a part of what has come.
    fn poll_some(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(PART);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(self.poll_stream(context, &mut part))?;
        self.note_bytes(part.filled_mut());
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    fn poll_stream(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// Notes what came: something of a body, or of the head of the next request.
    fn note_bytes(&self, bytes: &mut [u8]) {
        let watch = &self.watch;
        watch.is_body_wanted.set(false);
        if !watch.is_idle() || bytes.is_empty() {
            return;
        }
        if watch.has_served.get() && watch.head_since.get().is_none() {
            watch.head_since.set(Some(Instant::now()));
        }
        watch.head.set(watch.head.get().spoil_bare_line_feeds(bytes));
    }

    /// Nothing came. Has the client kept us waiting for too long by now?
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((by, late)) = self.patience() else {
            return Poll::Pending;
        };
        ready!(self.patience.poll_at(by, context));
        Poll::Ready(Err(cut(late)))
    }

    /// How long we wait, and for what. While a request is worked on, and nothing else has been begun, it is us who are
    /// waited for.
    fn patience(&self) -> Option<(Instant, Cut)> {
        let (watch, limits) = (&self.watch, &self.limits);
        match watch.head_since.get() {
            Some(since) => Some((since + limits.head, Cut::LateHead)),
            None if watch.is_idle() => Some((
                watch.idle_since.get() + limits.head + limits.keep_alive,
                Cut::Idle,
            )),
            None => None,
        }
    }

    /// Passes on what became of writing, unless the client has not taken all of it for too long.
    fn poll_taken<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_pending() {
            let by = *self
                .answer_by
                .get_or_insert_with(|| Instant::now() + self.limits.answer);
            ready!(self.answer.poll_at(by, context));
            return Poll::Ready(Err(cut(Cut::UntakenAnswer)));
        }
        outcome
    }
}

/// Counts a connection that is ended because of its client, and says how it ends.
fn cut(why: Cut) -> io::Error {
    telemetry::cut(why);
    io::ErrorKind::TimedOut.into()
}

/// The framework ends what it has waited for in vain, a first request, without a word to us.
impl Drop for Connection {
    fn drop(&mut self) {
        let watch = &self.watch;
        if !watch.has_served.get() && watch.idle_since.get().elapsed() >= self.limits.head {
            telemetry::cut(Cut::LateHead);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_just_read {
            self.has_just_read = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.watch.is_reading_of_no_use() {
            self.watch.reader.replace(Some(context.waker().clone()));
            return Poll::Pending;
        }
        match self.poll_some(context, buffer) {
            Poll::Ready(outcome) => {
                self.has_just_read = true;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.poll_patience(context),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.poll_taken(outcome, context)
    }

    /// The framework asks for it when it has written everything.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        if outcome.is_ready() {
            self.answer_by = None;
        }
        self.poll_taken(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        self.poll_taken(outcome, context)
    }
}

/// The head of a request as it comes. The framework takes a line feed without its carriage return for
/// the end of a line, as it may (RFC 9112 section 2.2). A proxy in front that does not would see one header where we
/// see two, and a stranger could smuggle a request past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Empty lines may come before it.
    Begun {
        is_empty: bool,
        last: u8,
        line: usize,
    },
    Ended,
}

impl Default for Head {
    fn default() -> Self {
        Self::Begun {
            is_empty: true,
            last: 0,
            line: 0,
        }
    }
}

impl Head {
    /// Makes of each line feed that stands alone a byte that no head may hold, so that the framework refuses it.
    fn spoil_bare_line_feeds(self, bytes: &mut [u8]) -> Self {
        let Self::Begun {
            mut is_empty,
            mut last,
            mut line,
        } = self
        else {
            return Self::Ended;
        };
        for byte in bytes {
            match *byte {
                b'\n' if last != b'\r' => *byte = 0,
                b'\n' if line == 0 && !is_empty => return Self::Ended,
                b'\n' => line = 0,
                b'\r' => {}
                _ => {
                    is_empty = false;
                    line += 1;
                }
            }
            last = *byte;
        }
        Self::Begun { is_empty, last, line }
    }
}

/// Wakes a connection at a point in time; a timer exists only for one that has ever been kept waiting.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn poll_at(&mut self, by: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(by)));
        if sleep.deadline() != by {
            sleep.as_mut().reset(by);
        }
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(total: usize, per_address: usize) -> Door {
        let limits = ConnectionLimits {
            total,
            per_address,
            ..ConnectionLimits::default()
        };
        let trust = Trust {
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Trust::default()
        };
        Door::new(limits, trust, None)
    }

    fn seat(door: &Door, peer: &str) -> Option<Seat> {
        door.seat(peer.parse().unwrap()).ok()
    }

    #[test]
    fn an_address_has_only_so_many_seats_and_gets_them_back() {
        let door = door(10, 2);
        let seats = [seat(&door, "192.0.2.1"), seat(&door, "192.0.2.1")];
        assert!(seats.iter().all(Option::is_some));
        assert!(seat(&door, "192.0.2.1").is_none());
        assert!(seat(&door, "192.0.2.2").is_some(), "another one has its own");
        drop(seats);
        assert!(seat(&door, "192.0.2.1").is_some());
        assert!(door.open.seats().by_network.is_empty());
        assert_eq!(door.open.seats().total, 0);
    }

    fn spoilt(parts: &[&str]) -> (String, bool) {
        let mut head = Head::default();
        let mut whole = Vec::new();
        for part in parts {
            let mut bytes = part.as_bytes().to_vec();
            head = head.spoil_bare_line_feeds(&mut bytes);
            whole.extend(bytes);
        }
        (String::from_utf8(whole).unwrap(), head == Head::Ended)
    }

    #[test]
    fn line_feeds_that_stand_alone_are_spoilt_in_a_head_and_nowhere_else() {
        let good = "\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nbody\nof\nlines";
        assert_eq!(spoilt(&[good]), (good.to_owned(), true));
        let byte_by_byte: Vec<_> = good.split_inclusive(|_: char| true).collect();
        assert_eq!(spoilt(&byte_by_byte), (good.to_owned(), true));
        let bare = "GET / HTTP/1.1\nA: b\r\n";
        assert_eq!(spoilt(&[bare]).0, "GET / HTTP/1.1\0A: b\r\n");
        assert_eq!(spoilt(&["A: b", "\n", "\n"]), ("A: b\0\0".to_owned(), false));
        assert_eq!(
            spoilt(&["A: b\r", "\n\r\n\n"]),
            ("A: b\r\n\r\n\n".to_owned(), true)
        );
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_their_seats() {
        let door = door(10, 1);
        let _one = seat(&door, "2001:db8::1").unwrap();
        assert!(seat(&door, "2001:db8::ffff").is_none());
        assert!(seat(&door, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn a_trusted_proxy_is_held_to_the_total_alone() {
        let door = door(3, 1);
        let seats: Vec<_> = (0..3).map_while(|_| seat(&door, "10.1.2.3")).collect();
        assert_eq!(seats.len(), 3);
        assert!(seat(&door, "10.1.2.3").is_none());
        assert!(seat(&door, "192.0.2.1").is_none());
    }
}
