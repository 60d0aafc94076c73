//! Where Redis is: a URL that is checked before anything is connected, and never printed.

use std::fmt;

use deadpool_redis::redis::{ConnectionInfo, IntoConnectionInfo as _};

/// The address of a Redis, its database, and how to sign in there.
#[derive(Clone)]
pub struct RedisUrl(ConnectionInfo);

/// Why a text is no address of a Redis that can be used. Never quotes the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It asks for TLS.
    #[error(
        "asks for TLS, which this version does not speak to Redis: use redis:// within a private network, or through \
         a local proxy that adds TLS"
    )]
    Tls,
    /// It is something else, or incomplete.
    #[error("must be a URL such as redis://:PASSWORD@HOST:6379/0 or unix:///run/redis.sock?db=0")]
    Form,
}

impl RedisUrl {
    /// Reads a URL. Connects to nothing.
    ///
    /// # Errors
    /// [`UrlFault`].
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let (scheme, _) = text.split_once("://").ok_or(UrlFault::Form)?;
        match scheme {
            "rediss" | "valkeys" => Err(UrlFault::Tls),
            "redis" | "valkey" | "unix" => text.into_connection_info().map(Self).map_err(|_| UrlFault::Form),
            _ => Err(UrlFault::Form),
        }
    }

    pub(crate) fn into_info(self) -> ConnectionInfo {
        self.0
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RedisUrl(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_password_port_and_database_are_read() {
        for text in [
            "redis://localhost",
            "redis://127.0.0.1:6380/3",
            "redis://:pencil@cache:6379/0",
            "redis://user:pencil@[::1]/15",
            "valkey://cache",
            "unix:///run/redis/redis.sock?db=2",
        ] {
            assert!(RedisUrl::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        for text in [
            "",
            "pencil",
            "http://pencil",
            "redis://",
            "redis://:pencil@h:x/0",
            "redis://h/pencil",
        ] {
            let fault = RedisUrl::parse(text).unwrap_err();
            assert_eq!(fault, UrlFault::Form, "{text}");
            assert!(!fault.to_string().contains("pencil"));
        }
    }

    #[test]
    fn tls_is_refused_and_not_left_out() {
        for text in ["rediss://cache:6380/0", "valkeys://cache"] {
            assert_eq!(RedisUrl::parse(text).unwrap_err(), UrlFault::Tls);
        }
    }

    #[test]
    fn a_url_is_not_printed() {
        let url = RedisUrl::parse("redis://user:pencil@cache/0").unwrap();
        assert_eq!(format!("{url:?}"), "RedisUrl(..)");
    }
}
