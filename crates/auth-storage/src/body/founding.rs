//! The first start: the first user and the first clients, in one transaction.

use auth_domain::ports::admin::{ClientCreated, Founded, Founders, UserCreated};

use super::{Conn, clients, found_alone, users};
use crate::error::StoreError;

/// Stores each kind of which there is none.
pub(super) fn found(conn: &mut Conn, founders: &Founders) -> Result<Founded, StoreError> {
    found_alone(conn)?;
    let mut founded = Founded::default();
    if users::list(conn, None, 1)?.is_empty() {
        let (admin, record) = &founders.admin;
        founded.admin = users::create(conn, admin, record)? == UserCreated::Created;
    }
    if clients::list(conn, None, 1)?.is_empty() {
        for (client, record) in &founders.clients {
            founded.clients |= clients::create(conn, client, record)? == ClientCreated::Created;
        }
    }
    Ok(founded)
}
