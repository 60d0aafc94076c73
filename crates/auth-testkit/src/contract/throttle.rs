//! What every [`Throttle`] must keep.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use auth_domain::ports::Throttle;
use auth_domain::throttle::{Counter, CounterKey, CounterKind, NetworkKey, Pardon, Verdict};
use auth_domain::time::Seconds;

use crate::clock::START;

/// A counter of the n-th network: three in a minute.
fn counter(network: u8, kind: CounterKind) -> Counter {
    let network = NetworkKey::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, network)));
    Counter {
        key: CounterKey::LoginsFrom(network),
        limit: 3,
        window: Seconds::new(60),
        kind,
    }
}

/// That the counter of the first network was full.
fn full(kind: CounterKind, retry_after: u32, is_first: bool) -> Verdict {
    Verdict::Full {
        key: counter(1, kind).key,
        kind,
        retry_after: Seconds::new(retry_after),
        is_first,
    }
}

/// Of hits in parallel exactly as many pass as the limit says.
pub async fn parallel_hits_never_exceed_the_limit(throttle: Arc<dyn Throttle>) {
    let counter = Counter {
        limit: 20,
        ..counter(1, CounterKind::Lockout)
    };
    let contenders: Vec<_> = (0..64)
        .map(|_| {
            let throttle = Arc::clone(&throttle);
            tokio::spawn(async move { throttle.hit(&[counter], START).await })
        })
        .collect();
    let mut allowed = 0;
    for contender in contenders {
        if contender.await.expect("no hit panics").is_allowed() {
            allowed += 1;
        }
    }
    assert_eq!(allowed, 20);
}

/// Where one of several counters is full none is raised, and that one is named.
pub async fn counters_are_raised_all_or_none(throttle: Arc<dyn Throttle>) {
    let (full_one, other) = (counter(1, CounterKind::Rate), counter(2, CounterKind::Rate));
    for _ in 0..3 {
        throttle.hit(&[full_one], START).await;
    }
    for _ in 0..5 {
        let refused = throttle.hit(&[other, full_one], START).await;
        assert!(
            matches!(refused, Verdict::Full { key, .. } if key == full_one.key),
            "{refused:?}"
        );
    }
    for _ in 0..3 {
        assert!(throttle.hit(&[other], START).await.is_allowed());
    }
}

/// Only the first refusal of a window says that it is the first.
pub async fn the_first_refusal_is_told_once(throttle: Arc<dyn Throttle>) {
    let counter = counter(1, CounterKind::Rate);
    for _ in 0..3 {
        assert!(throttle.hit(&[counter], START).await.is_allowed());
    }
    assert_eq!(
        throttle.hit(&[counter], START).await,
        full(CounterKind::Rate, 60, true)
    );
    assert_eq!(
        throttle.hit(&[counter], START).await,
        full(CounterKind::Rate, 60, false)
    );
}

/// A rate's window starts with its first hit and ends by itself, to the microsecond.
pub async fn a_rate_window_is_fixed_and_ends_by_itself(throttle: Arc<dyn Throttle>) {
    let counter = counter(1, CounterKind::Rate);
    throttle.hit(&[counter], START).await;
    let later = START.plus(Seconds::new(30));
    throttle.hit(&[counter], later).await;
    throttle.hit(&[counter], later).await;
    assert_eq!(
        throttle.hit(&[counter], later).await,
        full(CounterKind::Rate, 30, true)
    );
    let end = START.plus(Seconds::new(60));
    assert!(throttle.hit(&[counter], end).await.is_allowed());
}

/// A lock starts with the last counted failure, is not drawn out by refused ones, and ends by itself.
pub async fn a_lock_ends_by_itself(throttle: Arc<dyn Throttle>) {
    let counter = counter(1, CounterKind::Lockout);
    let last = START.plus(Seconds::new(30));
    throttle.hit(&[counter], START).await;
    throttle.hit(&[counter], START).await;
    throttle.hit(&[counter], last).await;
    let later = START.plus(Seconds::new(80));
    assert_eq!(
        throttle.hit(&[counter], later).await,
        full(CounterKind::Lockout, 10, true)
    );
    assert_eq!(
        throttle.hit(&[counter], later).await,
        full(CounterKind::Lockout, 10, false)
    );
    let end = last.plus(Seconds::new(60));
    assert!(throttle.hit(&[counter], end).await.is_allowed());
}

/// One pardon gives one hit back, and never more than were counted.
pub async fn a_pardon_of_one_gives_one_hit_back(throttle: Arc<dyn Throttle>) {
    let counter = counter(1, CounterKind::Lockout);
    throttle.pardon(&[Pardon::One(counter.key)]).await;
    for _ in 0..3 {
        assert!(throttle.hit(&[counter], START).await.is_allowed());
    }
    throttle.pardon(&[Pardon::One(counter.key)]).await;
    assert!(throttle.hit(&[counter], START).await.is_allowed());
    assert!(matches!(
        throttle.hit(&[counter], START).await,
        Verdict::Full { .. }
    ));
}

/// A full pardon forgets a counter, and no other.
pub async fn a_pardon_of_all_forgets_that_counter_only(throttle: Arc<dyn Throttle>) {
    let (one, other) = (counter(1, CounterKind::Lockout), counter(2, CounterKind::Lockout));
    for _ in 0..3 {
        throttle.hit(&[one, other], START).await;
    }
    throttle.pardon(&[Pardon::All(one.key)]).await;
    for _ in 0..3 {
        assert!(throttle.hit(&[one], START).await.is_allowed());
    }
    assert!(matches!(
        throttle.hit(&[other], START).await,
        Verdict::Full { .. }
    ));
}

/// Counters of different keys do not touch each other, even for the same network.
pub async fn keys_are_counted_apart(throttle: Arc<dyn Throttle>) {
    let logins = counter(1, CounterKind::Rate);
    let CounterKey::LoginsFrom(network) = logins.key else {
        panic!("made above as a counter of logins");
    };
    let refreshes = Counter {
        key: CounterKey::RefreshesFrom(network),
        ..logins
    };
    for _ in 0..4 {
        throttle.hit(&[logins], START).await;
    }
    assert!(throttle.hit(&[refreshes], START).await.is_allowed());
}

/// One test for each rule of the throttle. Takes an expression that makes a fresh `Arc<dyn Throttle>`.
#[macro_export]
macro_rules! throttle_contract {
    ($make:expr) => {
        $crate::each_rule! { $make; throttle:
            parallel_hits_never_exceed_the_limit,
            counters_are_raised_all_or_none,
            the_first_refusal_is_told_once,
            a_rate_window_is_fixed_and_ends_by_itself,
            a_lock_ends_by_itself,
            a_pardon_of_one_gives_one_hit_back,
            a_pardon_of_all_forgets_that_counter_only,
            keys_are_counted_apart,
        }
    };
}

#[cfg(test)]
mod on_the_fake {
    use std::sync::Arc;

    use crate::fake::FakeThrottle;

    throttle_contract!(Arc::new(FakeThrottle::default()));
}
