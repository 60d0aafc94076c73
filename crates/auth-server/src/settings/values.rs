//! Reads one value each: from a text to a validated type, or to a sentence that says what is right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use auth_domain::time::Seconds;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{LogLevel, LogLevels};
use crate::http::cors::AllowedOrigins;
use crate::telemetry::traces::TracedHeader;

/// What a parser answers: the value, or what would be right.
pub type Parsed<T> = Result<T, String>;

/// A whole number within bounds.
pub fn number(within: RangeInclusive<u32>) -> impl Fn(&str) -> Parsed<u32> {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| within.contains(number))
            .ok_or_else(|| {
                format!(
                    "must be a whole number from {} to {}",
                    within.start(),
                    within.end()
                )
            })
    }
}

/// A whole number of things within bounds.
pub fn count(within: RangeInclusive<u32>) -> impl Fn(&str) -> Parsed<usize> {
    let number = number(within);
    move |text| number(text).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

/// A whole number of seconds within bounds.
pub fn seconds(within: RangeInclusive<u32>) -> impl Fn(&str) -> Parsed<Seconds> {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| within.contains(number))
            .map(Seconds::new)
            .ok_or_else(|| {
                format!(
                    "must be a whole number of seconds from {} to {}",
                    within.start(),
                    within.end()
                )
            })
    }
}

/// A whole number of milliseconds within bounds.
pub fn milliseconds(within: RangeInclusive<u32>) -> impl Fn(&str) -> Parsed<Duration> {
    let number = number(within);
    move |text| number(text).map(|millis| Duration::from_millis(millis.into()))
}

/// How long something is kept; 0 is for ever. Less than a day is refused: whoever writes 400 means days, and would lose
/// all but the last minutes.
pub fn retention(text: &str) -> Parsed<Option<Seconds>> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(number @ 86_400..=315_360_000) => Ok(Some(Seconds::new(number))),
        _ => Err(
            "must be 0, which keeps for ever, or a whole number of seconds from 86400 (a day) to 315360000"
                .to_owned(),
        ),
    }
}

/// A port.
pub fn port(text: &str) -> Parsed<u16> {
    text.parse()
        .map_err(|_| "must be a whole number from 0 to 65535".to_owned())
}

/// Yes or no, in the spellings that the older service read.
pub fn truth(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// An address to listen on.
pub fn host(text: &str) -> Parsed<IpAddr> {
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse()
        .map_err(|_| "must be an IP address such as 127.0.0.1 or ::1, or localhost".to_owned())
}

/// An address and port to listen on.
pub fn socket_address(text: &str) -> Parsed<SocketAddr> {
    let local = text.strip_prefix("localhost:").map(port);
    match local {
        Some(Ok(port)) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        Some(Err(_)) | None => text
            .parse()
            .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464".to_owned()),
    }
}

/// One of several names, each of which stands for a value.
pub fn one_of<T: Copy>(names: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        names
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                format!("must be one of: {}", names.join(", "))
            })
    }
}

/// A prefix of paths: begins with a slash, does not end in one.
pub fn base_path(text: &str) -> Parsed<String> {
    let path = text.trim_end_matches('/');
    let is_plain = path.split('/').skip(1).all(is_plain_segment);
    if path.is_empty() {
        Ok(String::new())
    } else if path.starts_with('/') && is_plain {
        Ok(path.to_owned())
    } else {
        Err("must be a path such as /auth, of letters, digits, '-', '_', '.' and '~'".to_owned())
    }
}

fn is_plain_segment(segment: &str) -> bool {
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_unreserved)
}

/// What needs no escape in a URL (RFC 3986 section 2.3), and means nothing to the router.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// An issuer (RFC 8414 section 2): a URL without query and fragment. Plain http is let through for trying out.
/// Its path becomes a route, so it holds only what is the same in a URL and in a route.
pub fn issuer(text: &str) -> Parsed<String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_good = rest.is_some_and(|rest| {
        let mut segments = rest.trim_end_matches('/').split('/');
        let authority = segments.next().unwrap_or_default();
        is_plain_authority(authority) && segments.all(is_plain_segment)
    });
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(
            "must be a URL such as https://auth.example.com/login, without query and fragment (RFC 8414 section 2), \
             its path of letters, digits, '-', '_', '.' and '~'"
                .to_owned(),
        )
    }
}

