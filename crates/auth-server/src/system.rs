//! What the operating system gives: clock, random source and room for connections. The only place that asks it.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use auth_domain::ports::{Clock, Random};
use auth_domain::time::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zeroize::{Zeroize as _, Zeroizing};

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
///
/// Ids and salts, of which a request needs several, come from a stock that each thread keeps, so that the system is asked
/// once for some dozens of them. Nothing leaves the stock twice, and nothing stays in it that has left. Longer values,
/// the secrets, are asked for one by one. Which is which is told by the length alone, as [`Random`] promises.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

/// The longest value that comes from the stock.
const SHORT: usize = 16;
/// How much the system is asked for at once.
const STOCK: usize = 512;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        thread_local! {
            static STOCK: RefCell<Stock> = RefCell::default();
        }
        // A thread that is ending may have no stock any more.
        let taken = buffer.len() <= SHORT && STOCK.try_with(|stock| stock.borrow_mut().take(buffer)).is_ok();
        if !taken {
            ask_system(buffer);
        }
    }
}

/// Random bytes that nobody has been given yet.
struct Stock {
    bytes: Zeroizing<[u8; STOCK]>,
    /// How many are left, from the beginning on.
    left: usize,
}

impl Default for Stock {
    fn default() -> Self {
        Self {
            bytes: Zeroizing::new([0; STOCK]),
            left: 0,
        }
    }
}

impl Stock {
    fn take(&mut self, buffer: &mut [u8]) {
        if self.left < buffer.len() {
            ask_system(&mut *self.bytes);
            self.left = STOCK;
        }
        let rest = self.left.saturating_sub(buffer.len());
        if let Some(taken) = self.bytes.get_mut(rest..self.left) {
            buffer.copy_from_slice(taken);
            taken.zeroize();
        }
        self.left = rest;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the port's one real implementation"
)]
fn ask_system(buffer: &mut [u8]) {
    if let Err(error) = getrandom::fill(buffer) {
        // Without randomness every secret would be guessable: better no server than such a one.
        tracing::error!(event_type = "randomness", cause = %error, "the operating system gives no randomness; stopping");
        std::process::abort();
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
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_random_bytes_are_given_out_twice_or_kept() {
        let mut stock = Stock::default();
        let mut seen = HashSet::new();
        for _ in 0..10 * STOCK / SHORT {
            let mut bytes = [0; SHORT];
            stock.take(&mut bytes);
            assert!(seen.insert(bytes), "given out before");
            let (unused, used) = stock.bytes.split_at(stock.left);
            assert!(used.iter().all(|byte| *byte == 0), "kept");
            assert!(!unused.ends_with(&[0; SHORT]), "not filled");
        }
    }

    #[test]
    fn what_is_left_is_given_out_only_where_it_is_enough() {
        let mut stock = Stock::default();
        stock.take(&mut [0; 10]);
        assert_eq!(stock.left, STOCK - 10);
        stock.left = 9;
        stock.bytes.zeroize();
        let mut bytes = [0; 10];
        stock.take(&mut bytes);
        assert_ne!(bytes, [0; 10]);
        assert_eq!(stock.left, STOCK - 10);
    }

    #[test]
    fn short_values_and_long_ones_are_random() {
        for length in [10, SHORT, SHORT + 1, 32, 4 * STOCK] {
            let (mut one, mut other) = (vec![0; length], vec![0; length]);
            SystemRandom.fill(&mut one);
            SystemRandom.fill(&mut other);
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_the_system_allows() {
        let allowed = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files_limit(), allowed);
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }
}
