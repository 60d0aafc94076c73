//! Housekeeping: deletes what the store need not keep any more, in the background.
//!
//! Never at anybody's expense: a batch is small and a transaction of its own, and between two batches the writer
//! belongs to the requests. Of several instances one does it at a time, by a lease (ADR 0021).

use std::sync::Arc;
use std::time::Duration;

use auth_domain::id::{InstanceId, RowId};
use auth_domain::ports::admin::{AuditLog, Lease, Sweep, Swept, Upkeep};
use auth_domain::ports::{AccessTokens, Clock, Random, Unavailable};
use auth_domain::time::{Seconds, Timestamp};
use auth_storage::Store;
use tokio::time::Instant;

use crate::settings::Housekeeping;
use crate::telemetry;

/// How long after the start the first run begins: the first requests have the machine to themselves.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// How long the writer is left alone after a batch.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the readers are, after a batch in which nothing was to be deleted.
const PAUSE_AFTER_LOOKING: Duration = Duration::from_millis(10);
/// How long a denial is kept after its end: a clock that is set back by less revives no token.
const DENIALS_KEPT: Seconds = Seconds::new(86_400);
/// The name of the lease.
const LEASE: &str = "housekeeping";
/// How long the lease lasts, and by how much more another's may end before it is taken for that of a wrong clock. It is
/// prolonged each minute or batch, whichever is longer; so clocks of instances may differ by minutes before one takes it
/// from another that works, and then both do what either may do.
const LEASE_LASTS: Seconds = Seconds::new(300);
/// How old a lease is when it is prolonged.
const PROLONG_AFTER: Duration = Duration::from_mins(1);

/// One kind of thing that is deleted when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chore {
    /// Denials of access tokens that have expired anyway.
    EndedDenials,
    /// Audit rows past their retention.
    OldAuditRows,
    /// Refresh tokens that expired long ago.
    ExpiredTokens,
    /// Sessions whose last token did.
    ExpiredSessions,
}

impl Chore {
    const ALL: [Self; 4] = [
        Self::EndedDenials,
        Self::OldAuditRows,
        Self::ExpiredTokens,
        Self::ExpiredSessions,
    ];

    /// Its name in metrics and logs.
    const fn as_str(self) -> &'static str {
        match self {
            Self::EndedDenials => "ended_denials",
            Self::OldAuditRows => "audit_rows",
            Self::ExpiredTokens => "refresh_tokens",
            Self::ExpiredSessions => "sessions",
        }
    }
}

/// What a batch has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// Of what is kept in the order of time, what comes after this row.
    After(Option<RowId>),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Everything was done.
    Finished,
    /// A chore failed and was put off.
    Incomplete,
    /// The lease is another's by now, or its fate unknown.
    LeaseLost,
}

/// What came of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// All was done, or is being done by another instance.
    Kept,
    /// Something failed.
    Missed,
}

/// The rounds that were missed since the last that was kept.
#[derive(Debug, Default)]
struct Missed(u32);

impl Missed {
    /// One is soon made up for; so many in a row is a fault that lasts.
    const MANY: u32 = 3;

    fn note(&mut self, round: Round) {
        let was_overdue = self.is_overdue();
        self.0 = match round {
            Round::Kept => 0,
            Round::Missed => self.0.saturating_add(1),
        };
        telemetry::housekeeping_overdue(self.is_overdue());
        match (was_overdue, self.is_overdue()) {
            (false, true) => tracing::warn!(
                event_type = "housekeeping",
                rounds = self.0,
                "housekeeping is overdue: what need not be kept any more is not deleted"
            ),
            (true, false) => tracing::info!(event_type = "housekeeping", "housekeeping is done again"),
            (false, false) | (true, true) => {}
        }
    }

    const fn is_overdue(&self) -> bool {
        self.0 >= Self::MANY
    }
}

/// Does the chores.
#[derive(Clone)]
pub struct Housekeeper {
    audit_log: Arc<dyn AuditLog>,
    access_tokens: Arc<dyn AccessTokens>,
    upkeep: Arc<dyn Upkeep>,
    clock: Arc<dyn Clock>,
    instance: InstanceId,
    settings: Housekeeping,
}

