//! What the system knows of this process, by the names that every dashboard knows. Read from `/proc` when the metrics
//! are; nothing where there is none.

use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::catalogue::{self, Metric};

/// The metrics in the text format. Written by hand: seconds of CPU time are a counter that is no whole number, which the
/// recorder does not know.
pub(super) fn text() -> String {
    let mut text = String::new();
    for (name, value) in figures().unwrap_or_default() {
        if let Some(Metric { kind, about, .. }) = catalogue::find(name) {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP {name} {about}\n# TYPE {name} {}\n{name} {value}\n",
                kind.as_str()
            );
        }
    }
    text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact for more memory and more time than any machine has"
)]
fn figures() -> Option<Vec<(&'static str, f64)>> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let ticks = clock_ticks_per_second() as f64;
    let started = boot_time_as_first_read()? + stat.started as f64 / ticks;
    let mut figures = vec![
        (catalogue::CPU_SECONDS, (stat.user + stat.system) as f64 / ticks),
        (
            catalogue::RESIDENT_MEMORY,
            stat.resident_pages as f64 * page_size() as f64,
        ),
        (catalogue::VIRTUAL_MEMORY, stat.virtual_bytes as f64),
        (catalogue::THREADS, stat.threads as f64),
        (catalogue::START_TIME, started),
    ];
    // One of them is the folder itself, which is being read.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    figures.push((catalogue::OPEN_FDS, open as f64));
    let most = getrlimit(Resource::Nofile).current;
    figures.extend(most.map(|most| (catalogue::MAX_FDS, most as f64)));
    Some(figures)
}

/// What of `/proc/self/stat` is told (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In ticks.
    user: u64,
    system: u64,
    threads: u64,
    /// In ticks since the machine was started.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The program's name is in brackets, and may hold anything.
        let (_, fields) = line.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The manual counts from one, and the first of these is its third.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            user: field(14)?,
            system: field(15)?,
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Read once: it moves with each step of the system's clock, and a process that seems to have begun at another time has
/// been started anew to whoever watches it.
fn boot_time_as_first_read() -> Option<f64> {
    static READ: OnceLock<Option<f64>> = OnceLock::new();
    *READ.get_or_init(|| boot_time(&fs::read_to_string("/proc/stat").ok()?))
}

/// When the machine was started, in seconds since 1970.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name_is() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 5 6 20 0 9 0 1000 4096000 500 18446744073709551615";
        let stat = Stat {
            user: 150,
            system: 50,
            threads: 9,
            started: 1000,
            virtual_bytes: 4_096_000,
            resident_pages: 500,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }

    #[test]
    fn this_process_has_memory_threads_and_files_that_are_open() {
        let figures = figures().unwrap();
        let value = |name: &str| figures.iter().find(|(one, _)| *one == name).unwrap().1;
        assert!(value(catalogue::RESIDENT_MEMORY) > 1_000_000.0);
        assert!(value(catalogue::VIRTUAL_MEMORY) >= value(catalogue::RESIDENT_MEMORY));
        assert!(value(catalogue::THREADS) >= 1.0 && value(catalogue::OPEN_FDS) >= 3.0);
        assert!(value(catalogue::START_TIME) > 1_600_000_000.0);
        assert!(value(catalogue::MAX_FDS) >= value(catalogue::OPEN_FDS));
    }
}
