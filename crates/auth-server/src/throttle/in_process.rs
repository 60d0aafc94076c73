//! Counters kept in the process, bounded in memory: the `Throttle` port without Redis, and the mirror of what Redis
//! has told, which is judged by while it is away.
//!
//! Judging is the domain's; here it is only remembered. No lock is held across anything that waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use auth_domain::ports::Throttle;
use auth_domain::throttle::{Count, Counter, CounterKey, Judgement, Pardon, Room, Verdict, judge};
use auth_domain::time::Timestamp;
use auth_redis::Reach;

/// The counters of each sort that are kept at most, unless said otherwise: about 20 MB a sort under a flood of
/// strangers.
const DEFAULT_CAPACITY: usize = 100_000;
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

    /// Judges a request as one of several instances that can't ask each other: by its share of what a counter had left
    /// when they last agreed.
    pub(super) fn judge_as_one_of(&self, company: Company, counters: &[Counter], now: Timestamp) -> Verdict {
        self.with(|shelves| shelves.hit(counters, company, now))
    }

    /// All that is known here, as one of so many instances: what Redis is told when it comes back.
    pub(super) fn everything(&self, instances: u32, now: Timestamp) -> Vec<(CounterKey, Count)> {
        self.with(|shelves| {
            let entries = shelves.all().into_iter().flat_map(|counts| &counts.entries);
            entries
                .filter(|(_, entry)| now < entry.count.ends_at)
                .map(|(key, entry)| (*key, entry.floor(instances)))
                .collect()
        })
    }

    /// Corrects counters here; where Redis has not heard of that, what it has counted of it is owed to it.
    pub(super) fn pardon_here(&self, pardons: &[Pardon], heard_by_redis: Reach) {
        self.with(|shelves| {
            for pardon in pardons {
                shelves.of(pardon.key()).pardon(*pardon, heard_by_redis);
            }
        });
    }

    /// Hands out pardons that are owed to Redis, so many at most; whoever takes them has to deliver them.
    pub(super) fn take_owed(&self, most: usize, now: Timestamp) -> Vec<Owed> {
        self.with(|shelves| {
            let all = shelves.all_mut().into_iter();
            let mut owed = Vec::new();
            for counts in all {
                counts.take_owed(&mut owed, most, now);
            }
            owed
        })
    }

    /// Takes back what could not be delivered.
    pub(super) fn owe(&self, owed: &[Owed]) {
        self.with(|shelves| {
            for one in owed {
                shelves.of(one.key).owe(*one);
            }
        });
    }

    /// What is known here of counters that Redis is about to be asked for, as one of so many instances.
    pub(super) fn knowledge(
        &self,
        keys: impl Iterator<Item = CounterKey>,
        meeting: u64,
        instances: u32,
        now: Timestamp,
    ) -> Vec<Knowledge> {
        self.with(|shelves| {
            keys.map(|key| match shelves.of(key).live(key, now) {
                Some(entry) => entry.knowledge(meeting, instances),
                None => Knowledge::default(),
            })
            .collect()
        })
    }

    /// Takes over what Redis has told of a counter, unless something later is known of it already.
    pub(super) fn take_over(&self, news: &News, now: Timestamp) {
        self.with(|shelves| shelves.of(news.key).take_over(news, now));
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
        self.judge_as_one_of(Company::NONE, counters, now)
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        // There is no Redis that could miss it.
        self.pardon_here(pardons, Reach::Sent);
    }
}

/// Those with whom an instance shares its counters, while it can't ask them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Company {
    /// How many they are, this one included.
    pub(super) instances: u32,
    /// Since when they can't ask each other.
    pub(super) since: Timestamp,
}

impl Company {
    const NONE: Self = Self {
        instances: 1,
        since: Timestamp::from_micros(i64::MIN),
    };

    /// How many more one instance may let through, of so many that a counter had left as far as it knows.
    ///
    /// As long as something that Redis counted may still stand, others may have heard of more hits than this one has.
    /// So guesses are let through only so far that all instances together never exceed the limit by more than one
    /// each, whatever each has heard (ADR 0010). Refreshing is nobody's guess, and is shared out evenly from the start.
    fn share(self, left: u32, counter: &Counter, now: Timestamp) -> u32 {
        let Some(others) = self.instances.checked_sub(1).filter(|others| *others > 0) else {
            return left;
        };
        let is_guess = !matches!(
            counter.key,
            CounterKey::RefreshesFrom(_) | CounterKey::RefusalsOf(_)
        );
        if is_guess && now < self.since.plus(counter.window) {
            left.min(self.instances / others)
        } else {
            left.div_ceil(self.instances)
        }
    }
}

