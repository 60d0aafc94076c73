//! Bytes to a server that no HTTP client would send, and what comes back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// What a server did with some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// It answered; these are the status codes, one for each answer.
    Answered(Vec<u16>),
    /// It closed the connection without a word.
    Closed,
    /// It said nothing, and kept the connection open, for as long as we waited.
    Silent,
}

/// Sends bytes on a connection of their own, ends the sending side where asked, and sees what happens.
///
/// # Errors
/// Where nobody listens.
pub fn send(address: SocketAddr, bytes: &[u8], ending: Ending, patience: Duration) -> io::Result<Reaction> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // A server may refuse before it has read all: then writing fails, and the answer is there all the same.
    let _ = stream.write_all(bytes);
    if ending == Ending::Closed {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let outcome = stream.read_to_end(&mut answer);
    let statuses = statuses(&answer);
    Ok(match outcome {
        _ if !statuses.is_empty() => Reaction::Answered(statuses),
        Err(error) if is_timeout(&error) => Reaction::Silent,
        Ok(_) | Err(_) => Reaction::Closed,
    })
}

/// Sends bytes on a connection of their own, ends the sending side, and says all that came back.
///
/// # Errors
/// Where nobody listens.
pub fn exchange(address: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    // As above: a refusal may come before all is sent, and a reset after it.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(answer)
}

/// What the sender does after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ends its side of the connection.
    Closed,
    /// It keeps it open, as if there were more to come.
    Open,
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The status codes of the answers in what a server sent.
pub fn statuses(answer: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(answer)
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|rest| rest.get(..3)?.parse().ok())
        .collect()
}
