//! Announcements over a real Redis: who hears what, and how a link that is lost is noticed.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it must be"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use auth_domain::ports::Unavailable;
use auth_redis::{Announcement, Announcements, RedisUrl};
use auth_testkit::build::client_id;
use auth_testkit::server::RedisServer;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than any test takes.
const AMPLE: Duration = Duration::from_secs(20);

fn announcements(url: &str, limit: Duration) -> Announcements {
    Announcements::new(RedisUrl::parse(url).unwrap(), limit).unwrap()
}

fn about(client: &str) -> Announcement {
    Announcement::Client(client_id(client))
}

/// Somebody who listens in the background.
struct Listener {
    heard: UnboundedReceiver<Announcement>,
    link: JoinHandle<Unavailable>,
}

impl Listener {
    async fn on(announcements: &Announcements) -> Self {
        let subscription = announcements.subscribe().await.unwrap();
        let (sender, heard) = unbounded_channel();
        let link = tokio::spawn(subscription.hear(move |announcement| sender.send(announcement).unwrap()));
        Self { heard, link }
    }

    async fn next(&mut self) -> Announcement {
        timeout(AMPLE, self.heard.recv()).await.unwrap().unwrap()
    }

    /// What the link was lost by.
    async fn loss(self) -> Unavailable {
        timeout(AMPLE, self.link).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_change_is_heard_by_all_who_listen_in_the_order_of_telling() {
    let server = RedisServer::start();
    let announcements = announcements(&server.url(), AMPLE);
    let mut listeners = [
        Listener::on(&announcements).await,
        Listener::on(&announcements).await,
    ];
    let told = [about("first"), Announcement::AnyClient, about("second")];
    for announcement in &told {
        assert_eq!(announcements.announce(announcement).await.unwrap(), 2);
    }
    for listener in &mut listeners {
        for announcement in &told {
            assert_eq!(listener.next().await, *announcement);
        }
    }
}

#[tokio::test]
async fn what_nobody_hears_is_no_outage() {
    let server = RedisServer::start();
    let announcements = announcements(&server.url(), AMPLE);
    assert_eq!(announcements.announce(&about("some-client")).await.unwrap(), 0);
}

#[tokio::test]
async fn deployments_in_databases_of_their_own_hear_nothing_of_each_other() {
    let server = RedisServer::start();
    let ours = announcements(&server.url(), AMPLE);
    let theirs = announcements(&server.url().replace("/0", "/1"), AMPLE);
    let mut listener = Listener::on(&ours).await;
    assert_eq!(theirs.announce(&about("theirs")).await.unwrap(), 0);
    ours.announce(&about("ours")).await.unwrap();
    assert_eq!(listener.next().await, about("ours"));
}

#[tokio::test]
async fn whatever_a_stranger_says_the_link_goes_on() {
    let server = RedisServer::start();
    let announcements = announcements(&server.url(), AMPLE);
    let mut listener = Listener::on(&announcements).await;
    let long = "x".repeat(60_000);
    for message in ["\"\"", "\"\\xff\\x00\\r\\n\"", &long, "{}"] {
        let told = server.tell(&format!("PUBLISH codelab-auth:clients-changed:0 {message}"));
        assert!(told.unwrap().starts_with(":1"));
        assert_eq!(listener.next().await, Announcement::AnyClient);
    }
    announcements.announce(&about("some-client")).await.unwrap();
    assert_eq!(listener.next().await, about("some-client"));
}

#[tokio::test]
async fn a_subscriber_knows_that_redis_was_killed() {
    let mut server = RedisServer::start();
    let listener = Listener::on(&announcements(&server.url(), AMPLE)).await;
    server.kill();
    let loss = listener.loss().await;
    assert_eq!(loss.source.to_string(), "the connection was closed");
}

#[tokio::test]
async fn a_subscriber_knows_that_redis_has_cut_it_off() {
    let server = RedisServer::start();
    let listener = Listener::on(&announcements(&server.url(), AMPLE)).await;
    assert!(server.tell("CLIENT KILL TYPE pubsub").unwrap().starts_with(":1"));
    listener.loss().await;
}

#[tokio::test]
async fn a_link_that_is_dead_without_a_word_is_noticed() {
    let server = RedisServer::start();
    let listener = Listener::on(&announcements(&server.url(), Duration::from_secs(1))).await;
    server.pause();
    let loss = listener.loss().await;
    assert_eq!(loss.source.to_string(), "no answer within 1s");
}

#[tokio::test]
async fn a_quiet_link_is_asked_whether_it_lives_and_lives_on() {
    let server = RedisServer::start();
    let announcements = announcements(&server.url(), AMPLE);
    let mut listener = Listener::on(&announcements).await;
    let address = server.url().replace("redis://", "").replace("/0", "");
    tokio::task::spawn_blocking(move || watch_pings(&address, 2))
        .await
        .unwrap();
    announcements.announce(&about("some-client")).await.unwrap();
    assert_eq!(listener.next().await, about("some-client"));
    assert!(!listener.link.is_finished());
}

/// Returns once Redis has been pinged so often.
fn watch_pings(address: &str, pings: usize) {
    let mut monitor = TcpStream::connect(address).unwrap();
    monitor.set_read_timeout(Some(AMPLE)).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let lines = BufReader::new(monitor).lines().map(Result::unwrap);
    let seen = lines.filter(|line| line.ends_with("\"PING\"")).take(pings);
    assert_eq!(seen.count(), pings);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_costs_the_time_limit_and_no_more() {
    const LIMIT: Duration = Duration::from_secs(1);
    let server = RedisServer::start();
    let announcements = announcements(&server.url(), LIMIT);
    server.pause();
    let start = Instant::now();
    assert!(announcements.announce(&about("some-client")).await.is_err());
    assert!(announcements.subscribe().await.is_err());
    // For a machine that is busy with other tests.
    assert!(start.elapsed() < 6 * LIMIT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_an_outage_until_it_is() {
    let mut server = RedisServer::start();
    let announcements = announcements(&server.url(), AMPLE);
    server.kill();
    assert!(announcements.announce(&about("some-client")).await.is_err());
    assert!(announcements.subscribe().await.is_err());
    server.start_again();
    let mut listener = Listener::on(&announcements).await;
    announcements.announce(&about("some-client")).await.unwrap();
    assert_eq!(listener.next().await, about("some-client"));
}

#[tokio::test]
async fn a_password_is_sent_to_redis_and_told_to_nobody_else() {
    let server = RedisServer::start();
    server.tell("CONFIG SET requirepass pencil").unwrap();
    for (password, is_right) in [("", false), (":crayon@", false), (":pencil@", true)] {
        let url = server.url().replace("redis://", &format!("redis://{password}"));
        let announcements = announcements(&url, AMPLE);
        let told = announcements.announce(&about("some-client")).await;
        let listening = announcements.subscribe().await;
        assert_eq!(
            (told.is_ok(), listening.is_ok()),
            (is_right, is_right),
            "{password}"
        );
        for outage in told.err().into_iter().chain(listening.err()) {
            let said = format!("{outage:?} {outage} {}", outage.source);
            assert!(!said.contains("pencil") && !said.contains("crayon"), "{said}");
        }
    }
}
