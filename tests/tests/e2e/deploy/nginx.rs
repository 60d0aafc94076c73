//! nginx with the configuration of `deploy/nginx`, run on loopback in front of real servers in production, and of one that
//! dies with every request.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use auth_e2e::client::FLUTTER;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::raw::exchange;
use auth_e2e::server::{Server, within};
use openssl::ssl::SslConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpSocket;

use super::{carried_out, command_of, text};
use crate::support::runtime;
use crate::tls::{Authority, GOOD};

const PATIENCE: Duration = Duration::from_secs(20);
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TOKEN: &str = "/oauth/token";
/// A folder within that of nginx, in place of the one in memory.
const BODIES: &str = "bodies";
/// Limits that a test reaches.
const SLOWER: [(&str, &str); 2] = [
    ("rate=200r/s", "rate=1r/m"),
    ("burst=400 nodelay", "burst=2 nodelay"),
];

/// A running nginx. It is stopped when this is dropped.
struct Nginx {
    child: Child,
    https: SocketAddr,
    /// A folder and a port: two such are what nginx needs.
    front: Installation,
    plain: Installation,
    client: SslConnector,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It takes its workers with it where it is asked to stop; where it is killed, they go on.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !asked || within(PATIENCE, || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text}")),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Nginx {
    /// Over two instances; `None` where this machine has no nginx.
    fn over(instances: [SocketAddr; 2]) -> Option<Self> {
        Self::changed(instances, &[])
    }

    /// With changes of the configuration besides those that its place makes needed.
    fn changed(instances: [SocketAddr; 2], changes: &[(&str, &str)]) -> Option<Self> {
        let mut nginx = command_of("nginx")?;
        let authority = Authority::new();
        let (front, plain) = (Installation::new(), Installation::new());
        write_configuration(&front, &plain, instances, changes);
        write_pair(&front, authority.issue(1, GOOD));
        let folder = front.directory();
        nginx
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"));
        carried_out(command_of("nginx")?.args(nginx.get_args()).arg("-t"));
        let log = fs::File::create(folder.join("printed.log")).unwrap();
        let child = nginx
            .args(["-g", "daemon off;"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let nginx = Self {
            child,
            https: front.address(),
            front,
            plain,
            client: authority.client(None, b"\x08http/1.1"),
        };
        let listens = within(PATIENCE, || TcpStream::connect(nginx.https).ok());
        assert!(
            listens.is_some(),
            "nginx does not listen: {}",
            nginx.front.printed()
        );
        Some(nginx)
    }

    /// Sends a request over HTTPS from an address of this machine's own.
    fn send(&self, from: Ipv4Addr, request: &str) -> Answer {
        let stream = runtime().block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            socket.connect(self.https).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = self.client.connect("localhost", stream).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::of(&String::from_utf8_lossy(&answer))
    }

    fn get(&self, path: &str) -> Answer {
        self.send(
            LOCALHOST,
            &format!("GET {path} HTTP/1.1\r\nHost: auth.example.org\r\nConnection: close\r\n\r\n"),
        )
    }

    fn post(&self, from: Ipv4Addr, path: &str, headers: &str, form: &str) -> Answer {
        self.send(from, &post(path, headers, form))
    }

    /// What its workers have open, files without a name included.
    fn open_files(&self) -> Vec<PathBuf> {
        let id = self.child.id();
        let workers = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let folders = workers
            .split_whitespace()
            .filter_map(|worker| fs::read_dir(format!("/proc/{worker}/fd")).ok());
        let links = folders
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.collect()
    }

    fn sign_in(&self, path: &str) -> Answer {
        self.post(LOCALHOST, path, "", &password_form("admin", ADMIN_PASSWORD))
    }
}

fn post(path: &str, headers: &str, form: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: auth.example.org\r\nConnection: close\r\n{headers}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

fn password_form(username: &str, password: &str) -> String {
    format!("grant_type=password&client_id={FLUTTER}&username={username}&password={password}")
}

/// The files as they are deployed, with what names a place replaced by what is here. Each replacement must find something:
/// so this notices when the files change.
fn write_configuration(
    front: &Installation,
    plain: &Installation,
    instances: [SocketAddr; 2],
    changes: &[(&str, &str)],
) {
    let folder = front.directory();
    let here = |name: &str| folder.join(name).display().to_string();
    // nginx gives its workers to another user where root starts it.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.join("conf.d")).unwrap();
    let scratch = format!("{}/", folder.display());
    let main = [("/tmp/", scratch.as_str()), ("worker_rlimit_nofile 65536;\n", "")];
    fs::write(here("nginx.conf"), replaced("nginx/nginx.conf", &main)).unwrap();
    let upstream = [
        ("172.31.83.11:8003", instances[0].to_string()),
        ("172.31.83.12:8003", instances[1].to_string()),
    ];
    let upstream = upstream.each_ref().map(|(from, to)| (*from, to.as_str()));
    fs::write(
        here("conf.d/upstream.conf"),
        replaced("compose/upstream.conf", &upstream),
    )
    .unwrap();
    let (https, http) = (
        format!("listen {} ssl", front.address()),
        format!("listen {} ", plain.address()),
    );
    let (certificate, key, log) = (here("cert.pem"), here("key.pem"), here("access.log"));
    let bodies = here(BODIES);
    let place = [
        ("    listen [::]:80 default_server;\n", ""),
        ("    listen [::]:443 ssl default_server;\n", ""),
        ("listen 443 ssl", &https),
        ("listen 80 ", &http),
        ("/etc/nginx/tls/auth-service.pem", &certificate),
        ("/etc/nginx/tls/auth-service.key", &key),
        ("/var/log/nginx/access.log", &log),
        ("/run/auth-service-bodies", &bodies),
    ];
    let all: Vec<_> = place.iter().chain(changes).copied().collect();
    fs::write(
        here("conf.d/auth-service.conf"),
        replaced("nginx/auth-service.conf", &all),
    )
    .unwrap();
}

fn replaced(name: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text(name), |text, (from, to)| {
        assert!(text.contains(from), "{name} says nothing of {from:?}");
        text.replace(from, to)
    })
}

fn write_pair(front: &Installation, (certificate, key): (Vec<u8>, Vec<u8>)) {
    fs::write(front.directory().join("cert.pem"), certificate).unwrap();
    fs::write(front.directory().join("key.pem"), key).unwrap();
}

/// An instance as it is behind nginx.
fn instance() -> (Installation, Server) {
    let installation = Installation::new()
        .with("ENVIRONMENT", "production")
        .with("AUTH_SERVICE__JWT_ISSUER", "https://auth.example.org")
        .with("AUTH_SERVICE__TRUSTED_PROXIES", "127.0.0.1/32")
        .with("AUTH_SERVICE__BASE_PATH", "/auth")
        .with("AUTH_SERVICE__FAILED_LOGIN_FLOOR", "0");
    let server = installation.start();
    (installation, server)
}

/// How many token requests a server has seen.
fn token_requests(server: &Server) -> usize {
    let metrics = server.http().get("/metrics").unwrap().text();
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("auth_token_requests_total{"));
    counts
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap())
        .sum()
}

