//! The take-over: page by page out of one database into the other, with a report of what became of each row.

use std::collections::BTreeMap;

use super::chains::{ChainTerms, Owners, plan_chains};
use super::clients::{PlannedClient, plan_clients};
use super::port::{ChainFate, Fate, LegacySource, Takeover, Target};
use super::trail::plan_trail;
use super::users::plan_users;
use super::{LegacyTable, LegacyToken, PlannedChain, Reason, Rejection};
use crate::client::ClientStatus;
use crate::id::ClientId;
use crate::ports::{Random, Unavailable};
use crate::secret::ClientSecret;
use crate::time::{Seconds, Timestamp};
use crate::user::{User, UserStatus};

/// How many rows are read at a time.
const PAGE: u32 = 1_000;
/// How many users, clients or chains one transaction writes.
const BATCH: usize = 200;

/// What a take-over works with.
pub struct ImportPorts<'a> {
    /// The older service's database.
    pub source: &'a mut dyn LegacySource,
    /// This service's.
    pub target: &'a dyn Target,
    /// Where new secrets come from.
    pub random: &'a dyn Random,
    /// Who is told while it goes on.
    pub watcher: &'a mut dyn Watcher,
}

/// Who is told while a take-over goes on.
pub trait Watcher {
    /// So many rows of a table have been dealt with.
    fn progress(&mut self, table: LegacyTable, rows: u64);

    /// A client has a new secret, which is kept nowhere else. Told as soon as it holds.
    fn secret(&mut self, client_id: &ClientId, secret: &ClientSecret) -> Result<(), Unavailable>;
}

/// Counts of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stored.
    pub taken: u64,
    /// Here before, and brought up to date.
    pub updated: u64,
    /// Here before, and left as they are.
    pub already_there: u64,
    /// Not taken, or left though the older service's row is newer.
    pub not_taken: u64,
}

impl Tally {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.taken + self.updated + self.already_there + self.not_taken
    }
}

/// What became of it all.
#[derive(Debug, Clone, Default)]
pub struct ImportReport {
    /// Counts of each table.
    pub tallies: BTreeMap<LegacyTable, Tally>,
    /// Each row that was not taken, but for tokens that expired long ago, which are counted only.
    pub not_taken: Vec<Rejection>,
    /// How many tokens expired too long ago to be of use.
    pub expired: u64,
    /// Sessions that go on by a token of the older service.
    pub live_chains: u64,
    /// When the last of those tokens expires: as long its key is needed. `None` where there is none.
    pub live_until: Option<Timestamp>,
    /// Chains that began as part of another one.
    pub branches: u64,
    /// What else an operator should know.
    pub remarks: Vec<String>,
}

impl ImportReport {
    fn tally(&mut self, table: LegacyTable) -> &mut Tally {
        self.tallies.entry(table).or_default()
    }

    fn reject(&mut self, rejections: Vec<Rejection>) {
        for rejection in rejections {
            self.tally(rejection.table).not_taken += 1;
            if rejection.reason == Reason::Expired {
                self.expired += 1;
            } else {
                self.not_taken.push(rejection);
            }
        }
    }

    fn note(&mut self, table: LegacyTable, row: &str, fate: &Fate) {
        match fate {
            Fate::Taken => self.tally(table).taken += 1,
            Fate::Updated => self.tally(table).updated += 1,
            Fate::AlreadyThere | Fate::MadeHere(None) => self.tally(table).already_there += 1,
            Fate::Kept(reason) | Fate::MadeHere(Some(reason)) | Fate::Refused(reason) => {
                self.reject(vec![Rejection::new(table, row, reason.clone())]);
            }
        }
    }

    fn note_chain(&mut self, chain: &PlannedChain, fate: ChainFate) {
        let tally = self.tally(LegacyTable::Tokens);
        tally.taken += fate.taken;
        tally.updated += fate.updated;
        tally.already_there += fate.already_there;
        if fate.is_live {
            self.live_chains += 1;
            self.live_until = self.live_until.max(Some(chain.head.token.expires_at));
        }
        self.branches += u64::from(chain.is_branch && fate.taken > 0);
        if let Some((rows, reason)) = fate.not_taken {
            let reject = |row: &String| Rejection::new(LegacyTable::Tokens, row, reason.clone());
            self.reject(rows.iter().map(reject).collect());
        }
    }
}

/// Carries a take-over out, or looks what it would come to.
///
/// What was committed when a call fails stays so, and the next take-over finds it there.
///
/// # Errors
/// Where one of the databases is away.
pub async fn import<'a>(
    ports: ImportPorts<'a>,
    takeover: &'a Takeover,
    kept_after_expiry: Seconds,
) -> Result<ImportReport, Unavailable> {
    let terms = ChainTerms {
        now: takeover.at,
        kept_after_expiry,
    };
    let mut import = Import {
        ports,
        takeover,
        terms,
        owners: Owners::default(),
        report: ImportReport::default(),
    };
    import.clients().await?;
    import.users().await?;
    import.tokens().await?;
    import.trail().await?;
    Ok(import.report)
}

struct Import<'a> {
    ports: ImportPorts<'a>,
    takeover: &'a Takeover,
    terms: ChainTerms,
    owners: Owners,
    report: ImportReport,
}

