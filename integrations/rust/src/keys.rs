//! The published key set (RFC 7517): fetched rarely, by one request at a time, and kept while the server is away.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use josekit::jwk::Jwk;
use josekit::jws::RS256;
use josekit::jws::alg::rsassa::RsassaJwsVerifier;
use serde_json::Value;
use tokio::sync::watch;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A longer answer is no key set.
const MAX_BYTES: u64 = 256 * 1024;
/// How long a request for the key set may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least time between two attempts while there is no key at all.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// No key set could be had so far, or the one there is has become too old: nobody can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key set could be had")]
pub struct KeysUnavailable;

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed.
    #[error("ask for the key set")]
    Request(#[source] Box<ureq::Error>),
    /// What came is no key set, or has no RSA key for signatures.
    #[error("read the key set: {0}")]
    Content(&'static str),
}

/// Where a key set comes from. The call may block: it is made on a thread of its own.
pub trait FetchKeySet: Send + Sync + 'static {
    /// The document, as JSON.
    ///
    /// # Errors
    /// Where it can't be had now.
    fn fetch(&self) -> Result<Vec<u8>, FetchError>;
}

/// Tells how much time has passed since some moment.
pub type MonotonicClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How rarely a key set is asked for.
#[derive(Debug, Clone, Copy)]
pub struct KeySetLimits {
    /// How long it is taken without asking again: the `max-age` that the server gives it.
    pub lifetime: Duration,
    /// The least time between two requests that unknown keys may cause, however many tokens name such.
    pub refetch_interval: Duration,
    /// How long keys are used at most while the server can't be asked.
    pub max_staleness: Duration,
}

impl Default for KeySetLimits {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_hours(1),
            refetch_interval: Duration::from_secs(30),
            max_staleness: Duration::from_hours(24),
        }
    }
}

/// A key that checks signatures.
pub(crate) type PublicKey = Arc<RsassaJwsVerifier>;
type Keys = HashMap<String, PublicKey>;

/// The key set at a URL, such as `https://auth.example.org/.well-known/jwks.json`. Cheap to clone; all clones are one.
///
/// - For an hour no request is made. After it the next token causes one in the background, and goes by the old keys.
/// - A token that names an unknown key waits for one request, of which there is at most one in `refetch_interval`.
/// - Of any number of waiting tokens one makes the request.
/// - While the server can't be asked, the keys that are known serve on, up to `max_staleness`.
#[derive(Clone)]
pub struct KeySetCache(Arc<Cache>);

struct Cache {
    source: Box<dyn FetchKeySet>,
    limits: KeySetLimits,
    clock: MonotonicClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Keys,
    fetched_at: Option<Duration>,
    attempted_at: Option<Duration>,
    /// When an unknown key last caused a request: those that age causes don't count.
    asked_for_unknown_at: Option<Duration>,
    /// Ends when the last request did: by its answer, by a panic, or with the runtime that it was to be made on.
    fetching: Option<watch::Receiver<()>>,
}

/// What is known of a key without waiting.
enum Looked {
    Found(PublicKey),
    Unknown,
    Unavailable,
    /// A request is under way that may tell.
    Wait(watch::Receiver<()>),
}

impl KeySetCache {
    /// The key set at a URL, asked for by HTTP or HTTPS.
    pub fn new(url: impl Into<String>) -> Self {
        Self::of(HttpSource::new(url.into()), KeySetLimits::default(), monotonic())
    }

    /// A key set from somewhere else, with other limits, or by another clock.
    pub fn of(source: impl FetchKeySet, limits: KeySetLimits, clock: MonotonicClock) -> Self {
        Self(Arc::new(Cache {
            source: Box::new(source),
            limits,
            clock,
            state: Mutex::default(),
        }))
    }

    /// Fetches the key set now, as a service may at its start. Whether that went well shows when a token is judged.
    pub async fn prefetch(&self) {
        let request = self.begin(&mut self.0.state());
        ended(request).await;
    }

    /// The public key of this id; `None` where there is none.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<PublicKey>, KeysUnavailable> {
        let looked = self.look(kid);
        let Looked::Wait(request) = looked else {
            return told(looked);
        };
        ended(request).await;
        told(self.look_again(kid))
    }

    /// Looks, and begins a request where one is due.
    fn look(&self, kid: &str) -> Looked {
        let mut state = self.0.state();
        let now = (self.0.clock)();
        let limits = &self.0.limits;
        if !state.is_usable(now, limits) {
            let may_ask = state.under_way().is_some() || is_past(state.attempted_at, now, RETRY_INTERVAL);
            return if may_ask {
                Looked::Wait(self.begin(&mut state))
            } else {
                Looked::Unavailable
            };
        }
        if let Some(key) = state.keys.get(kid).cloned() {
            let is_old = is_past(state.fetched_at, now, limits.lifetime);
            if is_old && is_past(state.attempted_at, now, limits.refetch_interval) {
                drop(self.begin(&mut state));
            }
            return Looked::Found(key);
        }
        if let Some(request) = state.under_way() {
            return Looked::Wait(request);
        }
        if is_past(state.asked_for_unknown_at, now, limits.refetch_interval) {
            state.asked_for_unknown_at = Some(now);
            return Looked::Wait(self.begin(&mut state));
        }
        Looked::Unknown
    }

    /// Looks once the request has ended.
    fn look_again(&self, kid: &str) -> Looked {
        let state = self.0.state();
        if !state.is_usable((self.0.clock)(), &self.0.limits) {
            return Looked::Unavailable;
        }
        state
            .keys
            .get(kid)
            .cloned()
            .map_or(Looked::Unknown, Looked::Found)
    }

    /// The request that is under way, or a new one, which goes on whoever hangs up.
    fn begin(&self, state: &mut State) -> watch::Receiver<()> {
        if let Some(request) = state.under_way() {
            return request;
        }
        let (over, request) = watch::channel(());
        state.fetching = Some(request.clone());
        state.attempted_at = Some((self.0.clock)());
        let cache = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            cache.fetch();
            drop(over);
        });
        request
    }
}

