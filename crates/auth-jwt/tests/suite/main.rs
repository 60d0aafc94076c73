//! The crate as its users see it: tokens, the life of keys, and the directory they are kept in.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

mod common;
mod directory;
mod life;
mod tokens;
mod withdrawal;
