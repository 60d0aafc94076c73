//! Virtual users: each has one connection, and sends its next request when it has the answer to the last one.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::client::FLUTTER;
use crate::installation::ADMIN_PASSWORD;
use crate::wire::{self, Connection};

/// The longest latency that is told apart from longer ones: a minute, in microseconds.
const LONGEST_US: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// What the virtual users do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Each refreshes a chain of its own.
    Refresh,
    /// Each signs in again and again.
    Login,
    /// Each fetches the key set.
    Jwks,
}

/// A number of users with their connections, and with chains of their own where they refresh.
#[derive(Debug)]
pub struct Users(Vec<User>);

/// A user with a connection.
#[derive(Debug)]
pub(super) struct User {
    scenario: Scenario,
    address: SocketAddr,
    connection: Connection,
    request: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// 200.
    Granted,
    /// 503: the server has no room.
    TurnedAway,
}

/// What users have seen in some time.
#[derive(Debug)]
pub struct Seen {
    /// How many requests were answered.
    pub requests: u32,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// How long each answer took, in microseconds.
    pub latencies: Histogram<u64>,
}

impl Users {
    /// Connects users; those that will refresh sign in, one after the other.
    ///
    /// # Errors
    /// Where the server refuses one.
    pub async fn connect(scenario: Scenario, address: SocketAddr, count: usize) -> io::Result<Self> {
        Self::connect_to(scenario, &[address], count).await
    }

    /// The same at several servers, each user at one of them.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_to(scenario: Scenario, servers: &[SocketAddr], count: usize) -> io::Result<Self> {
        let mut users = Vec::with_capacity(count);
        for address in servers.iter().cycle().take(count) {
            users.push(User::connect(scenario, *address).await?);
        }
        Ok(Self(users))
    }

    /// Lets all users go on until the deadline, each to the end of the request it has then.
    ///
    /// # Errors
    /// The first answer that is not 200: a measurement with failures in it means nothing.
    pub async fn go_on_until(&mut self, deadline: Instant) -> io::Result<Seen> {
        let start = Instant::now();
        let mut going = JoinSet::new();
        for user in self.0.drain(..) {
            going.spawn(user.go_on_until(deadline));
        }
        let mut latencies = histogram()?;
        while let Some(ended) = going.join_next().await {
            let (user, seen) = ended.map_err(io::Error::other)??;
            self.0.push(user);
            latencies.add(&seen).map_err(io::Error::other)?;
        }
        Ok(Seen {
            requests: u32::try_from(latencies.len()).map_err(io::Error::other)?,
            seconds: start.elapsed().as_secs_f64(),
            latencies,
        })
    }
}

impl User {
    /// Connects; who will refresh signs in.
    pub(super) async fn connect(scenario: Scenario, address: SocketAddr) -> io::Result<Self> {
        let mut user = Self {
            scenario,
            address,
            connection: Connection::open(address).await?,
            request: match scenario {
                Scenario::Refresh | Scenario::Login => sign_in(address),
                Scenario::Jwks => wire::get(address, "/.well-known/jwks.json"),
            },
        };
        if scenario == Scenario::Refresh {
            user.step().await?;
        }
        Ok(user)
    }

    async fn go_on_until(mut self, deadline: Instant) -> io::Result<(Self, Histogram<u64>)> {
        let mut latencies = histogram()?;
        let mut sent = Instant::now();
        while sent < deadline {
            self.step().await?;
            let now = Instant::now();
            let micros = u64::try_from((now - sent).as_micros()).unwrap_or(LONGEST_US);
            latencies.saturating_record(micros);
            sent = now;
        }
        Ok((self, latencies))
    }

    /// One request, which must succeed.
    async fn step(&mut self) -> io::Result<()> {
        match self.ask().await? {
            Answered::Granted => Ok(()),
            Answered::TurnedAway => Err(io::Error::other("turned away: there was no room")),
        }
    }

    /// One request and its answer, out of which a user that refreshes makes its next request.
    pub(super) async fn ask(&mut self) -> io::Result<Answered> {
        let reply = self.connection.exchange(&self.request).await?;
        match reply.status {
            200 => {}
            503 => return Ok(Answered::TurnedAway),
            status => {
                let body = String::from_utf8_lossy(reply.body);
                return Err(io::Error::other(format!("answered by {status}: {body}")));
            }
        }
        if self.scenario == Scenario::Refresh {
            let token = wire::refresh_token(reply.body)
                .ok_or_else(|| io::Error::other("an answer without a refresh token"))?;
            self.request = wire::token_request(self.address, &wire::refresh_form(FLUTTER, token));
        }
        Ok(Answered::Granted)
    }
}

fn sign_in(address: SocketAddr) -> Vec<u8> {
    let form = format!("grant_type=password&client_id={FLUTTER}&username=admin&password={ADMIN_PASSWORD}");
    wire::token_request(address, &form)
}

/// Of latencies in microseconds, up to a minute.
pub(super) fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(LONGEST_US, SIGNIFICANT_DIGITS).map_err(io::Error::other)
}
