//! The Redis that instances share their counters through: there, not forgetting, and of the same time.

use std::time::Duration;

use auth_domain::ports::Clock as _;
use auth_redis::{Examination, examine};

use super::clock::{self, Reading};
use super::finding::Finding;
use crate::cli::failure::causes;
use crate::settings::Redis;
use crate::system::SystemClock;

const SUBJECT: &str = "redis";
/// Longer than requests wait for it: whether it is there is asked here, not whether it is fast.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the Redis of the settings, which so many instances are to share.
pub(super) async fn look(redis: Option<&Redis>, instances: usize) -> Vec<Finding> {
    let Some(redis) = redis else {
        return vec![none(instances)];
    };
    let before = SystemClock.now();
    let found = match examine(&redis.url, PATIENCE).await {
        Ok(found) => found,
        Err(outage) => return vec![away(&causes(&outage))],
    };
    let theirs = found.clock;
    let after = SystemClock.now();
    let reading = Reading {
        before,
        theirs,
        after,
    };
    vec![
        Finding::ok(SUBJECT, format!("Redis {} answers", found.version)),
        memory(&found),
        role(&found),
        clock::judge(SUBJECT, "Redis", reading.ahead()),
    ]
}

fn none(instances: usize) -> Finding {
    if instances > 1 {
        return Finding::warn(
            SUBJECT,
            "several instances, and none of them knows what the others have counted: limits hold for each by itself",
            "Set AUTH_SERVICE__REDIS_URL, the same for all; docs/SCALING.md says more.",
        );
    }
    Finding::ok(SUBJECT, "none is set: one instance counts for itself")
}

fn away(why: &str) -> Finding {
    Finding::fail(
        SUBJECT,
        why,
        "Start it, or correct AUTH_SERVICE__REDIS_URL. Until then each instance counts for itself, and limits hold for each.",
    )
}

/// Counters have a time to live, so every policy but one may drop them first.
fn memory(found: &Examination) -> Finding {
    if found.most_memory == 0 {
        return Finding::ok(
            SUBJECT,
            "it forgets nothing for want of memory: maxmemory is not set",
        );
    }
    let limit = found.most_memory >> 20;
    if found.eviction == "noeviction" {
        return Finding::ok(SUBJECT, format!("it forgets nothing: noeviction, at {limit} MiB"));
    }
    Finding::warn(
        SUBJECT,
        format!(
            "at {limit} MiB it drops counters (maxmemory-policy {}): who fills it guesses on without a limit",
            found.eviction
        ),
        "`CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf; or give this service a Redis of its own.",
    )
}

fn role(found: &Examination) -> Finding {
    if found.is_replica {
        return Finding::fail(
            SUBJECT,
            "it is a replica, and takes no writes",
            "Name the primary in AUTH_SERVICE__REDIS_URL.",
        );
    }
    Finding::ok(SUBJECT, "it takes writes: it is no replica")
}

#[cfg(test)]
mod tests {
    use auth_domain::time::Timestamp;
    use rstest::rstest;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    fn found(most_memory: u64, eviction: &str, is_replica: bool) -> Examination {
        Examination {
            version: "7.0.15".to_owned(),
            clock: Timestamp::default(),
            most_memory,
            eviction: eviction.to_owned(),
            is_replica,
        }
    }

    #[rstest]
    #[case(0, "noeviction", Verdict::Ok)]
    #[case(0, "allkeys-lru", Verdict::Ok)]
    #[case(1 << 30, "noeviction", Verdict::Ok)]
    #[case(1 << 30, "allkeys-lru", Verdict::Warn)]
    #[case(1 << 30, "volatile-ttl", Verdict::Warn)]
    fn a_redis_that_drops_counters_is_warned_of(
        #[case] most_memory: u64,
        #[case] eviction: &str,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(memory(&found(most_memory, eviction, false)).verdict, verdict);
    }

    #[test]
    fn a_replica_will_not_do() {
        assert_eq!(role(&found(0, "", true)).verdict, Verdict::Fail);
        assert_eq!(role(&found(0, "", false)).verdict, Verdict::Ok);
    }

    #[test]
    fn only_several_instances_need_one() {
        assert_eq!(none(0).verdict, Verdict::Ok);
        assert_eq!(none(1).verdict, Verdict::Ok);
        assert_eq!(none(2).verdict, Verdict::Warn);
    }
}
