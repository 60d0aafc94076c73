//! The domain's whole suite: rules by tables and properties, grants over the fakes of the testkit. No IO.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it did not expect stops there"
)]

mod audit;
mod chain;
mod claims;
mod client_auth;
mod devices;
mod grants;
mod ids;
mod introspection;
mod keys;
mod legacy;
mod passwords;
mod redeem;
mod requests;
mod revocation;
mod scopes;
mod takeover;
mod takeover_walks;
mod throttling;
mod users;
