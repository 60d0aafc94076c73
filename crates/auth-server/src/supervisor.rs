//! Tells whoever supervises this process, such as systemd, that it can serve or is about to stop: the protocol of
//! `sd_notify(3)`, a datagram to the socket that `NOTIFY_SOCKET` names. It must never keep the server from either.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// How far the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It serves.
    Ready,
    /// It finishes what was begun, and then ends.
    Stopping,
}

impl Progress {
    const fn message(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells the supervisor, where there is one that wants to know.
pub fn tell(progress: Progress) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, progress) {
        tracing::warn!(event_type = "supervisor", cause = %error, "the socket of NOTIFY_SOCKET can't be written to");
    }
}

fn send(socket: &OsStr, progress: Progress) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let own = UnixDatagram::unbound()?;
    // Whoever does not read must not be waited for.
    own.set_nonblocking(true)?;
    own.send_to_addr(progress.message(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut message = [0; 64];
        let length = socket.recv(&mut message).unwrap();
        message[..length].to_vec()
    }

    #[test]
    fn a_socket_with_a_path_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), Progress::Ready).unwrap();
        assert_eq!(received(&socket), b"READY=1");
        send(path.as_os_str(), Progress::Stopping).unwrap();
        assert_eq!(received(&socket), b"STOPPING=1");
    }

    #[test]
    fn a_socket_of_the_abstract_namespace_is_told() {
        let name = format!("auth-service-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), Progress::Ready).unwrap();
        assert_eq!(received(&socket), b"READY=1");
    }

    #[test]
    fn a_socket_that_nobody_reads_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _unread = UnixDatagram::bind(&path).unwrap();
        // The system's own limit is the number of messages in `net.unix.max_dgram_qlen`.
        let refused = (0..100_000).find_map(|_| send(path.as_os_str(), Progress::Ready).err());
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn nobody_at_the_other_end_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        assert!(send(folder.path().join("nobody").as_os_str(), Progress::Ready).is_err());
        assert!(send(OsStr::new(&"x".repeat(200)), Progress::Ready).is_err());
    }
}
