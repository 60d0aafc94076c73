//! Revocation and introspection of the built server: what was revoked stays so, across a restart and between processes.

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::server::Server;
use rstest::rstest;

use crate::support::{Store, assert_refused, confidential_client, everything_in};

const SERVICE: &str = "back-office";

/// A service that asks about the tokens it is shown.
struct Service {
    secret: String,
}

impl Service {
    fn of(installation: &Installation) -> Self {
        Self {
            secret: confidential_client(installation, SERVICE),
        }
    }

    fn is_active(&self, http: &Http, token: &str) -> bool {
        let form = [
            ("client_id", SERVICE),
            ("client_secret", &self.secret),
            ("token", token),
        ];
        let answer = http.post_form("/oauth/introspect", &[], &form).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        match answer.text().as_str() {
            "{\"active\":false}" => false,
            told => {
                assert!(told.starts_with("{\"active\":true,"), "{told}");
                true
            }
        }
    }
}

fn revoke(http: &Http, token: &str) {
    let form = [("client_id", FLUTTER), ("token", token)];
    let answer = http.post_form("/oauth/revoke", &[], &form).unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "{\"revoked\":true}")
    );
}

fn started(installation: &Installation) -> (Server, Http, Client) {
    let server = installation.start();
    let http = server.http();
    let client = Client::flutter(http.clone());
    (server, http, client)
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn what_was_revoked_stays_revoked_across_a_restart(#[case] store: Store) {
    let installation = store.installation();
    let (server, http, client) = started(&installation);
    let service = Service::of(&installation);
    let (denied, ended, kept) = (
        client.admin_tokens(),
        client.admin_tokens(),
        client.admin_tokens(),
    );
    for tokens in [&denied, &ended, &kept] {
        assert!(service.is_active(&http, &tokens.access));
    }
    revoke(&http, &denied.access);
    revoke(&http, &ended.refresh);
    drop(server);

    let (_server, http, client) = started(&installation);
    assert!(!service.is_active(&http, &denied.access));
    assert_refused(&client.refresh(&ended.refresh));
    assert!(service.is_active(&http, &kept.access));
    client.refreshed(&denied);
    client.refreshed(&kept);
}

#[rstest]
#[case::sqlite(Store::Sqlite)]
#[case::postgres(Store::Postgres)]
fn what_an_operator_ends_beside_the_running_server_is_known_to_it_at_once(#[case] store: Store) {
    let installation = store.installation();
    let (_server, http, client) = started(&installation);
    let service = Service::of(&installation);
    let tokens = client.admin_tokens();
    let denied = installation
        .run(&["token", "revoke", "--token-stdin"], &tokens.access)
        .unwrap();
    assert!(denied.status.success(), "{}", everything_in(&denied));
    assert!(!service.is_active(&http, &tokens.access));

    let other = client.admin_tokens();
    assert!(service.is_active(&http, &other.access));
    let deactivated = installation
        .run(&["user", "deactivate", "admin", "--yes"], "")
        .unwrap();
    assert!(deactivated.status.success(), "{}", everything_in(&deactivated));
    assert!(!service.is_active(&http, &other.access));
    assert_refused(&client.refresh(&other.refresh));
}
