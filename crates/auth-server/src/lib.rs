//! HTTP, settings, telemetry, command line and the composition root of the authorization server.
//!
//! Wires the rules of `auth-domain` to the adapters and to HTTP. No rule of OAuth is decided here.

pub mod address;
pub mod bootstrap;
pub mod cli;
pub mod clients;
pub mod compose;
pub mod devices;
pub mod files;
pub mod housekeeping;
pub mod http;
mod lost_keys;
pub mod renewal;
pub mod settings;
pub mod supervisor;
pub mod system;
pub mod telemetry;
pub mod throttle;
