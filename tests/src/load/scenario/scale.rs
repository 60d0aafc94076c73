//! Refreshes in databases of ten thousand, a million and ten million chains, against an empty one.

use std::io;
use std::time::Instant;

use clap::Args;

use crate::load::chains;
use crate::load::closed;
use crate::load::figures::{Case, Figure, float};
use crate::load::machine::free_bytes;
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, DURABILITY, Stand, run_users};
use crate::load::users::{Act, Doing, Target, Users};

/// Refreshes a second in databases of so many chains, as a ratio to an empty one in the same run
#[derive(Debug, Clone, Args)]
pub struct Scale {
    /// How many chains are there already; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000, 10_000_000])]
    chains: Vec<u64>,
    /// How many connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How many chains are refreshed by turns, spread over all there are
    #[arg(long, default_value_t = 1_024)]
    in_use: usize,
    #[command(flatten)]
    options: Options,
}

impl Scenario for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        let load = format!("{CLOSED_LOOP}; {} chains, spread over all, by turns", self.in_use);
        [load, DURABILITY.to_owned()]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let empty = self.measure_one(0, &mut outcome.notes)?;
        for chains in &self.chains {
            let (needed, free) = (chains::room_for(*chains), free_bytes(&self.options.directory)?);
            if needed > free {
                outcome.notes.push(format!(
                    "left out: {} need {} MiB of disk, and {} MiB are free",
                    case_name(*chains),
                    needed >> 20,
                    free >> 20
                ));
                continue;
            }
            let mut case = self.measure_one(*chains, &mut outcome.notes)?;
            if let (Some(empty), Some(full)) = (
                empty.median.figure(Figure::RatioToBound),
                case.median.figure(Figure::RatioToBound),
            ) {
                case.put(Figure::RatioToEmpty, full / empty);
            }
            outcome.cases.push(case);
        }
        outcome.cases.insert(0, empty);
        Ok(outcome)
    }
}

/// The name of a case: with commas between thousands.
pub fn case_name(chains: u64) -> String {
    let digits = chains.to_string();
    let mut name = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            name.push(',');
        }
        name.push(digit);
    }
    name + " chains"
}

impl Scale {
    fn measure_one(&self, chains: u64, notes: &mut Vec<String>) -> io::Result<Case> {
        let (options, doing) = (&self.options, Doing::Only(Act::Refresh));
        let mut stand = Stand::start(options)?;
        let target = Target {
            chains_each: self.in_use.div_ceil(self.connections),
            ..stand.target()
        };
        // Real ones first, by signing in: they come to lie among the others.
        let mut users = run_users(Users::connect(doing, &target, self.connections))?;
        stand.pause()?;
        let file = stand.installation()?.database();
        if chains > 0 {
            let began = Instant::now();
            chains::fill(&file, chains)?;
            let took = began.elapsed().as_secs();
            notes.push(format!("{} were made in {took} s", case_name(chains)));
        }
        stand.resume()?;
        let runs = run_users(async {
            users.connect_again().await?;
            closed::measure_users(options, &stand, doing, &mut users).await
        })?;
        stand.pause()?;
        let mut case = Case::of(case_name(chains), self.connections, runs);
        case.put(Figure::DatabaseMib, float(std::fs::metadata(&file)?.len() >> 20));
        Ok(case)
    }
}

#[cfg(test)]
mod tests {
    use super::case_name;

    #[test]
    fn a_case_is_named_with_commas_between_thousands() {
        assert_eq!(case_name(0), "0 chains");
        assert_eq!(case_name(100), "100 chains");
        assert_eq!(case_name(10_000), "10,000 chains");
        assert_eq!(case_name(10_000_000), "10,000,000 chains");
    }
}
