//! What is recorded of each answered request, whoever has answered it: the one place that all of them pass.

use std::time::Duration;

use super::{Telemetry, meters};
use crate::http::incoming::Incoming;
use crate::http::route::{Asked, TOKEN};

/// The module that lines of requests are of, to whoever sets levels: they tell of HTTP, wherever they are written.
pub(super) const HTTP_LINES: &str = "auth_server::http";

/// How a request came to its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As it should: by a handler, or refused before it reached one.
    Answered,
    /// It held a secret, perhaps, and came over plain HTTP.
    PlainHttp,
    /// Its worker had as much in hand as it takes.
    TurnedAway,
    /// It had no answer in time.
    Late,
    /// Its handler panicked.
    Panicked,
    /// No handler could take it, and why.
    Failed(String),
}

impl Telemetry {
    /// Records an answered request: its metrics, and its line in the log where no use case has written one. A request
    /// whose client hangs up is not answered.
    pub fn request_answered(
        &self,
        asked: Asked,
        ending: Ending,
        status: u16,
        took: Duration,
        incoming: &Incoming,
    ) {
        self.meters.answered(asked, status, took);
        if let Some(trace) = &incoming.trace {
            trace.answered(status);
        }
        // Refused, failed or late before the use case could tell.
        if asked.route == TOKEN && asked.method == "POST" && !incoming.has_line.get() {
            self.meters.token_answered(meters::UNKNOWN_GRANT, status);
        }
        self.note_observation();
        if ending == Ending::TurnedAway {
            self.meters.turned_away();
            self.overload.turned_away();
        }
        let answered = Answered {
            asked,
            status,
            took,
            incoming,
        };
        answered.write_line(ending);
    }
}

struct Answered<'a> {
    asked: Asked,
    status: u16,
    took: Duration,
    incoming: &'a Incoming,
}

/// The level is part of a macro's name, and the fields are the same at each.
macro_rules! request_line {
    ($level:ident, $event_type:expr, $answered:expr, $said:literal $(, $own:ident)*) => {{
        let (asked, incoming) = ($answered.asked, $answered.incoming);
        tracing::$level!(
            target: HTTP_LINES,
            event_type = $event_type,
            correlation_id = &*incoming.context.correlation_id,
            trace_id = incoming.trace_id.as_deref(),
            span_id = incoming.span_id.as_deref(),
            route = asked.route,
            method = asked.method,
            ip_address = incoming.context.ip.map(tracing::field::display),
            user_agent = incoming.context.user_agent.as_deref(),
            status = $answered.status,
            duration_ms = $answered.took.as_secs_f64() * 1_000.0,
            $($own,)*
            $said
        )
    }};
}
impl Answered<'_> {
    fn write_line(&self, ending: Ending) {
        match ending {
            Ending::Answered => self.write_line_unless_told(),
            Ending::PlainHttp => request_line!(
                warn,
                "plain_http",
                self,
                "refused: it came over plain HTTP, or by a proxy that does not say https"
            ),
            // There are thousands a second: `Overload` tells of all of them.
            Ending::TurnedAway => request_line!(debug, "request", self, "turned away"),
            Ending::Late => {
                metrics::counter!(meters::REQUESTS_LATE).increment(1);
                request_line!(warn, "request_timeout", self, "no answer in time");
            }
            Ending::Panicked => {
                metrics::counter!(meters::PANICS).increment(1);
                request_line!(
                    error,
                    "panic",
                    self,
                    "a handler panicked; the request was answered by status 500"
                );
            }
            Ending::Failed(cause) => request_line!(error, "server_error", self, "no handler answered", cause),
        }
    }

    /// What anybody may ask for as often as they like is told only to those who look closely.
    fn write_line_unless_told(&self) {
        if self.incoming.has_line.get() {
            return;
        }
        if let Some(outage) = self.incoming.outage.take() {
            let (operation, cause) = (outage.operation, outage.cause);
            request_line!(error, "unavailable", self, "unavailable", operation, cause);
            return;
        }
        match self.status {
            ..400 => request_line!(debug, "request", self, "answered"),
            400..500 => request_line!(info, "request", self, "refused"),
            // It says what is amiss, and to come again.
            503 => request_line!(warn, "request", self, "not ready"),
            500.. => request_line!(error, "request", self, "failed"),
        }
    }
}
