//! What the tests share: refusals, and users who refresh in a loop.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use auth_e2e::binary::target_directory;
use auth_e2e::client::{Client, FLUTTER, Tokens};
use auth_e2e::http::Answer;
use auth_e2e::installation::Installation;
use auth_e2e::wire::{self, Connection};
use auth_testkit::server::Database;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Where an installation stores what it stores: for tests of what holds on either.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    /// A new, empty installation without limits.
    pub(crate) fn installation(self) -> Installation {
        let new = Installation::new().unlimited();
        match self {
            Self::Sqlite => new,
            Self::Postgres => new.on_postgres(Database::new()),
        }
    }
}

/// Checks that an answer is the refusal of a grant, as the Flutter application is told it.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    let told = (answer.status, answer.member("error"));
    assert_eq!(told, (401, Some("invalid_grant".to_owned())), "{}", answer.text());
}

/// All that a command printed.
pub(crate) fn everything_in(output: &Output) -> String {
    let printed = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&printed).into_owned()
}

/// A program of others: among the tools of this build, or wherever programs are.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let own = target_directory().join("tools/bin");
    let folders = env::var_os("PATH").unwrap_or_default();
    // Where servers are, and where no path leads that is not root's.
    let system = PathBuf::from("/usr/sbin");
    let mut candidates = [own]
        .into_iter()
        .chain(env::split_paths(&folders))
        .chain([system])
        .map(|folder| folder.join(name));
    candidates.find(|file| file.exists())
}

/// Registers a confidential client that may sign users in and refresh; says its secret.
pub(crate) fn confidential_client(installation: &Installation, id: &str) -> String {
    let create = format!(
        "--json client create {id} --name Confidential --confidential --grant password --grant refresh_token \
         --scope api:read"
    );
    let arguments: Vec<&str> = create.split_whitespace().collect();
    let created = installation.run(&arguments, "").unwrap();
    assert!(created.status.success(), "{}", everything_in(&created));
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap();
    created["client_secret"].as_str().unwrap().to_owned()
}

/// Somebody who is signed in, and remembers every refresh token that was ever given to them.
#[derive(Debug)]
pub(crate) struct User {
    /// In the order in which they were given; the last one is the newest.
    pub(crate) tokens: Vec<String>,
    /// Why this user stopped refreshing, once that has come.
    pub(crate) stopped_by: Option<std::io::Error>,
}

impl User {
    pub(crate) fn signed_in(client: &Client) -> Self {
        Self::with(client.admin_tokens())
    }

    pub(crate) fn with(tokens: Tokens) -> Self {
        Self {
            tokens: vec![tokens.refresh],
            stopped_by: None,
        }
    }

    pub(crate) fn newest(&self) -> &str {
        self.tokens.last().unwrap()
    }

    /// Refreshes over one connection until there are no more answers, and counts those that come.
    async fn refresh_on(mut self, address: SocketAddr, client_id: &str, answered: impl Fn()) -> Self {
        self.stopped_by = None;
        let mut connection = match Connection::open(address).await {
            Ok(connection) => connection,
            Err(error) => return self.stopped(error),
        };
        loop {
            let form = wire::refresh_form(client_id, self.newest());
            match connection.exchange(&wire::token_request(address, &form)).await {
                Ok(reply) => {
                    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(reply.body));
                    self.tokens
                        .push(wire::refresh_token(reply.body).unwrap().to_owned());
                    answered();
                }
                Err(error) => return self.stopped(error),
            }
        }
    }

    fn stopped(mut self, by: std::io::Error) -> Self {
        self.stopped_by = Some(by);
        self
    }
}

/// Lets users refresh at once, carries something out when so many answers have come in all, and waits until no user
/// gets another answer.
pub(crate) fn refresh_until_cut(
    users: Vec<User>,
    client_id: &'static str,
    address: SocketAddr,
    cut_after: usize,
    cut: impl Fn() + Send + Sync + 'static,
) -> Vec<User> {
    let answers = Arc::new(AtomicUsize::new(0));
    let cut = Arc::new(cut);
    runtime().block_on(async move {
        let mut refreshing = JoinSet::new();
        for user in users {
            let (answers, cut) = (Arc::clone(&answers), Arc::clone(&cut));
            let answered = move || {
                if answers.fetch_add(1, Ordering::Relaxed) + 1 == cut_after {
                    cut();
                }
            };
            refreshing.spawn(async move { user.refresh_on(address, client_id, answered).await });
        }
        refreshing.join_all().await
    })
}

/// The answers to many uses of one refresh token, by servers in turn, all sent before any answer is read.
pub(crate) fn use_at_once(servers: &[SocketAddr], refresh_token: &str, times: usize) -> Vec<(u16, String)> {
    let request = wire::token_request(servers[0], &wire::refresh_form(FLUTTER, refresh_token));
    runtime().block_on(async move {
        let mut connections = Vec::with_capacity(times);
        for address in servers.iter().cycle().take(times) {
            connections.push(Connection::open(*address).await.unwrap());
        }
        for connection in &mut connections {
            connection.send(&request).await.unwrap();
        }
        let mut answers = Vec::with_capacity(times);
        for connection in &mut connections {
            let reply = connection.receive().await.unwrap();
            answers.push((reply.status, String::from_utf8_lossy(reply.body).into_owned()));
        }
        answers
    })
}

/// What runs something asynchronous on this thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_io().build().unwrap()
}

/// Chances that are the same in every run (xorshift64*).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % bound.max(1)
    }

    pub(crate) fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
