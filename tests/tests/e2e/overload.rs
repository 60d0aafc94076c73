//! More is asked for than can be done: what is too much is told to come again, nothing has been done of it, and whatever
//! costs little is answered all the while.

use std::io;
use std::net::SocketAddr;

use auth_e2e::client::{Client, FLUTTER, Tokens};
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use auth_e2e::server::Server;
use auth_e2e::wire::{self, Connection, Reply};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Never refused, however much is in hand.
const READY: [&str; 4] = [
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/health",
    "/live",
];

/// What became of the requests of one user.
#[derive(Debug, Default)]
struct Seen {
    served: usize,
    refused: usize,
    newest: String,
}

#[test]
fn what_is_too_much_is_refused_and_nothing_of_it_has_been_done() {
    // Four times as many ask at once as the one worker takes in hand.
    let (in_hand, users) = (2, 8);
    let rounds = scale::times(40, 400);
    let installation = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__WORKERS", "1")
        .with("AUTH_SERVICE__MAX_REQUESTS_IN_HAND", &in_hand.to_string());
    let server = installation.start();
    let client = Client::flutter(server.http());
    let tokens: Vec<Tokens> = (0..users).map(|_| client.admin_tokens()).collect();
    let seen = flood(&server, &tokens, rounds);
    let (granted, refused) = seen.iter().fold((0, 0), |(granted, refused), user| {
        (granted + user.served, refused + user.refused)
    });
    assert!(granted > 0 && refused > 0, "{granted} served, {refused} refused");
    // One at a time is never too much, and no token that was refused has been consumed.
    for user in &seen {
        let answer = client.refresh(&user.newest);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_counted(&server, refused);
    assert_eq!(server.stop().and_then(|status| status.code()), Some(0));
    assert!(installation.printed().contains(r#""event_type":"overload""#));
    scale::attempts(granted + refused);
}

fn assert_counted(server: &Server, refused: usize) {
    let metrics = server.http().get("/metrics").unwrap().text();
    for line in [
        format!("auth_http_requests_turned_away_total {refused}"),
        format!(r#"auth_token_requests_total{{grant_type="unknown",status="503"}} {refused}"#),
        "auth_http_requests_in_hand 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} in\n{metrics}");
    }
}

/// All users at once, each by a connection of its own and as fast as it is answered; and beside them somebody who asks for
/// what is ready, until they are done.
fn flood(server: &Server, tokens: &[Tokens], rounds: usize) -> Vec<Seen> {
    let address = server.address();
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut users = JoinSet::new();
        for Tokens { refresh, .. } in tokens {
            let first = refresh.clone();
            users.spawn(async move { refresh_often(address, first, rounds).await.unwrap() });
        }
        let all = async { users.join_all().await };
        tokio::select! {
            seen = all => seen,
            fault = ask_for_what_is_ready(address) => panic!("{fault:?}"),
        }
    })
}

/// Refreshes so many times; who is told to come again does, with the same token.
async fn refresh_often(address: SocketAddr, first: String, rounds: usize) -> io::Result<Seen> {
    let mut connection = Connection::open(address).await?;
    let mut seen = Seen {
        newest: first,
        ..Seen::default()
    };
    for _ in 0..rounds {
        let form = wire::refresh_form(FLUTTER, &seen.newest);
        let reply = connection.exchange(&wire::token_request(address, &form)).await?;
        if reply.status == 200 {
            seen.served += 1;
            wire::refresh_token(reply.body)
                .unwrap()
                .clone_into(&mut seen.newest);
        } else {
            seen.refused += 1;
            assert_told_to_come_again(&reply);
        }
    }
    Ok(seen)
}

fn assert_told_to_come_again(reply: &Reply<'_>) {
    let (head, body) = (
        String::from_utf8_lossy(reply.head).to_lowercase(),
        String::from_utf8_lossy(reply.body),
    );
    assert_eq!(reply.status, 503, "{head}{body}");
    assert!(body.contains(r#""error":"temporarily_unavailable""#), "{body}");
    for header in [
        "\r\nretry-after: ",
        "\r\ncache-control: no-store\r\n",
        "\r\npragma: no-cache\r\n",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(!head.contains("connection: close"), "{head}");
}

/// Comes back only where that is not answered.
async fn ask_for_what_is_ready(address: SocketAddr) -> io::Result<u16> {
    let mut connection = Connection::open(address).await?;
    loop {
        for path in READY {
            let reply = connection.exchange(&wire::get(address, path)).await?;
            if reply.status != 200 {
                return Ok(reply.status);
            }
        }
    }
}
