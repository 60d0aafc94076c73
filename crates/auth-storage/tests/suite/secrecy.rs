//! Whoever reads the database can sign in as nobody.

use std::fs;

use auth_testkit::TestBed;
use auth_testkit::build;

use crate::file::{File, stage_of};

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn the_files_hold_no_token_and_no_secret() {
    let file = File::new();
    let path = file.path();
    let store = file.open();
    let stage = stage_of(&store, file);
    let (user, _) = stage.populate().await;
    let backend = build::confidential_client(build::BACKEND, build::BACKEND_SECRET);
    stage.create_client(&backend).await;

    let bed = TestBed::default();
    let mut ports = bed.ports();
    ports.clients = stage.clients.clone();
    ports.users = stage.users.clone();
    ports.sessions = stage.sessions.clone();
    ports.audit = stage.audit.clone();
    let service = auth_domain::token_service::TokenService::new(ports, bed.policy.clone());
    let form = [
        ("grant_type", "password"),
        ("client_id", build::BACKEND),
        ("client_secret", build::BACKEND_SECRET),
        ("username", user.username.as_str()),
        ("password", build::ALICE_PASSWORD),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = auth_domain::request::TokenRequest::parse(form, None).expect("a good form");
    let answer = service.issue(request, &bed.context).await;
    let granted = auth_testkit::bed::granted(answer);

    let mut bytes = fs::read(&path).expect("readable");
    bytes.extend(fs::read(path.with_extension("db-wal")).expect("readable"));
    assert!(
        holds(&bytes, b"alice@example.com"),
        "the search finds what is there"
    );
    for token in [granted.tokens.access, granted.tokens.refresh] {
        for part in token.expose().split('.') {
            assert!(!holds(&bytes, part.as_bytes()), "a token, or a part of one");
        }
    }
    assert!(
        !holds(&bytes, build::BACKEND_SECRET.as_bytes()),
        "the client's secret"
    );
}
