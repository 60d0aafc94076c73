//! Housekeeping: what has long expired is swept in the order of the keys, and a lease says who does it.
//!
//! A key is made of the time at which its row was, so a sweep goes from the oldest row to the first that can't have
//! expired. Each part of it is looked at by a reader and deleted, where there is anything to delete, by one statement
//! over the same range of keys: no index by expiry is needed, and the writer's work is bounded by the part.

use std::future::Future;

use async_trait::async_trait;
use auth_domain::id::RowId;
use auth_domain::ports::Unavailable;
use auth_domain::ports::admin::{Lease, Sweep, Swept, Upkeep};
use auth_domain::time::Timestamp;
use diesel::prelude::*;

use super::{Adapter, Conn};
use crate::error::StoreError;
use crate::schema::{leases, refresh_tokens, sessions};
use crate::types::{Id, Moment};

#[async_trait]
impl Upkeep for Adapter {
    async fn sweep_tokens(&self, sweep: Sweep) -> Result<Swept, Unavailable> {
        let part = self
            .engine
            .read("look for expired refresh tokens", move |conn| {
                expired_tokens(conn, &sweep)
            })
            .await?;
        let delete = |last| {
            self.engine.write("delete expired refresh tokens", move |conn| {
                delete_tokens(conn, &sweep, last)
            })
        };
        part.sweep(&sweep, delete).await
    }

    async fn sweep_sessions(&self, sweep: Sweep) -> Result<Swept, Unavailable> {
        let part = self
            .engine
            .read("look for expired sessions", move |conn| {
                expired_sessions(conn, &sweep)
            })
            .await?;
        let delete = |last| {
            self.engine.write("delete expired sessions", move |conn| {
                delete_sessions(conn, &sweep, last)
            })
        };
        part.sweep(&sweep, delete).await
    }

    async fn take_lease(&self, lease: Lease, now: Timestamp) -> Result<bool, Unavailable> {
        self.engine
            .write("take a lease", move |conn| take_lease(conn, &lease, now))
            .await
    }

    async fn give_back_lease(&self, lease: Lease) -> Result<(), Unavailable> {
        self.engine
            .write("give a lease back", move |conn| give_back_lease(conn, &lease))
            .await
    }
}

/// A part of a table as it was looked at: keys in their order, and when what they name expires.
struct Part(Vec<(Id, Moment)>);

impl Part {
    /// Has the part deleted up to its last key, unless nothing in it has expired.
    async fn sweep<D>(self, sweep: &Sweep, delete: impl FnOnce(Id) -> D) -> Result<Swept, Unavailable>
    where
        D: Future<Output = Result<u64, Unavailable>>,
    {
        let Self(rows) = self;
        let Some((last, _)) = rows.last().copied() else {
            return Ok(Swept {
                deleted: 0,
                next: None,
            });
        };
        let has_expired = |(_, until): &(Id, Moment)| until.0 < sweep.expired_before;
        let deleted = if rows.iter().any(has_expired) {
            delete(last).await?
        } else {
            0
        };
        let is_full = u32::try_from(rows.len()).is_ok_and(|rows| rows >= sweep.at_most);
        Ok(Swept {
            deleted,
            next: is_full.then(|| RowId::from_uuid(last.0)),
        })
    }
}

/// The first key that can't be of anything that expired before the sweep's moment.
fn end(sweep: &Sweep) -> Id {
    Id(RowId::first_of(sweep.expired_before).as_uuid())
}

/// Below every key of a row: the nil UUID.
fn start(sweep: &Sweep) -> Id {
    Id(sweep.after.map(RowId::as_uuid).unwrap_or_default())
}

fn expired_tokens(conn: &mut Conn, sweep: &Sweep) -> Result<Part, StoreError> {
    let rows = refresh_tokens::table
        .filter(refresh_tokens::id.gt(start(sweep)))
        .filter(refresh_tokens::id.lt(end(sweep)))
        .order(refresh_tokens::id)
        .limit(sweep.at_most.into())
        .select((refresh_tokens::id, refresh_tokens::expires_at))
        .load(conn)?;
    Ok(Part(rows))
}

fn delete_tokens(conn: &mut Conn, sweep: &Sweep, last: Id) -> Result<u64, StoreError> {
    let deleted = diesel::delete(refresh_tokens::table)
        .filter(refresh_tokens::id.gt(start(sweep)))
        .filter(refresh_tokens::id.le(last))
        .filter(refresh_tokens::expires_at.lt(Moment(sweep.expired_before)))
        .execute(conn)?;
    Ok(deleted.try_into().unwrap_or(u64::MAX))
}

fn expired_sessions(conn: &mut Conn, sweep: &Sweep) -> Result<Part, StoreError> {
    let rows = sessions::table
        .filter(sessions::id.gt(start(sweep)))
        .filter(sessions::id.lt(end(sweep)))
        .order(sessions::id)
        .limit(sweep.at_most.into())
        .select((sessions::id, sessions::expires_at))
        .load(conn)?;
    Ok(Part(rows))
}

fn delete_sessions(conn: &mut Conn, sweep: &Sweep, last: Id) -> Result<u64, StoreError> {
    let deleted = diesel::delete(sessions::table)
        .filter(sessions::id.gt(start(sweep)))
        .filter(sessions::id.le(last))
        .filter(sessions::expires_at.lt(Moment(sweep.expired_before)))
        .execute(conn)?;
    Ok(deleted.try_into().unwrap_or(u64::MAX))
}

/// A compare-and-set on the lease's row, which is made where there is none: of those who ask at once one changes it.
fn take_lease(conn: &mut Conn, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
    let holder = Id(lease.holder.as_uuid());
    let term = || (leases::holder.eq(holder), leases::until.eq(Moment(lease.until)));
    let (first, last) = lease.ends_of_others(now).into_inner();
    let is_free = leases::holder
        .eq(holder)
        .or(leases::until.not_between(Moment(first), Moment(last)));
    let taken = diesel::update(leases::table.find(lease.name))
        .filter(is_free)
        .set(term())
        .execute(conn)?;
    if taken > 0 {
        return Ok(true);
    }
    let made = diesel::insert_into(leases::table)
        .values((leases::name.eq(lease.name), term()))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(made > 0)
}

fn give_back_lease(conn: &mut Conn, lease: &Lease) -> Result<(), StoreError> {
    diesel::delete(leases::table.find(lease.name))
        .filter(leases::holder.eq(Id(lease.holder.as_uuid())))
        .execute(conn)?;
    Ok(())
}
