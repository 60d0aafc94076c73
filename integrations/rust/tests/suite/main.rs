//! The crate against the vectors of `integrations/contracts`, a key set that answers as told, and both frameworks.

mod cache;
mod frameworks;
mod vectors;
