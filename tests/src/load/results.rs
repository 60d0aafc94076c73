//! The results of a scenario: one form for all of them, for people and, as JSON, for programs.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::figures::Case;
use super::machine::Machine;
use super::options::Options;

/// The version of the form; a reader refuses others.
const FORM: u32 = 1;

/// All that a scenario came to, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The version of this form.
    pub form: u32,
    /// The scenario, by its name on the command line.
    pub scenario: String,
    /// When it was done, in UTC.
    pub date: String,
    /// On what.
    pub machine: Machine,
    /// Under which conditions.
    pub conditions: Conditions,
    /// One entry for each case.
    pub cases: Vec<Case>,
    /// What a reader has to know besides, such as what was left out.
    pub notes: Vec<String>,
}

/// The conditions of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// How the programs were built.
    pub build: String,
    /// How the load was made.
    pub load: String,
    /// What an answered request promises.
    pub durability: String,
    /// Settings of the server beside those of the benchmark, each `NAME=VALUE`.
    pub settings: Vec<String>,
    /// The server's cores.
    pub server_cores: Vec<usize>,
    /// The generator's cores.
    pub generator_cores: Vec<usize>,
    /// How often each case was measured.
    pub runs: usize,
    /// How long a run was.
    pub seconds: f64,
    /// How long the load went on before the first.
    pub warm_up_seconds: f64,
}

/// What a scenario comes to, before anybody has said on what.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One entry for each case.
    pub cases: Vec<Case>,
    /// What a reader has to know besides.
    pub notes: Vec<String>,
    /// The version of the PostgreSQL that was used.
    pub postgresql: Option<String>,
}

/// What can be measured by one subcommand.
pub trait Scenario {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// How long, how often and where.
    fn options(&self) -> &Options;

    /// How the load is made, and what an answered request promises.
    fn load(&self) -> [String; 2];

    /// The server's cores, and the generator's.
    fn cores(&self) -> [Vec<usize>; 2] {
        let options = self.options();
        [vec![options.server_core], vec![options.users_core]]
    }

    /// Measures.
    ///
    /// # Errors
    /// Where anything fails, a single request included: a measurement with failures in it means nothing.
    fn measure(&self) -> io::Result<Outcome>;
}

impl Results {
    /// Carries a scenario out.
    ///
    /// # Errors
    /// As [`Scenario::measure`].
    pub fn of(scenario: &dyn Scenario) -> io::Result<Self> {
        let options = scenario.options();
        // Before anything is bound to a core: the system shows a thread only the cores that it may use.
        let machine = Machine::of(&options.directory)?;
        let [server_cores, generator_cores] = scenario.cores();
        let date = super::machine::date_and_time();
        let outcome = scenario.measure()?;
        let [load, durability] = scenario.load();
        Ok(Self {
            form: FORM,
            scenario: scenario.name().to_owned(),
            date,
            machine: Machine {
                postgresql: outcome.postgresql,
                ..machine
            },
            conditions: Conditions {
                build: super::machine::build().to_owned(),
                load,
                durability,
                settings: options.settings.clone(),
                server_cores,
                generator_cores,
                runs: options.runs,
                seconds: options.seconds,
                warm_up_seconds: options.warm_up,
            },
            cases: outcome.cases,
            notes: outcome.notes,
        })
    }

    /// Reads a file that [`write`](Self::write) has written.
    ///
    /// # Errors
    /// Where there is none, or it is of another form.
    pub fn read(file: &Path) -> io::Result<Self> {
        let read: Self = serde_json::from_slice(&fs::read(file)?)?;
        match read.form {
            FORM => Ok(read),
            other => Err(io::Error::other(format!(
                "{}: form {other}, not {FORM}",
                file.display()
            ))),
        }
    }

    /// Writes them to a file, as JSON.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        fs::write(file, json)
    }

    /// Results that nobody has measured, for the tests of what is made of results.
    #[cfg(test)]
    pub(super) fn sample(scenario: &str, cases: Vec<Case>) -> Self {
        Self {
            form: FORM,
            scenario: scenario.to_owned(),
            date: "2026-01-01 00:00 UTC".to_owned(),
            machine: Machine {
                cpu: "A processor".to_owned(),
                has_ifma: false,
                cores: 2,
                kernel: "6".to_owned(),
                file_system: "ext4".to_owned(),
                fdatasync_ms: 0.25,
                openssl: "OpenSSL 3".to_owned(),
                postgresql: None,
            },
            conditions: Conditions {
                build: "release".to_owned(),
                load: "a closed loop".to_owned(),
                durability: "all of it".to_owned(),
                settings: Vec::new(),
                server_cores: vec![0],
                generator_cores: vec![1],
                runs: 1,
                seconds: 1.0,
                warm_up_seconds: 0.0,
            },
            cases,
            notes: Vec::new(),
        }
    }

    /// The case of a name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (on, by) = (&self.machine, &self.conditions);
        writeln!(out, "scenario     {}, {}", self.scenario, self.date)?;
        on.fmt(out)?;
        let (server, generator) = (&by.server_cores, &by.generator_cores);
        writeln!(
            out,
            "build        {}; server on cores {server:?}, generator on {generator:?}",
            by.build
        )?;
        writeln!(out, "load         {}", by.load)?;
        writeln!(out, "durability   {}", by.durability)?;
        if !by.settings.is_empty() {
            writeln!(out, "settings     {}", by.settings.join(", "))?;
        }
        self.cases.iter().try_for_each(|case| case.fmt(out))?;
        if !self.notes.is_empty() {
            writeln!(out)?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(out, "note: {note}"))
    }
}
