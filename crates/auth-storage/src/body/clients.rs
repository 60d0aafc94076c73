//! Clients: looking one up, and their administration.

use auth_domain::audit::AuditRecord;
use auth_domain::client::Client;
use auth_domain::id::ClientId;
use auth_domain::ports::admin::{Changed, ClientChange, ClientCreated};
use auth_domain::session::RevocationReason;
use auth_domain::time::Timestamp;
use diesel::dsl::exists;
use diesel::prelude::*;

use super::{Conn, audit, sessions};
use crate::error::StoreError;
use crate::rows::{ClientRow, ClientTerms};
use crate::schema::oauth_clients;
use crate::types::{Id, Moment};

/// The client of that identifier.
pub(super) fn find(conn: &mut Conn, client_id: &ClientId) -> Result<Option<Client>, StoreError> {
    oauth_clients::table
        .filter(oauth_clients::client_id.eq(client_id.as_str()))
        .select(ClientRow::as_select())
        .get_result(conn)
        .optional()?
        .map(Client::try_from)
        .transpose()
}

/// Clients in the order of their identifiers, after the given one.
pub(super) fn list(conn: &mut Conn, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
    oauth_clients::table
        .filter(oauth_clients::client_id.gt(after.map_or("", ClientId::as_str)))
        .order(oauth_clients::client_id)
        .limit(limit.into())
        .select(ClientRow::as_select())
        .load(conn)?
        .into_iter()
        .map(Client::try_from)
        .collect()
}

/// Stores a new client.
pub(super) fn create(
    conn: &mut Conn,
    client: &Client,
    record: &AuditRecord,
) -> Result<ClientCreated, StoreError> {
    let stored = diesel::insert_into(oauth_clients::table)
        .values(ClientRow::from(client))
        .on_conflict_do_nothing()
        .execute(conn)?;
    if stored == 0 {
        return conflict(conn, client);
    }
    audit::record(conn, record)?;
    Ok(ClientCreated::Created)
}

fn conflict(conn: &mut Conn, client: &Client) -> Result<ClientCreated, StoreError> {
    let has_id = oauth_clients::table.filter(oauth_clients::client_id.eq(client.client_id.as_str()));
    if diesel::select(exists(has_id)).get_result(conn)? {
        return Ok(ClientCreated::Taken);
    }
    Err(StoreError::DuplicateKey {
        table: "oauth_clients",
        row: client.id.as_uuid().to_string(),
    })
}

/// Changes a client, and ends or deletes the chains that the change leaves no ground to. Says at which heads the history
/// of deleted chains begins.
pub(super) fn change(
    conn: &mut Conn,
    client_id: &ClientId,
    change: &ClientChange,
    at: Timestamp,
    record: &AuditRecord,
) -> Result<(Changed, Vec<Id>), StoreError> {
    let heads = match change {
        ClientChange::Delete => sessions::heads_of_client(conn, client_id)?,
        ClientChange::RotateSecret(_)
        | ClientChange::Update(_)
        | ClientChange::Enable
        | ClientChange::Disable => Vec::new(),
    };
    if apply(conn, client_id, change, at)? == 0 {
        return Ok((why_nothing_changed(conn, client_id, change)?, Vec::new()));
    }
    if matches!(change, ClientChange::Disable) {
        sessions::end_of_client(conn, client_id.clone(), RevocationReason::ClientDisabled, at)?;
    }
    audit::record(conn, record)?;
    Ok((Changed::Changed, heads))
}

fn why_nothing_changed(
    conn: &mut Conn,
    client_id: &ClientId,
    change: &ClientChange,
) -> Result<Changed, StoreError> {
    let this = oauth_clients::table.filter(oauth_clients::client_id.eq(client_id.as_str()));
    let was_overtaken =
        matches!(change, ClientChange::Update(_)) && diesel::select(exists(this)).get_result(conn)?;
    Ok(if was_overtaken {
        Changed::Overtaken
    } else {
        Changed::NotFound
    })
}

/// Carries a change out on the client's own row, and counts rows.
fn apply(
    conn: &mut Conn,
    client_id: &ClientId,
    change: &ClientChange,
    at: Timestamp,
) -> Result<usize, StoreError> {
    let this = oauth_clients::table.filter(oauth_clients::client_id.eq(client_id.as_str()));
    let changed_at = oauth_clients::updated_at.eq(Moment(at));
    let changed = match change {
        // A public client has no secret that could be rotated.
        ClientChange::RotateSecret(hash) => diesel::update(this)
            .filter(oauth_clients::is_confidential.eq(true))
            .set((
                oauth_clients::client_secret_hash.eq(Some(hash.as_bytes().as_slice())),
                changed_at,
            ))
            .execute(conn),
        ClientChange::Update(client) => diesel::update(this)
            .filter(oauth_clients::updated_at.eq(Moment(client.updated_at)))
            .set((ClientTerms::from(client.as_ref()), changed_at))
            .execute(conn),
        ClientChange::Enable => diesel::update(this)
            .set((oauth_clients::is_active.eq(true), changed_at))
            .execute(conn),
        ClientChange::Disable => diesel::update(this)
            .set((oauth_clients::is_active.eq(false), changed_at))
            .execute(conn),
        ClientChange::Delete => diesel::delete(this).execute(conn),
    };
    Ok(changed?)
}
