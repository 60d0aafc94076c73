//! How spans reach a collector: OTLP, by gRPC or by HTTP. It says nothing to anybody else, and trusts whom the system
//! trusts.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// How long a collector may take to accept a batch.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// Where collectors take spans over HTTP.
const HTTP_PATH: &str = "/v1/traces";
/// The variable that names the file of certificates to trust, to this program as to most others.
const TRUST_VARIABLE: &str = "SSL_CERT_FILE";
/// Where systems keep the certificates that they trust.
const SYSTEM_TRUSTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Who is sent the spans.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Its URL, without a secret.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What is sent along with each batch.
    pub headers: Vec<TracedHeader>,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, in its binary form.
    Http,
}

/// What a collector wants to see, such as a key.
#[derive(Clone)]
pub struct TracedHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: SecretString,
}

impl fmt::Debug for TracedHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ***", self.name)
    }
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// The endpoint is none that can be spoken to.
    #[error("send traces to OTLP_ENDPOINT")]
    Endpoint(#[source] ExporterBuildError),
    /// The certificates to trust can't be read.
    #[error("read the certificates to trust from {}", path.display())]
    Trust {
        /// From where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The thread that sends can't be had.
    #[error("start the thread that sends traces")]
    Thread(#[source] std::io::Error),
}

impl Collector {
    /// What sends to it. To be called where it will send from.
    ///
    /// # Errors
    /// Where the endpoint or the certificates can't be used.
    pub(super) fn exporter(&self) -> Result<SpanExporter, ExportFault> {
        match self.protocol {
            Protocol::Grpc => self.grpc(),
            Protocol::Http => self.http(),
        }
    }

    fn grpc(&self) -> Result<SpanExporter, ExportFault> {
        let builder = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&self.endpoint)
            .with_timeout(PATIENCE)
            .with_metadata(MetadataMap::from_headers(self.header_map()));
        let builder = if self.is_secure() {
            let trusted = trusted()?.unwrap_or_default();
            builder.with_tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted)))
        } else {
            builder
        };
        builder.build().map_err(ExportFault::Endpoint)
    }

    fn http(&self) -> Result<SpanExporter, ExportFault> {
        let base = self.endpoint.trim_end_matches('/');
        let endpoint = if base.ends_with(HTTP_PATH) {
            base.to_owned()
        } else {
            format!("{base}{HTTP_PATH}")
        };
        let headers = self.headers.iter();
        let headers: HashMap<_, _> = headers
            .map(|header| (header.name.clone(), header.value.expose_secret().to_owned()))
            .collect();
        SpanExporter::builder()
            .with_http()
            .with_http_client(Agent::new(self.is_secure())?)
            .with_endpoint(endpoint)
            .with_timeout(PATIENCE)
            .with_headers(headers)
            .build()
            .map_err(ExportFault::Endpoint)
    }

    fn is_secure(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    /// Marked, so that no library shows a value.
    fn header_map(&self) -> HeaderMap {
        let headers = self.headers.iter().filter_map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(header.value.expose_secret()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        headers.collect()
    }
}

/// The certificates that the system trusts, in PEM; `None` where it has no such file.
fn trusted() -> Result<Option<Vec<u8>>, ExportFault> {
    let named = std::env::var_os(TRUST_VARIABLE).map(PathBuf::from);
    let usual = || {
        SYSTEM_TRUSTS
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
    };
    let Some(path) = named.or_else(usual) else {
        return Ok(None);
    };
    read(&path).map(Some)
}

fn read(path: &Path) -> Result<Vec<u8>, ExportFault> {
    std::fs::read(path).map_err(|source| ExportFault::Trust {
        path: path.to_owned(),
        source,
    })
}

/// Speaks HTTP from the thread that sends, and blocks it: it has nothing else to do.
#[derive(Debug)]
struct Agent(ureq::Agent);

impl Agent {
    fn new(is_secure: bool) -> Result<Self, ExportFault> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // A redirect is a refusal: whoever it names is not whom the operator has given the headers to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Nor is a proxy that some variable of the environment names.
            .proxy(None);
        let config = if is_secure {
            config.tls_config(tls()?)
        } else {
            config
        };
        Ok(Self(config.build().into()))
    }
}

fn tls() -> Result<TlsConfig, ExportFault> {
    let pem = trusted()?.unwrap_or_default();
    let roots: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::from(roots))
        .build())
}

#[async_trait]
impl HttpClient for Agent {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.0.run(request.map(Vec::from))?;
        let (head, mut body) = answer.into_parts();
        let body = body.read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use opentelemetry_sdk::trace::SpanExporter as _;
    use rstest::rstest;

    use super::*;

    fn exporter(endpoint: String) -> SpanExporter {
        let collector = Collector {
            endpoint,
            protocol: Protocol::Http,
            headers: vec![TracedHeader {
                name: "x-api-key".to_owned(),
                value: "a-key".to_owned().into(),
            }],
        };
        collector.exporter().unwrap()
    }

    #[rstest]
    #[case("200 OK", true)]
    #[case("301 Moved Permanently", false)]
    #[case("303 See Other", false)]
    #[case("307 Temporary Redirect", false)]
    #[case("308 Permanent Redirect", false)]
    #[actix_web::test]
    async fn a_collector_that_names_another_has_taken_nothing_and_the_other_is_not_asked(
        #[case] status: &'static str,
        #[case] is_taken: bool,
    ) {
        let (first, other) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        other.set_nonblocking(true).unwrap();
        let named = other.local_addr().unwrap();
        let exporter = exporter(format!("http://{}", first.local_addr().unwrap()));
        let answering = thread::spawn(move || {
            let (mut stream, _) = first.accept().unwrap();
            let mut asked = [0; 16 * 1024];
            let length = stream.read(&mut asked).unwrap();
            let answer = format!(
                "HTTP/1.1 {status}\r\nLocation: http://{named}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        assert_eq!(exporter.export(Vec::new()).await.is_ok(), is_taken);
        let asked = answering.join().unwrap();
        assert!(
            asked.starts_with("POST /v1/traces") && asked.contains("x-api-key: a-key"),
            "{asked}"
        );
        assert!(other.accept().is_err(), "nobody has come");
    }
}
