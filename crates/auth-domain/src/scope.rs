//! Scopes (RFC 6749 section 3.3): sets of tokens in a request, a grant and a client's allowance.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest scope text that is read at all, in bytes.
pub const MAX_SCOPE_BYTES: usize = 2_048;
/// The most scope tokens one set may hold.
pub const MAX_SCOPE_TOKENS: usize = 64;

/// A set of scope tokens; written as one text with single spaces, sorted, each token once.
///
/// It never changes, and copies share it: a refresh says the same scope in two tokens, an answer and an audit row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope(Arc<BTreeSet<Box<str>>>);

/// Why a text is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeFault {
    /// Holds a character outside `%x21 / %x23-5B / %x5D-7E` (RFC 6749 section 3.3), or doubled spaces.
    #[error(
        "a scope is a list of tokens of printable ASCII, without quote and backslash, separated by single spaces"
    )]
    Malformed,
    /// More than [`MAX_SCOPE_BYTES`] or [`MAX_SCOPE_TOKENS`].
    #[error("a scope has at most 64 tokens and 2048 characters")]
    TooLarge,
}

impl Scope {
    /// Reads `scope-token *( SP scope-token )` (RFC 6749 section 3.3); the empty text is the empty set.
    ///
    /// # Errors
    /// [`ScopeFault`], for what is not of that form or beyond the limits of size.
    pub fn parse(text: &str) -> Result<Self, ScopeFault> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_SCOPE_BYTES {
            return Err(ScopeFault::TooLarge);
        }
        let mut tokens = BTreeSet::new();
        for token in text.split(' ') {
            if token.is_empty() || !token.bytes().all(is_scope_character) {
                return Err(ScopeFault::Malformed);
            }
            tokens.insert(token.into());
        }
        if tokens.len() > MAX_SCOPE_TOKENS {
            return Err(ScopeFault::TooLarge);
        }
        Ok(Self(Arc::new(tokens)))
    }

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each token of this set is in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The tokens that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.is_within(other) {
            return self.clone();
        }
        Self(Arc::new(self.0.intersection(&other.0).cloned().collect()))
    }

    /// The tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

const fn is_scope_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

/// The scope of a new access token out of what may be granted at most.
///
/// Without a request it is all of it; a request must lie within it (RFC 6749 sections 3.3 and 6).
/// `None` where the request goes beyond, or where nothing would be granted at all.
pub fn narrow(grantable: &Scope, requested: Option<&Scope>) -> Option<Scope> {
    let granted = match requested {
        None => grantable.clone(),
        Some(requested) if requested.is_within(grantable) => requested.clone(),
        Some(_) => return None,
    };
    (!granted.is_empty()).then_some(granted)
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for token in self.tokens() {
            out.write_str(separator)?;
            out.write_str(token)?;
            separator = " ";
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(source)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
