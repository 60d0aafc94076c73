//! A folder beside the database for what is written to be timed; gone again however the work ends, but by `kill -9`.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;

use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::failure::Failure;

/// How the folder's name begins: what a `kill -9` has left is known by that.
const PREFIX: &str = ".auth-service-bench-";
/// The signals that would end the program and leave its files behind.
const ENDING: [SignalKind; 4] = [
    SignalKind::hangup(),
    SignalKind::interrupt(),
    SignalKind::quit(),
    SignalKind::terminate(),
];
/// Less room than this and nothing is written: a server may need it.
const LEAST_ROOM: u64 = 256 << 20;

/// The folder. Only its owner may look into it. From its making on none of these signals ends the program elsewhere.
pub(super) struct Scratch {
    folder: TempDir,
    stop: Stop,
}

impl Scratch {
    /// Makes one where a database lies, or would: in the nearest folder that is there.
    ///
    /// # Errors
    /// Where none can be made, or there is little room.
    pub(super) fn beside(database: &Path) -> Result<Self, Failure> {
        Self::ended_by(&ENDING, database)
    }

    fn ended_by(signals: &[SignalKind], database: &Path) -> Result<Self, Failure> {
        let folder = nearest(database);
        let told =
            |what: &str, error: io::Error| Failure::of(&format!("{what} {}", folder.display()), &error);
        let file_system = rustix::fs::statvfs(&folder);
        let free = file_system.map(|found| found.f_bavail.saturating_mul(found.f_frsize));
        let free = free.map_err(|error| told("ask how much room is left in", error.into()))?;
        if free < LEAST_ROOM {
            return Err(Failure::refused(format!(
                "only {} MiB are free in {}: nothing is written there to be timed",
                free >> 20,
                folder.display()
            )));
        }
        let stop = Stop::listen(signals).map_err(|error| Failure::of("listen for signals", &error))?;
        match tempfile::Builder::new().prefix(PREFIX).tempdir_in(&folder) {
            Ok(folder) => Ok(Self { folder, stop }),
            Err(error) => Err(told("make a folder in", error)
                .advise("Run it as the server's user: it writes where the database lies.")),
        }
    }

    /// Where something can be put.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder that it lies in.
    pub(super) fn place(&self) -> PathBuf {
        self.folder
            .path()
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default()
    }

    /// Does something, and removes the folder with all that it has put there; earlier, where somebody wants it ended.
    ///
    /// # Errors
    /// Where it was ended, or the folder could not be removed. What is done fails by itself: its own outcome is inside.
    pub(super) async fn removed_after<T>(mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let done = tokio::select! {
            done = work => Some(done),
            () = self.stop.asked() => None,
        };
        let folder = self.folder.path().display().to_string();
        self.folder
            .close()
            .map_err(|error| Failure::of(&format!("remove {folder}"), &error))?;
        done.ok_or_else(|| Failure::refused("interrupted; what was written to be timed is removed"))
    }
}

/// The nearest folder above a file that is there; where the file is a link, above the one that it leads to, for there the
/// database writes.
fn nearest(file: &Path) -> PathBuf {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folders = file.ancestors().skip(1);
    let nearest = folders
        .filter(|folder| !folder.as_os_str().is_empty())
        .find(|folder| folder.is_dir());
    nearest.unwrap_or(Path::new(".")).to_owned()
}

/// Signals that are waited for.
struct Stop(Vec<Signal>);

impl Stop {
    fn listen(kinds: &[SignalKind]) -> io::Result<Self> {
        let signals = kinds.iter().map(|kind| signal(*kind));
        signals.collect::<io::Result<_>>().map(Self)
    }

    async fn asked(&mut self) {
        poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::pending;
    use std::os::unix::fs::symlink;

    use rstest::rstest;
    use rustix::process::{Signal, getpid, kill_process};
    use tokio::signal::unix::SignalKind;

    use super::{Path, Scratch, nearest};

    #[rstest]
    #[case("", "data/auth.db", "")]
    #[case("data", "data/auth.db", "data")]
    #[case("data", "data/of/the/server/auth.db", "data")]
    fn it_lies_where_the_database_does_or_will(#[case] there: &str, #[case] file: &str, #[case] found: &str) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(there)).unwrap();
        assert_eq!(nearest(&folder.path().join(file)), folder.path().join(found));
    }

    #[test]
    fn it_lies_where_a_link_to_the_database_leads() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = other.path().join("auth.db");
        fs::write(&file, "").unwrap();
        symlink(&file, folder.path().join("auth.db")).unwrap();
        assert_eq!(
            nearest(&folder.path().join("auth.db")),
            fs::canonicalize(other.path()).unwrap()
        );
    }

    #[test]
    fn a_file_of_no_folder_lies_here() {
        assert_eq!(nearest(Path::new("auth.db")), Path::new("."));
    }

    #[tokio::test]
    async fn it_is_gone_when_the_work_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::beside(&folder.path().join("auth.db")).unwrap();
        let file = scratch.path("file");
        let work = async { fs::write(&file, "text").map(|()| file.exists()).unwrap() };
        assert!(scratch.removed_after(work).await.unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn it_is_gone_too_when_somebody_wants_the_work_ended() {
        let folder = tempfile::tempdir().unwrap();
        // A signal that no other test of this process listens for.
        let own = [SignalKind::user_defined1(), SignalKind::user_defined2()];
        let scratch = Scratch::ended_by(&own, &folder.path().join("auth.db")).unwrap();
        let file = scratch.path("file");
        let work = async {
            fs::write(&file, "text").unwrap();
            kill_process(getpid(), Signal::USR2).unwrap();
            pending::<()>().await;
        };
        let ended = scratch.removed_after(work).await.unwrap_err();
        assert!(ended.to_string().contains("interrupted"), "{ended}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
