//! The grants: one file for each way to a token.

mod password;
mod refresh;
