//! `serve`: runs the server until it is asked to stop.

use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::spawn;
use actix_web::rt::task::JoinHandle;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;

use super::failure::Failure;
use super::output::{place_of, print, print_error, try_print};
use crate::address::Taken;
use crate::bootstrap::{self, AdminPassword, FLUTTER_CLIENT, FirstStart, INTERNAL_CLIENT};
use crate::compose::{self, Application, StartError, World};
use crate::housekeeping::Housekeeper;
use crate::http::Stopping;
use crate::http::tls::Certificates;
use crate::renewal::Renewal;
use crate::settings::{Environment, Flag, Key, KeyPlace, LogFormat, LogLevel, Settings};
use crate::supervisor::{self, Progress};
use crate::system::{SystemClock, leave_no_core_dump, raise_open_files_limit};
use crate::telemetry::traces::Traces;
use crate::{http, telemetry};

/// What the audit trail says made what the server does by itself.
const AGENT: &str = concat!("auth-service/", env!("CARGO_PKG_VERSION"), " (server)");

/// Where to listen.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port to listen on; 0 takes any free one
    #[arg(long)]
    port: Option<String>,
}

impl ServeArguments {
    /// The same as settings.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let given = [
            (Key::Host, &self.host, "--host"),
            (Key::Port, &self.port, "--port"),
        ];
        given
            .into_iter()
            .filter_map(|(key, value, written)| value.clone().map(|value| Flag { key, value, written }))
            .collect()
    }
}

/// Serves until a signal says to stop, then finishes what has begun.
///
/// # Errors
/// Where it can't start, and why.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    // First of all, so that a taken port leaves nothing behind.
    let listeners = Listeners::take(settings)?;
    // Before anything is counted: what counts earlier counts nowhere.
    telemetry::Telemetry::install().map_err(|error| Failure::of("keep metrics", &error))?;
    let world = World::of_system(AGENT);
    let traces = compose::start_traces(settings, &world)?;
    let _log = telemetry::init(log_format(settings), log_levels(settings), traces.as_ref())
        .map_err(|error| Failure::of("start the log", &error))?;
    for warning in &settings.warnings {
        tracing::warn!(
            event_type = "settings",
            setting = warning.place,
            "{}",
            warning.fault
        );
    }
    leave_no_core_dump();
    if let Some(limit) = raise_open_files_limit() {
        tracing::debug!(
            event_type = "limits",
            open_files = limit,
            "so many connections can be held open"
        );
    }
    actix_web::rt::System::new().block_on(serve(settings, listeners, world, traces))
}

/// The addresses that are going to be listened on.
struct Listeners {
    everybody: Taken,
    operators: Option<Taken>,
}

impl Listeners {
    fn take(settings: &Settings) -> Result<Self, Failure> {
        let operators = settings.listen.operators.map(compose::take);
        Ok(Self {
            everybody: compose::take(settings.listen.address())?,
            operators: operators.transpose()?,
        })
    }
}

async fn serve(
    settings: &Settings,
    listeners: Listeners,
    world: World,
    traces: Option<Traces>,
) -> Result<(), Failure> {
    let address = listeners.everybody.address();
    let deaf = |error: io::Error| Failure::of("listen for signals", &error);
    let mut stop = StopSignals::listen().map_err(deaf)?;
    // Heard in any case: who sends it means to have files read again, not to end the program.
    let reload = signal(SignalKind::hangup()).map_err(deaf)?;
    let certificates = compose::open_certificates(&settings.listen, &SystemClock)?;
    let Some(application) = build_unless_stopped(settings, world, &mut stop).await? else {
        return Ok(());
    };
    let Application {
        store,
        hashing,
        world,
        ..
    } = &application;
    print(&greeting(settings, &listeners));
    let first = bootstrap::first_start(settings, store, &**hashing, world).await?;
    // Right after the commit and before anything else can fail: nobody else knows them.
    if let Some(told) = secrets(&first, &settings.passwords.master_key_place)
        && try_print(&told).is_err()
    {
        print_error(UNSEEN);
    }
    if bootstrap::can_admin_sign_in(store).await? {
        print(&first_token(&token_endpoint(settings, address)));
    }
    let state = http::prepare(application.services.clone()).map_err(StartError::Http)?;
    let http_settings = compose::http_settings(settings, certificates.clone());
    // Last of all: who connects is answered.
    let operators = listeners.operators.map(compose::listen).transpose()?;
    let listener = compose::listen(listeners.everybody)?;
    let server = http::serve(&state, http_settings, listener).map_err(StartError::Http)?;
    let operators = operators.map(|listener| http::serve_operators(&state, listener));
    let operators = operators.transpose().map_err(StartError::Http)?;
    let certificates = certificates.map(|certificates| (certificates, reload));
    let background = start_background(settings, &application, certificates);
    tracing::info!(event_type = "started", address = %address, version = env!("CARGO_PKG_VERSION"), "serving");
    supervisor::tell(Progress::Ready);
    let ending = Ending {
        stopping: state.stopping(),
        delay: settings.listen.drain_delay,
        server: server.handle(),
    };
    let (hurry, hurried) = oneshot::channel();
    spawn(ending.when_asked(stop, hurry));
    let operators = operators.map(|operators| (operators.handle(), spawn(operators)));
    let ended = tokio::select! {
        ended = server => ended,
        Ok(()) = hurried => Ok(()),
    };
    for task in background {
        task.abort();
    }
    // They have watched it to its end.
    if let Some((handle, served)) = operators {
        handle.stop(true).await;
        served.abort();
    }
    let store = store.clone();
    let drained = tokio::task::spawn_blocking(move || store.shutdown()).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    tracing::info!(event_type = "stopped", "stopped");
    ended.map_err(|error| Failure::of("serve", &error))?;
    drained.map_err(|error| Failure::of("close the database", &error))
}

