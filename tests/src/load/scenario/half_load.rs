//! Refreshes at half of what the server has just been measured to reach: the latencies of every day.

use std::io;
use std::time::Instant;

use clap::Args;

use crate::load::bound::Bound;
use crate::load::closed;
use crate::load::crowd::Crowd;
use crate::load::figures::{Case, Figure, Run};
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{DURABILITY, Stand, run_users};
use crate::load::users::{Act, Doing, Users};

/// The case of the closed loop that half is taken of.
pub const PEAK: &str = "peak";
/// The case of half of it.
pub const HALF: &str = "half of the peak";
const SHARE: f64 = 0.5;

/// Latencies of refreshes at half of the peak, whatever the answers are and whenever they come
#[derive(Debug, Clone, Args)]
pub struct HalfLoad {
    /// How many connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[command(flatten)]
    options: Options,
}

impl Scenario for HalfLoad {
    fn name(&self) -> &'static str {
        "half-load"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [
            "peak: closed loop; half: open loop at half of the peak that was measured just before, latency from when \
             each request was due"
                .to_owned(),
            DURABILITY.to_owned(),
        ]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let stand = Stand::start(&self.options)?;
        let cases = run_users(self.measure_both(&stand))?;
        stand.stop()?;
        Ok(Outcome {
            cases,
            ..Outcome::default()
        })
    }
}

impl HalfLoad {
    async fn measure_both(&self, stand: &Stand) -> io::Result<Vec<Case>> {
        let (options, target, doing) = (&self.options, stand.target(), Doing::Only(Act::Refresh));
        let mut users = Users::connect(doing, &target, self.connections).await?;
        let mut crowd = Crowd::connect(doing, &target, self.connections, 1.0).await?;
        users.go_on_until(Instant::now() + options.warm_up()).await?;
        let (mut peaks, mut halves) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            let mut peak = closed::run_once(options, stand, &mut users).await?;
            Bound::measure(&stand.cores, options.rsa())?.tell(&mut peak);
            crowd.rate = peak.figure(Figure::RequestsPerSecond).unwrap_or(1.0) * SHARE;
            halves.push(run_paced(options, stand, &mut crowd).await?);
            peaks.push(peak);
        }
        Ok(vec![
            Case::of(PEAK, self.connections, peaks),
            Case::of(HALF, self.connections, halves),
        ])
    }
}

/// One run of users who keep a pace, some of it before anything is measured.
pub(super) async fn run_paced(options: &Options, stand: &Stand, crowd: &mut Crowd) -> io::Result<Run> {
    // The first requests after a change of load are not what is asked about.
    crowd.go_on_until(Instant::now() + options.warm_up()).await?;
    let watch = stand.watch()?;
    let seen = crowd.go_on_until(Instant::now() + options.long()).await?;
    let mut run = Run::default();
    seen.tell(&mut run)?;
    watch.tell(seen.answered(), seen.seconds, &mut run)?;
    Ok(run)
}
