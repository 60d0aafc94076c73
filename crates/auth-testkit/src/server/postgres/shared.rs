//! One server for all tests that need no more than a database, whichever process they run in.
//!
//! Making a cluster costs a second, and a runner may give each test a process of its own. So whoever comes first starts
//! a server, the others find it, and it ends some time after the last of them: each holds a lock on a file, which the
//! system takes back however a process ends.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use rustix::process::geteuid;

use super::super::place::{PATIENCE, Place, look_again_soon};
use super::programs::{self, Access};
use super::{Durability, arguments, is_ready, server};

/// The way into the server. Once in a process, which keeps its lock to its end.
pub(super) fn access() -> Access {
    static MEMBERSHIP: OnceLock<(Access, File)> = OnceLock::new();
    let (access, _) = MEMBERSHIP.get_or_init(|| {
        let joined = folder().and_then(|folder| join(&folder));
        joined.unwrap_or_else(|error| panic!("the server that tests share is out of reach: {error}"))
    });
    access.clone()
}

/// Starts the server, then ends it when nobody has held the lock for twenty looks; nobody can come in between, since
/// the end happens under the lock.
const KEEPER: &str = r#"
folder=$1 directory=$2
shift 2
"$@" &
server=$!
echo "$server" >"$directory/server"
exec 9<"$folder/lock"
looks=0
touch "$directory/seen"
while kill -0 "$server" && [ "$looks" -lt 20 ]; do
    [ "$looks" -eq 0 ] || flock --unlock 9
    sleep 1
    if [ "$folder/used" -nt "$directory/seen" ] || ! flock --exclusive --nonblock 9; then
        touch "$directory/seen"
        looks=0
    else
        looks=$((looks + 1))
    fi
done
kill -QUIT "$server"
wait "$server"
rm -rf "$directory"
"#;

/// Where processes of this user meet. The server's own user must be able to pass through.
fn folder() -> io::Result<PathBuf> {
    let user = geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("auth-postgres-of-{user}"));
    DirBuilder::new().recursive(true).mode(0o711).create(&folder)?;
    if fs::symlink_metadata(&folder)?.uid() == user {
        Ok(folder)
    } else {
        Err(io::Error::other(format!(
            "{} is somebody else's",
            folder.display()
        )))
    }
}

fn join(folder: &Path) -> io::Result<(Access, File)> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    loop {
        lock.lock_shared()?;
        File::create(folder.join("used"))?;
        if let Some(access) = running(folder) {
            return Ok((access, lock));
        }
        lock.unlock()?;
        lock.lock()?;
        if running(folder).is_none() {
            launch(folder)?;
        }
        lock.unlock()?;
    }
}

/// The way into the server, where one runs.
fn running(folder: &Path) -> Option<Access> {
    let current = fs::read_to_string(folder.join("current")).ok()?;
    let mut lines = current.lines();
    let directory = Path::new(lines.next()?);
    let port = lines.next()?.parse().ok()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let access = Access::by(address, lines.next()?.to_owned());
    has_come_up(directory).then_some(access)
}

fn has_come_up(directory: &Path) -> bool {
    let server = fs::read_to_string(directory.join("server")).unwrap_or_default();
    let server = server.trim().parse().ok();
    server.is_some_and(|id: u32| is_ready(directory, id) && Path::new(&format!("/proc/{id}")).exists())
}

fn launch(folder: &Path) -> io::Result<()> {
    let directory = tempfile::Builder::new().prefix("cluster-").tempdir_in(folder)?;
    let mut place = Place::free();
    let mut access = Access::new(place.address);
    programs::make_cluster(directory.path(), &access)?;
    // Somebody else may have taken the port since it was found free.
    while !comes_up(&mut keeper(folder, directory.path(), &place)?, directory.path())? {
        place = Place::free();
        access.address = place.address;
    }
    access.admit_services()?;
    let directory = directory.keep();
    let port = place.address.port();
    let current = folder.join("current");
    fs::write(&current, "")?;
    fs::set_permissions(&current, Permissions::from_mode(0o600))?;
    fs::write(
        &current,
        format!("{}\n{port}\n{}\n", directory.display(), access.password()),
    )
}

/// The server, within what keeps it.
fn keeper(folder: &Path, directory: &Path, place: &Place) -> io::Result<Child> {
    let settings = arguments(Durability::Fast, &[("max_connections", "300")]);
    let server = server(place, directory, &settings);
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("log"))?;
    Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(directory)
        .arg(server.get_program())
        .args(server.get_args())
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

fn comes_up(keeper: &mut Child, directory: &Path) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        if has_come_up(directory) {
            return Ok(true);
        }
        if keeper.try_wait()?.is_some() {
            return Ok(false);
        }
        assert!(start.elapsed() < PATIENCE, "PostgreSQL does not answer");
        look_again_soon();
    }
}
