//! Clients of the older service: taken with their ids, scopes, grants and lifetimes, but never with their secrets.
//!
//! A secret there was chosen by people, one of them is known to everybody, and its hash is a slow one. Here a secret is
//! random and its hash a fast one. So each confidential client gets a new secret.

use std::collections::{BTreeSet, HashSet};

use super::port::Fate;
use super::{LegacyClient, LegacyTable, Planned, Reason, parse_id, when, without_nul};
use crate::client::{Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, WireProfile};
use crate::id::{ClientId, RowId};
use crate::ports::Random;
use crate::scope::Scope;
use crate::secret::{ClientSecret, ClientSecretHash};
use crate::time::Seconds;

/// The client in the field that needs another answer to a wrong password than the RFC's.
const FLUTTER_CLIENT: &str = "codelab-flutter-app";

/// A client to be taken.
#[derive(Debug, Clone)]
pub struct PlannedClient {
    /// The client.
    pub client: Client,
    /// Its new secret, where it is a confidential one.
    pub secret: Option<ClientSecret>,
    /// Grants that it could use there, and that this service does not know.
    pub left_out: Vec<String>,
}

/// Judges all clients at once: of two of the same client id, the older one is taken.
pub fn plan_clients(rows: Vec<LegacyClient>, random: &dyn Random) -> Planned<PlannedClient> {
    let mut planned = Planned::default();
    let mut readable = Vec::new();
    for row in rows {
        match read(&row, random) {
            Ok(client) => readable.push(client),
            Err(reason) => planned.put(LegacyTable::Clients, &row.id, Err(reason)),
        }
    }
    readable.sort_by_key(|planned| (planned.client.created_at, planned.client.id));
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for entry in readable {
        let (id, name) = (entry.client.id, entry.client.client_id.clone());
        let judged = if ids.contains(&id) {
            Err(Reason::SameId)
        } else if !names.insert(name) {
            Err(Reason::SameClientId)
        } else {
            ids.insert(id);
            Ok(entry)
        };
        planned.put(LegacyTable::Clients, &id.to_string(), judged);
    }
    planned
}

fn read(row: &LegacyClient, random: &dyn Random) -> Result<PlannedClient, Reason> {
    let time = |column, text: &str| when::parse(text).ok_or(Reason::Time(column));
    let client_id = ClientId::parse(&row.client_id)?;
    let (allowed_grants, left_out) = grants(row.allowed_grant_types.as_deref().ok_or(Reason::Grants)?)?;
    let secret = row.is_confidential.then(|| ClientSecret::generate(random));
    let authentication = secret.as_ref().map_or(ClientAuthentication::Public, |secret| {
        ClientAuthentication::Confidential(ClientSecretHash::of(secret))
    });
    let client = Client {
        id: RowId::from_uuid(parse_id(&row.id)?),
        wire_profile: wire_profile(&client_id),
        client_id,
        name: without_nul(&row.name),
        description: row.description.as_deref().map(without_nul),
        authentication,
        allowed_scopes: scope(&row.allowed_scopes)?,
        allowed_grants,
        policy: ClientPolicy {
            access_token_lifetime: lifetime(row.access_token_lifetime)?,
            refresh_token_lifetime: lifetime(row.refresh_token_lifetime)?,
            ..ClientPolicy::default()
        },
        status: if row.is_active {
            ClientStatus::Active
        } else {
            ClientStatus::Disabled
        },
        created_at: time("created_at", &row.created_at)?,
        updated_at: time("updated_at", &row.updated_at)?,
    };
    Ok(PlannedClient {
        client,
        secret,
        left_out,
    })
}

fn wire_profile(client_id: &ClientId) -> WireProfile {
    if client_id.as_str() == FLUTTER_CLIENT {
        WireProfile::CodelabFlutter
    } else {
        WireProfile::Rfc
    }
}

/// The grants that are known here, and those that are not.
fn grants(names: &[String]) -> Result<(BTreeSet<GrantType>, Vec<String>), Reason> {
    let mut known = BTreeSet::new();
    let mut unknown = Vec::new();
    for name in names {
        match GrantType::parse(name) {
            Ok(grant) => {
                known.insert(grant);
            }
            Err(_) => unknown.push(without_nul(name)),
        }
    }
    if known.is_empty() {
        Err(Reason::NoGrant)
    } else {
        Ok((known, unknown))
    }
}

/// The older service took any white space for a separator.
pub(super) fn scope(text: &str) -> Result<Scope, Reason> {
    let tokens: Vec<_> = text.split_whitespace().collect();
    Ok(Scope::parse(&tokens.join(" "))?)
}

fn lifetime(seconds: i32) -> Result<Seconds, Reason> {
    match u32::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(Seconds::new(seconds)),
        Ok(_) | Err(_) => Err(Reason::Lifetime),
    }
}

/// What becomes of a client whose client id is here already.
///
/// One that was made here, as the built-in ones are at the first start, stays as it is: that is an operator's decision.
/// One that was taken before follows what was changed there since, unless it was changed here later, or disabled here.
pub fn reconcile_client(ours: &Client, theirs: &Client) -> Fate {
    if ours.id != theirs.id {
        return Fate::MadeHere(difference(ours, theirs));
    }
    if theirs.updated_at <= ours.updated_at {
        return difference(ours, theirs).map_or(Fate::AlreadyThere, Fate::Kept);
    }
    match (ours.status, theirs.status) {
        (ClientStatus::Disabled, ClientStatus::Active) => Fate::Kept(Reason::OffHere),
        (ClientStatus::Disabled, ClientStatus::Disabled) | (ClientStatus::Active, _) => Fate::Updated,
    }
}

/// What a client may do there and not here, or the other way round.
fn difference(ours: &Client, theirs: &Client) -> Option<Reason> {
    let (here, there) = (&ours.policy, &theirs.policy);
    let secret = |client: &Client| client.authentication.is_confidential();
    let differs = [
        ("scopes", ours.allowed_scopes != theirs.allowed_scopes),
        ("grants", ours.allowed_grants != theirs.allowed_grants),
        (
            "access token lifetime",
            here.access_token_lifetime != there.access_token_lifetime,
        ),
        (
            "refresh token lifetime",
            here.refresh_token_lifetime != there.refresh_token_lifetime,
        ),
        ("whether it has a secret", secret(ours) != secret(theirs)),
        ("whether it is active", ours.status != theirs.status),
    ];
    let what: Vec<_> = differs
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(what, _)| *what)
        .collect();
    (!what.is_empty()).then(|| Reason::Differs {
        client_id: ours.client_id.clone(),
        what: what.join(", "),
    })
}
