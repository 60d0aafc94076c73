//! A flood of sign-ins, and what those notice of it who are signed in already.
//!
//! Refreshes and fetches of the key set go on at a steady rate, by turns by themselves and beside a flood of several times
//! as many sign-ins as the server can hash. No rate depends on the answers (an open loop): whoever is answered late is
//! seen to have waited.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Builder;

use super::crowd::{Crowd, Paced};
use super::machine::{Conditions, pin_this_thread};
use super::process::{Usage, core_at_work};
use super::users::{Scenario, Users};
use crate::installation::Installation;
use crate::server::Server;

/// Those who are signed in wait under the flood at most so many times as long as without it.
const BOUND: f64 = 2.0;
/// Those who are turned away are told so within this.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);
/// How many times what the server can hash is asked of it.
const EXCESS: f64 = 4.0;
/// How many sign-ins at once show what the server can hash: few enough that none is turned away.
const SOUNDING: usize = 4;

/// A flood to be measured.
#[derive(Debug, Clone)]
pub struct Storm {
    /// How often the quiet and the flood are measured, by turns.
    pub rounds: u32,
    /// How long each of them is.
    pub long: Duration,
    /// Refreshes a second, and as many fetches of the key set.
    pub rate: u32,
    /// How many users refresh, and as many fetch the key set.
    pub users: usize,
    /// Over how many connections the flood comes.
    pub flood: usize,
    /// The server's only core; `None` leaves it all there are, as it is used.
    pub server_core: Option<usize>,
    /// The users' core.
    pub users_core: usize,
    /// Where the server's directory is made.
    pub directory: PathBuf,
    /// Settings of the server, each `NAME=VALUE` without the prefix.
    pub settings: Vec<String>,
}

/// What came out of it.
#[derive(Debug, Serialize)]
pub struct Weather {
    conditions: Conditions,
    server_core: Option<usize>,
    users_core: usize,
    settings: Vec<String>,
    steady_per_second: u32,
    /// Sign-ins a second that the server hashes while it has nothing else to do.
    capacity_per_second: f64,
    quiet: Phase,
    flood: Phase,
    /// Sign-ins a second that were asked for in the flood.
    offered_per_second: f64,
    /// Those of them that were granted.
    granted: Latency,
    /// Those of them that were turned away.
    refused: Latency,
}

/// What was seen while it was quiet, or not.
#[derive(Debug, Serialize)]
struct Phase {
    refresh: Latency,
    key_set: Latency,
    /// How many of the server's cores all other programs had meanwhile, this one included where it is on one of them.
    others_on_cores: f64,
}

/// How long answers took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    count: u64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Everybody there is.
struct Everybody {
    refreshing: Crowd,
    fetching: Crowd,
    signing_in: Crowd,
    /// How many cores the machine has.
    cores: usize,
}

/// What was seen of one kind of weather, over all rounds.
struct Log {
    refresh: Paced,
    key_set: Paced,
    login: Paced,
    long: Duration,
    others: Duration,
}

impl Storm {
    /// Carries it out.
    ///
    /// # Errors
    /// Where anything fails but a sign-in that is turned away.
    pub fn carry_out(&self) -> io::Result<Weather> {
        // Before anything is bound to a core: the system shows a thread only the cores that it may use.
        let conditions = Conditions::of(&self.directory);
        let installation = self.installation();
        let server = installation
            .try_start()
            .map_err(|failed| io::Error::other(format!("{failed}\n{}", installation.printed())))?;
        pin_this_thread(&[self.users_core])?;
        let seen = Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(self.watch(&server, conditions));
        match server.stop() {
            Some(status) if status.success() => seen,
            Some(status) => Err(io::Error::other(format!("the server ended with {status}"))),
            None => Err(io::Error::other("the server did not stop")),
        }
    }

    fn installation(&self) -> Installation {
        let plain = Installation::within(&self.directory)
            .unlimited()
            .with("AUTH_SERVICE__WORKERS", "1");
        let placed = match self.server_core {
            Some(core) => plain.on_cores(&[core]),
            None => plain,
        };
        self.settings.iter().fold(placed, |installation, setting| {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            installation.with(&format!("AUTH_SERVICE__{name}"), value)
        })
    }

