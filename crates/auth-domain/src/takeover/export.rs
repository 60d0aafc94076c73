//! The way back: users, clients and live chains into the older service's tables, so that it works on them.
//!
//! What the older service can't work with is told, never guessed at: a password hash of a scheme that it does not know,
//! and a chain that goes on by a token of this service. Whatever was consumed or ended here must be so there.

use std::collections::{HashMap, HashSet};

use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::{Engine as _, alphabet};

use super::port::{HeldChain, HeldToken, Holdings, LegacySink};
use super::{LegacyClient, LegacyTable, LegacyToken, LegacyUser, Reason, Rejection, hash, when};
use crate::client::{Client, ClientStatus};
use crate::id::{ClientId, JtiHash, SessionId, UserId};
use crate::password::HashScheme;
use crate::ports::admin::{ClientDirectory, UserDirectory};
use crate::ports::{Hashed, PasswordHasher, Random, Unavailable};
use crate::secret::{ClientSecret, Password, PasswordHash};
use crate::time::Timestamp;
use crate::user::{User, UserStatus};

/// How many rows are read at a time.
const PAGE: u32 = 200;
/// The longest name of a client that the older service's table holds.
const MAX_NAME: usize = 255;

/// What the way back works with.
pub struct ExportPorts<'a> {
    /// This service's users.
    pub users: &'a dyn UserDirectory,
    /// Its clients.
    pub clients: &'a dyn ClientDirectory,
    /// Its chains.
    pub holdings: &'a dyn Holdings,
    /// The older service's database.
    pub sink: &'a mut dyn LegacySink,
    /// Hashes a new secret by bcrypt, as the older service does.
    pub hasher: &'a dyn PasswordHasher,
    /// Where new secrets come from.
    pub random: &'a dyn Random,
}

/// What became of it all.
#[derive(Debug, Clone, Default)]
pub struct ExportReport {
    /// Users that were written.
    pub users: u64,
    /// Clients that were written.
    pub clients: u64,
    /// Tokens that were written, or revoked.
    pub tokens: u64,
    /// Chains that go on there.
    pub live_chains: u64,
    /// The names of all users.
    pub names: HashMap<UserId, String>,
    /// Users who can't sign in there: their password has a hash that the older service does not know.
    pub without_password: Vec<UserId>,
    /// Chains that go on by a token of this service: their users have to sign in again.
    pub sign_in_again: Vec<Unsettled>,
    /// Clients that keep the secret they have there.
    pub kept_secrets: Vec<ClientId>,
    /// Clients that got a secret for there, which is kept nowhere else.
    pub secrets: Vec<(ClientId, ClientSecret)>,
    /// Rows that could not be written.
    pub not_written: Vec<Rejection>,
}

/// A chain that ends by the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The session.
    pub session_id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// With which client.
    pub client_id: ClientId,
}

/// Writes everything back, in one transaction of the older service's database.
///
/// # Errors
/// Where one of the databases is away, or the hasher; nothing is written then.
pub async fn export(ports: ExportPorts<'_>, now: Timestamp) -> Result<ExportReport, Unavailable> {
    let mut export = Export {
        ports,
        now,
        written: HashSet::new(),
        report: ExportReport::default(),
    };
    export.clients().await?;
    export.users().await?;
    export.chains().await?;
    export.ports.sink.commit()?;
    Ok(export.report)
}

struct Export<'a> {
    ports: ExportPorts<'a>,
    now: Timestamp,
    written: HashSet<UserId>,
    report: ExportReport,
}

