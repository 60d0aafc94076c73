//! Virtual users: each has one connection, and sends its next request when it has the answer to the last one.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::figures::{Figure, Run, float};
use crate::client::FLUTTER;
use crate::installation::ADMIN_PASSWORD;
use crate::wire::{self, Connection};

/// The longest latency that is told apart from longer ones: a minute, in microseconds.
const LONGEST_US: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// A connection that has been idle for longer is opened anew: the server closes one after 75 s.
const IDLE_AT_MOST: Duration = Duration::from_secs(30);
/// The confidential client that asks what tokens stand for.
pub(super) const RESOURCE_SERVER: &str = "bench-resource-server";
/// Of a hundred requests of a mixed user, so many are of each kind; the rest are refreshes.
const MIXED: [(Act, usize); 4] = [
    (Act::Login, 1),
    (Act::Revoke, 2),
    (Act::Introspect, 10),
    (Act::Jwks, 15),
];

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The next rotation of a chain.
    Refresh,
    /// The password grant.
    Login,
    /// The key set.
    Jwks,
    /// The end of an access token.
    Revoke,
    /// What an access token stands for.
    Introspect,
}

/// What a user does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// One thing.
    Only(Act),
    /// Everything: 72 refreshes, 15 fetches of the key set, 10 introspections, 2 revocations and 1 sign-in of a hundred.
    Mixed,
}

/// Where users go, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The instances of the server; each user goes to one of them.
    pub addresses: Vec<SocketAddr>,
    /// The secret of the client that may introspect, where there is one.
    pub secret: String,
    /// How many chains each user refreshes by turns.
    pub chains_each: usize,
    /// How many access tokens each user who revokes has before each run.
    pub tokens_each: usize,
}

/// A number of users with their connections, and with chains of their own where they refresh.
#[derive(Debug)]
pub struct Users(Vec<User>);

/// A user with a connection.
#[derive(Debug)]
pub(super) struct User {
    doing: Doing,
    address: SocketAddr,
    secret: String,
    connection: Connection,
    used_last: Instant,
    act: Act,
    request: Vec<u8>,
    done: usize,
    /// How many access tokens it has before each run, where it revokes them.
    tokens: usize,
    /// The refresh token of each chain; the one that is used next comes first.
    chains: VecDeque<String>,
    /// Access tokens that nothing has been done with; the newest comes last.
    access: Vec<String>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// 200.
    Granted,
    /// 429 or 503: the server has no room.
    TurnedAway,
}

/// What users have seen in some time.
#[derive(Debug)]
pub struct Seen {
    /// How many requests were granted.
    pub requests: u64,
    /// How many were turned away.
    pub turned_away: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// How long each answer took, in microseconds.
    pub latencies: Histogram<u64>,
}

impl Target {
    /// A server whose users have one chain each.
    pub fn of(address: SocketAddr) -> Self {
        Self {
            addresses: vec![address],
            secret: String::new(),
            chains_each: 1,
            tokens_each: 0,
        }
    }
}

impl Users {
    /// Connects users; those that will refresh, introspect or revoke sign in, one after the other.
    ///
    /// # Errors
    /// Where the server refuses one.
    pub async fn connect(doing: Doing, target: &Target, count: usize) -> io::Result<Self> {
        let mut users = Vec::with_capacity(count);
        for (place, address) in target.addresses.iter().cycle().take(count).enumerate() {
            users.push(User::connect(doing, target, *address, place).await?);
        }
        Ok(Self(users))
    }

    /// Connects them again, after the server has been away.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn connect_again(&mut self) -> io::Result<()> {
        for user in &mut self.0 {
            user.connect_again().await?;
        }
        Ok(())
    }

    /// Has those who revoke refresh until they have as many access tokens as they are to have, and others not.
    ///
    /// # Errors
    /// Where the server refuses a refresh.
    pub async fn stock_up(&mut self) -> io::Result<()> {
        let mut going = JoinSet::new();
        for mut user in self.0.drain(..) {
            going.spawn(async move { user.stock_up().await.map(|()| user) });
        }
        while let Some(ended) = going.join_next().await {
            self.0.push(ended.map_err(io::Error::other)??);
        }
        Ok(())
    }

    /// Lets all users go on until the deadline, each to the end of the request it has then, or to the end of its stock.
    ///
    /// # Errors
    /// The first answer that neither grants nor turns away: a measurement with failures in it means nothing.
    pub async fn go_on_until(&mut self, deadline: Instant) -> io::Result<Seen> {
        let start = Instant::now();
        let mut going = JoinSet::new();
        for user in self.0.drain(..) {
            going.spawn(user.go_on_until(deadline));
        }
        let (mut latencies, mut turned_away) = (histogram()?, 0);
        while let Some(ended) = going.join_next().await {
            let (user, seen, refused) = ended.map_err(io::Error::other)??;
            self.0.push(user);
            turned_away += refused;
            latencies.add(&seen).map_err(io::Error::other)?;
        }
        Ok(Seen {
            requests: latencies.len(),
            turned_away,
            seconds: start.elapsed().as_secs_f64(),
            latencies,
        })
    }
}

