//! The HTTP face of the server: parse, one call of a service, render.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{App, Error, FromRequest, Handler, HttpServer, Resource, Responder};
use auth_domain::password::Pace;
use auth_domain::ports::{Clock, Random, StoreProbe, TokenSigner};
use auth_domain::token_service::TokenService;
use tokio::signal::unix::{SignalKind, signal};

use crate::telemetry::Telemetry;

pub mod basic;
mod discovery;
mod edge;
mod fallback;
pub mod form;
pub mod incoming;
pub mod openapi;
mod operations;
mod token;
mod unread;
pub mod wire;

/// Where the server's metadata is found (RFC 8414 section 3).
const METADATA: &str = "/.well-known/oauth-authorization-server";
/// Idle connections are kept open for longer than any proxy in front keeps them, so that it never writes into one
/// that is just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long the head of a connection's first request may take to arrive. The framework bounds no later one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to see that it is being hung up on, and may go on to send a body that was refused.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that one worker holds open; more wait in the system's queue.
const CONNECTIONS_PER_WORKER: usize = 10_000;

/// More workers than this the framework does not start.
const MAX_WORKERS: usize = 512;

/// What the handlers call.
#[derive(Clone)]
pub struct Services {
    /// The token endpoint's use case.
    pub tokens: TokenService,
    /// The published key set.
    pub signer: Arc<dyn TokenSigner>,
    /// Whether the store can serve.
    pub store: Arc<dyn StoreProbe>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// For correlation ids.
    pub random: Arc<dyn Random>,
    /// When the refusal of a sign-in may leave.
    pub pace: Pace,
    /// Told before metrics are read, to bring up to date those that are only looked at then.
    pub gauges: Arc<dyn Fn() + Send + Sync>,
}

/// How the server is reached.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// A prefix under which the same routes are served as well, such as `/auth`; empty for none.
    pub base_path: String,
    /// How many worker threads serve.
    pub workers: usize,
    /// How long a shutdown waits for what has been begun.
    pub shutdown_timeout: Duration,
}

/// What is shared by all workers.
pub struct State {
    services: Services,
    telemetry: Telemetry,
    metadata: Bytes,
    /// The path of the issuer URL, which clients put after [`METADATA`] (RFC 8414 section 3.1).
    issuer_path: String,
    openapi: Bytes,
}

impl State {
    /// Prepares what never changes while the server runs.
    ///
    /// # Errors
    /// Where a document can't be written as JSON.
    pub fn new(services: Services, telemetry: Telemetry) -> io::Result<Self> {
        let metadata = discovery::Metadata::of(services.tokens.policy());
        Ok(Self {
            issuer_path: discovery::path_of(&services.tokens.policy().issuer.url).to_owned(),
            metadata: serde_json::to_vec(&metadata)?.into(),
            openapi: openapi::document()?.into(),
            services,
            telemetry,
        })
    }
}

/// Starts to serve on a bound listener. The returned server is driven by awaiting it, and stopped by SIGTERM, by
/// SIGINT, or through its handle, each time after it has finished what it has begun.
///
/// # Errors
/// Where the listener can't be used, or metrics can't be kept.
pub fn serve(services: Services, settings: HttpSettings, listener: TcpListener) -> io::Result<Server> {
    let telemetry = Telemetry::install().map_err(io::Error::other)?;
    let state = Data::new(State::new(services, telemetry)?);
    let base_path = settings.base_path;
    let server = HttpServer::new(move || app(state.clone(), &base_path))
        .workers(settings.workers.clamp(1, MAX_WORKERS))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .max_connections(CONNECTIONS_PER_WORKER)
        .shutdown_timeout(settings.shutdown_timeout.as_secs())
        .shutdown_signal(asked_to_stop())
        .listen(listener)?;
    Ok(server.run())
}

/// The application, as it is served and as it is tested.
pub fn app(
    state: Data<State>,
    base_path: &str,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = Error, InitError = ()>
    + use<>,
> {
    let edge = edge::Edge::new(Arc::clone(&state.services.random));
    let prefix = base_path.trim_end_matches('/');
    let of_issuer = format!("{METADATA}{}", state.issuer_path);
    let routes = |service: &mut ServiceConfig| routes(service, &of_issuer);
    let mut app = App::new().app_data(state).configure(routes);
    if !prefix.is_empty() {
        app = app.service(web::scope(prefix).configure(routes));
    }
    app.default_service(web::to(fallback::not_found)).wrap(edge)
}

/// Every route; the server's metadata also where its issuer puts them.
fn routes(service: &mut ServiceConfig, of_issuer: &str) {
    if of_issuer != METADATA {
        service.service(get(of_issuer, discovery::metadata));
    }
    service
        .service(post("/oauth/token", token::issue))
        .service(get("/.well-known/jwks.json", discovery::key_set))
        .service(get(METADATA, discovery::metadata))
        .service(get("/health", operations::health))
        .service(get("/ready", operations::ready))
        .service(get("/metrics", operations::metrics))
        .service(get("/openapi.json", operations::openapi));
}

fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    fallback::allowing("POST", web::resource(path)).route(web::post().to(handler))
}

/// HEAD goes where GET goes (RFC 9110 section 9.3.2); the connection leaves the body out.
fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    fallback::allowing("GET, HEAD", web::resource(path))
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
}

/// Resolves when the operator or the system wants the program to end.
async fn asked_to_stop() {
    tokio::select! {
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::interrupt()) => {}
    }
}

/// Resolves with the first signal of a kind; never, where the system does not let us listen.
async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(event_type = "signals", %error, "listen for a signal to stop");
            std::future::pending::<()>().await;
        }
    }
}