    async fn watch(&self, server: &Server, conditions: Conditions) -> io::Result<Weather> {
        let address = server.address();
        let capacity = self.capacity(address).await?;
        let mut everybody = self
            .everybody(address, capacity * EXCESS, conditions.cores)
            .await?;
        let (mut quiet, mut flood) = (Log::new()?, Log::new()?);
        // What is first done for each user is dearer, and not measured.
        self.watch_one(server, &mut everybody, Scenario::Login, &mut Log::new()?)
            .await?;
        for _ in 0..self.rounds {
            self.watch_one(server, &mut everybody, Scenario::Refresh, &mut quiet)
                .await?;
            self.watch_one(server, &mut everybody, Scenario::Login, &mut flood)
                .await?;
        }
        let login = &flood.login;
        Ok(Weather {
            conditions,
            server_core: self.server_core,
            users_core: self.users_core,
            settings: self.settings.clone(),
            steady_per_second: self.rate,
            capacity_per_second: capacity,
            offered_per_second: float(login.granted.len() + login.turned_away.len())
                / flood.long.as_secs_f64(),
            granted: Latency::of(&login.granted),
            refused: Latency::of(&login.turned_away),
            quiet: quiet.summed_up(),
            flood: flood.summed_up(),
        })
    }

    async fn capacity(&self, address: SocketAddr) -> io::Result<f64> {
        let mut users = Users::connect(Scenario::Login, address, SOUNDING).await?;
        let seen = users.go_on_until(Instant::now() + self.long).await?;
        Ok(f64::from(seen.requests) / seen.seconds)
    }

    async fn everybody(&self, address: SocketAddr, flood: f64, cores: usize) -> io::Result<Everybody> {
        let rate = f64::from(self.rate);
        Ok(Everybody {
            refreshing: Crowd::connect(Scenario::Refresh, address, self.users, rate).await?,
            fetching: Crowd::connect(Scenario::Jwks, address, self.users, rate).await?,
            signing_in: Crowd::connect(Scenario::Login, address, self.flood, flood).await?,
            cores,
        })
    }

    /// Lets everybody go on for a while, those who sign in only where that is asked for.
    async fn watch_one(
        &self,
        server: &Server,
        everybody: &mut Everybody,
        weather: Scenario,
        log: &mut Log,
    ) -> io::Result<()> {
        let start = Instant::now();
        let until = start + self.long;
        let (used, at_work) = (Usage::of(server.pid())?, self.at_work(everybody.cores)?);
        let flood_until = if weather == Scenario::Login { until } else { start };
        let (refresh, key_set, login) = tokio::join!(
            everybody.refreshing.go_on_until(until),
            everybody.fetching.go_on_until(until),
            everybody.signing_in.go_on_until(flood_until),
        );
        let used = Usage::of(server.pid())?.since(&used).cpu;
        let at_work = self.at_work(everybody.cores)?.saturating_sub(at_work);
        let (refresh, key_set) = (refresh?, key_set?);
        if refresh.turned_away.len() + key_set.turned_away.len() > 0 {
            return Err(io::Error::other("somebody who is signed in was turned away"));
        }
        log.refresh.add(&refresh)?;
        log.key_set.add(&key_set)?;
        log.login.add(&login?)?;
        log.long += start.elapsed();
        log.others += at_work.saturating_sub(used);
        Ok(())
    }

    /// How long the server's core has been at work, or all cores together.
    fn at_work(&self, cores: usize) -> io::Result<Duration> {
        match self.server_core {
            Some(core) => core_at_work(core),
            None => (0..cores).map(core_at_work).sum(),
        }
    }
}

impl Log {
    fn new() -> io::Result<Self> {
        Ok(Self {
            refresh: Paced::new()?,
            key_set: Paced::new()?,
            login: Paced::new()?,
            long: Duration::ZERO,
            others: Duration::ZERO,
        })
    }

