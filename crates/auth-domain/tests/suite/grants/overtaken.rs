//! What happens when something else comes first between a read and the write that relies on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::client::{Client, ClientStatus};
use auth_domain::ports::{Hashed, PasswordHasher, Sessions, Unavailable, Verified};
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::request::TokenRequest;
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::session::{NewSession, Opened, Revocation, Rotated, Rotation, SessionKey, SessionView};
use auth_domain::throttle::{AccountKey, CounterKey, NetworkKey};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Outcome, Ports, RotationResult, TokenService};
use auth_domain::user::{User, UserStatus};
use auth_testkit::bed::granted;
use auth_testkit::fake::{FakeHasher, FakeStore};
use auth_testkit::{TestBed, build};
use rstest::rstest;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{client_with_window, events, last_row, password_form, refresh_form, refused};

/// Sessions where another writer always comes first.
struct Overtaken {
    store: FakeStore,
    hasher: FakeHasher,
    mode: Mode,
    attempts: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// The very same rotation is carried out by somebody else before ours.
    RotatedTwice,
    /// The store says "superseded" for ever.
    NeverDone,
    /// Before the session opens, something becomes of its user.
    Signing(Meanwhile),
}

/// What becomes of the user before a session opens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meanwhile {
    /// The password is another.
    PasswordChanged,
    /// Another sign-in replaces the hash by one of the same password.
    Rehashed,
    /// So it does, and the hasher has room for nobody any more.
    RehashedUnderLoad,
    /// The hash is replaced each time that somebody wants to open a session.
    RehashedAgainAndAgain,
    /// Another sign-in replaces the hash, and then an operator switches the account off.
    Deactivated,
    /// Somebody else, who happens to have the same password, has the name by now.
    Renamed,
    /// The client is disabled, and nothing becomes of the user.
    ClientDisabled,
}

#[async_trait]
impl Sessions for Overtaken {
    async fn find(&self, key: &SessionKey) -> Result<Option<SessionView>, Unavailable> {
        Sessions::find(&self.store, key).await
    }

    async fn open(&self, session: NewSession, audit: AuditRecord) -> Result<Opened, Unavailable> {
        let attempt = self.attempts.fetch_add(1, Ordering::SeqCst);
        if let Mode::Signing(meanwhile) = self.mode {
            self.overtake(meanwhile, attempt);
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
            Mode::Signing(_) => self.store.rotate(rotation, audit).await,
        }
    }

    async fn revoke(&self, revocation: Revocation, audit: AuditRecord) -> Result<u64, Unavailable> {
        self.store.revoke(revocation, audit).await
    }
}

impl Overtaken {
    fn overtake(&self, meanwhile: Meanwhile, attempt: usize) {
        let with = |password_hash| User {
            password_hash,
            ..build::user(build::ALICE)
        };
        let rehashed = with(FakeHasher::hash_of(build::ALICE_PASSWORD));
        match meanwhile {
            Meanwhile::PasswordChanged => self.store.put_user(with(build::password_hash("another"))),
            Meanwhile::Rehashed => self.store.put_user(rehashed),
            Meanwhile::RehashedUnderLoad => {
                self.store.put_user(rehashed);
                self.hasher.saturate(Seconds::new(2));
            }
            Meanwhile::RehashedAgainAndAgain if attempt.is_multiple_of(2) => self.store.put_user(rehashed),
            Meanwhile::RehashedAgainAndAgain => self.store.put_user(outdated_alice()),
            Meanwhile::Deactivated => self.store.put_user(User {
                status: UserStatus::Inactive,
                ..rehashed
            }),
            Meanwhile::Renamed => {
                self.store.put_user(User {
                    username: build::user("another").username,
                    email: build::user("another").email,
                    ..rehashed.clone()
                });
                self.store.put_user(User {
                    id: build::user_id("another"),
                    ..rehashed
                });
            }
            Meanwhile::ClientDisabled => self.store.put_client(Client {
                status: ClientStatus::Disabled,
                ..build::flutter_client()
            }),
        }
    }
}

async fn ask(bed: &TestBed, mode: Mode, form: &[(&str, &str)]) -> (Answer, usize) {
    let sessions = Arc::new(Overtaken {
        store: bed.store.clone(),
        hasher: bed.hasher.clone(),
        mode,
        attempts: AtomicUsize::new(0),
    });
    let mut ports = bed.ports();
    ports.sessions = sessions.clone();
    let answer = ask_over(ports, bed, form).await;
    (answer, sessions.attempts.load(Ordering::SeqCst))
}

async fn ask_over(ports: Ports, bed: &TestBed, form: &[(&str, &str)]) -> Answer {
    let pairs = form
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = TokenRequest::parse(pairs, None).unwrap();
    TokenService::new(ports, bed.policy.clone())
        .issue(request, &bed.context)
        .await
}

/// The built-in user, with a hash that the next sign-in replaces.
fn outdated_alice() -> User {
    User {
        password_hash: FakeHasher::outdated_hash_of(build::ALICE_PASSWORD),
        ..build::user(build::ALICE)
    }
}

