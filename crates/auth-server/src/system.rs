//! What the operating system gives: clock, random source and room for connections. The only place that asks it.

use std::time::{SystemTime, UNIX_EPOCH};

use auth_domain::ports::{Clock, Random};
use auth_domain::time::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the port's one real implementation"
    )]
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the port's one real implementation"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            // Without randomness every secret would be guessable: better no server than such a one.
            tracing::error!(event_type = "randomness", cause = %error, "the operating system gives no randomness; stopping");
            std::process::abort();
        }
    }
}

/// Keeps what this process knows out of files that a crash would leave behind: passwords, tokens, private keys. The
/// hard limit goes with it, so that nothing raises it again. Lowering a limit is always allowed.
pub fn leave_no_core_dump() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(event_type = "limits", cause = %error, "a crash may leave a core dump, with secrets in it");
    }
}

/// Lets this process hold as many connections open as the system lets it at all. The usual soft limit of 1,024 dates
/// from programs that could not count further; here it would let one client with as many idle connections keep
/// everybody else out.
///
/// Returns the limit in force; `None` where there is none.
pub fn raise_open_files_limit() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limits.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_the_system_allows() {
        let allowed = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files_limit(), allowed);
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }
}
