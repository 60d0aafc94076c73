//! The scenarios: each is a subcommand of the benchmark, with options of its own.

pub mod cores;
pub mod half_load;
pub mod instances;
pub mod introspect;
pub mod jwks;
pub mod login;
pub mod mixed;
pub mod refresh;
pub mod refresh_pg;
pub mod rest;
pub mod revoke;
pub mod saturation;
pub mod scale;
pub mod storm;
