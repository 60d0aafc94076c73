//! A running server: to be spoken to, killed, or asked to stop.

use std::io;
use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Http;

/// How long a server may take to come up or to go, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before looking again at something that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

/// Why there is no running server.
#[derive(Debug)]
pub enum Failed {
    /// The process could not be started.
    NotStarted(io::Error),
    /// It ended by itself before it was ready.
    Ended(ExitStatus),
    /// It did not become ready in time.
    NotReady,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotStarted(error) => write!(out, "the server could not be started: {error}"),
            Self::Ended(status) => write!(out, "the server ended before it was ready: {status}"),
            Self::NotReady => write!(out, "the server was not ready within {PATIENCE:?}"),
        }
    }
}

impl Server {
    /// Takes a process that has just been started, and waits until `/ready` answers 200.
    pub(crate) fn ready(child: Child, address: SocketAddr) -> Result<Self, Failed> {
        let is_ready = |address| {
            let answer = Http::new(address).get("/ready");
            answer.is_ok_and(|answer| answer.status == 200)
        };
        Self::ready_when(child, address, is_ready)
    }

    /// The same where something else tells that it is ready.
    pub(crate) fn ready_when(
        child: Child,
        address: SocketAddr,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Result<Self, Failed> {
        let mut server = Self { child, address };
        let ready = |server: &mut Self| match server.child.try_wait() {
            Ok(Some(status)) => Some(Err(Failed::Ended(status))),
            Ok(None) => is_ready(address).then_some(Ok(())),
            Err(error) => Some(Err(Failed::NotStarted(error))),
        };
        match within(PATIENCE, || ready(&mut server)) {
            Some(outcome) => outcome.map(|()| server),
            None => Err(Failed::NotReady),
        }
    }

    /// A client of this server, with connections of its own.
    pub fn http(&self) -> Http {
        Http::new(self.address)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What can end it from another thread while this waits.
    pub fn killer(&self) -> Killer {
        Killer(self.child.id())
    }

    /// Waits until it has ended; `None` where it does not in time.
    pub fn ended(mut self) -> Option<ExitStatus> {
        within(PATIENCE, || self.child.try_wait().ok().flatten())
    }

    /// `SIGHUP`: it is to read its files again.
    ///
    /// # Errors
    /// Where it can't be told.
    pub fn ask_to_reload(&self) -> io::Result<()> {
        self.killer().send(Signal::HUP)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(self) -> Option<ExitStatus> {
        self.killer().ask_to_stop().ok()?;
        self.ended()
    }
}

/// Ends a server from wherever it is. Only for as long as that server has not been waited for: its process id may be
/// another's then.
#[derive(Debug, Clone, Copy)]
pub struct Killer(u32);

impl Killer {
    /// `kill -9`: it can finish nothing.
    ///
    /// # Errors
    /// Where it can't be killed.
    pub fn kill(self) -> io::Result<()> {
        self.send(Signal::KILL)
    }

    /// `SIGTERM`: it is to finish what it has begun.
    ///
    /// # Errors
    /// Where it can't be told.
    pub fn ask_to_stop(self) -> io::Result<()> {
        self.send(Signal::TERM)
    }

    fn send(self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("not a process id"))?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended long ago: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something to see; `None` where there is nothing in time.
#[expect(
    clippy::disallowed_methods,
    reason = "another process's doings can only be looked for again and again"
)]
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if start.elapsed() >= limit {
            return None;
        }
        thread::park_timeout(LOOK_AGAIN);
    }
}
