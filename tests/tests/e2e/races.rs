//! Chains that are being rotated as fast as they can be, against what ends them: nothing of them works afterwards.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use auth_e2e::client::{Client, FLUTTER, Tokens};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::scale;
use auth_e2e::server::Server;
use auth_e2e::wire::{self, Connection};
use rstest::rstest;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::support::{Store, assert_refused, everything_in};

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn no_chain_survives_the_deactivation_of_its_user_while_it_rotates(#[case] store: Store) {
    let end = |_: &Server, installation: &Installation, _: &[Tokens]| {
        run(installation, "user deactivate admin --yes", "");
    };
    let begin_again = |installation: &Installation| run(installation, "user activate admin", "");
    no_chain_survives(store, end, begin_again);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn no_chain_survives_a_new_password_while_it_rotates(#[case] store: Store) {
    // Each change is to another password, and the next sign-ins are by the first one again.
    let end = |_: &Server, installation: &Installation, _: &[Tokens]| {
        run(
            installation,
            "user set-password admin --password-stdin",
            "Another-Horse-8-Battery",
        );
    };
    let begin_again = |installation: &Installation| {
        run(
            installation,
            "user set-password admin --password-stdin",
            ADMIN_PASSWORD,
        );
    };
    no_chain_survives(store, end, begin_again);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn no_chain_survives_the_disabling_of_its_client_while_it_rotates(#[case] store: Store) {
    let end = |_: &Server, installation: &Installation, _: &[Tokens]| {
        run(installation, &format!("client disable {FLUTTER} --yes"), "");
    };
    let begin_again =
        |installation: &Installation| run(installation, &format!("client enable {FLUTTER}"), "");
    no_chain_survives(store, end, begin_again);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn no_chain_survives_its_revocation_while_it_rotates(#[case] store: Store) {
    let end = |server: &Server, _: &Installation, tokens: &[Tokens]| {
        for Tokens { refresh, .. } in tokens {
            let form = [("client_id", FLUTTER), ("token", refresh)];
            let answer = server.http().post_form("/oauth/revoke", &[], &form).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    no_chain_survives(store, end, |_| {});
}

fn run(installation: &Installation, command: &str, input: &str) {
    let arguments: Vec<&str> = command.split(' ').collect();
    let output = installation.run(&arguments, input).unwrap();
    assert!(output.status.success(), "{}", everything_in(&output));
}

fn no_chain_survives(
    store: Store,
    end: impl Fn(&Server, &Installation, &[Tokens]) + Sync,
    begin_again: impl Fn(&Installation),
) {
    let chains = scale::times(16, 50);
    let rounds = scale::times(2, 7);
    let installation = store.installation();
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut database = Database::of(&installation);
    for round in 0..rounds {
        let tokens: Vec<Tokens> = (0..chains).map(|_| client.admin_tokens()).collect();
        let (rotating, seen) = mpsc::channel();
        let newest = thread::scope(|scope| {
            let (server, installation, first, end) = (&server, &installation, &tokens[..], &end);
            scope.spawn(move || {
                // Somewhere in the middle of it, each time at another moment.
                for _ in 0..chains * (1 + round % 3) {
                    seen.recv().unwrap();
                }
                end(server, installation, first);
                // What is still told is told to nobody.
                seen.iter().for_each(drop);
            });
            rotate_until_refused(server, &tokens, rotating)
        });
        begin_again(&installation);
        for token in newest {
            assert_refused(&client.refresh(&token));
        }
        assert_eq!(
            database.number("SELECT count(*) FROM sessions WHERE revoked_at IS NULL"),
            0
        );
    }
    scale::attempts(chains * rounds);
}

/// Refreshes each chain over a connection of its own until it is refused; says the newest tokens.
fn rotate_until_refused(server: &Server, tokens: &[Tokens], rotated: mpsc::Sender<()>) -> Vec<String> {
    let address = server.address();
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let mut rotating = JoinSet::new();
        for Tokens { refresh, .. } in tokens {
            let rotated = rotated.clone();
            let refresh = refresh.clone();
            rotating.spawn(async move { rotate_one(address, refresh, &rotated).await.unwrap() });
        }
        drop(rotated);
        rotating.join_all().await
    })
}

async fn rotate_one(
    address: SocketAddr,
    mut newest: String,
    rotated: &mpsc::Sender<()>,
) -> io::Result<String> {
    let mut connection = Connection::open(address).await?;
    loop {
        let form = wire::refresh_form(FLUTTER, &newest);
        let reply = connection.exchange(&wire::token_request(address, &form)).await?;
        if reply.status != 200 {
            assert_eq!(reply.status, 401, "{}", String::from_utf8_lossy(reply.body));
            return Ok(newest);
        }
        wire::refresh_token(reply.body).unwrap().clone_into(&mut newest);
        // Nobody listens any more once the chain has been ended.
        let _ = rotated.send(());
    }
}
