//! A PostgreSQL of a test's own, which can be killed, stopped, started again and held still; and databases in it.

mod programs;
mod shared;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use self::programs::Access;
use super::place::{PATIENCE, Place, look_again_soon};

/// A running PostgreSQL. Killed when this is dropped, and when the process that has it ends in whatever way.
#[derive(Debug)]
pub struct PostgresServer {
    access: Access,
    process: Option<Child>,
    settings: Vec<String>,
    place: Place,
    keeper: Keeper,
    directory: TempDir,
}

/// A database, empty at first.
#[derive(Debug)]
pub struct Database {
    access: Access,
    name: String,
    in_server: Server,
}

/// Whose server a database is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// A test's own, with which the database goes.
    Own,
    /// Everybody's: the database goes by itself.
    Shared,
}

/// What a commit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk, as it is everywhere but in tests.
    Durable,
    /// It survives the server's end, but not the machine's. For tests of what queries do.
    Fast,
}

impl PostgresServer {
    /// Starts a server on a free port of the loopback interface, and waits until it answers.
    ///
    /// # Panics
    /// Where PostgreSQL is missing, or does not come up.
    pub fn start(durability: Durability) -> Self {
        Self::start_with(durability, &[])
    }

    /// The same with settings of its own, as in `postgresql.conf`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(durability: Durability, settings: &[(&str, &str)]) -> Self {
        Self::start_beside(durability, settings, &[])
    }

    /// A server that takes connections by TLS as well, with this certificate and its key in PEM. A machine's end would
    /// take what it holds.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with_tls(certificate: &[u8], key: &[u8]) -> Self {
        let files = [("server.crt", certificate), ("server.key", key)];
        Self::start_beside(Durability::Fast, &[("ssl", "on")], &files)
    }

    /// With files of its own beside its data.
    fn start_beside(durability: Durability, settings: &[(&str, &str)], files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("auth-postgres-")
            .tempdir()
            .expect("a temporary directory");
        let place = Place::free();
        let mut new = Self {
            access: Access::new(place.address),
            process: None,
            settings: arguments(durability, settings),
            place,
            keeper: Keeper::of(directory.path()),
            directory,
        };
        programs::make_cluster(new.directory.path(), &new.access)
            .unwrap_or_else(|error| panic!("initdb fails: {error}"));
        programs::add_files(new.directory.path(), files)
            .unwrap_or_else(|error| panic!("the server's files can't be written: {error}"));
        // Somebody else may have taken the port since it was found free.
        while !new.comes_up() {
            new.place = Place::free();
            new.access.address = new.place.address;
        }
        let admitted = new.access.admit_services();
        admitted.unwrap_or_else(|error| panic!("the service's role can't be made: {error}"));
        new
    }

    /// A new, empty database.
    ///
    /// # Panics
    /// Where it can't be made.
    pub fn database(&self) -> Database {
        Database::create(self.access.clone(), Server::Own)
    }

    /// Kills it and all that works for it, as a machine's end would: nothing is finished, and nobody listens there any
    /// more. Its data stays.
    ///
    /// # Panics
    /// Where it can't be waited for.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        self.keeper.watch(None);
        // Held still first, or it would start others in place of those that are killed.
        let family = held_family(&process);
        for member in family {
            // It may have ended by itself.
            let _ = kill_process(member, Signal::KILL);
        }
        process.wait().expect("a killed process ends");
    }

    /// Ends it as an administrator does: who is connected is cut off, and all is left in order.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // Its fast shutdown.
        kill_process(pid(&process), Signal::INT).expect("our own process takes signals");
        process.wait().expect("a stopped process ends");
        self.keeper.watch(None);
    }

    /// Starts it once more on the same port, with the data it had, and waits until it answers. One that runs is killed.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_again(&mut self) {
        self.kill();
        assert!(
            self.comes_up(),
            "PostgreSQL did not come up again on {}: {}",
            self.place.address,
            self.log()
        );
    }

    /// Holds it and all that works for it still: it is there, takes connections, and answers nobody.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn pause(&self) {
        held_family(self.running());
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn resume(&self) {
        for member in family(self.running()) {
            let _ = kill_process(member, Signal::CONT);
        }
    }

    /// Runs statements in the database that is always there, as who may do everything; says what they found, a line
    /// for a row and a bar between columns.
    ///
    /// # Errors
    /// Where a statement fails; with what PostgreSQL says.
    pub fn tell(&self, sql: &str) -> io::Result<String> {
        self.access.administer(sql)
    }

    /// The process ids of the server and of all that works for it now.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn pids(&self) -> Vec<u32> {
        let family = family(self.running());
        let ids = family.iter().map(|pid| pid.as_raw_nonzero().get());
        ids.filter_map(|id| u32::try_from(id).ok()).collect()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn running(&self) -> &Child {
        self.process.as_ref().expect("the server runs")
    }

    /// Whether a server could be started on this port and answers.
    fn comes_up(&mut self) -> bool {
        let process = spawn(&self.place, self.directory.path(), &self.settings);
        let process = self.process.insert(process);
        self.keeper.watch(Some(process.id()));
        let start = Instant::now();
        loop {
            if process.try_wait().expect("our own process").is_some() {
                return false;
            }
            if is_ready(self.directory.path(), process.id()) {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "PostgreSQL does not answer");
            look_again_soon();
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Its immediate shutdown, which leaves nothing of it in the system's memory.
        if let Some(mut process) = self.process.take() {
            for member in family(&process) {
                let _ = kill_process(member, Signal::CONT);
            }
            let _ = kill_process(pid(&process), Signal::QUIT);
            let _ = process.wait();
        }
        self.keeper.end();
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

impl Database {
    /// A new one in a server that all tests share, which keeps nothing that a machine's end would take. For tests of
    /// what is in a database, and not of what becomes of a server.
    ///
    /// # Panics
    /// Where it can't be made.
    pub fn new() -> Self {
        Self::create(shared::access(), Server::Shared)
    }

    fn create(access: Access, in_server: Server) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        // Another process of this number may have been killed before it could drop its own.
        let created = access
            .drop_database(&name)
            .and_then(|()| access.create_database(&name));
        created.unwrap_or_else(|error| panic!("the database {name} can't be made: {error}"));
        Self {
            access,
            name,
            in_server,
        }
    }

    /// Its URL, for settings.
    pub fn url(&self) -> String {
        self.access.url(&self.name)
    }

    /// Runs statements in it, as who may do everything; says what they found, a line for a row and a bar between
    /// columns.
    ///
    /// # Errors
    /// Where a statement fails; with what PostgreSQL says.
    pub fn tell(&self, sql: &str) -> io::Result<String> {
        self.access.tell(&self.name, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.in_server == Server::Shared {
            // Where that fails, the server's end takes it.
            let _ = self.access.drop_database(&self.name);
        }
    }
}

/// Ends a server whose test can't, since it was killed: a shell that waits for the end of what we tell it.
#[derive(Debug)]
struct Keeper {
    shell: Child,
    told: Option<ChildStdin>,
}

/// Reads process ids, of which the last is the running server's; at the end of that it ends the server and deletes the
/// directory.
const KEEPER: &str = r#"
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -CONT "$server" $(cat "/proc/$server/task/$server/children")
    kill -QUIT "$server"
    while kill -0 "$server"; do sleep 0.05; done
fi 2>/dev/null
rm -rf "$1"
"#;

impl Keeper {
    fn of(directory: &Path) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(directory)
            // What is sent to the test and its like from a terminal is not for this.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let told = shell.stdin.take();
        Self { shell, told }
    }

    /// Tells it which server there is now.
    fn watch(&mut self, server: Option<u32>) {
        let line = server.map_or_else(String::new, |id| id.to_string());
        let told = self.told.as_mut().expect("the keeper listens");
        writeln!(told, "{line}").expect("the keeper listens");
    }

    /// Lets it do its work, and waits for that.
    fn end(&mut self) {
        if let Some(mut told) = self.told.take() {
            let _ = writeln!(told);
        }
        let _ = self.shell.wait();
    }
}

fn arguments(durability: Durability, settings: &[(&str, &str)]) -> Vec<String> {
    let of_tests = [
        ("listen_addresses", "127.0.0.1"),
        // As files in the cluster's own folder: a killed server leaves nothing behind elsewhere.
        ("dynamic_shared_memory_type", "mmap"),
        ("shared_buffers", "64MB"),
    ];
    let fast = [("fsync", "off"), ("full_page_writes", "off")];
    let fast: &[(&str, &str)] = match durability {
        Durability::Durable => &[],
        Durability::Fast => &fast,
    };
    let all = of_tests.iter().chain(fast).chain(settings);
    all.map(|(name, value)| format!("--{name}={value}")).collect()
}

fn spawn(place: &Place, directory: &Path, settings: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .expect("a log file");
    server(place, directory, settings)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("PostgreSQL can't be started: {error}"))
}

