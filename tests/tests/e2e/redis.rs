//! Several instances on one Redis, which is killed, held still and given back under them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::installation::Installation;
use auth_e2e::server::{Server, within};
use auth_e2e::wire::{self, Connection};
use auth_testkit::server::RedisServer;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Longer than a busy machine takes to answer, so that what is lost in a test is what the test takes away.
const AMPLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);
/// Failures that lock an account, unless a setting says otherwise.
const LIMIT: usize = 5;

/// An instance whose only limits are those of an account.
fn instance(redis: &RedisServer, timeout: Duration) -> Installation {
    Installation::new()
        .with("AUTH_SERVICE__REDIS_URL", &redis.url())
        .with("AUTH_SERVICE__REDIS_TIMEOUT", &timeout.as_millis().to_string())
        .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000000")
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000000")
        .with("AUTH_SERVICE__HASHING_QUEUE", "1000")
        .with("AUTH_SERVICE__HASHING_DEADLINE", "60000")
        .with("AUTH_SERVICE__REQUEST_TIMEOUT", "120")
}

/// The value of a metric without labels.
fn metric(server: &Server, name: &str) -> Option<String> {
    let text = server.http().get("/metrics").unwrap().text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")))?;
    Some(line.to_owned())
}

#[track_caller]
fn wait_for_metric(server: &Server, name: &str, value: &str) {
    let seen = within(PATIENCE, || (metric(server, name)? == value).then_some(()));
    assert!(
        seen.is_some(),
        "{name} is {:?} and not {value}",
        metric(server, name)
    );
}

/// Two instances that know of each other.
fn pair(redis: &RedisServer, timeout: Duration) -> ([Installation; 2], [Server; 2]) {
    let installations = [instance(redis, timeout), instance(redis, timeout)];
    let servers = [installations[0].start(), installations[1].start()];
    for server in &servers {
        wait_for_metric(server, "auth_redis_instances", "2");
    }
    (installations, servers)
}

fn health(server: &Server) -> (u16, String, String) {
    let answer = server.http().get("/health").unwrap();
    let told = |name| answer.member(name).unwrap_or_default();
    (answer.status, told("status"), told("redis"))
}

#[track_caller]
fn wait_for_health(server: &Server, status: &str, redis: &str) {
    let told = (200, status.to_owned(), redis.to_owned());
    let seen = within(PATIENCE, || (health(server) == told).then_some(()));
    assert!(seen.is_some(), "{:?} and not {told:?}", health(server));
}

/// Whether a guess at somebody's password was judged, and not refused by a limit.
fn is_judged(status: u16) -> bool {
    assert!([401, 429].contains(&status), "status {status}");
    status == 401
}

/// How many of so many guesses are judged, sent to the servers in turn.
fn judged(servers: &[Server], name: &str, guesses: usize) -> usize {
    servers
        .iter()
        .cycle()
        .take(guesses)
        .filter(|server| {
            is_judged(
                Client::flutter(server.http())
                    .sign_in(name, "Wrong-Guess-1!")
                    .status,
            )
        })
        .count()
}

/// How many of so many guesses at each server are judged, all sent at once, while something is carried out after so
/// many answers.
fn judged_at_once(
    servers: &[Server],
    name: &str,
    guesses: usize,
    cut_after: usize,
    cut: impl Fn() + Send + Sync + 'static,
) -> usize {
    let form = format!("grant_type=password&client_id={FLUTTER}&username={name}&password=Wrong-Guess-1!");
    let answers = Arc::new(AtomicUsize::new(0));
    let cut = Arc::new(cut);
    Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap()
        .block_on(async move {
            let mut guessing = JoinSet::new();
            for address in servers.iter().map(Server::address) {
                for _ in 0..guesses {
                    let (answers, cut, form) = (Arc::clone(&answers), Arc::clone(&cut), form.clone());
                    guessing.spawn(async move {
                        let status = guess(address, &form).await;
                        if answers.fetch_add(1, Ordering::SeqCst) + 1 == cut_after {
                            cut();
                        }
                        status
                    });
                }
            }
            let statuses = guessing.join_all().await;
            statuses.into_iter().filter(|status| is_judged(*status)).count()
        })
}

async fn guess(address: SocketAddr, form: &str) -> u16 {
    let mut connection = Connection::open(address).await.unwrap();
    let request = wire::token_request(address, form);
    connection.exchange(&request).await.unwrap().status
}

#[test]
fn two_instances_on_one_redis_share_a_limit() {
    let redis = RedisServer::start();
    let (_installations, servers) = pair(&redis, AMPLE);
    assert_eq!(judged(&servers, "mallory", 20), LIMIT);
    for server in &servers {
        assert_eq!(
            health(server),
            (200, "healthy".to_owned(), "connected".to_owned())
        );
        assert_eq!(metric(server, "auth_redis_up").as_deref(), Some("1"));
        assert_eq!(metric(server, "auth_redis_fallbacks_total").as_deref(), Some("0"));
    }
}

