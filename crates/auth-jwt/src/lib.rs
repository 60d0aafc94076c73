//! Signs and verifies tokens, keeps and publishes the keys (RFC 7515, 7517, 7519).
//!
//! A token's header never chooses how it is verified: the key does (RFC 8725 section 3.1). Nothing here judges
//! claims; times, issuer and audience are the rules' business.

mod compact;
mod error;
mod file;
mod kid;
mod manifest;
mod ring;
mod rsa;
mod snapshot;
mod store;

pub use error::{BoxError, KeyError};
pub use kid::{Kid, KidFault};
pub use ring::{KeyFigures, KeyRing, KeySource};
pub use rsa::{KeyBits, KeyBitsFault, RsaKey, RsaKeyFault};
pub use store::{DirectorySettings, ImportAs, KeyDescription, KeyStore, PUBLICATION_MARGIN, Withdrawn};
