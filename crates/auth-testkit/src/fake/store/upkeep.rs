//! Housekeeping in memory.

use std::collections::hash_map::Entry;

use async_trait::async_trait;
use auth_domain::id::RowId;
use auth_domain::ports::Unavailable;
use auth_domain::ports::admin::{Lease, Sweep, Swept, Upkeep};
use auth_domain::time::Timestamp;
use uuid::Uuid;

use super::{FakeStore, State};

#[async_trait]
impl Upkeep for FakeStore {
    async fn sweep_tokens(&self, sweep: Sweep) -> Result<Swept, Unavailable> {
        self.call("sweep tokens", |state| {
            state.history.sort_by_key(|token| token.issued_at);
            let times = state.history.iter();
            let times: Vec<_> = times.map(|token| (token.issued_at, token.expires_at)).collect();
            let (gone, swept) = part(&times, &sweep);
            retain_others(&mut state.history, &gone);
            swept
        })
    }

    async fn sweep_sessions(&self, sweep: Sweep) -> Result<Swept, Unavailable> {
        self.call("sweep sessions", |state| {
            let sessions = state.sessions.iter();
            let mut sessions: Vec<_> = sessions
                .map(|(id, session)| (session.created_at, session.expires_at, *id))
                .collect();
            sessions.sort();
            let times: Vec<_> = sessions
                .iter()
                .map(|(made, expires, _)| (*made, *expires))
                .collect();
            let (gone, swept) = part(&times, &sweep);
            for (_, _, id) in gone.iter().filter_map(|index| sessions.get(*index)) {
                state.sessions.remove(id);
                state.legacy_tokens.retain(|_, session| session != id);
            }
            swept
        })
    }

    async fn take_lease(&self, lease: Lease, now: Timestamp) -> Result<bool, Unavailable> {
        self.call("take a lease", |state| state.take_lease(lease, now))
    }

    async fn give_back_lease(&self, lease: Lease) -> Result<(), Unavailable> {
        self.call("give a lease back", |state| {
            state
                .leases
                .retain(|name, held| *name != lease.name || held.holder != lease.holder);
        })
    }
}

impl State {
    fn take_lease(&mut self, lease: Lease, now: Timestamp) -> bool {
        let is_respected =
            |held: &Lease| held.holder != lease.holder && lease.ends_of_others(now).contains(&held.until);
        match self.leases.entry(lease.name) {
            Entry::Occupied(held) if is_respected(held.get()) => false,
            Entry::Occupied(mut held) => {
                held.insert(lease);
                true
            }
            Entry::Vacant(place) => {
                place.insert(lease);
                true
            }
        }
    }
}

/// Of rows by when they were made and when they expire: which go, by their indices. The place where a part ends is, in
/// memory, how many rows are left before it.
fn part(rows: &[(Timestamp, Timestamp)], sweep: &Sweep) -> (Vec<usize>, Swept) {
    let first = sweep.after.map_or(0, |after| after.as_uuid().as_u128());
    let first = usize::try_from(first).expect("a place that this store gave");
    let limit = usize::try_from(sweep.at_most).expect("a usize holds a u32");
    let looked_at: Vec<_> = rows
        .iter()
        .enumerate()
        .skip(first)
        .take_while(|(_, (made, _))| *made < sweep.expired_before)
        .take(limit)
        .collect();
    let has_expired = |(_, (_, expires)): &&(usize, &(Timestamp, Timestamp))| *expires < sweep.expired_before;
    let gone: Vec<_> = looked_at
        .iter()
        .filter(has_expired)
        .map(|(index, _)| *index)
        .collect();
    let place = first + looked_at.len() - gone.len();
    let next = (looked_at.len() == limit).then(|| RowId::from_uuid(Uuid::from_u128(place as u128)));
    let deleted = gone.len().try_into().unwrap_or(u64::MAX);
    (gone, Swept { deleted, next })
}

fn retain_others<T>(rows: &mut Vec<T>, gone: &[usize]) {
    let mut index = 0;
    rows.retain(|_| {
        let stays = gone.binary_search(&index).is_err();
        index += 1;
        stays
    });
}
