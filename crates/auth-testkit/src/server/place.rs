//! Where a test's server listens, and how to wait for another process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

/// How long a server may take to answer, on a machine that is busy with other tests.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before looking again at something that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Ports below those that the system gives out by itself: else somebody could be given ours while the server is away,
/// or somebody who tries to reach it there could be connected to themselves.
const FIRST_PORT: u16 = 30_000;
const PORTS: u16 = 2_700;

/// An address, which stays this test's while no server listens there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    /// The same port of another loopback address, where nobody looks for anything: who has it may use the port.
    _claim: TcpListener,
}

impl Place {
    /// One that nobody has; each process of tests looks in a stretch of its own first.
    pub(super) fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let stretch = u16::try_from(std::process::id() % 270).unwrap_or_default() * 10;
        (0..PORTS)
            .map(|_| FIRST_PORT + (stretch + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS)
            .find_map(Self::at)
            .expect("a free port")
    }

    fn at(port: u16) -> Option<Self> {
        let claim = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).ok()?;
        Some(Self {
            address,
            _claim: claim,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process's doings can only be looked for again and again"
)]
pub(super) fn look_again_soon() {
    thread::park_timeout(LOOK_AGAIN);
}