    fn summed_up(&self) -> Phase {
        Phase {
            refresh: Latency::of(&self.refresh.granted),
            key_set: Latency::of(&self.key_set.granted),
            others_on_cores: self.others.as_secs_f64() / self.long.as_secs_f64(),
        }
    }
}

impl Latency {
    fn of(seen: &hdrhistogram::Histogram<u64>) -> Self {
        let millis = |micros: u64| float(micros) / 1_000.0;
        Self {
            count: seen.len(),
            p50_ms: millis(seen.value_at_quantile(0.5)),
            p99_ms: millis(seen.value_at_quantile(0.99)),
            max_ms: millis(seen.max()),
        }
    }
}

impl Weather {
    /// The promises that were broken.
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, ratio) in self.ratios() {
            if ratio > BOUND {
                broken.push(format!(
                    "{name}: p99 is {ratio:.2} times the quiet one, not {BOUND}"
                ));
            }
        }
        let within = REFUSED_WITHIN.as_secs_f64() * 1_000.0;
        if self.refused.p99_ms > within {
            broken.push(format!("503 after {:.1} ms, not {within}", self.refused.p99_ms));
        }
        if self.refused.count == 0 {
            broken.push("nobody was turned away: this was no flood".to_owned());
        }
        broken
    }

    fn ratios(&self) -> [(&'static str, f64); 2] {
        let (quiet, flood) = (&self.quiet, &self.flood);
        [
            ("refresh", flood.refresh.p99_ms / quiet.refresh.p99_ms),
            ("key set", flood.key_set.p99_ms / quiet.key_set.p99_ms),
        ]
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = &self.conditions;
        let server = self
            .server_core
            .map_or_else(|| "all cores".to_owned(), |core| format!("core {core}"));
        writeln!(out, "processor   {}; cores: {}", on.cpu, on.cores)?;
        writeln!(
            out,
            "system      Linux {}, database on {}",
            on.kernel, on.file_system
        )?;
        writeln!(
            out,
            "build       {}; server on {server}, everybody else on core {}",
            on.profile, self.users_core
        )?;
        writeln!(
            out,
            "steady      {0} refreshes/s and {0} fetches of the key set/s",
            self.steady_per_second
        )?;
        writeln!(
            out,
            "flood       {:.0} sign-ins/s, {:.1} times the {:.1} that the server hashes by itself",
            self.offered_per_second,
            self.offered_per_second / self.capacity_per_second,
            self.capacity_per_second
        )?;
        writeln!(out, "\n                   quiet                        flood")?;
        write_row(out, "refresh", self.quiet.refresh, self.flood.refresh)?;
        write_row(out, "key set", self.quiet.key_set, self.flood.key_set)?;
        writeln!(
            out,
            "  others           {:>5.2} cores                  {:>5.2} cores",
            self.quiet.others_on_cores, self.flood.others_on_cores
        )?;
        for (name, ratio) in self.ratios() {
            writeln!(
                out,
                "  {name:<15}  p99 under the flood is {ratio:.2} times the quiet one (bound {BOUND})"
            )?;
        }
        self.write_flood(out)
    }
}

impl Weather {
    fn write_flood(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = float(self.granted.count + self.refused.count).max(1.0);
        for (name, seen) in [("granted", self.granted), ("503", self.refused)] {
            writeln!(
                out,
                "  sign-in: {name:<7} {:>4.1} %, p50 {:.2}  p99 {:.2}  max {:.2} ms",
                100.0 * float(seen.count) / all,
                seen.p50_ms,
                seen.p99_ms,
                seen.max_ms
            )?;
        }
        Ok(())
    }
}

fn write_row(out: &mut fmt::Formatter<'_>, name: &str, quiet: Latency, flood: Latency) -> fmt::Result {
    let cell = |seen: Latency| format!("p50 {:>6.2}  p99 {:>6.2} ms", seen.p50_ms, seen.p99_ms);
    writeln!(out, "  {name:<15}  {}     {}", cell(quiet), cell(flood))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no figure here needs more than 15 digits"
)]
fn float(count: u64) -> f64 {
    count as f64
}
