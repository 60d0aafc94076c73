//! Starts the built binary and speaks to it over HTTP, for the end-to-end tests and the load generator.
