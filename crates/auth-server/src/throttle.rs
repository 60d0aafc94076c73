//! Counters kept in the process: the `Throttle` port without Redis, bounded in memory.
//!
//! Judging is the domain's; here it is only remembered. No lock is held across anything that waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use auth_domain::ports::Throttle;
use auth_domain::throttle::{Count, Counter, CounterKey, Judgement, Pardon, Room, Verdict, judge};
use auth_domain::time::Timestamp;

/// The counters of each sort that are kept at most, unless said otherwise: about 20 MB a sort under a flood of
/// strangers.
pub const DEFAULT_CAPACITY: usize = 100_000;
/// How many counters whose window has ended are forgotten at each request: more than one request can add, so that
/// they never pile up.
const FORGOTTEN_PER_HIT: usize = 4;

/// Counters in the memory of this process.
#[derive(Debug)]
pub struct InProcessThrottle {
    shelves: Mutex<Shelves>,
}

impl InProcessThrottle {
    /// Keeps at most so many counters of each sort. Past that, those whose window has ended go first, then those
    /// that were idle for longest; one that is full, a lock above all, goes only when all others have gone.
    pub fn new(capacity: usize) -> Self {
        Self {
            shelves: Mutex::new(Shelves::new(capacity)),
        }
    }

    /// How many counters are kept now.
    pub fn len(&self) -> usize {
        self.with(|shelves| shelves.all().iter().map(|counts| counts.entries.len()).sum())
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shelves) -> T) -> T {
        // Nothing in here panics half way; should it ever, a count that is off by one is better than no limit.
        work(&mut self.shelves.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for InProcessThrottle {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

#[async_trait]
impl Throttle for InProcessThrottle {
    async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict {
        self.with(|shelves| shelves.hit(counters, now))
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        self.with(|shelves| {
            for pardon in pardons {
                shelves.of(pardon.key()).pardon(*pardon);
            }
        });
    }
}

/// The counters by what a stranger pays for one more: a flood of one sort pushes out none of another.
#[derive(Debug)]
struct Shelves {
    /// Networks, for the price of a packet from each.
    networks: Counts,
    /// The same for refreshing.
    refreshes: Counts,
    /// Accounts, for the price of a hash each.
    accounts: Counts,
}

impl Shelves {
    fn new(capacity: usize) -> Self {
        Self {
            networks: Counts::new(capacity),
            refreshes: Counts::new(capacity),
            accounts: Counts::new(capacity),
        }
    }

    fn all(&self) -> [&Counts; 3] {
        [&self.networks, &self.refreshes, &self.accounts]
    }

    fn of(&mut self, key: CounterKey) -> &mut Counts {
        match key {
            CounterKey::LoginsFrom(_) | CounterKey::FailuresFrom(_) => &mut self.networks,
            CounterKey::RefreshesFrom(_) => &mut self.refreshes,
            CounterKey::LoginsFor(_)
            | CounterKey::FailuresFor(_)
            | CounterKey::LoginsBy(_)
            | CounterKey::FailuresBy(_) => &mut self.accounts,
        }
    }

    fn hit(&mut self, counters: &[Counter], now: Timestamp) -> Verdict {
        let mut raised = Vec::with_capacity(counters.len());
        let mut room = None;
        for counter in counters {
            let counts = self.of(counter.key);
            counts.forget_ended(now);
            match judge(counter, counts.standing(counter.key), now) {
                Judgement::Room(count) => {
                    room = room.or(Some(Room::of(counter, count, now)));
                    raised.push((counter, count));
                }
                Judgement::Full { count, is_first } => {
                    counts.put(counter.key, count, Standing::Full);
                    return Verdict::Full {
                        key: counter.key,
                        kind: counter.kind,
                        retry_after: now.seconds_until(count.ends_at),
                        is_first,
                    };
                }
            }
        }
        for (counter, count) in raised {
            let standing = if count.hits < counter.limit {
                Standing::Room
            } else {
                Standing::Full
            };
            self.of(counter.key).put(counter.key, count, standing);
        }
        Verdict::Allowed(room.unwrap_or_default())
    }
}

/// The counters, with an order of their use and one of their end, each a number that no two share.
#[derive(Debug)]
struct Counts {
    capacity: usize,
    uses: u64,
    entries: HashMap<CounterKey, Entry>,
    by_use: BTreeMap<(Standing, u64), CounterKey>,
    by_end: BTreeMap<(Timestamp, u64), CounterKey>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    count: Count,
    standing: Standing,
    used: u64,
}

/// Whether a counter has room; in the order in which counters are given up for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Room,
    Full,
}

impl Counts {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            uses: 0,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            by_end: BTreeMap::new(),
        }
    }

    fn standing(&self, key: CounterKey) -> Option<Count> {
        self.entries.get(&key).map(|entry| entry.count)
    }

    fn pardon(&mut self, pardon: Pardon) {
        let Some(entry) = self.forget(pardon.key()) else {
            return;
        };
        if let Some(count) = pardon.apply(entry.count) {
            self.put(pardon.key(), count, Standing::Room);
        }
    }

    fn put(&mut self, key: CounterKey, count: Count, standing: Standing) {
        self.forget(key);
        if self.entries.len() >= self.capacity
            && let Some((_, idle)) = self.by_use.first_key_value()
        {
            let idle = *idle;
            self.forget(idle);
        }
        self.uses += 1;
        let used = self.uses;
        self.entries.insert(
            key,
            Entry {
                count,
                standing,
                used,
            },
        );
        self.by_use.insert((standing, used), key);
        self.by_end.insert((count.ends_at, used), key);
    }

    fn forget(&mut self, key: CounterKey) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.by_use.remove(&(entry.standing, entry.used));
        self.by_end.remove(&(entry.count.ends_at, entry.used));
        Some(entry)
    }

    fn forget_ended(&mut self, now: Timestamp) {
        for _ in 0..FORGOTTEN_PER_HIT {
            match self.by_end.first_key_value() {
                Some(((ends_at, _), key)) if *ends_at <= now => {
                    let key = *key;
                    self.forget(key);
                }
                Some(_) | None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use auth_domain::throttle::{AccountKey, CounterKind, NetworkKey};
    use auth_domain::time::Seconds;
    use auth_domain::user::Login;
    use auth_testkit::clock::START;

    use super::*;

    auth_testkit::throttle_contract!(std::sync::Arc::new(InProcessThrottle::default()));

    fn counter(network: u32, limit: u32, window: u32) -> Counter {
        Counter {
            key: CounterKey::LoginsFrom(NetworkKey::of(IpAddr::V4(Ipv4Addr::from(network)))),
            limit,
            window: Seconds::new(window),
            kind: CounterKind::Rate,
        }
    }

    fn is_full(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Full { .. })
    }

    #[tokio::test]
    async fn memory_stays_within_its_bound_under_a_flood_and_a_counter_in_use_is_kept() {
        let throttle = InProcessThrottle::new(1_000);
        let hot = counter(0, 1, 3_600);
        throttle.hit(&[hot], START).await;
        for stranger in 1..20_000 {
            throttle.hit(&[counter(stranger, 5, 3_600)], START).await;
            if stranger % 500 == 0 {
                assert!(is_full(throttle.hit(&[hot], START).await), "after {stranger}");
            }
        }
        assert_eq!(throttle.len(), 1_000);
    }

    #[tokio::test]
    async fn what_has_ended_makes_room_before_what_was_idle_for_longest() {
        let throttle = InProcessThrottle::new(2);
        let (lasting, short) = (counter(1, 1, 3_600), counter(2, 1, 10));
        throttle.hit(&[lasting], START).await;
        throttle.hit(&[short], START).await;
        let later = START.plus(Seconds::new(10));
        throttle.hit(&[counter(3, 1, 10)], later).await;
        assert!(
            is_full(throttle.hit(&[lasting], later).await),
            "the idle one was kept"
        );
        assert_eq!(throttle.len(), 2);
    }

    #[tokio::test]
    async fn ended_counters_are_forgotten_without_being_asked_for() {
        let throttle = InProcessThrottle::default();
        for network in 0..100 {
            throttle.hit(&[counter(network, 5, 10)], START).await;
        }
        let later = START.plus(Seconds::new(10));
        for _ in 0..25 {
            throttle.hit(&[counter(1_000, 100, 10)], later).await;
        }
        assert_eq!(throttle.len(), 1);
    }

    #[tokio::test]
    async fn a_pardoned_counter_leaves_nothing_behind() {
        let throttle = InProcessThrottle::default();
        let counter = counter(1, 5, 10);
        throttle.hit(&[counter], START).await;
        throttle.pardon(&[Pardon::One(counter.key)]).await;
        assert!(throttle.is_empty());
        let is_bare = |counts: &Counts| counts.by_use.is_empty() && counts.by_end.is_empty();
        assert!(throttle.with(|shelves| shelves.all().into_iter().all(is_bare)));
    }

    #[tokio::test]
    async fn no_flood_washes_a_lock_away() {
        let throttle = InProcessThrottle::new(100);
        let lock = |name: u32, limit| Counter {
            key: CounterKey::FailuresFor(AccountKey::of_unknown(&Login::Username(name.to_string()))),
            limit,
            window: Seconds::new(900),
            kind: CounterKind::Lockout,
        };
        throttle.hit(&[lock(0, 1)], START).await;
        for stranger in 1..1_000 {
            throttle.hit(&[counter(stranger, 5, 3_600)], START).await;
            throttle.hit(&[lock(stranger, 5)], START).await;
        }
        assert!(is_full(throttle.hit(&[lock(0, 1)], START).await));
        assert_eq!(throttle.len(), 200);
    }

    #[tokio::test]
    async fn where_every_counter_is_full_the_idle_one_goes() {
        let throttle = InProcessThrottle::new(2);
        for network in 0..3 {
            throttle.hit(&[counter(network, 1, 3_600)], START).await;
        }
        assert_eq!(throttle.len(), 2);
        assert!(!is_full(throttle.hit(&[counter(0, 1, 3_600)], START).await));
    }
}
