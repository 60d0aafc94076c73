//! `health`: asks a running server how it is; for people and for container health checks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::CertificateError;
use serde_json::{Value, json};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::failure::Failure;
use super::output::{Ending, Report, fields};
use super::serve::callable;
use crate::files;
use crate::settings::Settings;

/// A server that takes longer is not healthy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which server to ask.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// The server's base URL [default: the address of the settings]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    url: Option<String>,
    /// Ask only whether it answers: for whoever starts it anew where it does not
    #[arg(long, conflicts_with = "ready")]
    live: bool,
    /// Ask only whether it can serve: for whoever passes requests on
    #[arg(long)]
    ready: bool,
    /// Trust the certificates in this PEM file, in place of those the system trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Where systems keep the certificates that they trust.
const SYSTEM_TRUSTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Checks that an address can be asked.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let url: Option<Uri> = text.parse().ok();
    let authority = url.as_ref().and_then(Uri::authority);
    match (url.as_ref().and_then(Uri::scheme_str), authority) {
        // It would be said again with each answer.
        (_, Some(authority)) if authority.as_str().contains('@') => {
            Err("must be without user name and password: nothing that is asked needs them".to_owned())
        }
        (Some("http" | "https"), _) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("must be a URL such as http://127.0.0.1:8003".to_owned()),
    }
}

/// Asks whether the server is well, and whether it can serve.
///
/// # Errors
/// Where nobody answers, or what answers is not this server.
pub(super) fn run(arguments: &HealthArguments, settings: &Settings) -> Result<Report, Failure> {
    let own = || {
        let address = callable(settings.listen.address());
        format!("{}://{address}", settings.listen.scheme())
    };
    let base = arguments.url.clone().unwrap_or_else(own);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .tls_config(tls(arguments.ca.as_deref(), arguments.url.as_deref())?)
        .build()
        .into();
    if arguments.live || arguments.ready {
        let path = if arguments.live { "live" } else { "ready" };
        return Ok(one(&ask(&agent, &format!("{base}/{path}"))?));
    }
    let health = ask(&agent, &format!("{base}/health"))?;
    let readiness = ask(&agent, &format!("{base}/ready"))?;
    Ok(report(&health, &readiness))
}

/// By a URL, or with certificates to trust, a server is asked as any client would. The own one is asked by its address,
/// which is not in its certificate as a rule: so that is not checked, and nothing secret is said or heard.
pub(super) fn tls(ca: Option<&Path>, url: Option<&str>) -> Result<TlsConfig, Failure> {
    let config = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let roots = match (ca, url) {
        (Some(path), _) => certificates(path)?,
        (None, None) => return Ok(config.disable_verification(true).build()),
        (None, Some(url)) if url.starts_with("https://") => {
            let found = SYSTEM_TRUSTS
                .map(Path::new)
                .into_iter()
                .find(|path| path.exists());
            found.map_or(Ok(Vec::new()), certificates)?
        }
        (None, Some(_)) => Vec::new(),
    };
    Ok(config.root_certs(RootCerts::from(roots)).build())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let what = format!("read {}", path.display());
    let pem = files::read(path).map_err(|fault| Failure::of(&what, &fault))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Failure::refused(format!(
            "{what}: it holds no certificate in PEM"
        )));
    }
    Ok(certificates)
}

/// What the server said.
struct Said {
    status: u16,
    body: Value,
}

impl Said {
    fn is_good(&self) -> bool {
        self.status == 200
    }

    fn member(&self, name: &str) -> String {
        self.body
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    }

    fn missing(&self) -> Vec<&str> {
        let names = self.body.get("missing").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

fn ask(agent: &ureq::Agent, url: &str) -> Result<Said, Failure> {
    let mut answer = agent
        .get(url)
        .call()
        .map_err(|error| Failure::of(&format!("ask {url}"), &error).advise(advice(&error)))?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_json().map_err(|_| {
        Failure::refused(format!("{url} answers with status {status} and no JSON"))
            .advise("Is this an auth-service? --url takes its base URL, with BASE_PATH or without.")
    })?;
    Ok(Said { status, body })
}

/// What to do where nobody has answered as a server of this kind would.
pub(super) fn advice(error: &ureq::Error) -> &'static str {
    advice_on_tls(error).unwrap_or("Is the server running? `auth-service serve` starts it.")
}

/// What to do where somebody has answered, and no TLS came of it; `None` where nobody has.
pub(super) fn advice_on_tls(error: &ureq::Error) -> Option<&'static str> {
    let tls = match error {
        ureq::Error::Rustls(fault) => Some(fault),
        ureq::Error::Io(fault) => fault
            .get_ref()
            .and_then(|fault| fault.downcast_ref::<rustls::Error>()),
        ureq::Error::Protocol(_) => return Some("Is HTTPS spoken there? Then the URL begins with https://."),
        _ => None,
    };
    Some(match tls? {
        rustls::Error::InvalidMessage(_) => "Is plain HTTP spoken there? Then the URL begins with http://.",
        rustls::Error::InvalidCertificate(CertificateError::Other(fault))
            if fault.to_string().contains(SHOWN_BY_AN_AUTHORITY) =>
        {
            "The server shows the certificate of an authority (CA:TRUE), which no strict client takes for a server's. \
             `openssl req -x509` makes one for a server with -addext basicConstraints=critical,CA:FALSE."
        }
        rustls::Error::InvalidCertificate(_) => {
            "The server runs, and its certificate is not trusted: --ca FILE names those to trust, and the URL has to hold a \
             name that is in the certificate."
        }
        _ => "The server runs, and no TLS could be agreed on with it.",
    })
}