/// What all instances together had counted when this one last heard of it from Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Agreed {
    hits: u32,
    heard: Heard,
}

/// When something was heard from Redis: later is greater. The least is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heard {
    /// In which meeting with it.
    pub(super) meeting: u64,
    /// The number of the answer.
    pub(super) number: u64,
}

/// What is known here of a counter that Redis is about to be asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Knowledge {
    /// What the counter stands at no less than, where Redis may not know.
    pub(super) floor: Option<Count>,
    /// How many hits were counted here alone.
    pub(super) alone: u32,
}

/// What Redis has told of a counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct News {
    /// Which.
    pub(super) key: CounterKey,
    /// How it stands; `None` is nothing.
    pub(super) count: Option<Count>,
    /// Its limit, where it is known.
    pub(super) limit: Option<u32>,
    /// When that was heard.
    pub(super) heard: Heard,
    /// What was known here when Redis was asked.
    pub(super) known: Knowledge,
}

/// Hits that Redis has counted, and that were pardoned while it was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owed {
    /// Of which counter.
    pub(super) key: CounterKey,
    /// How many.
    pub(super) hits: u32,
    /// Until when they count: what is counted later is another window's.
    pub(super) ends_at: Timestamp,
}

/// The counters by what a stranger pays for one more: a flood of one sort pushes out none of another.
#[derive(Debug)]
struct Shelves {
    /// Networks, for the price of a packet from each.
    networks: Counts,
    /// The same for refreshing, and what is refused of it.
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

    fn all_mut(&mut self) -> [&mut Counts; 3] {
        [&mut self.networks, &mut self.refreshes, &mut self.accounts]
    }

    fn of(&mut self, key: CounterKey) -> &mut Counts {
        match key {
            CounterKey::LoginsFrom(_) | CounterKey::FailuresFrom(_) => &mut self.networks,
            CounterKey::RefreshesFrom(_) | CounterKey::RefusalsOf(_) => &mut self.refreshes,
            CounterKey::LoginsFor(_)
            | CounterKey::FailuresFor(_)
            | CounterKey::LoginsBy(_)
            | CounterKey::FailuresBy(_) => &mut self.accounts,
        }
    }

    fn hit(&mut self, counters: &[Counter], company: Company, now: Timestamp) -> Verdict {
        let mut raised = Vec::with_capacity(counters.len());
        let mut room = None;
        for counter in counters {
            let counts = self.of(counter.key);
            counts.forget_ended(now);
            let agreed = counts.agreed(counter.key, now);
            let counter = agreed.shared_out(counter, company, now);
            match judge(&counter, counts.standing(counter.key), now) {
                Judgement::Room(count) => {
                    room = room.or(Some(Room::of(&counter, count, now)));
                    raised.push((counter, count, agreed));
                }
                Judgement::Full { count, is_first } => {
                    counts.put(counter.key, count, agreed, Standing::Full);
                    return Verdict::Full {
                        key: counter.key,
                        kind: counter.kind,
                        retry_after: now.seconds_until(count.ends_at),
                        is_first,
                    };
                }
            }
        }
        for (counter, count, agreed) in raised {
            let standing = Standing::of(count, counter.limit);
            self.of(counter.key).put(counter.key, count, agreed, standing);
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
    owed: HashMap<(CounterKey, Timestamp), u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    count: Count,
    agreed: Agreed,
    standing: Standing,
    used: u64,
}

/// Whether a counter has room; in the order in which counters are given up for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Room,
    Full,
}

impl Standing {
    const fn of(count: Count, limit: u32) -> Self {
        if count.hits < limit {
            Self::Room
        } else {
            Self::Full
        }
    }
}

impl Agreed {
    /// The counter with as much of its limit as this instance may use up without the others.
    fn shared_out(self, counter: &Counter, company: Company, now: Timestamp) -> Counter {
        let left = counter.limit.saturating_sub(self.hits);
        Counter {
            limit: counter.limit - left + company.share(left, counter, now),
            ..*counter
        }
    }
}

impl Entry {
    /// How many hits were counted here alone.
    const fn alone(&self) -> u32 {
        self.count.hits.saturating_sub(self.agreed.hits)
    }

    /// The counter without any hits.
    const fn forgiven(self) -> Count {
        Count {
            hits: 0,
            ..self.count
        }
    }

