//! The `Throttle` port: counters in the process, and counters that instances share as long as Redis is there.

mod in_process;
mod shared;

pub use in_process::InProcessThrottle;
pub use shared::SharedThrottle;
