//! How much a worker takes in hand at a time: what comes past that is told to come again, before anything has been begun
//! for it. It never refuses a request that has been begun.
//!
//! A worker that signs serves each request late by all that it has in hand. Without a bound that grows as long as more
//! comes than can be done, until whoever waits has given up, and all that is done is done for nobody (ADR 0030).
//!
//! It is looked at twice: when the head has come, so that what is too much costs little, and when the body has.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::HttpRequest;
use auth_domain::time::Seconds;

/// Those who are refused come again after one second, two or three, by turns: not all at once.
const RETRY_WITHIN: u32 = 3;
/// Of so many places sign-ins have one, so that while they wait to be hashed a refresh finds room.
const PLACES_FOR_ONE_SIGN_IN: usize = 4;

/// What is to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sign-in, which mostly waits for its password to be hashed elsewhere.
    SignIn,
    /// Anything else about tokens.
    Other,
}

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
    sign_ins: Cell<usize>,
    turned_away: Cell<u32>,
    all: AllInHand,
}

impl InHand {
    /// Of a worker that takes so many at a time; any number where there is no bound.
    pub(super) fn at_most(most: Option<NonZeroUsize>, all: AllInHand) -> Self {
        Self(Rc::new(Hand {
            most,
            begun: Cell::new(0),
            sign_ins: Cell::new(0),
            turned_away: Cell::new(0),
            all,
        }))
    }

    /// When whoever comes now is to come again, where there are as many in hand as there may be.
    pub(super) fn turn_away(&self) -> Option<Seconds> {
        let Self(hand) = self;
        (!hand.has_room_for(Kind::Other)).then(|| hand.come_again())
    }

    fn begin(&self, kind: Kind) -> Result<Begun, Seconds> {
        let Self(hand) = self;
        if !hand.has_room_for(kind) {
            return Err(hand.come_again());
        }
        hand.begun.set(hand.begun.get() + 1);
        if kind == Kind::SignIn {
            hand.sign_ins.set(hand.sign_ins.get() + 1);
        }
        hand.all.0.fetch_add(1, Ordering::Relaxed);
        let hand = Rc::clone(hand);
        Ok(Begun { hand, kind })
    }
}

impl Hand {
    fn has_room_for(&self, kind: Kind) -> bool {
        self.most.is_none_or(|most| {
            let sign_ins = most.get().div_ceil(PLACES_FOR_ONE_SIGN_IN);
            self.begun.get() < most.get() && (kind == Kind::Other || self.sign_ins.get() < sign_ins)
        })
    }

    fn come_again(&self) -> Seconds {
        let turn = self.turned_away.get();
        self.turned_away.set(turn.wrapping_add(1));
        Seconds::new(1 + turn % RETRY_WITHIN)
    }
}

/// Takes a request in hand that has been read. `None` where nobody counts.
///
/// # Errors
/// When to come again, where there is no room for it any more: others have been read since its head was looked at.
pub(super) fn begin(request: &HttpRequest, kind: Kind) -> Result<Option<Begun>, Seconds> {
    let hand = request.app_data::<InHand>();
    hand.map(|hand| hand.begin(kind)).transpose()
}

/// A request that is in hand until this is dropped.
#[derive(Debug)]
pub(super) struct Begun {
    hand: Rc<Hand>,
    kind: Kind,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Self { hand, kind } = self;
        hand.begun.set(hand.begun.get().saturating_sub(1));
        if *kind == Kind::SignIn {
            hand.sign_ins.set(hand.sign_ins.get().saturating_sub(1));
        }
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
        let kinds = [Kind::SignIn, Kind::Other];
        let begun = kinds.map(|kind| workers.each_ref().map(|worker| worker.begin(kind).unwrap()));
        assert_eq!(all.count(), 4);
        drop(begun);
        assert_eq!(all.count(), 0);
    }

    #[test]
    fn those_who_are_turned_away_do_not_all_come_again_at_once() {
        let worker = at_most(1);
        assert_eq!(worker.turn_away(), None);
        let _one = worker.begin(Kind::Other);
        let told: Vec<_> = (0..5)
            .filter_map(|_| worker.turn_away())
            .map(Seconds::get)
            .collect();
        assert_eq!(told, [1, 2, 3, 1, 2]);
    }

    #[test]
    fn a_worker_without_a_bound_turns_nobody_away() {
        let worker = at_most(0);
        let _begun: Vec<_> = (0..10_000).map(|_| worker.begin(Kind::SignIn).unwrap()).collect();
        assert_eq!(worker.turn_away(), None);
    }

    #[test]
    fn sign_ins_leave_three_of_four_places_to_others() {
        let worker = at_most(8);
        let sign_ins = [(); 2].map(|()| worker.begin(Kind::SignIn).unwrap());
        assert!(worker.begin(Kind::SignIn).is_err());
        let others = [(); 6].map(|()| worker.begin(Kind::Other).unwrap());
        assert!(worker.begin(Kind::Other).is_err());
        drop((sign_ins, others));
        assert!(worker.begin(Kind::SignIn).is_ok());
    }

    proptest! {
        /// Each is a request that comes, of which some are sign-ins, or, by its number, one in hand that is done.
        #[test]
        fn exactly_those_are_turned_away_who_find_as_many_in_hand_as_there_may_be(
            most in 1..20_usize,
            happens in proptest::collection::vec(
                (proptest::option::weighted(0.4, any::<proptest::sample::Index>()), any::<bool>()),
                0..200,
            ),
        ) {
            let worker = at_most(most);
            let mut in_hand: Vec<Begun> = Vec::new();
            for (done, is_sign_in) in happens {
                let Some(done) = done else {
                    let kind = if is_sign_in { Kind::SignIn } else { Kind::Other };
                    let sign_ins = in_hand.iter().filter(|begun| begun.kind == Kind::SignIn).count();
                    let is_full = in_hand.len() == most;
                    prop_assert_eq!(worker.turn_away().is_some(), is_full);
                    let begun = worker.begin(kind);
                    prop_assert_eq!(begun.is_err(), is_full || is_sign_in && sign_ins == most.div_ceil(4));
                    in_hand.extend(begun);
                    continue;
                };
                if !in_hand.is_empty() {
                    drop(in_hand.swap_remove(done.index(in_hand.len())));
                }
            }
            in_hand.clear();
            prop_assert_eq!(worker.turn_away(), None);
        }
    }
}
