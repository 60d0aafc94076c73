//! `bench`: measures what this machine does under these settings, and says what to expect of a server on it.
//!
//! It neither opens the database nor changes anything: what is written to be timed is written beside it and removed.

mod commits;
mod estimate;
mod hashing;
mod people;
mod report;
mod scratch;
mod servers;
mod signing;
mod stopwatch;

use std::time::Duration;

use auth_storage::DatabaseUrl;
use clap::Args;

use super::failure::Failure;
use super::output::Report;
use super::progress::Showing;
use crate::compose::{self, World};
use crate::settings::Settings;
use commits::Bench;
use estimate::Machine;
use report::{Database, Measured};

/// What the help says about what it does to the machine.
pub(super) const DONE_TO_THE_MACHINE: &str = "It measures signatures, password hashes, durable refreshes where the SQLite database lies (in a file of its own, which \
    is removed; the database is not opened), or else the way to the PostgreSQL server, and that to Redis; and says what a server \
    may come to with that. No table is touched, no file left behind, no server need run. One that does loses about a core \
    to it, and a part of the disk, for as long as it takes: some seven times --seconds.\n\
    On PostgreSQL at most 2,000 empty messages (pg_logical_emit_message, prefix codelab-auth) are committed, some hundred \
    bytes each: they go into the log, and so to archives, standbys and those logical decoders that ask for messages.\n\
    It removes its folder, .auth-service-bench-... beside the database, also where SIGHUP, SIGINT, SIGQUIT or SIGTERM ends it; \
    what kill -9 or a crash leaves may be deleted.\n\
    Exit codes: 0 all was measured; 1 something could not be, and the rest was; 2 a setting is wrong.";

/// What the audit trail of the database that is removed says made its rows.
const AGENT: &str = concat!("auth-service/", env!("CARGO_PKG_VERSION"), " (bench)");

/// For how long.
#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// How many seconds to measure each thing; longer is steadier
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: f64,
}

/// A span that something can be measured for.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "takes a number, such as 2 or 0.5".to_owned())?;
    if seconds > 0.0 && seconds <= 600.0 {
        Ok(seconds)
    } else {
        Err("takes more than 0 and at most 600 seconds".to_owned())
    }
}

/// Measures everything, part by part, and says what it came to.
///
/// # Errors
/// Where nothing can be hashed at all, or somebody has ended it.
pub(super) async fn run(
    arguments: &BenchArguments,
    settings: &Settings,
    showing: Showing,
) -> Result<Report, Failure> {
    let world = World::of_system(AGENT);
    let hasher = compose::start_hashing(&hashing::one_at_a_time(settings), &world.random);
    let hasher = hasher.map_err(compose::StartError::Hashing)?;
    let bench = Bench {
        settings,
        hasher: &hasher,
        world: &world,
        long: Duration::from_secs_f64(arguments.seconds),
    };
    let shown = |doing: &str| showing.silent(doing);
    let signing = {
        let _shown = shown("signing and verifying");
        signing::measure(settings, bench.long).await
    };
    let hashing = {
        let _shown = shown("hashing passwords");
        hashing::measure(&hasher, settings, bench.long).await
    };
    let redis = {
        let _shown = shown("asking Redis");
        match &settings.redis {
            Some(redis) => Some(servers::measure_redis(redis, bench.long).await),
            None => None,
        }
    };
    let database = {
        let _shown = shown("storing refreshes");
        measure_database(bench).await?
    };
    let measured = Measured {
        seconds: arguments.seconds,
        machine: machine(settings),
        signing,
        hashing,
        database,
        redis,
    };
    Ok(measured.report())
}

async fn measure_database(bench: Bench<'_>) -> Result<Result<Database, Failure>, Failure> {
    Ok(match &bench.settings.database.url {
        // Last of all: from here on signals only end this.
        DatabaseUrl::Sqlite(path) => commits::measure(bench, path).await?.map(Database::Sqlite),
        DatabaseUrl::Postgres(url) => servers::measure_postgres(url, bench.long)
            .await
            .map(Database::Postgres),
    })
}

fn machine(settings: &Settings) -> Machine {
    Machine {
        cores: compose::cores().get(),
        workers: compose::http_settings(settings, None).workers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_span_that_ends_is_measured_for() {
        assert_eq!(seconds("0.05"), Ok(0.05));
        assert_eq!(seconds("600"), Ok(600.0));
        for text in ["0", "-1", "600.1", "nan", "inf", "long", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
