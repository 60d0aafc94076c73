//! The rotation of any number of chains as one statement, prepared once for each connection.
//!
//! Diesel's builder has no data-modifying WITH, and what is given as bare text is parsed and planned each time it runs.
//! So this is a node of Diesel's tree like its own: typed binds, and a place in the cache of prepared statements.

use auth_domain::audit::AuditRecord;
use auth_domain::session::Rotation;
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};

use crate::error::StoreError;
use crate::rows::NewAuditRow;
use crate::types::{DbJson, DbTime, DbUuid, Id, Json, Moment};

/// Rotations with their audit rows, column by column. Run, it gives the places, from 1, of those that are done.
///
/// Of several turns of one chain that start from the same head one gets it, within the statement and beside it: the
/// update is a compare-and-set on the head, and under READ COMMITTED whoever had to wait for the row looks at it anew.
///
/// Whatever became of an answer, the same turns may be run again: a turn whose own token is the head already is named
/// as done and changes nothing. A token's row id is made for one turn, so nobody else's work is mistaken for it.
#[derive(Debug, Default)]
pub(super) struct Turns<'a> {
    session_id: Vec<Id>,
    from_hash: Vec<&'a [u8]>,
    to_id: Vec<Id>,
    to_hash: Vec<&'a [u8]>,
    issued_at: Vec<Moment>,
    expires_at: Vec<Moment>,
    audit_id: Vec<Id>,
    user_id: Vec<Option<Id>>,
    client_id: Vec<Option<&'a str>>,
    event_type: Vec<&'a str>,
    event_data: Vec<Json>,
    ip_address: Vec<Option<String>>,
    user_agent: Vec<Option<&'a str>>,
    correlation_id: Vec<&'a str>,
    success: Vec<bool>,
    error_message: Vec<Option<&'a str>>,
    created_at: Vec<Moment>,
}

impl<'a> Turns<'a> {
    /// Adds one; its place is the number of those that are in.
    pub(super) fn push(&mut self, rotation: &'a Rotation, audit: &'a AuditRecord) -> Result<(), StoreError> {
        let row = NewAuditRow::try_from(audit)?;
        let to = &rotation.to;
        self.session_id.push(Id(rotation.session_id.as_uuid()));
        self.from_hash.push(rotation.from.as_bytes());
        self.to_id.push(Id(to.id.as_uuid()));
        self.to_hash.push(to.jti_hash.as_bytes());
        self.issued_at.push(Moment(to.issued_at));
        self.expires_at.push(Moment(to.expires_at));
        self.audit_id.push(row.id);
        self.user_id.push(row.user_id);
        self.client_id.push(row.client_id);
        self.event_type.push(row.event_type);
        self.event_data.push(row.event_data);
        self.ip_address.push(row.ip_address);
        self.user_agent.push(row.user_agent);
        self.correlation_id.push(row.correlation_id);
        self.success.push(row.success);
        self.error_message.push(row.error_message);
        self.created_at.push(row.created_at);
        Ok(())
    }
}

impl QueryId for Turns<'_> {
    type QueryId = Turns<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Turns<'_> {
    type SqlType = BigInt;
}

impl RunQueryDsl<PgConnection> for Turns<'_> {}

impl QueryFragment<Pg> for Turns<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH turn AS (SELECT * FROM unnest(");
        self.bind(&mut out)?;
        out.push_sql(
            ") WITH ORDINALITY AS turn (session_id, from_hash, to_id, to_hash, issued_at, expires_at, audit_id, user_id, \
             client_id, event_type, event_data, ip_address, user_agent, correlation_id, success, error_message, \
             created_at, place)), \
             done AS (UPDATE sessions SET previous_token_id = sessions.head_token_id, head_token_id = turn.to_id, \
             previous_jti_hash = turn.from_hash, head_jti_hash = turn.to_hash, head_issued_at = turn.issued_at, \
             expires_at = turn.expires_at, last_used_at = turn.issued_at \
             FROM turn WHERE sessions.id = turn.session_id AND sessions.head_jti_hash = turn.from_hash \
             AND sessions.revoked_at IS NULL \
             RETURNING turn.place, sessions.previous_token_id AS parent_id), \
             appended AS (INSERT INTO refresh_tokens (id, session_id, parent_id, jti_hash, issued_at, expires_at) \
             SELECT turn.to_id, turn.session_id, done.parent_id, turn.to_hash, turn.issued_at, turn.expires_at \
             FROM done JOIN turn USING (place)), \
             audited AS (INSERT INTO audit_logs (id, user_id, client_id, event_type, event_data, ip_address, user_agent, \
             correlation_id, success, error_message, created_at) \
             SELECT turn.audit_id, turn.user_id, turn.client_id, turn.event_type, turn.event_data, turn.ip_address, \
             turn.user_agent, turn.correlation_id, turn.success, turn.error_message, turn.created_at \
             FROM done JOIN turn USING (place)) \
             SELECT place FROM done \
             UNION ALL SELECT turn.place FROM turn JOIN sessions ON sessions.id = turn.session_id \
             WHERE sessions.head_token_id = turn.to_id",
        );
        Ok(())
    }
}

impl Turns<'_> {
    /// The arrays, in the order of the columns.
    fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Array<DbUuid>, _>(&self.session_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.from_hash)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<DbUuid>, _>(&self.to_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.to_hash)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<DbTime>, _>(&self.issued_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<DbTime>, _>(&self.expires_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<DbUuid>, _>(&self.audit_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<DbUuid>>, _>(&self.user_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.client_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.event_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<DbJson>, _>(&self.event_data)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.ip_address)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.user_agent)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.correlation_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Bool>, _>(&self.success)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.error_message)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<DbTime>, _>(&self.created_at)
    }
}
