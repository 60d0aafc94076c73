//! The HTTP face of the server over fakes: the real application, a mock clock and seeded randomness.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers stop the test where what they expect is not there"
)]

mod devices;
mod discovery;
mod docs;
mod documented;
mod edge;
mod in_hand;
mod introspection;
mod limits;
mod logs;
mod metrics;
mod operations;
mod origins;
mod outages;
mod parsers;
mod refusals;
mod requests;
mod revocation;
mod rig;
mod sameness;
mod sockets;
mod surroundings;
