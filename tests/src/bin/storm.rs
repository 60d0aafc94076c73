//! Measures what a flood of sign-ins does to those who are signed in, and fails where it is more than is promised.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use auth_e2e::load::storm::{Storm, Weather};
use clap::Parser;

/// Measures refreshes and fetches of the key set at a steady rate, by turns without and with a flood of four times as many
/// sign-ins as the server can hash. Ends with 1 where the flood makes their p99 more than twice the quiet one, or where
/// those that are turned away wait for it.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often the quiet and the flood are measured, by turns
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// How long each of them is, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Refreshes a second, and as many fetches of the key set
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How many users refresh, and as many fetch the key set
    #[arg(long, default_value_t = 64)]
    users: usize,
    /// Over how many connections the flood comes
    #[arg(long, default_value_t = 256)]
    flood: usize,
    /// The only core of the server; else it has all of them
    #[arg(long)]
    server_core: Option<usize>,
    /// The core of everybody else
    #[arg(long, default_value_t = 1)]
    users_core: usize,
    /// Where the server's directory is made; its file system counts
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// A setting of the server, such as HASHING_QUEUE=8; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Write the figures as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            for promise in broken {
                // Nobody is left to tell if this fails too; the same below.
                let _ = writeln!(io::stderr(), "broken: {promise}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<Vec<String>> {
    let storm = Storm {
        rounds: arguments.rounds,
        long: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        users: arguments.users,
        flood: arguments.flood,
        server_core: arguments.server_core,
        users_core: arguments.users_core,
        directory: arguments.directory.clone(),
        settings: arguments.settings.clone(),
    };
    let weather: Weather = storm.carry_out()?;
    write!(io::stdout(), "{weather}")?;
    if let Some(file) = &arguments.json {
        fs::write(file, serde_json::to_vec_pretty(&weather)?)?;
    }
    Ok(weather.broken_promises())
}
