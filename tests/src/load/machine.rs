//! What the machine is, and on which of its cores a thread runs.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use time::UtcDateTime;

use super::figures::median;

/// How often the disk is asked how long it takes.
const SYNCS: usize = 40;

/// What a measurement was made on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, by its own name.
    pub cpu: String,
    /// Whether it can sign several times at once (AVX-512 IFMA).
    pub has_ifma: bool,
    /// How many cores the system shows.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that holds the database.
    pub file_system: String,
    /// How long it takes to sync 4 KiB there: the median of a few, in milliseconds.
    pub fdatasync_ms: f64,
    /// The OpenSSL of this program, which is the server's.
    pub openssl: String,
    /// The PostgreSQL that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgresql: Option<String>,
}

impl Machine {
    /// This one, with the database in the given directory.
    ///
    /// # Errors
    /// Where nothing can be written there.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let unknown = || "unknown".to_owned();
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        Ok(Self {
            cpu: cpu(&processor).unwrap_or_else(unknown),
            has_ifma: field(&processor, "flags").is_some_and(|flags| flags.contains("avx512ifma")),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: kernel.map_or_else(|_| unknown(), |release| release.trim().to_owned()),
            file_system: file_system(directory).unwrap_or_else(unknown),
            fdatasync_ms: fdatasync_ms(directory)?,
            openssl: openssl::version::version().to_owned(),
            postgresql: None,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ifma = if self.has_ifma { "with" } else { "without" };
        let (cpu, cores, kernel) = (&self.cpu, self.cores, &self.kernel);
        writeln!(out, "processor    {cpu}, {ifma} AVX-512 IFMA; cores: {cores}")?;
        let (kind, sync) = (&self.file_system, self.fdatasync_ms);
        writeln!(
            out,
            "system       Linux {kernel}, database on {kind}, fdatasync {sync:.2} ms"
        )?;
        let postgresql = self.postgresql.as_deref();
        let postgresql = postgresql.map_or_else(String::new, |version| format!(", PostgreSQL {version}"));
        writeln!(out, "libraries    {}{postgresql}", self.openssl)
    }
}

/// How this program was built, and with it the server.
pub const fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

/// Now, in UTC.
pub fn date_and_time() -> String {
    let seconds = clock_gettime(ClockId::Realtime).tv_sec;
    UtcDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| "unknown".to_owned(),
        |now| format!("{} {:02}:{:02} UTC", now.date(), now.hour(), now.minute()),
    )
}

/// How many bytes are free where the directory is.
///
/// # Errors
/// Where there is no such directory.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(directory)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
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
    sched_setaffinity(None, &cores)
        .map_err(|error| io::Error::other(format!("nothing can be bound to the cores {to:?}: {error}")))
}

/// Lets this process have as many connections open as the system lets it at all; the server does the same for itself.
///
/// # Errors
/// Where the system refuses what it has said that it allows.
pub fn allow_many_connections() -> io::Result<()> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

fn cpu(text: &str) -> Option<String> {
    Some(format!(
        "{} (family {}, model {})",
        field(text, "model name")?,
        field(text, "cpu family")?,
        field(text, "model")?
    ))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

fn fdatasync_ms(directory: &Path) -> io::Result<f64> {
    let mut file = tempfile::tempfile_in(directory)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[0x55; 4_096])?;
        file.sync_data()?;
        took.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(median(took))
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
