//! Users who send at a rate of their own, whatever the answers are and whenever they come (an open loop).
//!
//! Latency counts from when a request was due: whoever is answered late is seen to have waited, and so is everybody who
//! was due meanwhile.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::figures::{Figure, Run, float};
use super::users::{Answered, Doing, Target, User, histogram, micros, quantile_ms, tell_latencies};

/// Users who send at a given rate together, each its share of it, in turn.
pub(super) struct Crowd {
    users: Vec<User>,
    /// Requests a second, of all together.
    pub(super) rate: f64,
}

/// How long answers took, by what they were.
#[derive(Debug)]
pub(super) struct Paced {
    /// Those that were granted, from when they were due.
    pub(super) granted: Histogram<u64>,
    /// The same from when they were sent.
    pub(super) served: Histogram<u64>,
    /// Those that were turned away, from when they were sent.
    pub(super) turned_away: Histogram<u64>,
    /// Those that were due and could not be sent before it was over: how long they had waited by then.
    pub(super) unsent: Histogram<u64>,
    /// From the first to the last.
    pub(super) seconds: f64,
}

impl Crowd {
    /// Connects users; those that will refresh sign in, one after the other.
    pub(super) async fn connect(doing: Doing, target: &Target, count: usize, rate: f64) -> io::Result<Self> {
        let mut users = Vec::with_capacity(count);
        for (place, address) in target.addresses.iter().cycle().take(count).enumerate() {
            users.push(User::connect(doing, target, *address, place).await?);
        }
        Ok(Self { users, rate })
    }

    /// Lets all users send at their times until the deadline, each to the end of the request it has then.
    pub(super) async fn go_on_until(&mut self, deadline: Instant) -> io::Result<Paced> {
        let start = Instant::now();
        let (mut going, mut told) = (JoinSet::new(), Vec::with_capacity(self.users.len()));
        for user in self.users.drain(..) {
            let (tell, due) = unbounded_channel();
            told.push(tell);
            going.spawn(keep_pace(user, due, deadline));
        }
        let rate = self.rate;
        let ticking = thread::spawn(move || tick(start, rate, deadline, &told));
        let mut all = Paced::new()?;
        while let Some(ended) = going.join_next().await {
            let (user, seen) = ended.map_err(io::Error::other)??;
            self.users.push(user);
            all.add(&seen)?;
        }
        ticking
            .join()
            .map_err(|_| io::Error::other("the thread that keeps the time panicked"))?;
        all.seconds = start.elapsed().as_secs_f64();
        Ok(all)
    }
}

impl Paced {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            granted: histogram()?,
            served: histogram()?,
            turned_away: histogram()?,
            unsent: histogram()?,
            seconds: 0.0,
        })
    }

    /// Adds what was seen at another time.
    pub(super) fn add(&mut self, other: &Self) -> io::Result<()> {
        self.seconds += other.seconds;
        let add = |sum: &mut Histogram<u64>, more| sum.add(more).map_err(io::Error::other);
        add(&mut self.granted, &other.granted)?;
        add(&mut self.served, &other.served)?;
        add(&mut self.turned_away, &other.turned_away)?;
        add(&mut self.unsent, &other.unsent)
    }

    /// How many there were of all kinds.
    pub(super) fn due(&self) -> u64 {
        self.answered() + self.unsent.len()
    }

    pub(super) fn answered(&self) -> u64 {
        self.granted.len() + self.turned_away.len()
    }

    /// Latencies with those who could not even send: they have waited for so long at least.
    pub(super) fn waited(&self) -> io::Result<Histogram<u64>> {
        let mut all = self.granted.clone();
        all.add(&self.unsent).map_err(io::Error::other)?;
        Ok(all)
    }

    /// Tells a run what was seen.
    pub(super) fn tell(&self, run: &mut Run) -> io::Result<()> {
        run.put(
            Figure::RequestsPerSecond,
            float(self.granted.len()) / self.seconds,
        );
        run.put(Figure::OfferedPerSecond, float(self.due()) / self.seconds);
        run.put(
            Figure::RefusedShare,
            float(self.turned_away.len()) / float(self.answered()),
        );
        run.put(Figure::UnsentShare, float(self.unsent.len()) / float(self.due()));
        tell_latencies(&self.waited()?, run);
        if !self.served.is_empty() {
            run.put(Figure::ServedP99Ms, quantile_ms(&self.served, 0.99));
        }
        if !self.turned_away.is_empty() {
            run.put(Figure::RefusedP99Ms, quantile_ms(&self.turned_away, 0.99));
        }
        Ok(())
    }
}