impl Export<'_> {
    async fn clients(&mut self) -> Result<(), Unavailable> {
        let mut after: Option<ClientId> = None;
        loop {
            let page = self.ports.clients.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.client_id.clone());
            for client in &page {
                self.client(client).await?;
            }
        }
    }

    async fn client(&mut self, client: &Client) -> Result<(), Unavailable> {
        let is_there = self.ports.sink.has_client(client.client_id.as_str())?;
        let mut secret_hash = None;
        if client.authentication.is_confidential() {
            if is_there {
                self.report.kept_secrets.push(client.client_id.clone());
            } else {
                let secret = ClientSecret::generate(self.ports.random);
                secret_hash = Some(self.bcrypt(&secret).await?);
                self.report.secrets.push((client.client_id.clone(), secret));
            }
        }
        match legacy_client(client, secret_hash) {
            Ok(row) => {
                self.ports.sink.put_client(&row)?;
                self.report.clients += 1;
            }
            Err(reason) => self.refuse(LegacyTable::Clients, client.id.to_string(), reason),
        }
        Ok(())
    }

    async fn bcrypt(&self, secret: &ClientSecret) -> Result<PasswordHash, Unavailable> {
        match self
            .ports
            .hasher
            .hash(&Password::new(secret.expose().to_owned()))
            .await?
        {
            Hashed::Done(hash) => Ok(hash),
            Hashed::Saturated { .. } => Err(Unavailable::new("hash a client's secret", "the queue is full")),
        }
    }

    async fn users(&mut self) -> Result<(), Unavailable> {
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.users.list(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.username.as_str().to_owned());
            for user in &page {
                self.user(user)?;
            }
        }
    }

    fn user(&mut self, user: &User) -> Result<(), Unavailable> {
        let id = user.id.to_string();
        self.report
            .names
            .insert(user.id, user.username.as_str().to_owned());
        let theirs = self.ports.sink.user(&id)?;
        let password_hash = legacy_password(user, theirs.as_ref());
        if password_hash.is_none() {
            self.report.without_password.push(user.id);
        }
        let password_hash = password_hash.unwrap_or_else(|| unusable_hash(self.ports.random));
        match legacy_user(user, password_hash) {
            Ok(row) => {
                if self.ports.sink.put_user(&row)? {
                    self.written.insert(user.id);
                    self.report.users += 1;
                } else {
                    self.refuse(LegacyTable::Users, id, Reason::UsernameTaken);
                }
            }
            Err(reason) => self.refuse(LegacyTable::Users, id, reason),
        }
        Ok(())
    }

    async fn chains(&mut self) -> Result<(), Unavailable> {
        let mut after = None;
        loop {
            let page = self.ports.holdings.chains(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for chain in &page {
                self.chain(chain)?;
            }
        }
    }

    fn chain(&mut self, chain: &HeldChain) -> Result<(), Unavailable> {
        let is_live = chain.revoked_at.is_none() && self.now < chain.expires_at;
        if is_live && !chain.has_legacy_head {
            self.report.sign_in_again.push(Unsettled {
                session_id: chain.id,
                user_id: chain.user_id,
                client_id: chain.client_id.clone(),
            });
        }
        if !self.written.contains(&chain.user_id) {
            for token in &chain.tokens {
                self.refuse(
                    LegacyTable::Tokens,
                    token.token.id.to_string(),
                    Reason::UnknownUser,
                );
            }
            return Ok(());
        }
        self.report.live_chains += u64::from(is_live && chain.has_legacy_head);
        // A parent comes before its child.
        for token in chain.tokens.iter().rev() {
            match legacy_token(chain, token) {
                Ok(row) => self.report.tokens += u64::from(self.ports.sink.put_token(&row)?),
                Err(reason) => self.refuse(LegacyTable::Tokens, token.token.id.to_string(), reason),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, table: LegacyTable, row: String, reason: Reason) {
        self.report.not_written.push(Rejection { table, row, reason });
    }
}

/// The hash that the older service can verify; `None` where there is none.
///
/// A hash that was renewed here at a sign-in is of the same password as the one that still lies there, as long as
/// nothing else was changed: the older service then goes on with its own.
fn legacy_password(ours: &User, theirs: Option<&LegacyUser>) -> Option<PasswordHash> {
    if let Some(hash) = hash::handed_back(&ours.password_hash) {
        return Some(hash);
    }
    let theirs = theirs.filter(|theirs| when::parse(&theirs.updated_at) == Some(ours.updated_at))?;
    matches!(
        HashScheme::of(&theirs.password_hash),
        Some(HashScheme::Bcrypt { .. })
    )
    .then(|| theirs.password_hash.clone())
}

/// A hash of bcrypt that no password has, as nobody has computed it: the older service fails on a text that is none.
fn unusable_hash(random: &dyn Random) -> PasswordHash {
    const DIGITS: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);
    let (mut salt, mut digest) = ([0_u8; 16], [0_u8; 23]);
    random.fill(&mut salt);
    random.fill(&mut digest);
    PasswordHash::new(format!("$2b$12${}{}", DIGITS.encode(salt), DIGITS.encode(digest)))
}

fn time(column: &'static str, at: Timestamp) -> Result<String, Reason> {
    when::write(at).ok_or(Reason::Time(column))
}

fn legacy_user(user: &User, password_hash: PasswordHash) -> Result<LegacyUser, Reason> {
    Ok(LegacyUser {
        id: user.id.to_string(),
        username: user.username.as_str().to_owned(),
        email: user.email.as_str().to_owned(),
        password_hash,
        is_active: user.status == UserStatus::Active,
        is_verified: user.is_verified,
        created_at: time("created_at", user.created_at)?,
        updated_at: time("updated_at", user.updated_at)?,
        last_login_at: user
            .last_login_at
            .map(|at| time("last_login_at", at))
            .transpose()?,
    })
}

fn legacy_client(client: &Client, client_secret_hash: Option<PasswordHash>) -> Result<LegacyClient, Reason> {
    let seconds = |span: u32| i32::try_from(span).unwrap_or(i32::MAX);
    let grants = client
        .allowed_grants
        .iter()
        .map(|grant| grant.as_str().to_owned());
    Ok(LegacyClient {
        id: client.id.to_string(),
        client_id: client.client_id.as_str().to_owned(),
        client_secret_hash,
        name: client.name.chars().take(MAX_NAME).collect(),
        description: client.description.clone(),
        is_confidential: client.authentication.is_confidential(),
        allowed_scopes: client.allowed_scopes.to_string(),
        allowed_grant_types: Some(grants.collect()),
        access_token_lifetime: seconds(client.policy.access_token_lifetime.get()),
        refresh_token_lifetime: seconds(client.policy.refresh_token_lifetime.get()),
        is_active: client.status == ClientStatus::Active,
        created_at: time("created_at", client.created_at)?,
        updated_at: time("updated_at", client.updated_at)?,
    })
}

fn legacy_token(chain: &HeldChain, held: &HeldToken) -> Result<LegacyToken, Reason> {
    let ended_at = held.consumed_at.or(chain.revoked_at);
    Ok(LegacyToken {
        id: held.token.id.to_string(),
        jti_hash: hexadecimal(&held.token.jti_hash),
        user_id: chain.user_id.to_string(),
        client_id: chain.client_id.as_str().to_owned(),
        scope: chain.scope.to_string(),
        expires_at: time("expires_at", held.token.expires_at)?,
        revoked: ended_at.is_some(),
        revoked_at: ended_at.map(|at| time("revoked_at", at)).transpose()?,
        parent_jti_hash: held.parent.as_ref().map(hexadecimal),
        created_at: time("created_at", held.token.issued_at)?,
    })
}

fn hexadecimal(hash: &JtiHash) -> String {
    hash.as_bytes()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
