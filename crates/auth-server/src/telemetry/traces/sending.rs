//! The way of spans from the threads that end them to the collector: a bounded queue, and a thread of its own that
//! empties it. No request ever waits for it; what there is no room for is dropped and counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::export::{Collector, ExportFault, PATIENCE};
use crate::telemetry::meters;

/// More spans than this waiting to be sent, and new ones are dropped.
const WAITING_SPANS: usize = 8_192;
/// How many spans are sent at once.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const EVERY: Duration = Duration::from_secs(1);
/// How long a shutdown waits for what is left to be sent.
const FINISH: Duration = Duration::from_secs(5);

/// The thread that sends, and the queue to it.
pub(super) struct Sending {
    queue: Queue,
    /// Taken by the one who asks it to finish.
    stop: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sending")
    }
}

impl Sending {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where nothing can be sent to such a collector, or there is no thread to be had.
    pub(super) fn start(collector: &Collector, resource: Resource) -> Result<Self, ExportFault> {
        let (spans, waiting) = mpsc::channel(WAITING_SPANS);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let crowded = Arc::new(Notify::new());
        let (collector, crowd) = (collector.clone(), Arc::clone(&crowded));
        thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                let runtime = match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(fault) => return drop(tell.send(Err(ExportFault::Thread(fault)))),
                };
                runtime.block_on(async move {
                    // Here, since a connection lives on the runtime that it was made on.
                    match collector.exporter() {
                        Err(fault) => drop(tell.send(Err(fault))),
                        Ok(mut exporter) => {
                            exporter.set_resource(&resource);
                            drop(tell.send(Ok(())));
                            Sender::new(exporter, waiting).run(&crowd, stopped).await;
                        }
                    }
                });
            })
            .map_err(ExportFault::Thread)?;
        // A thread that ends without a word has panicked.
        let ended = |_| Err(ExportFault::Thread(std::io::ErrorKind::Other.into()));
        told.recv().unwrap_or_else(ended)?;
        meters::begin_traces();
        Ok(Self {
            queue: Queue { spans, crowded },
            stop: Mutex::new(Some(stop)),
        })
    }

    /// Where ended spans go.
    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Sends what is left, and waits for that, but not long.
    pub(super) async fn finish(&self) {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, is_done) = oneshot::channel();
        if stop.is_some_and(|stop| stop.send(done).is_ok()) && timeout(FINISH, is_done).await.is_err() {
            tracing::warn!(
                event_type = "traces",
                "the collector did not take all that was left in time"
            );
        }
    }
}

/// Where ended spans go.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    crowded: Arc<Notify>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.spans.try_send(span).is_err() {
            dropped("queue_full", 1);
        }
        if self.spans.capacity() < WAITING_SPANS - BATCH {
            self.crowded.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn dropped(reason: &'static str, count: u64) {
    metrics::counter!(meters::SPANS_DROPPED, "reason" => reason).increment(count);
}

/// What the thread does.
struct Sender<E> {
    exporter: E,
    waiting: mpsc::Receiver<SpanData>,
    is_away: bool,
}

impl<E: opentelemetry_sdk::trace::SpanExporter> Sender<E> {
    const fn new(exporter: E, waiting: mpsc::Receiver<SpanData>) -> Self {
        Self {
            exporter,
            waiting,
            is_away: false,
        }
    }

    async fn run(mut self, crowded: &Notify, mut stopped: oneshot::Receiver<oneshot::Sender<()>>) {
        loop {
            let stop = tokio::select! {
                stop = &mut stopped => Some(stop),
                () = sleep(EVERY) => None,
                () = crowded.notified() => None,
            };
            if stop.is_some() {
                self.waiting.close();
            }
            self.send_waiting().await;
            if let Some(stop) = stop {
                // Whoever asked may have gone.
                drop(stop.map(|done| done.send(())));
                return;
            }
        }
    }

    async fn send_waiting(&mut self) {
        while !self.waiting.is_empty() {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let sent = timeout(PATIENCE, self.exporter.export(batch)).await;
        match sent {
            Ok(Ok(())) => {
                metrics::counter!(meters::SPANS_EXPORTED).increment(count);
                self.note_back();
            }
            Ok(Err(fault)) => self.note_away(&fault.to_string(), count),
            Err(late) => self.note_away(&late.to_string(), count),
        }
    }

    /// Said once, however long it lasts.
    fn note_away(&mut self, cause: &str, lost: u64) {
        dropped("not_taken", lost);
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(
                event_type = "traces",
                operation = "send spans",
                cause,
                "the collector takes no spans; requests go on without"
            );
        }
    }

    fn note_back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            tracing::info!(event_type = "traces", "the collector takes spans again");
        }
    }
}
