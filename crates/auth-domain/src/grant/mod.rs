//! The grants: one file for each way to a token.

mod password;
mod refresh;

pub(crate) use password::SignIn;
