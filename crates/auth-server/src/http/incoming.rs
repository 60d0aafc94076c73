//! What is known about a request besides its content: where it came from, and by which name it is talked about.

use std::cell::{Cell, RefCell};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, USER_AGENT};
use auth_domain::context::RequestContext;
use auth_domain::ports::Random;
use auth_domain::token_service::Answer;

use super::client_address::{self, Trust};
use super::connections;
use super::route::Asked;
use super::traceparent::TraceParent;
use crate::telemetry::traces::RequestTrace;

/// The header that names a request, for whoever must find it again in a log.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const MAX_CORRELATION_ID: usize = 128;
const MAX_USER_AGENT: usize = 512;

/// A request's circumstances.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// What the rules and the audit trail are told.
    pub context: RequestContext,
    /// The trace that it belongs to: the caller's, where it sent a valid `traceparent`; else one of its own, where traces
    /// are sent.
    pub trace_id: Option<String>,
    /// Its span in that trace, where traces are sent.
    pub span_id: Option<String>,
    /// That span.
    pub trace: Option<RequestTrace>,
    /// Where its caller stands in the trace.
    pub trace_parent: Option<TraceParent>,
    /// Whether the request came over HTTPS.
    pub is_secure: bool,
    /// Whether something has been begun for it that may change things: then nobody is told that nothing has been done.
    pub is_begun: Cell<bool>,
    /// Whether it is told to come again though its head was let in.
    pub is_turned_away: Cell<bool>,
    /// Whether the use case that it asked for has written its line in the log.
    pub has_line: Cell<bool>,
    /// What did not answer, where something did not that no use case tells of.
    pub outage: RefCell<Option<Outage>>,
}

/// Something the server needs, which did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// What was asked of it.
    pub operation: &'static str,
    /// Why it did not answer, the nearest cause first.
    pub cause: String,
}

impl Incoming {
    /// Reads the circumstances off a request's head.
    pub(crate) fn read(request: &ServiceRequest, random: &dyn Random, trust: &Trust) -> Self {
        let headers = request.headers();
        let origin = request
            .peer_addr()
            .map(|peer| client_address::origin(peer.ip(), headers, trust));
        let trace_parent = TraceParent::find(headers);
        Self {
            context: RequestContext {
                ip: origin.map(|origin| origin.ip),
                is_exempt: origin.is_some_and(|origin| trust.is_exempt(origin.ip)),
                user_agent: headers.get(USER_AGENT).map(|value| user_agent(value.as_bytes())),
                correlation_id: correlation_id(headers).unwrap_or_else(|| new_correlation_id(random)),
            },
            trace_id: trace_parent.as_ref().map(TraceParent::trace_id),
            span_id: None,
            trace: None,
            trace_parent,
            is_secure: connections::is_tls(request.request())
                || origin.is_some_and(|origin| origin.is_secure),
            is_begun: Cell::new(false),
            is_turned_away: Cell::new(false),
            has_line: Cell::new(false),
            outage: RefCell::new(None),
        }
    }

    /// Gives it a span, under its caller's.
    pub(super) fn begin_trace(&mut self, asked: Asked) {
        let trace = RequestTrace::begin(asked, self.is_secure, self.trace_parent.as_ref());
        let (trace_id, span_id) = trace.ids();
        (self.trace_id, self.span_id) = (Some(trace_id), Some(span_id));
        self.trace = Some(trace);
    }

    /// Carries out a use case for it, in its trace.
    pub(super) async fn use_case<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        match &self.trace {
            Some(trace) => trace.use_case(name, work).await,
            None => work.await,
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
