//! The server that is measured, on its cores, and what it has used meanwhile.

use std::io;
use std::time::Duration;

use auth_testkit::server::PostgresServer;
use tokio::runtime::Builder;

use super::database::Work;
use super::figures::{Figure, OTHERS_AT_MOST, Run, float};
use super::machine::{allow_many_connections, pin_this_thread};
use super::options::Options;
use super::process::{Usage, core_at_work, peak_memory_kib};
use super::users::{RESOURCE_SERVER, Target};
use crate::installation::Installation;
use crate::server::Server;

/// The server's own settings, in words.
pub(super) const DURABILITY: &str = "commits are synced (SQLite, WAL, synchronous=FULL); audit, metrics and log on, limits off, also \
                                    that of connections for an address";
/// What a closed loop is, in words.
pub(super) const CLOSED_LOOP: &str =
    "closed loop over kept connections: each user sends its next request on the answer to the last";

/// Instances of the server at work, and the users' place beside them.
pub(super) struct Stand {
    pub(super) installations: Vec<Installation>,
    pub(super) servers: Vec<Server>,
    pub(super) postgres: Option<PostgresServer>,
    secret: String,
    /// The server's cores.
    pub(super) cores: Vec<usize>,
    /// The cores on which others are looked for.
    watched: Vec<usize>,
    /// Whether the generator is on one of them.
    generator_is_watched: bool,
    /// Whether PostgreSQL is on them.
    postgres_is_watched: bool,
}

/// What all who take part have used so far.
struct Used {
    server: Usage,
    generator: Duration,
    database: Work,
    /// How long the watched cores have been at work, for whomever.
    cores: Duration,
}

/// Watches a stand from when it is made.
pub(super) struct Watch<'a> {
    stand: &'a Stand,
    before: Used,
}

/// More than any scenario opens: all users come from one address, which would be held to a thousand.
const CONNECTIONS_PER_ADDRESS: &str = "100000";

/// A new installation by the options, unlimited, its server on some cores with a worker for each.
pub(super) fn installation(options: &Options, cores: &[usize]) -> Installation {
    let plain = Installation::within(&options.directory)
        .unlimited()
        .with(
            "AUTH_SERVICE__MAX_CONNECTIONS_PER_ADDRESS",
            CONNECTIONS_PER_ADDRESS,
        )
        .with("AUTH_SERVICE__WORKERS", &cores.len().to_string())
        .on_cores(cores);
    with_settings(plain, options)
}

/// An installation with the settings of the command line.
pub(super) fn with_settings(installation: Installation, options: &Options) -> Installation {
    options
        .settings
        .iter()
        .fold(installation, |installation, setting| {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            installation.with(&format!("AUTH_SERVICE__{name}"), value)
        })
}

/// Starts a server; an error says what it printed.
pub(super) fn started(installation: &Installation) -> io::Result<Server> {
    let started = installation.try_start();
    started.map_err(|failed| io::Error::other(format!("{failed}\n{}", installation.printed())))
}

/// Runs the users, in this thread.
pub(super) fn run_users<T>(users: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(users)
}

impl Stand {
    /// One server over SQLite on the core of the options, the users on theirs.
    pub(super) fn start(options: &Options) -> io::Result<Self> {
        Self::start_on(options, vec![options.server_core])
    }

    /// The same on several cores.
    pub(super) fn start_on(options: &Options, cores: Vec<usize>) -> io::Result<Self> {
        let installation = installation(options, &cores);
        Self::of(options, cores, vec![installation], None)
    }

    /// One server over SQLite, with a client that may ask what tokens stand for.
    pub(super) fn start_with_resource_server(options: &Options) -> io::Result<Self> {
        let stand = Self::start(options)?;
        // Not before: only a server that finds no client makes those that are built in.
        let secret = register_resource_server(stand.installation()?)?;
        Ok(Self { secret, ..stand })
    }

    /// Servers of installations that are made ready, over a PostgreSQL where there is one.
    pub(super) fn of(
        options: &Options,
        cores: Vec<usize>,
        installations: Vec<Installation>,
        postgres: Option<PostgresServer>,
    ) -> io::Result<Self> {
        let servers = installations.iter().map(started).collect::<io::Result<_>>()?;
        pin_this_thread(&[options.users_core])?;
        allow_many_connections()?;
        Ok(Self {
            installations,
            servers,
            postgres,
            secret: String::new(),
            generator_is_watched: cores.contains(&options.users_core),
            postgres_is_watched: false,
            watched: cores.clone(),
            cores,
        })
    }

    /// With a PostgreSQL that shares the server's cores.
    pub(super) const fn with_postgres_on_its_cores(mut self) -> Self {
        self.postgres_is_watched = true;
        self
    }

    /// With others looked for on all these cores, which everybody who takes part is on.
    pub(super) fn watching(mut self, cores: &[usize]) -> Self {
        self.watched = cores.to_vec();
        self.generator_is_watched = true;
        self.postgres_is_watched = true;
        self
    }

