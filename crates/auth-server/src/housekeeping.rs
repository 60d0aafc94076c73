//! Housekeeping: deletes what the store need not keep any more, in the background.
//!
//! Never at anybody's expense: a batch is small and a transaction of its own, and between two batches the writer
//! belongs to the requests.

use std::sync::Arc;
use std::time::Duration;

use auth_domain::ports::admin::AuditLog;
use auth_domain::ports::{AccessTokens, Clock, Unavailable};
use auth_domain::time::{Seconds, Timestamp};
use auth_storage::Store;

use crate::settings::Housekeeping;
use crate::telemetry;

/// How long after the start the first run begins: the first requests have the machine to themselves.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// The most rows that one transaction deletes: one or two milliseconds of the writer's time.
const BATCH: u32 = 500;
/// How long the writer is left alone after a batch.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a denial is kept after its end: a clock that is set back by less revives no token.
const DENIALS_KEPT: Seconds = Seconds::new(86_400);

/// One kind of thing that is deleted when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chore {
    /// Denials of access tokens that have expired anyway.
    EndedDenials,
    /// Audit rows past their retention.
    OldAuditRows,
}

impl Chore {
    const ALL: [Self; 2] = [Self::EndedDenials, Self::OldAuditRows];

    /// Its name in metrics and logs.
    const fn as_str(self) -> &'static str {
        match self {
            Self::EndedDenials => "ended_denials",
            Self::OldAuditRows => "audit_rows",
        }
    }
}

/// Does the chores.
#[derive(Clone)]
pub struct Housekeeper {
    audit_log: Arc<dyn AuditLog>,
    access_tokens: Arc<dyn AccessTokens>,
    clock: Arc<dyn Clock>,
    settings: Housekeeping,
}

impl Housekeeper {
    /// A housekeeper of a store.
    pub fn new(store: &Store, clock: Arc<dyn Clock>, settings: Housekeeping) -> Self {
        Self {
            audit_log: Arc::clone(&store.audit_log),
            access_tokens: Arc::clone(&store.access_tokens),
            clock,
            settings,
        }
    }

