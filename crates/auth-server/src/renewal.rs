//! Renewal: follows the files of the certificate while the server runs, and says when its end is near.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use auth_domain::ports::Clock;
use auth_domain::time::Timestamp;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use crate::http::tls::{Certificates, Look, TlsFault};
use crate::telemetry;

/// How often the files are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How often the end of the certificate is looked at.
const DAY: Duration = Duration::from_hours(24);
/// A certificate that ends within this time, in seconds, should have been renewed.
const SOON: i64 = 14 * 24 * 60 * 60;

/// Keeps the certificate that is shown a good one.
pub struct Renewal {
    certificates: Arc<Certificates>,
    clock: Arc<dyn Clock>,
    /// What was last said to be wrong with the files: it is said once, however often they are looked at.
    said: Option<String>,
}

impl Renewal {
    /// The renewal of a certificate.
    pub const fn of(certificates: Arc<Certificates>, clock: Arc<dyn Clock>) -> Self {
        Self {
            certificates,
            clock,
            said: None,
        }
    }

    /// Follows the files until it is dropped or aborted, and reads them in any case when a signal asks for it.
    pub async fn tend(mut self, mut asked: Signal) {
        let (mut tick, mut day) = (interval(TICK), interval(DAY));
        loop {
            tokio::select! {
                _ = day.tick() => self.tell_end(),
                _ = tick.tick() => self.take_up(Certificates::look).await,
                _ = asked.recv() => {
                    self.said = None;
                    self.take_up(Certificates::reload).await;
                }
            }
        }
    }

    async fn take_up(&mut self, read: fn(&Certificates, Timestamp) -> Result<Look, TlsFault>) {
        let (certificates, now) = (Arc::clone(&self.certificates), self.clock.now());
        match spawn_blocking(move || read(&certificates, now)).await {
            Ok(Ok(Look::Unchanged)) => self.said = None,
            Ok(Ok(Look::Exchanged)) => {
                self.said = None;
                tracing::info!(
                    event_type = "tls",
                    "the certificate was read and is shown from now on"
                );
                self.tell_end();
            }
            Ok(Err(fault)) => self.complain(&fault),
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &(dyn Error + 'static)) {
        let text = error.to_string();
        if self.said.as_ref() == Some(&text) {
            return;
        }
        tracing::error!(
            event_type = "tls",
            cause = error,
            "the new certificate can't be used; the known one is shown further on"
        );
        self.said = Some(text);
    }

    /// Tells those who watch the metrics, and in time those who read the log.
    fn tell_end(&self) {
        let expires_at = self.certificates.expires_at();
        telemetry::certificate_expires_at(expires_at);
        match expires_at - self.clock.now().unix_seconds() {
            SOON.. => {}
            seconds @ 0.. => tracing::warn!(
                event_type = "tls",
                seconds,
                "the certificate expires soon: renew it"
            ),
            _ => tracing::error!(event_type = "tls", "the certificate has expired: renew it"),
        }
    }
}
