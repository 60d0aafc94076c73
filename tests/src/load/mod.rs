//! The benchmark: load on the built server, measured beside the machine's own speed at the same work in the same minutes.
//!
//! Each [`scenario`] is a subcommand of the program `bench`, and comes to [`results`] of one form. In a closed loop each
//! virtual user sends its next request when it has the answer to the last one, so latencies say how long a user waited at
//! full load; in an open loop requests come at a given rate, whatever the answers are.

pub mod all;
pub mod bound;
mod chains;
mod closed;
mod cores;
mod crowd;
pub mod database;
pub mod figures;
pub mod goals;
mod hash;
pub mod machine;
pub mod options;
pub mod process;
pub mod report;
pub mod results;
pub mod scenario;
mod sqlite;
mod stand;
pub mod users;
