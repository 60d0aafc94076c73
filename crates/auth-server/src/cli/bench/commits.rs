//! What a durable refresh takes of an SQLite database on the disk of the one that is set: chains that rotate by the very
//! store of the server, in a database of their own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::client::Client;
use auth_domain::id::{Jti, JtiHash, RowId, SessionId};
use auth_domain::ports::{PasswordHasher, UserKey};
use auth_domain::session::{AuthenticationMethod, NewSession, Opened, Rotated, Rotation, TokenRow};
use auth_domain::time::Seconds;
use auth_domain::user::{Login, User};
use auth_storage::{DatabaseUrl, Migrations, Store};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::estimate::{Commits, Storing};
use super::scratch::Scratch;
use super::servers::nothing;
use super::stopwatch::{Limit, Spread, Whose, each};
use crate::bootstrap::{self, ADMIN, FLUTTER_CLIENT};
use crate::cli::failure::Failure;
use crate::compose::{self, StartError, World};
use crate::settings::Settings;

/// So many chains rotate at once, as in docs/PERFORMANCE.md.
pub(super) const TOGETHER: usize = 64;
/// What a commit writes at the least.
const BLOCK: usize = 4_096;
const BLOCK_BYTES: u64 = 4_096;
/// A disk is quicker where a file has its blocks already, as the database's log has.
const BLOCKS: u64 = 256;
/// Nobody uses the tokens of these chains.
const LIFETIME: Seconds = Seconds::new(3_600);

/// What the database came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sqlite {
    /// Where that was.
    pub(super) folder: PathBuf,
    /// A block written and synced: by that a disk can be told from others.
    pub(super) synced: Spread,
    /// A refresh of one chain.
    pub(super) alone: Spread,
    /// Those of many chains at once.
    pub(super) together: Together,
}

/// What many chains came to that rotated at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Together {
    /// A refresh of one of them.
    pub(super) each: Spread,
    /// How many refreshes a second all came to.
    pub(super) rate: f64,
    /// What each refresh cost, in seconds of a core.
    pub(super) cost: f64,
}

impl Sqlite {
    /// The same for programs.
    pub(super) fn view(&self) -> Value {
        json!({
            "kind": "sqlite",
            "folder": self.folder,
            "sync": self.synced.view(),
            "rotation": self.alone.view(),
            "together": {
                "chains": TOGETHER,
                "rotation": self.together.each.view(),
                "per_second": self.together.rate,
                "cpu_us": self.together.cost * 1e6,
            },
        })
    }

    /// The same for estimates.
    pub(super) const fn commits(&self) -> Commits {
        Commits {
            storing: Some(Storing {
                cost: self.together.cost,
                rate: self.together.rate,
            }),
            wait: self.alone.p50,
        }
    }
}

/// What everything is measured by.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    /// The settings of the server.
    pub(super) settings: &'a Settings,
    /// Whatever is hashed here is hashed by this.
    pub(super) hasher: &'a dyn PasswordHasher,
    /// The time and randomness.
    pub(super) world: &'a World,
    /// How long each part is measured.
    pub(super) long: Duration,
}

/// Measures for three times so long beside a database, which is not opened.
///
/// # Errors
/// The outer one where the whole command has to end, the inner one where only this could not be measured.
pub(super) async fn measure(bench: Bench<'_>, database: &Path) -> Result<Result<Sqlite, Failure>, Failure> {
    match Scratch::beside(database) {
        Ok(scratch) => {
            let (block, file, folder) = (scratch.path("block"), scratch.path("auth.db"), scratch.place());
            scratch
                .removed_after(measure_in(bench, &block, &file, folder))
                .await
        }
        Err(failure) => Ok(Err(failure)),
    }
}

async fn measure_in(bench: Bench<'_>, block: &Path, file: &Path, folder: PathBuf) -> Result<Sqlite, Failure> {
    let limit = Limit::of(bench.long);
    let synced = sync(block, limit)
        .await
        .map_err(|error| Failure::of(&format!("write to {}", block.display()), &error))?;
    let mut chains = Chains::open(bench, file).await?;
    Ok(Sqlite {
        folder,
        synced: Spread::of(synced).ok_or_else(nothing)?,
        alone: chains.alone(limit).await?,
        together: chains.together(limit).await?,
    })
}

/// Writes one block after the other, each of them durably.
async fn sync(path: &Path, limit: Limit) -> io::Result<Vec<Duration>> {
    let file = File::create_new(path)?;
    let block = [0x5a; BLOCK];
    for number in 0..BLOCKS {
        file.write_all_at(&block, number * BLOCK_BYTES)?;
    }
    file.sync_all()?;
    let mut numbers = (0..BLOCKS).cycle();
    each(limit, async || {
        // Whoever wants this ended is heard in between.
        tokio::task::yield_now().await;
        file.write_all_at(&block, numbers.next().unwrap_or_default() * BLOCK_BYTES)?;
        file.sync_data()
    })
    .await
}

/// Chains of one user in a database of their own.
struct Chains<'a> {
    chains: Vec<Chain>,
    owner: Owner<'a>,
}

