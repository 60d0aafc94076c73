//! The rotation of one chain on SQLite, whose writer puts it in company; PostgreSQL has a statement of its own for it.

use auth_domain::audit::AuditRecord;
use auth_domain::session::{Rotated, Rotation};
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::rows::{NewAuditRow, NewTokenRow};
use crate::schema::{audit_logs, refresh_tokens, sessions};
use crate::types::{Id, Moment};

/// Consumes the head: a compare-and-set that one of any number of contenders wins.
pub(super) fn rotate(
    conn: &mut Conn,
    rotation: &Rotation,
    record: &AuditRecord,
) -> Result<Rotated, StoreError> {
    let to = &rotation.to;
    let (from, head): (&[u8], &[u8]) = (rotation.from.as_bytes(), to.jti_hash.as_bytes());
    let consumed = diesel::update(sessions::table)
        .filter(sessions::id.eq(Id(rotation.session_id.as_uuid())))
        .filter(sessions::head_jti_hash.eq(from))
        .filter(sessions::revoked_at.is_null())
        .set((
            sessions::previous_token_id.eq(sessions::head_token_id.nullable()),
            sessions::head_token_id.eq(Id(to.id.as_uuid())),
            sessions::previous_jti_hash.eq(from),
            sessions::head_jti_hash.eq(head),
            sessions::head_issued_at.eq(Moment(to.issued_at)),
            sessions::expires_at.eq(Moment(to.expires_at)),
            sessions::last_used_at.eq(Moment(to.issued_at)),
        ))
        .returning(sessions::previous_token_id)
        .get_result::<Option<Id>>(conn)
        .optional()?;
    let Some(parent_id) = consumed else {
        return Ok(Rotated::Superseded);
    };
    diesel::insert_into(refresh_tokens::table)
        .values(NewTokenRow::new(rotation.session_id, parent_id, to))
        .execute(conn)?;
    diesel::insert_into(audit_logs::table)
        .values(NewAuditRow::try_from(record)?)
        .execute(conn)?;
    Ok(Rotated::Rotated)
}