impl Housekeeper {
    /// A housekeeper of a store, under a name of its own.
    pub fn new(store: &Store, clock: Arc<dyn Clock>, random: &dyn Random, settings: Housekeeping) -> Self {
        Self {
            audit_log: Arc::clone(&store.audit_log),
            access_tokens: Arc::clone(&store.access_tokens),
            upkeep: Arc::clone(&store.upkeep),
            instance: InstanceId::generate(random, clock.now()),
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
        telemetry::housekeeping_begins_or_ends(false);
        tokio::time::sleep(FIRST_AFTER).await;
        let mut missed = Missed::default();
        loop {
            missed.note(self.run().await);
            tokio::time::sleep(self.settings.interval).await;
        }
    }

    /// Does all chores once, unless another instance is at it.
    async fn run(&self) -> Round {
        match self.take_lease().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!(
                    event_type = "housekeeping",
                    "another instance does the housekeeping"
                );
                return Round::Kept;
            }
            Err(outage) => {
                report(None, &outage);
                return Round::Missed;
            }
        }
        telemetry::housekeeping_begins_or_ends(true);
        let begun = Instant::now();
        let run = self.do_chores().await;
        if run != Run::LeaseLost
            && let Err(outage) = self.upkeep.give_back_lease(self.lease()).await
        {
            report(None, &outage);
        }
        telemetry::housekeeping_begins_or_ends(false);
        if run == Run::Finished {
            telemetry::housekeeping_finished(self.clock.now(), begun.elapsed());
        }
        match run {
            Run::Finished | Run::LeaseLost => Round::Kept,
            Run::Incomplete => Round::Missed,
        }
    }

    /// Does one chore after the other. One that fails is left for the next run, and the others are done.
    async fn do_chores(&self) -> Run {
        let mut run = Run::Finished;
        let mut deleted = [0; Chore::ALL.len()];
        let mut prolonged = Instant::now();
        for (chore, deleted) in Chore::ALL.into_iter().zip(&mut deleted) {
            match self.finish(chore, deleted, &mut prolonged).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(
                        event_type = "housekeeping",
                        chore = chore.as_str(),
                        "another instance has taken the housekeeping over"
                    );
                    run = Run::LeaseLost;
                    break;
                }
                Err(outage) => {
                    report(Some(chore), &outage);
                    run = Run::Incomplete;
                }
            }
        }
        note(deleted);
        run
    }

    /// Deletes batch by batch until nothing is left to do, and counts what is gone; `false` where the lease was lost
    /// on the way.
    async fn finish(
        &self,
        chore: Chore,
        deleted: &mut u64,
        prolonged: &mut Instant,
    ) -> Result<bool, Unavailable> {
        let Some(before) = self.horizon(chore) else {
            return Ok(true);
        };
        let mut after = None;
        loop {
            if prolonged.elapsed() >= PROLONG_AFTER {
                if !self.take_lease().await? {
                    return Ok(false);
                }
                *prolonged = Instant::now();
            }
            let (batch, rest) = self.do_batch(chore, before, after).await?;
            *deleted += batch;
            telemetry::housekept(chore.as_str(), batch);
            match rest {
                Rest::Nothing => return Ok(true),
                Rest::After(place) => after = place,
            }
            let pause = if batch > 0 { PAUSE } else { PAUSE_AFTER_LOOKING };
            tokio::time::sleep(pause).await;
        }
    }

    /// The moment before which things are deleted; `None` where they are kept for ever.
    fn horizon(&self, chore: Chore) -> Option<Timestamp> {
        let kept = match chore {
            Chore::EndedDenials => Some(DENIALS_KEPT),
            Chore::OldAuditRows => self.settings.audit_retention,
            Chore::ExpiredTokens | Chore::ExpiredSessions => Some(self.settings.expired_tokens_kept),
        };
        kept.map(|kept| self.clock.now().minus(kept))
    }

    /// Deletes a batch; says how much that was and what is left.
    async fn do_batch(
        &self,
        chore: Chore,
        before: Timestamp,
        after: Option<RowId>,
    ) -> Result<(u64, Rest), Unavailable> {
        let batch = self.settings.batch;
        let sweep = Sweep {
            after,
            expired_before: before,
            at_most: batch,
        };
        match chore {
            Chore::EndedDenials => self
                .access_tokens
                .forget_denials(before, batch)
                .await
                .map(|deleted| self.of_deleted(deleted)),
            Chore::OldAuditRows => self
                .audit_log
                .trim(before, batch)
                .await
                .map(|deleted| self.of_deleted(deleted)),
            Chore::ExpiredTokens => self.upkeep.sweep_tokens(sweep).await.map(of_swept),
            Chore::ExpiredSessions => self.upkeep.sweep_sessions(sweep).await.map(of_swept),
        }
    }

    /// Where only what is to go is looked for, a batch that is not full is the last.
    fn of_deleted(&self, deleted: u64) -> (u64, Rest) {
        if deleted < u64::from(self.settings.batch) {
            (deleted, Rest::Nothing)
        } else {
            (deleted, Rest::After(None))
        }
    }

    fn lease(&self) -> Lease {
        Lease {
            name: LEASE,
            holder: self.instance,
            until: self.clock.now().plus(LEASE_LASTS),
        }
    }

    /// Takes the lease, or prolongs it.
    async fn take_lease(&self) -> Result<bool, Unavailable> {
        self.upkeep.take_lease(self.lease(), self.clock.now()).await
    }
}

