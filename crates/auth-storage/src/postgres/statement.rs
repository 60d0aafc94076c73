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

/// What is done about a chain that somebody else is changing at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    /// The others are not kept waiting for it.
    PassedOver,
    /// It is waited for, as long as `lock_timeout` allows.
    WaitedFor,
}

/// What became of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// It was done.
    Place,
    /// The head is another, or the chain has ended.
    Nothing,
    /// Somebody is changing the chain: to be asked once more.
    NoTurn,
}

/// Rotations with their audit rows, column by column.
///
/// Of several turns of one chain that start from the same head one gets it, within the statement and beside it: the
/// update is a compare-and-set on the head, and under READ COMMITTED whoever had to wait for the row looks at it anew.
///
/// Whatever became of an answer, the same turns may be run again: a turn whose own token is the head already is named
/// as done and changes nothing. A token's row id is made for one turn, so nobody else's work is mistaken for it.
///
/// Run, it gives places, from 1: of those that are done as they are, and negated of those that the statement found
/// as they should be when it began and did not do.
#[derive(Debug)]
pub(super) struct Turns<'a> {
    locked: Locked,
    columns: Columns<'a>,
}

#[derive(Debug, Default)]
struct Columns<'a> {
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
    /// None yet.
    pub(super) fn none(locked: Locked) -> Self {
        Self {
            locked,
            columns: Columns::default(),
        }
    }

    /// Adds one; its place is the number of those that are in.
    pub(super) fn push(&mut self, rotation: &'a Rotation, audit: &'a AuditRecord) -> Result<(), StoreError> {
        let row = NewAuditRow::try_from(audit)?;
        let to = &rotation.to;
        let columns = &mut self.columns;
        columns.session_id.push(Id(rotation.session_id.as_uuid()));
        columns.from_hash.push(rotation.from.as_bytes());
        columns.to_id.push(Id(to.id.as_uuid()));
        columns.to_hash.push(to.jti_hash.as_bytes());
        columns.issued_at.push(Moment(to.issued_at));
        columns.expires_at.push(Moment(to.expires_at));
        columns.audit_id.push(row.id);
        columns.user_id.push(row.user_id);
        columns.client_id.push(row.client_id);
        columns.event_type.push(row.event_type);
        columns.event_data.push(row.event_data);
        columns.ip_address.push(row.ip_address);
        columns.user_agent.push(row.user_agent);
        columns.correlation_id.push(row.correlation_id);
        columns.success.push(row.success);
        columns.error_message.push(row.error_message);
        columns.created_at.push(row.created_at);
        Ok(())
    }

    /// Carries them out, and says in their order what became of each.
    pub(super) fn run(self, conn: &mut PgConnection) -> Result<Vec<Took>, StoreError> {
        let mut took = vec![Took::Nothing; self.columns.session_id.len()];
        let places: Vec<i64> = self.load(conn)?;
        for place in places {
            let index = usize::try_from(place.unsigned_abs().saturating_sub(1)).ok();
            if let Some(took) = index.and_then(|index| took.get_mut(index)) {
                *took = if place > 0 { Took::Place } else { Took::NoTurn };
            }
        }
        Ok(took)
    }
}

impl QueryId for Turns<'_> {
    type QueryId = ();

    /// There are two statements, and the text tells which: it is the key in the cache.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Turns<'_> {
    type SqlType = BigInt;
}

impl RunQueryDsl<PgConnection> for Turns<'_> {}

impl QueryFragment<Pg> for Turns<'_> {
    /// Each array is bound where it comes first, and named by its number wherever it is needed again.
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let columns = &self.columns;
        out.push_sql("WITH turn AS (SELECT given.session_id, given.place FROM unnest(");
        out.push_bind_param::<Array<DbUuid>, _>(&columns.session_id)?;
        out.push_sql(GIVEN);
        out.push_bind_param::<Array<Binary>, _>(&columns.from_hash)?;
        out.push_sql(LIVE);
        if self.locked == Locked::PassedOver {
            out.push_sql(" FOR NO KEY UPDATE OF sessions SKIP LOCKED");
        }
        columns.bind_step(&mut out)?;
        columns.bind_record(&mut out)?;
        out.push_sql(TOLD);
        Ok(())
    }
}

/// A row for each turn: its session, and its place in all arrays. That an array is read at a place costs less than what
/// unnesting all of them to rows does, whose every column each step of the plan would carry along.
const GIVEN: &str = ") WITH ORDINALITY AS given (session_id, place) JOIN sessions ON sessions.id = given.session_id \
    WHERE sessions.head_jti_hash = (";

const LIVE: &str = ")[given.place] AND sessions.revoked_at IS NULL";

