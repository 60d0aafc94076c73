//! Whose request it is, where proxies stand in between: reads what trusted proxies say, and believes nobody else.
//!
//! Each proxy adds, on the right, the address that it was called from. So the walk goes from the right, over the
//! proxies that are trusted, to the first address that is none of theirs. What stands further left was written by
//! that stranger, and is never looked at.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// More hops than this no sane chain of proxies has.
pub const MAX_HOPS: usize = 16;
/// The longest entry that is looked at, in bytes.
pub const MAX_ENTRY_BYTES: usize = 512;

/// Who is believed, about what.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The proxies whose word is taken; networks of them.
    pub proxies: Vec<IpNet>,
    /// The one header that they write addresses into.
    pub header: AddressHeader,
    /// The networks that the limits by address do not hold for.
    pub exempt: Vec<IpNet>,
}

impl Trust {
    /// Whether this is the address of a trusted proxy.
    pub fn is_proxy(&self, ip: IpAddr) -> bool {
        is_within(&self.proxies, ip)
    }

    /// Whether the limits by address do not hold for this one.
    pub fn is_exempt(&self, ip: IpAddr) -> bool {
        is_within(&self.exempt, ip)
    }
}

fn is_within(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}

/// The header in which proxies hand on addresses. It is one and never both: a proxy that adds to one of them and
/// passes the other on as it came would let every client write its own address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressHeader {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl AddressHeader {
    /// The header's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub ip: IpAddr,
    /// Whether a trusted proxy says that the client called it over HTTPS.
    pub is_secure: bool,
}

/// Where a request came from: from the peer, unless that is a trusted proxy and says otherwise.
pub fn origin(peer: IpAddr, headers: &HeaderMap, trust: &Trust) -> Origin {
    let peer = peer.to_canonical();
    if !trust.is_proxy(peer) {
        return Origin {
            ip: peer,
            is_secure: false,
        };
    }
    match trust.header {
        AddressHeader::XForwardedFor => by_x_forwarded_for(peer, headers, trust),
        AddressHeader::Forwarded => by_forwarded(peer, headers, trust),
    }
}

fn by_x_forwarded_for(peer: IpAddr, headers: &HeaderMap, trust: &Trust) -> Origin {
    let mut ip = peer;
    let mut hop = 0;
    for (position, entry) in entries(headers, &X_FORWARDED_FOR, Quotes::Plain).enumerate() {
        let Some(address) = entry.and_then(address) else {
            break;
        };
        (ip, hop) = (address, position);
        if !trust.is_proxy(address) {
            break;
        }
    }
    // Proxies that add to the one header add to the other; those that don't leave the one word of the first.
    let said = entries(headers, &X_FORWARDED_PROTO, Quotes::Plain)
        .take(hop + 1)
        .last();
    Origin {
        ip,
        is_secure: said.flatten().is_some_and(is_https),
    }
}

fn by_forwarded(peer: IpAddr, headers: &HeaderMap, trust: &Trust) -> Origin {
    let mut origin = Origin {
        ip: peer,
        is_secure: false,
    };
    for entry in entries(headers, &FORWARDED, Quotes::Quoted) {
        let Some(hop) = entry.and_then(Hop::parse) else {
            break;
        };
        origin.is_secure = hop.proto.is_some_and(is_https);
        let Some(address) = hop.node.and_then(address) else {
            break;
        };
        origin.ip = address;
        if !trust.is_proxy(address) {
            break;
        }
    }
    origin
}

fn is_https(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"https")
}

/// Whether a list's elements may hold quoted commas.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Plain,
    Quoted,
}

/// The elements of a list header from right to left, over all its lines; `None` for one that is too long to be read.
/// Empty elements are none (RFC 9110 section 5.6.1).
fn entries<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    quotes: Quotes,
) -> impl Iterator<Item = Option<&'a [u8]>> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).collect();
    lines
        .into_iter()
        .rev()
        .flat_map(move |line| Elements {
            rest: Some(line.as_bytes()),
            quotes,
        })
        // Before the empty ones are left out, so that they are bounded as well.
        .take(MAX_HOPS)
        .filter(|element| element.is_none_or(|element| !element.is_empty()))
}

