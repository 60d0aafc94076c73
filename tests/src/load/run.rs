//! Carries out a measurement: a fresh server on one core, its users on another, and RSA by itself in between.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::bound::Bound;
use super::machine::pin_this_thread;
use super::process::{Usage, core_at_work, peak_memory_kib};
use super::report::{Measured, Run};
use super::users::{Scenario, Users};
use crate::installation::Installation;
use crate::server::Server;

/// What is to be measured, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the users do.
    pub scenario: Scenario,
    /// How many users there are.
    pub connections: usize,
    /// How often it is measured.
    pub runs: usize,
    /// How long each time.
    pub long: Duration,
    /// For how long the users go on before that.
    pub warm_up: Duration,
    /// How long each RSA operation is measured, before and after each run.
    pub rsa: Duration,
    /// The server's core.
    pub server_core: usize,
    /// The users' core.
    pub users_core: usize,
    /// Where the server's directory is made.
    pub directory: PathBuf,
}

impl Plan {
    /// Carries it out.
    ///
    /// # Errors
    /// Where anything fails, a single request included.
    pub fn carry_out(&self) -> io::Result<Measured> {
        let installation = Installation::within(&self.directory)
            .unlimited()
            .with("AUTH_SERVICE__WORKERS", "1")
            .on_cores(&[self.server_core]);
        let server = installation
            .try_start()
            .map_err(|failed| io::Error::other(format!("{failed}\n{}", installation.printed())))?;
        pin_this_thread(&[self.users_core])?;
        let measured = Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(self.measure(&server));
        match server.stop() {
            Some(status) if status.success() => measured,
            Some(status) => Err(io::Error::other(format!("the server ended with {status}"))),
            None => Err(io::Error::other("the server did not stop")),
        }
    }

    async fn measure(&self, server: &Server) -> io::Result<Measured> {
        let mut users = Users::connect(self.scenario, server.address(), self.connections).await?;
        users.go_on_until(Instant::now() + self.warm_up).await?;
        let mut runs = Vec::with_capacity(self.runs);
        let mut before = self.bound()?;
        for _ in 0..self.runs {
            let (used, at_work) = (Usage::of(server.pid())?, core_at_work(self.server_core)?);
            let seen = users.go_on_until(Instant::now() + self.long).await?;
            let used = Usage::of(server.pid())?.since(&used);
            let at_work = core_at_work(self.server_core)?.saturating_sub(at_work);
            let after = self.bound()?;
            runs.push(Run::new(
                self.scenario,
                &seen,
                &used,
                at_work,
                before.between(after),
            ));
            before = after;
        }
        let peak = peak_memory_kib(server.pid())?;
        Ok(Measured::new(self.scenario, self.connections, peak, runs))
    }

    /// On the server's core, which has nothing else to do while the users wait for this.
    fn bound(&self) -> io::Result<Bound> {
        Bound::measure(self.server_core, self.rsa)
    }
}
