//! Hashes and verifies passwords within a bounded budget of CPU and memory.
//!
//! A login storm may never delay anything else: hashing has its own few threads of low priority and a short queue,
//! and past that the answer is "saturated", at once. Nothing here decides about accounts, counts failures, or logs
//! a password or a hash.

mod compute;
mod pool;

pub use pool::{HashingFigures, HashingPool, HashingSettings, StartFault};
