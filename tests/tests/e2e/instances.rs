//! Three instances over one PostgreSQL, one Redis and one folder of keys, which are taken away under them.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use auth_e2e::server::{Server, within};
use auth_testkit::server::{Database as PostgresDatabase, Durability, PostgresServer, RedisServer};
use tempfile::TempDir;

use crate::database::{Database, claims};
use crate::endurance::{Crew, Kind, Story};
use crate::forged::header;
use crate::support::everything_in;

/// A client whose users may ask again where an answer was lost: so that no outage can be taken for a theft.
const APP: &str = "patient-app";
const USERS: usize = 12;
/// How often each user is answered before something happens, and after it.
const ROUNDS: usize = 6;
/// How many of a user's requests may fail once an outage is over, some 50 ms after each other, and how long it may take
/// until one does not: an instance tries to reach its database every half second.
const TRIES: usize = 20;
const RECOVERED_WITHIN: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);

/// Three instances and what they share.
struct Deployment {
    servers: Vec<Server>,
    installations: Vec<Installation>,
    redis: RedisServer,
    postgres: PostgresServer,
}

impl Deployment {
    /// With everything as in earnest: commits are durable, and limits are kept in Redis, though nobody reaches one.
    fn start() -> Self {
        let postgres = PostgresServer::start(Durability::Durable);
        let redis = RedisServer::start();
        let first = Installation::new()
            .on_postgres(postgres.database())
            .with("AUTH_SERVICE__REDIS_URL", &redis.url())
            .with("AUTH_SERVICE__REDIS_TIMEOUT", "1000")
            .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD", "1000000")
            .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000000")
            .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000000")
            .with("AUTH_SERVICE__RATE_LIMIT_PER_USERNAME", "1000000")
            .with("AUTH_SERVICE__REFRESH_RATE_LIMIT", "100000000");
        let (second, third) = (first.beside(), first.beside());
        let installations = vec![first, second, third];
        let servers: Vec<Server> = installations.iter().map(Installation::start).collect();
        let deployment = Self {
            servers,
            installations,
            redis,
            postgres,
        };
        deployment.run(&format!(
            "client create {APP} --name Patient --refresh-retry-window 600 --grant password --grant refresh_token \
             --scope api:read"
        ));
        deployment
    }

