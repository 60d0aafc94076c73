//! Refreshes over a PostgreSQL on the server's own core.

use std::io;
use std::time::{Duration, Instant};

use auth_testkit::server::{Durability, PostgresServer};
use clap::Args;

use crate::installation::Installation;
use crate::load::closed;
use crate::load::database::{self, COUNTING};
use crate::load::figures::{Case, Figure, Run, float};
use crate::load::machine::pin_this_thread;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, Stand, run_users, with_settings};
use crate::load::users::{Act, Doing, Users};

/// What an answered request promises.
pub(super) const DURABILITY: &str = "PostgreSQL's own settings but for shared_buffers=256MB: commits are synced; audit, metrics and log on, limits off";
/// For how long statements are counted.
const COUNTED_FOR: Duration = Duration::from_secs(2);

/// Refreshes a second with PostgreSQL on the server's own core, and what each costs the database
#[derive(Debug, Clone, Args)]
pub struct RefreshPg {
    /// How many connections; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [64, 16])]
    connections: Vec<usize>,
    #[command(flatten)]
    options: Options,
}

impl Scenario for RefreshPg {
    fn name(&self) -> &'static str {
        "refresh-pg"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [CLOSED_LOOP.to_owned(), DURABILITY.to_owned()]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let core = [self.options.server_core];
        for connections in &self.connections {
            let round_trips = round_trips(&self.options, *connections)?;
            let stand = start(&self.options, &core)?.with_postgres_on_its_cores();
            outcome.postgresql = stand.postgres.as_ref().map(database::version).transpose()?;
            let doing = Doing::Only(Act::Refresh);
            let mut runs = closed::measure(&self.options, &stand, doing, *connections)?;
            stand.stop()?;
            for run in &mut runs {
                run.put(Figure::RoundTripsEach, round_trips);
            }
            let name = format!("{connections} connections");
            outcome.cases.push(Case::of(name, *connections, runs));
        }
        Ok(outcome)
    }
}

fn start(options: &Options, cores: &[usize]) -> io::Result<Stand> {
    pin_this_thread(cores)?;
    let postgres = start_postgres(&[]);
    let installation = on_postgres(options, &postgres, cores);
    Stand::of(options, cores.to_vec(), vec![installation], Some(postgres))
}

/// A debug build measures nothing: there a busy disk must not keep a test waiting.
const LASTING: Durability = if cfg!(debug_assertions) {
    Durability::Fast
} else {
    Durability::Durable
};

/// A PostgreSQL on the cores of this thread.
pub(super) fn start_postgres(settings: &[(&str, &str)]) -> PostgresServer {
    let settings = [&[("shared_buffers", "256MB")], settings].concat();
    PostgresServer::start_with(LASTING, &settings)
}

/// An installation over it, without limits.
pub(super) fn on_postgres(options: &Options, postgres: &PostgresServer, cores: &[usize]) -> Installation {
    let plain = Installation::within(&options.directory)
        .on_postgres(postgres.database())
        .unlimited()
        .with("AUTH_SERVICE__WORKERS", &cores.len().max(1).to_string())
        .on_cores(cores);
    with_settings(plain, options)
}

/// How many statements a server sends for each refresh where so many users refresh at once: counted on a PostgreSQL that
/// is there for nothing else, since counting costs time.
pub(super) fn round_trips(options: &Options, connections: usize) -> io::Result<f64> {
    let core = [options.server_core];
    pin_this_thread(&core)?;
    let postgres = start_postgres(&[COUNTING]);
    let installation = on_postgres(options, &postgres, &core);
    let stand = Stand::of(options, core.to_vec(), vec![installation], Some(postgres))?;
    let each = run_users(async {
        let target = stand.target();
        let mut users = Users::connect(Doing::Only(Act::Refresh), &target, connections).await?;
        users.go_on_until(Instant::now() + options.warm_up()).await?;
        let postgres = stand
            .postgres
            .as_ref()
            .ok_or_else(|| io::Error::other("no PostgreSQL"))?;
        database::count_statements(postgres)?;
        let until = Instant::now() + options.long().min(COUNTED_FOR);
        let seen = users.go_on_until(until).await?;
        Ok(float(database::statements(postgres)?) / float(seen.requests.max(1)))
    })?;
    stand.stop()?;
    Ok(each)
}

/// A case that says only that.
pub(super) fn case_of_round_trips(options: &Options, connections: usize) -> io::Result<Case> {
    let run = Run::default().with(Figure::RoundTripsEach, round_trips(options, connections)?);
    Ok(Case::once(
        format!("round trips of {connections} users"),
        connections,
        run,
    ))
}
