//! The scripts, and the connections they are sent over.

use std::future::Future;
use std::time::Duration;

use auth_domain::ports::{Random, Unavailable};
use auth_domain::throttle::{Count, Counter, CounterKey, CounterKind, Pardon, Room, Verdict};
use auth_domain::time::Timestamp;
use deadpool_redis::redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use deadpool_redis::{Connection, Pool, PoolError};

use crate::answer::{Judged, Pardoned, written};
use crate::connections::{self, Incarnation, Meeting};
use crate::keys::{ANSWERS, INSTANCES, name_of};
use crate::url::RedisUrl;

/// So many counters are taken by one call at most. A request has three.
pub const MOST_COUNTERS: usize = 8;
/// So many counters are told in one call: a step that keeps Redis busy for about a millisecond.
pub const TOLD_AT_ONCE: usize = 200;
/// After so many seconds of silence an instance is taken for gone.
const PATIENCE: u32 = 10;

/// One counter that a request is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The counter.
    pub counter: Counter,
    /// What it stands at no less than, by what the asker knows and Redis may not.
    pub floor: Option<Count>,
}

/// One counter to be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// How.
    pub pardon: Pardon,
    /// What it stands at no less than before, as in [`Hit`].
    pub floor: Option<Count>,
}

/// That a call had no answer in time.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub outage: Unavailable,
    /// Whether it may be carried out all the same.
    pub reach: Reach,
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It was never sent: what it asks for is not done.
    Nowhere,
    /// It was sent. Redis may have carried it out, or may yet: one that was held works off what has arrived.
    Sent,
}

impl Unanswered {
    fn unsent(outage: Unavailable) -> Self {
        Self {
            outage,
            reach: Reach::Nowhere,
        }
    }

    fn sent(outage: Unavailable) -> Self {
        Self {
            outage,
            reach: Reach::Sent,
        }
    }
}

impl From<Unanswered> for Unavailable {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.outage
    }
}

/// The name by which an instance is counted: random, told to nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance(String);

