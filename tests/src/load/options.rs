//! What all scenarios can be told: how long, how often, on which cores and where.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// How long, how often, on which cores and where.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often each case is measured
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Length of a run, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Length of the warm-up, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub warm_up: f64,
    /// How long each RSA operation is measured before and after each run, in seconds
    #[arg(long, default_value_t = 2.0)]
    pub rsa_seconds: f64,
    /// The core of the server
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core of the users
    #[arg(long, default_value_t = 1)]
    pub users_core: usize,
    /// Where the server's directory is made; its file system counts
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub directory: PathBuf,
    /// A setting of the server, such as HASHING_QUEUE=8; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
    /// Write the results as JSON to this file too
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// End with 1 where a goal is missed, or none can be judged by what was measured
    #[arg(long)]
    pub strict: bool,
}

impl Options {
    /// Length of a run.
    pub fn long(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Length of the warm-up.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// How long each RSA operation is measured.
    pub fn rsa(&self) -> Duration {
        Duration::from_secs_f64(self.rsa_seconds)
    }
}