/// The elements of one line from right to left. A quote is looked for from the right as well: what the nearest proxy
/// wrote is well formed, and nothing that stands left of it can swallow it.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
    quotes: Quotes,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.rest.take()?;
        let mut is_quoted = false;
        for (index, byte) in line.iter().enumerate().rev().take(MAX_ENTRY_BYTES) {
            let before = line.get(..index)?;
            match byte {
                b'"' if self.quotes == Quotes::Quoted && !is_escaped(before) => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    self.rest = Some(before);
                    return Some(line.get(index + 1..).map(<[u8]>::trim_ascii));
                }
                _ => {}
            }
        }
        Some((line.len() <= MAX_ENTRY_BYTES && !is_quoted).then(|| line.trim_ascii()))
    }
}

/// Whether what comes next is escaped: an odd number of backslashes stands before it.
fn is_escaped(before: &[u8]) -> bool {
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    backslashes % 2 == 1
}

/// What one proxy says in `Forwarded` about the request that it got.
#[derive(Debug, Default)]
struct Hop<'a> {
    node: Option<&'a [u8]>,
    proto: Option<&'a [u8]>,
}

impl<'a> Hop<'a> {
    /// Pairs of name and value with semicolons between (RFC 7239 section 4); `None` where that is not what stands
    /// there, or a name stands there twice.
    fn parse(entry: &'a [u8]) -> Option<Self> {
        let mut hop = Self::default();
        let mut is_quoted = false;
        let pairs = entry.split(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b';' && !is_quoted
        });
        for pair in pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
            let place = match name.to_ascii_lowercase().as_slice() {
                b"for" => &mut hop.node,
                b"proto" => &mut hop.proto,
                _ => continue,
            };
            if place.replace(unquoted(value)?).is_some() {
                return None;
            }
        }
        Some(hop)
    }
}

/// A value without its quotes. None that is worth reading holds an escape.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] => (!inner.iter().any(|byte| matches!(byte, b'"' | b'\\'))).then_some(inner),
        _ => (!value.contains(&b'"')).then_some(value),
    }
}

