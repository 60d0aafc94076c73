//! Chains out of single tokens: the older service knew which token a rotation had replaced, and no more.
//!
//! A token that no other names as its parent, and that was not revoked, is live: the head of a session. Every other is
//! history, and presenting it is reuse. What must never happen is that a consumed token becomes a head: so a token
//! counts as consumed as soon as any row names it, even one that can't be taken itself.

use std::collections::{HashMap, HashSet};

use super::clients::scope;
use super::{LegacyTable, LegacyToken, Planned, Reason, derived_uuid, parse_id, when};
use crate::client::ClientStatus;
use crate::id::{ClientId, JtiHash, RowId, SessionId, UserId};
use crate::scope::Scope;
use crate::session::{RevocationReason, SessionState, TokenRow};
use crate::time::{Seconds, Timestamp};
use crate::user::UserStatus;

/// Who may own a chain: the users and clients that are here, with the status that they had there.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// The users.
    pub users: HashMap<UserId, UserStatus>,
    /// The clients, by their client ids.
    pub clients: HashMap<ClientId, ClientStatus>,
}

impl Owners {
    fn ground(&self, user: UserId, client: &ClientId) -> Option<Ground> {
        Some(Ground::of(*self.users.get(&user)?, *self.clients.get(client)?))
    }
}

/// What the judgement of chains depends on besides their rows.
#[derive(Debug, Clone, Copy)]
pub struct ChainTerms {
    /// Now.
    pub now: Timestamp,
    /// For how long after its end a token is kept here.
    pub kept_after_expiry: Seconds,
}

/// A token of a chain, with the row that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedToken {
    /// The token as it is kept here.
    pub token: TokenRow,
    /// The id of its row there.
    pub row: String,
}

/// A chain to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChain {
    /// The id that its session gets, where it is not here yet.
    pub session_id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// With which client.
    pub client_id: ClientId,
    /// What its head was granted.
    pub scope: Scope,
    /// The consumed tokens, each the parent of the next, the last one of the head.
    pub history: Vec<PlannedToken>,
    /// The one that may still be used, unless the chain was ended.
    pub head: PlannedToken,
    /// Whether it may still be used.
    pub state: SessionState,
    /// Whether it shares its beginning with a chain that is newer, and has been given it.
    pub is_branch: bool,
}

impl PlannedChain {
    /// Every token, from the first to the head.
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = &PlannedToken> {
        self.history.iter().chain(std::iter::once(&self.head))
    }

    /// Whether its head may be used now.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state == SessionState::Live && now < self.head.token.expires_at
    }

    /// When the sign-in took place, as far as is known.
    pub fn created_at(&self) -> Timestamp {
        self.history.first().unwrap_or(&self.head).token.issued_at
    }
}

/// The ground that a chain stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// User and client may be used.
    Firm,
    /// The user is inactive: so it died with the user's deactivation, though the older service let it lie.
    UserInactive,
    /// The client is disabled.
    ClientDisabled,
}

impl Ground {
    /// What a user and a client are to their chains.
    pub const fn of(user: UserStatus, client: ClientStatus) -> Self {
        match (user, client) {
            (UserStatus::Inactive, _) => Self::UserInactive,
            (UserStatus::Active, ClientStatus::Disabled) => Self::ClientDisabled,
            (UserStatus::Active, ClientStatus::Active) => Self::Firm,
        }
    }

    /// The state that a chain has on this ground.
    pub const fn state(self, own: SessionState, now: Timestamp) -> SessionState {
        let reason = match (own, self) {
            (SessionState::Revoked { .. }, _) | (SessionState::Live, Self::Firm) => return own,
            (SessionState::Live, Self::UserInactive) => RevocationReason::UserDeactivated,
            (SessionState::Live, Self::ClientDisabled) => RevocationReason::ClientDisabled,
        };
        SessionState::Revoked { at: now, reason }
    }
}

/// Judges all tokens of some users: chains never go from one user to another.
pub fn plan_chains(rows: &[LegacyToken], owners: &Owners, terms: ChainTerms) -> Planned<PlannedChain> {
    let mut plan = Planned::default();
    let mut forest = Forest::grow(rows, owners, terms, &mut plan);
    forest.fell_circles(&mut plan);
    forest.into_chains(terms, &mut plan);
    plan
}

/// A token that was read, and what is known of its place.
struct Node<'a> {
    row: &'a LegacyToken,
    token: TokenRow,
    user_id: UserId,
    client_id: ClientId,
    scope: Scope,
    ground: Ground,
    revoked_at: Option<Timestamp>,
    parent_hash: Option<JtiHash>,
    parent: Option<usize>,
    /// Whether any row names it as parent.
    is_consumed: bool,
}

