//! Fakes of every port: in memory, at once, with the ports' contracts, and with outages on demand.

mod hasher;
mod outage;
mod signer;
mod store;
mod throttle;

pub use hasher::FakeHasher;
pub use outage::Outage;
pub use signer::FakeSigner;
pub use store::{FakeStore, StoredSession, StoredToken};
pub use throttle::FakeThrottle;