/// The library has no kind of its own for this fault.
const SHOWN_BY_AN_AUTHORITY: &str = "CaUsedAsEndEntity";

/// What one probe came to.
fn one(said: &Said) -> Report {
    let mut lines = vec![("status", said.member("status"))];
    if !said.missing().is_empty() {
        lines.push(("missing", said.missing().join(", ")));
    }
    Report {
        ending: if said.is_good() { Ending::Good } else { Ending::Bad },
        ..Report::new(
            fields(&lines),
            json!({ "http_status": said.status, "status": said.member("status"), "missing": said.missing() }),
        )
    }
}

fn report(health: &Said, readiness: &Said) -> Report {
    let missing = readiness.missing();
    let mut lines = vec![
        ("status", health.member("status")),
        ("ready", if readiness.is_good() { "yes" } else { "no" }.to_owned()),
        ("version", health.member("version")),
        ("database", health.member("database")),
        ("redis", health.member("redis")),
    ];
    if !missing.is_empty() {
        lines.push(("missing", missing.join(", ")));
    }
    let mut people = fields(&lines);
    if missing.contains(&"migrations") {
        people.push_str("\n\n`auth-service migrate up` brings the database up to date.");
    }
    let is_good = health.is_good() && readiness.is_good();
    Report {
        ending: if is_good { Ending::Good } else { Ending::Bad },
        ..Report::new(
            people,
            json!({ "http_status": health.status, "health": health.body, "ready": readiness.is_good(), "missing": missing }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_loopback() {
        let ask = |address: &str| callable(address.parse().unwrap()).to_string();
        assert_eq!(ask("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(ask("[::]:1"), "[::1]:1");
        assert_eq!(ask("192.0.2.1:1"), "192.0.2.1:1");
    }

    #[test]
    fn a_server_is_good_where_it_is_well_and_can_serve() {
        let said = |status: u16| Said {
            status,
            body: json!({"status": "-", "missing": if status == 200 { vec![] } else { vec!["migrations"] }}),
        };
        assert_eq!(report(&said(200), &said(200)).ending, Ending::Good);
        assert_eq!(report(&said(503), &said(200)).ending, Ending::Bad);
        let pending = report(&said(200), &said(503));
        assert_eq!(pending.ending, Ending::Bad);
        assert!(
            pending.people.contains("missing   migrations"),
            "{}",
            pending.people
        );
        assert_eq!(pending.programs["missing"], json!(["migrations"]));
    }

    #[test]
    fn one_probe_is_good_by_its_status_alone() {
        let said = |status: u16, body: Value| Said { status, body };
        let alive = one(&said(200, json!({"status": "alive"})));
        assert_eq!(
            (alive.ending, alive.people.as_str()),
            (Ending::Good, "status  alive")
        );
        let stopping = one(&said(
            503,
            json!({"status": "not_ready", "missing": ["stopping"]}),
        ));
        assert_eq!(stopping.ending, Ending::Bad);
        assert_eq!(stopping.programs["missing"], json!(["stopping"]));
        assert!(
            stopping.people.contains("missing  stopping"),
            "{}",
            stopping.people
        );
    }

    #[test]
    fn only_what_can_be_asked_is_a_base_url() {
        assert_eq!(
            base_url("http://127.0.0.1:8003/").as_deref(),
            Ok("http://127.0.0.1:8003")
        );
        assert_eq!(
            base_url("https://auth.example.com").as_deref(),
            Ok("https://auth.example.com")
        );
        for (url, said) in [
            ("foo", "must be a URL"),
            ("", "must be a URL"),
            ("http://", "must be a URL"),
            (
                "https://me:hunter2@auth.example.com",
                "without user name and password",
            ),
            ("http://me@[::1]:1/base", "without user name and password"),
        ] {
            assert!(base_url(url).unwrap_err().contains(said), "{url}");
        }
    }
}
