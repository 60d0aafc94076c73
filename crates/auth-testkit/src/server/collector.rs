//! A collector of traces that speaks OTLP, by gRPC and by HTTP, and keeps what it is sent.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

/// How long spans are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A span, in a form that tests compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// What it is of.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// Its parent's; empty where it has none.
    pub parent_id: String,
    /// The `tracestate` that it has been handed.
    pub trace_state: String,
    /// Server, client, internal: as OTLP numbers them.
    pub kind: i32,
    /// Whether it says that something has failed.
    pub is_error: bool,
    /// What it says besides.
    pub attributes: BTreeMap<String, String>,
    /// What is said of the program that it comes from.
    pub resource: BTreeMap<String, String>,
}

/// A running collector. It is gone when this is dropped; another one may take its place.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Arc<Kept>,
    stop: Option<oneshot::Sender<()>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Kept {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    spans: Vec<Collected>,
    /// The names and values of all headers that came along.
    headers: Vec<(String, String)>,
    /// All that came, byte by byte.
    raw: Vec<u8>,
}

impl Collector {
    /// One that takes OTLP/gRPC, on a free port.
    pub fn grpc() -> Self {
        Self::grpc_on(listener(0))
    }

    /// One that takes OTLP/gRPC where another one was.
    pub fn grpc_at(address: SocketAddr) -> Self {
        Self::grpc_on(listener(address.port()))
    }

    /// One that takes OTLP/HTTP, on a free port.
    pub fn http() -> Self {
        let listener = listener(0);
        let address = listener.local_addr().expect("an address");
        let (kept, is_over) = (Arc::<Kept>::default(), Arc::<AtomicBool>::default());
        let (keeper, over) = (Arc::clone(&kept), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let keeper = Arc::clone(&keeper);
                thread::spawn(move || drop(keeper.take_http(&connection)));
            }
        });
        Self {
            address,
            kept,
            stop: None,
            is_over,
            thread: Some(thread),
        }
    }

    fn grpc_on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let kept = Arc::<Kept>::default();
        let service = TraceServiceServer::new(Taker(Arc::clone(&kept)));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                listener
                    .set_nonblocking(true)
                    .expect("a listener that does not block");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let incoming = TcpIncoming::from(listener);
                let answering = tonic::transport::Server::builder().serve_with_incoming(service, incoming);
                tokio::select! {
                    ended = answering => ended.expect("a server"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            kept,
            stop: Some(stop),
            is_over: Arc::default(),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that have come.
    pub fn spans(&self) -> Vec<Collected> {
        self.kept.said().spans.clone()
    }

    /// The values of a header, of all requests that have come.
    pub fn header(&self, name: &str) -> Vec<String> {
        let said = self.kept.said();
        let values = said.headers.iter().filter(|(given, _)| given == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// All bytes that have come, but for headers.
    pub fn raw(&self) -> Vec<u8> {
        self.kept.said().raw.clone()
    }

    /// Waits until spans have come that are enough, and says all that have.
    ///
    /// # Panics
    /// Where they do not come.
    pub fn wait_until(&self, are_enough: impl Fn(&[Collected]) -> bool) -> Vec<Collected> {
        let until = Instant::now() + PATIENCE;
        let mut said = self.kept.said();
        while !are_enough(&said.spans) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the spans did not come: {:#?}", said.spans);
            let waited = self.kept.more.wait_timeout(said, left);
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        said.spans.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(self.stop.take());
        // Wakes the one that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn listener(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port")
}

struct Taker(Arc<Kept>);

#[async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let headers = headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        });
        self.0.keep(headers.collect(), request.get_ref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Kept {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, headers: Vec<(String, String)>, request: &ExportTraceServiceRequest) {
        let mut said = self.said();
        said.headers.extend(headers);
        said.raw.extend(request.encode_to_vec());
        for of_resource in &request.resource_spans {
            let resource = of_resource.resource.as_ref();
            let resource = resource.map(|resource| readable(&resource.attributes));
            let spans = of_resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            let resource = resource.unwrap_or_default();
            said.spans
                .extend(spans.map(|span| Collected::of(span, resource.clone())));
        }
        drop(said);
        self.more.notify_all();
    }

    /// Takes what comes over one connection, until it ends.
    fn take_http(&self, connection: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(connection);
        let mut writer = connection;
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let headers = read_headers(&mut reader)?;
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let is_binary = headers
                .iter()
                .any(|(name, value)| name == "content-type" && value == "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(&*body);
            let answer = match request {
                Ok(request) if first.starts_with("POST /v1/traces ") && is_binary => {
                    self.keep(headers, &request);
                    "200 OK"
                }
                _ => "400 Bad Request",
            };
            write!(
                writer,
                "HTTP/1.1 {answer}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            )?;
        }
    }
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(headers);
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

impl Collected {
    fn of(span: &Span, resource: BTreeMap<String, String>) -> Self {
        Self {
            name: span.name.clone(),
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            trace_state: span.trace_state.clone(),
            kind: span.kind,
            is_error: span.status.as_ref().is_some_and(|status| status.code == 2),
            attributes: readable(&span.attributes),
            resource,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn readable(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)))
        .collect()
}
