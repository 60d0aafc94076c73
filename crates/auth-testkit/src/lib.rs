//! Fakes, builders, a mock clock, seeded randomness and the contract suites every adapter must pass.
//!
//! For tests only. A fake keeps the contract of its port and passes the same suite as the adapter does; nothing
//! here may be linked into the server.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "what is broken inside a test's tools should stop the test, loudly"
)]

pub mod bed;
pub mod build;
pub mod clock;
pub mod contract;
pub mod fake;
pub mod metrics;
pub mod random;
pub mod server;

pub use bed::TestBed;
pub use clock::MockClock;
pub use random::SeededRandom;