fn server(place: &Place, directory: &Path, settings: &[String]) -> Command {
    let mut command = programs::as_unprivileged("postgres");
    command
        .arg("-D")
        .arg(directory.join("data"))
        .arg(format!("--port={}", place.address.port()))
        .arg(format!("--unix_socket_directories={}", directory.display()))
        .args(settings);
    command
}

/// Whether the server with this process id says that it takes connections: in the file in which it tells `pg_ctl`.
fn is_ready(directory: &Path, id: u32) -> bool {
    let Ok(text) = fs::read_to_string(directory.join("data/postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines();
    let is_ours = lines.next().is_some_and(|first| first.trim() == id.to_string());
    is_ours && lines.any(|line| line.trim() == "ready")
}

/// Stops the server, then all that works for it; hands them all out.
fn held_family(server: &Child) -> Vec<Pid> {
    kill_process(pid(server), Signal::STOP).expect("our own process takes signals");
    let family = family(server);
    for member in &family {
        // It may have ended by itself.
        let _ = kill_process(*member, Signal::STOP);
    }
    family
}

/// The server and the processes that it has started.
fn family(server: &Child) -> Vec<Pid> {
    let id = server.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    let children = children.filter_map(Pid::from_raw);
    std::iter::once(pid(server)).chain(children).collect()
}

fn pid(process: &Child) -> Pid {
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    id.expect("a process id")
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn with_a_row() -> (PostgresServer, Database) {
        let server = PostgresServer::start(Durability::Fast);
        let database = server.database();
        database
            .tell("CREATE TABLE t (n INT); INSERT INTO t VALUES (7)")
            .unwrap();
        (server, database)
    }

    #[test]
    fn what_was_committed_survives_a_kill_and_a_stop() {
        let (mut server, database) = with_a_row();
        let address = server.place.address;

        server.kill();
        assert!(TcpStream::connect(address).is_err());
        server.start_again();
        assert_eq!(database.tell("SELECT n FROM t").unwrap(), "7");

        server.stop();
        assert!(TcpStream::connect(address).is_err());
        server.start_again();
        assert_eq!(database.tell("SELECT n FROM t").unwrap(), "7");
    }

    #[test]
    fn a_paused_server_takes_connections_and_goes_on_later() {
        let (server, database) = with_a_row();
        server.pause();
        assert!(TcpStream::connect(server.place.address).is_ok());
        server.resume();
        assert_eq!(database.tell("SELECT n FROM t").unwrap(), "7");
    }

    #[test]
    fn databases_have_nothing_in_common() {
        let (server, database) = with_a_row();
        let other = server.database();
        assert_ne!(database.url(), other.url());
        assert!(other.tell("SELECT n FROM t").is_err());
    }

    #[test]
    fn a_shared_servers_database_goes_with_who_made_it() {
        let (kept, dropped) = (Database::new(), Database::new());
        let name = dropped.name.clone();
        drop(dropped);
        let names = kept.tell("SELECT datname FROM pg_database").unwrap();
        assert!(names.lines().any(|line| line == kept.name));
        assert!(!names.lines().any(|line| line == name));
    }

    #[test]
    fn a_service_gets_in_by_its_url_and_may_not_do_everything() {
        let server = PostgresServer::start(Durability::Fast);
        let database = server.database();
        let ask = |url: &str, sql: &str| {
            let mut psql = programs::program("psql");
            psql.args(["-X", "-A", "-t", "-c", sql, url]).output().unwrap()
        };
        let answer = ask(&database.url(), "SELECT current_user");
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "auth_service");
        assert!(!ask(&database.url(), "CREATE ROLE other").status.success());
        let without = database.url().replacen("%40", "%41", 1);
        assert!(!ask(&without, "SELECT 1").status.success());
    }

    #[test]
    fn nothing_is_left_of_a_server_whose_owner_is_gone() {
        let server = PostgresServer::start(Durability::Fast);
        let directory = server.directory.path().to_owned();
        let pids = server.pids();
        drop(server);
        assert!(!directory.exists());
        assert!(pids.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists()));
    }

    #[test]
    fn the_keeper_ends_a_server_that_was_held_still() {
        let mut server = PostgresServer::start(Durability::Fast);
        server.pause();
        // As where the test's process is killed: the keeper hears no more, and nothing else is done.
        server.keeper.told = None;
        let mut process = server.process.take().unwrap();
        process.wait().unwrap();
        server.keeper.shell.wait().unwrap();
        assert!(!server.directory.path().exists());
    }
}
