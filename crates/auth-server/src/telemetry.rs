//! Log lines and metrics. Never a secret in either.
