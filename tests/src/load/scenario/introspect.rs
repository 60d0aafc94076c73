//! Introspections: each user asks what an access token of its own stands for.

use std::io;

use clap::Args;

use crate::load::closed;
use crate::load::figures::Case;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, DURABILITY, Stand};
use crate::load::users::{Act, Doing};

/// Introspections a second
#[derive(Debug, Clone, Args)]
pub struct Introspect {
    /// How many connections; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [64])]
    connections: Vec<usize>,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Introspect {
    fn name(&self) -> &'static str {
        "introspect"
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
            let runs = closed::measure(&self.options, &stand, Doing::Only(Act::Introspect), *connections)?;
            stand.stop()?;
            let name = format!("{connections} connections");
            outcome.cases.push(Case::of(name, *connections, runs));
        }
        Ok(outcome)
    }
}