fn of_swept(swept: Swept) -> (u64, Rest) {
    let rest = swept.next.map_or(Rest::Nothing, |place| Rest::After(Some(place)));
    (swept.deleted, rest)
}

fn note(deleted: [u64; Chore::ALL.len()]) {
    let [ended_denials, audit_rows, refresh_tokens, sessions] = deleted;
    if deleted.iter().any(|count| *count > 0) {
        tracing::info!(
            event_type = "housekeeping",
            ended_denials,
            audit_rows,
            refresh_tokens,
            sessions,
            "deleted what need not be kept any more"
        );
    }
}

fn report(chore: Option<Chore>, outage: &Unavailable) {
    tracing::error!(
        event_type = "unavailable",
        operation = outage.what,
        cause = %outage.source,
        chore = chore.map(Chore::as_str),
        "housekeeping is put off until its next run"
    );
}

#[cfg(test)]
mod tests {
    use auth_domain::audit::AuditEvent;
    use auth_domain::id::SessionId;
    use auth_domain::ports::{AuditTrail as _, Denial, Sessions as _};
    use auth_testkit::build;
    use auth_testkit::clock::{MockClock, START};
    use auth_testkit::fake::FakeStore;

    use super::*;

    const DAY: u32 = 86_400;
    /// What a run asks of the store beside the audit trail, where nothing is to be done: for the lease, once for each
    /// other chore, and to give the lease back.
    const OTHER_CALLS: u64 = 5;

    fn at(seconds: u32) -> Timestamp {
        START.plus(Seconds::new(seconds))
    }

    fn instance(text: &str) -> InstanceId {
        InstanceId::from_uuid(build::uuid(text))
    }

