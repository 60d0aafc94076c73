//! The spans of a request, each made where what it measures is begun. They are `tracing`'s, which the layer makes those
//! of OpenTelemetry; without the layer there are none.

use std::borrow::Cow;

use auth_domain::client::GrantType;
use auth_domain::id::ClientId;
use auth_domain::token_service::{Answer, Facts, Outcome};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TARGET;
use crate::http::route::{Asked, OTHER};
use crate::http::traceparent::TraceParent;

/// The span of one request.
#[derive(Clone, Debug)]
pub struct RequestTrace(Span);

impl RequestTrace {
    /// Begins it, under its caller's where it names one.
    pub(crate) fn begin(asked: Asked, is_secure: bool, parent: Option<&TraceParent>) -> Self {
        let span = info_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.name = &*span_name(asked),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method(asked),
            http.route = (asked.route != OTHER).then_some(asked.route),
            http.response.status_code = Empty,
            url.scheme = if is_secure { "https" } else { "http" },
            error.type = Empty,
        );
        if let Some(parent) = parent {
            // It can't be set only where no layer takes spans; then there is no span either.
            let _ = span.set_parent(Context::new().with_remote_span_context(remote(parent)));
        }
        Self(span)
    }

    /// The ids that log lines name it by.
    pub(crate) fn ids(&self) -> (String, String) {
        let context = self.0.context();
        let span = context.span();
        let ids = span.span_context();
        (ids.trace_id().to_string(), ids.span_id().to_string())
    }

    /// Carries out a use case, as a span of its own where the request is sampled.
    pub(crate) async fn use_case<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        if !is_sampled(&self.0.context()) {
            return work.await;
        }
        let span = info_span!(
            target: TARGET,
            parent: &self.0,
            "use_case",
            otel.name = name,
            otel.status_description = Empty,
            auth.grant_type = Empty,
            auth.client_id = Empty,
            auth.result = Empty,
        );
        let answer = work.instrument(span.clone()).await;
        record_facts(&span, &answer.facts);
        record_outcome(&span, &answer.outcome);
        answer
    }

    /// Ends it with the status of the answer.
    pub(crate) fn answered(&self, status: u16) {
        // Signed, since the layer knows no other numbers.
        self.0.record("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.0.record("error.type", status.to_string());
            self.0.record("otel.status_code", "error");
        }
        // Not when it is dropped: whatever keeps it may last until the answer is sent.
        self.0.context().span().end();
    }
}

/// Carries out a part of whatever is being done, as a span of its own where that is traced. `system` is what is asked,
/// where that is not this program itself; `fault` says what the part could not do, if so.
pub(super) async fn part<T>(
    name: &'static str,
    system: Option<&'static str>,
    work: impl Future<Output = T>,
    fault: impl FnOnce(&T) -> Option<&'static str>,
) -> T {
    let Some(span) = part_of_current(name, system) else {
        return work.await;
    };
    let done = work.instrument(span.clone()).await;
    record_fault(&span, fault(&done));
    done
}

/// The same for a part within this program that nothing is waited for in.
pub(super) fn part_at_once<T>(
    name: &'static str,
    work: impl FnOnce() -> T,
    fault: impl FnOnce(&T) -> Option<&'static str>,
) -> T {
    let Some(span) = part_of_current(name, None) else {
        return work();
    };
    let done = span.in_scope(work);
    record_fault(&span, fault(&done));
    done
}

fn part_of_current(name: &'static str, system: Option<&'static str>) -> Option<Span> {
    // The layer makes the span that is entered the current one of OpenTelemetry too.
    is_sampled(&Context::current()).then(|| {
        info_span!(
            target: TARGET,
            "part",
            otel.name = name,
            otel.kind = if system.is_some() { "client" } else { "internal" },
            otel.status_description = Empty,
            db.system.name = system,
            db.operation.name = system.map(|_| name),
        )
    })
}

fn is_sampled(context: &Context) -> bool {
    context.span().span_context().is_sampled()
}

fn record_fault(span: &Span, fault: Option<&'static str>) {
    if let Some(operation) = fault {
        // That makes it an error as well.
        span.record("otel.status_description", operation);
    }
}

fn record_facts(span: &Span, facts: &Facts) {
    if let Some(grant) = facts.grant_type {
        span.record("auth.grant_type", GrantType::as_str(grant));
    }
    if let Some(client) = &facts.client_id {
        span.record("auth.client_id", ClientId::as_str(client));
    }
}

fn record_outcome<T>(span: &Span, outcome: &Outcome<T>) {
    let (result, fault) = match outcome {
        Outcome::Granted(_) => ("granted", None),
        Outcome::Refused(refusal) => (crate::telemetry::reason(*refusal), None),
        Outcome::Unavailable(outage) => ("unavailable", Some(outage.what)),
    };
    span.record("auth.result", result);
    record_fault(span, fault);
}

fn span_name(asked: Asked) -> Cow<'static, str> {
    if asked.route == OTHER {
        asked.method.into()
    } else {
        format!("{} {}", asked.method, asked.route).into()
    }
}

/// The name that the conventions have for it, also where nobody knows the method.
fn method(asked: Asked) -> &'static str {
    if asked.method == OTHER {
        "_OTHER"
    } else {
        asked.method
    }
}

fn remote(parent: &TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from(parent.trace_id),
        SpanId::from(parent.span_id),
        // Of the flags, the one that has a meaning.
        TraceFlags::new(parent.flags) & TraceFlags::SAMPLED,
        true,
        parent.state.parse::<TraceState>().unwrap_or_default(),
    )
}
