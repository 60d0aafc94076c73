//! The contract suites: what every implementation of a port must keep, one rule a function.

pub mod hasher;
pub mod signer;
