//! `serve`: runs the server until it is asked to stop.

use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::rt::spawn;
use actix_web::rt::task::JoinHandle;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

use super::failure::Failure;
use super::output::{place_of, print, print_error, try_print};
use crate::bootstrap::{self, AdminPassword, FLUTTER_CLIENT, FirstStart, INTERNAL_CLIENT};
use crate::compose::{self, Application, StartError, World};
use crate::housekeeping::Housekeeper;
use crate::http::tls::Certificates;
use crate::renewal::Renewal;
use crate::settings::{Flag, Key, KeyPlace, LogFormat, LogLevel, Settings};
use crate::supervisor::{self, Progress};
use crate::system::{SystemClock, leave_no_core_dump, raise_open_files_limit};
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
    let listener = compose::bind(&settings.listen)?;
    let _log = telemetry::init(log_format(settings), log_level(settings))
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
    actix_web::rt::System::new().block_on(serve(settings, listener))
}

async fn serve(settings: &Settings, listener: TcpListener) -> Result<(), Failure> {
    let address = listener
        .local_addr()
        .map_err(|error| Failure::of("listen", &error))?;
    let deaf = |error: io::Error| Failure::of("listen for signals", &error);
    let stop = StopSignals::listen().map_err(deaf)?;
    // Heard in any case: who sends it means to have files read again, not to end the program.
    let reload = signal(SignalKind::hangup()).map_err(deaf)?;
    let certificates = compose::open_certificates(&settings.listen, &SystemClock)?;
    let application = Application::build(settings, World::of_system(AGENT)).await?;
    let Application {
        store,
        hashing,
        world,
        ..
    } = &application;
    print(&greeting(settings, address));
    let first = bootstrap::first_start(settings, store, &**hashing, world).await?;
    // Right after the commit and before anything else can fail: nobody else knows them.
    if let Some(told) = secrets(&first)
        && try_print(&told).is_err()
    {
        print_error(UNSEEN);
    }
    if bootstrap::can_admin_sign_in(store).await? {
        print(&first_token(settings, address));
    }
    let server = http::serve(
        application.services.clone(),
        compose::http_settings(settings, certificates.clone()),
        listener,
    )
    .map_err(StartError::Http)?;
    let certificates = certificates.map(|certificates| (certificates, reload));
    let background = start_background(settings, &application, certificates);
    tracing::info!(event_type = "started", address = %address, version = env!("CARGO_PKG_VERSION"), "serving");
    supervisor::tell(Progress::Ready);
    let handle = server.handle();
    spawn(async move {
        stop.received().await;
        supervisor::tell(Progress::Stopping);
        handle.stop(true).await;
    });
    let ended = server.await;
    for task in background {
        task.abort();
    }
    let store = store.clone();
    let drained = tokio::task::spawn_blocking(move || store.shutdown()).await;
    tracing::info!(event_type = "stopped", "stopped");
    ended.map_err(|error| Failure::of("serve", &error))?;
    drained.map_err(|error| Failure::of("close the database", &error))
}

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

/// The signals that ask the program to stop, heard from the beginning: one that comes before the server runs stops
/// it as gently as a later one.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn greeting(settings: &Settings, address: SocketAddr) -> String {
    let keys = match &settings.keys.place {
        KeyPlace::Folder(folder) => folder.display().to_string(),
        KeyPlace::Pair { private, .. } => private.display().to_string(),
    };
    format!(
        "CodeLab Auth Service {version} listens on {scheme}://{address}\n\
         \x20 database  {database}\n\
         \x20 keys      {keys}\n\
         \x20 issuer    {issuer}",
        version = env!("CARGO_PKG_VERSION"),
        scheme = settings.listen.scheme(),
        database = place_of(&settings.database.url),
        issuer = settings.tokens.issuer.url,
    )
}

/// How `admin` gets a token by the built-in public client.
fn first_token(settings: &Settings, address: SocketAddr) -> String {
    format!(
        "\nA first token:\n\
         \x20 curl {scheme}://{base}{prefix}/oauth/token -d grant_type=password -d client_id={FLUTTER_CLIENT} \\\n\
         \x20      -d username=admin --data-urlencode 'password=…'",
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
fn secrets(first: &FirstStart) -> Option<String> {
    let admin = first.admin.as_ref().map(|admin| match admin {
        AdminPassword::Generated(password) => format!("  admin             password  {}", password.expose()),
        AdminPassword::MasterKey(faults) if faults.is_empty() => {
            "  admin             password  as AUTH_SERVICE__MASTER_KEY says".to_owned()
        }
        AdminPassword::MasterKey(faults) => format!(
            "  admin             password  as AUTH_SERVICE__MASTER_KEY says, which is weak ({}): change it by\n\
             \x20                   `auth-service user set-password admin`",
            faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
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

const fn log_level(settings: &Settings) -> LevelFilter {
    match settings.log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