/// Everything that the server is made of; `None` where it is asked to stop before it is there. Nothing has been served
/// then, and a migration that was under way is not applied.
async fn build_unless_stopped(
    settings: &Settings,
    world: World,
    stop: &mut StopSignals,
) -> Result<Option<Application>, Failure> {
    let mut work = pin!(Application::build(settings, world));
    let build = async {
        if let Ok(application) = timeout(USUAL_START, &mut work).await {
            return application;
        }
        tracing::info!(
            event_type = "starting",
            "still starting: the database, its migrations, Redis or the keys take their time"
        );
        work.await
    };
    tokio::select! {
        application = build => Ok(Some(application?)),
        _ = stop.received() => {
            tracing::info!(event_type = "stopped", "stopped before it served");
            Ok(None)
        }
    }
}

/// A start that takes longer than this says that it goes on.
const USUAL_START: Duration = Duration::from_secs(3);

/// What goes on beside the requests until it is aborted.
fn start_background(
    settings: &Settings,
    application: &Application,
    certificates: Option<(Arc<Certificates>, Signal)>,
) -> Vec<JoinHandle<()>> {
    let (store, world) = (&application.store, &application.world);
    let clock = || Arc::clone(&world.clock);
    let keys = compose::tend_keys(application.keys.clone(), store.clone(), world.clone());
    let housekeeper = Housekeeper::new(store, clock(), &*world.random, settings.housekeeping);
    let mut tasks = vec![spawn(keys), spawn(housekeeper.tend())];
    tasks.extend(
        application
            .services
            .redis
            .clone()
            .map(|redis| spawn(redis.follow())),
    );
    tasks.extend(application.services.news.clone().map(|news| spawn(news.follow())));
    tasks.extend(
        certificates.map(|(certificates, reload)| spawn(Renewal::of(certificates, clock()).tend(reload))),
    );
    tasks
}

const UNSEEN: &str = "auth-service: the secrets made at this first start could not be written to standard output. \
                      `auth-service user set-password admin` and `auth-service client rotate-secret \
                      codelab-internal` make new ones.";

/// The signals that ask the program to stop, heard from the beginning.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// How the server comes to its end.
struct Ending {
    stopping: Arc<Stopping>,
    delay: Duration,
    server: ServerHandle,
}

impl Ending {
    /// Says that it is near, waits until that has been heard where there is time for it, and lets nothing new in.
    /// Whoever asks once more does not want to wait for what was begun.
    async fn when_asked(self, mut stop: StopSignals, hurry: oneshot::Sender<()>) {
        let asked = stop.received().await;
        self.stopping.begin();
        supervisor::tell(Progress::Stopping);
        if asked == Asked::BySystem && !self.delay.is_zero() {
            tracing::info!(
                event_type = "draining",
                seconds = self.delay.as_secs(),
                "about to stop: not ready any more, and still serving"
            );
            tokio::select! {
                () = tokio::time::sleep(self.delay) => {}
                _ = stop.received() => {}
            }
        }
        tracing::info!(event_type = "stopping", "finishing what was begun");
        tokio::select! {
            () = self.server.stop(true) => {}
            _ = stop.received() => {
                tracing::warn!(event_type = "stopping", "asked again: what was begun is not finished");
                // The server may have ended by itself.
                let _ = hurry.send(());
            }
        }
    }
}

