//! That the server is about to stop: known to every worker, so that nobody new is sent here.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry;

/// Whether the server is about to stop.
#[derive(Debug, Default)]
pub struct Stopping(AtomicBool);

impl Stopping {
    /// It is from now on: `/ready` says no, and connections that are kept open are closed with their next answer.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
        telemetry::stopping();
    }

    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
