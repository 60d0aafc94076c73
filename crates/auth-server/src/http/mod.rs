//! The HTTP face of the server: parse, one call of a service, render.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use auth_domain::ports::{Clock, Random, StoreProbe, TokenSigner};
use auth_domain::token_service::TokenService;

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

/// Starts to serve on a bound listener. The returned server is driven by awaiting it, and stopped, after it has
/// finished what it has begun, through its handle.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve(_services: Services, _settings: HttpSettings, _listener: TcpListener) -> io::Result<Server> {
    todo!()
}