/// Who wants the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whoever supervises it, by SIGTERM.
    BySystem,
    /// Somebody at a terminal, by SIGINT.
    AtTerminal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::BySystem,
            _ = self.interrupt.recv() => Asked::AtTerminal,
        }
    }
}

fn greeting(settings: &Settings, listeners: &Listeners) -> String {
    let address = listeners.everybody.address();
    let metrics = listeners.operators.as_ref();
    let metrics = metrics.map(|operators| format!("\n\x20 metrics   http://{}/metrics", operators.address()));
    let keys = match &settings.keys.place {
        KeyPlace::Folder(folder) => folder.display().to_string(),
        KeyPlace::Pair { private, .. } => private.display().to_string(),
    };
    format!(
        "CodeLab Auth Service {version} listens on {scheme}://{address}\n\
         \x20 database  {database}\n\
         \x20 keys      {keys}\n\
         \x20 issuer    {issuer}{metrics}",
        metrics = metrics.unwrap_or_default(),
        version = env!("CARGO_PKG_VERSION"),
        scheme = settings.listen.scheme(),
        database = place_of(&settings.database.url),
        issuer = settings.tokens.issuer.url,
    )
}

/// How `admin` gets a token by the built-in public client.
fn first_token(endpoint: &str) -> String {
    format!(
        "\nA first token:\n\
         \x20 curl {endpoint} -d grant_type=password -d client_id={FLUTTER_CLIENT} \\\n\
         \x20      -d username=admin --data-urlencode 'password=…'",
    )
}

/// Where a token is asked for: in production by the public URL, which alone is sure to be HTTPS by a certificate of its
/// name, and elsewhere right here.
pub(super) fn token_endpoint(settings: &Settings, address: SocketAddr) -> String {
    if settings.environment == Environment::Production {
        return format!("{}/oauth/token", settings.tokens.issuer.url.trim_end_matches('/'));
    }
    format!(
        "{scheme}://{base}{prefix}/oauth/token",
        scheme = settings.listen.scheme(),
        base = callable(address),
        prefix = settings.listen.base_path,
    )
}

/// An address that stands for all of the machine's can be listened on, but not called.
pub(super) fn callable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The one time that generated secrets are seen: on standard output, where no log line is written.
fn secrets(first: &FirstStart, master_key: &str) -> Option<String> {
    let admin = first.admin.as_ref().map(|admin| match admin {
        AdminPassword::Generated(password) => format!("  admin             password  {}", password.expose()),
        AdminPassword::MasterKey(faults) if faults.is_empty() => {
            format!("  admin             password  as {master_key} says")
        }
        AdminPassword::MasterKey(faults) => format!(
            "  admin             password  as {master_key} says, which is weak ({}): change it by\n\
             \x20                   `auth-service user set-password admin`",
            faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        ),
    });
    let internal = first
        .internal_secret
        .as_ref()
        .map(|secret| format!("  {INTERNAL_CLIENT}  secret    {}", secret.expose()));
    let made: Vec<_> = admin.into_iter().chain(internal).collect();
    (!made.is_empty()).then(|| {
        format!(
            "\nMade at this first start, kept nowhere and never shown again:\n{}\n\
             Lost? `auth-service user set-password admin` and `auth-service client rotate-secret {INTERNAL_CLIENT}` \
             make new ones.",
            made.join("\n")
        )
    })
}

fn log_format(settings: &Settings) -> telemetry::LogFormat {
    match settings.log.format {
        LogFormat::Text => telemetry::LogFormat::Human,
        LogFormat::Auto if io::stderr().is_terminal() => telemetry::LogFormat::Human,
        LogFormat::Auto | LogFormat::Json => telemetry::LogFormat::Json,
    }
}

fn log_levels(settings: &Settings) -> telemetry::LogLevels {
    let levels = &settings.log.levels;
    let modules = levels.modules.iter();
    telemetry::LogLevels {
        all: level_filter(levels.all),
        modules: modules
            .map(|(module, level)| (module.clone(), level_filter(*level)))
            .collect(),
    }
}

const fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