/// The rows that go with it.
const FOLLOWING: &str = ")[turn.place], last_used_at = ($5)[turn.place] \
    FROM turn WHERE sessions.id = turn.session_id AND sessions.head_jti_hash = ($2)[turn.place] \
    AND sessions.revoked_at IS NULL RETURNING turn.place, sessions.previous_token_id AS parent_id), \
    appended AS (INSERT INTO refresh_tokens (id, session_id, parent_id, jti_hash, issued_at, expires_at) \
    SELECT ($3)[place], ($1)[place], parent_id, ($4)[place], ($5)[place], ($6)[place] FROM done), \
    audited AS (INSERT INTO audit_logs (id, user_id, client_id, event_type, event_data, ip_address, user_agent, \
    correlation_id, success, error_message, created_at) SELECT (";

/// What is told; of those that were not done it is what the sessions were when the statement began.
const TOLD: &str = ")[place] FROM done) SELECT place FROM done \
    UNION ALL SELECT CASE sessions.head_token_id WHEN ($3)[given.place] THEN given.place ELSE -given.place END \
    FROM unnest($1) WITH ORDINALITY AS given (session_id, place) JOIN sessions ON sessions.id = given.session_id \
    WHERE given.place NOT IN (SELECT place FROM done) AND (sessions.head_token_id = ($3)[given.place] \
    OR (sessions.head_jti_hash = ($2)[given.place] AND sessions.revoked_at IS NULL))";

/// From one array to the next, in the audit row.
const NEXT: &str = ")[place], (";

impl Columns<'_> {
    /// The step of the chain: arrays 3 to 6.
    fn bind_step<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "), done AS (UPDATE sessions SET previous_token_id = sessions.head_token_id, head_token_id = (",
        );
        out.push_bind_param::<Array<DbUuid>, _>(&self.to_id)?;
        out.push_sql(")[turn.place], previous_jti_hash = ($2)[turn.place], head_jti_hash = (");
        out.push_bind_param::<Array<Binary>, _>(&self.to_hash)?;
        out.push_sql(")[turn.place], head_issued_at = (");
        out.push_bind_param::<Array<DbTime>, _>(&self.issued_at)?;
        out.push_sql(")[turn.place], expires_at = (");
        out.push_bind_param::<Array<DbTime>, _>(&self.expires_at)?;
        out.push_sql(FOLLOWING);
        Ok(())
    }

    /// The audit row: arrays 7 to 17.
    fn bind_record<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Array<DbUuid>, _>(&self.audit_id)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Nullable<DbUuid>>, _>(&self.user_id)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.client_id)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Text>, _>(&self.event_type)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<DbJson>, _>(&self.event_data)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.ip_address)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.user_agent)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Text>, _>(&self.correlation_id)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Bool>, _>(&self.success)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.error_message)?;
        out.push_sql(NEXT);
        out.push_bind_param::<Array<DbTime>, _>(&self.created_at)
    }
}

#[cfg(test)]
mod tests {
    use auth_domain::audit::AuditEvent;
    use auth_domain::time::Seconds;
    use auth_testkit::build;
    use auth_testkit::clock::START;
    use auth_testkit::server::Database;