impl Seen {
    /// Granted requests a second.
    pub fn per_second(&self) -> f64 {
        float(self.requests) / self.seconds
    }

    /// Tells a run how many there were and how long they took.
    pub fn tell(&self, run: &mut Run) {
        run.put(Figure::RequestsPerSecond, self.per_second());
        if self.turned_away > 0 {
            let all = self.requests + self.turned_away;
            run.put(Figure::RefusedShare, float(self.turned_away) / float(all));
        }
        tell_latencies(&self.latencies, run);
    }
}

/// Tells a run how long answers took; where there was none, nothing.
pub(super) fn tell_latencies(seen: &Histogram<u64>, run: &mut Run) {
    if seen.is_empty() {
        return;
    }
    run.put(Figure::P50Ms, quantile_ms(seen, 0.5));
    run.put(Figure::P95Ms, quantile_ms(seen, 0.95));
    run.put(Figure::P99Ms, quantile_ms(seen, 0.99));
    run.put(Figure::MaxMs, float(seen.max()) / 1_000.0);
}

/// The latency, in milliseconds, that such a share of the answers did not exceed.
pub(super) fn quantile_ms(seen: &Histogram<u64>, quantile: f64) -> f64 {
    float(seen.value_at_quantile(quantile)) / 1_000.0
}

impl User {
    /// Connects the user of some place among all; who will refresh, introspect or revoke signs in.
    pub(super) async fn connect(
        doing: Doing,
        target: &Target,
        address: SocketAddr,
        place: usize,
    ) -> io::Result<Self> {
        let mut user = Self {
            doing,
            address,
            secret: target.secret.clone(),
            connection: Connection::open(address).await?,
            used_last: Instant::now(),
            act: Act::Login,
            request: sign_in(address),
            // So that mixed users do not all do the same at the same time.
            done: place,
            tokens: target.tokens_each,
            chains: VecDeque::new(),
            access: Vec::new(),
        };
        if !matches!(doing, Doing::Only(Act::Login | Act::Jwks)) {
            for _ in 0..target.chains_each {
                user.succeed().await?;
            }
        }
        user.think_of(doing.act(place))?;
        Ok(user)
    }

    async fn go_on_until(mut self, deadline: Instant) -> io::Result<(Self, Histogram<u64>, u64)> {
        let (mut latencies, mut refused) = (histogram()?, 0);
        let mut sent = Instant::now();
        while sent < deadline && self.has_something_to_do() {
            let answered = self.ask().await?;
            let now = Instant::now();
            match answered {
                Answered::Granted => latencies.saturating_record(micros(now - sent)),
                Answered::TurnedAway => {
                    refused += 1;
                    self.go_on_to_the_next()?;
                }
            }
            sent = now;
        }
        Ok((self, latencies, refused))
    }

    fn has_something_to_do(&self) -> bool {
        self.doing != Doing::Only(Act::Revoke) || !self.access.is_empty()
    }

    async fn stock_up(&mut self) -> io::Result<()> {
        if self.doing != Doing::Only(Act::Revoke) {
            return Ok(());
        }
        while self.access.len() < self.tokens {
            self.think_of(Act::Refresh)?;
            self.succeed().await?;
        }
        self.think_of(Act::Revoke)
    }

    /// One request and its answer. Where it was granted, the user knows its next request; else it is the same again.
    pub(super) async fn ask(&mut self) -> io::Result<Answered> {
        let answered = self.send().await?;
        if answered == Answered::Granted {
            self.go_on_to_the_next()?;
        }
        Ok(answered)
    }

    fn go_on_to_the_next(&mut self) -> io::Result<()> {
        self.done += 1;
        // Who has nothing left to revoke is at its end, and has no next request.
        if self.has_something_to_do() {
            self.think_of(self.doing.act(self.done))?;
        }
        Ok(())
    }

    async fn succeed(&mut self) -> io::Result<()> {
        match self.send().await? {
            Answered::Granted => Ok(()),
            Answered::TurnedAway => Err(io::Error::other("turned away: there was no room")),
        }
    }

    async fn connect_again(&mut self) -> io::Result<()> {
        self.connection = Connection::open(self.address).await?;
        Ok(())
    }

