//! What is known about a request besides its content: where it came from, and by which name it is talked about.

use std::cell::Cell;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, USER_AGENT};
use auth_domain::context::RequestContext;
use auth_domain::ports::Random;

use super::client_address::{self, Trust};
use super::connections;

/// The header that names a request, for whoever must find it again in a log.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const MAX_CORRELATION_ID: usize = 128;
const MAX_USER_AGENT: usize = 512;

/// A request's circumstances.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// What the rules and the audit trail are told.
    pub context: RequestContext,
    /// The caller's trace, where it sent a valid `traceparent`.
    pub trace_id: Option<String>,
    /// Whether the request came over HTTPS.
    pub is_secure: bool,
    /// Whether something has been begun for it that may change things: then nobody is told that nothing has been done.
    pub is_begun: Cell<bool>,
}

impl Incoming {
    /// Reads the circumstances off a request's head.
    pub(crate) fn read(request: &ServiceRequest, random: &dyn Random, trust: &Trust) -> Self {
        let headers = request.headers();
        let origin = request
            .peer_addr()
            .map(|peer| client_address::origin(peer.ip(), headers, trust));
        Self {
            context: RequestContext {
                ip: origin.map(|origin| origin.ip),
                is_exempt: origin.is_some_and(|origin| trust.is_exempt(origin.ip)),
                user_agent: headers.get(USER_AGENT).map(|value| user_agent(value.as_bytes())),
                correlation_id: correlation_id(headers).unwrap_or_else(|| new_correlation_id(random)),
            },
            trace_id: headers
                .get(TRACEPARENT)
                .and_then(|value| trace_id(value.as_bytes())),
            is_secure: connections::is_tls(request.request())
                || origin.is_some_and(|origin| origin.is_secure),
            is_begun: Cell::new(false),
        }
    }
}

/// The caller's own id, where it is one that can be put in a log and a header as it is.
fn correlation_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CORRELATION_ID)?.to_str().ok()?;
    let is_sane = (1..=MAX_CORRELATION_ID).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    is_sane.then(|| value.to_owned())
}

fn new_correlation_id(random: &dyn Random) -> String {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// A `User-Agent` that can be shown as it is: printable ASCII, cut to a sane length. Every other byte becomes `?`, since
/// control and format characters could forge a line of a log or turn around how it reads.
pub fn user_agent(value: &[u8]) -> String {
    let shown = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    };
    value.iter().take(MAX_USER_AGENT).map(shown).collect()
}

/// The trace of a `traceparent` of version 00: `00-<32 digits>-<16 digits>-<2 digits>`, lower case, neither id all
/// zeros (W3C Trace Context section 3.2).
pub fn trace_id(traceparent: &[u8]) -> Option<String> {
    let mut fields = traceparent.split(|byte| *byte == b'-');
    let mut field = |length: usize| {
        fields.next().filter(|field| {
            field.len() == length && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let is_zero = |id: &[u8]| id.iter().all(|byte| *byte == b'0');
    if version != b"00" || fields.next().is_some() || is_zero(trace) || is_zero(parent) {
        return None;
    }
    String::from_utf8(trace.to_vec()).ok()
}
