//! What becomes of the spans of a request: in a subscriber of the thread, so that no test sees another's.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth_domain::client::GrantType;
use auth_domain::ports::Unavailable;
use auth_domain::token_service::{Answer, Facts, Outcome};
use opentelemetry::Context;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use super::spans::{part, part_at_once};
use super::*;
use crate::http::route::{Asked, OTHER, TOKEN};
use crate::http::traceparent::TraceParent;
use crate::telemetry::log::{self, LogFormat, LogLevels};

const SIGN_IN: Asked = Asked {
    route: TOKEN,
    method: "POST",
};
const CALLER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The spans that have ended, in that order.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What has been logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The subscriber that the server has, for this thread.
struct Listening {
    ended: Ended,
    logged: Logged,
    _guard: DefaultGuard,
}

impl Listening {
    /// With the layer that takes spans, and such a share of the traces kept.
    fn keeping(ratio: f64, format: LogFormat) -> Self {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler(ratio))
            .with_span_processor(ended.clone())
            .build();
        Self::with(ended, Some(layer(provider.tracer(SERVICE)).boxed()), format)
    }

    fn with(ended: Ended, spans: Option<log::BoxedLayer>, format: LogFormat) -> Self {
        let logged = Logged::default();
        let writer = logged.clone();
        let levels = LogLevels {
            all: LevelFilter::TRACE,
            modules: vec![(TARGET.to_owned(), LevelFilter::TRACE)],
        };
        let mut layers = vec![log::lines(move || writer.clone(), false, format, levels)];
        layers.extend(spans);
        let subscriber = tracing_subscriber::registry().with(layers);
        Self {
            ended,
            logged,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    fn spans(&self) -> Vec<SpanData> {
        self.ended.0.lock().unwrap().clone()
    }

    fn logged(&self) -> String {
        String::from_utf8(self.logged.0.lock().unwrap().clone()).unwrap()
    }
}

fn granted() -> Answer<()> {
    Answer {
        facts: Facts {
            grant_type: Some(GrantType::Password),
            ..Facts::default()
        },
        outcome: Outcome::Granted(()),
    }
}

/// A use case that asks the database, computes, logs a line, and comes to this.
async fn work(answer: Answer<()>) -> Answer<()> {
    part(
        "users.find",
        Some("sqlite"),
        async { tokio::task::yield_now().await },
        |()| None,
    )
    .await;
    part("password.verify", None, async {}, |()| None).await;
    part_at_once("tokens.verify", || (), |()| Some("verify"));
    tracing::error!(event_type = "said", "said within a span");
    answer
}

fn said(span: &SpanData) -> Vec<String> {
    let mut said: Vec<_> = span
        .attributes
        .iter()
        .map(|pair| format!("{}={}", pair.key, pair.value))
        .collect();
    said.sort();
    said
}

#[tokio::test]
async fn a_request_is_a_tree_of_spans_with_what_was_put_there_and_nothing_else() {
    let listening = Listening::keeping(1.0, LogFormat::Json);
    let trace = RequestTrace::begin(SIGN_IN, true, None);
    trace.use_case("grant", work(granted())).await;
    trace.answered(200);
    let spans = listening.spans();
    let [find, verify, check, grant, request] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    let (trace_id, span_id) = trace.ids();
    assert_eq!(request.span_context.trace_id().to_string(), trace_id);
    assert_eq!(request.span_context.span_id().to_string(), span_id);
    assert_eq!(request.parent_span_id, SpanId::INVALID);
    assert_eq!(grant.parent_span_id, request.span_context.span_id());
    for part in [find, verify, check] {
        assert_eq!(part.parent_span_id, grant.span_context.span_id());
    }
    let shown = spans
        .iter()
        .map(|span| (&*span.name, span.span_kind.clone(), said(span)));
    let expected = [
        (
            "users.find",
            SpanKind::Client,
            "db.operation.name=users.find db.system.name=sqlite",
        ),
        ("password.verify", SpanKind::Internal, ""),
        ("tokens.verify", SpanKind::Internal, ""),
        (
            "grant",
            SpanKind::Internal,
            "auth.grant_type=password auth.result=granted",
        ),
        (
            "POST /oauth/token",
            SpanKind::Server,
            "http.request.method=POST http.response.status_code=200 http.route=/oauth/token url.scheme=https",
        ),
    ];
    let expected = expected.map(|(name, kind, said)| {
        let said: Vec<_> = said.split_whitespace().map(str::to_owned).collect();
        (name, kind, said)
    });
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    assert_eq!(check.status, Status::error("verify"));
    assert!(
        spans
            .iter()
            .all(|span| span.events.is_empty() && span.links.is_empty())
    );
    assert!(
        [find, verify, grant, request]
            .iter()
            .all(|span| span.status == Status::Unset)
    );
}

#[tokio::test]
async fn a_request_is_a_part_of_its_callers_trace_and_ends_with_its_answer() {
    let listening = Listening::keeping(0.0, LogFormat::Json);
    let parent = TraceParent::parse(CALLER);
    let trace = RequestTrace::begin(SIGN_IN, false, parent.as_ref());
    let failed = Answer {
        outcome: Outcome::Unavailable(Unavailable::new("open a session", io::Error::other("away"))),
        ..granted()
    };
    trace.use_case("grant", async { failed }).await;
    trace.answered(503);
    let kept = trace.clone();
    drop(trace);
    let spans = listening.spans();
    let [grant, request] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(
        request.span_context.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(request.status, Status::error(""));
    assert!(
        said(request).contains(&"error.type=503".to_owned()),
        "{request:?}"
    );
    assert_eq!(grant.status, Status::error("open a session"));
    assert!(
        said(grant).contains(&"auth.result=unavailable".to_owned()),
        "{grant:?}"
    );
    drop(kept);
    assert_eq!(listening.spans().len(), 2, "a span ends once");
}

#[tokio::test]
async fn a_request_that_is_not_sampled_has_ids_and_no_parts() {
    let listening = Listening::keeping(0.0, LogFormat::Json);
    let nowhere = Asked {
        route: OTHER,
        method: OTHER,
    };
    let trace = RequestTrace::begin(nowhere, false, None);
    trace.use_case("grant", work(granted())).await;
    trace.answered(200);
    let (trace_id, span_id) = trace.ids();
    assert_eq!((trace_id.len(), span_id.len()), (32, 16));
    assert!(
        [&trace_id, &span_id]
            .iter()
            .all(|id| id.bytes().any(|byte| byte != b'0'))
    );
    assert!(listening.spans().is_empty(), "{:?}", listening.spans());
}

#[tokio::test]
async fn a_line_tells_nothing_of_the_span_that_it_is_written_in() {
    for format in [LogFormat::Json, LogFormat::Human] {
        let listening = Listening::keeping(1.0, format);
        let trace = RequestTrace::begin(SIGN_IN, false, None);
        trace.use_case("grant", work(granted())).await;
        let logged = listening.logged();
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains("said within a span"), "{logged}");
        for told in ["grant", "use_case", "otel", TARGET] {
            assert!(!logged.contains(told), "{told} in {logged}");
        }
    }
}

#[tokio::test]
async fn without_the_layer_there_is_no_span_and_the_work_is_done_all_the_same() {
    let listening = Listening::with(Ended::default(), None, LogFormat::Json);
    let trace = RequestTrace::begin(SIGN_IN, false, TraceParent::parse(CALLER).as_ref());
    let answer = trace.use_case("grant", work(granted())).await;
    trace.answered(200);
    assert!(matches!(answer.outcome, Outcome::Granted(())));
    assert_eq!(listening.logged().lines().count(), 1);
    assert_eq!(trace.ids(), ("0".repeat(32), "0".repeat(16)));
}