impl fmt::Debug for KeySetCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("KeySetCache")
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panics under the lock, what it leaves behind is sound: a request that came to nothing has ended.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(&self) {
        let fetched = self.source.fetch().and_then(|document| parse(&document));
        match fetched {
            Ok(keys) => {
                let mut state = self.state();
                state.keys = keys;
                state.fetched_at = Some((self.clock)());
            }
            Err(error) => tracing::warn!(%error, "the key set could not be fetched"),
        }
    }
}

impl State {
    /// The request that is under way; one whose sender is gone has ended, however that was.
    fn under_way(&self) -> Option<watch::Receiver<()>> {
        let request = self.fetching.clone()?;
        request.has_changed().is_ok().then_some(request)
    }

    fn is_usable(&self, now: Duration, limits: &KeySetLimits) -> bool {
        let longest = limits.max_staleness.max(limits.lifetime);
        self.fetched_at.is_some() && !is_past(self.fetched_at, now, longest)
    }
}

fn is_past(when: Option<Duration>, now: Duration, interval: Duration) -> bool {
    when.is_none_or(|when| now.saturating_sub(when) >= interval)
}

async fn ended(mut request: watch::Receiver<()>) {
    // Nothing is ever sent: it ends by its sender's end.
    while request.changed().await.is_ok() {}
}

fn told(looked: Looked) -> Result<Option<PublicKey>, KeysUnavailable> {
    match looked {
        Looked::Found(key) => Ok(Some(key)),
        Looked::Unknown => Ok(None),
        Looked::Unavailable | Looked::Wait(_) => Err(KeysUnavailable),
    }
}

/// The keys of a key set that may check RS256 signatures, by id; others are passed over (RFC 7517 section 5).
fn parse(document: &[u8]) -> Result<Keys, FetchError> {
    let document: Value =
        serde_json::from_slice(document).map_err(|_| FetchError::Content("it is no JSON"))?;
    let listed = document.get("keys").and_then(Value::as_array);
    let listed = listed.ok_or(FetchError::Content("it has no list of keys"))?;
    let keys: Keys = listed.iter().filter_map(named_key).collect();
    if keys.is_empty() {
        return Err(FetchError::Content("it has no RSA key for signatures"));
    }
    Ok(keys)
}

fn named_key(jwk: &Value) -> Option<(String, PublicKey)> {
    let is = |name: &str, value: &str| jwk.get(name).is_none_or(|given| given == value);
    let may_verify = jwk.get("kty").is_some_and(|kty| kty == "RSA")
        && is("use", "sig")
        && is("alg", "RS256")
        // A private key in a key set would be a grave mistake of somebody's; it is nothing to rely on.
        && jwk.get("d").is_none();
    let kid = jwk.get("kid")?.as_str()?;
    let members = jwk.as_object().filter(|_| may_verify)?.clone();
    let verifier = RS256.verifier_from_jwk(&Jwk::from_map(members).ok()?).ok()?;
    Some((kid.to_owned(), Arc::new(verifier)))
}

fn monotonic() -> MonotonicClock {
    let begun = Instant::now();
    Arc::new(move || begun.elapsed())
}

/// Asks by HTTP.
struct HttpSource {
    url: String,
    agent: ureq::Agent,
}

impl HttpSource {
    fn new(url: String) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Those that the system trusts; where it has none, no HTTPS server is believed.
        let trusted = rustls_native_certs::load_native_certs().certs;
        let roots: Vec<_> = trusted
            .iter()
            .map(|root| Certificate::from_der(root).to_owned())
            .collect();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // A redirect is not followed: who may name our keys is a matter of configuration.
            .max_redirects(0)
            .max_redirects_will_error(true)
            .tls_config(
                TlsConfig::builder()
                    .unversioned_rustls_crypto_provider(provider)
                    .root_certs(RootCerts::from(roots))
                    .build(),
            )
            .build()
            .into();
        Self { url, agent }
    }
}

impl FetchKeySet for HttpSource {
    fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let failed = |error| FetchError::Request(Box::new(error));
        let mut answer = self.agent.get(&self.url).call().map_err(failed)?;
        if answer.status() != 200 {
            return Err(FetchError::Content(
                "the server answers by another status than 200",
            ));
        }
        answer
            .body_mut()
            .with_config()
            .limit(MAX_BYTES)
            .read_to_vec()
            .map_err(failed)
    }
}