/// A sign-in of the built-in user with a hash that is to be replaced, while something becomes of that user; and how
/// often a session was to be opened.
async fn sign_in_while(bed: &TestBed, meanwhile: Meanwhile) -> (Answer, usize) {
    bed.store.put_user(outdated_alice());
    let form = password_form(build::ALICE, build::ALICE_PASSWORD);
    ask(bed, Mode::Signing(meanwhile), &form).await
}

/// How many sign-ins, and how many failed ones, the account and its network have been counted.
fn counted(bed: &TestBed) -> [u32; 3] {
    let account = AccountKey::of_user(build::user_id(build::ALICE));
    let network = NetworkKey::of(build::context().ip.unwrap());
    let keys = [
        CounterKey::LoginsFor(account),
        CounterKey::FailuresFor(account),
        CounterKey::FailuresFrom(network),
    ];
    keys.map(|key| bed.throttle.standing(key).map_or(0, |count| count.hits))
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
async fn a_hash_replaced_during_the_login_is_judged_in_its_stead() {
    let bed = TestBed::default();
    let (answer, attempts) = sign_in_while(&bed, Meanwhile::Rehashed).await;
    let session = answer.facts.session_id.unwrap();
    granted(answer);
    assert!(
        bed.store.session(session).is_some(),
        "the session that is told of"
    );
    assert_eq!((attempts, bed.hasher.verifications()), (2, 2));
    assert_eq!(events(&bed), ["login_success"]);
    let row = last_row(&bed);
    assert!(
        matches!(row.event, AuditEvent::LoginSuccess { rehashed: false, .. }),
        "{row:?}"
    );
    assert_eq!(counted(&bed), [1, 0, 0], "one guess, and a right one");
}

#[rstest]
#[case::another_password(Meanwhile::PasswordChanged, 1, 2)]
#[case::no_more_an_active_user(Meanwhile::Deactivated, 1, 1)]
#[case::another_user_of_that_name(Meanwhile::Renamed, 1, 1)]
#[case::no_more_an_active_client(Meanwhile::ClientDisabled, 1, 1)]
#[case::never_the_hash_that_was_judged(Meanwhile::RehashedAgainAndAgain, 2, 2)]
#[tokio::test]
async fn what_changes_more_than_the_hash_during_the_login_refuses_it(
    #[case] meanwhile: Meanwhile,
    #[case] attempts: usize,
    #[case] verifications: u64,
) {
    let bed = TestBed::default();
    let (answer, attempted) = sign_in_while(&bed, meanwhile).await;
    assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::Overtaken));
    assert_eq!((attempted, bed.hasher.verifications()), (attempts, verifications));
    assert_eq!(events(&bed), ["login_failed"]);
    assert_eq!(counted(&bed), [1, 1, 1], "one guess, however often it was judged");
}

#[tokio::test]
async fn a_second_judgement_that_nobody_has_room_for_is_nobodys_failure() {
    let bed = TestBed::default();
    let (answer, _) = sign_in_while(&bed, Meanwhile::RehashedUnderLoad).await;
    let retry_after = Seconds::new(2);
    assert_eq!(refused(answer), Refusal::Saturated { retry_after });
    assert_eq!(events(&bed), [""; 0]);
    assert_eq!(counted(&bed), [0, 0, 0]);
}

/// A hasher that says nothing before so many passwords have been shown to it.
struct AllAtOnce {
    hasher: FakeHasher,
    contenders: usize,
    asked: AtomicUsize,
    all: Barrier,
}

#[async_trait]
impl PasswordHasher for AllAtOnce {
    async fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.contenders {
            self.all.wait().await;
        }
        self.hasher.verify(password, stored).await
    }

    async fn hash(&self, password: &Password) -> Result<Hashed, Unavailable> {
        self.hasher.hash(password).await
    }
}

/// So many sign-ins of one user whose hash is outdated, each of which has read that hash before any is judged.
async fn sign_in_at_once(bed: &TestBed, contenders: usize) -> Vec<Answer> {
    bed.store.put_user(outdated_alice());
    let hasher = Arc::new(AllAtOnce {
        hasher: bed.hasher.clone(),
        contenders,
        asked: AtomicUsize::new(0),
        all: Barrier::new(contenders),
    });
    let mut asking = JoinSet::new();
    for _ in 0..contenders {
        let mut ports = bed.ports();
        ports.hasher = hasher.clone();
        let bed = bed.clone();
        asking.spawn(async move {
            let form = password_form(build::ALICE, build::ALICE_PASSWORD);
            ask_over(ports, &bed, &form).await
        });
    }
    asking.join_all().await
}

#[tokio::test]
async fn of_64_right_passwords_at_once_each_signs_in_and_one_replaces_the_hash() {
    let bed = TestBed::without_limits();
    for answer in sign_in_at_once(&bed, 64).await {
        granted(answer);
    }
    let trail = bed.store.audit_trail();
    assert_eq!(events(&bed), ["login_success"; 64]);
    let replaced = trail
        .iter()
        .filter(|row| matches!(row.event, AuditEvent::LoginSuccess { rehashed: true, .. }));
    assert_eq!(replaced.count(), 1);
}

#[tokio::test]
async fn right_passwords_at_once_are_counted_as_sign_ins_and_not_as_failures() {
    let bed = TestBed::default();
    for answer in sign_in_at_once(&bed, 5).await {
        granted(answer);
    }
    assert_eq!(counted(&bed), [5, 0, 0]);
}
