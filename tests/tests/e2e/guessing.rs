//! Guessing passwords: many at once, one user from everywhere, everybody from one place. Each guess comes from a
//! loopback address of its own where it says so: to the server these are as many machines.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Http;
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use auth_e2e::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;

/// A guess: where it comes from, whom it is for, what is guessed.
struct Guess {
    from: Ipv4Addr,
    username: String,
    password: &'static str,
}

const WRONG: &str = "Wrong-Horse-7-Battery";

/// The machine of that number. None of them is the one that the tests themselves speak from.
fn machine(number: usize) -> Ipv4Addr {
    let number = u16::try_from(number).unwrap();
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// Sends all guesses before it reads any answer, and counts the answers by their status.
fn guess_at_once(server: SocketAddr, guesses: Vec<Guess>) -> BTreeMap<u16, usize> {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async move {
        let mut streams = Vec::with_capacity(guesses.len());
        for guess in &guesses {
            streams.push(connected(server, guess.from).await);
        }
        for (stream, guess) in streams.iter_mut().zip(&guesses) {
            stream.write_all(&request(server, guess)).await.unwrap();
        }
        let mut statuses = BTreeMap::new();
        for stream in &mut streams {
            *statuses.entry(status(stream).await).or_default() += 1;
        }
        statuses
    })
}

async fn connected(server: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(server).await.unwrap()
}

fn request(server: SocketAddr, guess: &Guess) -> Vec<u8> {
    let Guess {
        username, password, ..
    } = guess;
    let form = format!("grant_type=password&client_id={FLUTTER}&username={username}&password={password}");
    wire::token_request(server, &form)
}

/// The status of an answer, whose first bytes say it.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

fn guesses_for(username: &str, number: usize, from: impl Fn(usize) -> Ipv4Addr) -> Vec<Guess> {
    let guess = |number| Guess {
        from: from(number),
        username: username.to_owned(),
        password: WRONG,
    };
    (0..number).map(guess).collect()
}

/// How many passwords were looked at: told from the answers by the server's own count of failures by their reason.
fn judged(http: &Http) -> usize {
    let metrics = http.get("/metrics").unwrap().text();
    let failures = metrics.lines().filter(|line| {
        line.starts_with("auth_failed_login_attempts_total") && !line.contains("reason=\"locked\"")
    });
    failures
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap())
        .sum()
}

/// An installation that judges what its limits let through, however busy the machine is: it turns nobody away by 503.
fn patient() -> Installation {
    Installation::new()
        .with("AUTH_SERVICE__HASHING_QUEUE", "1000")
        .with("AUTH_SERVICE__HASHING_DEADLINE", "60000")
        .with("AUTH_SERVICE__REQUEST_TIMEOUT", "120")
}

#[test]
fn of_sixty_guesses_at_once_five_are_judged() {
    let installation = patient()
        .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000")
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000");
    let server = installation.start();
    for (username, known) in [("admin", true), ("nobody", false)] {
        let before = judged(&server.http());
        let statuses = guess_at_once(server.address(), guesses_for(username, 60, |_| machine(0)));
        assert_eq!(
            statuses,
            BTreeMap::from([(401, 5), (429, 55)]),
            "{username}, who exists: {known}"
        );
        assert_eq!(judged(&server.http()) - before, 5, "{username}");
    }
    scale::attempts(120);
}

#[test]
fn one_user_guessed_from_a_thousand_addresses_is_judged_five_times_and_goes_on_refreshing() {
    let installation = patient();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    let addresses = scale::times(200, 1_000);

    let statuses = guess_at_once(server.address(), guesses_for("admin", addresses, machine));

    assert_eq!(statuses, BTreeMap::from([(401, 5), (429, addresses - 5)]));
    assert_eq!(judged(&server.http()), 5);
    // The owner: locked out of signing in, and still signed in.
    assert_eq!(client.sign_in("admin", ADMIN_PASSWORD).status, 429);
    client.refreshed(&client.refreshed(&tokens));
    scale::attempts(addresses);
}

#[test]
fn with_failures_spread_so_that_no_lock_holds_one_user_has_ten_judged_an_hour() {
    let installation = patient().with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD", "1000");
    let server = installation.start();
    let addresses = scale::times(200, 1_000);
    let statuses = guess_at_once(server.address(), guesses_for("admin", addresses, machine));
    assert_eq!(statuses, BTreeMap::from([(401, 10), (429, addresses - 10)]));
    assert_eq!(judged(&server.http()), 10);
    scale::attempts(addresses);
}

#[test]
fn a_thousand_users_guessed_from_one_address_are_judged_five_times_a_minute() {
    let installation = patient();
    let server = installation.start();
    let users = scale::times(200, 1_000);
    let guess = |number| Guess {
        from: machine(0),
        username: format!("user-{number}"),
        password: WRONG,
    };
    let statuses = guess_at_once(server.address(), (0..users).map(guess).collect());
    assert_eq!(statuses, BTreeMap::from([(401, 5), (429, users - 5)]));
    assert_eq!(judged(&server.http()), 5);
    // Somebody else's sign-in is none of that address's business.
    Client::flutter(server.http()).admin_tokens();
    scale::attempts(users);
}

#[test]
fn no_way_to_write_a_name_and_no_header_gives_more_guesses() {
    let installation = Installation::new()
        .with("AUTH_SERVICE__RATE_LIMIT_PER_IP", "1000")
        .with("AUTH_SERVICE__BRUTE_FORCE_THRESHOLD_PER_IP", "1000");
    let server = installation.start();
    let http = server.http();
    let spellings = [
        "admin",
        "admin@codelab.local",
        "ADMIN@CODELAB.LOCAL",
        "Admin@CodeLab.Local",
        "aDmIn@cOdElAb.lOcAl",
        "admin",
        "admin@codelab.LOCAL",
        "admin",
    ];
    let headers = [
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-original-forwarded-for",
        "client-ip",
    ];
    let guess = |number: usize| {
        let form = [
            ("grant_type", "password"),
            ("client_id", FLUTTER),
            ("username", spellings[number % spellings.len()]),
            ("password", WRONG),
        ];
        let address = IpAddr::from(machine(number)).to_string();
        let value = if number % headers.len() == 1 {
            format!("for={address}")
        } else {
            address
        };
        let header = [(headers[number % headers.len()], value.as_str())];
        http.post_form("/oauth/token", &header, &form).unwrap().status
    };
    let statuses: Vec<u16> = (0..40).map(guess).collect();
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[5..].iter().all(|status| *status == 429), "{statuses:?}");
    assert_eq!(judged(&http), 5);
    scale::attempts(40);
}