/// Tells users in turn that they are due, each at its time, until the deadline.
fn tick(start: Instant, rate: f64, until: Instant, users: &[UnboundedSender<Instant>]) {
    for (count, user) in (0..).zip(users.iter().cycle()) {
        let due = due_time(start, rate, count);
        if due >= until {
            return;
        }
        wait_until(due);
        // A user that has failed is gone; its error says why.
        if user.send(due).is_err() {
            return;
        }
    }
}

/// When a request is due after so many others; counted from the start, so that nothing adds up.
fn due_time(start: Instant, rate: f64, count: u32) -> Instant {
    start + Duration::from_secs_f64(f64::from(count) / rate)
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is due at a time has no other event to wait for; a runtime's timer would be late by up to a millisecond"
)]
fn wait_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// Sends what is due. What is due while the last one is unanswered waits.
async fn keep_pace(
    mut user: User,
    mut dues: UnboundedReceiver<Instant>,
    deadline: Instant,
) -> io::Result<(User, Paced)> {
    let mut seen = Paced::new()?;
    while let Some(due) = dues.recv().await {
        let sent = Instant::now();
        if sent >= deadline {
            seen.unsent.saturating_record(micros(sent - due));
            continue;
        }
        match user.ask().await? {
            Answered::Granted => {
                seen.granted.saturating_record(micros(due.elapsed()));
                seen.served.saturating_record(micros(sent.elapsed()));
            }
            Answered::TurnedAway => seen.turned_away.saturating_record(micros(sent.elapsed())),
        }
    }
    Ok((user, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_is_due_by_the_rate_and_not_by_the_answer() {
        let start = Instant::now();
        assert_eq!(due_time(start, 200.0, 0), start);
        assert_eq!(due_time(start, 200.0, 1), start + Duration::from_millis(5));
        assert_eq!(due_time(start, 200.0, 200), start + Duration::from_secs(1));
    }

    #[test]
    fn users_are_told_in_turn_until_the_deadline() {
        let (first, mut of_first) = unbounded_channel();
        let (second, mut of_second) = unbounded_channel();
        let start = Instant::now();
        tick(
            start,
            1_000.0,
            start + Duration::from_micros(2_500),
            &[first, second],
        );
        let due = |count| due_time(start, 1_000.0, count);
        assert_eq!(
            [of_first.try_recv(), of_second.try_recv()],
            [Ok(due(0)), Ok(due(1))]
        );
        assert_eq!(of_first.try_recv(), Ok(due(2)));
        assert!(of_second.try_recv().is_err());
    }

    #[test]
    fn who_could_not_send_has_waited_too() {
        let mut seen = Paced::new().unwrap();
        seen.seconds = 2.0;
        seen.granted.record(1_000).unwrap();
        seen.turned_away.record(500).unwrap();
        seen.unsent.record(9_000).unwrap();
        seen.unsent.record(9_000).unwrap();
        let mut run = Run::default();
        seen.tell(&mut run).unwrap();
        assert_eq!(run.figure(Figure::OfferedPerSecond), Some(2.0));
        assert_eq!(run.figure(Figure::RequestsPerSecond), Some(0.5));
        assert_eq!(run.figure(Figure::RefusedShare), Some(0.5));
        assert_eq!(run.figure(Figure::UnsentShare), Some(0.5));
        assert!(run.figure(Figure::P50Ms).unwrap() > 8.9, "{run:?}");
    }
}
