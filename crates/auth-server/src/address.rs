//! Addresses are taken first of all and listened on last: one that is somebody else's stops a start before it has done
//! anything, and nobody connects to a server that can't answer yet.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// As many connections may wait to be accepted as the system lets wait.
const BACKLOG: i32 = i32::MAX;

/// An address that is this process's; who connects is refused until it is listened on.
#[derive(Debug)]
pub struct Taken {
    socket: TcpListener,
    address: SocketAddr,
}

impl Taken {
    /// Takes an address; of port 0 some free one.
    ///
    /// # Errors
    /// Where somebody else listens there, or it is none of this machine's.
    pub fn take(address: SocketAddr) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // What is left of connections to a server before this one holds nobody up.
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        let socket = TcpListener::from(socket);
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Which it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// Where another process has taken the same address at the same moment, and was the first to listen.
    pub fn listen(self) -> io::Result<TcpListener> {
        listen(&self.socket, BACKLOG)?;
        Ok(self.socket)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:0")]
    #[case("[::1]:0")]
    fn nobody_connects_before_it_is_listened_on(#[case] address: &str) {
        let taken = Taken::take(address.parse().unwrap()).unwrap();
        let address = taken.address();
        assert_ne!(address.port(), 0);
        let early = TcpStream::connect(address).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        let listener = taken.listen().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn what_somebody_listens_on_can_not_be_taken() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = Taken::take(holder.local_addr().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}
