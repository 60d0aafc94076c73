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

    /// What several processes have used together.
    ///
    /// # Errors
    /// Where one of them does not exist.
    pub fn of_all(pids: &[u32]) -> io::Result<Self> {
        let mut all = Self::default();
        for pid in pids {
            let one = Self::of(*pid)?;
            all.cpu += one.cpu;
            all.written += one.written;
            for (name, cpu) in one.threads {
                *all.threads.entry(name).or_default() += cpu;
            }
        }
        Ok(all)
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

/// The processor time that processes have used so far, together with that of those which the first of them has started
/// and outlived.
///
/// # Errors
/// Where the first does not exist.
pub fn family_cpu(pids: &[u32]) -> io::Result<Duration> {
    let stat = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat"));
    let parent = pids.first().ok_or_else(|| io::Error::other("no process"))?;
    let ended = ticks(&stat(parent)?, 13)?;
    // One may end while we look: then it is the parent's next time.
    let living = pids.iter().filter_map(|pid| ticks(&stat(pid).ok()?, 11).ok());
    Ok(duration_of(ended + living.sum::<u64>()))
}

/// How long a core has been at work so far, for whomever; what the machine's host took from it counts too.
///
/// # Errors
/// Where there is no such core.
pub fn core_at_work(core: usize) -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    let line = line.ok_or_else(|| io::Error::other(format!("no core {core} under /proc")))?;
    // user nice system idle iowait irq softirq steal (proc(5)); the fourth and the fifth are rest.
    let ticks: u64 = line
        .split_whitespace()
        .take(8)
        .enumerate()
        .filter(|(place, _)| !matches!(place, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Ok(duration_of(ticks))
}

fn duration_of(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / clock_ticks_per_second())
}

/// The most memory a process has had at once, in KiB (`VmHWM`).
///
/// # Errors
/// Where there is no such process.
pub fn peak_memory_kib(pid: u32) -> io::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:")
}

/// The memory a process has now, in KiB (`VmRSS`).
///
/// # Errors
/// Where there is no such process.
pub fn memory_kib(pid: u32) -> io::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")
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
    let name = stat
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'))
        .map(|(name, _)| name.to_owned());
    let name = name.ok_or_else(unknown_form)?;
    Ok((name, duration_of(ticks(&stat, 11)?)))
}

/// The sum of two neighbouring fields of a `stat` file, the first of them so many after the state.
fn ticks(stat: &str, after_state: usize) -> io::Result<u64> {
    let parsed = || {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(after_state).map(str::parse::<u64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    };
    parsed().ok_or_else(unknown_form)
}

fn unknown_form() -> io::Error {
    io::Error::other("a stat file of an unknown form")
}
