//! How much a worker takes in hand at a time: what comes past that is told to come again, before anything has been begun
//! for it. It never refuses a request that has been begun.
//!
//! A worker that signs serves each request late by all that it has in hand. Without a bound that grows as long as more
//! comes than can be done, until whoever waits has given up, and all that is done is done for nobody (ADR 0030).

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::HttpRequest;
use auth_domain::time::Seconds;

/// Those who are refused come again after one second, two or three, by turns: not all at once.
const RETRY_WITHIN: u32 = 3;

/// The requests that all workers have in hand, for whoever watches.
#[derive(Debug, Clone, Default)]
pub(super) struct AllInHand(Arc<AtomicUsize>);

impl AllInHand {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The requests that one worker has in hand. Its copies are the same.
#[derive(Debug, Clone)]
pub(super) struct InHand(Rc<Hand>);

#[derive(Debug)]
struct Hand {
    most: Option<NonZeroUsize>,
    begun: Cell<usize>,
    turned_away: Cell<u32>,
    all: AllInHand,
}

impl InHand {
    /// Of a worker that takes so many at a time; any number where there is no bound.
    pub(super) fn at_most(most: Option<NonZeroUsize>, all: AllInHand) -> Self {
        Self(Rc::new(Hand {
            most,
            begun: Cell::new(0),
            turned_away: Cell::new(0),
            all,
        }))
    }

    /// When whoever comes now is to come again, where there are as many in hand as there may be.
    pub(super) fn turn_away(&self) -> Option<Seconds> {
        let Self(hand) = self;
        let most = hand.most?.get();
        if hand.begun.get() < most {
            return None;
        }
        let turn = hand.turned_away.get();
        hand.turned_away.set(turn.wrapping_add(1));
        Some(Seconds::new(1 + turn % RETRY_WITHIN))
    }

    fn begin(&self) -> Begun {
        let Self(hand) = self;
        hand.begun.set(hand.begun.get() + 1);
        hand.all.0.fetch_add(1, Ordering::Relaxed);
        Begun(Rc::clone(hand))
    }
}

/// Takes a request in hand. `None` where nobody counts, as in tests.
pub(super) fn begin(request: &HttpRequest) -> Option<Begun> {
    request.app_data::<InHand>().map(InHand::begin)
}

/// A request that is in hand until this is dropped.
#[derive(Debug)]
pub(super) struct Begun(Rc<Hand>);

impl Drop for Begun {
    fn drop(&mut self) {
        let Self(hand) = self;
        hand.begun.set(hand.begun.get().saturating_sub(1));
        hand.all.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_most(most: usize) -> InHand {
        InHand::at_most(NonZeroUsize::new(most), AllInHand::default())
    }

    #[test]
    fn what_all_workers_have_in_hand_is_known() {
        let all = AllInHand::default();
        let workers = [(); 2].map(|()| InHand::at_most(None, all.clone()));
        let begun: Vec<_> = workers.iter().chain(&workers).map(InHand::begin).collect();
        assert_eq!(all.count(), 4);
        drop(begun);
        assert_eq!(all.count(), 0);
    }

    #[test]
    fn those_who_are_turned_away_do_not_all_come_again_at_once() {
        let worker = at_most(1);
        assert_eq!(worker.turn_away(), None);
        let _one = worker.begin();
        let told: Vec<_> = (0..5)
            .filter_map(|_| worker.turn_away())
            .map(Seconds::get)
            .collect();
        assert_eq!(told, [1, 2, 3, 1, 2]);
    }

    #[test]
    fn a_worker_without_a_bound_turns_nobody_away() {
        let worker = at_most(0);
        let _begun: Vec<_> = (0..10_000).map(|_| worker.begin()).collect();
        assert_eq!(worker.turn_away(), None);
    }

    proptest! {
        /// Each is a request that comes, or, by its number, one in hand that is done.
        #[test]
        fn exactly_those_are_turned_away_who_find_as_many_in_hand_as_there_may_be(
            most in 1..20_usize,
            happens in proptest::collection::vec(proptest::option::weighted(0.4, any::<proptest::sample::Index>()), 0..200),
        ) {
            let worker = at_most(most);
            let mut in_hand = Vec::new();
            for done in happens {
                match done {
                    Some(done) if !in_hand.is_empty() => drop(in_hand.swap_remove(done.index(in_hand.len()))),
                    Some(_) => {}
                    None => match worker.turn_away() {
                        Some(_) => prop_assert_eq!(in_hand.len(), most),
                        None => in_hand.push(worker.begin()),
                    },
                }
                prop_assert!(in_hand.len() <= most);
            }
            in_hand.clear();
            prop_assert_eq!(worker.turn_away(), None);
        }
    }
}
