//! Counters kept in the process: the `Throttle` port without Redis, bounded in memory.
