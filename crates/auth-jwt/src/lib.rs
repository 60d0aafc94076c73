//! Signs and verifies tokens, keeps and publishes keys (RFC 7515, 7517, 7519).
