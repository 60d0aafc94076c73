//! How often a security test tries what it tries: a few times among all other tests, as often as `tests/threats.toml`
//! promises in `make test-security`; and the line by which it says how often that was.

use std::env;
use std::io::{self, Write};

/// The variable that asks for the full figures, by the value `full`.
pub const SCALE_VARIABLE: &str = "AUTH_E2E_SCALE";

/// Whether the full figures are asked for.
pub fn is_full() -> bool {
    env::var(SCALE_VARIABLE).is_ok_and(|scale| scale == "full")
}

/// How often to try: `full` where the full figures are asked for, else `few`.
pub fn times(few: usize, full: usize) -> usize {
    if is_full() { full } else { few }
}

/// Says how often something was tried. The numbers of a test are summed up into the table of `make test-security`; a
/// test that says none counts as one attempt.
pub fn attempts(number: usize) {
    say(&format!("attempts={number}"));
}

/// Says what was measured.
#[expect(
    clippy::print_stdout,
    reason = "a test tells its runner; there is no other way out of it"
)]
pub fn say(figures: &str) {
    println!("{figures}");
}

/// Says that a test tries less than it should, or nothing, because this machine lacks something. Straight to standard
/// error, past what a runner keeps to itself of a test that passes.
///
/// # Panics
/// Where the full figures are asked for: they are not reached then.
pub fn left_out(why: &str) {
    assert!(!is_full(), "{why}");
    // Where nobody listens, nobody is told.
    let _ = writeln!(io::stderr(), "\n*** NOT TRIED: {why} ***");
}
