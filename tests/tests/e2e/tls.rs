//! HTTPS by real clients: which versions are spoken, what is refused, and a certificate exchanged while it is used.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use auth_e2e::installation::Installation;
use auth_e2e::raw::{Ending, Reaction, send};
use auth_e2e::server::{Server, within};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

use crate::support::everything_in;

const PATIENCE: Duration = Duration::from_secs(20);

/// An authority of certificates that nobody else knows.
pub(super) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// From when and until when a certificate is good, in days from now.
pub(super) type Days = (i64, i64);
pub(super) const GOOD: Days = (-1, 90);

impl Authority {
    pub(super) fn new() -> Self {
        let key = new_key();
        let mut builder = certificate("Test Authority", &key, 1, GOOD);
        builder.set_issuer_name(&name("Test Authority")).unwrap();
        let extension = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(extension).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    /// Its certificate in PEM, to be trusted.
    pub(super) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// The certificate of `localhost` with a serial number, and its key.
    pub(super) fn issue(&self, serial: u32, days: Days) -> (Vec<u8>, Vec<u8>) {
        let key = new_key();
        let mut builder = certificate("localhost", &key, serial, days);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(Some(&self.certificate), None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        (
            builder.build().to_pem().unwrap(),
            key.private_key_to_pem_pkcs8().unwrap(),
        )
    }

    pub(super) fn client(&self, versions: Option<SslVersion>, protocols: &[u8]) -> SslConnector {
        let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
        builder
            .cert_store_mut()
            .add_cert(self.certificate.clone())
            .unwrap();
        // So that this client at least would speak the old versions.
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        builder.set_min_proto_version(versions).unwrap();
        builder.set_max_proto_version(versions).unwrap();
        builder.set_alpn_protos(protocols).unwrap();
        builder.build()
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn name(common: &str) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
    builder.build()
}

fn certificate(
    subject: &str,
    key: &PKey<Private>,
    serial: u32,
    (from, until): Days,
) -> openssl::x509::X509Builder {
    let mut builder = X509::builder().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let at = |days: i64| Asn1Time::from_unix(i64::try_from(now).unwrap() + days * 86_400).unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name(subject)).unwrap();
    builder.set_pubkey(key).unwrap();
    let serial = BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_not_before(&at(from)).unwrap();
    builder.set_not_after(&at(until)).unwrap();
    builder
}

/// Puts a pair in place the way certificate tools do: the new file takes the old one's name.
fn put(folder: &Path, (certificate, key): &(Vec<u8>, Vec<u8>)) {
    for (name, content) in [("key.pem", key), ("cert.pem", certificate)] {
        let new = folder.join("new");
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, folder.join(name)).unwrap();
    }
}

pub(super) fn installation(pair: &(Vec<u8>, Vec<u8>)) -> Installation {
    let installation = Installation::new();
    put(installation.directory(), pair);
    let path = |name: &str| installation.directory().join(name).display().to_string();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    installation
        .with("AUTH_SERVICE__TLS_CERT_PATH", &certificate)
        .with("AUTH_SERVICE__TLS_KEY_PATH", &key)
}

pub(super) type Secured = SslStream<TcpStream>;

pub(super) fn connect(address: SocketAddr, client: &SslConnector) -> Result<Secured, String> {
    let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .connect("localhost", stream)
        .map_err(|error| error.to_string())
}

fn serial(stream: &Secured) -> u32 {
    let certificate = stream.ssl().peer_certificate().unwrap();
    let serial = certificate.serial_number().to_bn().unwrap();
    serial.to_dec_str().unwrap().parse().unwrap()
}

/// Asks for something, and reads until the server hangs up.
fn ask_for(path: &str, stream: &mut Secured) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for the health on an open connection, and leaves it open.
fn ask(stream: &mut Secured) -> String {
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"}") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the server hung up");
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(answer).unwrap()
}