/// Whose the chains are, and where they are kept.
struct Owner<'a> {
    store: Store,
    world: &'a World,
    user: User,
    client: Client,
}

struct Chain {
    session_id: SessionId,
    head: JtiHash,
}

impl<'a> Chains<'a> {
    /// Makes the database with whoever is in it at a first start, and signs that user in.
    async fn open(bench: Bench<'a>, file: &Path) -> Result<Self, Failure> {
        let mut settings = bench.settings.clone();
        settings.database.url = DatabaseUrl::file(file);
        // No secret of the operator's lies in a file that a crash would leave behind.
        settings.passwords.master_key = None;
        let migrated = Migrations::of(&settings.database.url).up();
        migrated.map_err(StartError::Store)?;
        let store = compose::open_store(&settings).map_err(StartError::Store)?;
        bootstrap::first_start(&settings, &store, bench.hasher, bench.world).await?;
        let owner = Owner::find(store, bench.world).await?;
        let opened = (0..TOGETHER).map(|_| owner.sign_in());
        Ok(Self {
            chains: try_join_all(opened).await?,
            owner,
        })
    }

    /// One chain rotates, the others rest.
    async fn alone(&mut self, limit: Limit) -> Result<Spread, Failure> {
        let chain = self.chains.first_mut().ok_or_else(nothing)?;
        let spans = each(limit, async || self.owner.refresh(chain).await).await?;
        Spread::of(spans).ok_or_else(nothing)
    }

    /// All of them rotate, each as often as it can.
    async fn together(&mut self, limit: Limit) -> Result<Together, Failure> {
        let owner = &self.owner;
        let rotate = |chain| async move {
            let chain: &mut Chain = chain;
            each(limit.of_each(TOGETHER), async || owner.refresh(chain).await).await
        };
        let (begun, used) = (Instant::now(), Whose::Process.processor_time());
        let spans = try_join_all(self.chains.iter_mut().map(rotate)).await?;
        let used = Whose::Process.processor_time().saturating_sub(used);
        let long = begun.elapsed();
        let spans = spans.concat();
        // The first of each chain is not timed, and done all the same.
        let done = f64::from(u32::try_from(spans.len() + TOGETHER).unwrap_or(u32::MAX));
        Ok(Together {
            each: Spread::of(spans).ok_or_else(nothing)?,
            rate: done / long.as_secs_f64(),
            cost: used.as_secs_f64() / done,
        })
    }
}

impl<'a> Owner<'a> {
    async fn find(store: Store, world: &'a World) -> Result<Self, Failure> {
        let admin = UserKey::Login(Login::parse(ADMIN));
        let user = store.user_directory.find(&admin).await?;
        let clients = store.client_directory.list(None, u32::MAX).await?;
        let is_public = |client: &Client| client.client_id.as_str() == FLUTTER_CLIENT;
        Ok(Self {
            client: clients.into_iter().find(is_public).ok_or_else(not_made)?,
            user: user.ok_or_else(not_made)?,
            store,
            world,
        })
    }

    async fn sign_in(&self) -> Result<Chain, Failure> {
        let first = self.token();
        let session = NewSession {
            id: SessionId::generate(&*self.world.random, first.issued_at),
            user_id: self.user.id,
            client_id: self.client.client_id.clone(),
            scope: self.client.allowed_scopes.clone(),
            amr: AuthenticationMethod::Password,
            first,
            verified_against: self.user.password_hash.clone(),
            rehashed: None,
        };
        let chain = Chain {
            session_id: session.id,
            head: first.jti_hash,
        };
        let audit = self.audit(chain.session_id);
        match self.store.sessions.open(session, audit).await? {
            Opened::Opened => Ok(chain),
            Opened::Overtaken => Err(not_made()),
        }
    }

    async fn refresh(&self, chain: &mut Chain) -> Result<(), Failure> {
        let to = self.token();
        let rotation = Rotation {
            session_id: chain.session_id,
            from: chain.head,
            to,
        };
        chain.head = to.jti_hash;
        let audit = self.audit(chain.session_id);
        match self.store.sessions.rotate(rotation, audit).await? {
            Rotated::Rotated => Ok(()),
            Rotated::Superseded => Err(not_made()),
        }
    }

    fn token(&self) -> TokenRow {
        let (random, now) = (&*self.world.random, self.world.clock.now());
        TokenRow {
            id: RowId::generate(random, now),
            jti_hash: Jti::generate(random).hash(),
            issued_at: now,
            expires_at: now.plus(LIFETIME),
        }
    }

    /// The row that a refresh writes.
    fn audit(&self, session_id: SessionId) -> AuditRecord {
        let event = AuditEvent::TokenRefresh {
            session_id,
            scope: self.client.allowed_scopes.clone(),
            repeated: false,
        };
        let client = Some(self.client.client_id.clone());
        self.world.audit(event, Some(self.user.id), client)
    }
}

/// Nobody else uses the database.
fn not_made() -> Failure {
    Failure::refused("the database that is only measured by does not hold what was just put there")
}
