//! `health`: whether a running server is well and can serve.

use crate::desk::Desk;

#[test]
fn health_is_not_good_while_migrations_are_pending() {
    let desk = Desk::new();
    let server = desk.serve();
    let ask = ["health", "--url", &server.base];
    assert_eq!(desk.json(&ask)["ready"], true);
    desk.run(&["migrate", "down", "--yes"]).succeeded();
    let ran = desk.run(&ask);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("missing   migrations") && ran.out.contains("auth-service migrate up"),
        "{}",
        ran.out
    );
}

#[test]
fn an_address_that_cannot_be_asked_is_refused_with_what_can() {
    let desk = Desk::new();
    desk.run(&["health", "--url", "foo"])
        .failed(2, "must be a URL such as http://127.0.0.1:8003");
    desk.run(&["health", "--url", "ftp://auth.example.com"])
        .failed(2, "must be a URL such as http://127.0.0.1:8003");
    desk.run(&["health", "--url", "https://localhost:1", "--ca", "/dev/null"])
        .failed(1, "it is no ordinary file");
    desk.run(&["health", "--ca", "/dev/null"])
        .failed(1, "it is no ordinary file");
}

#[test]
fn the_wrong_scheme_is_told_from_a_server_that_is_not_there() {
    let desk = Desk::new();
    let server = desk.serve();
    let secure = server.base.replace("http://", "https://");
    desk.run(&["health", "--url", &secure])
        .failed(1, "Is plain HTTP spoken there?");
    desk.run(&["health", "--url", "http://127.0.0.1:1"])
        .failed(1, "Is the server running?");
}
