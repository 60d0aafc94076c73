//! Counters in a map, judged by the domain's own rule.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use auth_domain::ports::Throttle;
use auth_domain::throttle::{Count, Counter, CounterKey, Judgement, Pardon, Room, Verdict, judge};
use auth_domain::time::Timestamp;

/// A throttle in memory; its copies share the counters.
#[derive(Debug, Clone, Default)]
pub struct FakeThrottle(Arc<Mutex<HashMap<CounterKey, Count>>>);

impl FakeThrottle {
    /// A counter as it stands.
    pub fn standing(&self, key: CounterKey) -> Option<Count> {
        self.with(|counts| counts.get(&key).copied())
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<CounterKey, Count>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn hit(counts: &mut HashMap<CounterKey, Count>, counters: &[Counter], now: Timestamp) -> Verdict {
    let mut raised = Vec::with_capacity(counters.len());
    let mut room = None;
    for counter in counters {
        match judge(counter, counts.get(&counter.key).copied(), now) {
            Judgement::Room(count) => {
                room = room.or(Some(Room::of(counter, count, now)));
                raised.push((counter.key, count));
            }
            Judgement::Full { count, is_first } => {
                counts.insert(counter.key, count);
                return Verdict::Full {
                    key: counter.key,
                    kind: counter.kind,
                    retry_after: now.seconds_until(count.ends_at),
                    is_first,
                };
            }
        }
    }
    counts.extend(raised);
    Verdict::Allowed(room.unwrap_or_default())
}

#[async_trait]
impl Throttle for FakeThrottle {
    async fn hit(&self, counters: &[Counter], now: Timestamp) -> Verdict {
        self.with(|counts| hit(counts, counters, now))
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        self.with(|counts| {
            for pardon in pardons {
                let Some(standing) = counts.remove(&pardon.key()) else {
                    continue;
                };
                if let Some(left) = pardon.apply(standing) {
                    counts.insert(pardon.key(), left);
                }
            }
        });
    }
}