/// A host, and perhaps a port.
fn is_plain_authority(authority: &str) -> bool {
    let is_plain = |byte: u8| is_unreserved(byte) || matches!(byte, b':' | b'[' | b']');
    !authority.is_empty() && authority.bytes().all(is_plain)
}

/// A short text of printable characters.
pub fn text(text: &str) -> Parsed<String> {
    if text.len() <= 255 && !text.is_empty() && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must be a text of 1 to 255 printable characters".to_owned())
    }
}

/// A file or folder.
pub fn path(text: &str) -> Parsed<PathBuf> {
    Ok(PathBuf::from(text))
}

/// Networks in CIDR form, or single addresses, separated by commas or white space; at least one.
pub fn networks(text: &str) -> Parsed<Vec<IpNet>> {
    let wrong = |part: &str| {
        format!("must be networks such as 10.0.0.0/8 or 192.0.2.7, separated by commas; '{part}' is none")
    };
    let networks = text
        .split([',', ' '])
        .filter(|part| !part.is_empty())
        .map(|part| network(part).ok_or_else(|| wrong(part)).and_then(whole))
        .collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() {
        return Err(wrong(text));
    }
    Ok(networks)
}

fn network(part: &str) -> Option<IpNet> {
    part.parse::<IpNet>()
        .ok()
        .or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from))
        .map(canonical)
}

/// A network of IPv4 addresses written as IPv6 ones (RFC 4291 section 2.5.5.2) is one of IPv4: so they are compared.
fn canonical(network: IpNet) -> IpNet {
    let mapped = |network: Ipv6Net| {
        let address = network.addr().to_ipv4_mapped()?;
        let length = network.prefix_len().checked_sub(MAPPED_PREFIX)?;
        Ipv4Net::new(address, length).ok()
    };
    match network {
        IpNet::V6(inner) => mapped(inner).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

/// What stands before an IPv4 address in an IPv6 one, in bits.
const MAPPED_PREFIX: u8 = 96;

/// An address with the length of a prefix that ends within it is a slip: of the address or of the length.
fn whole(network: IpNet) -> Parsed<IpNet> {
    let right = network.trunc();
    if right == network {
        Ok(network)
    } else {
        Err(format!(
            "must hold whole networks: {network} has bits set behind its prefix; the network is {right}, the address \
             alone {}",
            network.addr()
        ))
    }
}

/// Origins as browsers write them (RFC 6454 section 6.2), separated by commas or white space; or `*` for all.
pub fn origins(text: &str) -> Parsed<AllowedOrigins> {
    let parts: Vec<_> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    if parts == ["*"] {
        return Ok(AllowedOrigins::Any);
    }
    if let Some(wrong) = parts.iter().find(|part| !is_origin(part)) {
        return Err(format!(
            "must be origins as browsers send them, such as https://app.example.com or http://localhost:3000, in lower \
             case, without a path, a slash at the end or the scheme's own port, separated by commas; or * alone; \
             '{wrong}' is none"
        ));
    }
    Ok(AllowedOrigins::These(
        parts.into_iter().map(str::to_owned).collect(),
    ))
}

fn is_origin(text: &str) -> bool {
    let (authority, own_port) = match text.split_once("://") {
        Some(("https", authority)) => (authority, 443),
        Some(("http", authority)) => (authority, 80),
        _ => return false,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    // As it is written when it is read: no leading zero, and not the port that goes without saying.
    let is_port = |text: &str| {
        text.parse()
            .is_ok_and(|port: u16| port != own_port && port.to_string() == text)
    };
    is_host(host) && port.is_none_or(is_port)
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address
            .parse()
            .is_ok_and(|read: Ipv6Addr| read.to_string() == address);
    }
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_plain)
}

/// The modules of this program, as log lines come from them.
const OWN_MODULES: [&str; 6] = [
    "auth_domain",
    "auth_jwt",
    "auth_password",
    "auth_redis",
    "auth_server",
    "auth_storage",
];
/// The libraries that say anything. What they say at `debug` may quote what a client sent: it can't be asked for.
const LIBRARIES: [&str; 7] = [
    "actix_http",
    "actix_server",
    "actix_web",
    "h2",
    "hyper_util",
    "tonic",
    "tower",
];

/// A level, levels of modules, or both: `info,auth_storage=debug`.
pub fn log_levels(text: &str, names: &'static [(&'static str, LogLevel)]) -> Parsed<LogLevels> {
    let level = one_of(names);
    let (mut all, mut modules) = (None, Vec::new());
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            Some((module, text)) => modules.push((log_module(module)?, level(text)?)),
            None if all.is_none() => all = Some(level(part)?),
            None => {
                return Err(
                    "has two levels for all modules: name the module, as in auth_storage=debug".to_owned(),
                );
            }
        }
    }
    let is_loud =
        |(module, level): &&(String, LogLevel)| *level > LogLevel::Info && !module.starts_with("auth_");
    if let Some((library, _)) = modules.iter().find(is_loud) {
        return Err(format!(
            "asks {library} for more than info: what a library says beyond that may quote what clients sent, secrets \
             too"
        ));
    }
    Ok(LogLevels {
        all: all.unwrap_or(LogLevel::Info),
        modules,
    })
}