    /// What was agreed on, and what was counted here since, taken for the share that each instance has counted.
    fn floor(&self, instances: u32) -> Count {
        let by_others = self.alone().saturating_mul(instances.saturating_sub(1));
        Count {
            hits: self.count.hits.saturating_add(by_others),
            ..self.count
        }
    }

    /// What Redis is told along with a request: nothing, where it knows in this meeting.
    fn knowledge(&self, meeting: u64, instances: u32) -> Knowledge {
        let alone = self.alone();
        let is_known = self.agreed.heard.meeting == meeting && alone == 0;
        Knowledge {
            floor: (!is_known).then(|| self.floor(instances)),
            alone,
        }
    }
}

impl Counts {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            uses: 0,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            by_end: BTreeMap::new(),
            owed: HashMap::new(),
        }
    }

    fn standing(&self, key: CounterKey) -> Option<Count> {
        self.entries.get(&key).map(|entry| entry.count)
    }

    /// The counter, unless its window has ended.
    fn live(&self, key: CounterKey, now: Timestamp) -> Option<&Entry> {
        self.entries.get(&key).filter(|entry| now < entry.count.ends_at)
    }

    /// What all instances know of a counter; of one whose window has ended, nothing.
    fn agreed(&self, key: CounterKey, now: Timestamp) -> Agreed {
        self.live(key, now).map(|entry| entry.agreed).unwrap_or_default()
    }

    fn take_over(&mut self, news: &News, now: Timestamp) {
        let known = self.live(news.key, now).copied();
        if known.is_some_and(|entry| entry.agreed.heard >= news.heard) {
            return;
        }
        // Redis was told of what had been counted here alone by then, and of no more.
        let alone = known.map_or(0, |entry| entry.alone().saturating_sub(news.known.alone));
        let Some(told) = news.count.or(known.filter(|_| alone > 0).map(Entry::forgiven)) else {
            self.forget(news.key);
            return;
        };
        let agreed = Agreed {
            hits: told.hits,
            heard: news.heard,
        };
        let count = Count {
            hits: told.hits.saturating_add(alone),
            ..told
        };
        let standing = news
            .limit
            .map_or(Standing::Room, |limit| Standing::of(count, limit));
        self.forget_ended(now);
        self.put(news.key, count, agreed, standing);
    }

    /// Takes from what was counted here alone first: of that Redis knows nothing.
    fn pardon(&mut self, pardon: Pardon, heard_by_redis: Reach) {
        let key = pardon.key();
        let Some(entry) = self.forget(key) else {
            return;
        };
        let left = pardon.apply(entry.count);
        let agreed = Agreed {
            hits: left.map_or(0, |count| entry.agreed.hits.min(count.hits)),
            ..entry.agreed
        };
        if heard_by_redis == Reach::Nowhere {
            self.owe(Owed {
                key,
                hits: entry.agreed.hits - agreed.hits,
                ends_at: entry.count.ends_at,
            });
        }
        if let Some(count) = left {
            self.put(key, count, agreed, Standing::Room);
        }
    }

    /// Past the bound a pardon is not delivered: what it was for ends with its window.
    fn owe(&mut self, owed: Owed) {
        let place = (owed.key, owed.ends_at);
        let is_full = self.owed.len() >= self.capacity && !self.owed.contains_key(&place);
        if owed.hits > 0 && !is_full {
            let hits = self.owed.entry(place).or_default();
            *hits = hits.saturating_add(owed.hits);
        }
    }

    fn take_owed(&mut self, taken: &mut Vec<Owed>, most: usize, now: Timestamp) {
        self.owed.retain(|(_, ends_at), _| now < *ends_at);
        let room = most.saturating_sub(taken.len());
        let places: Vec<_> = self.owed.keys().take(room).copied().collect();
        for place in places {
            if let Some(hits) = self.owed.remove(&place) {
                let (key, ends_at) = place;
                taken.push(Owed { key, hits, ends_at });
            }
        }
    }

    fn put(&mut self, key: CounterKey, count: Count, agreed: Agreed, standing: Standing) {
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
                agreed,
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

    /// The figure of docs/SECURITY.md: whoever can send from a million networks fills one shelf, and no more.
    #[tokio::test]
    async fn a_million_networks_take_no_more_memory_than_the_bound_and_free_no_lock() {
        let throttle = InProcessThrottle::default();
        let locked = counter(u32::MAX, 1, 3_600);
        throttle.hit(&[locked], START).await;
        for stranger in 0..1_000_000 {
            throttle.hit(&[counter(stranger, 5, 3_600)], START).await;
        }
        assert_eq!(throttle.len(), DEFAULT_CAPACITY);
        assert!(is_full(throttle.hit(&[locked], START).await));
        let bytes = DEFAULT_CAPACITY * throttle.with(|shelves| shelves.networks.bytes_of_one());
        assert!(bytes < 64 * 1024 * 1024, "{bytes} bytes");
    }

    impl Counts {
        /// About what one counter takes: in the map, which is at worst half empty, and in both orders, whose nodes are.
        fn bytes_of_one(&self) -> usize {
            let in_map = size_of::<(CounterKey, Entry)>() * self.entries.capacity() / self.capacity;
            let in_orders =
                size_of::<((Standing, u64), CounterKey)>() + size_of::<((Timestamp, u64), CounterKey)>();
            in_map + 2 * in_orders
        }
    }

    fn agreed(hits: u32) -> Agreed {
        Agreed {
            hits,
            heard: Heard::default(),
        }
    }

    fn company(instances: u32) -> Company {
        Company {
            instances,
            since: START,
        }
    }

    /// A counter that Redis told of, and what was counted here since.
    fn mirror(told: u32, alone: u32) -> (InProcessThrottle, CounterKey) {
        let throttle = InProcessThrottle::default();
        let counter = counter(1, 100, 60);
        let news = News {
            key: counter.key,
            count: Some(Count {
                hits: told,
                refusal_is_told: false,
                ends_at: START.plus(counter.window),
            }),
            limit: None,
            heard: Heard {
                meeting: 1,
                number: 1,
            },
            known: Knowledge::default(),
        };
        throttle.take_over(&news, START);
        for _ in 0..alone {
            assert!(
                throttle
                    .judge_as_one_of(Company::NONE, &[counter], START)
                    .is_allowed()
            );
        }
        (throttle, counter.key)
    }

    fn owed(throttle: &InProcessThrottle) -> u32 {
        throttle.take_owed(9, START).iter().map(|one| one.hits).sum()
    }

    #[test]
    fn only_what_redis_has_counted_and_not_forgiven_itself_is_owed_to_it() {
        for (told, alone, pardons, expected) in [
            (3, 0, 1, 1),
            (3, 1, 1, 0),
            (3, 1, 2, 1),
            (0, 2, 1, 0),
            (2, 0, 5, 2),
        ] {
            let (throttle, key) = mirror(told, alone);
            let pardons = vec![Pardon::One(key); pardons];
            throttle.pardon_here(&pardons, Reach::Nowhere);
            assert_eq!(owed(&throttle), expected, "{told} told, {alone} alone");
            assert_eq!(owed(&throttle), 0, "once");
        }
        let (throttle, key) = mirror(3, 2);
        throttle.pardon_here(&[Pardon::All(key)], Reach::Nowhere);
        assert_eq!(owed(&throttle), 3);
        let (throttle, key) = mirror(3, 0);
        throttle.pardon_here(&[Pardon::All(key)], Reach::Sent);
        assert_eq!(owed(&throttle), 0, "it may have been carried out");
    }

    #[test]
    fn what_is_owed_ends_with_its_window() {
        let (throttle, key) = mirror(3, 0);
        throttle.pardon_here(&[Pardon::One(key)], Reach::Nowhere);
        assert_eq!(throttle.take_owed(9, START.plus(Seconds::new(60))), []);
        assert_eq!(owed(&throttle), 0);
    }

    #[test]
    fn while_others_may_know_more_no_instance_uses_up_much() {
        let limit = |hits, instances, limit| {
            let counter = counter(1, limit, 60);
            agreed(hits).shared_out(&counter, company(instances), START).limit
        };
        assert_eq!(limit(0, 1, 5), 5);
        assert_eq!(limit(3, 1, 5), 5);
        assert_eq!(limit(0, 0, 5), 5);
        assert_eq!(limit(0, 2, 5), 2);
        assert_eq!(limit(3, 2, 5), 5);
        assert_eq!(limit(4, 2, 5), 5);
        assert_eq!(limit(9, 2, 5), 5);
        assert_eq!(limit(0, 3, 5), 1);
        assert_eq!(limit(2, 100, 5), 3);
    }

    #[test]
    fn once_nobody_can_know_more_the_limit_is_shared_out() {
        let limit = |instances, limit, window| {
            let counter = counter(1, limit, window);
            let later = START.plus(Seconds::new(60));
            agreed(0).shared_out(&counter, company(instances), later).limit
        };
        assert_eq!(limit(2, 5, 60), 3);
        assert_eq!(limit(2, 5, 61), 2);
        assert_eq!(limit(5, 5, 60), 1);
    }

    #[test]
    fn refreshing_is_shared_out_from_the_start() {
        let CounterKey::LoginsFrom(network) = counter(1, 5, 60).key else {
            panic!("made as a counter of logins");
        };
        let refreshes = Counter {
            key: CounterKey::RefreshesFrom(network),
            ..counter(1, 6_000, 60)
        };
        assert_eq!(
            agreed(1_000).shared_out(&refreshes, company(2), START).limit,
            3_500
        );
    }

    fn count(hits: u32) -> Count {
        Count {
            hits,
            refusal_is_told: false,
            ends_at: START.plus(Seconds::new(60)),
        }
    }

    fn news(count: Option<Count>, meeting: u64, number: u64, known: Knowledge) -> News {
        News {
            key: counter(1, 5, 60).key,
            count,
            limit: Some(5),
            heard: Heard { meeting, number },
            known,
        }
    }

    fn known(throttle: &InProcessThrottle, meeting: u64, instances: u32) -> Knowledge {
        let keys = std::iter::once(counter(1, 5, 60).key);
        let found = throttle.knowledge(keys, meeting, instances, START);
        found.first().copied().unwrap()
    }

    #[test]
    fn an_older_answer_does_not_go_over_a_later_one() {
        let throttle = InProcessThrottle::default();
        let nothing = Knowledge::default();
        throttle.take_over(&news(Some(count(4)), 1, 8, nothing), START);
        throttle.take_over(&news(Some(count(3)), 1, 7, nothing), START);
        assert_eq!(known(&throttle, 2, 1).floor, Some(count(4)));
        throttle.take_over(&news(Some(count(1)), 2, 1, nothing), START);
        assert_eq!(known(&throttle, 3, 1).floor, Some(count(1)));
    }

    #[tokio::test]
    async fn a_late_answer_adds_to_what_was_counted_here_meanwhile() {
        let throttle = InProcessThrottle::default();
        let nothing = Knowledge::default();
        throttle.take_over(&news(Some(count(1)), 1, 1, nothing), START);
        assert!(!is_full(throttle.hit(&[counter(1, 5, 60)], START).await));
        throttle.take_over(&news(Some(count(2)), 1, 2, nothing), START);
        assert_eq!(
            known(&throttle, 2, 1),
            Knowledge {
                floor: Some(count(3)),
                alone: 1
            }
        );
        // A pardon that was on its way as well.
        throttle.take_over(&news(None, 1, 3, nothing), START);
        assert_eq!(
            known(&throttle, 2, 1),
            Knowledge {
                floor: Some(count(1)),
                alone: 1
            }
        );
    }

    #[tokio::test]
    async fn redis_is_told_what_it_may_not_know_until_it_has_answered() {
        let throttle = InProcessThrottle::default();
        assert_eq!(known(&throttle, 1, 2), Knowledge::default());
        throttle.take_over(&news(Some(count(1)), 1, 1, Knowledge::default()), START);
        assert_eq!(known(&throttle, 1, 2), Knowledge::default());
        assert_eq!(known(&throttle, 2, 2).floor, Some(count(1)));
        throttle.judge_as_one_of(company(2), &[counter(1, 5, 60)], START);
        // One was counted here; the other instance is taken to have counted one as well.
        let told = known(&throttle, 2, 2);
        assert_eq!(
            told,
            Knowledge {
                floor: Some(count(3)),
                alone: 1
            }
        );
        assert_eq!(
            known(&throttle, 2, 2),
            told,
            "everybody says so until there is an answer"
        );
        throttle.take_over(&news(Some(count(4)), 2, 1, told), START);
        assert_eq!(known(&throttle, 2, 2), Knowledge::default());
    }

    #[tokio::test]
    async fn what_has_ended_is_not_told() {
        let throttle = InProcessThrottle::default();
        throttle.hit(&[counter(1, 5, 60)], START).await;
        let keys = std::iter::once(counter(1, 5, 60).key);
        let later = START.plus(Seconds::new(60));
        assert_eq!(throttle.knowledge(keys, 1, 1, later), [Knowledge::default()]);
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
