//! The command line as people and scripts meet it: the built program, in a folder of its own.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test whatever is not as it should be is a failure, helpers included"
)]

mod administration;
mod bench;
mod comfort;
mod database;
mod desk;
mod doctor;
mod first_start;
mod health;
mod revocation;
mod settings;
mod tokens_and_keys;