/// Takes each request whole, and dies without an answer.
fn dying_instance() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&seen);
    // It ends with the process of the tests.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap_or(0);
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            taken.lock().unwrap().push(request);
        }
    });
    (address, seen)
}

/// The first lines of the requests that were taken.
fn first_lines(seen: &Mutex<Vec<String>>) -> Vec<String> {
    let seen = seen.lock().unwrap();
    let lines = seen.iter().map(|request| request.lines().next());
    lines.map(|line| line.unwrap_or_default().to_owned()).collect()
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    Installation::new().address()
}

#[test]
fn the_paths_of_the_platform_lead_to_the_server_and_no_others_do() {
    let (_installation, server) = instance();
    let Some(nginx) = Nginx::over([server.address(), server.address()]) else {
        return;
    };
    let keys = server.http().get("/.well-known/jwks.json").unwrap().text();
    for path in ["/.well-known/jwks.json", "/auth/.well-known/jwks.json"] {
        let answer = nginx.get(path);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, keys.as_str()),
            "{path}"
        );
        assert!(
            answer.head.contains("\r\nstrict-transport-security: "),
            "{}",
            answer.head
        );
    }
    for path in [TOKEN, "/auth/oauth/token"] {
        let answer = nginx.sign_in(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.json()["token_type"], "bearer");
    }
    assert_eq!(nginx.get("/auth-health").json()["status"], "healthy");
    let inside = [
        "/metrics",
        "/auth/metrics",
        "/oauth/../metrics",
        "/oauth/%2e%2e/metrics",
        "/oauth/..%2fmetrics",
        "/.well-known/../auth/metrics",
        "/oauth//..//metrics",
        "/health",
        "/ready",
        "/live",
        "/docs",
        "/openapi.json",
        "/auth-health/",
        "/",
    ];
    for path in inside {
        let answer = nginx.get(path);
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (404, &"not_found".into()),
            "{path}"
        );
    }
    // A path that is on its way out of what is passed on stays a stranger to the server as well.
    assert_eq!(nginx.get("/metrics/../oauth/token").status, 404);
}

