//! What a process has used so far, as Linux counts it under `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// What a process has used since it was started.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Processor time, in the program and in the kernel on its behalf.
    pub cpu: Duration,
    /// Bytes it caused to be written to storage.
    pub written: u64,
    /// Processor time by the name of the thread; threads of one name are one entry.
    pub threads: BTreeMap<String, Duration>,
}

impl Usage {
    /// What a process has used so far.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(process.join("task"))? {
            // A thread may end while we look.
            if let Ok((name, cpu)) = name_and_cpu(&task?.path()) {
                *threads.entry(name).or_default() += cpu;
            }
        }
        let (_, cpu) = name_and_cpu(&process)?;
        let written = field(&fs::read_to_string(process.join("io"))?, "write_bytes:")?;
        Ok(Self {
            cpu,
            written,
            threads,
        })
    }

    /// What has been used since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let threads = self.threads.iter().map(|(name, cpu)| {
            let before = earlier.threads.get(name).copied().unwrap_or_default();
            (name.clone(), cpu.saturating_sub(before))
        });
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written: self.written.saturating_sub(earlier.written),
            threads: threads.collect(),
        }
    }
}

/// The most memory a process has had at once, in KiB (`VmHWM`).
///
/// # Errors
/// Where there is no such process.
pub fn peak_memory_kib(pid: u32) -> io::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:")
}

/// The number after a name, in one of the files of `/proc` that are lines of names and values.
fn field(text: &str, name: &str) -> io::Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no {name} under /proc")))
}

/// The second field of a `stat` file, and the sum of the fourteenth and fifteenth (proc(5)).
fn name_and_cpu(of: &Path) -> io::Result<(String, Duration)> {
    let stat = fs::read_to_string(of.join("stat"))?;
    let parsed = || {
        let (_, rest) = stat.split_once('(')?;
        let (name, rest) = rest.rsplit_once(')')?;
        let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = ticks.next()?.ok()? + ticks.next()?.ok()?;
        let millis = ticks * 1_000 / clock_ticks_per_second();
        Some((name.to_owned(), Duration::from_millis(millis)))
    };
    parsed().ok_or_else(|| io::Error::other("a stat file of an unknown form"))
}
