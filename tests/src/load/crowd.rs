//! Users who send at a rate of their own, whatever the answers are and whenever they come.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::users::{Answered, Scenario, User, histogram};

/// Users who send at a given rate together, each its share of it, in turn.
pub(super) struct Crowd {
    users: Vec<User>,
    /// Requests a second, of all together.
    rate: f64,
}

/// How long answers took, by what they were.
pub(super) struct Paced {
    pub(super) granted: Histogram<u64>,
    pub(super) turned_away: Histogram<u64>,
}

impl Crowd {
    /// Connects users; those that will refresh sign in, one after the other.
    pub(super) async fn connect(
        scenario: Scenario,
        address: SocketAddr,
        count: usize,
        rate: f64,
    ) -> io::Result<Self> {
        let mut users = Vec::with_capacity(count);
        for _ in 0..count {
            users.push(User::connect(scenario, address).await?);
        }
        Ok(Self { users, rate })
    }

    /// Lets all users send at their times until the deadline, each to the end of the request it has then.
    pub(super) async fn go_on_until(&mut self, deadline: Instant) -> io::Result<Paced> {
        let start = Instant::now();
        let between = Duration::from_secs_f64(1.0 / self.rate);
        let count = u32::try_from(self.users.len()).map_err(io::Error::other)?;
        let mut going = JoinSet::new();
        for (place, user) in (0..count).zip(self.users.drain(..)) {
            let first = start + between * place;
            going.spawn(keep_pace(user, first, between * count, deadline));
        }
        let mut all = Paced::new()?;
        while let Some(ended) = going.join_next().await {
            let (user, seen) = ended.map_err(io::Error::other)??;
            self.users.push(user);
            all.add(&seen)?;
        }
        Ok(all)
    }
}

impl Paced {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            granted: histogram()?,
            turned_away: histogram()?,
        })
    }

    pub(super) fn add(&mut self, other: &Self) -> io::Result<()> {
        self.granted.add(&other.granted).map_err(io::Error::other)?;
        self.turned_away.add(&other.turned_away).map_err(io::Error::other)
    }

    fn record(&mut self, answered: Answered, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match answered {
            Answered::Granted => self.granted.saturating_record(micros),
            Answered::TurnedAway => self.turned_away.saturating_record(micros),
        }
    }
}

/// Sends at the given times. A request that is due while the last one is still unanswered has waited since then.
async fn keep_pace(
    mut user: User,
    first: Instant,
    every: Duration,
    deadline: Instant,
) -> io::Result<(User, Paced)> {
    let mut seen = Paced::new()?;
    let mut due = first;
    while due < deadline {
        let waited_for_answer = Instant::now() > due;
        sleep_until(due.into()).await;
        // The timer's own lateness is not the server's.
        let asked = if waited_for_answer { due } else { Instant::now() };
        let answered = user.ask().await?;
        seen.record(answered, asked.elapsed());
        due += every;
    }
    Ok((user, seen))
}