impl Import<'_> {
    async fn clients(&mut self) -> Result<(), Unavailable> {
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map_or("", |row: &super::LegacyClient| &row.id);
            let page = self.ports.source.clients(after, PAGE)?;
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        self.progress(LegacyTable::Clients, rows.len());
        let plan = plan_clients(rows, self.ports.random);
        self.report.reject(plan.rejected);
        for batch in plan.taken.chunks(BATCH) {
            let clients = batch.iter().map(|planned| planned.client.clone()).collect();
            let fates = self.ports.target.take_clients(clients, self.takeover).await?;
            // All of them are stored: each new secret is told, also where telling another one fails.
            let mut untold = Ok(());
            for (planned, fate) in batch.iter().zip(&fates) {
                untold = untold.and(self.note_client(planned, fate));
            }
            untold?;
        }
        Ok(())
    }

    fn note_client(&mut self, planned: &PlannedClient, fate: &Fate) -> Result<(), Unavailable> {
        let client = &planned.client;
        self.report
            .note(LegacyTable::Clients, &client.id.to_string(), fate);
        if let Some(status) = standing(fate, client.status, ClientStatus::Active) {
            self.owners.clients.insert(client.client_id.clone(), status);
        }
        if matches!(fate, Fate::MadeHere(_)) && client.authentication.is_confidential() {
            self.report.remarks.push(format!(
                "client {} keeps the secret that it has here: it was made here, and not taken over",
                client.client_id
            ));
        }
        if *fate != Fate::Taken {
            return Ok(());
        }
        if !planned.left_out.is_empty() {
            self.report.remarks.push(format!(
                "client {}: this service does not know its grants {}; they were left out",
                client.client_id,
                planned.left_out.join(", ")
            ));
        }
        match &planned.secret {
            Some(secret) => self.ports.watcher.secret(&client.client_id, secret),
            None => Ok(()),
        }
    }

    async fn users(&mut self) -> Result<(), Unavailable> {
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map_or("", |row: &super::LegacyUser| &row.id);
            let page = self.ports.source.users(after, PAGE)?;
            if page.is_empty() {
                break;
            }
            rows.extend(page);
            self.progress(LegacyTable::Users, rows.len());
        }
        let plan = plan_users(rows);
        self.report.reject(plan.rejected);
        for batch in plan.taken.chunks(BATCH) {
            let fates = self
                .ports
                .target
                .take_users(batch.to_vec(), self.takeover)
                .await?;
            for (user, fate) in batch.iter().zip(&fates) {
                self.note_user(user, fate);
            }
        }
        Ok(())
    }

    fn note_user(&mut self, user: &User, fate: &Fate) {
        self.report.note(LegacyTable::Users, &user.id.to_string(), fate);
        if let Some(status) = standing(fate, user.status, UserStatus::Active) {
            self.owners.users.insert(user.id, status);
        }
    }

    /// Reads tokens until all those of some users are together, judges and takes them, and so on.
    async fn tokens(&mut self) -> Result<(), Unavailable> {
        let mut rows: Vec<LegacyToken> = Vec::new();
        let mut read = 0;
        let mut after = (String::new(), String::new());
        loop {
            let page = self.ports.source.tokens((&after.0, &after.1), PAGE)?;
            let Some(last) = page.last() else { break };
            after = (last.user_id.clone(), last.id.clone());
            read += page.len();
            self.progress(LegacyTable::Tokens, read);
            rows.extend(page);
            // The last user's tokens may go on in the next page.
            let whole = rows.partition_point(|row| row.user_id != after.0);
            let rest = rows.split_off(whole);
            self.take_tokens(&rows).await?;
            rows = rest;
        }
        self.take_tokens(&rows).await
    }

    /// Takes all tokens of some users, many chains in one transaction.
    async fn take_tokens(&mut self, rows: &[LegacyToken]) -> Result<(), Unavailable> {
        let mut chains: Vec<PlannedChain> = Vec::new();
        for of_user in rows.chunk_by(|one, other| one.user_id == other.user_id) {
            let plan = plan_chains(of_user, &self.owners, self.terms);
            self.report.reject(plan.rejected);
            chains.extend(plan.taken);
        }
        for batch in chains.chunks(BATCH) {
            let fates = self
                .ports
                .target
                .take_chains(batch.to_vec(), self.takeover)
                .await?;
            for (chain, fate) in batch.iter().zip(fates) {
                self.report.note_chain(chain, fate);
            }
        }
        Ok(())
    }

    async fn trail(&mut self) -> Result<(), Unavailable> {
        let mut after = String::new();
        let mut read = 0;
        loop {
            let page = self.ports.source.audit(&after, PAGE)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            read += page.len();
            let plan = plan_trail(&page);
            self.report.reject(plan.rejected);
            let offered = count(plan.taken.len());
            let taken = self.ports.target.take_trail(plan.taken, self.takeover).await?;
            let tally = self.report.tally(LegacyTable::Audit);
            tally.taken += taken;
            tally.already_there += offered.saturating_sub(taken);
            self.progress(LegacyTable::Audit, read);
        }
        Ok(())
    }

    fn progress(&mut self, table: LegacyTable, rows: usize) {
        self.ports.watcher.progress(table, count(rows));
    }
}

/// The status that counts for chains, where there is anybody. Of one that stays as it is here the store knows it.
fn standing<S>(fate: &Fate, theirs: S, left_to_the_store: S) -> Option<S> {
    match fate {
        Fate::Taken | Fate::Updated => Some(theirs),
        Fate::AlreadyThere | Fate::MadeHere(_) | Fate::Kept(_) => Some(left_to_the_store),
        Fate::Refused(_) => None,
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