pub(super) fn start(installation: &Installation, authority: &Authority) -> Server {
    let client = authority.client(None, b"\x08http/1.1");
    let started = installation.start_when(|address| connect(address, &client).is_ok());
    started.unwrap_or_else(|failed| panic!("{failed}\n{}", installation.printed()))
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(7, GOOD));
    let server = start(&installation, &authority);
    assert!(installation.printed().contains("listens on https://"));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let client = authority.client(Some(version), b"\x08http/1.1");
        let mut stream = connect(server.address(), &client).unwrap();
        assert_eq!((stream.ssl().version2(), serial(&stream)), (Some(version), 7));
        let answer = ask(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("strict-transport-security: max-age=63072000"),
            "{answer}"
        );
    }
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        let client = authority.client(Some(version), b"\x08http/1.1");
        let refused = connect(server.address(), &client).expect_err("an old version");
        assert!(refused.contains(" alert "), "refused by the server: {refused}");
    }
}

#[test]
fn plain_http_on_the_secure_port_gets_no_answer() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    // A handshake that is never begun ends as well.
    let reaction = send(server.address(), b"", Ending::Open, PATIENCE).unwrap();
    assert_eq!(reaction, Reaction::Closed);
}

#[test]
fn http_1_1_is_agreed_on_and_nobody_is_let_in_who_offers_http_2_alone() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let both = authority.client(None, b"\x02h2\x08http/1.1");
    let stream = connect(server.address(), &both).unwrap();
    assert_eq!(
        stream.ssl().selected_alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
    let http_2_alone = authority.client(None, b"\x02h2");
    assert!(connect(server.address(), &http_2_alone).is_err());
    // Nor is it begun without an agreement.
    let mut stream = connect(server.address(), &authority.client(None, b"\x08http/1.1")).unwrap();
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        answer.escape_ascii()
    );
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let client = authority.client(None, b"\x08http/1.1");
    let shown = || serial(&connect(server.address(), &client).unwrap());
    let mut old = connect(server.address(), &client).unwrap();
    ask(&mut old);

    put(installation.directory(), &authority.issue(2, GOOD));
    server.ask_to_reload().unwrap();
    assert!(within(PATIENCE, || (shown() == 2).then_some(())).is_some());
    assert_eq!(serial(&old), 1);
    ask(&mut old);

    // Without being asked it looks by itself.
    put(installation.directory(), &authority.issue(3, GOOD));
    assert!(within(PATIENCE, || (shown() == 3).then_some(())).is_some());
    ask(&mut old);
}

#[test]
fn a_bad_new_pair_changes_nothing_and_is_complained_about() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let client = authority.client(None, b"\x08http/1.1");
    let (_, strangers_key) = authority.issue(2, GOOD);
    let (certificate, _) = authority.issue(3, GOOD);
    put(installation.directory(), &(certificate, strangers_key));
    server.ask_to_reload().unwrap();
    let complaint = || {
        installation
            .printed()
            .contains("does not belong to the certificate")
            .then_some(())
    };
    assert!(
        within(PATIENCE, complaint).is_some(),
        "{}",
        installation.printed()
    );
    assert_eq!(serial(&connect(server.address(), &client).unwrap()), 1);
    put(installation.directory(), &authority.issue(4, GOOD));
    server.ask_to_reload().unwrap();
    let shown = || serial(&connect(server.address(), &client).unwrap());
    assert!(within(PATIENCE, || (shown() == 4).then_some(())).is_some());
}

#[test]
fn a_pair_is_taken_up_once_what_kept_it_from_being_used_is_mended() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let client = authority.client(None, b"\x08http/1.1");
    let key = installation.directory().join("key.pem");
    let (certificate, private) = authority.issue(2, GOOD);
    fs::write(&key, private).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(installation.directory().join("cert.pem"), certificate).unwrap();
    let complaints = || {
        installation
            .printed()
            .matches("others may read or change it")
            .count()
    };
    server.ask_to_reload().unwrap();
    assert!(within(PATIENCE, || (complaints() > 0).then_some(())).is_some());
    // What changes is not the content, and not its time.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let shown = || serial(&connect(server.address(), &client).unwrap());
    assert!(within(PATIENCE, || (shown() == 2).then_some(())).is_some());
}

