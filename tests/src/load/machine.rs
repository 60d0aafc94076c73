//! What the machine is, and on which of its cores a thread runs.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;

/// The conditions of a measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    /// The processor, by its own name.
    pub cpu: String,
    /// How many cores the system shows.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that holds the database.
    pub file_system: String,
    /// How the programs were built.
    pub profile: &'static str,
}

impl Conditions {
    /// Those of this machine, with the database in the given directory.
    pub fn of(directory: &Path) -> Self {
        Self {
            cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned()),
            file_system: file_system(directory).unwrap_or_else(|| "unknown".to_owned()),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let (_, value) = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)?;
        Some(value.trim().to_owned())
    };
    let ifma = if field("flags")?.contains("avx512ifma") {
        "with"
    } else {
        "without"
    };
    Some(format!(
        "{} (family {}, model {}), {ifma} AVX-512 IFMA",
        field("model name")?,
        field("cpu family")?,
        field("model")?
    ))
}

/// The type of the file system mounted deepest above a directory.
fn file_system(directory: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        })
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind)
}

/// Binds the calling thread, and what it will start, to some cores.
///
/// # Errors
/// Where there is none of them.
pub fn pin_this_thread(to: &[usize]) -> io::Result<()> {
    let mut cores = CpuSet::new();
    for core in to {
        cores.set(*core);
    }
    Ok(sched_setaffinity(None, &cores)?)
}
