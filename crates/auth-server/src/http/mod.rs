//! The HTTP face of the server: parse, one call of a service, render.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::{Arc, Once};
use std::time::Duration;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{App, Error, FromRequest, Handler, Resource, Responder};
use auth_domain::password::Pace;
use auth_domain::ports::{Clock, Random, StoreProbe, TokenSigner};
use auth_domain::token_service::TokenService;
use futures::future::BoxFuture;
use rustix::net::sockopt::set_tcp_user_timeout;

use crate::clients::ClientNews;
use crate::telemetry::{self, Telemetry};
use crate::throttle::SharedThrottle;

use client_address::Trust;
use connections::{Connection, ConnectionLimits, Door};
use cors::{AllowedOrigins, Cors};
use docs::DocsPage;
use edge::Edge;
use in_hand::{AllInHand, InHand};
use tls::Certificates;

pub use stopping::Stopping;

pub mod basic;
pub mod client_address;
pub mod connections;
pub mod cors;
pub mod device_cookie;
mod discovery;
pub mod docs;
mod edge;
mod fallback;
pub mod form;
mod in_hand;
pub mod incoming;
mod intake;
mod introspect;
pub mod openapi;
mod operations;
mod revoke;
pub mod route;
mod stopping;
pub mod tls;
mod token;
pub mod traceparent;
mod unread;
pub mod wire;

/// Where the server's metadata is found (RFC 8414 section 3).
const METADATA: &str = "/.well-known/oauth-authorization-server";
/// How long a client may take to see that it is being hung up on, and may go on to send a body that was refused.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// The counters that instances share; `None` where each counts for itself.
    pub redis: Option<SharedThrottle>,
    /// What is heard through Redis of clients that others have changed; `None` where nothing need be.
    pub news: Option<ClientNews>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// For correlation ids.
    pub random: Arc<dyn Random>,
    /// When the refusal of a sign-in may leave.
    pub pace: Pace,
    /// Whether traces are sent.
    pub is_traced: bool,
    /// Asked before metrics are read, to bring up to date those that are only looked at then.
    pub gauges: Gauges,
}

/// Brings metrics up to date that are only looked at when they are read.
pub type Gauges = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// How the server is reached.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// A prefix under which the same routes are served as well, such as `/auth`; empty for none.
    pub base_path: String,
    /// How many worker threads serve.
    pub workers: usize,
    /// How long a shutdown waits for what has been begun.
    pub shutdown_timeout: Duration,
    /// Whose word is taken about where requests come from.
    pub trust: Trust,
    /// The origins whose pages may read answers.
    pub origins: AllowedOrigins,
    /// How long a request may go without an answer.
    pub request_timeout: Duration,
    /// How many requests a worker takes in hand at a time; any number where it is `None`.
    pub requests_in_hand: Option<NonZeroUsize>,
    /// How many connections there may be, and how long one may keep us waiting.
    pub connections: ConnectionLimits,
    /// The certificate to serve HTTPS with; `None` serves plain HTTP.
    pub tls: Option<Arc<Certificates>>,
    /// Whether secrets are taken over plain HTTP.
    pub plain_http: PlainHttp,
    /// Whether there is a page to read the API on.
    pub docs_page: DocsPage,
    /// Where metrics are read.
    pub metrics_page: MetricsPage,
}

/// Where metrics are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsPage {
    /// Where everything else is.
    #[default]
    Here,
    /// On the operators' own listener, and only there.
    Elsewhere,
}

/// What becomes of a request that may hold a secret and came over plain HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// It is served like any other.
    #[default]
    Served,
    /// It is refused: whoever listens on its way has read the secret already, and is not to be given tokens as well.
    Refused,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            base_path: String::new(),
            workers: 1,
            shutdown_timeout: Duration::from_secs(30),
            trust: Trust::default(),
            origins: AllowedOrigins::default(),
            request_timeout: Duration::from_secs(10),
            requests_in_hand: None,
            connections: ConnectionLimits::default(),
            tls: None,
            plain_http: PlainHttp::default(),
            docs_page: DocsPage::default(),
            metrics_page: MetricsPage::default(),
        }
    }
}

