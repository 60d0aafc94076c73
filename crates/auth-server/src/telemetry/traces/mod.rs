//! Traces: which part of a request took how long, sent to a collector. Where none is named, nothing of this is there: no
//! layer takes spans, none is made, and no port is wrapped. Never in a span: a password, a token, a secret, a user name,
//! an address.

use auth_domain::ports::Random;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;

use self::sending::Sending;

mod export;
mod ports;
mod sending;
mod spans;
#[cfg(test)]
mod tests;

pub use export::{Collector, ExportFault, Protocol, TracedHeader};
pub use ports::{traced_ports, traced_store};
pub use spans::RequestTrace;

/// By which name collectors know this program.
const SERVICE: &str = "auth-service";
/// The target of the spans that collectors are sent, and of nothing else.
const TARGET: &str = "auth_trace";

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

/// Takes spans, and sends them.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    sending: Sending,
}

impl Traces {
    /// Starts to send to the collector of the settings; whether it is there shows later.
    ///
    /// # Errors
    /// Where nothing can be sent to such a collector, by anybody.
    pub fn start(settings: &TraceSettings, random: &dyn Random) -> Result<Self, ExportFault> {
        let resource = resource(settings.environment, random);
        let sending = Sending::start(&settings.collector, resource.clone())?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler(settings.sample_ratio))
            .with_span_processor(sending.queue())
            .build();
        Ok(Self { provider, sending })
    }

    /// What is put into the subscriber, to take the spans.
    pub(super) fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        layer(self.provider.tracer(SERVICE))
    }

    /// Sends what is left, and waits for that, but not long.
    pub async fn finish(self) {
        self.sending.finish().await;
        // What ends from now on is dropped.
        drop(self.provider);
    }
}

/// A caller's decision is honoured.
fn sampler(ratio: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)))
}

/// Makes our spans those of OpenTelemetry: no log line becomes an event of one, and nothing is in one but what was put
/// there.
fn layer(tracer: SdkTracer) -> impl Layer<Registry> + Send + Sync {
    OpenTelemetryLayer::new(tracer)
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(
            filter_fn(|what| what.is_span() && what.target() == TARGET)
                .with_max_level_hint(LevelFilter::INFO),
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
