//! One installation of the server: a directory with its database, its keys and all it ever printed, and its settings.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use auth_testkit::server::Database;
use tempfile::TempDir;

use crate::binary;
use crate::server::{Failed, Server};

/// The password of the built-in user `admin`, unless an installation says otherwise.
pub const ADMIN_PASSWORD: &str = "Correct-Horse-7-Battery";

const DB_URL: &str = "AUTH_SERVICE__DB_URL";

/// A directory, and the settings of the server that lives in it. The directory goes when this does.
#[derive(Debug)]
pub struct Installation {
    directory: TempDir,
    address: SocketAddr,
    settings: BTreeMap<String, String>,
    cores: Vec<usize>,
    /// A database of PostgreSQL's, which is there for as long as somebody uses it.
    postgres: Option<Arc<Database>>,
}

impl Default for Installation {
    fn default() -> Self {
        Self::new()
    }
}

impl Installation {
    /// A new, empty installation in the system's directory for temporary files.
    ///
    /// # Panics
    /// Where no directory can be made.
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A new, empty installation in a new directory within the given one.
    ///
    /// # Panics
    /// Where no directory can be made.
    #[expect(clippy::expect_used, reason = "without a directory no test can say anything")]
    pub fn within(parent: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("auth-e2e-")
            .tempdir_in(parent)
            .expect("a temporary directory");
        let address = free_address();
        let new = Self {
            directory,
            address,
            settings: BTreeMap::new(),
            cores: Vec::new(),
            postgres: None,
        };
        let database = format!("sqlite:///{}", new.database().display());
        let keys = new.keys().display().to_string();
        new.with("PORT", &address.port().to_string())
            .with(DB_URL, &database)
            .with("AUTH_SERVICE__KEYS_DIR", &keys)
            .with("AUTH_SERVICE__MASTER_KEY", ADMIN_PASSWORD)
    }

    /// With all it stores in a database of PostgreSQL's.
    #[must_use]
    pub fn on_postgres(mut self, database: Database) -> Self {
        let url = database.url();
        self.postgres = Some(Arc::new(database));
        self.with(DB_URL, &url)
    }

    /// Another instance by the same settings, so over the same database and the same keys, on a port of its own.
    ///
    /// # Panics
    /// Where no directory can be made.
    #[must_use]
    pub fn beside(&self) -> Self {
        let new = Self::new();
        let port = new.address.port().to_string();
        Self {
            settings: self.settings.clone(),
            cores: self.cores.clone(),
            postgres: self.postgres.clone(),
            ..new
        }
        .with("PORT", &port)
    }

    /// With a setting, as a variable of the environment.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.settings.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Without a setting that [`new`](Self::new) gives.
    #[must_use]
    pub fn without(mut self, variable: &str) -> Self {
        self.settings.remove(variable);
        self
    }

    /// Without limits on sign-ins and refreshes, for tests that do many of either.
    #[must_use]
    pub fn unlimited(self) -> Self {
        self.with("AUTH_SERVICE__ENABLE_RATE_LIMITING", "false")
    }

    /// With its server on these processor cores only.
    #[must_use]
    pub fn on_cores(mut self, cores: &[usize]) -> Self {
        self.cores = cores.to_vec();
        self
    }

    /// Starts the server, and waits until it says that it is ready.
    ///
    /// # Panics
    /// Where it does not come up; with what it printed.
    #[expect(
        clippy::panic,
        reason = "a test that needs the server stops here, and says why"
    )]
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(failed) => panic!("{failed}\n{}", self.printed()),
        }
    }

    /// Starts the server, and waits until it says that it is ready.
    ///
    /// # Errors
    /// Where it ends before, or takes too long.
    pub fn try_start(&self) -> Result<Server, Failed> {
        let child = match &self.cores[..] {
            [] => self.spawn(),
            cores => self.spawn_on(cores),
        };
        Server::ready(child.map_err(Failed::NotStarted)?, self.address)
    }

    /// Starts a server that plain HTTP does not reach, and waits until the given look says that it is ready.
    ///
    /// # Errors
    /// Where it ends before, or takes too long.
    pub fn start_when(&self, is_ready: impl Fn(SocketAddr) -> bool) -> Result<Server, Failed> {
        let child = self.spawn().map_err(Failed::NotStarted)?;
        Server::ready_when(child, self.address, is_ready)
    }

    /// Runs the command line in this installation to its end.
    ///
    /// # Errors
    /// Where it can't be run.
    pub fn run(&self, arguments: &[&str], input: &str) -> io::Result<Output> {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    }

    /// Everything that servers of this installation have printed so far.
    pub fn printed(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The URL of the database.
    pub fn database_url(&self) -> &str {
        self.settings.get(DB_URL).map_or("", String::as_str)
    }

    /// The settings, as variables of the environment.
    pub const fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// The database file of one that stores in SQLite.
    pub fn database(&self) -> PathBuf {
        self.directory().join("auth.db")
    }

    /// The directory of keys.
    pub fn keys(&self) -> PathBuf {
        self.directory().join("keys")
    }

    /// The address that the server listens on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn log(&self) -> PathBuf {
        self.directory().join("printed.log")
    }

    /// The binary with this installation's settings and no other.
    fn command(&self) -> Command {
        let mut command = Command::new(binary::auth_service());
        for (name, _) in std::env::vars_os() {
            let foreign = name.to_string_lossy();
            if foreign.starts_with("AUTH_SERVICE") || foreign == "ENVIRONMENT" || foreign == "PORT" {
                command.env_remove(&name);
            }
        }
        command.envs(&self.settings).current_dir(self.directory());
        command
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        self.command()
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    /// A process starts on the cores of the thread that starts it.
    fn spawn_on(&self, cores: &[usize]) -> io::Result<Child> {
        let spawn = || {
            crate::load::machine::pin_this_thread(cores)?;
            self.spawn()
        };
        thread::scope(|scope| {
            scope
                .spawn(spawn)
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
        })
    }
}

/// A loopback address that nobody listens on, below the range from which the system gives out ports by itself; each
/// process of tests looks in a stretch of its own.
#[expect(clippy::expect_used, reason = "without a free port no test can say anything")]
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let stretch = u16::try_from(std::process::id() % 1_000).unwrap_or_default();
    (0..1_000)
        .map(|_| 10_000 + (stretch * 20 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}
