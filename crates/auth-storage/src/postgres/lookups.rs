//! Look-ups of sessions in company: what waits while a query is under way goes into the next one, all of it.
//!
//! Each refresh begins with one. A query costs the server and the way to it about the same for one session as for several,
//! so under load a round trip serves as many as have come meanwhile, and whoever comes alone waits for nobody. The thread
//! and its connection do nothing else: neither a search of the audit trail nor a list keeps a refresh waiting. Where it
//! has none, and the server takes no more, the query goes over those of the other queries.

use std::collections::HashMap;
use std::sync::Arc;

use auth_domain::id::SessionId;
use auth_domain::session::SessionView;
use diesel::prelude::*;
use tokio::sync::oneshot;

use super::Conn;
use super::links::{Links, Locks, Plans, Server};
use super::work::{Attempt, Deadline, again};
use crate::StoreOptions;
use crate::error::StoreError;
use crate::lane::{Crew, Lane};
use crate::rows::SessionRow;
use crate::schema::{sessions, users};
use crate::tally::Tally;
use crate::types::Id;

/// The most look-ups in one query.
const MAX_LOOK_UPS: usize = 256;
/// One: a second would take half of each company away.
pub(super) const THREADS: u32 = 1;

type Found = Result<Option<SessionView>, StoreError>;

/// A session that is asked for, and somebody who waits for it.
pub(super) struct LookUp {
    deadline: Deadline,
    id: SessionId,
    reply: oneshot::Sender<Found>,
}

impl LookUp {
    /// The look-up, and where what it finds will arrive.
    pub(super) fn new(deadline: Deadline, id: SessionId) -> (Self, oneshot::Receiver<Found>) {
        let (reply, outcome) = oneshot::channel();
        (Self { deadline, id, reply }, outcome)
    }

    fn answer(self, found: Found) {
        // Whoever asked may have gone.
        drop(self.reply.send(found));
    }
}

/// The lane of look-ups.
pub(super) struct LookUps(Lane<LookUp>);

impl LookUps {
    /// Starts the lane, with connections of its own; the plain ones are for when it has none.
    pub(super) fn start(server: &Server, plain: Links, options: StoreOptions) -> Result<Self, StoreError> {
        let links = Links::new(server, THREADS, Locks::WaitedFor, Plans::Once);
        let crew = Crew {
            name: "store-lookups",
            threads: THREADS,
            queue: options.queue,
            batch: MAX_LOOK_UPS,
        };
        let tally = Arc::clone(links.tally());
        Lane::staffed(crew, tally, move |look_ups| look_up(&links, &plain, look_ups)).map(Self)
    }

    /// Queues a look-up, or says at once why not.
    pub(super) fn submit(&self, look_up: LookUp) -> Result<(), StoreError> {
        self.0.submit(look_up)
    }

    /// What is counted of them.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        self.0.tally()
    }

    /// Lets nothing more in, and waits until what is in is done.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

/// Answers look-ups together; nothing is asked for whoever has gone, or has waited for too long.
fn look_up(links: &Links, plain: &Links, look_ups: Vec<LookUp>) {
    let look_ups = look_ups.into_iter().filter(|asked| !asked.reply.is_closed());
    let (late, look_ups): (Vec<_>, Vec<_>) = look_ups.partition(|asked| asked.deadline.has_come());
    links.tally().time_out(late.len());
    for asked in late {
        asked.answer(Err(StoreError::Late));
    }
    let Some(first) = look_ups.first() else { return };
    let ids: Vec<Id> = look_ups.iter().map(|asked| Id(asked.id.as_uuid())).collect();
    let ask = |links| again(links, first.deadline, |link| Attempt::of(find(link.conn(), &ids)));
    let found = match ask(links) {
        Err(StoreError::NoConnection(_)) => ask(plain),
        settled => settled,
    };
    match found {
        Ok(rows) => answer(look_ups, rows),
        Err(error) => {
            for asked in look_ups {
                asked.answer(Err(StoreError::Unanswered(error.to_string())));
            }
        }
    }
}

/// The sessions with their users' status, in no order. The status by a query within: so each of the two tables is read by
/// its key, whatever the server makes of their sizes.
fn find(conn: &mut Conn, ids: &[Id]) -> Result<Vec<(SessionRow, Option<bool>)>, StoreError> {
    let user_is_active = users::table
        .filter(users::id.eq(sessions::user_id))
        .select(users::is_active)
        .single_value();
    Ok(sessions::table
        .filter(sessions::id.eq_any(ids))
        .select((SessionRow::as_select(), user_is_active))
        .load(conn)?)
}

