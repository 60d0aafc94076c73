//! The composition root: builds every port from validated settings, and nothing else does.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::context::RequestContext;
use auth_domain::id::{ClientId, RowId, UserId};
use auth_domain::ports::{Clients, Clock, Random, StoreReadiness, Throttle, Unavailable};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Policy, Ports, TokenService};
use auth_jwt::{DirectorySettings, KeyDescription, KeyError, KeyRing, KeySource};
use auth_password::{HashingPool, HashingSettings};
use auth_redis::{Announcements, RedisThrottle};
use auth_storage::{DatabaseUrl, Migrations, OpenError, Store, StoreOptions};
use tokio::sync::oneshot;

use crate::address::Taken;
use crate::clients::{CachedClients, ClientNews};
use crate::devices::{self, DeviceFault};
use crate::http::connections::ConnectionLimits;
use crate::http::tls::{Certificates, TlsFault};
use crate::http::{Gauges, HttpSettings, MetricsPage, PlainHttp, Services};
use crate::lost_keys::{self, LostKeys};
use crate::settings::{Environment, KeyPlace, Listen, Migration, Redis, Settings};
use crate::system::{SystemClock, SystemRandom};
use crate::telemetry;
use crate::telemetry::traces::{ExportFault, Traces, traced_ports, traced_store};
use crate::throttle::{InProcessThrottle, SharedThrottle};

/// The `max-age` of the published key set: for so long a verifier may not know of a new key.
const KEY_SET_LIFETIME: Seconds = Seconds::new(3_600);
/// What somebody is told whose password can't be hashed now.
const HASHING_RETRY_AFTER: Seconds = Seconds::new(1);
/// How often the key directory is looked at. For so long a server may go on signing by a key that an operator has just
/// replaced at once. It costs two readings of a small file: to look at each signature would make every sign-in wait for a
/// disk of somebody else's.
const KEY_TICK: Duration = Duration::from_secs(1);

/// How long Redis may take to be told of a change, or to show that it is still there to tell of one: no request waits
/// for either.
const ANNOUNCEMENT_LIMIT: Duration = Duration::from_secs(2);