fn log_module(path: &str) -> Parsed<String> {
    let root = path.split("::").next().unwrap_or_default();
    if OWN_MODULES.contains(&root) || LIBRARIES.contains(&root) {
        return Ok(path.to_owned());
    }
    let known = OWN_MODULES.iter().chain(&LIBRARIES).copied().collect::<Vec<_>>();
    Err(format!(
        "names a module '{root}' that logs nothing: there are {}",
        known.join(", ")
    ))
}

/// Where a collector is. What lets somebody in there belongs into a header, which is never shown.
pub fn collector(text: &str) -> Parsed<String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"@?#".contains(&byte);
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with(['/', ':']) && rest.bytes().all(is_plain) => {
            Ok(text.to_owned())
        }
        _ => Err("must be a URL such as http://127.0.0.1:4317, without user name, password and query (OTLP_HEADERS \
                  takes secrets)"
            .to_owned()),
    }
}

/// Headers for a collector: `name=value`, separated by commas.
pub fn headers(text: &str) -> Parsed<Vec<TracedHeader>> {
    text.split(',').map(header).collect::<Option<_>>().ok_or_else(|| {
        "must be headers as they are sent, name=value, separated by commas; a value of visible ASCII"
            .to_owned()
    })
}

fn header(text: &str) -> Option<TracedHeader> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_value = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    // gRPC takes a name with that ending for one of bytes.
    let is_good = !name.is_empty() && name.bytes().all(is_name) && !name.ends_with("-bin");
    (is_good && !value.is_empty() && value.bytes().all(is_value)).then(|| TracedHeader {
        name,
        value: value.into(),
    })
}

/// A share of a whole.
pub fn ratio(text: &str) -> Parsed<f64> {
    text.parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "must be a number from 0 to 1, such as 0.05".to_owned())
}

/// A URL with its user name and password, if it has any, replaced: those before its host, and what its query holds
/// besides a database's number.
pub fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "******".to_owned();
    };
    // A password may hold a '/', so what is before the last '@' of the whole is hidden, not only of the authority.
    let (hidden, shown) = match rest.rsplit_once('@') {
        // That may be an '@' of the query, and what follows it a part of a password.
        Some((before, _)) if before.contains(['?', '#']) => return format!("{scheme}://******"),
        Some((_, after)) => ("******@", after),
        None => ("", rest),
    };
    let (place, query) = match shown.split_once(['?', '#']) {
        Some((place, query)) if is_database_number(query) => (place, format!("?{query}")),
        Some((place, _)) => (place, "?******".to_owned()),
        None => (shown, String::new()),
    };
    format!("{scheme}://{hidden}{place}{query}")
}

/// The one thing in a query that is known to be no secret. Redis takes a password there as well.
fn is_database_number(query: &str) -> bool {
    let number = query.strip_prefix("db=");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}
