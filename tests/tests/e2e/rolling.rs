//! The end of an instance: announced, watched, and noticed by nobody who uses it.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::server::{Server, within};
use auth_testkit::server::Database;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);
/// How often the balancer asks whether an instance is ready.
const PROBED_EVERY: Duration = Duration::from_millis(50);
const USERS: usize = 4;
/// How often they are answered before the next thing happens.
const ROUNDS: usize = 40;

/// Passes connections on to the instances that say that they are ready, in turn, as the proxies in front of a deployment
/// do. It knows nothing of HTTP but how to ask `/ready`.
struct Balancer {
    address: SocketAddr,
    instances: Arc<Mutex<BTreeSet<SocketAddr>>>,
    ready: Arc<Mutex<Vec<SocketAddr>>>,
    is_over: Arc<AtomicBool>,
    probing: Option<JoinHandle<()>>,
}

impl Balancer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut balancer = Self {
            address: listener.local_addr().unwrap(),
            instances: Arc::default(),
            ready: Arc::default(),
            is_over: Arc::default(),
            probing: None,
        };
        let (instances, ready) = (Arc::clone(&balancer.instances), Arc::clone(&balancer.ready));
        let is_over = Arc::clone(&balancer.is_over);
        balancer.probing = Some(thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let known = instances.lock().unwrap().clone();
                let says_yes = |address: &SocketAddr| {
                    let answer = Http::new(address).get("/ready");
                    answer.is_ok_and(|answer| answer.status == 200)
                };
                let found = known.into_iter().filter(says_yes).collect();
                *ready.lock().unwrap() = found;
                within(PROBED_EVERY, || is_over.load(Ordering::Relaxed).then_some(()));
            }
        }));
        let ready = Arc::clone(&balancer.ready);
        // It ends with the process of the tests: nobody connects to it any more.
        thread::spawn(move || {
            for (turn, client) in listener.incoming().enumerate() {
                let ready = ready.lock().unwrap().clone();
                if let (Ok(client), false) = (client, ready.is_empty()) {
                    let instance = ready[turn % ready.len()];
                    thread::spawn(move || pass_on(&client, instance));
                }
            }
        });
        balancer
    }

    /// Sends connections there as well, from when it is ready.
    fn add(&self, instance: &Server) {
        self.instances.lock().unwrap().insert(instance.address());
        within(PATIENCE, || self.has(instance.address()).then_some(())).unwrap();
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.ready.lock().unwrap().contains(&address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let probing = self.probing.take().map(JoinHandle::join);
        assert!(thread::panicking() || probing.is_none_or(|ended| ended.is_ok()));
    }
}

/// Copies both ways until both have ended.
fn pass_on(client: &TcpStream, instance: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(instance)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client)
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}

/// Users who refresh over connections that they keep, until they are told to stop; each request has to be answered by 200.
struct Users {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    refreshing: Vec<JoinHandle<()>>,
}

