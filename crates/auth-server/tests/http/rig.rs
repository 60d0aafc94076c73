//! The application over a test bed, and what comes out of it in a form that can be compared.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, to_bytes};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::test::{TestRequest, call_service, init_service, try_call_service};
use actix_web::web::Data;
use auth_domain::client::{Client, WireProfile};
use auth_domain::password::Pace;
use auth_domain::ports::{PasswordHasher, StoreProbe, TokenSigner};
use auth_domain::token_service::{Ports, TokenService};
use auth_server::http::{self, HttpSettings, Services, State};
use auth_server::telemetry::Telemetry;
use auth_testkit::{TestBed, build};
use metrics_exporter_prometheus::PrometheusRecorder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::logs;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// What [`Rig::send`] sends as `X-Correlation-ID`, unless a test sends its own.
pub(crate) const CORRELATION: &str = "test-1";
/// A public client of the profile `rfc`.
pub(crate) const PUBLIC: &str = "public-rfc";
/// A confidential client of the profile `codelab-flutter`; its secret is [`build::BACKEND_SECRET`].
pub(crate) const CONFIDENTIAL_FLUTTER: &str = "confidential-flutter";

/// The application over fakes.
pub(crate) struct Rig {
    pub(crate) bed: TestBed,
    state: Data<State>,
    settings: HttpSettings,
    recorder: PrometheusRecorder,
}

