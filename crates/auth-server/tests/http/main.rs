//! The HTTP face of the server over fakes: the real application, a mock clock and seeded randomness.

mod discovery;
mod edge;
mod metrics;
mod operations;
mod outages;
mod parsers;
mod refusals;
mod requests;
mod rig;
mod sameness;
mod sockets;
