//! Revocations: each user denies access tokens, which it has got by refreshes between the runs.

use std::io;

use clap::Args;

use crate::load::closed;
use crate::load::figures::Case;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, DURABILITY, Stand};
use crate::load::users::{Act, Doing, Target};

/// Revocations of access tokens a second
#[derive(Debug, Clone, Args)]
pub struct Revoke {
    /// How many connections; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [64])]
    connections: Vec<usize>,
    /// How many tokens there are for each run, which ends with the last of them; each takes a refresh to get
    #[arg(long, default_value_t = 20_000)]
    tokens: usize,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Revoke {
    fn name(&self) -> &'static str {
        "revoke"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [CLOSED_LOOP.to_owned(), DURABILITY.to_owned()]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        for connections in &self.connections {
            let stand = Stand::start(&self.options)?;
            let target = Target {
                tokens_each: self.tokens.div_ceil(*connections),
                ..stand.target()
            };
            let doing = Doing::Only(Act::Revoke);
            let runs = closed::measure_at(&self.options, &stand, doing, &target, *connections)?;
            stand.stop()?;
            let name = format!("{connections} connections");
            outcome.cases.push(Case::of(name, *connections, runs));
        }
        Ok(outcome)
    }
}
