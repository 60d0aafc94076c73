//! Refreshes at several instances over one PostgreSQL on this machine, and what each costs the database.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use auth_testkit::server::{Durability, PostgresServer, RedisServer};
use serde::Serialize;
use tokio::runtime::Builder;

use super::bound::Bound;
use super::database::{self, Work};
use super::machine::{Conditions, pin_this_thread};
use super::process::{Usage, core_at_work};
use super::users::{Scenario, Seen, Users};
use crate::installation::Installation;
use crate::server::Server;

/// What an answered request promises.
const DURABILITY: &str =
    "PostgreSQL's own settings but for shared_buffers=256MB: commits are synced; log and audit on";
/// For how long statements are counted.
const COUNTED_FOR: Duration = Duration::from_secs(2);

/// What is to be measured, and how.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How many instances, and on how many cores they are together.
    pub cases: Vec<Case>,
    /// How many users there are.
    pub connections: usize,
    /// How often each case is measured.
    pub runs: usize,
    /// How long each time.
    pub long: Duration,
    /// For how long the users go on before that.
    pub warm_up: Duration,
    /// How long each RSA operation is measured, before and after each run.
    pub rsa: Duration,
    /// Whether limits are on, though out of reach, and kept in a Redis.
    pub redis: bool,
}

/// A number of instances on a number of cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Case {
    /// The instances.
    pub instances: usize,
    /// The cores that all of them share: the machine's first ones.
    pub cores: usize,
}

/// What came out of it.
#[derive(Debug, Serialize)]
pub struct Findings {
    conditions: Conditions,
    durability: &'static str,
    connections: usize,
    redis: bool,
    /// By how many users at once.
    round_trips_per_refresh: Vec<(usize, f64)>,
    measured: Vec<Measured>,
}

/// One case.
#[derive(Debug, Serialize)]
struct Measured {
    case: Case,
    /// The cores of the database and of the users.
    cores_of_others: Vec<usize>,
    median: Run,
    runs: Vec<Run>,
}

/// One run, or the median of several in each figure by itself.
#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    refreshes_per_second: f64,
    /// B: the most refreshes a second that the instances' cores could sign and verify.
    bound_per_second: f64,
    ratio_to_bound: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Of all instances, of the database, and of the users themselves.
    server_cpu_us_each: f64,
    database_cpu_us_each: f64,
    users_cpu_us_each: f64,
    wal_bytes_each: f64,
    wal_syncs_each: f64,
    commits_each: f64,
    /// How many cores anybody else had meanwhile: what a figure is worth.
    cores_of_strangers: f64,
}

impl Fleet {
    /// Carries it out.
    ///
    /// # Errors
    /// Where anything fails, a single request included.
    pub fn carry_out(&self, directory: &Path) -> io::Result<Findings> {
        // Before anything is bound to a core: the system shows a thread only the cores that it may use.
        let conditions = Conditions::of(directory);
        let all: Vec<usize> = (0..conditions.cores).collect();
        if let Some(case) = self.cases.iter().find(|case| case.cores > all.len()) {
            return Err(io::Error::other(format!(
                "this machine lacks {} cores",
                case.cores
            )));
        }
        let round_trips_per_refresh = [1, self.connections]
            .into_iter()
            .map(|users| Ok((users, self.round_trips(users)?)))
            .collect::<io::Result<_>>()?;
        let measured = self.cases.iter().map(|case| self.measure(*case, &all));
        let measured = measured.collect::<io::Result<_>>()?;
        Ok(Findings {
            conditions,
            durability: DURABILITY,
            connections: self.connections,
            redis: self.redis,
            round_trips_per_refresh,
            measured,
        })
    }

    fn measure(&self, case: Case, all: &[usize]) -> io::Result<Measured> {
        let (own, rest) = all.split_at(case.cores);
        let others = if rest.is_empty() { all } else { rest };
        pin_this_thread(others)?;
        let running = Running::start(case, own, self.redis, &[])?;
        let runs = running.with_users(self.connections, async |users| {
            users.go_on_until(Instant::now() + self.warm_up).await?;
            let mut runs = Vec::with_capacity(self.runs);
            let mut before = bound_of(own, self.rsa)?;
            for _ in 0..self.runs {
                let (used, began) = (Used::so_far(&running, all)?, Instant::now());
                let seen = users.go_on_until(began + self.long).await?;
                let used = Used::so_far(&running, all)?.since(&used);
                let after = bound_of(own, self.rsa)?;
                runs.push(Run::new(&seen, &used, f64::midpoint(before, after)));
                before = after;
            }
            Ok(runs)
        })?;
        running.stop()?;
        Ok(Measured {
            case,
            cores_of_others: others.to_vec(),
            median: Run::median(&runs),
            runs,
        })
    }