impl Users {
    fn at(address: SocketAddr) -> Self {
        let mut users = Self {
            is_over: Arc::default(),
            answers: Arc::default(),
            refreshing: Vec::new(),
        };
        for _ in 0..USERS {
            let client = Client::new(Http::new(address), FLUTTER);
            let (is_over, answers) = (Arc::clone(&users.is_over), Arc::clone(&users.answers));
            users.refreshing.push(thread::spawn(move || {
                let mut tokens = client.admin_tokens();
                while !is_over.load(Ordering::Relaxed) {
                    tokens = client.refreshed(&tokens);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        users
    }

    /// Waits until they have been answered for a while from now on.
    fn go_on(&self) {
        let enough = self.answers.load(Ordering::Relaxed) + USERS * ROUNDS;
        let answered = within(PATIENCE, || {
            let failed = self.refreshing.iter().any(JoinHandle::is_finished);
            (failed || self.answers.load(Ordering::Relaxed) >= enough).then_some(failed)
        });
        assert_eq!(
            answered,
            Some(false),
            "a request failed, or none is answered any more"
        );
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for user in self.refreshing {
            user.join().unwrap();
        }
    }
}

#[test]
fn a_rolling_update_fails_no_request() {
    let first = Installation::new()
        .on_postgres(Database::new())
        .unlimited()
        .with("AUTH_SERVICE__DRAIN_DELAY", "1");
    let installations = [first.beside(), first.beside(), first.beside(), first];
    let mut fresh = installations.iter();
    let mut start = || fresh.next().unwrap().start();
    let balancer = Balancer::start();
    let mut old = [start(), start()];
    for instance in &old {
        balancer.add(instance);
    }
    let users = Users::at(balancer.address);
    users.go_on();
    for instance in &mut old {
        let new = start();
        balancer.add(&new);
        let ended = std::mem::replace(instance, new);
        let address = ended.address();
        ended.killer().ask_to_stop().unwrap();
        within(PATIENCE, || (!balancer.has(address)).then_some(())).unwrap();
        assert!(ended.ended().unwrap().success());
        users.go_on();
    }
    users.stop();
}

/// Where an installation said that operators find the metrics.
fn operators_of(installation: &Installation) -> SocketAddr {
    let printed = installation.printed();
    let line = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("metrics"))
        .unwrap();
    let url = line.trim().strip_prefix("http://").unwrap();
    url.strip_suffix("/metrics").unwrap().parse().unwrap()
}

/// The head of a token request and the beginning of its body: the server waits for the rest.
fn begin_request(address: SocketAddr, form: &str) -> TcpStream {
    let (some, _) = form.split_at(10);
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        form.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    stream.write_all(some.as_bytes()).unwrap();
    stream
}

#[test]
fn a_drain_is_announced_first_then_the_door_closes_and_operators_see_it_to_its_end() {
    let installation = Installation::new()
        .with("AUTH_SERVICE__METRICS_ADDR", "127.0.0.1:0")
        .with("AUTH_SERVICE__DRAIN_DELAY", "600");
    let server = installation.start();
    let operators = Http::new(operators_of(&installation));
    let everybody = || Http::new(server.address());
    let ready = || operators.get("/ready").unwrap();
    assert_eq!(everybody().get("/metrics").unwrap().status, 404);
    assert_eq!(
        (ready().status, operators.get("/live").unwrap().status),
        (200, 200)
    );
    let stopping = || {
        let metrics = operators.get("/metrics").unwrap().text();
        metrics.contains("auth_stopping 1\n")
    };
    assert!(!stopping());

    server.killer().ask_to_stop().unwrap();
    let said = within(PATIENCE, || Some(ready()).filter(|answer| answer.status == 503)).unwrap();
    assert_eq!(said.text(), r#"{"status":"not_ready","missing":["stopping"]}"#);
    assert!(stopping());
    // Whoever has not noticed is served, and told to come back by another connection.
    let answer = everybody().get("/.well-known/jwks.json").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(everybody().get("/ready").unwrap().status, 503);
    assert_eq!(everybody().get("/live").unwrap().status, 200);
    // So container health checks tell the two apart without a shell.
    let probe = |which| installation.run(&["health", which], "").unwrap().status.code();
    assert_eq!((probe("--ready"), probe("--live")), (Some(1), Some(0)));
    let form = "grant_type=password&client_id=codelab-flutter-app&username=nobody&password=x";
    let mut begun = begin_request(server.address(), form);

    // The second signal ends the wait: nobody new is let in, and what was begun is finished.
    server.killer().ask_to_stop().unwrap();
    let is_closed = || TcpStream::connect(server.address()).is_err().then_some(());
    within(PATIENCE, is_closed).unwrap();
    assert_eq!(
        (ready().status, operators.get("/live").unwrap().status),
        (503, 200)
    );
    assert!(stopping());
    begun.write_all(&form.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(server.ended().unwrap().success());
}

#[test]
fn who_stops_a_server_at_a_terminal_waits_for_no_balancer() {
    let installation = Installation::new().with("AUTH_SERVICE__DRAIN_DELAY", "600");
    let server = installation.start();
    let process = Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
    kill_process(process, Signal::INT).unwrap();
    assert!(server.ended().unwrap().success());
    assert!(!installation.printed().contains("draining"));
}

#[test]
fn without_a_delay_a_server_that_is_asked_to_stop_does_so_at_once() {
    let installation = Installation::new();
    let server = installation.start();
    assert!(server.stop().unwrap().success());
    let printed = installation.printed();
    assert!(printed.contains("\"event_type\":\"stopping\""), "{printed}");
    assert!(!printed.contains("draining"), "{printed}");
}

#[test]
fn who_asks_a_server_to_stop_a_second_time_waits_for_nobody() {
    let installation = Installation::new();
    let server = installation.start();
    let process = Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
    // A request whose body does not come.
    let mut begun = TcpStream::connect(server.address()).unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 50\r\nExpect: 100-continue\r\n\r\n";
    begun.write_all(head.as_bytes()).unwrap();
    // The server has begun with it once it asks for that body.
    assert!(begun.read(&mut [0; 64]).unwrap() > 0);
    kill_process(process, Signal::INT).unwrap();
    let is_stopping = || installation.printed().contains("\"stopping\"").then_some(());
    within(PATIENCE, is_stopping).unwrap();
    kill_process(process, Signal::INT).unwrap();
    assert!(server.ended().unwrap().success());
    let printed = installation.printed();
    assert!(printed.contains("what was begun is not finished"), "{printed}");
    assert!(printed.contains("\"stopped\""), "{printed}");
}
