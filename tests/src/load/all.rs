//! Everything that has a goal, one scenario after another, each in a process of its own.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use super::goals;
use super::report::{self, FOLDER};
use crate::binary::workspace_root;
use crate::scale::say;

/// Measure every scenario that has a goal, keep the results, and say which goals are reached; about an hour
#[derive(Debug, Clone, Args)]
pub struct All {
    /// The folder that the results are written to, a file for each scenario
    #[arg(long, default_value_os_t = workspace_root().join(FOLDER))]
    into: PathBuf,
    /// Only these scenarios; may be given several times
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Options for each scenario, such as `-- --runs 5`
    #[arg(last = true)]
    options: Vec<String>,
}

impl All {
    /// Measures; one that fails does not keep the others from being measured. The code is that of a missed goal where one
    /// is missed and the options are strict.
    ///
    /// # Errors
    /// Where one of them has failed, or a program or a folder is not there.
    pub fn measure(&self) -> io::Result<ExitCode> {
        fs::create_dir_all(&self.into)?;
        let (mut failed, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for scenario in self.scenarios() {
            let ended = Command::new(std::env::current_exe()?)
                .arg(scenario)
                .arg("--json")
                .arg(self.into.join(format!("{scenario}.json")))
                .args(&self.options)
                .status()?;
            match ended.code() {
                Some(0) => {}
                // Measured all the same.
                Some(1) => code = ExitCode::FAILURE,
                _ => failed.push(scenario),
            }
        }
        let mut kept = report::read_all(&self.into)?;
        // What lies there of these is of another day.
        kept.retain(|kept| !failed.contains(&kept.name.as_str()));
        say(&format!("\n{}", report::table_of_goals(&kept)));
        if failed.is_empty() {
            return Ok(code);
        }
        Err(io::Error::other(format!("not measured: {}", failed.join(", "))))
    }

    /// Those that goals name, each once.
    fn scenarios(&self) -> Vec<&'static str> {
        let mut named: Vec<&str> = goals::all().iter().map(|goal| goal.scenario).collect();
        named.sort_unstable();
        named.dedup();
        named.retain(|name| self.only.is_empty() || self.only.iter().any(|only| only == name));
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(only: &[&str]) -> All {
        All {
            into: PathBuf::new(),
            only: only.iter().map(|&name| name.to_owned()).collect(),
            options: Vec::new(),
        }
    }

    #[test]
    fn each_scenario_that_has_a_goal_is_measured_once() {
        let scenarios = all(&[]).scenarios();
        for name in [
            "refresh",
            "cores",
            "refresh-pg",
            "scale",
            "storm",
            "login",
            "jwks",
            "rest",
        ] {
            let times = scenarios.iter().filter(|scenario| **scenario == name).count();
            assert_eq!(times, 1, "{name} in {scenarios:?}");
        }
        assert_eq!(all(&["rest", "login"]).scenarios(), ["login", "rest"]);
    }
}
