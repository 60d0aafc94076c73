//! What the server takes while nobody asks for anything, and how soon it is there.

use std::io;
use std::time::Instant;

use clap::Args;

use crate::load::figures::{Case, Figure, Run, float};
use crate::load::hash::Dearness;
use crate::load::options::Options;
use crate::load::process::memory_kib;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{DURABILITY, Stand, run_users};
use crate::load::users::{Act, Doing, Users};

/// The case of a server that is started on a database that is there.
pub const START: &str = "start";
/// The case of a server that has nothing to do.
pub const AT_REST: &str = "at rest";

/// Memory at rest and under many connections, and the time from the start to the first answer
#[derive(Debug, Clone, Args)]
pub struct Rest {
    /// How many connections; each has signed in and refreshes
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// How often it is started
    #[arg(long, default_value_t = 10)]
    starts: usize,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Rest {
    fn name(&self) -> &'static str {
        "rest"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [
            "none; then a closed loop of refreshes. Whether the server answers is looked at every 5 ms"
                .to_owned(),
            DURABILITY.to_owned(),
        ]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let mut stand = Stand::start(&self.options)?;
        let hashing = Dearness::of(stand.installation()?)?.memory_mib() * self.hashing_threads();
        let mut starts = Vec::with_capacity(self.starts);
        for _ in 0..self.starts {
            stand.pause()?;
            let began = Instant::now();
            stand.resume()?;
            starts.push(Run::default().with(Figure::StartMs, began.elapsed().as_secs_f64() * 1_000.0));
        }
        let at_rest = Run::default().with(Figure::MemoryMib, memory_mib(&stand)?);
        let loaded = run_users(self.load_it(&stand, hashing))?;
        stand.stop()?;
        let name = format!("{} connections", self.connections);
        Ok(Outcome {
            cases: vec![
                Case::of(START, 1, starts),
                Case::once(AT_REST, 0, at_rest),
                Case::of(name, self.connections, loaded),
            ],
            ..Outcome::default()
        })
    }
}

impl Rest {
    async fn load_it(&self, stand: &Stand, hashing: f64) -> io::Result<Vec<Run>> {
        let doing = Doing::Only(Act::Refresh);
        let mut users = Users::connect(doing, &stand.target(), self.connections).await?;
        let mut runs = Vec::with_capacity(self.options.runs);
        for _ in 0..self.options.runs {
            let mut run = crate::load::closed::run_once(&self.options, stand, &mut users).await?;
            // The most it has ever had: more than there is at any moment, and so never too little.
            let peak = run.figure(Figure::PeakMemoryMib).unwrap_or_default();
            // Said even where it is none: whoever is turned away takes little memory.
            run.figures.entry(Figure::RefusedShare).or_insert(0.0);
            run.put(Figure::HashingMemoryMib, hashing);
            run.put(Figure::MemoryBesideHashingMib, peak - hashing);
            runs.push(run);
        }
        Ok(runs)
    }

    /// By the settings; else one, which is what the server has on one core.
    fn hashing_threads(&self) -> f64 {
        let mut newest_first = self.options.settings.iter().rev();
        let threads = newest_first.find_map(|setting| setting.strip_prefix("HASHING_THREADS="));
        threads.and_then(|threads| threads.parse().ok()).unwrap_or(1.0)
    }
}

fn memory_mib(stand: &Stand) -> io::Result<f64> {
    let memory = stand.pids().into_iter().map(memory_kib);
    Ok(float(memory.sum::<io::Result<u64>>()?) / 1_024.0)
}
