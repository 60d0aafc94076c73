//! The rotation of one chain on SQLite, whose writer puts it in company; PostgreSQL has a statement of its own for it.

use auth_domain::audit::AuditRecord;
use auth_domain::session::{Rotated, Rotation};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Binary;
use diesel::sqlite::Sqlite;

use super::Conn;
use crate::error::StoreError;
use crate::rows::NewAuditRow;
use crate::schema::{audit_logs, refresh_tokens, sessions};
use crate::types::{DbTime, DbUuid, Id, Moment};

/// Consumes the head: a compare-and-set that one of any number of contenders wins.
pub(super) fn rotate(
    conn: &mut Conn,
    rotation: &Rotation,
    record: &AuditRecord,
) -> Result<Rotated, StoreError> {
    if NewHead::of(rotation).execute(conn)? == 0 {
        return Ok(Rotated::Superseded);
    }
    append_head(conn, Id(rotation.session_id.as_uuid()))?;
    diesel::insert_into(audit_logs::table)
        .values(NewAuditRow::try_from(record)?)
        .execute(conn)?;
    Ok(Rotated::Rotated)
}

/// Appends a session's head to its chain: all that the row holds has just been written to the session.
fn append_head(conn: &mut Conn, session: Id) -> Result<(), StoreError> {
    let head = sessions::table.find(session).select((
        sessions::head_token_id,
        sessions::id,
        sessions::previous_token_id,
        sessions::head_jti_hash,
        sessions::head_issued_at,
        sessions::expires_at,
    ));
    head.insert_into(refresh_tokens::table)
        .into_columns((
            refresh_tokens::id,
            refresh_tokens::session_id,
            refresh_tokens::parent_id,
            refresh_tokens::jti_hash,
            refresh_tokens::issued_at,
            refresh_tokens::expires_at,
        ))
        .execute(conn)?;
    Ok(())
}

/// The update that puts a new head in the place of an old one, where that is the head and its chain has not ended.
///
/// Diesel's own node for an UPDATE is never kept prepared: SQLite parsed and planned it anew for each rotation, which
/// cost more than running it. This one always has the same text, and a place in the cache of prepared statements.
#[derive(Debug)]
struct NewHead<'a> {
    session_id: Id,
    from: &'a [u8],
    id: Id,
    jti_hash: &'a [u8],
    issued_at: Moment,
    expires_at: Moment,
}

impl<'a> NewHead<'a> {
    fn of(rotation: &'a Rotation) -> Self {
        let to = &rotation.to;
        Self {
            session_id: Id(rotation.session_id.as_uuid()),
            from: rotation.from.as_bytes(),
            id: Id(to.id.as_uuid()),
            jti_hash: to.jti_hash.as_bytes(),
            issued_at: Moment(to.issued_at),
            expires_at: Moment(to.expires_at),
        }
    }
}

impl QueryId for NewHead<'_> {
    type QueryId = NewHead<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for NewHead<'_> {}

impl QueryFragment<Sqlite> for NewHead<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE sessions SET previous_token_id = head_token_id, previous_jti_hash = head_jti_hash, head_token_id = ",
        );
        out.push_bind_param::<DbUuid, _>(&self.id)?;
        out.push_sql(", head_jti_hash = ");
        out.push_bind_param::<Binary, _>(self.jti_hash)?;
        out.push_sql(", head_issued_at = ");
        out.push_bind_param::<DbTime, _>(&self.issued_at)?;
        out.push_sql(", expires_at = ");
        out.push_bind_param::<DbTime, _>(&self.expires_at)?;
        out.push_sql(", last_used_at = ");
        out.push_bind_param::<DbTime, _>(&self.issued_at)?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<DbUuid, _>(&self.session_id)?;
        out.push_sql(" AND head_jti_hash = ");
        out.push_bind_param::<Binary, _>(self.from)?;
        out.push_sql(" AND revoked_at IS NULL");
        Ok(())
    }
}