struct Forest<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Forest<'a> {
    /// Reads the rows, and ties those to their parents that are there.
    fn grow(
        rows: &'a [LegacyToken],
        owners: &Owners,
        terms: ChainTerms,
        plan: &mut Planned<PlannedChain>,
    ) -> Self {
        let named: HashSet<JtiHash> = rows
            .iter()
            .filter_map(|row| parse_hash(row.parent_jti_hash.as_deref()?))
            .collect();
        let mut nodes = Vec::new();
        for row in rows {
            match read(row, owners, terms) {
                Ok(node) => nodes.push(node),
                Err(reason) => plan.put(LegacyTable::Tokens, &row.id, Err(reason)),
            }
        }
        // Of two rows of one token the revoked one counts.
        nodes.sort_by_key(|node| (node.revoked_at.is_none(), node.token.issued_at, &node.row.id));
        let mut places = HashMap::new();
        let mut forest = Self { nodes: Vec::new() };
        for mut node in nodes {
            if places.contains_key(&node.token.jti_hash) {
                plan.put(LegacyTable::Tokens, &node.row.id, Err(Reason::SameToken));
                continue;
            }
            node.is_consumed = named.contains(&node.token.jti_hash);
            places.insert(node.token.jti_hash, forest.nodes.len());
            forest.nodes.push(node);
        }
        forest.tie(&places);
        forest
    }

    /// A parent of another user or client is none: the chain begins here.
    fn tie(&mut self, places: &HashMap<JtiHash, usize>) {
        let parents: Vec<Option<usize>> = self
            .nodes
            .iter()
            .map(|node| {
                let place = *places.get(&node.parent_hash?)?;
                let parent = self.nodes.get(place)?;
                let is_kin = parent.user_id == node.user_id && parent.client_id == node.client_id;
                is_kin.then_some(place)
            })
            .collect();
        for (node, parent) in self.nodes.iter_mut().zip(parents) {
            node.parent = parent;
        }
    }

    fn parent(&self, place: usize) -> Option<usize> {
        self.nodes.get(place)?.parent
    }

    /// Takes out tokens that descend from themselves. Whatever hangs on a circle begins its own chain.
    fn fell_circles(&mut self, plan: &mut Planned<PlannedChain>) {
        let in_circle = self.in_circles();
        let mut moved_to = vec![None; self.nodes.len()];
        let mut kept = Vec::new();
        for (place, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if in_circle.contains(&place) {
                plan.put(LegacyTable::Tokens, &node.row.id, Err(Reason::Cycle));
                continue;
            }
            if let Some(slot) = moved_to.get_mut(place) {
                *slot = Some(kept.len());
            }
            kept.push(node);
        }
        for node in &mut kept {
            node.parent = node
                .parent
                .and_then(|parent| moved_to.get(parent).copied().flatten());
        }
        self.nodes = kept;
    }

    /// Tokens that no other hangs on.
    fn leaves(&self) -> Vec<usize> {
        let inner: HashSet<usize> = self.nodes.iter().filter_map(|node| node.parent).collect();
        (0..self.nodes.len())
            .filter(|place| !inner.contains(place))
            .collect()
    }

    /// What still has a child when every leaf has been plucked, and whatever became a leaf by that.
    fn in_circles(&self) -> HashSet<usize> {
        let mut children: HashMap<usize, usize> = HashMap::new();
        for parent in self.nodes.iter().filter_map(|node| node.parent) {
            *children.entry(parent).or_default() += 1;
        }
        let mut leaves = self.leaves();
        while let Some(leaf) = leaves.pop() {
            if let Some(parent) = self.parent(leaf)
                && let Some(count) = children.get_mut(&parent)
            {
                *count -= 1;
                if *count == 0 {
                    children.remove(&parent);
                    leaves.push(parent);
                }
            }
        }
        children.into_keys().collect()
    }

    /// One chain for each leaf. Where a tree has several, its trunk belongs to the newest that is still live: whoever
    /// presents a token of the trunk ends that one.
    fn into_chains(self, terms: ChainTerms, plan: &mut Planned<PlannedChain>) {
        let mut leaves = self.leaves();
        leaves.sort_by_key(|place| {
            let rank = self.nodes.get(*place).map(|node| {
                let is_live =
                    node.state(terms.now) == SessionState::Live && terms.now < node.token.expires_at;
                (is_live, node.token.issued_at, &node.row.id)
            });
            std::cmp::Reverse(rank)
        });
        let mut claimed = vec![false; self.nodes.len()];
        for leaf in leaves {
            plan.taken.extend(self.chain(leaf, &mut claimed, terms));
        }
    }

    fn chain(&self, leaf: usize, claimed: &mut [bool], terms: ChainTerms) -> Option<PlannedChain> {
        let mut history = Vec::new();
        let mut is_branch = false;
        let mut next = self.parent(leaf);
        while let Some(place) = next {
            match claimed.get_mut(place) {
                Some(claim) if !*claim => *claim = true,
                Some(_) | None => {
                    is_branch = true;
                    break;
                }
            }
            history.extend(self.nodes.get(place).map(Node::planned));
            next = self.parent(place);
        }
        history.reverse();
        let node = self.nodes.get(leaf)?;
        let head = node.planned();
        let seed = head.token.jti_hash;
        let began = history.first().unwrap_or(&head).token.issued_at;
        Some(PlannedChain {
            session_id: SessionId::from_uuid(derived_uuid(began, b"session", seed.as_bytes())),
            user_id: node.user_id,
            client_id: node.client_id.clone(),
            scope: node.scope.clone(),
            history,
            head,
            state: node.state(terms.now),
            is_branch,
        })
    }
}

