//! A Redis of a test's own, which can be killed, started again and held still.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to answer, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before looking again at something that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Ports below those that the system gives out by itself: else somebody could be given ours while the server is away,
/// or somebody who tries to reach it there could be connected to themselves.
const FIRST_PORT: u16 = 30_000;
const PORTS: u16 = 2_700;

/// A running `redis-server` that keeps nothing on the disk. Killed when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    directory: TempDir,
    place: Place,
    process: Option<Child>,
}

/// An address, which stays this test's while no server listens there.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    /// The same port of another loopback address, where nobody looks for anything: who has it may use the port.
    _claim: TcpListener,
}

impl Default for RedisServer {
    fn default() -> Self {
        Self::start()
    }
}

impl RedisServer {
    /// Starts a server on a free port of the loopback interface, and waits until it answers.
    ///
    /// # Panics
    /// Where `redis-server` is missing, or does not come up.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("auth-redis-")
            .tempdir()
            .expect("a temporary directory");
        let mut new = Self {
            directory,
            place: Place::free(),
            process: None,
        };
        // Somebody else may have taken the port since it was found free.
        while !new.comes_up() {
            new.place = Place::free();
        }
        new
    }

    /// Its URL, for settings.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.place.address)
    }

    /// Kills it: what it knew is gone, and nobody listens there any more.
    ///
    /// # Panics
    /// Where it can't be waited for.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            process.wait().expect("a killed process ends");
        }
    }

    /// Starts it once more on the same port, empty, and waits until it answers.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_again(&mut self) {
        self.kill();
        assert!(
            self.comes_up(),
            "redis-server did not come up again on {}",
            self.place.address
        );
    }

    /// Holds it still: it is there, takes connections, and answers nobody.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Gives it a command, and hands out its answer as it came over the wire.
    ///
    /// # Errors
    /// Where it gives none.
    pub fn tell(&self, command: &str) -> io::Result<String> {
        tell(self.place.address, command)
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server runs");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("our own process takes signals");
    }

    /// Whether a server could be started on this port and answers.
    fn comes_up(&mut self) -> bool {
        let process = self
            .process
            .insert(spawn(self.place.address, self.directory.path()));
        let start = Instant::now();
        loop {
            // Only while ours runs, since on a taken port somebody else's would answer.
            if process.try_wait().expect("our own process").is_some() {
                return false;
            }
            if tell(self.place.address, "PING").is_ok_and(|answer| answer.starts_with("+PONG")) {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "redis-server does not answer");
            look_again_soon();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn spawn(address: SocketAddr, directory: &Path) -> Child {
    let port = address.port().to_string();
    let arguments = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let spawned = Command::new("redis-server")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("this test needs redis-server, which is not installed: run `.ci/install test`")
        }
        Err(error) => panic!("redis-server can't be started: {error}"),
    }
}

fn tell(address: SocketAddr, command: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(connection, "{command}\r\nQUIT\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process's doings can only be looked for again and again"
)]
fn look_again_soon() {
    thread::park_timeout(LOOK_AGAIN);
}

impl Place {
    /// One that nobody has; each process of tests looks in a stretch of its own first.
    fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let stretch = u16::try_from(std::process::id() % 270).unwrap_or_default() * 10;
        (0..PORTS)
            .map(|_| FIRST_PORT + (stretch + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS)
            .find_map(Self::at)
            .expect("a free port")
    }

    fn at(port: u16) -> Option<Self> {
        let claim = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).ok()?;
        Some(Self {
            address,
            _claim: claim,
        })
    }
}