/// What is shared by all workers.
pub struct State {
    services: Services,
    telemetry: Arc<Telemetry>,
    stopping: Arc<Stopping>,
    metadata: Bytes,
    /// The path of the issuer URL, which clients put after [`METADATA`] (RFC 8414 section 3.1).
    issuer_path: String,
    openapi: Bytes,
    in_hand: AllInHand,
    /// Done once it has been said that a proxy names no client.
    nameless: Arc<Once>,
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
            in_hand: AllInHand::default(),
            nameless: Arc::new(Once::new()),
            services,
            telemetry: Arc::new(telemetry),
            stopping: Arc::default(),
        })
    }
}

impl State {
    /// Whether the server is about to stop, to be told by whoever stops it.
    pub fn stopping(&self) -> Arc<Stopping> {
        Arc::clone(&self.stopping)
    }
}

/// What the listeners of this process share.
///
/// # Errors
/// Where metrics can't be kept.
pub fn prepare(services: Services) -> io::Result<Data<State>> {
    let telemetry = Telemetry::install().map_err(io::Error::other)?;
    State::new(services, telemetry).map(Data::new)
}

/// Starts to serve on a bound listener. The returned server is driven by awaiting it, and stopped through its handle,
/// after it has finished what it has begun.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve(state: &Data<State>, settings: HttpSettings, listener: TcpListener) -> io::Result<Server> {
    let limits = settings.connections;
    telemetry::connections_max(limits.total);
    if let Some(most) = settings.requests_in_hand {
        telemetry::in_hand_max(most.get().saturating_mul(settings.workers));
    }
    let tls = settings.tls.as_ref().map(Certificates::acceptor).transpose();
    let tls = tls.map_err(io::Error::other)?;
    let door = Door::new(limits, settings.trust.clone(), tls).counted();
    let server = Listening {
        name: "http",
        workers: settings.workers,
        shutdown_timeout: settings.shutdown_timeout,
        door,
    };
    let state = state.clone();
    server.run(listener, move || app(state.clone(), &settings))
}

/// Starts to serve operators and their machines on a listener of their own: what they ask, and nothing else.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve_operators(state: &Data<State>, listener: TcpListener) -> io::Result<Server> {
    let server = Listening {
        name: "operators",
        workers: 1,
        shutdown_timeout: Duration::from_secs(1),
        door: Door::new(OPERATORS_CONNECTIONS, Trust::default(), None),
    };
    let state = state.clone();
    server.run(listener, move || operators_app(state.clone()))
}

/// How long they may go without an answer: longer than any probe.
const OPERATORS_PATIENCE: Duration = Duration::from_secs(10);
/// Enough for a few scrapers, probes and people, of whom nobody keeps a connection: whoever leaves theirs open would keep
/// others out, such as the probe by which Kubernetes sees that the process lives.
const OPERATORS_CONNECTIONS: ConnectionLimits = ConnectionLimits {
    total: 64,
    per_address: 16,
    keep_alive: Duration::ZERO,
    head: Duration::from_secs(2),
    answer: Duration::from_secs(20),
};

/// How one listener is served.
struct Listening {
    name: &'static str,
    workers: usize,
    shutdown_timeout: Duration,
    door: Door,
}

impl Listening {
    fn run<T>(
        self,
        listener: TcpListener,
        app: impl Fn() -> App<T> + Clone + Send + 'static,
    ) -> io::Result<Server>
    where
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse,
                Error = Error,
                InitError = (),
            > + 'static,
    {
        let limits = self.door.limits();
        let door = Arc::new(self.door);
        // Beyond the time limits of our own: what the system still holds for a client that takes nothing ends as well.
        // Connections have it from their listener.
        set_tcp_user_timeout(
            &listener,
            u32::try_from(limits.answer.as_millis()).unwrap_or(u32::MAX),
        )?;
        let builder = ServerBuilder::new()
            .workers(self.workers.clamp(1, MAX_WORKERS))
            // More than the door lets in, so that the door turns away the next one at once and says so: at its own
            // limit the framework lets it wait.
            .max_concurrent_connections(limits.total.saturating_add(1))
            .shutdown_timeout(self.shutdown_timeout.as_secs())
            .disable_signals();
        let stopping = builder.graceful_shutdown_signal();
        let server = builder.listen(self.name, listener, move || {
            let (door, stopping) = (Arc::clone(&door), stopping.clone());
            let app = app()
                .into_factory()
                .map_err(|error: Error| error.error_response());
            let http = HttpService::build()
                .keep_alive(limits.keep_alive)
                .client_request_timeout(limits.head)
                .client_disconnect_timeout(DISCONNECT_TIMEOUT)
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .on_connect_ext(|connection: &Connection, data| {
                    data.insert(connection.watch());
                })
                .h1(map_config(app, |()| AppConfig::default()));
            fn_service(move |stream: TcpStream| {
                let door = Arc::clone(&door);
                async move { door.admit(stream).await.map_err(DispatchError::Io) }
            })
            .and_then(http)
        })?;
        Ok(server.run())
    }
}

