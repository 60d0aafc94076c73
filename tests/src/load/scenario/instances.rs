//! Refreshes at several instances over one PostgreSQL on this machine, and what each costs the database.

use std::io;

use auth_testkit::server::RedisServer;
use clap::Args;

use super::refresh_pg::{DURABILITY, case_of_round_trips, on_postgres, start_postgres};
use crate::installation::Installation;
use crate::load::closed;
use crate::load::database;
use crate::load::figures::Case;
use crate::load::machine::pin_this_thread;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, Stand};
use crate::load::users::{Act, Doing};

/// Refreshes a second of several instances on one and two cores over one PostgreSQL
#[derive(Debug, Clone, Args)]
pub struct Instances {
    /// How many instances; may be given several times
    #[arg(long = "instances", value_delimiter = ',', default_values_t = [1, 2, 3])]
    counts: Vec<usize>,
    /// How many cores they have together, the machine's first ones; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    cores: Vec<usize>,
    /// How many connections, shared by the instances
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// With how many users the statements of a refresh are counted; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    counted: Vec<usize>,
    /// With limits on, out of reach, and kept in a Redis
    #[arg(long)]
    redis: bool,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Instances {
    fn name(&self) -> &'static str {
        "instances"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        let limits = if self.redis {
            "; but limits on, out of reach, in a Redis"
        } else {
            ""
        };
        [
            format!("{CLOSED_LOOP}; PostgreSQL and the users have the cores that are left, or share all"),
            format!("{DURABILITY}{limits}"),
        ]
    }

    fn cores(&self) -> [Vec<usize>; 2] {
        let most = self.cores.iter().copied().max().unwrap_or(1);
        let all = std::thread::available_parallelism().map_or(1, Into::into);
        [(0..most).collect(), (0..all).collect()]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let all: Vec<usize> = (0..std::thread::available_parallelism()?.get()).collect();
        if let Some(cores) = self.cores.iter().find(|cores| **cores > all.len()) {
            return Err(io::Error::other(format!("this machine lacks {cores} cores")));
        }
        let mut outcome = Outcome::default();
        for users in &self.counted {
            outcome.cases.push(case_of_round_trips(&self.options, *users)?);
        }
        for cores in &self.cores {
            for instances in &self.counts {
                self.measure_one(*instances, *cores, &all, &mut outcome)?;
            }
        }
        Ok(outcome)
    }
}

impl Instances {
    fn measure_one(
        &self,
        instances: usize,
        cores: usize,
        all: &[usize],
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let (own, rest) = all.split_at(cores);
        let others = if rest.is_empty() { all } else { rest };
        pin_this_thread(others)?;
        let redis = self.redis.then(RedisServer::start);
        let postgres = start_postgres(&[]);
        let first = with_redis(on_postgres(&self.options, &postgres, own), redis.as_ref());
        let further: Vec<_> = (1..instances).map(|_| first.beside()).collect();
        let installations = std::iter::once(first).chain(further).collect();
        let stand = Stand::of(&self.options, own.to_vec(), installations, Some(postgres))?.watching(all);
        // Where the instances have all cores, the users are not held to one of them.
        pin_this_thread(others)?;
        outcome.postgresql = stand.postgres.as_ref().map(database::version).transpose()?;
        let doing = Doing::Only(Act::Refresh);
        let runs = closed::measure(&self.options, &stand, doing, self.connections)?;
        stand.stop()?;
        let name = format!("instances: {instances}, on cores: {cores}");
        outcome.cases.push(Case::of(name, self.connections, runs));
        Ok(())
    }
}

fn with_redis(installation: Installation, redis: Option<&RedisServer>) -> Installation {
    let Some(redis) = redis else {
        return installation;
    };
    installation
        .without("AUTH_SERVICE__ENABLE_RATE_LIMITING")
        .with("AUTH_SERVICE__REDIS_URL", &redis.url())
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD", "1000000")
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000000")
        .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000000")
        .with("AUTH_SERVICE__RATE_LIMIT_PER_USERNAME", "1000000")
        .with("AUTH_SERVICE__REFRESH_RATE_LIMIT", "100000000")
}
