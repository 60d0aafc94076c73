//! Validates access tokens of the CodeLab Auth Service offline, in services on actix-web or tower. Never logs, returns
//! or keeps a token.
//!
//! [`TokenVerifier`] judges a token by the published keys that [`KeySetCache`] keeps. Over actix-web, [`Identity`] is an
//! extractor and [`actix::RequireToken`] a middleware; over tower (axum, hyper) there is [`tower::RequireToken`].
//! The rules are those of `integrations/contracts`, which the packages for other languages follow too.

#[cfg(feature = "actix")]
pub mod actix;
mod denial;
mod keys;
mod object;
#[cfg(feature = "tower")]
pub mod tower;
mod verifier;

pub use denial::{Denial, bearer};
pub use keys::{FetchError, FetchKeySet, KeySetCache, KeySetLimits, KeysUnavailable, MonotonicClock};
pub use verifier::{Identity, Policy, Refusal, TokenVerifier, Verdict, WallClock};

/// The example of the README, compiled as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
