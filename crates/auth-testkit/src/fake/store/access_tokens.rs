//! Denied access tokens in memory.

use std::collections::hash_map::Entry;

use async_trait::async_trait;
use auth_domain::audit::AuditRecord;
use auth_domain::client::ClientStatus;
use auth_domain::id::{ClientId, JtiHash, UserId};
use auth_domain::ports::{AccessStanding, AccessTokens, Denial, Unavailable};
use auth_domain::time::Timestamp;
use auth_domain::user::UserStatus;

use super::{FakeStore, State};

#[async_trait]
impl AccessTokens for FakeStore {
    async fn deny(&self, denial: Denial, audit: AuditRecord) -> Result<(), Unavailable> {
        self.call("deny an access token", |state| {
            if let Entry::Vacant(place) = state.denials.entry(denial.jti_hash) {
                place.insert(denial.until);
                state.audit.push(audit);
            }
        })
    }

    async fn standing(
        &self,
        jti: &JtiHash,
        user_id: UserId,
        client_id: &ClientId,
    ) -> Result<AccessStanding, Unavailable> {
        self.call("look at an access token", |state| {
            state.standing(jti, user_id, client_id)
        })
    }

    async fn forget_denials(&self, before: Timestamp, at_most: u32) -> Result<u64, Unavailable> {
        self.call("forget ended denials", |state| {
            let mut left = at_most;
            let stored = state.denials.len();
            state.denials.retain(|_, until| {
                let is_forgotten = *until < before && left > 0;
                left -= u32::from(is_forgotten);
                !is_forgotten
            });
            (stored - state.denials.len()).try_into().unwrap_or(u64::MAX)
        })
    }
}

impl State {
    fn standing(&self, jti: &JtiHash, user_id: UserId, client_id: &ClientId) -> AccessStanding {
        let client = self.clients.get(client_id);
        let client_is_active = client.is_some_and(|client| client.status == ClientStatus::Active);
        let user = self.users.get(&user_id);
        match user.filter(|user| user.status == UserStatus::Active) {
            Some(user) if client_is_active && !self.denials.contains_key(jti) => AccessStanding::Good {
                username: user.username.clone(),
            },
            Some(_) | None => AccessStanding::Bad,
        }
    }
}
