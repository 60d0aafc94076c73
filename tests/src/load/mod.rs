//! Load on the release build, measured beside the machine's own speed at RSA in the same minutes.
//!
//! The load is a closed loop: each virtual user sends its next request when it has the answer to the last one. So
//! latencies say how long a user waited at full load; they are not those of a given rate of arrivals.

pub mod bound;
mod crowd;
pub mod database;
pub mod fleet;
pub mod machine;
pub mod process;
pub mod report;
pub mod run;
pub mod storm;
pub mod users;
