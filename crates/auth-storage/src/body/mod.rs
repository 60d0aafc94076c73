//! Every query, once for all databases: each backend's module includes this file and gives it a connection type, a
//! row lock where it needs one, and an engine that runs queries and transactions. What each refresh does is each backend's
//! own: on one the rotation goes into a writer's group, on the other look-ups go into one statement and rotations into
//! another.
//!
//! Nothing here may be particular to one database. Each function that writes runs within a transaction of its caller.
//! What a unique key finds is asked for by `get_result`, never by `first`: that binds a LIMIT, and a statement with a
//! bound LIMIT is prepared anew by SQLite each time it runs.

mod access_tokens;
pub(super) mod audit;
mod clients;
mod founding;
mod ports;
mod sessions;
mod takeover;
mod transfer;
mod upkeep;
mod users;

use super::{
    Conn, Engine, check_writable, client_is_active, delete_chains, found_alone, migrations_are_pending,
};

pub(crate) use ports::Adapter;
pub(crate) use sessions::find as find_session;
