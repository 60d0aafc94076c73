//! Refreshes of a server on two cores against one.

use std::io;

use clap::Args;

use crate::load::closed;
use crate::load::figures::{Case, Figure};
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, DURABILITY, Stand};
use crate::load::users::{Act, Doing};

/// The case of the server on its own core.
pub const ONE: &str = "one core";
/// The case of the server on two.
pub const TWO: &str = "two cores";

/// Refreshes a second of the server on two cores against one
#[derive(Debug, Clone, Args)]
pub struct Cores {
    /// How many connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The second core of the server. Where it is the users', what they use of it is not the server's, and is told
    #[arg(long, default_value_t = 1)]
    second_core: usize,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Cores {
    fn name(&self) -> &'static str {
        "cores"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [CLOSED_LOOP.to_owned(), DURABILITY.to_owned()]
    }

    fn cores(&self) -> [Vec<usize>; 2] {
        let both = vec![self.options.server_core, self.second_core];
        [both, vec![self.options.users_core]]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let [both, _] = self.cores();
        let one = self.measure_on(ONE, vec![self.options.server_core])?;
        let mut two = self.measure_on(TWO, both)?;
        if let (Some(one), Some(two_cores)) = (
            one.median.figure(Figure::RequestsPerSecond),
            two.median.figure(Figure::RequestsPerSecond),
        ) {
            two.put(Figure::RatioToOneCore, two_cores / one);
        }
        let mut notes = Vec::new();
        if self.second_core == self.options.users_core {
            let share = two
                .median
                .figure(Figure::GeneratorShareOfCore)
                .unwrap_or_default();
            notes.push(format!(
                "the generator ran on the server's second core and used {:.0} % of it",
                share * 100.0
            ));
        }
        Ok(Outcome {
            cases: vec![one, two],
            notes,
            postgresql: None,
        })
    }
}

impl Cores {
    fn measure_on(&self, name: &str, cores: Vec<usize>) -> io::Result<Case> {
        let stand = Stand::start_on(&self.options, cores)?;
        let doing = Doing::Only(Act::Refresh);
        let runs = closed::measure(&self.options, &stand, doing, self.connections)?;
        stand.stop()?;
        Ok(Case::of(name, self.connections, runs))
    }
}
