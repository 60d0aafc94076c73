//! What happens when something else comes first between a read and the write that relies on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::ports::{Sessions, Unavailable};
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::request::TokenRequest;
use auth_domain::session::{NewSession, Opened, Revocation, Rotated, Rotation, SessionKey, SessionView};
use auth_domain::token_service::{Answer, Outcome, RotationResult, TokenService};
use auth_domain::user::User;
use auth_testkit::bed::granted;
use auth_testkit::fake::FakeStore;
use auth_testkit::{TestBed, build};

use super::{client_with_window, events, password_form, refresh_form, refused};

/// Sessions where another writer always comes first.
struct Overtaken {
    store: FakeStore,
    mode: Mode,
    attempts: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// The very same rotation is carried out by somebody else before ours.
    RotatedTwice,
    /// The user changes the password before the session opens.
    PasswordChanged,
    /// The store says "superseded" for ever.
    NeverDone,
}

#[async_trait]
impl Sessions for Overtaken {
    async fn find(&self, key: &SessionKey) -> Result<Option<SessionView>, Unavailable> {
        Sessions::find(&self.store, key).await
    }

    async fn open(&self, session: NewSession, audit: AuditRecord) -> Result<Opened, Unavailable> {
        if self.mode == Mode::PasswordChanged {
            let password_hash = build::password_hash("another");
            self.store.put_user(User {
                password_hash,
                ..build::user(build::ALICE)
            });
        }
        self.store.open(session, audit).await
    }

    async fn rotate(&self, rotation: Rotation, audit: AuditRecord) -> Result<Rotated, Unavailable> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        match self.mode {
            Mode::NeverDone => Ok(Rotated::Superseded),
            Mode::RotatedTwice => {
                self.store.rotate(rotation.clone(), audit.clone()).await?;
                self.store.rotate(rotation, audit).await
            }
            Mode::PasswordChanged => self.store.rotate(rotation, audit).await,
        }
    }

    async fn revoke(&self, revocation: Revocation, audit: AuditRecord) -> Result<u64, Unavailable> {
        self.store.revoke(revocation, audit).await
    }
}

async fn ask(bed: &TestBed, mode: Mode, form: &[(&str, &str)]) -> (Answer, usize) {
    let sessions = Arc::new(Overtaken {
        store: bed.store.clone(),
        mode,
        attempts: AtomicUsize::new(0),
    });
    let mut ports = bed.ports();
    ports.sessions = sessions.clone();
    let pairs = form
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = TokenRequest::parse(pairs, None).unwrap();
    let answer = TokenService::new(ports, bed.policy.clone())
        .issue(request, &bed.context)
        .await;
    (answer, sessions.attempts.load(Ordering::SeqCst))
}

#[tokio::test]
async fn the_loser_of_a_race_is_judged_anew_and_found_to_be_reuse() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let (answer, attempts) = ask(
        &bed,
        Mode::RotatedTwice,
        &refresh_form(first.tokens.refresh.expose()),
    )
    .await;
    assert_eq!(attempts, 1);
    assert_eq!(answer.facts.rotation, Some(RotationResult::Reuse));
    assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::Reuse));
    assert_eq!(
        events(&bed),
        ["login_success", "token_refresh", "security_incident"]
    );
}

#[tokio::test]
async fn the_loser_of_a_race_within_the_window_gets_the_winners_token() {
    let bed = TestBed::default();
    bed.store.put_client(client_with_window(30));
    let first = bed.sign_in().await;
    let (answer, _) = ask(
        &bed,
        Mode::RotatedTwice,
        &refresh_form(first.tokens.refresh.expose()),
    )
    .await;
    assert_eq!(answer.facts.rotation, Some(RotationResult::Repeated));
    let repeated = granted(answer);
    granted(bed.refresh(repeated.tokens.refresh.expose()).await);
}

#[tokio::test]
async fn a_store_that_never_agrees_is_an_outage_and_not_an_endless_loop() {
    let bed = TestBed::default();
    let first = bed.sign_in().await;
    let (answer, attempts) = ask(
        &bed,
        Mode::NeverDone,
        &refresh_form(first.tokens.refresh.expose()),
    )
    .await;
    assert!(matches!(answer.outcome, Outcome::Unavailable(_)), "{answer:?}");
    assert_eq!(answer.facts.rotation, Some(RotationResult::Refused));
    assert_eq!(attempts, 4);
}

#[tokio::test]
async fn a_password_changed_during_the_login_refuses_it() {
    let bed = TestBed::default();
    let form = password_form(build::ALICE, build::ALICE_PASSWORD);
    let (answer, _) = ask(&bed, Mode::PasswordChanged, &form).await;
    assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::Overtaken));
    assert_eq!(events(&bed), ["login_failed"]);
}