#[test]
fn a_signal_has_the_certificate_read_in_any_case() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let times_read = || installation.printed().matches("the certificate was read").count();
    for times in 1..=2 {
        server.ask_to_reload().unwrap();
        assert!(within(PATIENCE, || (times_read() == times).then_some(())).is_some());
    }
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of_and_every_end_is_in_the_metrics() {
    let authority = Authority::new();
    let soon = authority.issue(1, (-1, 5));
    let installation = installation(&soon);
    let server = start(&installation, &authority);
    let client = authority.client(None, b"\x08http/1.1");
    let told = |days: i64| {
        let answer = ask_for("/metrics", &mut connect(server.address(), &client).unwrap());
        let name = "auth_tls_certificate_expiry_timestamp_seconds ";
        let line = answer.lines().find_map(|line| line.strip_prefix(name))?;
        let seconds = line.parse::<i64>().unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let left = seconds - i64::try_from(now).unwrap();
        (left / 3_600 == days * 24 - 1).then_some(())
    };
    assert!(within(PATIENCE, || told(5)).is_some());
    assert!(installation.printed().contains("the certificate expires soon"));
    put(installation.directory(), &authority.issue(2, GOOD));
    server.ask_to_reload().unwrap();
    assert!(within(PATIENCE, || told(90)).is_some());
}

#[test]
fn a_pair_that_can_not_be_used_stops_the_start_and_says_why() {
    let authority = Authority::new();
    let good = authority.issue(1, GOOD);
    let other = authority.issue(2, GOOD);
    let strangers = (good.0.clone(), other.1);
    let garbage = b"-----BEGIN NONSENSE-----\nabc".to_vec();
    for (pair, said) in [
        (strangers, "does not belong to the certificate"),
        ((garbage.clone(), good.1.clone()), "holds no certificate in PEM"),
        ((good.0.clone(), garbage), "holds no private key in PEM"),
        ((Vec::new(), good.1.clone()), "holds no certificate in PEM"),
        (authority.issue(3, (-90, -1)), "has expired: renew it"),
        (authority.issue(4, (1, 90)), "is not valid yet"),
    ] {
        let output = installation(&pair).run(&["serve"], "").unwrap();
        let printed = everything_in(&output);
        assert!(!output.status.success() && printed.contains(said), "{printed}");
    }
    let readable = installation(&good);
    let key = readable.directory().join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let printed = everything_in(&readable.run(&["serve"], "").unwrap());
    assert!(printed.contains("others may read or change it"), "{printed}");
    fs::remove_file(&key).unwrap();
    let printed = everything_in(&readable.run(&["serve"], "").unwrap());
    assert!(
        printed.contains("key.pem") && printed.contains("No such file"),
        "{printed}"
    );
}

#[test]
fn the_health_command_asks_over_https() {
    let authority = Authority::new();
    let installation = installation(&authority.issue(1, GOOD));
    let server = start(&installation, &authority);
    let well = installation.run(&["health"], "").unwrap();
    assert!(well.status.success(), "{}", everything_in(&well));

    let url = format!("https://localhost:{}", server.address().port());
    let trusted = installation.directory().join("ca.pem");
    fs::write(&trusted, authority.pem()).unwrap();
    let by_name = ["health", "--url", &url, "--ca", trusted.to_str().unwrap()];
    let well = installation.run(&by_name, "").unwrap();
    assert!(well.status.success(), "{}", everything_in(&well));
    let strange = installation.run(&["health", "--url", &url], "").unwrap();
    assert!(!strange.status.success(), "an authority that nobody knows");
}