/// A response, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Rig {
    pub(crate) fn new(bed: TestBed) -> Self {
        // Before anything is logged on any thread.
        logs::listen();
        let (store, signer) = (Arc::new(bed.store.clone()), Arc::new(bed.signer.clone()));
        Self::with_ports(bed, store, signer)
    }

    /// The same with other ports for the probes and the key set.
    pub(crate) fn with_ports(bed: TestBed, store: Arc<dyn StoreProbe>, signer: Arc<dyn TokenSigner>) -> Self {
        let tokens = bed.service();
        Self::assemble(bed, tokens, store, signer)
    }

    /// The same with another hasher.
    pub(crate) fn with_hasher(bed: TestBed, hasher: Arc<dyn PasswordHasher>) -> Self {
        let ports = Ports {
            hasher,
            ..bed.ports()
        };
        let tokens = TokenService::new(ports, bed.policy.clone());
        let (store, signer) = (Arc::new(bed.store.clone()), Arc::new(bed.signer.clone()));
        Self::assemble(bed, tokens, store, signer)
    }

    fn assemble(
        bed: TestBed,
        tokens: TokenService,
        store: Arc<dyn StoreProbe>,
        signer: Arc<dyn TokenSigner>,
    ) -> Self {
        bed.store.put_client(build::public_client(PUBLIC));
        bed.store.put_client(Client {
            wire_profile: WireProfile::CodelabFlutter,
            ..build::confidential_client(CONFIDENTIAL_FLUTTER, build::BACKEND_SECRET)
        });
        let services = Services {
            tokens,
            signer,
            store,
            redis: None,
            news: None,
            clock: Arc::new(bed.clock.clone()),
            random: Arc::new(bed.random.clone()),
            pace: Pace::default(),
            is_traced: false,
            gauges: Arc::new(|| Box::pin(std::future::ready(()))),
        };
        let (recorder, telemetry) = Telemetry::local();
        let state = Data::new(State::new(services, telemetry).unwrap());
        Self {
            bed,
            state,
            settings: HttpSettings::default(),
            recorder,
        }
    }

    /// The same under a prefix as well.
    pub(crate) fn under(base_path: &'static str) -> Self {
        Self::default().at(base_path)
    }

    /// This rig, under a prefix as well.
    pub(crate) fn at(mut self, base_path: &str) -> Self {
        base_path.clone_into(&mut self.settings.base_path);
        self
    }

    /// This rig, set otherwise.
    pub(crate) fn set(mut self, change: impl FnOnce(&mut HttpSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Sends a request from 192.0.2.1.
    pub(crate) async fn send(&self, request: TestRequest) -> Reply {
        let _current = metrics::set_default_local_recorder(&self.recorder);
        let app = init_service(http::app(self.state.clone(), &self.settings)).await;
        let peer: SocketAddr = "192.0.2.1:50000".parse().unwrap();
        let response: HttpResponse<BoxBody> =
            match try_call_service(&app, request.peer_addr(peer).to_request()).await {
                Ok(response) => response.into_parts().1,
                // What the connection does with an error that comes out of the application.
                Err(error) => error.as_response_error().error_response(),
            };
        Reply::read(response).await
    }

    /// Asks the operators' listener.
    pub(crate) async fn ask_as_operator(&self, path: &str) -> Reply {
        let _current = metrics::set_default_local_recorder(&self.recorder);
        let app = init_service(http::operators_app(self.state.clone())).await;
        let response = call_service(&app, TestRequest::with_uri(path).to_request()).await;
        Reply::read(response.into_parts().1).await
    }

    /// The server is about to stop.
    pub(crate) fn begin_stopping(&self) {
        metrics::with_local_recorder(&self.recorder, || self.state.stopping().begin());
    }

    /// Sends a form, and hangs up as soon as the work has begun; then lets the work go on.
    pub(crate) async fn post_and_hang_up(&self, form: &str) {
        let _current = metrics::set_default_local_recorder(&self.recorder);
        let app = init_service(http::app(self.state.clone(), &self.settings)).await;
        let peer: SocketAddr = "192.0.2.1:50000".parse().unwrap();
        {
            let mut reply = pin!(try_call_service(
                &app,
                form_request(form).peer_addr(peer).to_request()
            ));
            for _ in 0..3 {
                assert!(
                    futures::poll!(reply.as_mut()).is_pending(),
                    "the work takes longer than that"
                );
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Sends a form, with [`CORRELATION`].
    pub(crate) async fn post(&self, form: &str) -> Reply {
        self.send(form_request(form)).await
    }

    /// Sends a GET request, with [`CORRELATION`].
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(
            TestRequest::get()
                .uri(path)
                .insert_header(("X-Correlation-ID", CORRELATION)),
        )
        .await
    }

    /// Signs the built-in user in at a public client, and hands out the refresh token.
    pub(crate) async fn sign_in(&self, client_id: &str) -> String {
        let reply = self
            .post(&login(client_id, build::ALICE, build::ALICE_PASSWORD))
            .await;
        reply.member("refresh_token")
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new(TestBed::default())
    }
}

impl Reply {
    async fn read(response: HttpResponse<BoxBody>) -> Self {
        let status = response.status();
        let headers = sorted(response.headers());
        let body = to_bytes(response.into_body()).await.unwrap();
        Self {
            status,
            headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A member of the body that is a text.
    pub(crate) fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap().to_owned()
    }

    /// Status, headers and body as text, without the headers that every response has (a test of their own).
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![self.status.as_u16().to_string()];
        let own = self.headers.iter().filter(|(name, _)| !is_everywhere(name));
        lines.extend(own.map(|(name, value)| format!("{name}: {value}")));
        lines.push(self.body.clone());
        lines.join("\n")
    }
}

fn is_everywhere(name: &str) -> bool {
    [
        "content-security-policy",
        "permissions-policy",
        "referrer-policy",
        "x-content-type-options",
        "x-correlation-id",
        "x-frame-options",
    ]
    .contains(&name)
}

fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let mut headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    headers.sort();
    headers
}

/// A form on its way to the token endpoint, with [`CORRELATION`].
pub(crate) fn form_request(form: &str) -> TestRequest {
    TestRequest::post()
        .uri("/oauth/token")
        .insert_header((CONTENT_TYPE, FORM))
        .insert_header(("X-Correlation-ID", CORRELATION))
        .set_payload(form.to_owned())
}

/// The form of a password grant.
pub(crate) fn login(client_id: &str, username: &str, password: &str) -> String {
    form(&[
        ("grant_type", "password"),
        ("client_id", client_id),
        ("username", username),
        ("password", password),
    ])
}

/// The form of a refresh grant.
pub(crate) fn refresh(client_id: &str, token: &str) -> String {
    form(&[
        ("grant_type", "refresh_token"),
        ("client_id", client_id),
        ("refresh_token", token),
    ])
}

/// Pairs in the form encoding.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A text in the form encoding.
pub(crate) fn encode(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(text, ESCAPED).to_string()
}
