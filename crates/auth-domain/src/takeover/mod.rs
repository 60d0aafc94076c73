//! Taking over what the older service has stored, and handing it back: rules over its rows, and the two use cases.
//!
//! A row of the older service is text that nobody has judged yet. Whatever it holds, it is either taken, or not taken
//! for a [`Reason`] that the operator is told; nothing here fails because of it. Reading and writing tables is the
//! ports' business.

mod chains;
mod clients;
mod export;
mod hash;
mod import;
mod legacy;
mod port;
mod trail;
mod users;
pub mod when;

use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use chains::{ChainTerms, Ground, Owners, PlannedChain, PlannedToken, plan_chains};
pub use clients::{PlannedClient, plan_clients, reconcile_client};
pub use export::{ExportPorts, ExportReport, Unsettled, export};
pub use import::{ImportPorts, ImportReport, Tally, Watcher, import};
pub use legacy::{LegacyAudit, LegacyClient, LegacyTable, LegacyToken, LegacyUser, Reason, Rejection};
pub use port::{
    ChainFate, EmptyTarget, Fate, HeldChain, HeldToken, Holdings, LegacySink, LegacySource, Mode, Takeover,
    Target,
};
pub use trail::plan_trail;
pub use users::{plan_users, reconcile_user};

use crate::id::time_ordered_uuid;
use crate::time::Timestamp;

/// Rows of one table, judged: each is in one of the two.
#[derive(Debug, Clone)]
pub struct Planned<T> {
    /// What they become here.
    pub taken: Vec<T>,
    /// Those that can't be taken.
    pub rejected: Vec<Rejection>,
}

impl<T> Default for Planned<T> {
    fn default() -> Self {
        Self {
            taken: Vec::new(),
            rejected: Vec::new(),
        }
    }
}

impl<T> Planned<T> {
    fn put(&mut self, table: LegacyTable, row: &str, judged: Result<T, Reason>) {
        match judged {
            Ok(taken) => self.taken.push(taken),
            Err(reason) => self.rejected.push(Rejection::new(table, row, reason)),
        }
    }
}

/// An id of the older service: a UUID in the one spelling that it wrote, so that it is the same text when handed back.
fn parse_id(text: &str) -> Result<Uuid, Reason> {
    let uuid = Uuid::try_parse(text).map_err(|_| Reason::Id)?;
    if uuid.hyphenated().to_string() == text {
        Ok(uuid)
    } else {
        Err(Reason::Id)
    }
}

/// A key that sorts by time as all keys here do, and is the same each time it is made of the same things: so a row that
/// was taken before is met again under its own key.
fn derived_uuid(at: Timestamp, purpose: &[u8], seed: &[u8]) -> Uuid {
    let digest = Sha256::new_with_prefix(b"codelab-auth/takeover/")
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(seed)
        .finalize();
    let mut tail = [0_u8; 10];
    for (to, from) in tail.iter_mut().zip(digest) {
        *to = from;
    }
    time_ordered_uuid(at, &tail)
}

/// No database but SQLite keeps a NUL in a text.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
