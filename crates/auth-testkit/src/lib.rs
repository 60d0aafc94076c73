//! Fakes, builders, a mock clock, seeded randomness and the contract suites every adapter must pass.
