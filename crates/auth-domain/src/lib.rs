//! What an OAuth 2.0 authorization server decides, and the ports it needs.
//!
//! Everything here is a rule over values or a use case over ports. Nothing here may read a clock, draw a
//! random number, open a file or a socket, or know which database, web framework or signing library is in use.

pub mod audit;
pub mod claims;
pub mod client;
pub mod client_auth;
pub mod context;
pub mod device;
mod grant;
pub mod id;
pub mod introspection;
pub mod key;
pub mod name;
pub mod password;
pub mod ports;
pub mod refusal;
pub mod request;
pub mod revocation;
pub mod rotation;
pub mod scope;
pub mod secret;
pub mod session;
pub mod takeover;
pub mod throttle;
pub mod time;
pub mod token_service;
pub mod user;