impl Instance {
    /// A new name.
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes);
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// Counters in Redis. Every call ends within the time limit, with an answer or an outage.
///
/// What was counted is only worth something as long as Redis remembers it. So all calls of a [`Meeting`] go to one
/// process: Redis started anew, or another that took over its address, is an outage until the asker begins another
/// meeting, and knows by that that nothing is remembered for sure.
#[derive(Clone)]
pub struct RedisThrottle {
    pool: Pool,
    incarnation: Incarnation,
    limit: Duration,
    hit: Script,
    pardon: Script,
    tell: Script,
    forgive: Script,
    register: Script,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer within {0:?}")]
    TooLate(Duration),
    #[error("the meeting was over before the call was sent")]
    MeetingOver,
    #[error("more than {MOST_COUNTERS} counters at once")]
    TooMany,
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl RedisThrottle {
    /// Prepares connections to a Redis; opens none. No call takes longer than the limit, connecting included.
    ///
    /// # Errors
    /// Where the address can't be used.
    pub fn new(url: RedisUrl, limit: Duration) -> Result<Self, Unavailable> {
        let incarnation = Incarnation::default();
        let pool = connections::pool(url, limit, &incarnation)
            .map_err(|error| Unavailable::new("prepare connections to Redis", error))?;
        Ok(Self {
            pool,
            incarnation,
            limit,
            hit: Script::new(include_str!("hit.lua")),
            pardon: Script::new(include_str!("pardon.lua")),
            tell: Script::new(include_str!("tell.lua")),
            forgive: Script::new(include_str!("forgive.lua")),
            register: Script::new(include_str!("register.lua")),
        })
    }

    /// Judges a request by all of its counters in one step, by the rule of [`judge`](auth_domain::throttle::judge):
    /// where each has room all are raised, else none, and the verdict is the first full one's.
    ///
    /// # Errors
    /// Where there is no answer in time.
    pub async fn hit(&self, meeting: Meeting, hits: &[Hit], now: Timestamp) -> Result<Judged, Unanswered> {
        const WHAT: &str = "raise counters in Redis";
        if hits.is_empty() {
            return Ok(Judged {
                verdict: Verdict::Allowed(Room::default()),
                counts: Vec::new(),
                number: 0,
            });
        }
        bounded(WHAT, hits.len())?;
        let mut call = self.hit.key(ANSWERS);
        call.arg(now.as_micros());
        for Hit { counter, floor } in hits {
            call.key(name_of(counter.key))
                .arg(counter.limit)
                .arg(match counter.kind {
                    CounterKind::Rate => "fixed",
                    CounterKind::Lockout => "restarts",
                })
                .arg(now.plus(counter.window).as_micros())
                .arg(u64::from(counter.window.get()) * 1_000)
                .arg(floor.map(written).unwrap_or_default());
        }
        let answer: Vec<String> = self.ask(WHAT, meeting, &call).await?;
        let counters: Vec<_> = hits.iter().map(|hit| hit.counter).collect();
        Judged::read(&answer, &counters, now).map_err(|error| Unanswered::sent(Unavailable::new(WHAT, error)))
    }

    /// Corrects counters in one step, by [`Pardon::apply`].
    ///
    /// # Errors
    /// Where there is no answer in time.
    pub async fn pardon(
        &self,
        meeting: Meeting,
        corrections: &[Correction],
        now: Timestamp,
    ) -> Result<Pardoned, Unanswered> {
        const WHAT: &str = "correct counters in Redis";
        bounded(WHAT, corrections.len())?;
        let mut call = self.pardon.key(ANSWERS);
        for Correction { pardon, floor } in corrections {
            call.key(name_of(pardon.key()))
                .arg(match pardon {
                    Pardon::One(_) => "one",
                    Pardon::All(_) => "all",
                })
                .arg(floor.map(written).unwrap_or_default())
                .arg(floor.map_or(0, |count| {
                    u64::from(now.seconds_until(count.ends_at).get()) * 1_000
                }));
        }
        let answer: Vec<String> = self.ask(WHAT, meeting, &call).await?;
        Pardoned::read(&answer, corrections.len())
            .map_err(|error| Unanswered::sent(Unavailable::new(WHAT, error)))
    }

    /// Takes back hits that were counted here and have been pardoned since, [`TOLD_AT_ONCE`] counters at most. To be
    /// asked once: to ask again would take back others.
    ///
    /// # Errors
    /// Where there is no answer in time.
    pub async fn forgive(
        &self,
        meeting: Meeting,
        hits: &[(CounterKey, u32)],
        now: Timestamp,
    ) -> Result<(), Unanswered> {
        let mut call = self.forgive.arg(now.as_micros());
        for (key, hits) in hits {
            call.key(name_of(*key)).arg(*hits);
        }
        let _: u64 = self
            .ask("tell Redis of pardons that it has missed", meeting, &call)
            .await?;
        Ok(())
    }

    /// Gives up all connections and begins another meeting: the Redis that is reached next may be any. Calls of the
    /// one before that have not been sent yet end as outages.
    pub fn meet(&self) -> Meeting {
        let meeting = self.incarnation.meet();
        let _ = self.pool.retain(|_, _| false);
        meeting
    }

    /// Sees whether Redis can be reached at all, for who has much to prepare for it.
    ///
    /// # Errors
    /// Where it can't, in time.
    pub async fn reach(&self) -> Result<(), Unavailable> {
        within(self.limit, async { Ok(self.pool.get().await.map(drop)?) })
            .await
            .map_err(|fault| Unavailable::new("reach Redis", fault))
    }

    /// Tells what counters stand at no less than, in steps.
    ///
    /// # Errors
    /// Where one of the steps is not answered in time. Telling again changes nothing.
    pub async fn tell(
        &self,
        meeting: Meeting,
        counts: &[(CounterKey, Count)],
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        for step in counts.chunks(TOLD_AT_ONCE) {
            let mut call = self.tell.arg(now.as_micros());
            for (key, count) in step {
                call.key(name_of(*key))
                    .arg(written(*count))
                    .arg(left(*count, now));
            }
            let _: u64 = self
                .ask("tell Redis what was counted without it", meeting, &call)
                .await?;
        }
        Ok(())
    }

    /// Says that an instance is there, and learns how many are: what it takes to know that Redis answers, and takes a
    /// write.
    ///
    /// # Errors
    /// Where it does not, in time.
    pub async fn register(&self, meeting: Meeting, instance: &Instance) -> Result<u32, Unavailable> {
        let mut call = self.register.key(INSTANCES);
        call.arg(&instance.0).arg(PATIENCE);
        Ok(self.ask("reach Redis", meeting, &call).await?)
    }

    /// Sends one call, within the time limit. After a fault the idle connections are given up as well: whatever is
    /// wrong with this one may be wrong with them.
    async fn ask<T: FromRedisValue>(
        &self,
        what: &'static str,
        meeting: Meeting,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Unanswered> {
        let mut reach = Reach::Nowhere;
        let asked = within(self.limit, async {
            let mut connection: Connection = self.pool.get().await?;
            if self.incarnation.meeting() != meeting {
                return Err(Fault::MeetingOver);
            }
            reach = Reach::Sent;
            Ok(call.invoke_async(&mut connection).await?)
        })
        .await;
        asked.map_err(|fault| {
            let _ = self.pool.retain(|_, _| false);
            let outage = Unavailable::new(what, fault);
            Unanswered { outage, reach }
        })
    }
}

/// How many milliseconds a count has left, rounded up.
fn left(count: Count, now: Timestamp) -> u64 {
    u64::from(now.seconds_until(count.ends_at).get()) * 1_000
}

fn bounded(what: &'static str, counters: usize) -> Result<(), Unanswered> {
    if counters > MOST_COUNTERS {
        return Err(Unanswered::unsent(Unavailable::new(what, Fault::TooMany)));
    }
    Ok(())
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Fault::TooLate(limit)))
}