    /// How many statements an instance sends for each refresh where so many users refresh at once.
    fn round_trips(&self, connections: usize) -> io::Result<f64> {
        let one = Case {
            instances: 1,
            cores: 1,
        };
        let running = Running::start(one, &[], self.redis, &[database::COUNTING])?;
        let each = running.with_users(connections, async |users| {
            users.go_on_until(Instant::now() + self.warm_up).await?;
            database::count_statements(&running.postgres)?;
            let seen = users
                .go_on_until(Instant::now() + self.long.min(COUNTED_FOR))
                .await?;
            let statements = database::statements(&running.postgres)?;
            Ok(float(statements) / f64::from(seen.requests.max(1)))
        })?;
        running.stop()?;
        Ok(each)
    }
}

/// Instances at work, and what they share.
struct Running {
    servers: Vec<Server>,
    // Gone after the servers.
    _installations: Vec<Installation>,
    postgres: PostgresServer,
    _redis: Option<RedisServer>,
}

impl Running {
    /// Starts the database on the cores of this thread, and the instances on the given ones.
    fn start(case: Case, cores: &[usize], redis: bool, settings: &[(&str, &str)]) -> io::Result<Self> {
        let settings = [&[("shared_buffers", "256MB")], settings].concat();
        let postgres = PostgresServer::start_with(Durability::Durable, &settings);
        let redis = redis.then(RedisServer::start);
        let first = Installation::new()
            .on_postgres(postgres.database())
            .on_cores(cores);
        let first = match &redis {
            None => first.unlimited(),
            Some(redis) => first
                .with("AUTH_SERVICE__REDIS_URL", &redis.url())
                .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD", "1000000")
                .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000000")
                .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000000")
                .with("AUTH_SERVICE__RATE_LIMIT_PER_USERNAME", "1000000")
                .with("AUTH_SERVICE__REFRESH_RATE_LIMIT", "100000000"),
        };
        let others: Vec<_> = (1..case.instances).map(|_| first.beside()).collect();
        let installations: Vec<_> = std::iter::once(first).chain(others).collect();
        let started = installations.iter().map(|installation| {
            let started = installation.try_start();
            started.map_err(|failed| io::Error::other(format!("{failed}\n{}", installation.printed())))
        });
        Ok(Self {
            servers: started.collect::<io::Result<_>>()?,
            _installations: installations,
            postgres,
            _redis: redis,
        })
    }

    /// Signs users in, each at one instance, and does something with them.
    fn with_users<T>(
        &self,
        connections: usize,
        what: impl AsyncFnOnce(&mut Users) -> io::Result<T>,
    ) -> io::Result<T> {
        let addresses: Vec<SocketAddr> = self.servers.iter().map(Server::address).collect();
        Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(async {
                let mut users = Users::connect_to(Scenario::Refresh, &addresses, connections).await?;
                what(&mut users).await
            })
    }

    fn stop(self) -> io::Result<()> {
        for server in self.servers {
            match server.stop() {
                Some(status) if status.success() => {}
                Some(status) => return Err(io::Error::other(format!("a server ended with {status}"))),
                None => return Err(io::Error::other("a server did not stop")),
            }
        }
        Ok(())
    }
}

/// The bound of some cores, all measured at once: what one does may slow the other down.
fn bound_of(cores: &[usize], each: Duration) -> io::Result<f64> {
    thread::scope(|scope| {
        let measuring: Vec<_> = cores
            .iter()
            .map(|core| scope.spawn(move || Bound::measure(*core, each)))
            .collect();
        measuring
            .into_iter()
            .map(|one| {
                let measured = one.join();
                measured.unwrap_or_else(|_| Err(io::Error::other("the measuring thread panicked")))
            })
            .map(|bound| bound.map(Bound::refreshes_per_second))
            .sum()
    })
}

/// What all who take part have used.
#[derive(Debug, Clone, Copy)]
struct Used {
    servers: Duration,
    users: Duration,
    database: Work,
    /// By whomever.
    cores: Duration,
}

impl Used {
    fn so_far(running: &Running, cores: &[usize]) -> io::Result<Self> {
        let servers = running.servers.iter();
        let servers = servers.map(|server| Usage::of(server.pid()).map(|used| used.cpu));
        Ok(Self {
            servers: servers.sum::<io::Result<_>>()?,
            users: Usage::of(std::process::id())?.cpu,
            database: Work::of(&running.postgres)?,
            cores: cores
                .iter()
                .map(|core| core_at_work(*core))
                .sum::<io::Result<_>>()?,
        })
    }

