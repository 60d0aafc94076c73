//! Traces: which part of a request took how long, sent to a collector. Where none is named, nothing of this is there: no
//! span is made, and no port is wrapped. Never in a span: a password, a token, a secret, a user name, an address.

use std::borrow::Cow;
use std::sync::Arc;

use auth_domain::client::GrantType;
use auth_domain::id::ClientId;
use auth_domain::ports::Random;
use auth_domain::token_service::{Answer, Facts, Outcome};
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use self::sending::Sending;
use crate::http::route::{Asked, OTHER};
use crate::http::traceparent::TraceParent;

mod export;
mod ports;
mod sending;

pub use export::{Collector, ExportFault, Protocol, TracedHeader};
pub use ports::{traced_ports, traced_store};

/// By which name collectors know this program.
const SERVICE: &str = "auth-service";

/// What is traced, and where it is sent.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// Who is sent the spans.
    pub collector: Collector,
    /// The share of traces that are kept, of those that begin here: 0 to 1.
    pub sample_ratio: f64,
    /// Where the server runs, for the collector.
    pub environment: &'static str,
}

/// Makes spans, and sends them.
#[derive(Clone, Debug)]
pub struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    sending: Arc<Sending>,
}

impl Traces {
    /// Starts to send to the collector of the settings; whether it is there shows later.
    ///
    /// # Errors
    /// Where nothing can be sent to such a collector, by anybody.
    pub fn start(settings: &TraceSettings, random: &dyn Random) -> Result<Self, ExportFault> {
        let resource = resource(settings.environment, random);
        let sending = Arc::new(Sending::start(&settings.collector, resource.clone())?);
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_span_processor(sending.queue())
            .build();
        Ok(Self {
            tracer: provider.tracer(SERVICE),
            provider,
            sending,
        })
    }

    /// Sends what is left, and waits for that, but not long.
    pub async fn finish(self) {
        self.sending.finish().await;
        // What ends from now on is dropped.
        drop(self.provider);
    }

    /// Begins the span of a request, under its caller's where it names one.
    pub(crate) fn begin(&self, asked: Asked, is_secure: bool, parent: Option<&TraceParent>) -> RequestTrace {
        let caller = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(remote(parent))
        });
        let builder = self
            .tracer
            .span_builder(span_name(asked))
            .with_kind(SpanKind::Server)
            .with_attributes(request_attributes(asked, is_secure));
        let span = self.tracer.build_with_context(builder, &caller);
        RequestTrace {
            traces: self.clone(),
            context: caller.with_span(span),
        }
    }

    /// Carries out a part of whatever is being done, as a span of its own where that is traced. `fault` says what the
    /// part could not do, if so.
    async fn part<T>(
        &self,
        kind: SpanKind,
        name: &'static str,
        attributes: &[(&'static str, &'static str)],
        work: impl Future<Output = T>,
        fault: impl FnOnce(&T) -> Option<&'static str>,
    ) -> T {
        let Some(context) = self.part_of_current(kind, name, attributes) else {
            return work.await;
        };
        let done = work.with_context(context.clone()).await;
        end_part(&context, fault(&done));
        done
    }

    /// The same for a part that nothing is waited for in.
    fn part_at_once<T>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T,
        fault: impl FnOnce(&T) -> Option<&'static str>,
    ) -> T {
        let Some(context) = self.part_of_current(SpanKind::Internal, name, &[]) else {
            return work();
        };
        let done = work();
        end_part(&context, fault(&done));
        done
    }

    fn part_of_current(
        &self,
        kind: SpanKind,
        name: &'static str,
        attributes: &[(&'static str, &'static str)],
    ) -> Option<Context> {
        let current = Context::current();
        if !current.span().span_context().is_sampled() {
            return None;
        }
        let attributes = attributes.iter().map(|(key, value)| KeyValue::new(*key, *value));
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(kind)
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &current);
        Some(current.with_span(span))
    }
}

fn end_part(context: &Context, fault: Option<&'static str>) {
    let span = context.span();
    if let Some(operation) = fault {
        span.set_status(Status::error(operation));
    }
    span.end();
}

/// The span of one request.
#[derive(Clone, Debug)]
pub struct RequestTrace {
    traces: Traces,
    context: Context,
}

impl RequestTrace {
    /// The ids that log lines name it by.
    pub(crate) fn ids(&self) -> (String, String) {
        let span = self.context.span();
        let ids = span.span_context();
        (ids.trace_id().to_string(), ids.span_id().to_string())
    }

    /// Carries out a use case, as a span of its own.
    pub(crate) async fn use_case<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let builder = self.traces.tracer.span_builder(name);
        let span = self.traces.tracer.build_with_context(builder, &self.context);
        let context = self.context.with_span(span);
        let answer = work.with_context(context.clone()).await;
        let span = context.span();
        if span.is_recording() {
            span.set_attributes(use_case_attributes(&answer.facts));
            let result = match &answer.outcome {
                Outcome::Granted(_) => "granted",
                Outcome::Refused(refusal) => super::reason(*refusal),
                Outcome::Unavailable(_) => "unavailable",
            };
            span.set_attribute(KeyValue::new("auth.result", result));
        }
        let fault = match &answer.outcome {
            Outcome::Unavailable(outage) => Some(outage.what),
            Outcome::Granted(_) | Outcome::Refused(_) => None,
        };
        end_part(&context, fault);
        answer
    }

    /// Ends it with the status of the answer.
    pub(crate) fn answered(&self, status: u16) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

fn span_name(asked: Asked) -> Cow<'static, str> {
    if asked.route == OTHER {
        asked.method.into()
    } else {
        format!("{} {}", asked.method, asked.route).into()
    }
}

fn request_attributes(asked: Asked, is_secure: bool) -> Vec<KeyValue> {
    // The name that the conventions have for methods nobody knows.
    let method = if asked.method == OTHER {
        "_OTHER"
    } else {
        asked.method
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.scheme", if is_secure { "https" } else { "http" }),
    ];
    if asked.route != OTHER {
        attributes.push(KeyValue::new("http.route", asked.route));
    }
    attributes
}

fn use_case_attributes(facts: &Facts) -> impl Iterator<Item = KeyValue> {
    let grant = facts
        .grant_type
        .map(|grant| KeyValue::new("auth.grant_type", GrantType::as_str(grant)));
    let client = facts.client_id.as_ref().map(ClientId::as_str);
    let client = client.map(|id| KeyValue::new("auth.client_id", id.to_owned()));
    grant.into_iter().chain(client)
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

fn resource(environment: &'static str, random: &dyn Random) -> Resource {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    let instance = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", SERVICE),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_string()),
            KeyValue::new("deployment.environment.name", environment),
        ])
        .build()
}
