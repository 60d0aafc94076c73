//! Every input of the fuzzers' corpus, as an ordinary test: what was found once stays found.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't read its inputs has failed"
)]

use std::fs;
use std::path::Path;

#[path = "../../../tests/fuzz/src/lib.rs"]
pub mod fuzz;

/// Feeds the check each file of its part of the corpus. Where it fails, the last path that was printed is the one.
fn replay(part: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fuzz/corpus")
        .join(part);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{} holds only {count} files", folder.display());
}

#[test]
fn forms_of_the_corpus_are_read_or_refused() {
    replay("form", fuzz::form);
}

#[test]
fn basic_headers_of_the_corpus_are_read_or_refused() {
    replay("basic", fuzz::basic);
}

#[test]
fn addresses_of_the_corpus_change_nothing_that_they_may_not() {
    replay("client_address", fuzz::client_address);
}

#[test]
fn scopes_of_the_corpus_are_read_or_refused() {
    replay("scope", fuzz::scope);
}

#[test]
fn token_requests_of_the_corpus_are_read_or_refused() {
    replay("token_request", fuzz::token_request);
}

#[test]
fn requests_about_tokens_of_the_corpus_are_read_or_refused() {
    replay("about_token", fuzz::about_token);
}

#[test]
fn cookies_of_the_corpus_are_read_or_passed_over() {
    replay("cookie", fuzz::cookie);
}

#[test]
fn tokens_of_the_corpus_are_genuine_only_if_they_are() {
    replay("jwt", fuzz::jwt);
}
