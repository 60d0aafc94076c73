//! A clock that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_domain::ports::Clock;
use auth_domain::time::{Seconds, Timestamp};

/// A clock that stands still until it is moved; its copies are the same clock.
#[derive(Debug, Clone)]
pub struct MockClock(Arc<AtomicI64>);

/// 2026-01-01T00:00:00.123456Z: where a [`MockClock`] starts. The fraction is there to be noticed where it is lost.
pub const START: Timestamp = Timestamp::from_micros(1_767_225_600_123_456);

impl Default for MockClock {
    fn default() -> Self {
        Self::at(START)
    }
}

impl MockClock {
    /// A clock that shows this moment.
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(moment.as_micros())))
    }

    /// Sets it, forward or back.
    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.as_micros(), Ordering::SeqCst);
    }

    /// Moves it forward.
    pub fn advance(&self, span: Seconds) {
        self.set(self.now().plus(span));
    }
}

impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
