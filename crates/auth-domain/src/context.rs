//! Where a request came from, for the audit trail and the limits.

use std::net::IpAddr;

/// What is known about a request besides its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The client's address; `None` for what an operator does at the command line.
    pub ip: Option<IpAddr>,
    /// Whether that address is one that the limits by address do not hold for. The limits by account always hold.
    pub is_exempt: bool,
    /// The `User-Agent` header, cut to 512 characters.
    pub user_agent: Option<String>,
    /// The value of `X-Correlation-ID`.
    pub correlation_id: String,
}
