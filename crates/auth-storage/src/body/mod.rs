//! Every query, once for all databases: each backend's module includes this file and gives it a connection type, a
//! row lock where it needs one, and an engine that runs queries and transactions.
//!
//! Nothing here may be particular to one database. Each function that writes runs within a transaction of its caller.
//! What a unique key finds is asked for by `get_result`, never by `first`: that binds a LIMIT, and a statement with a
//! bound LIMIT is prepared anew by SQLite each time it runs.

mod access_tokens;
mod audit;
mod clients;
mod founding;
mod ports;
mod sessions;
mod users;

use super::{Conn, Engine, client_is_active, migrations_are_pending};

pub(crate) use ports::Adapter;
