//! HTTP, settings, telemetry, command line and the composition root of the authorization server.
