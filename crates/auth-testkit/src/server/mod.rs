//! Real servers for tests, each test with its own: started on a free port, in a directory of its own, and ended with it.

mod redis;

pub use redis::RedisServer;