    fn housekeeper(store: &FakeStore, clock: &MockClock, audit_retention: Option<Seconds>) -> Housekeeper {
        Housekeeper {
            audit_log: Arc::new(store.clone()),
            access_tokens: Arc::new(store.clone()),
            upkeep: Arc::new(store.clone()),
            clock: Arc::new(clock.clone()),
            instance: instance("one"),
            settings: Housekeeping {
                audit_retention,
                expired_tokens_kept: Seconds::new(7 * DAY),
                interval: Duration::from_hours(1),
                batch: 500,
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
        let begun = Instant::now();
        housekeeper(&store, &clock, Some(Seconds::new(DAY))).run().await;
        let left: Vec<_> = store.audit_trail().iter().map(|row| row.at).collect();
        assert_eq!((left.len(), left.first()), (100, Some(&at(1_200))));
        assert_eq!(
            store.outage.calls() - calls,
            OTHER_CALLS + 3,
            "three batches of audit rows"
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
        store.outage.fail_nth(2);
        housekeeper.run().await;
        assert_eq!(
            store.audit_trail().len(),
            0,
            "the first chore failed, the second did not"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_in_which_something_failed_is_missed_and_one_that_another_instance_does_is_not() {
        let store = store(1).await;
        let clock = MockClock::at(at(2 * DAY));
        let one = housekeeper(&store, &clock, None);
        assert_eq!(one.run().await, Round::Kept);
        store.outage.begin();
        assert_eq!(one.run().await, Round::Missed);
        store.outage.end();
        store.outage.fail_nth(2);
        assert_eq!(one.run().await, Round::Missed, "one chore failed");
        let other = Housekeeper {
            instance: instance("other"),
            ..one.clone()
        };
        assert!(other.take_lease().await.unwrap());
        assert_eq!(one.run().await, Round::Kept);
    }

    #[test]
    fn housekeeping_is_overdue_after_three_missed_rounds_until_one_is_kept() {
        let (recorder, telemetry) = telemetry::Telemetry::local();
        let mut missed = Missed::default();
        let mut note = |round| {
            metrics::with_local_recorder(&recorder, || missed.note(round));
            telemetry.render().contains("auth_housekeeping_overdue 1\n")
        };
        let rounds = [
            Round::Missed,
            Round::Missed,
            Round::Missed,
            Round::Missed,
            Round::Kept,
            Round::Missed,
        ];
        assert_eq!(rounds.map(&mut note), [false, false, true, true, false, false]);
    }

    /// Signs alice in so many seconds after the start, by a token that expires at the given one.
    async fn sign_in(store: &FakeStore, text: &str, issued: u32, expires: u32) -> SessionId {
        let (user, client) = (build::user(build::ALICE), build::flutter_client());
        let mut session = build::new_session(text, &user, &client);
        session.first.issued_at = at(issued);
        session.first.expires_at = at(expires);
        let id = session.id;
        let audit = build::audit(text, AuditEvent::PasswordChange {});
        store.open(session, audit).await.unwrap();
        id
    }

    fn inhabited() -> FakeStore {
        let store = FakeStore::default();
        store.put_user(build::user(build::ALICE));
        store.put_client(build::flutter_client());
        store
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_and_sessions_go_seven_days_after_they_expired() {
        let store = inhabited();
        let old = sign_in(&store, "old", 0, 100).await;
        let young = sign_in(&store, "young", 1, 101).await;
        let clock = MockClock::at(at(100 + 7 * DAY));
        let housekeeper = housekeeper(&store, &clock, None);
        housekeeper.run().await;
        assert!(store.session(old).is_some(), "not at the moment itself");
        clock.set(at(101 + 7 * DAY));
        housekeeper.run().await;
        assert_eq!((store.session(old), store.history(old).len()), (None, 0));
        assert_eq!(store.history(young).len(), 1);
        assert!(store.session(young).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_is_swept_in_batches_and_the_writer_left_alone_only_after_deletions() {
        let store = inhabited();
        for second in 0..1_200 {
            // The first batch is all old, the second has nothing to delete, the third is both.
            let expires = if (500..1_100).contains(&second) {
                30 * DAY
            } else {
                2_000
            };
            sign_in(&store, &second.to_string(), second, expires).await;
        }
        let clock = MockClock::at(at(2_001 + 7 * DAY));
        let begun = Instant::now();
        let mut one = housekeeper(&store, &clock, None);
        one.settings.audit_retention = None;
        one.run().await;
        let each = PAUSE + PAUSE_AFTER_LOOKING;
        assert_eq!(begun.elapsed(), each * 2, "for tokens, and again for sessions");
        let left =
            (0..1_200).filter(|second| store.session(build::session_id(&second.to_string())).is_some());
        assert_eq!(left.collect::<Vec<_>>(), (500..1_100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn while_another_instance_does_it_nothing_is_done() {
        let store = store(3).await;
        let clock = MockClock::at(at(2 * DAY));
        let housekeeper = housekeeper(&store, &clock, Some(Seconds::new(DAY)));
        let others = |until| Lease {
            name: LEASE,
            holder: instance("other"),
            until,
        };
        let taken = store.take_lease(others(at(2 * DAY + 60)), at(2 * DAY)).await;
        assert!(taken.unwrap());
        let calls = store.outage.calls();
        housekeeper.run().await;
        assert_eq!(store.audit_trail().len(), 3);
        assert_eq!(store.outage.calls() - calls, 1, "it only asked for the lease");
        clock.set(at(2 * DAY + 61));
        housekeeper.run().await;
        assert_eq!(store.audit_trail().len(), 0, "the other must be gone");
        let taken = store.take_lease(others(at(3 * DAY)), clock.now()).await;
        assert!(taken.unwrap(), "it was given back when all was done");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_lost_the_lease_stops() {
        let store = store(6_000).await;
        let clock = MockClock::at(at(2 * DAY));
        let mut slow = housekeeper(&store, &clock, Some(Seconds::new(DAY)));
        slow.settings.batch = 5;
        let working = tokio::spawn(async move { slow.run().await });
        tokio::time::sleep(Duration::from_secs(30)).await;
        let left = store.audit_trail().len();
        assert!((1..6_000).contains(&left), "it is at work: {left}");
        // The clocks differ by as much as the lease lasts.
        let now = at(2 * DAY + 301);
        let others = Lease {
            name: LEASE,
            holder: instance("other"),
            until: at(2 * DAY + 600),
        };
        assert!(store.take_lease(others, now).await.unwrap());
        working.await.unwrap();
        let left = store.audit_trail().len();
        assert!((1..6_000).contains(&left), "it did not finish: {left}");
        assert!(
            !store
                .take_lease(
                    Lease {
                        holder: instance("third"),
                        ..others
                    },
                    now
                )
                .await
                .unwrap()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_of_a_clock_that_is_a_year_ahead_stops_nobody() {
        let store = store(3).await;
        let clock = MockClock::at(at(2 * DAY));
        let left_behind = Lease {
            name: LEASE,
            holder: instance("other"),
            until: at(367 * DAY).plus(LEASE_LASTS),
        };
        assert!(store.take_lease(left_behind, at(367 * DAY)).await.unwrap());
        housekeeper(&store, &clock, Some(Seconds::new(DAY))).run().await;
        assert_eq!(store.audit_trail().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_works_for_long_keeps_the_lease() {
        let store = store(6_000).await;
        let clock = MockClock::at(at(2 * DAY));
        let mut slow = housekeeper(&store, &clock, Some(Seconds::new(DAY)));
        slow.settings.batch = 1;
        let working = tokio::spawn(async move { slow.run().await });
        for minute in 1..=9 {
            tokio::time::sleep(Duration::from_mins(1)).await;
            clock.set(at(2 * DAY + 60 * minute));
            let lease = Lease {
                name: LEASE,
                holder: instance("other"),
                until: at(4 * DAY),
            };
            assert!(
                !store.take_lease(lease, clock.now()).await.unwrap(),
                "minute {minute}"
            );
        }
        working.await.unwrap();
        assert_eq!(store.audit_trail().len(), 0);
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
            assert_eq!(store.outage.calls() - calls, (OTHER_CALLS + 1) * runs);
        }
        tending.abort();
        assert!(tending.await.unwrap_err().is_cancelled());
        tokio::time::sleep(Duration::from_hours(10)).await;
        assert_eq!(store.outage.calls() - calls, (OTHER_CALLS + 1) * 3);
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
            "auth_housekeeping_deleted_total{what=\"refresh_tokens\"} 0",
            "auth_housekeeping_deleted_total{what=\"sessions\"} 0",
            "auth_housekeeping_active 0",
            "auth_housekeeping_duration_seconds 0",
            &format!(
                "auth_housekeeping_finished_timestamp_seconds {}",
                at(2 * DAY).unix_seconds()
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
