//! Clients, users, sessions and audit in SQL through Diesel.
