//! The built binary over HTTP, against real files.
