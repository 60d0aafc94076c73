//! The take-over of the older service's rows into this store, and what the way back asks of it.
//!
//! Each batch is one transaction. A row is looked up under the key it has here before anything is written, so that a
//! second take-over finds what the first one has stored. To look only is the same walk without its writes.

mod chains;
mod held;
mod people;
mod trail;

use async_trait::async_trait;
use auth_domain::client::Client;
use auth_domain::id::SessionId;
use auth_domain::ports::Unavailable;
use auth_domain::ports::admin::AuditEntry;
use auth_domain::takeover::{ChainFate, Fate, HeldChain, Holdings, Mode, PlannedChain, Takeover, Target};
use auth_domain::user::User;

use super::{Adapter, Conn, audit, clients, sessions, users};
use crate::error::StoreError;

/// How many rows one statement writes or asks for.
const BATCH: usize = 500;

impl Adapter {
    /// Does work on the lane of its mode.
    async fn on_lane<T: Send + 'static>(
        &self,
        what: &'static str,
        mode: Mode,
        work: impl Fn(&mut Conn) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        match mode {
            Mode::Take => self.engine.administer(what, work).await,
            Mode::Look => self.engine.read(what, work).await,
        }
    }

    /// Does work over a batch, one after the other.
    async fn take<I, T>(
        &self,
        what: &'static str,
        batch: Vec<I>,
        takeover: &Takeover,
        work: impl Fn(&mut Conn, &I, &Takeover) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Vec<T>, Unavailable>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let takeover = takeover.clone();
        self.on_lane(what, takeover.mode, move |conn: &mut Conn| {
            batch.iter().map(|row| work(conn, row, &takeover)).collect()
        })
        .await
    }
}

#[async_trait]
impl Target for Adapter {
    async fn take_users(&self, users: Vec<User>, takeover: &Takeover) -> Result<Vec<Fate>, Unavailable> {
        let takeover = takeover.clone();
        self.on_lane("take users over", takeover.mode, move |conn| {
            people::take_users(conn, &users, &takeover)
        })
        .await
    }

    async fn take_clients(
        &self,
        clients: Vec<Client>,
        takeover: &Takeover,
    ) -> Result<Vec<Fate>, Unavailable> {
        let takeover = takeover.clone();
        self.on_lane("take clients over", takeover.mode, move |conn| {
            people::take_clients(conn, &clients, &takeover)
        })
        .await
    }

    async fn take_chains(
        &self,
        chains: Vec<PlannedChain>,
        takeover: &Takeover,
    ) -> Result<Vec<ChainFate>, Unavailable> {
        self.take("take chains over", chains, takeover, chains::take)
            .await
    }

    async fn take_trail(&self, rows: Vec<AuditEntry>, takeover: &Takeover) -> Result<u64, Unavailable> {
        let taken = self.take("take audit rows over", rows, takeover, trail::take);
        Ok(taken.await?.into_iter().sum())
    }
}

#[async_trait]
impl Holdings for Adapter {
    async fn chains(&self, after: Option<SessionId>, limit: u32) -> Result<Vec<HeldChain>, Unavailable> {
        self.engine
            .read("read chains", move |conn| held::chains(conn, after, limit))
            .await
    }
}
