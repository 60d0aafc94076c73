//! The programs of PostgreSQL, run as a user that they accept, and a cluster's way in.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::geteuid;

/// Where Debian's packages put the programs of each major version.
const OF_DEBIAN: &str = "/usr/lib/postgresql";
/// Whom the programs run as where a test runs as root, which they refuse.
const UNPRIVILEGED: &str = "postgres";
/// Who owns a cluster and may do everything in it.
const OWNER: &str = "owner";
/// Whom a service connects as: it owns its databases and may do nothing else.
const SERVICE: &str = "auth_service";
/// The database that is always there.
const MAINTENANCE: &str = "postgres";

/// How to get into a cluster.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) address: SocketAddr,
    password: String,
}

impl Access {
    /// To a cluster that is still to be made, by a password that nobody knows. It has every character in it that means
    /// something in a URL.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; 12];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut bytes))
            .expect("randomness");
        let password = bytes
            .iter()
            .fold("p@ss:/?#%+&=[ ]-".to_owned(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
        Self { address, password }
    }

    /// To a cluster whose password is known.
    pub(super) const fn by(address: SocketAddr, password: String) -> Self {
        Self { address, password }
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The URL of a database for a service.
    pub(super) fn url(&self, database: &str) -> String {
        let password = escaped(&self.password);
        format!("postgresql://{SERVICE}:{password}@{}/{database}", self.address)
    }

    /// Runs statements as the cluster's owner, one transaction for each; says what they found, a line for a row.
    ///
    /// # Errors
    /// Where a statement fails; with what PostgreSQL says.
    pub(super) fn tell(&self, database: &str, sql: &str) -> io::Result<String> {
        let output = program("psql")
            .env_clear()
            .env("PGPASSWORD", &self.password)
            .env("PGHOST", self.address.ip().to_string())
            .env("PGPORT", self.address.port().to_string())
            .env("PGUSER", OWNER)
            .env("PGDATABASE", database)
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--set", "ON_ERROR_STOP=1", "--file", "-"])
            .stdin(statements(sql)?)
            .output()?;
        said(&output).map(|text| text.trim_end().to_owned())
    }

    /// The same in the database that is always there.
    pub(super) fn administer(&self, sql: &str) -> io::Result<String> {
        self.tell(MAINTENANCE, sql)
    }

    /// Makes the role that services connect as.
    pub(super) fn admit_services(&self) -> io::Result<()> {
        let password = self.password.replace('\'', "''");
        self.administer(&format!("CREATE ROLE {SERVICE} LOGIN PASSWORD '{password}'"))?;
        Ok(())
    }

    /// Makes an empty database of the service's own.
    pub(super) fn create_database(&self, name: &str) -> io::Result<()> {
        // A copy of what is always there is the least work for a server that is to keep nothing.
        self.administer(&format!("CREATE DATABASE {name} OWNER {SERVICE}"))?;
        Ok(())
    }

    /// Ends whatever is connected to a database, and drops it.
    pub(super) fn drop_database(&self, name: &str) -> io::Result<()> {
        self.administer(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        Ok(())
    }
}

/// Makes a cluster in a directory of ours: its data in `data`, with room for its socket beside it.
pub(super) fn make_cluster(directory: &Path, access: &Access) -> io::Result<()> {
    let password = directory.join("password");
    fs::write(&password, &access.password)?;
    give_away(directory)?;
    let made = as_unprivileged("initdb")
        .args([
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ])
        .args(["--auth=scram-sha-256", "--username", OWNER, "--pwfile"])
        .arg(&password)
        .arg("--pgdata")
        .arg(directory.join("data"))
        .output()?;
    fs::remove_file(&password)?;
    said(&made).map(drop)
}

/// Puts files beside a cluster's data, for the server's eyes only.
pub(super) fn add_files(directory: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    for (name, content) in files {
        let path = directory.join("data").join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        give_away(&path)?;
    }
    Ok(())
}

/// A program of PostgreSQL.
pub(super) fn program(name: &str) -> Command {
    Command::new(programs().join(name))
}

/// The same, run by somebody whom PostgreSQL's server accepts.
pub(super) fn as_unprivileged(name: &str) -> Command {
    if !geteuid().is_root() {
        return program(name);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={UNPRIVILEGED}"))
        .arg(format!("--regid={UNPRIVILEGED}"))
        .arg("--clear-groups")
        .arg("--")
        .arg(programs().join(name));
    command
}

/// Lets the server have a file, or a directory with all that is in it.
fn give_away(place: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let given = Command::new("chown")
        .arg("--recursive")
        .arg(UNPRIVILEGED)
        .arg(place)
        .output()?;
    said(&given).map(drop)
}

/// The newest version's folder of programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir(OF_DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let programs = version.path().join("bin");
            programs.join("postgres").exists().then_some((number, programs))
        })
        .max();
    match newest {
        Some((_, programs)) => programs,
        None => {
            panic!("this test needs PostgreSQL 15 or later, which is not installed: run `.ci/install test`")
        }
    }
}

/// What a program printed, where it succeeded.
fn said(output: &Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(complaint))
}

/// Text that a program can read as its input.
fn statements(sql: &str) -> io::Result<File> {
    use std::io::{Seek as _, Write as _};

    let mut file = tempfile::tempfile()?;
    file.write_all(sql.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Text as a part of a URL: all but letters and digits written by its code.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}
