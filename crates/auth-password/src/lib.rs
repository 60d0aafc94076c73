//! Hashes and verifies passwords within a bounded CPU budget.