    use super::*;
    use crate::{DatabaseUrl, Migrations};

    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }

    /// A database with one session for each of these texts.
    fn database(texts: &[&str]) -> (Database, PgConnection) {
        let database = Database::new();
        let url = DatabaseUrl::parse(&database.url()).unwrap();
        Migrations::of(&url).up().unwrap();
        let mut conn = PgConnection::establish(&database.url()).unwrap();
        let (user, client) = ("00000000-0000-0000-0000-000000000001", "c");
        let inhabitants = format!(
            "INSERT INTO users VALUES ('{user}', 'u', 'u@x', 'u@x', 'h', TRUE, TRUE, now(), now(), NULL);\
             INSERT INTO oauth_clients (id, client_id, name, is_confidential, allowed_scopes, allowed_grant_types, \
             is_active, created_at, updated_at) VALUES ('{user}', '{client}', 'c', FALSE, 'a', 'password', TRUE, now(), now());"
        );
        run(&mut conn, &inhabitants);
        for text in texts {
            let head = build::token_row(&format!("{text}/0"), START);
            let session = build::session_id(text).as_uuid();
            let insert = format!(
                "INSERT INTO sessions (id, user_id, client_id, scope, amr, head_token_id, head_jti_hash, head_issued_at, \
                 expires_at, created_at, last_used_at) VALUES ('{session}', '{user}', '{client}', 'a', 'pwd', '{}', $1, \
                 now(), now(), now(), now())",
                head.id.as_uuid()
            );
            let hash: &[u8] = head.jti_hash.as_bytes();
            let stored = diesel::sql_query(insert)
                .bind::<Binary, _>(hash)
                .execute(&mut conn);
            assert_eq!(stored.unwrap(), 1);
        }
        (database, conn)
    }

    fn run(conn: &mut PgConnection, sql: &str) {
        diesel::connection::SimpleConnection::batch_execute(conn, sql).unwrap();
    }

    fn count(conn: &mut PgConnection, table: &str) -> i64 {
        let count = diesel::sql_query(format!("SELECT count(*) AS n FROM {table}"));
        count.get_result::<Count>(conn).unwrap().n
    }

    /// A step of a session from one of its tokens to another.
    fn step(text: &str, from: &str, to: &str) -> (Rotation, AuditRecord) {
        let rotation = Rotation {
            session_id: build::session_id(text),
            from: build::jti_hash(&format!("{text}/{from}")),
            to: build::token_row(&format!("{text}/{to}"), START.plus(Seconds::new(1))),
        };
        (
            rotation,
            build::audit(&format!("{text} {to}"), AuditEvent::PasswordChange {}),
        )
    }

    const BOTH: [Locked; 2] = [Locked::PassedOver, Locked::WaitedFor];

    /// Runs steps as one statement.
    fn take(conn: &mut PgConnection, locked: Locked, steps: &[(Rotation, AuditRecord)]) -> Vec<Took> {
        let mut turns = Turns::none(locked);
        for (rotation, audit) in steps {
            turns.push(rotation, audit).unwrap();
        }
        turns.run(conn).unwrap()
    }

    #[test]
    fn a_statement_that_is_run_again_changes_nothing_and_says_the_same() {
        for locked in BOTH {
            let (_database, mut conn) = database(&["a", "b"]);
            let steps = [step("a", "0", "1"), step("b", "0", "1")];
            for _ in 0..3 {
                assert_eq!(take(&mut conn, locked, &steps), [Took::Place; 2]);
                assert_eq!(
                    (count(&mut conn, "refresh_tokens"), count(&mut conn, "audit_logs")),
                    (2, 2)
                );
            }
        }
    }

    #[test]
    fn what_was_done_once_is_not_said_again_when_the_chain_has_moved_on() {
        for locked in BOTH {
            let (_database, mut conn) = database(&["a"]);
            let first = [step("a", "0", "1")];
            assert_eq!(take(&mut conn, locked, &first), [Took::Place]);
            assert_eq!(take(&mut conn, locked, &[step("a", "1", "2")]), [Took::Place]);
            assert_eq!(take(&mut conn, locked, &first), [Took::Nothing]);
        }
    }

    #[test]
    fn of_two_steps_from_one_head_one_is_done_and_the_other_finds_nothing_when_it_is_asked_again() {
        for locked in BOTH {
            let (_database, mut conn) = database(&["a", "b"]);
            let steps = [
                step("a", "0", "1"),
                step("b", "0", "1"),
                step("a", "0", "2"),
                step("b", "9", "2"),
            ];
            let took = take(&mut conn, locked, &steps);
            assert_eq!((took[1], took[3]), (Took::Place, Took::Nothing));
            let (winner, loser) = if took[0] == Took::Place { (0, 2) } else { (2, 0) };
            assert_eq!((took[winner], took[loser]), (Took::Place, Took::NoTurn));
            assert_eq!(take(&mut conn, locked, &steps[loser..=loser]), [Took::Nothing]);
            assert_eq!(
                (count(&mut conn, "refresh_tokens"), count(&mut conn, "audit_logs")),
                (2, 2)
            );
        }
    }

    #[test]
    fn a_chain_that_somebody_changes_is_passed_over_and_the_others_are_done() {
        let (database, mut conn) = database(&["a", "b"]);
        let mut rival = PgConnection::establish(&database.url()).unwrap();
        let session = build::session_id("a").as_uuid();
        run(
            &mut rival,
            &format!("BEGIN; UPDATE sessions SET last_used_at = now() WHERE id = '{session}'"),
        );
        let steps = [step("a", "0", "1"), step("b", "0", "1")];
        assert_eq!(
            take(&mut conn, Locked::PassedOver, &steps),
            [Took::NoTurn, Took::Place]
        );
        run(&mut rival, "COMMIT");
        assert_eq!(take(&mut conn, Locked::PassedOver, &steps), [Took::Place; 2]);
    }

    #[test]
    fn an_ended_chain_gives_nothing() {
        for locked in BOTH {
            let (_database, mut conn) = database(&["a"]);
            run(
                &mut conn,
                "UPDATE sessions SET revoked_at = now(), revoked_reason = 'requested'",
            );
            assert_eq!(take(&mut conn, locked, &[step("a", "0", "1")]), [Took::Nothing]);
            assert_eq!(count(&mut conn, "refresh_tokens"), 0);
        }
    }

    #[test]
    fn the_statement_is_prepared_once_however_many_steps_it_takes() {
        let (_database, mut conn) = database(&["a", "b", "c"]);
        let steps = [step("a", "0", "1"), step("b", "0", "1"), step("c", "0", "1")];
        take(&mut conn, Locked::PassedOver, &steps[..1]);
        take(&mut conn, Locked::PassedOver, &steps[1..]);
        let prepared = count(
            &mut conn,
            "pg_prepared_statements WHERE statement LIKE 'WITH turn%'",
        );
        assert_eq!(prepared, 1);
    }
}