/// Why the server can't be built.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody can listen there.
    #[error("listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database can't be opened or migrated.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The database is empty or somebody else's, and applying migrations is left to the operator.
    #[error("the database {0} has no tables of this program")]
    Empty(DatabaseUrl),
    /// The database is of an older version, and applying migrations is left to the operator.
    #[error("the database {database} is of an older version of this program: it lacks {}", names.join(", "))]
    Behind {
        /// Which.
        database: DatabaseUrl,
        /// The migrations that have not been applied.
        names: Vec<String>,
    },
    /// The keys can't be used.
    #[error("the signing keys can't be used")]
    Keys(#[from] KeyError),
    /// The keys are not where they should be.
    #[error(transparent)]
    KeysLost(#[from] LostKeys),
    /// The secret of known devices can't be had.
    #[error("know devices again")]
    Devices(#[from] DeviceFault),
    /// Passwords can't be hashed.
    #[error(transparent)]
    Hashing(#[from] auth_password::StartFault),
    /// Traces can't be sent.
    #[error(transparent)]
    Traces(#[from] ExportFault),
    /// A part that was built does not work.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A thread that a part is built on can't be had, or has panicked.
    #[error("build a part on a thread of its own")]
    Thread(#[source] io::Error),
    /// HTTPS can't be served.
    #[error("serve HTTPS")]
    Tls(#[from] TlsFault),
    /// HTTP can't be served.
    #[error("serve HTTP")]
    Http(#[source] io::Error),
}

/// The time, randomness, and a name for what is done without a request.
#[derive(Clone)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub random: Arc<dyn Random>,
    /// What the audit trail says made a change.
    agent: &'static str,
}

impl World {
    /// The operating system's.
    pub fn of_system(agent: &'static str) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            agent,
        }
    }

    /// An audit row about something that no request asked for.
    pub fn audit(
        &self,
        event: AuditEvent,
        user_id: Option<UserId>,
        client_id: Option<ClientId>,
    ) -> AuditRecord {
        let now = self.clock.now();
        AuditRecord {
            id: RowId::generate(&*self.random, now),
            at: now,
            event,
            user_id,
            client_id,
            context: RequestContext {
                ip: None,
                is_exempt: false,
                user_agent: Some(self.agent.to_owned()),
                correlation_id: RowId::generate(&*self.random, now).as_uuid().to_string(),
            },
        }
    }
}

/// Everything that a running server is made of.
pub struct Application {
    /// What the handlers call.
    pub services: Services,
    /// The database.
    pub store: Store,
    /// The signing keys.
    pub keys: KeyRing,
    /// The hashing threads.
    pub hashing: Arc<HashingPool>,
    /// The time and randomness.
    pub world: World,
}

impl Application {
    /// Applies migrations where that is asked for, opens everything, and wires it.
    ///
    /// # Errors
    /// The first part that can't be built.
    pub async fn build(settings: &Settings, world: World) -> Result<Self, StartError> {
        if settings.database.migration == Migration::AtStart {
            let migrations = Migrations::of(&settings.database.url);
            for name in beside(move || migrations.up()).await?? {
                tracing::info!(event_type = "migration", migration = name, "migration applied");
            }
        }
        let store = trace_store(settings, open_store(settings)?);
        check_store(settings, &store).await?;
        lost_keys::check(settings, &*store.founding, world.clock.now()).await?;
        let (place, clock) = (key_source(settings), Arc::clone(&world.clock));
        let keys = beside(move || KeyRing::open(place, clock)).await??;
        let hashing = Arc::new(start_hashing(settings, &world.random)?);
        let (clients, news) = remember_clients(settings, &store, &world)?;
        let shared = Shared {
            counters: share_counters(settings, &world).await?,
            clients,
            news,
        };
        let services = services(settings, &store, &keys, &hashing, shared, &world)?;
        Ok(Self {
            services,
            store,
            keys,
            hashing,
            world,
        })
    }
}

/// Does what may keep its thread waiting on one of its own, so that the start can be given up meanwhile. Nobody waits for
/// that thread then: it ends with the process.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StartError> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new()
        .name("start".to_owned())
        // Whoever has given up is not there to be told.
        .spawn(move || drop(tell.send(work())))
        .map_err(StartError::Thread)?;
    let panicked = |_| StartError::Thread(io::ErrorKind::Other.into());
    told.await.map_err(panicked)
}

/// Starts to send traces, where there is somebody to send them to.
///
/// # Errors
/// Where nothing can be sent to such a collector.
pub fn start_traces(settings: &Settings, world: &World) -> Result<Option<Traces>, StartError> {
    let traces = settings.traces.as_ref();
    let traces = traces.map(|settings| Traces::start(settings, &*world.random));
    Ok(traces.transpose()?)
}

/// Without traces it is the store itself: then nothing of them costs anything.
fn trace_store(settings: &Settings, store: Store) -> Store {
    if settings.traces.is_none() {
        return store;
    }
    let system = if settings.database.url.is_embedded() {
        "sqlite"
    } else {
        "postgresql"
    };
    traced_store(system, store)
}

/// What this instance has in common with others, and whom it tells what it does.
struct Shared {
    counters: Option<SharedThrottle>,
    clients: Arc<dyn Clients>,
    news: Option<ClientNews>,
}

fn services(
    settings: &Settings,
    store: &Store,
    keys: &KeyRing,
    hashing: &Arc<HashingPool>,
    shared: Shared,
    world: &World,
) -> Result<Services, DeviceFault> {
    let signer = Arc::new(keys.clone());
    let throttle: Arc<dyn Throttle> = match &shared.counters {
        Some(shared) => Arc::new(shared.clone()),
        None => Arc::new(InProcessThrottle::default()),
    };
    let ports = Ports {
        clients: shared.clients,
        users: Arc::clone(&store.users),
        sessions: Arc::clone(&store.sessions),
        access_tokens: Arc::clone(&store.access_tokens),
        audit: Arc::clone(&store.audit),
        throttle,
        hasher: Arc::<HashingPool>::clone(hashing),
        signer: Arc::<KeyRing>::clone(&signer),
        clock: Arc::clone(&world.clock),
        random: Arc::clone(&world.random),
    };
    let is_traced = settings.traces.is_some();
    let ports = if is_traced {
        traced_ports(ports, shared.counters.is_some())
    } else {
        ports
    };
    let policy = Policy {
        issuer: settings.tokens.issuer.clone(),
        reuse_revokes: settings.tokens.reuse_revokes,
        limits: settings.limits,
        password_grant: settings.tokens.password_grant,
        devices: devices::policy(settings, &*world.random)?,
    };
    Ok(Services {
        tokens: TokenService::new(ports, policy),
        signer,
        store: Arc::clone(&store.probe),
        redis: shared.counters,
        news: shared.news.clone(),
        clock: Arc::clone(&world.clock),
        random: Arc::clone(&world.random),
        pace: settings.passwords.pace(),
        is_traced,
        gauges: gauges(
            Watched {
                store: store.clone(),
                keys: keys.clone(),
                hashing: Arc::clone(hashing),
                clock: Arc::clone(&world.clock),
                news: shared.news,
            },
            settings.database.client_cache.is_some(),
        ),
    })
}

/// What is only looked at when the metrics are read.
#[derive(Clone)]
struct Watched {
    store: Store,
    keys: KeyRing,
    hashing: Arc<HashingPool>,
    clock: Arc<dyn Clock>,
    news: Option<ClientNews>,
}

/// How long a replica may take to give a sign of life: whoever reads the metrics waits for it.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(2);

fn gauges(watched: Watched, remembers_clients: bool) -> Gauges {
    Arc::new(move || {
        telemetry::hashing(watched.hashing.figures());
        telemetry::database(&watched.store.figures());
        telemetry::keys(watched.keys.figures(), watched.clock.now());
        if remembers_clients {
            telemetry::client_cache(watched.news.as_ref().map(ClientNews::is_heard));
        }
        let store = watched.store.clone();
        Box::pin(async move {
            let asked = tokio::time::timeout(REPLICA_TIMEOUT, store.is_replica_up()).await;
            if let Some(is_up) = asked.unwrap_or(Some(false)) {
                telemetry::replica_up(is_up);
            }
        })
    })
}

/// Takes up the Redis of the settings, if there is one; where it is away, the counters begin in the process.
async fn share_counters(settings: &Settings, world: &World) -> Result<Option<SharedThrottle>, Unavailable> {
    let Some(Redis { url, timeout }) = settings.redis.clone() else {
        return Ok(None);
    };
    let redis = RedisThrottle::new(url, timeout)?;
    let clock = Arc::clone(&world.clock);
    let shared = SharedThrottle::start(redis, InProcessThrottle::default(), clock, &*world.random).await;
    Ok(Some(shared))
}

/// The clients of the store, remembered where the settings say so; and, where there is a Redis, what is heard of their
/// changes.
fn remember_clients(
    settings: &Settings,
    store: &Store,
    world: &World,
) -> Result<(Arc<dyn Clients>, Option<ClientNews>), Unavailable> {
    let Some(lifetime) = settings.database.client_cache else {
        return Ok((Arc::clone(&store.clients), None));
    };
    let cache = CachedClients::around(Arc::clone(&store.clients), Arc::clone(&world.clock), lifetime);
    let announcements = settings.redis.as_ref().map(announcements).transpose()?;
    let news = announcements.map(|announcements| ClientNews::new(announcements, cache.clone()));
    Ok((Arc::new(cache), news))
}

/// Where changes of clients are told and heard of.
///
/// # Errors
/// Where the address can't be used.
pub fn announcements(redis: &Redis) -> Result<Announcements, Unavailable> {
    Announcements::new(redis.url.clone(), ANNOUNCEMENT_LIMIT)
}

/// How the server is reached.
pub fn http_settings(settings: &Settings, tls: Option<Arc<Certificates>>) -> HttpSettings {
    let listen = &settings.listen;
    HttpSettings {
        base_path: listen.base_path.clone(),
        workers: listen.workers.unwrap_or_else(|| cores().get()),
        shutdown_timeout: listen.shutdown_timeout,
        trust: listen.trust.clone(),
        origins: listen.origins.clone(),
        docs_page: listen.docs_page,
        metrics_page: match listen.operators {
            Some(_) => MetricsPage::Elsewhere,
            None => MetricsPage::Here,
        },
        request_timeout: listen.request_timeout,
        requests_in_hand: listen.requests_in_hand,
        connections: ConnectionLimits {
            total: listen.max_connections,
            per_address: listen.max_connections_per_address,
            ..ConnectionLimits::default()
        },
        tls,
        plain_http: match settings.environment {
            Environment::Production => PlainHttp::Refused,
            Environment::Development | Environment::Test | Environment::Staging => PlainHttp::Served,
        },
    }
}

/// Takes an address, which nobody can connect to yet.
///
/// # Errors
/// [`StartError::Bind`].
pub fn take(address: SocketAddr) -> Result<Taken, StartError> {
    Taken::take(address).map_err(|source| StartError::Bind { address, source })
}

/// Lets clients connect.
///
/// # Errors
/// [`StartError::Bind`].
pub fn listen(taken: Taken) -> Result<TcpListener, StartError> {
    let address = taken.address();
    taken
        .listen()
        .map_err(|source| StartError::Bind { address, source })
}

/// Opens the database of the settings. Applies no migrations.
///
/// # Errors
/// Where it can't be opened.
pub fn open_store(settings: &Settings) -> Result<Store, OpenError> {
    let defaults = StoreOptions::default();
    // What is late is not begun, so that a request that is told to come again has changed nothing.
    let half = settings.listen.request_timeout / 2;
    let options = StoreOptions {
        readers: settings.database.readers,
        connections: settings.database.connections,
        busy_timeout: defaults.busy_timeout.min(half),
        patience: defaults.patience.min(half),
        ..defaults
    };
    auth_storage::open(
        &settings.database.url,
        settings.database.replica.as_ref(),
        options,
    )
}

/// Looks whether an open database can be worked with.
///
/// # Errors
/// [`StartError::Empty`], [`StartError::Behind`], or where it does not answer.
pub async fn check_store(settings: &Settings, store: &Store) -> Result<(), StartError> {
    match store.probe.check().await? {
        StoreReadiness::Ready => Ok(()),
        StoreReadiness::MigrationsPending => check_version(&settings.database.url).await,
    }
}

async fn check_version(database: &DatabaseUrl) -> Result<(), StartError> {
    let migrations = Migrations::of(database);
    let all = beside(move || migrations.status()).await??;
    let (applied, pending): (Vec<_>, Vec<_>) = all.into_iter().partition(|migration| migration.is_applied);
    if pending.is_empty() {
        // Somebody else has just brought it up to date.
        Ok(())
    } else if applied.is_empty() {
        Err(StartError::Empty(database.clone()))
    } else {
        Err(StartError::Behind {
            database: database.clone(),
            names: pending.into_iter().map(|migration| migration.name).collect(),
        })
    }
}

/// Opens the keys of the settings; makes the first where there is none.
///
/// # Errors
/// Where they can't be used.
pub fn open_keys(settings: &Settings, clock: Arc<dyn Clock>) -> Result<KeyRing, KeyError> {
    KeyRing::open(key_source(settings), clock)
}

fn key_source(settings: &Settings) -> KeySource {
    match &settings.keys.place {
        KeyPlace::Folder(folder) => KeySource::Directory(key_directory(settings, folder)),
        KeyPlace::Pair { private, public, kid } => KeySource::Pair {
            private_key_path: private.clone(),
            public_key_path: Some(public.clone()),
            kid: kid.clone(),
        },
    }
}

/// How keys are kept in a folder.
pub fn key_directory(settings: &Settings, folder: &Path) -> DirectorySettings {
    DirectorySettings {
        path: folder.to_owned(),
        bits: settings.keys.bits,
        rotation_interval: settings.keys.rotation_interval,
        cache_lifetime: KEY_SET_LIFETIME,
    }
}

/// Starts the hashing threads.
///
/// # Errors
/// Where the system gives none.
pub fn start_hashing(
    settings: &Settings,
    random: &Arc<dyn Random>,
) -> Result<HashingPool, auth_password::StartFault> {
    let passwords = &settings.passwords;
    let pool = HashingSettings {
        scheme: passwords.scheme,
        legacy: passwords.legacy,
        threads: hashing_threads(settings),
        queue: passwords.queue,
        deadline: passwords.deadline,
        retry_after: HASHING_RETRY_AFTER,
    };
    HashingPool::start(&pool, random)
}

/// How many passwords are hashed at once.
pub fn hashing_threads(settings: &Settings) -> NonZeroUsize {
    settings.passwords.threads.unwrap_or_else(cores_but_one)
}

/// Hashing never has all cores, where there are more than one: with all of them a flood of sign-ins made commits slow,
/// low priority or not (docs/PERFORMANCE.md).
fn cores_but_one() -> NonZeroUsize {
    NonZeroUsize::new(cores().get() - 1).unwrap_or(NonZeroUsize::MIN)
}

/// How many CPU cores this process may use.
pub fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Follows the key directory until it is dropped or aborted: what other instances and operators do to it, and the
/// next key when it is due.
pub async fn tend_keys(keys: KeyRing, store: Store, world: World) {
    let mut tick = tokio::time::interval(KEY_TICK);
    // What was last said to be wrong: it is said once, however often the directory is looked at.
    let mut said = None;
    loop {
        tick.tick().await;
        let ring = keys.clone();
        match tokio::task::spawn_blocking(move || ring.refresh()).await {
            Ok(Ok(published)) => {
                said = None;
                tell_of_directory(&keys, true);
                if let Some(key) = published {
                    note_new_key(&key, &store, &world).await;
                }
            }
            Ok(Err(error)) => {
                tell_of_directory(&keys, false);
                report_trouble_with_keys(&error, &mut said);
            }
            Err(error) => report_trouble_with_keys(&error, &mut said),
        }
    }
}

/// A given pair has no folder that could be lost.
fn tell_of_directory(keys: &KeyRing, is_up: bool) {
    if keys.store().is_some() {
        telemetry::key_directory(is_up);
    }
}

async fn note_new_key(key: &KeyDescription, store: &Store, world: &World) {
    let (kid, activates_at) = (key.kid.to_string(), key.times.activates_at.unix_seconds());
    tracing::info!(
        event_type = "key_rotated",
        kid,
        activates_at,
        "the next signing key is published"
    );
    let row = world.audit(AuditEvent::KeyRotated { kid, activates_at }, None, None);
    if let Err(error) = store.audit.record(row).await {
        tracing::error!(
            event_type = "unavailable",
            operation = error.what,
            "the new key is not in the audit trail"
        );
    }
}

fn report_trouble_with_keys(error: &(dyn std::error::Error + 'static), said: &mut Option<String>) {
    let text = error.to_string();
    if said.as_ref() == Some(&text) {
        return;
    }
    *said = Some(text);
    tracing::error!(
        event_type = "keys",
        cause = error,
        "the key directory can't be followed; the known keys stay in use"
    );
}

/// Reads the certificate of the settings; `None` where plain HTTP is served.
///
/// # Errors
/// [`StartError::Tls`].
pub fn open_certificates(
    listen: &Listen,
    clock: &dyn Clock,
) -> Result<Option<Arc<Certificates>>, StartError> {
    let Some(files) = &listen.tls else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Certificates::open(files.clone(), clock.now())?)))
}
