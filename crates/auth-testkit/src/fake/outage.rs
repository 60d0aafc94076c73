//! Outages on demand: which call to a fake fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use auth_domain::ports::Unavailable;

/// Counts calls, and fails the chosen ones before they do anything; its copies are the same counter.
#[derive(Debug, Clone, Default)]
pub struct Outage(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    failing: BTreeSet<u64>,
    is_down: bool,
}

impl Outage {
    /// Fails the n-th call from now; 1 is the next.
    pub fn fail_nth(&self, n: u64) {
        self.with(|plan| plan.failing.insert(plan.calls + n));
    }

    /// Fails every call from now on.
    pub fn begin(&self) {
        self.with(|plan| plan.is_down = true);
    }

    /// Ends the outage; what [`Outage::fail_nth`] has chosen and is yet to come is forgotten too.
    pub fn end(&self) {
        self.with(|plan| {
            plan.is_down = false;
            plan.failing.clear();
        });
    }

    /// How many calls there have been, failed ones included.
    pub fn calls(&self) -> u64 {
        self.with(|plan| plan.calls)
    }

    /// Counts a call.
    ///
    /// # Errors
    /// Where this call was chosen to fail.
    pub(crate) fn pass(&self, what: &'static str) -> Result<(), Unavailable> {
        let fails = self.with(|plan| {
            plan.calls += 1;
            plan.is_down || plan.failing.contains(&plan.calls)
        });
        if fails {
            Err(Unavailable::new(what, "an outage that the test asked for"))
        } else {
            Ok(())
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Plan) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_chosen_call_fails() {
        let outage = Outage::default();
        outage.pass("look").unwrap();
        outage.fail_nth(2);
        outage.pass("look").unwrap();
        assert!(outage.pass("look").is_err());
        outage.pass("look").unwrap();
        assert_eq!(outage.calls(), 4);
    }

    #[test]
    fn an_outage_lasts_until_it_is_ended() {
        let outage = Outage::default();
        outage.begin();
        assert!(outage.pass("look").is_err());
        assert!(outage.pass("look").is_err());
        outage.end();
        outage.pass("look").unwrap();
    }
}
