//! Lifetimes against the machine's own clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth_domain::time::Timestamp;
use auth_e2e::client::Client;
use auth_e2e::installation::Installation;
use auth_e2e::server::within;

use crate::database::claims;
use crate::support::assert_refused;

#[test]
fn a_refresh_token_works_before_its_last_second_and_not_in_it() {
    let installation = Installation::new()
        .unlimited()
        .with("AUTH_SERVICE__REFRESH_TOKEN_LIFETIME", "3");
    let server = installation.start();
    let client = Client::flutter(server.http());
    let live = client.refreshed(&client.admin_tokens());
    let expiry = Timestamp::from(claims(&live.refresh).exp);
    let late = within(Duration::from_secs(10), || (now() >= expiry).then_some(()));
    assert!(late.is_some(), "that moment comes");
    assert_refused(&client.refresh(&live.refresh));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server's clock is the system's, and here we wait for it"
)]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(since.as_micros().try_into().unwrap())
}
