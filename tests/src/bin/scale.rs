//! Measures several instances over one PostgreSQL, which it starts itself, on this machine.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use auth_e2e::load::fleet::{Case, Fleet};
use clap::Parser;

/// Measures refreshes a second of one, two and three instances on one and two cores over a PostgreSQL on the same machine,
/// as ratios to what these cores can sign and verify, and what each refresh costs the database.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many instances; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    instances: Vec<usize>,
    /// How many cores they have together; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    cores: Vec<usize>,
    /// How many connections, shared by the instances
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Length of a run, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Length of the warm-up, in seconds
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// How long each RSA operation is measured before and after each run, in seconds
    #[arg(long, default_value_t = 2)]
    rsa_seconds: u64,
    /// With limits on, out of reach, and kept in a Redis
    #[arg(long)]
    redis: bool,
    /// Write the report as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    let findings = arguments.fleet().carry_out(&std::env::temp_dir())?;
    write!(io::stdout(), "{findings}")?;
    match &arguments.json {
        Some(file) => fs::write(file, serde_json::to_vec_pretty(&findings)?),
        None => Ok(()),
    }
}

impl Arguments {
    fn fleet(&self) -> Fleet {
        let case = |cores: usize| {
            let instances = self.instances.iter();
            instances.map(move |instances| Case {
                instances: *instances,
                cores,
            })
        };
        Fleet {
            cases: self.cores.iter().flat_map(|cores| case(*cores)).collect(),
            connections: self.connections,
            runs: self.runs,
            long: Duration::from_secs(self.seconds),
            warm_up: Duration::from_secs(self.warm_up),
            rsa: Duration::from_secs(self.rsa_seconds),
            redis: self.redis,
        }
    }
}