#[test]
fn of_500_guesses_at_once_no_more_are_judged_than_the_limit_and_one_for_each_instance_though_redis_dies() {
    for cut_after in [1, 3, 250] {
        let redis = Arc::new(Mutex::new(RedisServer::start()));
        let (_installations, servers) = pair(&redis.lock().unwrap(), AMPLE);
        let killed = Arc::clone(&redis);
        let mut passed = judged_at_once(&servers, "mallory", 250, cut_after, move || {
            killed.lock().unwrap().kill();
        });
        assert!(
            passed <= LIMIT + servers.len(),
            "{passed} judged, Redis killed after {cut_after}"
        );
        for server in &servers {
            wait_for_health(server, "degraded", "disconnected");
        }
        redis.lock().unwrap().start_again();
        for server in &servers {
            wait_for_health(server, "healthy", "connected");
        }
        passed += judged_at_once(&servers, "mallory", 50, usize::MAX, || {});
        assert!(
            passed <= LIMIT + servers.len(),
            "{passed} judged, Redis killed after {cut_after}"
        );
    }
}

#[test]
fn a_redis_that_answers_nobody_costs_one_time_limit_and_takes_no_tokens_away() {
    let timeout = Duration::from_secs(3);
    let redis = RedisServer::start();
    let (installations, servers) = pair(&redis, timeout);
    let client = Client::flutter(servers[0].http());
    let mut tokens = client.admin_tokens();
    redis.pause();
    let mut slow = 0;
    for _ in 0..20 {
        let start = Instant::now();
        tokens = client.refreshed(&tokens);
        slow += u32::from(start.elapsed() >= timeout);
    }
    // One refresh, or the probe in its place, has waited for Redis.
    assert!(slow <= 1, "{slow} refreshes waited");
    wait_for_health(&servers[0], "degraded", "disconnected");
    assert_eq!(servers[0].http().get("/ready").unwrap().status, 200);
    wait_for_metric(&servers[0], "auth_redis_up", "0");
    let fallbacks: u32 = metric(&servers[0], "auth_redis_fallbacks_total")
        .unwrap()
        .parse()
        .unwrap();
    assert!(fallbacks >= 18, "{fallbacks} of 20 were judged in the process");
    redis.resume();
    for server in &servers {
        wait_for_health(server, "healthy", "connected");
    }
    assert_eq!(
        judged(&servers, "mallory", 20),
        LIMIT,
        "the counters are shared again"
    );
    let printed = installations[0].printed();
    assert_eq!(printed.matches("Redis is lost").count(), 1, "{printed}");
    assert_eq!(printed.matches("Redis is there").count(), 2, "{printed}");
}

#[test]
fn a_redis_that_comes_back_empty_gives_nobody_a_fresh_budget() {
    let mut redis = RedisServer::start();
    let (_installations, servers) = pair(&redis, AMPLE);
    assert_eq!(judged(&servers, "mallory", 20), LIMIT);
    redis.start_again();
    assert_eq!(
        judged(&servers, "mallory", 20),
        0,
        "though nobody may have noticed yet"
    );
    for server in &servers {
        wait_for_health(server, "healthy", "connected");
    }
    assert_eq!(judged(&servers, "mallory", 20), 0);
    let newcomer = instance(&redis, AMPLE);
    assert_eq!(
        judged(&[newcomer.start()], "mallory", 5),
        0,
        "Redis has been told"
    );
}

#[test]
fn a_server_starts_without_its_redis_and_takes_it_up_by_itself() {
    let mut redis = RedisServer::start();
    redis.kill();
    let installation = instance(&redis, AMPLE);
    let server = installation.start();
    assert_eq!(
        health(&server),
        (200, "degraded".to_owned(), "disconnected".to_owned())
    );
    assert!(installation.printed().contains("Redis is away"));
    assert_eq!(judged(std::slice::from_ref(&server), "mallory", 8), LIMIT);
    redis.start_again();
    wait_for_health(&server, "healthy", "connected");
    assert_eq!(judged(&[server], "mallory", 8), 0);
}

#[test]
fn redis_is_told_no_name_and_no_address() {
    let redis = RedisServer::start();
    let installation = instance(&redis, AMPLE);
    let server = installation.start();
    judged(&[server], "mallory", 3);
    let mut everything = redis.tell("KEYS *").unwrap();
    let names: Vec<String> = everything
        .lines()
        .filter(|line| line.starts_with("codelab-auth:throttle:"))
        .map(str::to_owned)
        .collect();
    assert_eq!(names.len(), 4, "{everything}");
    for name in names {
        everything += &redis.tell(&format!("GET {name}")).unwrap();
    }
    assert!(
        !everything.contains("mallory") && !everything.contains("127.0.0"),
        "{everything}"
    );
}