    async fn send(&mut self) -> io::Result<Answered> {
        let now = Instant::now();
        if now - self.used_last > IDLE_AT_MOST {
            self.connect_again().await?;
        }
        self.used_last = now;
        let reply = self.connection.exchange(&self.request).await?;
        match reply.status {
            200 => {}
            429 | 503 => return Ok(Answered::TurnedAway),
            status => {
                let body = String::from_utf8_lossy(reply.body);
                return Err(io::Error::other(format!("answered by {status}: {body}")));
            }
        }
        match self.act {
            Act::Jwks | Act::Introspect => {}
            Act::Revoke => drop(self.access.pop()),
            Act::Refresh | Act::Login => {
                let refresh = member(reply.body, wire::refresh_token)?;
                let kept = match self.doing {
                    Doing::Only(Act::Refresh | Act::Login) => None,
                    Doing::Only(_) | Doing::Mixed => Some(member(reply.body, wire::access_token)?),
                };
                self.keep(refresh, kept);
            }
        }
        Ok(Answered::Granted)
    }

    fn keep(&mut self, refresh: String, access: Option<String>) {
        match (self.act, self.doing) {
            (Act::Refresh, _) | (Act::Login, Doing::Mixed) => drop(self.chains.pop_front()),
            // Who only signs in has no use for chains.
            (Act::Login, Doing::Only(Act::Login)) => return,
            _ => {}
        }
        self.chains.push_back(refresh);
        if self.doing != Doing::Only(Act::Revoke) {
            self.access.clear();
        }
        self.access.extend(access);
    }

    /// Makes a request ready.
    fn think_of(&mut self, act: Act) -> io::Result<()> {
        let address = self.address;
        // Without a token to revoke or ask about, a mixed user gets one.
        let act = match act {
            Act::Revoke | Act::Introspect if self.access.is_empty() => Act::Refresh,
            Act::Refresh | Act::Login | Act::Jwks | Act::Revoke | Act::Introspect => act,
        };
        let access = self.access.last().map_or("", String::as_str);
        self.request = match act {
            // Always the same.
            Act::Login | Act::Jwks if act == self.act => return Ok(()),
            Act::Login => sign_in(address),
            Act::Jwks => wire::get(address, "/.well-known/jwks.json"),
            Act::Refresh => {
                let token = self
                    .chains
                    .front()
                    .ok_or_else(|| io::Error::other("a user without a chain"))?;
                wire::token_request(address, &wire::refresh_form(FLUTTER, token))
            }
            Act::Revoke => {
                let form = format!("client_id={FLUTTER}&token={access}");
                wire::form_request(address, "/oauth/revoke", &form)
            }
            Act::Introspect => {
                let secret = &self.secret;
                let form = format!("client_id={RESOURCE_SERVER}&client_secret={secret}&token={access}");
                wire::form_request(address, "/oauth/introspect", &form)
            }
        };
        self.act = act;
        Ok(())
    }
}

impl Doing {
    /// The request that comes after so many. What is rare is spread over the hundred.
    fn act(self, done: usize) -> Act {
        let only = match self {
            Self::Only(act) => return act,
            // 37 and 100 have no common divisor: each place comes once.
            Self::Mixed => done * 37 % 100,
        };
        let mut first = 0;
        for (act, share) in MIXED {
            first += share;
            if only < first {
                return act;
            }
        }
        Act::Refresh
    }
}

fn member(body: &[u8], find: fn(&[u8]) -> Option<&str>) -> io::Result<String> {
    find(body)
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("an answer without a token"))
}

fn sign_in(address: SocketAddr) -> Vec<u8> {
    let form = format!("grant_type=password&client_id={FLUTTER}&username=admin&password={ADMIN_PASSWORD}");
    wire::token_request(address, &form)
}

/// Of latencies in microseconds, up to a minute.
pub(super) fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(LONGEST_US, SIGNIFICANT_DIGITS).map_err(io::Error::other)
}

/// A latency as histograms count it.
pub(super) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LONGEST_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_user_does_each_of_a_hundred_things_as_often_as_is_said() {
        let acts: Vec<Act> = (0..100).map(|done| Doing::Mixed.act(done)).collect();
        let times = |act: Act| acts.iter().filter(|done| **done == act).count();
        let of_each = [Act::Refresh, Act::Jwks, Act::Introspect, Act::Revoke, Act::Login].map(times);
        assert_eq!(of_each, [72, 15, 10, 2, 1]);
    }

    #[test]
    fn latencies_are_told_in_milliseconds() {
        let mut seen = histogram().unwrap();
        for micros in 1..=1_000_u64 {
            seen.record(micros * 10).unwrap();
        }
        let mut run = Run::default();
        tell_latencies(&seen, &mut run);
        assert!((run.figure(Figure::P50Ms).unwrap() - 5.0).abs() < 0.01, "{run:?}");
        assert!((run.figure(Figure::P99Ms).unwrap() - 9.9).abs() < 0.02, "{run:?}");
        assert!(
            (run.figure(Figure::MaxMs).unwrap() - 10.0).abs() < 0.02,
            "{run:?}"
        );
        let mut none = Run::default();
        tell_latencies(&histogram().unwrap(), &mut none);
        assert_eq!(none, Run::default());
    }
}
