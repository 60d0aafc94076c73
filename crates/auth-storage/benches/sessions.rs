//! What a session costs an SQLite database in a file, durably: to be found, and to be rotated alone and in company.
#![expect(clippy::expect_used, reason = "a benchmark stops at what it did not expect")]

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::id::{JtiHash, RowId, SessionId};
use auth_domain::ports::Sessions;
use auth_domain::session::{Rotated, Rotation, SessionKey, TokenRow};
use auth_domain::time::Seconds;
use auth_storage::{DatabaseUrl, Migrations, Store, StoreOptions};
use auth_testkit::build;
use auth_testkit::clock::START;
use divan::{Bencher, black_box};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

fn main() {
    divan::main();
}

#[divan::bench]
fn find(bencher: Bencher<'_, '_>) {
    let chains = Chains::open(64);
    let key = SessionKey::Id(*chains.ids.first().expect("there are 64"));
    let find = || {
        chains
            .runtime
            .block_on(chains.store.sessions.find(black_box(&key)))
    };
    assert!(find().expect("the store is there").is_some());
    bencher.bench_local(find);
}

/// So many chains rotate at once, each by one step.
#[divan::bench(args = [1, 8, 64])]
fn rotate(bencher: Bencher<'_, '_>, together: u64) {
    let mut chains = Chains::open(together);
    bencher.bench_local(|| chains.rotate());
}

/// Chains in a database of their own, all of them at the same step.
struct Chains {
    ids: Vec<SessionId>,
    step: u64,
    runtime: Runtime,
    store: Store,
    _folder: TempDir,
}

impl Chains {
    fn open(count: u64) -> Self {
        let folder = TempDir::new().expect("there is room for a database");
        let url = DatabaseUrl::file(folder.path().join("auth.db"));
        Migrations::of(&url).up().expect("a new file takes the schema");
        let store = auth_storage::open(&url, None, StoreOptions::default()).expect("the file opens");
        let runtime = Builder::new_current_thread().build().expect("a runtime starts");
        let ids = runtime.block_on(sign_in(&store, count));
        Self {
            ids,
            step: 0,
            runtime,
            store,
            _folder: folder,
        }
    }

    /// Every chain by one step.
    fn rotate(&mut self) {
        let step = self.step + 1;
        let sessions = &self.store.sessions;
        let rotations = (0..)
            .zip(&self.ids)
            .map(|(chain, id)| rotate_to(&**sessions, *id, chain, step));
        let rotated = self.runtime.block_on(join_all(rotations));
        assert!(rotated.iter().all(|rotated| *rotated == Rotated::Rotated));
        self.step = step;
    }
}

/// A user with so many sessions.
async fn sign_in(store: &Store, count: u64) -> Vec<SessionId> {
    let (user, client) = (build::user(build::ALICE), build::flutter_client());
    let note = |text: &str| build::audit(text, AuditEvent::PasswordChange {});
    let user_stored = store.user_directory.create(user.clone(), note("user")).await;
    user_stored.expect("the store is there");
    let client_stored = store
        .client_directory
        .create(client.clone(), note("client"))
        .await;
    client_stored.expect("the store is there");
    let mut ids = Vec::new();
    for chain in 0..count {
        let text = chain.to_string();
        let mut session = build::new_session(&text, &user, &client);
        session.first = token(chain, 0);
        ids.push(session.id);
        let opened = store.sessions.open(session, note(&text)).await;
        opened.expect("the store is there");
    }
    ids
}

async fn rotate_to(sessions: &dyn Sessions, id: SessionId, chain: u64, step: u64) -> Rotated {
    let rotation = Rotation {
        session_id: id,
        from: hash(chain, step - 1),
        to: token(chain, step),
    };
    let audit = AuditRecord {
        id: row(chain, step),
        at: START,
        event: AuditEvent::TokenRefresh {
            session_id: id,
            scope: build::scope("api:read api:write"),
            repeated: false,
        },
        user_id: Some(build::user_id(build::ALICE)),
        client_id: Some(build::client_id(build::FLUTTER)),
        context: build::context(),
    };
    sessions
        .rotate(rotation, audit)
        .await
        .expect("the store is there")
}

/// The token of a chain after so many steps.
fn token(chain: u64, step: u64) -> TokenRow {
    TokenRow {
        id: row(chain, step),
        jti_hash: hash(chain, step),
        issued_at: START,
        expires_at: START.plus(Seconds::new(2_592_000)),
    }
}

fn hash(chain: u64, step: u64) -> JtiHash {
    let mut bytes = [0; 32];
    // What tells hashes apart stands at their front, as it does in real ones.
    for (to, from) in bytes
        .iter_mut()
        .zip([step.reverse_bits().to_be_bytes(), chain.to_be_bytes()].concat())
    {
        *to = from;
    }
    JtiHash::from_bytes(bytes)
}

/// Keys in the order of time.
fn row(chain: u64, step: u64) -> RowId {
    RowId::from_uuid(Uuid::from_u64_pair(step, chain))
}
