//! TLS to a PostgreSQL server, as the parameters of its URL ask for it: with whom a connection is made, and with whom not.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use auth_storage::{DatabaseUrl, Migrations, OpenError, StoreOptions, Trouble};
use auth_testkit::server::{Database, Durability, PostgresServer};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};
use rstest::rstest;
use tempfile::TempDir;

/// An authority of certificates that nobody else knows.
struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    fn new(common: &str) -> Result<Self, Box<dyn Error>> {
        let key = new_key()?;
        let mut builder = certificate(common, &key)?;
        builder.set_issuer_name(&*name(common)?)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            certificate: builder.build(),
            key,
        })
    }

    /// A certificate for `localhost` and its key, in PEM.
    fn issue(&self) -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
        let key = new_key()?;
        let mut builder = certificate("localhost", &key)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(names)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok((builder.build().to_pem()?, key.private_key_to_pem_pkcs8()?))
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(common: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, common)?;
    Ok(builder.build())
}

fn certificate(subject: &str, key: &PKey<Private>) -> Result<X509Builder, Box<dyn Error>> {
    let now = i64::try_from(UNIX_EPOCH.elapsed()?.as_secs())?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_subject_name(&*name(subject)?)?;
    builder.set_pubkey(key)?;
    builder.set_serial_number(&*BigNum::from_u32(1)?.to_asn1_integer()?)?;
    builder.set_not_before(&*Asn1Time::from_unix(now - 86_400)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + 86_400)?)?;
    Ok(builder)
}

/// A server with a certificate for `localhost`, a database in it, and the certificates of two authorities: `ca.pem`,
/// which has signed the server's, and `other.pem`.
struct Scene {
    folder: TempDir,
    database: Database,
    _server: PostgresServer,
}

impl Scene {
    fn new() -> Self {
        Self::build().expect("a server with a certificate")
    }

    fn build() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new("Test Authority")?;
        fs::write(folder.path().join("ca.pem"), authority.certificate.to_pem()?)?;
        let other = Authority::new("Another Authority")?;
        fs::write(folder.path().join("other.pem"), other.certificate.to_pem()?)?;
        let (certificate, key) = authority.issue()?;
        let server = PostgresServer::start_with_tls(&certificate, &key);
        Ok(Self {
            folder,
            database: server.database(),
            _server: server,
        })
    }

    /// The database by this name of the host, with parameters in which CA and OTHER are the files.
    fn url(&self, host: &str, parameters: &str) -> DatabaseUrl {
        let file = |name: &str| -> String {
            let path: PathBuf = self.folder.path().join(name);
            path.display().to_string()
        };
        let parameters = parameters
            .replace("CA", &file("ca.pem"))
            .replace("OTHER", &file("other.pem"));
        with(&self.database, host, &parameters)
    }

    /// Whether the service's connections are by TLS, as the server sees them; `None` where there are none.
    fn is_encrypted(&self) -> Option<bool> {
        let all = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE usename = 'auth_service'";
        match self
            .database
            .tell(all)
            .expect("an administrator may look")
            .as_str()
        {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        }
    }
}

fn with(database: &Database, host: &str, parameters: &str) -> DatabaseUrl {
    let url = database.url().replace("@127.0.0.1:", &format!("@{host}:"));
    DatabaseUrl::parse(&format!("{url}?{parameters}")).expect("a good URL")
}

#[test]
fn a_connection_is_made_by_tls_where_the_url_asks_for_it_whichever_way_it_is_written() {
    let scene = Scene::new();
    for (parameters, is_encrypted) in [
        ("sslmode=verify-full&sslrootcert=CA", true),
        ("sslmode=verify-ca&sslrootcert=CA", true),
        ("sslmode=require", true),
        ("sslmode=disable", false),
        ("ssl=verify-full&sslrootcert=CA", true),
        ("ssl=require", true),
        ("ssl=true", true),
        ("ssl=false", false),
        ("ssl=disable", false),
    ] {
        let url = scene.url("localhost", parameters);
        Migrations::of(&url)
            .up()
            .unwrap_or_else(|error| panic!("{parameters}: {error:?}"));
        let store = auth_storage::open(&url, None, StoreOptions::default())
            .unwrap_or_else(|error| panic!("{parameters}: {error:?}"));
        assert_eq!(scene.is_encrypted(), Some(is_encrypted), "{parameters}");
        store.shutdown();
    }
}

fn refusal(url: &DatabaseUrl) -> OpenError {
    Migrations::of(url)
        .up()
        .expect_err("no connection should be made")
}

#[rstest]
#[case::another_authority("localhost", "sslmode=verify-full&sslrootcert=OTHER")]
#[case::another_authority_and_any_name("localhost", "sslmode=verify-ca&sslrootcert=OTHER")]
#[case::another_name("127.0.0.1", "sslmode=verify-full&sslrootcert=CA")]
#[case::another_name_as_asyncpg_has_it("127.0.0.1", "ssl=verify-full&sslrootcert=CA")]
#[case::no_such_file("localhost", "sslmode=verify-full&sslrootcert=CA.not")]
fn a_server_that_cannot_show_who_it_is_gets_no_password(#[case] host: &str, #[case] parameters: &str) {
    let scene = Scene::new();
    let refused = refusal(&scene.url(host, parameters));
    assert_eq!(Trouble::of(&refused), Some(Trouble::NotTrusted), "{refused:?}");
}

#[rstest]
#[case::as_libpq_has_it("sslmode=require")]
#[case::as_asyncpg_has_it("ssl=true")]
fn a_server_without_tls_is_refused_where_tls_is_asked_for(#[case] parameters: &str) {
    let server = PostgresServer::start(Durability::Fast);
    let refused = refusal(&with(&server.database(), "127.0.0.1", parameters));
    assert_eq!(Trouble::of(&refused), Some(Trouble::NoTls), "{refused:?}");
}
