//! The load generator: measures the server on this machine, beside the machine's own speed at RSA.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use auth_e2e::load::machine::Conditions;
use auth_e2e::load::report::Report;
use auth_e2e::load::run::Plan;
use auth_e2e::load::users::Scenario;
use clap::Parser;

/// Measures the server: requests a second, latencies, processor time and bytes written for each request, and for
/// refreshes the ratio to the bound that two RSA signatures and one verification set.
#[derive(Debug, Parser)]
struct Arguments {
    /// What the users do; may be given several times
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scenario::Refresh])]
    scenario: Vec<Scenario>,
    /// How many connections; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [64, 16])]
    connections: Vec<usize>,
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
    /// The core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of the users
    #[arg(long, default_value_t = 1)]
    users_core: usize,
    /// Where the server's directory is made; its file system counts
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
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
    // Before anything is bound to a core: the system shows a thread only the cores that it may use.
    let conditions = Conditions::of(&arguments.directory);
    let mut measured = Vec::new();
    for scenario in &arguments.scenario {
        for connections in &arguments.connections {
            measured.push(arguments.plan(*scenario, *connections).carry_out()?);
        }
    }
    let report = Report::new(
        conditions,
        [arguments.server_core, arguments.users_core],
        measured,
    );
    write!(io::stdout(), "{report}")?;
    match &arguments.json {
        Some(file) => fs::write(file, serde_json::to_vec_pretty(&report)?),
        None => Ok(()),
    }
}

impl Arguments {
    fn plan(&self, scenario: Scenario, connections: usize) -> Plan {
        Plan {
            scenario,
            connections,
            runs: self.runs,
            long: Duration::from_secs(self.seconds),
            warm_up: Duration::from_secs(self.warm_up),
            rsa: Duration::from_secs(self.rsa_seconds),
            server_core: self.server_core,
            users_core: self.users_core,
            directory: self.directory.clone(),
        }
    }
}