/// The application, as it is served and as it is tested.
pub fn app(
    state: Data<State>,
    settings: &HttpSettings,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = Error, InitError = ()>
    + use<>,
> {
    let prefix = settings.base_path.trim_end_matches('/');
    let of_issuer = format!("{METADATA}{}", state.issuer_path);
    // Each worker makes an application of its own.
    let in_hand = InHand::at_most(settings.requests_in_hand, state.in_hand.clone());
    let edge = Edge::new(edge::Rules {
        paths: route::Paths {
            prefix: prefix.to_owned(),
            of_issuer: of_issuer.clone(),
        },
        random: Arc::clone(&state.services.random),
        trust: settings.trust.clone(),
        cors: Cors::new(settings.origins.clone(), prefix),
        request_timeout: settings.request_timeout,
        in_hand: in_hand.clone(),
        plain_http: settings.plain_http,
        nameless: Arc::clone(&state.nameless),
        is_traced: state.services.is_traced,
        telemetry: Arc::clone(&state.telemetry),
        stopping: Arc::clone(&state.stopping),
    });
    let routes = |service: &mut ServiceConfig| {
        routes(service, &of_issuer);
        match settings.docs_page {
            DocsPage::Served => docs::routes(service),
            DocsPage::Absent => {}
        }
        match settings.metrics_page {
            MetricsPage::Here => metrics_route(service),
            MetricsPage::Elsewhere => {}
        }
    };
    let mut app = App::new().app_data(state).app_data(in_hand).configure(routes);
    if !prefix.is_empty() {
        app = app.service(web::scope(prefix).configure(routes));
    }
    app.default_service(web::to(fallback::not_found)).wrap(edge)
}

/// What operators find on a listener of their own.
pub fn operators_app(
    state: Data<State>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = Error, InitError = ()>
    + use<>,
> {
    let edge = Edge::new(edge::Rules {
        paths: route::Paths {
            prefix: String::new(),
            of_issuer: METADATA.to_owned(),
        },
        random: Arc::clone(&state.services.random),
        trust: Trust::default(),
        cors: Cors::new(AllowedOrigins::default(), ""),
        request_timeout: OPERATORS_PATIENCE,
        in_hand: InHand::at_most(None, AllInHand::default()),
        // Nothing here takes a secret.
        plain_http: PlainHttp::Served,
        nameless: Arc::clone(&state.nameless),
        is_traced: state.services.is_traced,
        telemetry: Arc::clone(&state.telemetry),
        stopping: Arc::clone(&state.stopping),
    });
    let routes = |service: &mut ServiceConfig| {
        metrics_route(service);
        service
            .service(get("/health", operations::health))
            .service(get("/ready", operations::ready))
            .service(get("/live", operations::live));
    };
    App::new()
        .app_data(state)
        .configure(routes)
        .default_service(web::to(fallback::not_found))
        .wrap(edge)
}

/// Every route but that of the metrics; the server's metadata also where its issuer puts them.
fn routes(service: &mut ServiceConfig, of_issuer: &str) {
    if of_issuer != METADATA {
        service.service(get(of_issuer, discovery::metadata));
    }
    service
        .service(post("/oauth/token", token::issue))
        .service(post("/oauth/revoke", revoke::revoke))
        .service(post("/oauth/introspect", introspect::introspect))
        .service(get("/.well-known/jwks.json", discovery::key_set))
        .service(get(METADATA, discovery::metadata))
        .service(get("/health", operations::health))
        .service(get("/ready", operations::ready))
        .service(get("/live", operations::live))
        .service(get("/openapi.json", operations::openapi));
}

fn metrics_route(service: &mut ServiceConfig) {
    service.service(get("/metrics", operations::metrics));
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
