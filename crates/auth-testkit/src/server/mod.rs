//! Real servers for tests, each test with its own: started on a free port, in a directory of its own, and ended with it.

#[cfg(feature = "collector")]
mod collector;
mod place;
mod postgres;
mod redis;
mod tap;

#[cfg(feature = "collector")]
pub use collector::{Collected, Collector};
pub use postgres::{Database, Durability, PostgresServer};
pub use redis::RedisServer;
pub use tap::{Tap, Traffic};
