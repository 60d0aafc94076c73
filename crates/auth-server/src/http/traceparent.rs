//! Reads which trace a request belongs to (W3C Trace Context), as its caller says. It names things in logs and traces;
//! nothing is ever decided by it.

use actix_web::http::header::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longer than this it may be left out (section 3.3.1.5), in bytes.
const MAX_TRACESTATE: usize = 512;
/// The version that none may have.
const FORBIDDEN: &[u8] = b"ff";

/// Where a request stands in its caller's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: u128,
    /// The caller's span in it.
    pub span_id: u64,
    /// What the caller wishes, bit by bit.
    pub flags: u8,
    /// What others on the way want to know again, as it came.
    pub state: String,
}

impl TraceParent {
    /// The one that the headers of a request name, where they name one.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT);
        let (Some(only), None) = (values.next(), values.next()) else {
            return None;
        };
        let parent = Self::parse(only.as_bytes())?;
        let states = headers.get_all(TRACESTATE).map(|value| value.to_str());
        let state = states
            .collect::<Result<Vec<_>, _>>()
            .unwrap_or_default()
            .join(",");
        Some(Self {
            state: if state.len() > MAX_TRACESTATE {
                String::new()
            } else {
                state
            },
            ..parent
        })
    }

    /// Reads a `traceparent`: `00-<32 digits>-<16 digits>-<2 digits>`, lower case, neither id all zeros (section 3.2).
    /// A later version may have more behind a further `-` (section 4.3).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut fields = value.split(|byte| *byte == b'-');
        let mut field = |length: usize| {
            let field = fields.next().filter(|field| field.len() == length)?;
            let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let text = std::str::from_utf8(field).ok()?;
            field.iter().all(is_lower_hex).then_some(text)
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let has_more = fields.next().is_some();
        let trace_id = u128::from_str_radix(trace, 16).ok()?;
        let span_id = u64::from_str_radix(span, 16).ok()?;
        let is_known = version.as_bytes() != FORBIDDEN && (version != "00" || !has_more);
        (is_known && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags: u8::from_str_radix(flags, 16).ok()?,
            state: String::new(),
        })
    }

    /// The trace, as logs name it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}
