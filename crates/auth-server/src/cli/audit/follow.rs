//! Rows as they come: the end of the trail read again and again, each row told once.
//!
//! A row's key carries the time at which its request began, and the row is stored when the request is done. So a row
//! can appear below one that was seen before; going on after the last key would miss it. What is read again therefore
//! begins some time back, and what was told of it is remembered.

use std::collections::HashSet;
use std::time::Duration;

use auth_domain::id::RowId;
use auth_domain::ports::Unavailable;
use auth_domain::ports::admin::{AuditEntry, AuditFilter, AuditLog};
use auth_domain::time::{Seconds, Timestamp};

/// How often the trail is read.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long after it began a request may still store its row: longer than the longest `REQUEST_TIMEOUT`.
const LATENESS: Seconds = Seconds::new(360);
/// How many rows are read at a time.
const PAGE: u32 = 1_000;

/// What has been told, as far back as rows may still come.
pub(super) struct Follower {
    filter: AuditFilter,
    told: HashSet<RowId>,
}

impl Follower {
    /// Begins with the last rows, and gives them.
    ///
    /// # Errors
    /// Where the trail can't be read.
    pub(super) async fn start(
        log: &dyn AuditLog,
        filter: AuditFilter,
        now: Timestamp,
        lines: u32,
    ) -> Result<(Self, Vec<AuditEntry>), Unavailable> {
        let mut follower = Self {
            filter,
            told: HashSet::new(),
        };
        // First those that are old news, then the last: a row that comes in between is told by the next poll.
        follower.poll(log, now).await?;
        let last = log.tail(&follower.filter, lines).await?;
        follower.told.extend(last.iter().map(|row| row.id));
        Ok((follower, last))
    }

    /// The rows that have come since, in the order of their keys.
    ///
    /// # Errors
    /// Where the trail can't be read.
    pub(super) async fn poll(
        &mut self,
        log: &dyn AuditLog,
        now: Timestamp,
    ) -> Result<Vec<AuditEntry>, Unavailable> {
        let horizon = now.minus(LATENESS);
        let mut page = AuditFilter {
            since: Some(self.filter.since.map_or(horizon, |since| since.max(horizon))),
            ..self.filter.clone()
        };
        let (mut news, mut present) = (Vec::new(), HashSet::new());
        loop {
            let rows = log.search(&page, PAGE).await?;
            let Some(last) = rows.last() else { break };
            page.after = Some(last.id);
            present.extend(rows.iter().map(|row| row.id));
            news.extend(rows.into_iter().filter(|row| !self.told.contains(&row.id)));
        }
        // Whatever has fallen behind the horizon is not read again, and need not be remembered.
        self.told = present;
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use auth_domain::audit::AuditEvent;
    use auth_domain::ports::AuditTrail as _;
    use auth_testkit::build;
    use auth_testkit::clock::START;
    use auth_testkit::fake::FakeStore;

    use super::*;

    fn at(seconds: u32) -> Timestamp {
        START.plus(Seconds::new(seconds))
    }

    async fn write(store: &FakeStore, seconds: u32, text: &str) {
        let mut row = build::audit_at(at(seconds), text, AuditEvent::PasswordChange {});
        row.context.correlation_id = text.to_owned();
        store.record(row).await.unwrap();
    }

    fn names(rows: &[AuditEntry]) -> Vec<&str> {
        rows.iter().map(|row| row.correlation_id.as_str()).collect()
    }

    #[tokio::test]
    async fn each_row_is_told_once_also_one_that_comes_below_another() {
        let store = FakeStore::default();
        for (second, text) in [(1, "one"), (2, "two"), (3, "three")] {
            write(&store, second, text).await;
        }
        let (mut follower, last) = Follower::start(&store, AuditFilter::default(), at(4), 2)
            .await
            .unwrap();
        assert_eq!(names(&last), ["two", "three"]);
        assert_eq!(names(&follower.poll(&store, at(4)).await.unwrap()), [""; 0]);
        write(&store, 5, "five").await;
        assert_eq!(names(&follower.poll(&store, at(5)).await.unwrap()), ["five"]);
        write(&store, 4, "late").await;
        write(&store, 6, "six").await;
        assert_eq!(
            names(&follower.poll(&store, at(6)).await.unwrap()),
            ["late", "six"]
        );
        assert_eq!(names(&follower.poll(&store, at(6)).await.unwrap()), [""; 0]);
    }

    #[tokio::test]
    async fn what_is_told_is_remembered_only_as_long_as_it_is_read_again() {
        let store = FakeStore::default();
        let (mut follower, _) = Follower::start(&store, AuditFilter::default(), at(0), 0)
            .await
            .unwrap();
        let most = usize::try_from(LATENESS.get()).unwrap() + 1;
        for second in 0..2 * LATENESS.get() {
            write(&store, second, &second.to_string()).await;
            let told = follower.poll(&store, at(second)).await.unwrap();
            assert_eq!(names(&told), [second.to_string()]);
            assert!(follower.told.len() <= most, "{}", follower.told.len());
        }
    }

    #[tokio::test]
    async fn only_what_the_filter_lets_through_is_told() {
        let store = FakeStore::default();
        let filter = AuditFilter {
            correlation_id: Some("wanted".to_owned()),
            since: Some(at(1)),
            ..AuditFilter::default()
        };
        let (mut follower, last) = Follower::start(&store, filter, at(0), 10).await.unwrap();
        assert!(last.is_empty());
        write(&store, 0, "wanted").await;
        write(&store, 1, "unwanted").await;
        write(&store, 2, "wanted").await;
        let told = follower.poll(&store, at(2)).await.unwrap();
        assert_eq!(told.iter().map(|row| row.at).collect::<Vec<_>>(), [at(2)]);
    }
}
