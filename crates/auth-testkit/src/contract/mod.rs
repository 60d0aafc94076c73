//! The contract suites: what every implementation of a port must keep, one rule a function.
