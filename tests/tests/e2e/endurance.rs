//! Users who refresh at several instances in turn through whatever happens to these, and remember all of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use auth_e2e::server::within;
use auth_e2e::wire::{self, Connection};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a user waits before trying again.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long an answer may take: more than a server puts up with.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);

/// Users at work, on a thread of their own.
pub(crate) struct Crew {
    working: JoinHandle<Vec<Story>>,
    told: Arc<Told>,
}

/// What users tell while they are at work.
struct Told {
    is_over: AtomicBool,
    /// Of each user.
    answers: Vec<AtomicUsize>,
    failures: AtomicUsize,
}

/// What one user has seen.
pub(crate) struct Story {
    /// Every refresh token that was ever given to them, and when. The last one is the newest.
    pub(crate) tokens: Vec<(Instant, String)>,
    pub(crate) failures: Vec<Failure>,
}

/// A request that gave no token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) at: Instant,
    /// Which of the servers was asked.
    pub(crate) server: usize,
    pub(crate) kind: Kind,
}

/// What came in place of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No connection, or none any more.
    CutOff,
    /// 503 with `Retry-After`.
    Unavailable,
}

impl Crew {
    /// Sends users to work, each with a token of their own. Any answer but a token and an honest 503 fails the test.
    pub(crate) fn at_work(servers: &[SocketAddr], client_id: &'static str, tokens: Vec<String>) -> Self {
        let told = Arc::new(Told {
            is_over: AtomicBool::new(false),
            answers: tokens.iter().map(|_| AtomicUsize::new(0)).collect(),
            failures: AtomicUsize::new(0),
        });
        let (servers, heard) = (servers.to_vec(), Arc::clone(&told));
        let working = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut working = JoinSet::new();
                for (number, token) in tokens.into_iter().enumerate() {
                    let user = User::new(&servers, client_id, number, token);
                    working.spawn(user.go_on(Arc::clone(&heard)));
                }
                working.join_all().await
            })
        });
        Self { working, told }
    }

    /// Waits until each user has got so many more answers.
    #[track_caller]
    pub(crate) fn wait_for_answers(&self, more: usize) {
        let answers = || {
            let each = self.told.answers.iter();
            each.map(|answers| answers.load(Ordering::SeqCst))
        };
        let due: Vec<usize> = answers().map(|had| had + more).collect();
        self.wait_until("answers", || answers().zip(&due).all(|(has, due)| has >= *due));
    }

    /// Waits until users have met with so many more failures, all together.
    #[track_caller]
    pub(crate) fn wait_for_failures(&self, more: usize) {
        let due = self.told.failures.load(Ordering::SeqCst) + more;
        self.wait_until("failures", || self.told.failures.load(Ordering::SeqCst) >= due);
    }

    /// Lets each user end with an answer, and hears what they have to tell.
    pub(crate) fn come_home(self) -> Vec<Story> {
        self.told.is_over.store(true, Ordering::SeqCst);
        self.working.join().unwrap()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, come: impl Fn() -> bool) {
        let seen = within(PATIENCE, || (come() || self.working.is_finished()).then_some(()));
        assert!(
            seen.is_some() && !self.working.is_finished(),
            "the users wait for {what} in vain"
        );
    }
}

impl Story {
    pub(crate) fn newest(&self) -> &str {
        &self.tokens.last().unwrap().1
    }

    /// How often this user failed since, before the next answer; and how long that took.
    pub(crate) fn trouble_after(&self, moment: Instant) -> (usize, Duration) {
        let (next, _) = self.tokens.iter().find(|(at, _)| *at > moment).unwrap();
        let failures = self.failures.iter().map(|failure| failure.at);
        let before = failures.filter(|at| (moment..*next).contains(at)).count();
        (before, *next - moment)
    }
}

/// A user at work.
struct User {
    servers: Vec<SocketAddr>,
    /// To each server.
    connections: Vec<Option<Connection>>,
    client_id: &'static str,
    number: usize,
    story: Story,
}

impl User {
    fn new(servers: &[SocketAddr], client_id: &'static str, number: usize, token: String) -> Self {
        Self {
            servers: servers.to_vec(),
            connections: servers.iter().map(|_| None).collect(),
            client_id,
            number,
            story: Story {
                tokens: vec![(Instant::now(), token)],
                failures: Vec::new(),
            },
        }
    }

    /// Refreshes at each server in turn, by the same token until there is another, and ends with an answer.
    async fn go_on(mut self, told: Arc<Told>) -> Story {
        for turn in self.number.. {
            let server = turn % self.servers.len();
            match self.refresh_at(server).await {
                Ok(token) => {
                    self.story.tokens.push((Instant::now(), token));
                    told.answers[self.number].fetch_add(1, Ordering::SeqCst);
                    if told.is_over.load(Ordering::SeqCst) {
                        break;
                    }
                }
                Err(kind) => {
                    let at = Instant::now();
                    self.story.failures.push(Failure { at, server, kind });
                    self.connections[server] = None;
                    told.failures.fetch_add(1, Ordering::SeqCst);
                    sleep(BACK_OFF).await;
                }
            }
        }
        self.story
    }

    async fn refresh_at(&mut self, server: usize) -> Result<String, Kind> {
        let address = self.servers[server];
        let form = wire::refresh_form(self.client_id, self.story.newest());
        let request = wire::token_request(address, &form);
        let connection = &mut self.connections[server];
        let asked = async {
            let connection = match connection {
                Some(connection) => connection,
                None => connection.insert(Connection::open(address).await?),
            };
            let reply = connection.exchange(&request).await?;
            Ok::<_, io::Error>((reply.status, text(reply.head), text(reply.body)))
        };
        // An answer comes in time, be it 503.
        let Ok((status, head, body)) = timeout(ANSWERED_WITHIN, asked).await.unwrap() else {
            return Err(Kind::CutOff);
        };
        if status == 503 {
            assert!(head.to_lowercase().contains("\r\nretry-after: "), "{head}");
            return Err(Kind::Unavailable);
        }
        assert_eq!(status, 200, "server {server} to user {}: {body}", self.number);
        Ok(wire::refresh_token(body.as_bytes()).unwrap().to_owned())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