    /// Runs the command line beside the first instance.
    fn run(&self, command: &str) {
        run(&self.installations[0], command);
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    fn clients(&self, client_id: &str) -> Vec<Client> {
        let clients = self.servers.iter();
        clients
            .map(|server| Client::new(server.http(), client_id))
            .collect()
    }

    /// Users who sign in at any instance, refresh at all of them, and have done so for a while.
    fn users_at_work(&self) -> Crew {
        let clients = self.clients(APP);
        let tokens = clients.iter().cycle().take(USERS);
        let tokens = tokens.map(|client| client.admin_tokens().refresh).collect();
        let crew = Crew::at_work(&self.addresses(), APP, tokens);
        crew.wait_for_answers(ROUNDS);
        crew
    }

    /// Checks what has become of every token: the newest of each user is the head of its chain, there is no token that
    /// nobody was given, none has had two successors, each rotation is in the trail, and nobody was taken for a thief.
    fn assert_all_is_in_order(&self, stories: &[Story]) {
        let mut database = Database::of(&self.installations[0]);
        assert_eq!(database.faults(), ["ok"]);
        for story in stories {
            assert!(database.head_of_chain(story.newest()) == claims(story.newest()).jti.hash());
        }
        let given: usize = stories.iter().map(|story| story.tokens.len()).sum();
        let kept = database.number("SELECT count(*) FROM refresh_tokens");
        assert_eq!(usize::try_from(kept).unwrap(), given);
        let audited = database.audited();
        let rotations = database.number("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL");
        let in_trail = "SELECT count(*) FROM audit_logs WHERE event_type = 'token_refresh' AND NOT \
             coalesce((event_data ->> 'repeated')::boolean, FALSE)";
        assert_eq!(database.number(in_trail), rotations, "{audited:?}");
        assert!(!audited.contains_key("security_incident"), "{audited:?}");
        self.assert_consumed_tokens_are_dead(stories);
        scale::attempts(given);
    }

    /// Presents tokens that have long been consumed, at each instance: their chains die.
    fn assert_consumed_tokens_are_dead(&self, stories: &[Story]) {
        for (story, client) in stories.iter().zip(self.clients(APP).iter().cycle()) {
            let (_, consumed) = &story.tokens[story.tokens.len() / 2];
            assert_eq!(client.refresh(consumed).status, 400);
            assert_eq!(client.refresh(story.newest()).status, 400);
        }
    }
}

/// Checks that what had failed went well again soon after the outage was over.
fn assert_recovered(stories: &[Story], over: Instant) {
    for story in stories {
        let (failures, long) = story.trouble_after(over);
        assert!(
            failures <= TRIES && long <= RECOVERED_WITHIN,
            "{failures} failures, {long:?}"
        );
    }
}

fn run(installation: &Installation, command: &str) {
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let output = installation.run(&arguments, "").unwrap();
    assert!(output.status.success(), "{command}: {}", everything_in(&output));
}

#[test]
fn an_instance_killed_by_kill_9_takes_nobody_with_it() {
    let mut deployment = Deployment::start();
    let users = deployment.users_at_work();
    let killed = deployment.servers.remove(1);
    killed.killer().kill().unwrap();
    killed.ended().unwrap();
    users.wait_for_answers(ROUNDS);
    let restarted = deployment.installations[1].start();
    let over = Instant::now();
    deployment.servers.insert(1, restarted);
    users.wait_for_answers(ROUNDS);
    let stories = users.come_home();

    let failures = stories.iter().flat_map(|story| &story.failures);
    for failure in failures {
        assert_eq!(
            (failure.server, failure.kind),
            (1, Kind::CutOff),
            "the others were unharmed"
        );
    }
    assert_recovered(&stories, over);
    deployment.assert_all_is_in_order(&stories);
}

#[test]
fn a_restart_of_postgresql_is_an_outage_as_long_as_itself_and_loses_nothing() {
    postgresql_is_away(PostgresServer::stop);
}

#[test]
fn a_crash_of_postgresql_is_an_outage_as_long_as_itself_and_loses_nothing() {
    postgresql_is_away(PostgresServer::kill);
}

fn postgresql_is_away(end: impl Fn(&mut PostgresServer)) {
    let mut deployment = Deployment::start();
    let users = deployment.users_at_work();
    end(&mut deployment.postgres);
    users.wait_for_failures(3 * USERS);
    for server in &deployment.servers {
        assert_eq!(server.http().get("/.well-known/jwks.json").unwrap().status, 200);
        assert_eq!(server.http().get("/ready").unwrap().status, 503);
    }
    deployment.postgres.start_again();
    let over = Instant::now();
    users.wait_for_answers(ROUNDS);
    let stories = users.come_home();

    for failure in stories.iter().flat_map(|story| &story.failures) {
        assert_eq!(failure.kind, Kind::Unavailable);
    }
    assert_recovered(&stories, over);
    deployment.assert_all_is_in_order(&stories);
}

#[test]
fn a_postgresql_that_answers_nobody_is_told_as_an_outage_and_loses_nothing() {
    let mut deployment = Deployment::start();
    let users = deployment.users_at_work();
    deployment.postgres.pause();
    for server in &deployment.servers {
        within(PATIENCE, || {
            (server.http().get("/ready").unwrap().status == 503).then_some(())
        })
        .expect("a load balancer is told");
        assert_eq!(server.http().get("/.well-known/jwks.json").unwrap().status, 200);
    }
    deployment.postgres.resume();
    let over = Instant::now();
    users.wait_for_answers(ROUNDS);
    let stories = users.come_home();

    for failure in stories.iter().flat_map(|story| &story.failures) {
        assert_eq!(failure.kind, Kind::Unavailable);
    }
    assert_recovered(&stories, over);
    deployment.assert_all_is_in_order(&stories);
    deployment.postgres.stop();
}

#[test]
fn a_redis_that_dies_or_falls_silent_or_comes_back_empty_fails_no_refresh() {
    let mut deployment = Deployment::start();
    let users = deployment.users_at_work();
    deployment.redis.pause();
    users.wait_for_answers(ROUNDS);
    deployment.redis.resume();
    users.wait_for_answers(ROUNDS);
    deployment.redis.kill();
    users.wait_for_answers(ROUNDS);
    deployment.redis.start_again();
    users.wait_for_answers(ROUNDS);
    let stories = users.come_home();

    assert!(stories.iter().all(|story| story.failures.is_empty()));
    deployment.assert_all_is_in_order(&stories);
}

#[test]
fn keys_rotated_beside_one_instance_are_followed_by_the_others_under_load() {
    let deployment = Deployment::start();
    let users = deployment.users_at_work();
    let published = |server: &Server| {
        let answer = server.http().get("/.well-known/jwks.json").unwrap();
        answer.text()
    };
    let before = published(&deployment.servers[0]);
    deployment.run("keys rotate --immediately --yes");
    for server in &deployment.servers {
        within(PATIENCE, || (published(server) != before).then_some(()))
            .expect("each instance looks at the folder every few seconds");
    }
    users.wait_for_answers(ROUNDS);
    let stories = users.come_home();
    assert!(stories.iter().all(|story| story.failures.is_empty()));

    // All sign by the same new key now, and take each other's tokens.
    let clients = deployment.clients(FLUTTER);
    let kid = |token: &str| header(token)["kid"].as_str().unwrap().to_owned();
    let mut tokens = clients[0].admin_tokens();
    let old = kid(&stories[0].tokens[0].1);
    for client in clients.iter().cycle().take(6) {
        tokens = client.refreshed(&tokens);
        assert_ne!(kid(&tokens.refresh), old);
    }
    assert_eq!(
        published(&deployment.servers[0]),
        published(&deployment.servers[2])
    );
}

#[test]
fn a_client_that_is_switched_off_beside_one_instance_is_so_at_all_of_them_at_once() {
    let deployment = Deployment::start();
    let clients = deployment.clients(FLUTTER);
    // Each instance has seen the client, and may remember it.
    let tokens: Vec<_> = clients.iter().map(Client::admin_tokens).collect();
    deployment.run(&format!("client disable {FLUTTER} --yes"));
    let announced = Duration::from_secs(2);
    for client in &clients {
        let refused =
            || (client.sign_in("admin", "Wrong-Guess-1!").member("error")? == "invalid_client").then_some(());
        within(announced, refused).expect("it is told within a moment, and not when a memory has faded");
    }
    for (client, tokens) in clients.iter().zip(&tokens) {
        assert_eq!(client.refresh(&tokens.refresh).status, 401);
    }
    deployment.run(&format!("client enable {FLUTTER}"));
    for client in &clients {
        let signed_in = || {
            (client
                .sign_in("admin", auth_e2e::installation::ADMIN_PASSWORD)
                .status
                == 200)
                .then_some(())
        };
        within(announced, signed_in).expect("and so is that it is switched on");
    }
}

#[test]
fn many_instances_that_start_at_once_found_the_database_and_the_keys_once() {
    const INSTANCES: usize = 6;
    let keys = TempDir::new().unwrap();
    let first = Installation::new()
        .unlimited()
        .on_postgres(PostgresDatabase::new())
        .with(
            "AUTH_SERVICE__KEYS_DIR",
            keys.path().join("keys").to_str().unwrap(),
        )
        .without("AUTH_SERVICE__MASTER_KEY");
    let mut installations: Vec<_> = (1..INSTANCES).map(|_| first.beside()).collect();
    installations.push(first);
    let servers: Vec<Server> = thread::scope(|scope| {
        let starting: Vec<_> = installations
            .iter()
            .map(|installation| scope.spawn(|| installation.start()))
            .collect();
        starting
            .into_iter()
            .map(|starting| starting.join().unwrap())
            .collect()
    });

    let key_sets = servers.iter().map(|server| {
        let http: Http = server.http();
        http.get("/.well-known/jwks.json").unwrap().text()
    });
    let key_sets: Vec<String> = key_sets.collect();
    assert!(
        key_sets.iter().all(|key_set| *key_set == key_sets[0]),
        "{key_sets:?}"
    );
    let mut database = Database::of(&installations[0]);
    assert_eq!(database.number("SELECT count(*) FROM users"), 1);
    assert_eq!(database.number("SELECT count(*) FROM oauth_clients"), 2);
    let printed: Vec<String> = installations.iter().map(Installation::printed).collect();
    let secrets: Vec<&String> = printed
        .iter()
        .filter(|printed| printed.contains("codelab-internal"))
        .collect();
    assert_eq!(secrets.len(), 1, "{printed:?}");
    scale::attempts(INSTANCES);
}
