//! Refreshes beyond what the server can do: whether it goes on at its peak, and how long those it takes have to wait.

use std::io;
use std::time::Instant;

use clap::Args;

use super::half_load::run_paced;
use crate::load::closed;
use crate::load::crowd::Crowd;
use crate::load::figures::{Case, Figure};
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{DURABILITY, Stand, run_users};
use crate::load::users::{Act, Doing, Users};

/// How many users show what the peak is.
const AT_THE_PEAK: usize = 64;

/// Refreshes granted at once, twice and four times the peak, what is turned away, and the latency of what is not
#[derive(Debug, Clone, Args)]
pub struct Saturation {
    /// How many times the peak; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
    times: Vec<u32>,
    /// Over how many connections that comes: more than a worker takes in hand (MAX_REQUESTS_IN_HAND), so that this bound
    /// is met
    #[arg(long, default_value_t = 3_000)]
    connections: usize,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Saturation {
    fn name(&self) -> &'static str {
        "saturation"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [
            "peak: closed loop; beyond: open loop. A user sends no second request before the answer to the first: what \
             is due meanwhile waits, counts in the latency, and is never sent where the run ends before"
                .to_owned(),
            DURABILITY.to_owned(),
        ]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let stand = Stand::start(&self.options)?;
        let cases = run_users(self.measure_all(&stand))?;
        stand.stop()?;
        Ok(Outcome {
            cases,
            ..Outcome::default()
        })
    }
}

/// The name of a case.
pub fn case_name(times: u32) -> String {
    format!("{times} x the peak")
}

impl Saturation {
    async fn measure_all(&self, stand: &Stand) -> io::Result<Vec<Case>> {
        let (options, target, doing) = (&self.options, stand.target(), Doing::Only(Act::Refresh));
        let count = AT_THE_PEAK.min(self.connections);
        let mut users = Users::connect(doing, &target, count).await?;
        let mut crowd = Crowd::connect(doing, &target, self.connections, 1.0).await?;
        users.go_on_until(Instant::now() + options.warm_up()).await?;
        let mut peaks = Vec::with_capacity(options.runs);
        let mut beyond: Vec<_> = self.times.iter().map(|times| (*times, Vec::new())).collect();
        for _ in 0..options.runs {
            let peak = closed::run_once(options, stand, &mut users).await?;
            let most = peak.figure(Figure::RequestsPerSecond).unwrap_or(1.0);
            for (times, runs) in &mut beyond {
                crowd.rate = most * f64::from(*times);
                let mut run = run_paced(options, stand, &mut crowd).await?;
                if let Some(granted) = run.figure(Figure::RequestsPerSecond) {
                    run.put(Figure::RatioToPeak, granted / most);
                }
                runs.push(run);
            }
            peaks.push(peak);
        }
        let beyond = beyond.into_iter();
        let beyond = beyond.map(|(times, runs)| Case::of(case_name(times), self.connections, runs));
        Ok(std::iter::once(Case::of("peak", count, peaks))
            .chain(beyond)
            .collect())
    }
}