#[test]
fn what_comes_in_the_clear_is_sent_to_https_and_a_form_is_refused() {
    let Some(nginx) = Nginx::over([nobody(), nobody()]) else {
        return;
    };
    let send = |request: &str| {
        let answer = exchange(nginx.plain.address(), request.as_bytes(), PATIENCE).unwrap();
        Answer::of(&String::from_utf8_lossy(&answer))
    };
    let get =
        send("GET /.well-known/jwks.json HTTP/1.1\r\nHost: auth.example.org\r\nConnection: close\r\n\r\n");
    assert_eq!(get.status, 308);
    let location = "\r\nlocation: https://auth.example.org/.well-known/jwks.json";
    assert!(get.head.contains(location), "{}", get.head);
    assert!(get.head.contains("\r\ncache-control: no-store"), "{}", get.head);
    let form = send(&post(TOKEN, "", &password_form("admin", ADMIN_PASSWORD)));
    assert_eq!(form.status, 403);
}

#[test]
fn each_client_is_limited_for_itself_whatever_it_claims() {
    let (_installation, server) = instance();
    let Some(nginx) = Nginx::over([server.address(), server.address()]) else {
        return;
    };
    let try_from = |last: u8, number: usize| {
        let claims = format!(
            "X-Forwarded-For: 198.51.100.{number}\r\nForwarded: for=198.51.100.{number};proto=http\r\n\
             X-Forwarded-Proto: http\r\n"
        );
        let form = password_form(&format!("stranger-{last}-{number}"), "Wrong-Horse-7-Battery");
        nginx
            .post(Ipv4Addr::new(127, 0, 0, last), TOKEN, &claims, &form)
            .status
    };
    let first: Vec<_> = (0..7).map(|number| try_from(2, number)).collect();
    assert_eq!(first, [401, 401, 401, 401, 401, 429, 429]);
    assert_eq!(try_from(3, 0), 401, "another client");
}

#[test]
fn a_post_that_an_instance_has_taken_is_never_sent_to_another() {
    let (_installation, server) = instance();
    let (dying, seen) = dying_instance();
    let Some(nginx) = Nginx::over([dying, server.address()]) else {
        return;
    };
    let lost = nginx.sign_in(TOKEN);
    assert_eq!(
        (lost.status, &lost.json()["error"]),
        (503, &"temporarily_unavailable".into())
    );
    assert!(lost.head.contains("\r\nretry-after: 1"), "{}", lost.head);
    assert!(lost.head.contains("\r\ncache-control: no-store"), "{}", lost.head);
    assert_eq!(first_lines(&seen), ["POST /oauth/token HTTP/1.1"]);
    assert_eq!(
        token_requests(&server),
        0,
        "the other instance has seen it as well"
    );
    // The one that died is left alone for a while.
    assert_eq!(nginx.sign_in(TOKEN).status, 200);
    assert_eq!((token_requests(&server), seen.lock().unwrap().len()), (1, 1));
}

#[test]
fn a_get_that_an_instance_has_dropped_is_answered_by_another() {
    let (_installation, server) = instance();
    let (dying, seen) = dying_instance();
    let Some(nginx) = Nginx::over([dying, server.address()]) else {
        return;
    };
    assert_eq!(nginx.get("/.well-known/jwks.json").status, 200);
    assert_eq!(first_lines(&seen), ["GET /.well-known/jwks.json HTTP/1.1"]);
}

#[test]
fn a_post_that_no_instance_has_taken_goes_to_the_next() {
    let (_installation, server) = instance();
    let Some(nginx) = Nginx::over([nobody(), server.address()]) else {
        return;
    };
    assert_eq!(nginx.sign_in(TOKEN).status, 200);
}

