//! Real servers for tests, each test with its own: started on a free port, in a directory of its own, and ended with it.

mod place;
mod postgres;
mod redis;

pub use postgres::{Database, Durability, PostgresServer};
pub use redis::RedisServer;