impl Node<'_> {
    fn planned(&self) -> PlannedToken {
        PlannedToken {
            token: self.token,
            row: self.row.id.clone(),
        }
    }

    /// The state of the chain whose leaf this is. A leaf that was consumed has a successor that could not be taken:
    /// nothing of the chain may work.
    fn state(&self, now: Timestamp) -> SessionState {
        let ended = |at| SessionState::Revoked {
            at,
            reason: RevocationReason::Requested,
        };
        let own = match (self.revoked_at, self.is_consumed) {
            (Some(at), _) => ended(at),
            (None, true) => ended(now),
            (None, false) => SessionState::Live,
        };
        self.ground.state(own, now)
    }
}

fn read<'a>(row: &'a LegacyToken, owners: &Owners, terms: ChainTerms) -> Result<Node<'a>, Reason> {
    let time = |column, text: &str| when::parse(text).ok_or(Reason::Time(column));
    let id = parse_id(&row.id)?;
    let jti_hash = parse_hash(&row.jti_hash).ok_or(Reason::Hash("jti_hash"))?;
    let parent_hash = match row.parent_jti_hash.as_deref() {
        None => None,
        Some(text) => Some(parse_hash(text).ok_or(Reason::Hash("parent_jti_hash"))?),
    };
    let expires_at = time("expires_at", &row.expires_at)?;
    let issued_at = time("created_at", &row.created_at)?;
    let revoked_at = revoked_at(row, issued_at)?;
    let user_id = parse_id(&row.user_id).ok().map(UserId::from_uuid);
    let user_id = user_id
        .filter(|user| owners.users.contains_key(user))
        .ok_or(Reason::UnknownUser)?;
    let client_id = ClientId::parse(&row.client_id).map_err(|_| Reason::UnknownClient)?;
    let ground = owners.ground(user_id, &client_id).ok_or(Reason::UnknownClient)?;
    let scope = scope(&row.scope)?;
    if scope.is_empty() {
        return Err(Reason::NoScope);
    }
    if expires_at.plus(terms.kept_after_expiry) <= terms.now {
        return Err(Reason::Expired);
    }
    Ok(Node {
        row,
        token: TokenRow {
            id: RowId::from_uuid(derived_uuid(issued_at, b"token", id.as_bytes())),
            jti_hash,
            issued_at,
            expires_at,
        },
        user_id,
        client_id,
        scope,
        ground,
        revoked_at,
        parent_hash,
        parent: None,
        is_consumed: false,
    })
}

/// When it was revoked; at its issue at the latest known, where the row does not say when.
fn revoked_at(row: &LegacyToken, issued_at: Timestamp) -> Result<Option<Timestamp>, Reason> {
    if !row.revoked {
        return Ok(None);
    }
    match row.revoked_at.as_deref() {
        None => Ok(Some(issued_at)),
        Some(text) => when::parse(text).map(Some).ok_or(Reason::Time("revoked_at")),
    }
}

/// SHA-256 as the older service wrote it.
fn parse_hash(text: &str) -> Option<JtiHash> {
    let mut bytes = [0_u8; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = (digits.first().copied()?, digits.last().copied()?);
        *byte = digit(high)? * 16 + digit(low)?;
    }
    Some(JtiHash::from_bytes(bytes))
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