    const fn since(&self, earlier: &Self) -> Self {
        Self {
            servers: self.servers.saturating_sub(earlier.servers),
            users: self.users.saturating_sub(earlier.users),
            database: self.database.since(&earlier.database),
            cores: self.cores.saturating_sub(earlier.cores),
        }
    }
}

impl Run {
    fn new(seen: &Seen, used: &Used, bound: f64) -> Self {
        let per_second = f64::from(seen.requests) / seen.seconds;
        let each = |total: f64| total / f64::from(seen.requests.max(1));
        let micros = |time: Duration| each(time.as_secs_f64() * 1_000_000.0);
        let latency = |quantile: f64| float(seen.latencies.value_at_quantile(quantile)) / 1_000.0;
        let known = used.servers + used.users + used.database.cpu;
        Self {
            refreshes_per_second: per_second,
            bound_per_second: bound,
            ratio_to_bound: per_second / bound,
            p50_ms: latency(0.5),
            p99_ms: latency(0.99),
            server_cpu_us_each: micros(used.servers),
            database_cpu_us_each: micros(used.database.cpu),
            users_cpu_us_each: micros(used.users),
            wal_bytes_each: each(float(used.database.wal_bytes)),
            wal_syncs_each: each(float(used.database.wal_syncs)),
            commits_each: each(float(used.database.commits)),
            cores_of_strangers: used.cores.saturating_sub(known).as_secs_f64() / seen.seconds,
        }
    }

    fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| super::report::median(runs.iter().map(figure).collect());
        Self {
            refreshes_per_second: of(|run| run.refreshes_per_second),
            bound_per_second: of(|run| run.bound_per_second),
            ratio_to_bound: of(|run| run.ratio_to_bound),
            p50_ms: of(|run| run.p50_ms),
            p99_ms: of(|run| run.p99_ms),
            server_cpu_us_each: of(|run| run.server_cpu_us_each),
            database_cpu_us_each: of(|run| run.database_cpu_us_each),
            users_cpu_us_each: of(|run| run.users_cpu_us_each),
            wal_bytes_each: of(|run| run.wal_bytes_each),
            wal_syncs_each: of(|run| run.wal_syncs_each),
            commits_each: of(|run| run.commits_each),
            cores_of_strangers: of(|run| run.cores_of_strangers),
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = &self.conditions;
        writeln!(out, "processor   {}; cores: {}", on.cpu, on.cores)?;
        writeln!(
            out,
            "system      Linux {}, database on {}",
            on.kernel, on.file_system
        )?;
        let limits = if self.redis {
            "limits on, in a Redis, out of reach"
        } else {
            "limits off, no Redis"
        };
        writeln!(out, "build       {}; {limits}", on.profile)?;
        writeln!(out, "durability  {}", self.durability)?;
        writeln!(
            out,
            "load        closed loop over {} kept connections, each to one instance",
            self.connections
        )?;
        for (users, each) in &self.round_trips_per_refresh {
            writeln!(
                out,
                "round trips {each:.2} for each refresh, at one instance with {users} connections"
            )?;
        }
        self.measured.iter().try_for_each(|measured| measured.fmt(out))
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { instances, cores } = self.case;
        let of_others = &self.cores_of_others;
        let runs = self.runs.len();
        writeln!(
            out,
            "\ninstances: {instances}, on cores: {cores}; PostgreSQL and users on cores {of_others:?}; median of {runs} runs"
        )?;
        let median = &self.median;
        let ratios: Vec<String> = self.runs.iter().map(|run| percent(run.ratio_to_bound)).collect();
        writeln!(out, "  refreshes/s         {:.0}", median.refreshes_per_second)?;
        writeln!(
            out,
            "  ratio to B          {} %   (runs: {}; B is {:.0} of these cores)",
            percent(median.ratio_to_bound),
            ratios.join(", "),
            median.bound_per_second
        )?;
        writeln!(
            out,
            "  latency ms          p50 {:.2}   p99 {:.2}",
            median.p50_ms, median.p99_ms
        )?;
        writeln!(
            out,
            "  CPU us each         instances {:.0}   PostgreSQL {:.0}   users {:.0}",
            median.server_cpu_us_each, median.database_cpu_us_each, median.users_cpu_us_each
        )?;
        writeln!(
            out,
            "  PostgreSQL each     {:.0} bytes of WAL, {:.3} syncs of it, {:.3} commits",
            median.wal_bytes_each, median.wal_syncs_each, median.commits_each
        )?;
        writeln!(
            out,
            "  others had          {:.2} cores",
            median.cores_of_strangers
        )
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.1}", ratio * 100.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no figure here needs more than 15 digits"
)]
fn float(count: u64) -> f64 {
    count as f64
}
