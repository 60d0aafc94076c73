//! A token service on fakes, ready to be asked.

use std::net::IpAddr;
use std::sync::Arc;

use auth_domain::context::RequestContext;
use auth_domain::request::TokenRequest;
use auth_domain::token_service::{Answer, Outcome, Policy, Ports, TokenService, TokenSet};

use crate::build;
use crate::clock::MockClock;
use crate::fake::{FakeHasher, FakeSigner, FakeStore, FakeThrottle};
use crate::random::SeededRandom;

/// Fakes of every port, with the public client [`build::FLUTTER`], the confidential client [`build::BACKEND`] and
/// the user [`build::ALICE`] in the store. What the service does can be seen in the fakes.
#[derive(Clone)]
#[expect(missing_docs, reason = "each is the fake of its name")]
pub struct TestBed {
    pub store: FakeStore,
    pub throttle: FakeThrottle,
    pub hasher: FakeHasher,
    pub signer: FakeSigner,
    pub clock: MockClock,
    pub random: SeededRandom,
    /// The operator's decisions; change them before asking for a [`TestBed::service`].
    pub policy: Policy,
    /// Where requests come from.
    pub context: RequestContext,
}

impl Default for TestBed {
    fn default() -> Self {
        let store = FakeStore::default();
        store.put_client(build::flutter_client());
        store.put_client(build::confidential_client(build::BACKEND, build::BACKEND_SECRET));
        store.put_user(build::user(build::ALICE));
        Self {
            store,
            throttle: FakeThrottle::default(),
            hasher: FakeHasher::default(),
            signer: FakeSigner::default(),
            clock: MockClock::default(),
            random: SeededRandom::default(),
            policy: build::policy(),
            context: build::context(),
        }
    }
}

impl TestBed {
    /// A bed without limits, for tests that sign in often.
    pub fn without_limits() -> Self {
        let mut bed = Self::default();
        bed.policy.limits = None;
        bed
    }

    /// The ports, all of them fakes.
    pub fn ports(&self) -> Ports {
        Ports {
            clients: Arc::new(self.store.clone()),
            users: Arc::new(self.store.clone()),
            sessions: Arc::new(self.store.clone()),
            access_tokens: Arc::new(self.store.clone()),
            audit: Arc::new(self.store.clone()),
            throttle: Arc::new(self.throttle.clone()),
            hasher: Arc::new(self.hasher.clone()),
            signer: Arc::new(self.signer.clone()),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(self.random.clone()),
        }
    }

    /// The service over the fakes, by the policy as it is now.
    pub fn service(&self) -> TokenService {
        TokenService::new(self.ports(), self.policy.clone())
    }

    /// Sends a form from [`TestBed::context`].
    pub async fn ask(&self, form: &[(&str, &str)]) -> Answer {
        self.ask_as(form, &self.context).await
    }

    /// Sends a form from an address.
    pub async fn ask_from(&self, ip: IpAddr, form: &[(&str, &str)]) -> Answer {
        let context = RequestContext {
            ip: Some(ip),
            ..self.context.clone()
        };
        self.ask_as(form, &context).await
    }

    async fn ask_as(&self, form: &[(&str, &str)], context: &RequestContext) -> Answer {
        let pairs = form
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = TokenRequest::parse(pairs, None).expect("a test's form is a good one");
        self.service().issue(request, context).await
    }

    /// Signs the built-in user in at the public client.
    pub async fn sign_in(&self) -> TokenSet {
        let form = [
            ("grant_type", "password"),
            ("client_id", build::FLUTTER),
            ("username", build::ALICE),
            ("password", build::ALICE_PASSWORD),
        ];
        granted(self.ask(&form).await)
    }

    /// Presents a refresh token at the public client.
    pub async fn refresh(&self, token: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", build::FLUTTER),
            ("refresh_token", token),
        ];
        self.ask(&form).await
    }
}

/// The tokens of an answer that is expected to have some.
///
/// # Panics
/// Where it has none.
pub fn granted(answer: Answer) -> TokenSet {
    match answer.outcome {
        Outcome::Granted(tokens) => tokens,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
        Outcome::Unavailable(outage) => panic!("unavailable: {outage:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bed_signs_in_refreshes_and_sees_a_replay() {
        let bed = TestBed::default();
        let first = bed.sign_in().await;
        let token = first.tokens.refresh.expose();
        granted(bed.refresh(token).await);
        let replay = bed.refresh(token).await;
        assert!(matches!(replay.outcome, Outcome::Refused(_)), "{replay:?}");
        let trail = bed.store.audit_trail();
        let types: Vec<_> = trail.iter().map(|row| row.event.event_type()).collect();
        assert_eq!(types, ["login_success", "token_refresh", "security_incident"]);
    }

    #[tokio::test]
    async fn a_changed_token_is_forged_to_the_fake_signer() {
        let bed = TestBed::default();
        let signed_in = bed.sign_in().await;
        let altered = signed_in.tokens.refresh.expose().replacen('a', "b", 1);
        let answer = bed.refresh(&altered).await;
        assert!(matches!(answer.outcome, Outcome::Refused(_)), "{answer:?}");
    }
}