#[test]
fn what_nginx_refuses_by_itself_it_refuses_in_the_words_of_the_service() {
    let (_installation, server) = instance();
    let Some(nginx) = Nginx::changed([server.address(), server.address()], &SLOWER) else {
        return;
    };
    let large = format!("a={}", "x".repeat(70_000));
    let refused = nginx.post(LOCALHOST, TOKEN, "", &large);
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (413, &"invalid_request".into())
    );
    let another = Ipv4Addr::new(127, 0, 0, 2);
    let ask = || {
        nginx.send(
            another,
            "GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
    };
    let statuses: Vec<_> = (0..3).map(|_| ask().status).collect();
    assert_eq!(statuses, [200, 200, 200]);
    let refused = ask();
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (429, &"rate_limit_exceeded".into())
    );
    assert!(refused.head.contains("\r\nretry-after: 1"), "{}", refused.head);
}

#[test]
fn no_secret_that_was_sent_by_mistake_gets_into_the_log() {
    let (_installation, server) = instance();
    let Some(nginx) = Nginx::over([server.address(), server.address()]) else {
        return;
    };
    nginx.get("/oauth/token?password=Correct-Horse-7-Battery");
    nginx.get("/oauth/Correct-Horse-7-Battery%ff%e2%80%ae");
    nginx.sign_in(TOKEN);
    let log = nginx.front.directory().join("access.log");
    let lines = within(PATIENCE, || {
        let log = fs::read_to_string(&log).unwrap();
        (log.lines().count() == 3).then_some(log)
    });
    let lines = lines.unwrap();
    assert!(!lines.contains(ADMIN_PASSWORD), "{lines}");
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["path"], &last["status"]), (&TOKEN.into(), &200.into()));
    assert_eq!(last["correlation_id"].as_str().unwrap().len(), 36, "{last}");
}

#[test]
fn a_stranger_has_no_say_in_what_is_traced() {
    let (dying, seen) = dying_instance();
    let Some(nginx) = Nginx::over([dying, dying]) else {
        return;
    };
    let traced = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\
                  Forwarded: for=198.51.100.1\r\n";
    let form = password_form("admin", ADMIN_PASSWORD);
    assert_eq!(nginx.post(LOCALHOST, TOKEN, traced, &form).status, 503);
    let seen = seen.lock().unwrap().join("").to_ascii_lowercase();
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    for header in ["\r\ntraceparent:", "\r\ntracestate:", "\r\nforwarded:"] {
        assert!(!seen.contains(header), "{header} in {seen}");
    }
}

#[test]
fn a_token_in_a_query_is_in_no_log_whatever_becomes_of_the_request() {
    let Some(nginx) = Nginx::changed([nobody(), nobody()], &SLOWER) else {
        return;
    };
    let secret = "SECRET-7-REFRESH";
    let path = format!("{TOKEN}?refresh_token={secret}");
    let large = "x".repeat(70_000);
    let mut statuses = vec![nginx.post(LOCALHOST, &path, "", &large).status];
    statuses.extend((0..4).map(|_| nginx.get(&path).status));
    assert_eq!(statuses, [413, 503, 503, 503, 429]);
    let lost = format!(
        "GET /.well-known/acme-challenge/a?{secret} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    exchange(nginx.plain.address(), lost.as_bytes(), PATIENCE).unwrap();
    let access = within(PATIENCE, || {
        let log = fs::read_to_string(nginx.front.directory().join("access.log")).unwrap();
        (log.lines().count() == 6).then_some(log)
    });
    let logs = access.unwrap() + &nginx.front.printed();
    assert!(!logs.contains(secret), "{logs}");
}

#[test]
fn a_body_of_many_small_chunks_goes_to_files_in_memory_and_to_no_others() {
    let (_installation, server) = instance();
    let Some(nginx) = Nginx::over([server.address(), server.address()]) else {
        return;
    };
    let stream = TcpStream::connect(nginx.https).unwrap();
    let mut stream = nginx.client.connect("localhost", stream).unwrap();
    let chunks = "1\r\nx\r\n".repeat(20_000);
    // Its end never comes, so that it stays where it is.
    let request = format!("POST {TOKEN} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    stream.write_all(request.as_bytes()).unwrap();
    let (meant, other) = (
        nginx.front.directory().join(BODIES),
        nginx.front.directory().join("client-body"),
    );
    let kept = within(PATIENCE, || {
        nginx
            .open_files()
            .into_iter()
            .find(|file| file.starts_with(&meant))
    });
    assert!(kept.is_some(), "{:?}", nginx.open_files());
    assert!(!nginx.open_files().iter().any(|file| file.starts_with(&other)));
}