/// An address as proxies write it: bare or in brackets, with a port or without one.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = || text.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    // A port may be a made-up name (RFC 7239 section 6.2).
    let with_named_port = || match text.rsplit_once(":_")?.0 {
        node if node.starts_with('[') => node.strip_prefix('[')?.strip_suffix(']')?.parse().ok(),
        node => node.parse().ok().filter(IpAddr::is_ipv4),
    };
    let read: Option<IpAddr> = bare()
        .or_else(with_port)
        .or_else(in_brackets)
        .or_else(with_named_port);
    read.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn trust(header: AddressHeader) -> Trust {
        let networks = ["10.0.0.0/8", "fd00::/8"];
        Trust {
            proxies: networks.map(|network| network.parse().unwrap()).to_vec(),
            header,
            exempt: Vec::new(),
        }
    }

    fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        map
    }

    fn ask(peer: &str, header: AddressHeader, lines: &[(&str, &str)]) -> (String, bool) {
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let origin = origin(peer.parse().unwrap(), &headers(&lines), &trust(header));
        (origin.ip.to_string(), origin.is_secure)
    }

    fn xff(value: &str) -> String {
        ask(PROXY, AddressHeader::XForwardedFor, &[("x-forwarded-for", value)]).0
    }

    fn forwarded(value: &str) -> (String, bool) {
        ask(PROXY, AddressHeader::Forwarded, &[("forwarded", value)])
    }

    #[rstest]
    #[case::one("192.0.2.1", "192.0.2.1")]
    #[case::right_most("198.51.100.9, 192.0.2.1", "192.0.2.1")]
    #[case::over_a_trusted_one("192.0.2.1, 10.9.9.9", "192.0.2.1")]
    #[case::over_several("203.0.113.5, 192.0.2.1,10.1.1.1 , 10.9.9.9", "192.0.2.1")]
    #[case::all_are_trusted("10.3.3.3, 10.2.2.2", "10.3.3.3")]
    #[case::none("", PROXY)]
    #[case::nothing_but_commas(" , ,, ", PROXY)]
    #[case::empty_at_the_end("192.0.2.1, ", "192.0.2.1")]
    #[case::with_a_port("192.0.2.1:4711", "192.0.2.1")]
    #[case::ipv6("2001:db8::7", "2001:db8::7")]
    #[case::ipv6_in_brackets("[2001:db8::7]", "2001:db8::7")]
    #[case::ipv6_with_a_port("[2001:db8::7]:443", "2001:db8::7")]
    #[case::mapped("::ffff:192.0.2.1", "192.0.2.1")]
    #[case::mapped_and_trusted("192.0.2.1, ::ffff:10.2.2.2", "192.0.2.1")]
    #[case::trusted_ipv6("192.0.2.1, fd00::1", "192.0.2.1")]
    #[case::unknown("192.0.2.1, unknown", PROXY)]
    #[case::unknown_behind_a_proxy("192.0.2.1, unknown, 10.2.2.2", "10.2.2.2")]
    #[case::garbage("192.0.2.1, <script>", PROXY)]
    #[case::number("192.0.2.1, 3232235521", PROXY)]
    #[case::too_many_parts("192.0.2.1, 1.2.3.4.5", PROXY)]
    #[case::leading_zero("192.0.2.1, 192.0.2.010", PROXY)]
    #[case::quoted_is_no_form_of_this_header("\"192.0.2.1\"", PROXY)]
    fn x_forwarded_for_is_read_from_the_right(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(xff(value), expected);
    }

    #[rstest]
    #[case::one("for=192.0.2.1", "192.0.2.1", false)]
    #[case::with_its_scheme("for=192.0.2.1;proto=https", "192.0.2.1", true)]
    #[case::any_case_and_order("Proto=HTTPS; By=10.0.0.1;FOR=192.0.2.1", "192.0.2.1", true)]
    #[case::quoted_ipv6("for=\"[2001:db8::7]:4711\";proto=https", "2001:db8::7", true)]
    #[case::obfuscated_port("for=\"192.0.2.1:_x\"", "192.0.2.1", false)]
    #[case::obfuscated_port_ipv6("for=\"[2001:db8::7]:_x\"", "2001:db8::7", false)]
    #[case::right_most("for=198.51.100.9;proto=https, for=192.0.2.1;proto=http", "192.0.2.1", false)]
    #[case::scheme_of_the_clients_hop(
        "for=192.0.2.1;proto=https, for=10.2.2.2;proto=http",
        "192.0.2.1",
        true
    )]
    #[case::obfuscated("for=198.51.100.9, for=_hidden;proto=https", PROXY, true)]
    #[case::unknown("for=198.51.100.9, for=unknown", PROXY, false)]
    #[case::no_for("for=198.51.100.9, proto=https", PROXY, true)]
    #[case::two_for("for=198.51.100.9;for=192.0.2.1", PROXY, false)]
    #[case::no_pair("192.0.2.1", PROXY, false)]
    #[case::comma_in_quotes("for=192.0.2.1;host=\"a,for=198.51.100.9\"", "192.0.2.1", false)]
    #[case::semicolon_in_quotes("for=192.0.2.1;host=\"a;for=198.51.100.9\"", "192.0.2.1", false)]
    #[case::a_clients_open_quote_swallows_nothing(
        "for=\"198.51.100.9, for=192.0.2.1;proto=https",
        "192.0.2.1",
        true
    )]
    #[case::escaped_quote("for=192.0.2.1;host=\"a\\\",for=198.51.100.9\"", "192.0.2.1", false)]
    #[case::open_quote("for=\"192.0.2.1", PROXY, false)]
    #[case::escape_in_the_value("for=\"192.0.2\\.1\"", PROXY, false)]
    fn forwarded_is_read_from_the_right(
        #[case] value: &str,
        #[case] expected: &str,
        #[case] is_secure: bool,
    ) {
        assert_eq!(forwarded(value), (expected.to_owned(), is_secure));
    }

    #[test]
    fn lines_of_one_header_are_one_list() {
        let lines = [
            ("x-forwarded-for", "198.51.100.9"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.2.2.2, 10.3.3.3"),
        ];
        assert_eq!(ask(PROXY, AddressHeader::XForwardedFor, &lines).0, "192.0.2.1");
    }

    #[test]
    fn the_header_that_was_not_chosen_says_nothing() {
        let both = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.2;proto=http"),
        ];
        assert_eq!(
            ask(PROXY, AddressHeader::XForwardedFor, &both),
            ("192.0.2.1".to_owned(), true)
        );
        assert_eq!(
            ask(PROXY, AddressHeader::Forwarded, &both),
            ("192.0.2.2".to_owned(), false)
        );
    }

    #[rstest]
    #[case::one_word_for_all("https", "192.0.2.1, 10.2.2.2", true)]
    #[case::one_for_each_hop("https, http", "192.0.2.1, 10.2.2.2", true)]
    #[case::the_clients_own_word_is_not_heard("https, http", "192.0.2.1", false)]
    #[case::plain("http", "192.0.2.1", false)]
    #[case::none("", "192.0.2.1", false)]
    #[case::without_addresses("https", "", true)]
    fn the_scheme_is_that_of_the_clients_hop(
        #[case] proto: &str,
        #[case] addresses: &str,
        #[case] expected: bool,
    ) {
        let lines = [("x-forwarded-for", addresses), ("x-forwarded-proto", proto)];
        assert_eq!(ask(PROXY, AddressHeader::XForwardedFor, &lines).1, expected);
    }

    #[test]
    fn more_hops_than_any_chain_has_are_not_walked() {
        let many = vec!["10.2.2.2"; MAX_HOPS].join(",");
        assert_eq!(xff(&format!("192.0.2.1,{many}")), "10.2.2.2");
        let longest = vec!["10.2.2.2"; MAX_HOPS - 1].join(",");
        assert_eq!(xff(&format!("192.0.2.1,{longest}")), "192.0.2.1");
    }

    #[test]
    fn an_entry_longer_than_any_address_ends_the_walk() {
        let long = format!("192.0.2.1{}", " ".repeat(MAX_ENTRY_BYTES));
        assert_eq!(xff(&format!("{long},10.2.2.2")), "10.2.2.2");
    }

    /// What may stand in a header: any bytes but control characters.
    fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![32_u8..=126, 128_u8..=255], 0..80)
    }

    proptest! {
        #[test]
        fn nothing_that_a_stranger_sends_changes_its_address(value in header_bytes()) {
            let all = [
                ("x-forwarded-for", value.as_slice()),
                ("forwarded", &value),
                ("x-forwarded-proto", &value),
            ];
            for header in [AddressHeader::XForwardedFor, AddressHeader::Forwarded] {
                let origin = origin("192.0.2.7".parse().unwrap(), &headers(&all), &trust(header));
                prop_assert_eq!((origin.ip.to_string(), origin.is_secure), ("192.0.2.7".to_owned(), false));
            }
        }

        #[test]
        fn whatever_stands_left_of_the_trusted_proxys_own_entry_changes_nothing(
            left in header_bytes(),
            client in any::<u32>().prop_map(std::net::Ipv4Addr::from),
        ) {
            prop_assume!(client.octets()[0] != 10);
            let left = left.escape_ascii().to_string().replace('\\', "");
            prop_assert_eq!(xff(&format!("{left}, {client}")), client.to_string());
            let said = forwarded(&format!("{left}, for={client};proto=https"));
            prop_assert_eq!(said, (client.to_string(), true));
        }
    }
}
