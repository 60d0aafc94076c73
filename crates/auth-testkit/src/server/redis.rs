//! A Redis of a test's own, which can be killed, started again and held still.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::place::{PATIENCE, Place, look_again_soon};

/// A running `redis-server` that keeps nothing on the disk. Killed when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    directory: TempDir,
    place: Place,
    process: Option<Child>,
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