    /// Does all chores soon, and again each time the interval of the settings has passed, until it is dropped or
    /// aborted. Whatever batch is under way then is done or not done, as a whole.
    pub async fn tend(self) {
        for chore in Chore::ALL {
            telemetry::housekept(chore.as_str(), 0);
        }
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            self.run().await;
            tokio::time::sleep(self.settings.interval).await;
        }
    }

    /// Does all chores once. One that fails is left for the next run, and the others are done.
    async fn run(&self) {
        let mut deleted = [0; Chore::ALL.len()];
        for (chore, deleted) in Chore::ALL.into_iter().zip(&mut deleted) {
            if let Err(outage) = self.finish(chore, deleted).await {
                report(chore, &outage);
            }
        }
        let [ended_denials, audit_rows] = deleted;
        if ended_denials > 0 || audit_rows > 0 {
            tracing::info!(
                event_type = "housekeeping",
                ended_denials,
                audit_rows,
                "deleted what need not be kept any more"
            );
        }
    }

    /// Deletes batch by batch until one is not full, and counts what is gone.
    async fn finish(&self, chore: Chore, deleted: &mut u64) -> Result<(), Unavailable> {
        let Some(before) = self.horizon(chore) else {
            return Ok(());
        };
        loop {
            let batch = self.delete(chore, before).await?;
            *deleted += batch;
            telemetry::housekept(chore.as_str(), batch);
            if batch < u64::from(BATCH) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The moment before which things are deleted; `None` where they are kept for ever.
    fn horizon(&self, chore: Chore) -> Option<Timestamp> {
        let kept = match chore {
            Chore::EndedDenials => Some(DENIALS_KEPT),
            Chore::OldAuditRows => self.settings.audit_retention,
        };
        kept.map(|kept| self.clock.now().minus(kept))
    }

    async fn delete(&self, chore: Chore, before: Timestamp) -> Result<u64, Unavailable> {
        match chore {
            Chore::EndedDenials => self.access_tokens.forget_denials(before, BATCH).await,
            Chore::OldAuditRows => self.audit_log.trim(before, BATCH).await,
        }
    }
}

fn report(chore: Chore, outage: &Unavailable) {
    tracing::error!(
        event_type = "unavailable",
        operation = outage.what,
        cause = %outage.source,
        chore = chore.as_str(),
        "housekeeping is put off until its next run"
    );
}

#[cfg(test)]
mod tests {
    use auth_domain::audit::AuditEvent;
    use auth_domain::ports::{AuditTrail as _, Denial};
    use auth_testkit::build;
    use auth_testkit::clock::{MockClock, START};
    use auth_testkit::fake::FakeStore;

    use super::*;

    const DAY: u32 = 86_400;

    fn at(seconds: u32) -> Timestamp {
        START.plus(Seconds::new(seconds))
    }

    fn housekeeper(store: &FakeStore, clock: &MockClock, audit_retention: Option<Seconds>) -> Housekeeper {
        Housekeeper {
            audit_log: Arc::new(store.clone()),
            access_tokens: Arc::new(store.clone()),
            clock: Arc::new(clock.clone()),
            settings: Housekeeping {
                audit_retention,
                interval: Duration::from_hours(1),
            },
        }
    }

    /// A store with an audit row for each of so many seconds from the start.
    async fn store(rows: u32) -> FakeStore {
        let store = FakeStore::default();
        for second in 0..rows {
            let row = build::audit_at(at(second), &second.to_string(), AuditEvent::PasswordChange {});
            store.record(row).await.unwrap();
        }
        store
    }

    #[tokio::test(start_paused = true)]
    async fn rows_past_their_retention_go_in_small_batches_and_the_others_stay() {
        let store = store(1_300).await;
        let clock = MockClock::at(at(DAY + 1_200));
        let calls = store.outage.calls();
        let begun = tokio::time::Instant::now();
        housekeeper(&store, &clock, Some(Seconds::new(DAY))).run().await;
        let left: Vec<_> = store.audit_trail().iter().map(|row| row.at).collect();
        assert_eq!((left.len(), left.first()), (100, Some(&at(1_200))));
        assert_eq!(
            store.outage.calls() - calls,
            1 + 3,
            "one call for no denials, three batches"
        );
        assert_eq!(
            begun.elapsed(),
            PAUSE * 2,
            "the writer is left alone between two batches"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_retention_every_row_stays() {
        let store = store(3).await;
        let clock = MockClock::at(Timestamp::from_micros(i64::MAX));
        housekeeper(&store, &clock, None).run().await;
        assert_eq!(store.audit_trail().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_forgotten_a_day_after_its_end() {
        let store = FakeStore::default();
        store.put_user(build::user(build::ALICE));
        store.put_client(build::flutter_client());
        let jti_hash = build::jti_hash("token");
        let denial = Denial {
            jti_hash,
            until: at(900),
        };
        let audit = build::audit("deny", AuditEvent::AccessTokenDenied { expires_at: 900 });
        store.deny(denial, audit).await.unwrap();
        let clock = MockClock::at(at(900 + DAY));
        let housekeeper = housekeeper(&store, &clock, None);
        housekeeper.run().await;
        assert_eq!(store.denials(), 1);
        clock.set(at(901 + DAY));
        housekeeper.run().await;
        assert_eq!(store.denials(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chore_that_fails_is_put_off_and_the_other_is_done() {
        let store = store(3).await;
        let clock = MockClock::at(at(2 * DAY));
        let housekeeper = housekeeper(&store, &clock, Some(Seconds::new(DAY)));
        store.outage.begin();
        housekeeper.run().await;
        assert_eq!(store.audit_trail().len(), 3);
        store.outage.end();
        store.outage.fail_nth(1);
        housekeeper.run().await;
        assert_eq!(
            store.audit_trail().len(),
            0,
            "the first chore failed, the second did not"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn runs_begin_soon_after_the_start_and_come_again_until_the_end() {
        let store = FakeStore::default();
        let clock = MockClock::default();
        let retention = Some(Seconds::new(DAY));
        let calls = store.outage.calls();
        let tending = tokio::spawn(housekeeper(&store, &clock, retention).tend());
        let moments = [
            (Duration::from_secs(9), 0),
            (Duration::from_secs(2), 1),
            (Duration::from_secs(3_590), 1),
            (Duration::from_secs(20), 2),
            (Duration::from_hours(1), 3),
        ];
        for (passed, runs) in moments {
            tokio::time::sleep(passed).await;
            assert_eq!(store.outage.calls() - calls, 2 * runs, "two chores a run");
        }
        tending.abort();
        assert!(tending.await.unwrap_err().is_cancelled());
        tokio::time::sleep(Duration::from_hours(10)).await;
        assert_eq!(store.outage.calls() - calls, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_is_counted_by_its_kind() {
        let store = store(3).await;
        let clock = MockClock::at(at(2 * DAY));
        let (recorder, telemetry) = telemetry::Telemetry::local();
        let guard = metrics::set_default_local_recorder(&recorder);
        housekeeper(&store, &clock, Some(Seconds::new(DAY))).run().await;
        drop(guard);
        let text = telemetry.render();
        for line in [
            "auth_housekeeping_deleted_total{what=\"audit_rows\"} 3",
            "auth_housekeeping_deleted_total{what=\"ended_denials\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
