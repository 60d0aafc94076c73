//! The built binary over HTTP, against real files; and the rules of the workspace.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it must be"
)]

mod alerts;
mod audit;
mod backup;
mod bench;
mod bounds;
mod chain;
mod client_cache;
mod clocks;
mod connections;
mod crashes;
mod database;
mod dependency_rule;
mod deploy;
mod devices;
mod disk;
mod docs_page;
mod doctor;
mod documents;
mod endurance;
mod expiry;
mod flutter;
mod forged;
mod gateway;
mod guessing;
mod hostile;
mod instances;
mod keys;
mod logging;
mod metrics;
mod overload;
mod production;
mod proxies;
mod races;
mod redis;
mod rehashing;
mod resource_server;
mod retry;
mod revocation;
mod rolling;
mod round_trips;
mod secrecy;
mod sqlmap;
mod starting;
mod storm;
mod support;
mod takeover;
mod threats;
mod timing;
mod tls;
mod traces;
mod transfer;
