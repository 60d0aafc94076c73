//! Sign-ins, beside the bare rate of the hash on the same core.

use std::io;

use clap::Args;

use crate::load::closed;
use crate::load::figures::{Case, Run};
use crate::load::hash::Dearness;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, DURABILITY, Stand, run_users};
use crate::load::users::{Act, Doing, Users};

/// Sign-ins a second, and their ratio to the bare rate of the hash on the server's core
#[derive(Debug, Clone, Args)]
pub struct Login {
    /// How many connections; may be given several times; more than are hashed or wait at once are turned away
    #[arg(long, value_delimiter = ',', default_values_t = [4])]
    connections: Vec<usize>,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Login {
    fn name(&self) -> &'static str {
        "login"
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
            let runs = self.measure_one(&stand, *connections)?;
            stand.stop()?;
            let name = format!("{connections} connections");
            outcome.cases.push(Case::of(name, *connections, runs));
        }
        Ok(outcome)
    }
}

impl Login {
    fn measure_one(&self, stand: &Stand, connections: usize) -> io::Result<Vec<Run>> {
        let dearness = Dearness::of(stand.installation()?)?;
        run_users(async {
            let mut users = Users::connect(Doing::Only(Act::Login), &stand.target(), connections).await?;
            let bare_work = async || dearness.per_second(&stand.cores, self.options.rsa());
            closed::measure_beside(&self.options, stand, &mut users, bare_work).await
        })
    }
}
