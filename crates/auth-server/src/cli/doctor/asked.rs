//! Asks servers over HTTP what anybody may ask, and keeps what matters of their answers.

use std::io;
use std::path::Path;
use std::time::Duration;

use auth_domain::ports::Clock as _;
use auth_domain::time::Timestamp;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::http::HeaderMap;

use super::clock::Reading;
use crate::cli::failure::Failure;
use crate::cli::health;
use crate::system::SystemClock;

/// A server that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const KEY_SET: &str = "/.well-known/jwks.json";
pub(super) const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Asks servers.
pub(super) struct Asker {
    agent: ureq::Agent,
    advice: Advice,
}

/// What to do where nobody has answered.
type Advice = fn(&ureq::Error) -> &'static str;

/// What came back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    /// For how many seconds the answer may be kept; `None` where it does not say.
    pub(super) max_age: Option<u64>,
    /// Who says that it has passed the answer on.
    pub(super) proxy: Option<String>,
    /// By how many seconds the answer's clock is ahead; `None` where it does not say.
    pub(super) ahead: Option<i64>,
}

impl Asker {
    /// One who asks at `base` as any client would; without one, this machine's own server, whatever its certificate says.
    ///
    /// # Errors
    /// Where the certificates to trust can't be read.
    pub(super) fn new(ca: Option<&Path>, base: Option<&str>) -> Result<Self, Failure> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(health::tls(ca, base)?)
            .build()
            .into();
        Ok(Self {
            agent,
            advice: health::advice,
        })
    }

    /// The same where a name that everybody knows is asked, behind which there may be a proxy.
    pub(super) fn of_public_name(self) -> Self {
        Self {
            advice: advice_on_public_name,
            ..self
        }
    }

    /// Asks, and takes an answer that is no JSON for an empty one.
    ///
    /// # Errors
    /// Where nobody answers, and what to do about it.
    pub(super) fn ask(&self, url: &str) -> Result<Answer, Failure> {
        let before = SystemClock.now();
        let mut answer = self
            .agent
            .get(url)
            .call()
            .map_err(|error| Failure::of(&format!("ask {url}"), &error).advise((self.advice)(&error)))?;
        let after = SystemClock.now();
        let headers = answer.headers();
        let ahead = date(headers).map(|theirs| {
            Reading {
                before,
                theirs,
                after,
            }
            .ahead()
        });
        let (max_age, proxy) = (max_age(headers), proxy(headers));
        Ok(Answer {
            status: answer.status().as_u16(),
            body: answer.body_mut().read_json().unwrap_or_default(),
            max_age,
            proxy,
            ahead,
        })
    }
}

/// The server itself may well run where its public name leads nowhere.
fn advice_on_public_name(error: &ureq::Error) -> &'static str {
    const NO_NAME: &str =
        "The name does not resolve on this machine: it has to be in the DNS, or in /etc/hosts.";
    match error {
        ureq::Error::HostNotFound => NO_NAME,
        ureq::Error::Io(fault) if fault.to_string().contains("lookup address") => NO_NAME,
        ureq::Error::Io(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => {
            "Nothing listens at that host and port: does the proxy run?"
        }
        other => health::advice_on_tls(other).unwrap_or(
            "Does a firewall keep this machine from it, or does the proxy not get through to the server?",
        ),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The middle of the second that an answer names.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = OffsetDateTime::parse(text(headers, "date")?, &Rfc2822).ok()?;
    Some(Timestamp::from_micros(
        date.unix_timestamp()
            .saturating_mul(1_000_000)
            .saturating_add(500_000),
    ))
}

/// RFC 9111 section 5.2.2: what shared caches go by goes before what all do.
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let directives = text(headers, "cache-control")?.to_ascii_lowercase();
    let named = |name: &str| {
        directives.split(',').find_map(|directive| {
            directive
                .trim()
                .strip_prefix(name)?
                .trim_matches('"')
                .parse()
                .ok()
        })
    };
    named("s-maxage=").max(named("max-age="))
}

/// This program names itself in neither.
fn proxy(headers: &HeaderMap) -> Option<String> {
    let named = text(headers, "via").or_else(|| text(headers, "server"))?;
    Some(named.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[rstest]
    #[case("public, max-age=3600", Some(3_600))]
    #[case("Max-Age=\"60\", s-maxage=86400", Some(86_400))]
    #[case("no-store", None)]
    #[case("max-age=x", None)]
    fn the_longest_time_that_an_answer_may_be_kept_is_read(
        #[case] value: &str,
        #[case] seconds: Option<u64>,
    ) {
        assert_eq!(max_age(&headers("cache-control", value)), seconds);
    }

    #[test]
    fn a_date_is_read_as_http_writes_it() {
        let at = date(&headers("date", "Tue, 14 Nov 2023 22:13:20 GMT")).unwrap();
        assert_eq!(at.unix_seconds(), 1_700_000_000);
        assert_eq!(date(&headers("date", "yesterday")), None);
    }

    #[test]
    fn who_asks_for_a_public_name_is_not_told_to_start_a_server() {
        let said =
            |kind, text: &'static str| advice_on_public_name(&ureq::Error::Io(io::Error::new(kind, text)));
        let unknown = "failed to lookup address information: Name or service not known";
        assert!(said(io::ErrorKind::Other, unknown).contains("DNS"));
        assert!(said(io::ErrorKind::ConnectionRefused, "").contains("does the proxy run"));
        assert!(said(io::ErrorKind::ConnectionReset, "").contains("firewall"));
        assert!(advice_on_public_name(&ureq::Error::HostNotFound).contains("DNS"));
    }

    #[test]
    fn a_proxy_shows_by_its_name() {
        assert_eq!(proxy(&headers("server", "nginx")).as_deref(), Some("nginx"));
        assert_eq!(proxy(&headers("via", "1.1 cache")).as_deref(), Some("1.1 cache"));
        assert_eq!(proxy(&HeaderMap::new()), None);
    }
}
