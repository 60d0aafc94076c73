//! All requests mixed: mostly refreshes, a few of everything else.

use std::io;

use clap::Args;

use crate::load::closed;
use crate::load::figures::Case;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, DURABILITY, Stand};
use crate::load::users::Doing;

/// Of a hundred requests 72 refreshes, 15 fetches of the key set, 10 introspections, 2 revocations, 1 sign-in
#[derive(Debug, Clone, Args)]
pub struct Mixed {
    /// How many connections; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [64])]
    connections: Vec<usize>,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
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
            let stand = Stand::start_with_resource_server(&self.options)?;
            let runs = closed::measure(&self.options, &stand, Doing::Mixed, *connections)?;
            stand.stop()?;
            let name = format!("{connections} connections");
            outcome.cases.push(Case::of(name, *connections, runs));
        }
        Ok(outcome)
    }
}
