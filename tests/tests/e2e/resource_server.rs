//! A service that judges tokens by the crate for Rust, while keys are rotated and the server is away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use auth_e2e::client::Client;
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::server::within;
use codelab_auth_resource::{FetchError, FetchKeySet, KeySetCache, KeySetLimits, Policy, TokenVerifier};
use tokio::runtime::{Builder, Runtime};

use crate::forged::{forgeries, header};
use crate::support::everything_in;

const ISSUER: &str = "https://auth.codelab.local";

#[test]
fn a_token_of_the_server_is_good_and_no_forgery_is() {
    let installation = Installation::new();
    let server = installation.start();
    let tokens = Client::flutter(server.http()).admin_tokens();
    let url = format!("http://{}/.well-known/jwks.json", server.address());
    let verifier = TokenVerifier::new(KeySetCache::new(url), Policy::of(ISSUER));
    let runtime = runtime();
    let judge = |token: &str| runtime.block_on(verifier.verify(token)).unwrap();

    let identity = judge(&tokens.access).unwrap();
    assert_eq!(identity.client_id, "codelab-flutter-app");
    assert!(identity.has_scopes(&["api:read", "api:write"]));
    assert!(judge(&tokens.refresh).is_err());
    for (name, token) in forgeries(&tokens.access, &server.http()) {
        assert!(judge(&token).is_err(), "{name}");
    }
}

#[test]
fn no_judgement_fails_while_keys_are_rotated_and_the_server_is_away() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let published = Published::of(server.http());
    let verifier = published.verifier(KeySetLimits {
        lifetime: Duration::ZERO,
        refetch_interval: Duration::ZERO,
        ..KeySetLimits::default()
    });
    let first = Client::flutter(server.http()).admin_tokens().access;
    let load = Load::begin(verifier, &first);
    load.go_on(20);
    for _ in 0..3 {
        let newer = rotated(&installation, &server.http(), &load.token());
        load.present(&newer);
        load.go_on(20);
    }
    published.go_away();
    server.stop();
    load.go_on(100);
    let server = installation.start();
    published.come_back(server.http());
    load.present(&Client::flutter(server.http()).admin_tokens().access);
    load.go_on(20);
    assert_eq!(load.end(), 0);
}

#[test]
fn one_immediate_rotation_is_followed_within_the_usual_limits() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let verifier = Published::of(server.http()).verifier(KeySetLimits::default());
    let first = Client::flutter(server.http()).admin_tokens().access;
    let runtime = runtime();
    let judge = |token: &str| runtime.block_on(verifier.verify(token)).unwrap();
    assert!(judge(&first).is_ok());
    let second = rotated(&installation, &server.http(), &first);
    assert!(judge(&second).is_ok());
    assert!(judge(&first).is_ok());
}

/// A token of the key that signs after the next rotation.
fn rotated(installation: &Installation, http: &Http, before: &str) -> String {
    let ran = installation
        .run(&["keys", "rotate", "--immediately", "--yes"], "")
        .unwrap();
    assert!(ran.status.success(), "{}", everything_in(&ran));
    let newer = || Some(Client::flutter(http.clone()).admin_tokens().access);
    within(Duration::from_secs(30), || {
        newer().filter(|token| header(token)["kid"] != header(before)["kid"])
    })
    .unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// The key set of a server that may go away and come back at another address.
#[derive(Clone)]
struct Published(Arc<Mutex<Option<Http>>>);

impl Published {
    fn of(http: Http) -> Self {
        Self(Arc::new(Mutex::new(Some(http))))
    }

    fn verifier(&self, limits: KeySetLimits) -> TokenVerifier {
        let begun = Instant::now();
        let cache = KeySetCache::of(self.clone(), limits, Arc::new(move || begun.elapsed()));
        TokenVerifier::new(cache, Policy::of(ISSUER))
    }

    fn go_away(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn come_back(&self, http: Http) {
        *self.0.lock().unwrap() = Some(http);
    }
}

impl FetchKeySet for Published {
    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let http = self.0.lock().unwrap().clone();
        let answer = http.and_then(|http| http.get("/.well-known/jwks.json").ok());
        answer
            .map(|answer| answer.body)
            .ok_or(FetchError::Content("nobody answers"))
    }
}

/// Judges the newest token without end, on a thread of its own, and counts what was refused.
struct Load {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

struct Shared {
    token: Mutex<String>,
    judged: AtomicUsize,
    refused: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    fn begin(verifier: TokenVerifier, token: &str) -> Self {
        let shared = Arc::new(Shared {
            token: Mutex::new(token.to_owned()),
            judged: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = runtime();
            while !own.is_over.load(Ordering::SeqCst) {
                let token = own.token.lock().unwrap().clone();
                let is_good = matches!(runtime.block_on(verifier.verify(&token)), Ok(Ok(_)));
                own.refused.fetch_add(usize::from(!is_good), Ordering::SeqCst);
                own.judged.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { shared, thread }
    }

    fn token(&self) -> String {
        self.shared.token.lock().unwrap().clone()
    }

    fn present(&self, token: &str) {
        token.clone_into(&mut self.shared.token.lock().unwrap());
    }

    /// Comes back after so many more judgements.
    fn go_on(&self, count: usize) {
        let until = self.shared.judged.load(Ordering::SeqCst) + count;
        within(Duration::from_secs(30), || {
            (self.shared.judged.load(Ordering::SeqCst) >= until).then_some(())
        })
        .unwrap();
    }

    /// How many were refused.
    fn end(self) -> usize {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.shared.refused.load(Ordering::SeqCst)
    }
}