/// Gives each what was found of its own. A row that can't be read concerns nobody else.
fn answer(look_ups: Vec<LookUp>, rows: Vec<(SessionRow, Option<bool>)>) {
    let mut asked: HashMap<SessionId, Vec<LookUp>> = HashMap::with_capacity(look_ups.len());
    for look_up in look_ups {
        asked.entry(look_up.id).or_default().push(look_up);
    }
    for (row, user_is_active) in rows {
        let of_row = asked.remove(&row.session_id()).unwrap_or_default();
        let view = row.into_view(user_is_active.unwrap_or(false));
        share(of_row, view);
    }
    for nobody in asked.into_values().flatten() {
        nobody.answer(Ok(None));
    }
}

/// Gives the same to each of those who asked for the same.
fn share(mut look_ups: Vec<LookUp>, view: Result<SessionView, StoreError>) {
    let last = look_ups.pop();
    for look_up in look_ups {
        let same = match &view {
            Ok(view) => Ok(Some(view.clone())),
            Err(fault) => Err(StoreError::Unanswered(fault.to_string())),
        };
        look_up.answer(same);
    }
    if let Some(look_up) = last {
        look_up.answer(view.map(Some));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth_testkit::build;
    use auth_testkit::server::Database;
    use diesel::sql_types::{BigInt, Text};

    use super::*;
    use crate::tally::Pool;
    use crate::{DatabaseUrl, Migrations};

    fn links(database: &Database) -> Links {
        let url = DatabaseUrl::parse(&database.url()).unwrap();
        Migrations::of(&url).up().unwrap();
        let DatabaseUrl::Postgres(url) = url else {
            panic!("a PostgreSQL URL");
        };
        let server = Server::new(&url, StoreOptions::default());
        Links::new(&server, THREADS, Locks::WaitedFor, Plans::Once)
    }

    fn asked(text: &str, patience: Duration) -> (LookUp, oneshot::Receiver<Found>) {
        LookUp::new(Deadline::after(patience), build::session_id(text))
    }

    #[test]
    fn nothing_is_asked_for_whoever_has_gone_or_waited_for_too_long() {
        let database = Database::new();
        let links = links(&database);
        let (gone, _) = asked("gone", Duration::from_mins(1));
        let (late, mut outcome) = asked("late", Duration::ZERO);
        look_up(&links, &links, vec![gone, late]);
        assert!(matches!(outcome.try_recv(), Ok(Err(StoreError::Late))));
        let tally = links.tally();
        assert_eq!(tally.idle(None), 0, "no connection was made");
        assert_eq!(tally.figures(Pool::LookUps, 1).timeouts, 1);
    }

    #[test]
    fn without_a_connection_of_its_own_it_asks_over_another() {
        let nowhere = DatabaseUrl::parse("postgresql://u@127.0.0.1:1/db?connect_timeout=1");
        let Ok(DatabaseUrl::Postgres(nowhere)) = nowhere else {
            panic!("a PostgreSQL URL");
        };
        let server = Server::new(&nowhere, StoreOptions::default());
        let own = Links::new(&server, THREADS, Locks::WaitedFor, Plans::Once);
        let database = Database::new();
        let (look_up_of_one, mut outcome) = asked("nobody's", Duration::from_mins(1));
        look_up(&own, &links(&database), vec![look_up_of_one]);
        assert!(matches!(outcome.try_recv(), Ok(Ok(None))));
    }

    #[derive(QueryableByName)]
    struct Prepared {
        #[diesel(sql_type = Text)]
        statement: String,
        #[diesel(sql_type = BigInt)]
        planned_anew: i64,
    }

    #[test]
    fn however_many_are_asked_for_there_is_one_statement_and_one_plan() {
        let database = Database::new();
        let links = links(&database);
        let mut link = links.take().unwrap();
        for number in 1..=12 {
            let ids = vec![Id(build::session_id("s").as_uuid()); number];
            assert!(find(link.conn(), &ids).unwrap().is_empty());
        }
        let prepared =
            diesel::sql_query("SELECT statement, custom_plans AS planned_anew FROM pg_prepared_statements");
        let prepared: Vec<Prepared> = prepared.load(link.conn()).unwrap();
        let [only] = &prepared[..] else {
            panic!("{} statements", prepared.len());
        };
        assert!(only.statement.contains("ANY"), "{}", only.statement);
        assert_eq!(only.planned_anew, 0);
    }
}
