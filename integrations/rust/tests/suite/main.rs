//! The crate against the vectors of `integrations/contracts`, a key set that answers as told, and both frameworks.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds what it did not expect stops there"
)]

mod cache;
mod frameworks;
mod vectors;
mod websockets;