    /// Stops the servers, which are to be started again.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        self.servers.drain(..).try_for_each(stop)
    }

    /// Starts them again.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.servers = self
            .installations
            .iter()
            .map(started)
            .collect::<io::Result<_>>()?;
        Ok(())
    }

    /// The first installation.
    pub(super) fn installation(&self) -> io::Result<&Installation> {
        let first = self.installations.first();
        first.ok_or_else(|| io::Error::other("no installation"))
    }

    /// Where users go.
    pub(super) fn target(&self) -> Target {
        Target {
            addresses: self.servers.iter().map(Server::address).collect(),
            secret: self.secret.clone(),
            chains_each: 1,
            tokens_each: 0,
        }
    }

    /// The process ids of the servers.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// Watches what is used from now on.
    pub(super) fn watch(&self) -> io::Result<Watch<'_>> {
        Ok(Watch {
            stand: self,
            before: self.used()?,
        })
    }

    /// Stops the servers, each of which must end well.
    pub(super) fn stop(self) -> io::Result<()> {
        self.servers.into_iter().try_for_each(stop)
    }

    fn used(&self) -> io::Result<Used> {
        let cores = self.watched.iter().map(|core| core_at_work(*core));
        Ok(Used {
            server: Usage::of_all(&self.pids())?,
            generator: Usage::of(std::process::id())?.cpu,
            database: self
                .postgres
                .as_ref()
                .map_or_else(|| Ok(Work::default()), Work::of)?,
            cores: cores.sum::<io::Result<_>>()?,
        })
    }
}

/// Stops a server, which must end well.
pub(super) fn stop(server: Server) -> io::Result<()> {
    match server.stop() {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("the server ended with {status}"))),
        None => Err(io::Error::other("the server did not stop")),
    }
}

impl Watch<'_> {
    /// What was used since, for so many requests in so many seconds.
    pub(super) fn tell(self, requests: u64, seconds: f64, run: &mut Run) -> io::Result<()> {
        let (after, before) = (self.stand.used()?, self.before);
        let server = after.server.since(&before.server);
        let database = after.database.since(&before.database);
        let generator = after.generator.saturating_sub(before.generator);
        let each = |total: f64| total / float(requests.max(1));
        let micros = |time: Duration| each(time.as_secs_f64() * 1_000_000.0);
        run.put(Figure::ServerCpuUsEach, micros(server.cpu));
        run.put(Figure::GeneratorCpuUsEach, micros(generator));
        run.put(Figure::GeneratorShareOfCore, generator.as_secs_f64() / seconds);
        run.put(Figure::WrittenBytesEach, each(float(server.written)));
        let threads = server.threads.iter();
        run.threads_us_each = threads.map(|(name, cpu)| (name.clone(), micros(*cpu))).collect();
        if self.stand.postgres.is_some() {
            let both = (database.cpu + server.cpu).as_secs_f64();
            run.put(Figure::DatabaseCpuUsEach, micros(database.cpu));
            run.put(Figure::DatabaseShareOfCpu, database.cpu.as_secs_f64() / both);
            run.put(Figure::WalBytesEach, each(float(database.wal_bytes)));
            run.put(Figure::WalSyncsEach, each(float(database.wal_syncs)));
            run.put(Figure::CommitsEach, each(float(database.commits)));
        }
        let mut known = server.cpu;
        if self.stand.generator_is_watched {
            known += generator;
        }
        if self.stand.postgres_is_watched {
            known += database.cpu;
        }
        let others = after.cores.saturating_sub(before.cores).saturating_sub(known);
        let cores = float(u64::try_from(self.stand.watched.len()).unwrap_or(1).max(1));
        let share = others.as_secs_f64() / seconds / cores;
        run.put(Figure::OthersShare, share);
        run.is_disturbed = share > OTHERS_AT_MOST;
        self.stand.tell_peak(run)
    }
}

impl Stand {
    fn tell_peak(&self, run: &mut Run) -> io::Result<()> {
        let peaks = self.pids().into_iter().map(peak_memory_kib);
        run.put(
            Figure::PeakMemoryMib,
            float(peaks.sum::<io::Result<u64>>()?) / 1_024.0,
        );
        Ok(())
    }
}

fn register_resource_server(installation: &Installation) -> io::Result<String> {
    let create = format!(
        "--json client create {RESOURCE_SERVER} --name Benchmark --confidential --grant password --scope api:read"
    );
    let arguments: Vec<&str> = create.split_whitespace().collect();
    let created = installation.run(&arguments, "")?;
    let secret = serde_json::from_slice::<serde_json::Value>(&created.stdout)
        .ok()
        .and_then(|created| Some(created.get("client_secret")?.as_str()?.to_owned()));
    secret.ok_or_else(|| {
        let said = String::from_utf8_lossy(&created.stderr);
        io::Error::other(format!("no client could be registered: {said}"))
    })
}
