//! The server's certificate: usable, for the issuer's host, with what leads to its authority, and not about to end.

use std::net::IpAddr;
use std::path::Path;

use auth_domain::ports::Clock as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::http::Uri;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

use super::finding::Finding;
use super::place;
use crate::cli::failure::Failure;
use crate::compose;
use crate::files::{self, FileFault};
use crate::http::tls::{TlsFault, TlsFiles};
use crate::settings::Settings;
use crate::system::SystemClock;

const SUBJECT: &str = "tls";
const DAY: i64 = 86_400;
/// Tools renew a certificate a month before its end; nobody has, two weeks before.
const SOON: i64 = 14;

/// What a chain in a file is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    /// The names that the first certificate is for.
    names: Vec<String>,
    /// How many certificates there are.
    length: usize,
    /// Whether the first one has signed itself.
    is_own_issuer: bool,
    /// Whether the first one is an authority's, which no strict client takes for a server's.
    is_authority: bool,
}

/// Looks at the files of the settings, for an issuer that somebody has chosen.
pub(super) fn look(settings: &Settings, issuer: Option<&str>) -> Vec<Finding> {
    let Some(files) = &settings.listen.tls else {
        return vec![Finding::ok(
            SUBJECT,
            "the server has no certificate: it speaks plain HTTP",
        )];
    };
    let certificates = match compose::open_certificates(&settings.listen, &SystemClock) {
        Ok(certificates) => certificates,
        Err(error) => return vec![unusable(files, error)],
    };
    let mut findings = vec![Finding::ok(
        SUBJECT,
        format!("{} and its key belong together", files.certificate.display()),
    )];
    let now = SystemClock.now().unix_seconds();
    findings.extend(certificates.map(|shown| end((shown.expires_at() - now) / DAY)));
    match read(&files.certificate) {
        Some(chain) => {
            findings.push(completeness(&chain));
            findings.extend(issuer.and_then(host_of).map(|host| coverage(&chain.names, &host)));
        }
        None => findings.push(Finding::warn(
            SUBJECT,
            "the certificate can't be read in full",
            "`openssl x509 -text -in FILE` may tell why.",
        )),
    }
    findings
}

fn unusable(files: &TlsFiles, error: compose::StartError) -> Finding {
    let compose::StartError::Tls(fault) = &error else {
        return Finding::of_failure(SUBJECT, Failure::from(error));
    };
    let renew = format!(
        "Renew it; a running server takes up what is put in the place of {} by itself.",
        files.certificate.display()
    );
    let mend = match fault {
        TlsFault::File {
            path,
            fault: FileFault::Io(error),
        } => return place::unreadable(SUBJECT, path, error),
        TlsFault::Expired(_) => renew,
        TlsFault::File {
            path,
            fault: FileFault::ReadableByOthers { .. },
        } => format!(
            "chmod g-wx,o= {}; its owner or its group has to be the server's.",
            path.display()
        ),
        TlsFault::Strangers(_) => "Put the key that the certificate was made for beside it.".to_owned(),
        TlsFault::TooEarly(_) => "Set this machine's clock, or wait.".to_owned(),
        TlsFault::File { .. } | TlsFault::NoCertificate(_) | TlsFault::NoKey(_) => {
            "AUTH_SERVICE__TLS_CERT_PATH names the certificate, TLS_KEY_PATH its key; both are PEM."
                .to_owned()
        }
    };
    Finding::fail(SUBJECT, fault.to_string(), mend)
}

fn end(days: i64) -> Finding {
    let said = format!("the certificate is good for {days} more days");
    if days >= SOON {
        return Finding::ok(SUBJECT, said);
    }
    Finding::warn(
        SUBJECT,
        said,
        "Renew it now, and look why nothing does so by itself; a running server takes the new one up.",
    )
}

