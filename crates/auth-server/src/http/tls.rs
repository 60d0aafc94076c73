//! TLS: the certificate that is shown, exchanged while the server runs when its files change. TLS 1.2 and 1.3 only.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use auth_domain::time::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::files::{self, FileFault};

/// What is spoken below TLS (RFC 7301). Not HTTP/2: the framework bounds too little of it (ADR 0014).
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its issuer, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why a certificate can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// One of the files can't be used.
    #[error("{path} can't be used: {fault}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        fault: FileFault,
    },
    /// There is no certificate in its file, or one that nobody can read.
    #[error("{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", path = .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in its file, or one of a kind that can't be used.
    #[error("{path} holds no private key in PEM (RSA, ECDSA or Ed25519, not encrypted)", path = .0.display())]
    NoKey(PathBuf),
    /// The two don't belong together.
    #[error("the key in {key} does not belong to the certificate in {certificate}", key = .0.key.display(), certificate = .0.certificate.display())]
    Strangers(TlsFiles),
    /// Every client would refuse it.
    #[error("the certificate in {path} has expired: renew it", path = .0.display())]
    Expired(PathBuf),
    /// Every client would refuse it yet.
    #[error("the certificate in {path} is not valid yet: is this machine's clock right?", path = .0.display())]
    TooEarly(PathBuf),
}

/// What looking at the files came to.
#[derive(Debug)]
pub enum Look {
    /// They are those that are shown.
    Unchanged,
    /// They were read, and what they hold is shown from now on; connections that are open go on.
    Exchanged,
}

/// The certificate that is shown, and the files that it comes from.
pub struct Certificates {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    shown: ArcSwap<Shown>,
    /// Which files the certificate was read from. What could not be used is read again until it can: it may be
    /// mended without a change of its content, by other permissions or by the time of day.
    read: Mutex<Stamps>,
}

/// A certificate that is good to be shown.
struct Shown {
    key: Arc<CertifiedKey>,
    expires_at: i64,
}

/// Which versions of the two files were read; `None` for one that could not be found.
type Stamps = [Option<Stamp>; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl TlsFiles {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|path| Stamp::of(path))
    }
}

impl Certificates {
    /// Reads the pair, which must be good.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(files: TlsFiles, now: Timestamp) -> Result<Self, TlsFault> {
        let provider = Arc::new(ring::default_provider());
        // Before the files are read, so that what is written meanwhile counts as new.
        let stamps = files.stamps();
        let shown = read(&files, &provider, now)?;
        Ok(Self {
            files,
            provider,
            shown: ArcSwap::from_pointee(shown),
            read: Mutex::new(stamps),
        })
    }

    /// Looks whether the files are others than those that are shown, and reads them where they are.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn look(&self, now: Timestamp) -> Result<Look, TlsFault> {
        if *self.stamps() == self.files.stamps() {
            return Ok(Look::Unchanged);
        }
        self.reload(now)
    }

    /// Reads the files, and shows what they hold if that is good.
    ///
    /// # Errors
    /// What is wrong with the pair; the known one is shown further on.
    pub fn reload(&self, now: Timestamp) -> Result<Look, TlsFault> {
        let stamps = self.files.stamps();
        let shown = read(&self.files, &self.provider, now)?;
        self.shown.store(Arc::new(shown));
        *self.stamps() = stamps;
        Ok(Look::Exchanged)
    }

    fn stamps(&self) -> MutexGuard<'_, Stamps> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the certificate that is shown, in seconds since 1970.
    pub fn expires_at(&self) -> i64 {
        self.shown.load().expires_at
    }

    /// What makes a plain connection a secure one.
    ///
    /// # Errors
    /// Where the library can't do TLS 1.2 and 1.3.
    pub(super) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.load().key))
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider, now: Timestamp) -> Result<Shown, TlsFault> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |fault| TlsFault::File { path, fault }
    };
    let chain = files::read(&files.certificate).map_err(unusable(&files.certificate))?;
    let key = files::read_private(&files.key).map_err(unusable(&files.key))?;
    let no_certificate = || TlsFault::NoCertificate(files.certificate.clone());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| no_certificate())?;
    let expires_at = check_dates(chain.first().ok_or_else(no_certificate)?, files, now)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsFault::NoKey(files.key.clone()))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsFault::Strangers(files.clone()),
        rustls::Error::InvalidCertificate(_) => no_certificate(),
        _ => TlsFault::NoKey(files.key.clone()),
    })?;
    Ok(Shown {
        key: Arc::new(key),
        expires_at,
    })
}

/// Checks that now is between the certificate's dates; hands out the later one, in seconds since 1970.
fn check_dates(certificate: &CertificateDer<'_>, files: &TlsFiles, now: Timestamp) -> Result<i64, TlsFault> {
    let path = || files.certificate.clone();
    let certificate = Certificate::from_der(certificate).map_err(|_| TlsFault::NoCertificate(path()))?;
    let validity = certificate.tbs_certificate().validity();
    let seconds =
        |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let (from, until) = (seconds(&validity.not_before), seconds(&validity.not_after));
    if now.unix_seconds() < from {
        Err(TlsFault::TooEarly(path()))
    } else if now.unix_seconds() > until {
        Err(TlsFault::Expired(path()))
    } else {
        Ok(until)
    }
}
