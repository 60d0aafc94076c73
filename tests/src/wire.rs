//! HTTP/1.1 over a kept connection, by hand: so little work that one core can drive a server that has another one.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::TOKEN;

const END_OF_HEADERS: &[u8] = b"\r\n\r\n";
const ROOM: usize = 8 * 1_024;

/// A connection that is kept from one request to the next.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The status code.
    pub status: u16,
    /// The status line and the headers.
    pub head: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(ROOM),
        })
    }

    /// Sends a request and reads the answer to it.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionAborted`] where not a byte of an answer came; `UnexpectedEof` where one was cut
    /// short; `InvalidData` where it is none with a `Content-Length`.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        self.send(request).await?;
        self.receive().await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// `ConnectionAborted` where the other side is gone.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.received.clear();
        self.stream.write_all(request).await.map_err(aborted)
    }

    /// Reads the answer to what was sent.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub async fn receive(&mut self) -> io::Result<Reply<'_>> {
        let head = loop {
            self.read_more().await?;
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
        };
        while self.received.len() < head.end {
            self.read_more().await?;
        }
        Ok(Reply {
            status: head.status,
            head: self.received.get(..head.start).unwrap_or_default(),
            body: self.received.get(head.start..head.end).unwrap_or_default(),
        })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let had = self.received.len();
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) if had == 0 => Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if had == 0 => Err(aborted(error)),
            Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        }
    }
}

fn aborted(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// The status of an answer, and where its body lies.
struct Head {
    status: u16,
    start: usize,
    end: usize,
}

impl Head {
    fn parse(received: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = find(received, END_OF_HEADERS) else {
            return Ok(None);
        };
        let text = received.get(..end).and_then(|head| str::from_utf8(head).ok());
        let head = text.and_then(|text| {
            let status = text.get(9..12)?.parse().ok()?;
            let start = end + END_OF_HEADERS.len();
            Some(Self {
                status,
                start,
                end: start + content_length(text)?,
            })
        });
        head.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn content_length(head: &str) -> Option<usize> {
    let (_, value) = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// A `GET` on a connection that is kept.
pub fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes()
}

/// A form to the token endpoint, on a connection that is kept.
pub fn token_request(address: SocketAddr, form: &str) -> Vec<u8> {
    form_request(address, TOKEN, form)
}

/// A form to any endpoint, on a connection that is kept.
pub fn form_request(address: SocketAddr, path: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// The form of a refresh; a token and a client id need no escaping.
pub fn refresh_form(client_id: &str, refresh_token: &str) -> String {
    format!("grant_type=refresh_token&client_id={client_id}&refresh_token={refresh_token}")
}

/// The refresh token in the body of a token answer, found without reading the rest.
pub fn refresh_token(body: &[u8]) -> Option<&str> {
    member(body, b"\"refresh_token\":\"")
}

/// The access token in it, in the same way.
pub fn access_token(body: &[u8]) -> Option<&str> {
    member(body, b"\"access_token\":\"")
}

fn member<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let start = find(body, name)? + name.len();
    let rest = body.get(start..)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_the_beginning_of_one() {
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}";
        assert!(Head::parse(&answer[..40]).unwrap().is_none());
        let head = Head::parse(answer).unwrap().unwrap();
        assert_eq!((head.status, &answer[head.start..head.end]), (401, &b"{}"[..]));
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn tokens_are_found_in_a_body() {
        let body = br#"{"access_token":"a.b.c","refresh_token":"d.e.f","scope":""}"#;
        assert_eq!(refresh_token(body), Some("d.e.f"));
        assert_eq!(access_token(body), Some("a.b.c"));
        assert_eq!(refresh_token(b"{}"), None);
        assert_eq!(refresh_token(br#"{"refresh_token":"cut"#), None);
    }
}
