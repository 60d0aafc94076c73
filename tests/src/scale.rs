//! How often a security test tries what it tries: a few times among all other tests, as often as `tests/threats.toml`
//! promises in `make test-security`; and the line by which it says how often that was.

use std::env;

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
#[expect(
    clippy::print_stdout,
    reason = "a test tells its runner; there is no other way out of it"
)]
pub fn attempts(number: usize) {
    println!("attempts={number}");
}