/// What is in a file; `None` where that is not all well-formed.
fn read(path: &Path) -> Option<Chain> {
    let pem = files::read(path).ok()?;
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .ok()?;
    let first = Certificate::from_der(chain.first()?).ok()?;
    let first = first.tbs_certificate();
    let constraints = first.get_extension::<BasicConstraints>().ok()?;
    let names = first.get_extension::<SubjectAltName>().ok()?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    Some(Chain {
        names: names.iter().filter_map(name).collect(),
        length: chain.len(),
        is_own_issuer: first.issuer() == first.subject(),
        is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
    })
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::IpAddress(bytes) => ip(bytes.as_bytes()).map(|ip| ip.to_string()),
        _ => None,
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn completeness(chain: &Chain) -> Finding {
    if chain.is_authority {
        return Finding::warn(
            SUBJECT,
            "the certificate is an authority's (CA:TRUE): strict clients refuse it as a server's",
            "Make one for a server: `openssl req -x509` takes -addext basicConstraints=critical,CA:FALSE.",
        );
    }
    match (chain.length, chain.is_own_issuer) {
        (_, true) => Finding::warn(
            SUBJECT,
            "the certificate has signed itself: only clients that are told to trust it do",
            "Have an authority sign it before others are to connect.",
        ),
        (1, false) => Finding::warn(
            SUBJECT,
            "the file holds the server's certificate alone: clients that do not know who signed it refuse it",
            "Append the certificates in between (certbot's fullchain.pem has them), unless the authority signs directly.",
        ),
        (length, false) => Finding::ok(
            SUBJECT,
            format!("the file holds a chain of {length} certificates"),
        ),
    }
}

/// The host of a URL, as a certificate would name it.
fn host_of(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    Some(host.to_ascii_lowercase())
}

fn coverage(names: &[String], host: &str) -> Finding {
    if names.iter().any(|name| covers(name, host)) {
        return Finding::ok(
            SUBJECT,
            format!("the certificate is for the issuer's host {host}"),
        );
    }
    let names = match names {
        [] => "no name".to_owned(),
        names => names.join(", "),
    };
    Finding::fail(
        SUBJECT,
        format!("the certificate is for {names}, and not for the issuer's host {host}"),
        "Have one made that names it (subjectAltName), unless a proxy with a certificate of its own stands before this server.",
    )
}

/// RFC 6125 section 6.4.3: a wildcard stands for one whole label, the leftmost.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, parent)| parent == rest),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    #[rstest]
    #[case("auth.example.com", "auth.example.com", true)]
    #[case("*.example.com", "auth.example.com", true)]
    #[case("*.example.com", "example.com", false)]
    #[case("*.example.com", "a.auth.example.com", false)]
    #[case("example.com", "auth.example.com", false)]
    #[case("127.0.0.1", "127.0.0.1", true)]
    fn a_wildcard_stands_for_one_label(#[case] name: &str, #[case] host: &str, #[case] is_covered: bool) {
        let names = [name.to_owned()];
        let verdict = if is_covered { Verdict::Ok } else { Verdict::Fail };
        assert_eq!(coverage(&names, host).verdict, verdict);
    }

    #[rstest]
    #[case("https://Auth.example.com:8443/base", Some("auth.example.com"))]
    #[case("https://[::1]:1", Some("::1"))]
    #[case("not a url", None)]
    fn the_issuers_host_is_found(#[case] url: &str, #[case] host: Option<&str>) {
        assert_eq!(host_of(url).as_deref(), host);
    }

    #[rstest]
    #[case(90, Verdict::Ok)]
    #[case(14, Verdict::Ok)]
    #[case(13, Verdict::Warn)]
    #[case(0, Verdict::Warn)]
    fn an_end_within_two_weeks_is_warned_of(#[case] days: i64, #[case] verdict: Verdict) {
        assert_eq!(end(days).verdict, verdict);
    }

    #[rstest]
    #[case(2, false, false, Verdict::Ok)]
    #[case(1, false, false, Verdict::Warn)]
    #[case(1, true, false, Verdict::Warn)]
    #[case(2, false, true, Verdict::Warn)]
    fn a_chain_leads_from_the_server_to_its_authority(
        #[case] length: usize,
        #[case] is_own_issuer: bool,
        #[case] is_authority: bool,
        #[case] verdict: Verdict,
    ) {
        let chain = Chain {
            names: Vec::new(),
            length,
            is_own_issuer,
            is_authority,
        };
        assert_eq!(completeness(&chain).verdict, verdict);
    }
}
