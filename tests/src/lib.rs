//! Starts the built binary and speaks to it over HTTP, for the end-to-end tests and the load generator.
//!
//! Knows the server from outside only: its command line, its settings, its answers and its files.

pub mod binary;
pub mod client;
pub mod http;
pub mod installation;
pub mod load;
pub mod raw;
pub mod scale;
pub mod server;
pub mod wire;
