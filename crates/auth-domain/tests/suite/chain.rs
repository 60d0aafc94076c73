//! The rotation chain as a state machine against a model: uses of tokens that overlap in any order, clock steps to
//! the very second, retries, foreign clients, revocations, chains that began at the older service. Every invariant of the chain is asserted after each step.

use std::collections::{HashMap, HashSet};

use auth_domain::claims::{RefreshClaims, TokenUse};
use auth_domain::client::{ClientPolicy, RotationPolicy};
use auth_domain::id::{ClientId, Jti, JtiHash, SessionId, UserId};
use auth_domain::rotation::{Presented, Redemption, Refused, redeem};
use auth_domain::scope::Scope;
use auth_domain::secret::Token;
use auth_domain::session::{RevocationReason, SessionKey, SessionState, SessionView, Successor};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::UserStatus;
use proptest::prelude::*;
use uuid::Uuid;

const SECOND: i64 = 1_000_000;
const START: i64 = 1_700_000_000 * SECOND + 123_456;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody presents an issued token: the session is read and the rule asked; nothing is written yet.
    Present { token: usize, owner: bool },
    /// What one of the pending uses decided is carried out.
    Land { pending: usize },
    /// Time passes.
    Wait { micros: i64 },
    /// The clock is set to the head's expiry, give or take.
    GoToExpiry { offset: i64 },
    /// The clock is set to the end of the retry window, give or take.
    GoToWindowEnd { offset: i64 },
    /// An operator revokes the chain.
    Revoke,
    /// The user is deactivated, or activated again.
    SetUser { active: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (any::<prop::sample::Index>(), prop::bool::weighted(0.9))
            .prop_map(|(token, owner)| Step::Present { token: token.index(1 << 16), owner }),
        4 => (0_usize..2, prop::bool::weighted(0.95)).prop_map(|(back, owner)| Step::Present { token: usize::MAX - back, owner }),
        12 => any::<prop::sample::Index>().prop_map(|pending| Step::Land { pending: pending.index(1 << 16) }),
        3 => (-3 * SECOND..40 * SECOND).prop_map(|micros| Step::Wait { micros }),
        1 => prop_oneof![Just(-1), Just(0), Just(1), Just(-SECOND), Just(SECOND)].prop_map(|offset| Step::GoToExpiry { offset }),
        1 => prop_oneof![Just(-1), Just(0), Just(1)].prop_map(|offset| Step::GoToWindowEnd { offset }),
        1 => Just(Step::Revoke),
        1 => prop::bool::weighted(0.7).prop_map(|active| Step::SetUser { active }),
    ];
    prop::collection::vec(step, 1..120)
}

fn policies() -> impl Strategy<Value = ClientPolicy> {
    let rotation = prop_oneof![
        Just(RotationPolicy::Strict),
        (1_u32..60).prop_map(|window| RotationPolicy::RetryWindow(Seconds::new(window))),
    ];
    let chain = prop::option::of((20_u32..600).prop_map(Seconds::new));
    (rotation, chain, 10_u32..300).prop_map(|(rotation, chain_lifetime, lifetime)| ClientPolicy {
        rotation,
        chain_lifetime,
        refresh_token_lifetime: Seconds::new(lifetime),
        ..ClientPolicy::default()
    })
}

/// Who issued a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This server.
    Here,
    /// The older service: without a session's id, under a `jti` drawn at random.
    Older,
}

/// What the model knows of a token: generations by number, no hashes.
#[derive(Debug, Clone)]
struct Generation {
    origin: Origin,
    text: String,
    jti: Jti,
    expires_at: i64,
    issued_at: i64,
    consumed: bool,
}

/// The specification in its own words, over generation numbers.
#[derive(Debug)]
struct Model {
    generations: Vec<Generation>,
    revoked: bool,
    user_active: bool,
}

impl Generation {
    /// What the token says.
    fn claims(&self) -> RefreshClaims {
        let (aud, sid) = match self.origin {
            Origin::Here => ("https://auth.example", Some(session_id())),
            Origin::Older => ("codelab-api", None),
        };
        RefreshClaims {
            iss: "https://auth.example".into(),
            sub: user_id(),
            aud: aud.into(),
            exp: Timestamp::from_micros(self.expires_at).into(),
            iat: Timestamp::from_micros(self.issued_at).into(),
            nbf: Timestamp::from_micros(self.issued_at).into(),
            jti: self.jti,
            token_use: TokenUse::Refresh,
            client_id: owner(),
            scope: Scope::parse("api:read").unwrap(),
            sid,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Consume,
    SameAgain,
    Incident,
    No(Refused),
}

impl Model {
    fn head(&self) -> usize {
        self.generations.len() - 1
    }

    fn expect(&self, token: usize, owner: bool, policy: &ClientPolicy, now: i64) -> Expected {
        if !owner {
            return Expected::No(Refused::ForeignClient);
        }
        if self.revoked {
            return Expected::No(Refused::Revoked);
        }
        if !self.user_active {
            return Expected::No(Refused::UserInactive);
        }
        let generation = &self.generations[token];
        let head = &self.generations[self.head()];
        let window = i64::from(policy.rotation.window().get()) * SECOND;
        // What the older service gave in place of a token can't be given again.
        let is_retry = token + 1 == self.head()
            && head.origin == Origin::Here
            && window > 0
            && now < head.issued_at + window;
        if generation.consumed && !is_retry {
            return Expected::Incident;
        }
        let chain_end = policy
            .chain_lifetime
            .map(|lifetime| START + i64::from(lifetime.get()) * SECOND);
        if chain_end.is_some_and(|end| now >= end) {
            return Expected::No(Refused::ChainExpired);
        }
        if now >= head.expires_at {
            return Expected::No(Refused::Expired);
        }
        if generation.consumed {
            Expected::SameAgain
        } else {
            Expected::Consume
        }
    }
}

/// The store, as far as the rule sees it, with the compare-and-set of the `rotate` port.
struct Store {
    session: SessionView,
    legacy_tokens: HashSet<JtiHash>,
}

impl Store {
    fn find(&self, key: SessionKey) -> Option<&SessionView> {
        let is_found = match key {
            SessionKey::Id(id) => id == self.session.id,
            SessionKey::Legacy(token) => self.legacy_tokens.contains(&token),
        };
        is_found.then_some(&self.session)
    }

    fn rotate(&mut self, from: JtiHash, successor: &Successor) -> bool {
        let is_live = self.session.state == SessionState::Live;
        if self.session.head != from || !is_live {
            return false;
        }
        self.session.previous = Some(from);
        self.session.head = successor.jti.hash();
        self.session.head_issued_at = successor.issued_at;
        self.session.expires_at = successor.expires_at;
        true
    }
}

struct Use {
    token: usize,
    owner: bool,
    at: i64,
    decision: Redemption,
}

struct Machine {
    policy: ClientPolicy,
    model: Model,
    store: Store,
    now: i64,
    pending: Vec<Use>,
    consumptions: HashMap<usize, usize>,
    successors: HashMap<usize, HashSet<Jti>>,
    has_incident: bool,
}

impl Machine {
    /// A chain that began here.
    fn new(policy: ClientPolicy) -> Self {
        let own = START / SECOND * SECOND + i64::from(policy.refresh_token_lifetime.get()) * SECOND;
        let first = Generation {
            origin: Origin::Here,
            text: "token-0".into(),
            jti: Jti::from_uuid(Uuid::from_u128(1)),
            expires_at: own,
            issued_at: START,
            consumed: false,
        };
        Self::of(policy, vec![first])
    }

    /// A chain of so many tokens that began at the older service, where a token lives longer.
    fn taken_over(policy: ClientPolicy, length: usize) -> Self {
        let generation = |number: usize| Generation {
            origin: Origin::Older,
            text: format!("older-{number}"),
            jti: Jti::from_uuid(Uuid::from_u128(100 + number as u128)),
            expires_at: START / SECOND * SECOND + 1_000 * SECOND,
            issued_at: START,
            consumed: number + 1 < length,
        };
        Self::of(policy, (0..length).map(generation).collect())
    }

    fn of(policy: ClientPolicy, generations: Vec<Generation>) -> Self {
        let head = generations.last().unwrap();
        let older = generations.iter().filter(|one| one.origin == Origin::Older);
        let session = SessionView {
            id: session_id(),
            user_id: user_id(),
            user_status: UserStatus::Active,
            client_id: owner(),
            scope: Scope::parse("api:read").unwrap(),
            head: head.jti.hash(),
            previous: generations.iter().rev().nth(1).map(|one| one.jti.hash()),
            head_issued_at: Timestamp::from_micros(START),
            expires_at: Timestamp::from_micros(head.expires_at),
            state: SessionState::Live,
            created_at: Timestamp::from_micros(START),
        };
        Self {
            policy,
            store: Store {
                session,
                legacy_tokens: older.map(|one| one.jti.hash()).collect(),
            },
            model: Model {
                generations,
                revoked: false,
                user_active: true,
            },
            now: START,
            pending: Vec::new(),
            consumptions: HashMap::new(),
            successors: HashMap::new(),
            has_incident: false,
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
        // Whatever is still on its way lands in the end.
        while let Some(use_) = self.pending.pop() {
            self.land(&use_);
            self.assert_invariants();
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Present { token, owner } => self.present(token, owner),
            Step::Land { pending } if !self.pending.is_empty() => {
                let index = pending % self.pending.len();
                let use_ = self.pending.swap_remove(index);
                self.land(&use_);
            }
            Step::Land { .. } => {}
            Step::Wait { micros } => self.now += micros,
            Step::GoToExpiry { offset } => self.now = self.store.session.expires_at.as_micros() + offset,
            Step::GoToWindowEnd { offset } => {
                let window = i64::from(self.policy.rotation.window().get()) * SECOND;
                self.now = self.store.session.head_issued_at.as_micros() + window + offset;
            }
            Step::Revoke => self.revoke(RevocationReason::Requested),
            Step::SetUser { active } => {
                self.model.user_active = active;
                self.store.session.user_status = if active {
                    UserStatus::Active
                } else {
                    UserStatus::Inactive
                };
            }
        }
        self.assert_invariants();
    }

    fn present(&mut self, token: usize, owner: bool) {
        let count = self.model.generations.len();
        let token = if token > 1 << 32 {
            count.saturating_sub(1 + (usize::MAX - token))
        } else {
            token % count
        };
        let decision = self.judge(token, owner, self.now);
        self.pending.push(Use {
            token,
            owner,
            at: self.now,
            decision,
        });
    }

    /// Asks the rule, and holds its answer against the model's.
    fn judge(&self, token: usize, is_owner: bool, at: i64) -> Redemption {
        let generation = &self.model.generations[token];
        let claims = generation.claims();
        let client_id = if is_owner {
            owner()
        } else {
            ClientId::parse("somebody-else").unwrap()
        };
        let presented = Presented::by(&client_id, &Token::new(generation.text.clone()), &claims);
        let session = self.store.find(claims.session_key()).unwrap();
        let decision = redeem(&presented, session, &self.policy, Timestamp::from_micros(at));
        let expected = self.model.expect(token, is_owner, &self.policy, at);
        let seen = match decision {
            Redemption::Rotate(successor) => {
                self.assert_fresh(&successor, at);
                Expected::Consume
            }
            Redemption::Repeat(successor) => {
                let head = &self.model.generations[self.model.head()];
                assert_eq!(successor.jti, head.jti, "a repeated successor is the very head");
                assert_eq!(successor.expires_at.as_micros(), head.expires_at);
                assert_eq!(successor.issued_at.as_micros(), head.issued_at);
                Expected::SameAgain
            }
            Redemption::Reuse => Expected::Incident,
            Redemption::Refused(refused) => Expected::No(refused),
        };
        assert_eq!(seen, expected, "token {token} at {at}, {:?}", self.policy);
        decision
    }

    fn assert_fresh(&self, successor: &Successor, at: i64) {
        let own =
            at.div_euclid(SECOND) * SECOND + i64::from(self.policy.refresh_token_lifetime.get()) * SECOND;
        let chain = self.policy.chain_lifetime.map_or(i64::MAX, |lifetime| {
            (START + i64::from(lifetime.get()) * SECOND) / SECOND * SECOND
        });
        assert_eq!(successor.expires_at.as_micros(), own.min(chain));
        assert_eq!(successor.issued_at.as_micros(), at);
    }

    fn land(&mut self, use_: &Use) {
        let mut decision = use_.decision;
        loop {
            match decision {
                Redemption::Rotate(successor) => {
                    let from = self.model.generations[use_.token].jti.hash();
                    if self.store.rotate(from, &successor) {
                        return self.consumed(use_.token, successor);
                    }
                    decision = self.judge(use_.token, use_.owner, use_.at);
                    assert!(
                        !matches!(decision, Redemption::Rotate(_)),
                        "what was superseded never rotates"
                    );
                }
                Redemption::Repeat(successor) => {
                    self.successors
                        .entry(use_.token)
                        .or_default()
                        .insert(successor.jti);
                    return;
                }
                Redemption::Reuse => {
                    self.has_incident = true;
                    return self.revoke(RevocationReason::Reuse);
                }
                Redemption::Refused(_) => return,
            }
        }
    }

    fn consumed(&mut self, token: usize, successor: Successor) {
        assert!(!self.model.revoked, "a revoked chain brought forth a token");
        assert_eq!(token, self.model.head(), "only the head is ever consumed");
        *self.consumptions.entry(token).or_default() += 1;
        self.successors.entry(token).or_default().insert(successor.jti);
        self.model.generations[token].consumed = true;
        self.model.generations.push(Generation {
            origin: Origin::Here,
            text: format!("token-{}", token + 1),
            jti: successor.jti,
            expires_at: successor.expires_at.as_micros(),
            issued_at: successor.issued_at.as_micros(),
            consumed: false,
        });
    }

    fn revoke(&mut self, reason: RevocationReason) {
        self.model.revoked = true;
        if self.store.session.state == SessionState::Live {
            self.store.session.state = SessionState::Revoked {
                at: Timestamp::from_micros(self.now),
                reason,
            };
        }
    }

    fn assert_invariants(&self) {
        assert!(
            self.consumptions.values().all(|count| *count == 1),
            "a token was consumed twice"
        );
        assert!(
            self.successors.values().all(|all| all.len() <= 1),
            "a token has two successors"
        );
        let unconsumed = self
            .model
            .generations
            .iter()
            .filter(|generation| !generation.consumed)
            .count();
        assert_eq!(unconsumed, 1, "a chain has exactly one head");
        assert_eq!(
            self.store.session.head,
            self.model.generations[self.model.head()].jti.hash()
        );
        if self.has_incident {
            assert_ne!(
                self.store.session.state,
                SessionState::Live,
                "a chain outlived a reuse"
            );
        }
    }
}

fn session_id() -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(2))
}

fn user_id() -> UserId {
    UserId::from_uuid(Uuid::from_u128(3))
}

fn owner() -> ClientId {
    ClientId::parse("codelab-flutter-app").unwrap()
}

proptest! {
    #[test]
    fn the_chain_follows_its_specification_under_any_interleaving(policy in policies(), steps in steps()) {
        Machine::new(policy).run(&steps);
    }

    #[test]
    fn so_does_a_chain_that_began_at_the_older_service(
        policy in policies(),
        length in 1_usize..6,
        steps in steps(),
    ) {
        Machine::taken_over(policy, length).run(&steps);
    }

    #[test]
    fn of_any_number_of_concurrent_uses_exactly_one_consumes(policy in policies(), uses in 2_usize..80) {
        for mut machine in [Machine::new(policy), Machine::taken_over(policy, 1)] {
            for _ in 0..uses {
                machine.step(&Step::Present { token: 0, owner: true });
            }
            while !machine.pending.is_empty() {
                machine.step(&Step::Land { pending: 0 });
            }
            prop_assert_eq!(machine.consumptions.get(&0), Some(&1));
            prop_assert_eq!(machine.model.generations.len(), 2);
            prop_assert_eq!(machine.has_incident, policy.rotation == RotationPolicy::Strict);
        }
    }

    #[test]
    fn a_replay_of_any_generation_kills_the_chain(length in 2_usize..50, replayed in any::<prop::sample::Index>()) {
        let mut machine = Machine::new(ClientPolicy::default());
        for token in 0..length {
            machine.now += 1;
            machine.step(&Step::Present { token, owner: true });
            machine.step(&Step::Land { pending: 0 });
        }
        prop_assert_eq!(machine.model.generations.len(), length + 1);
        machine.step(&Step::Present { token: replayed.index(length), owner: true });
        machine.step(&Step::Land { pending: 0 });
        prop_assert!(machine.has_incident);
        let head = machine.model.head();
        let verdict = machine.judge(head, true, machine.now);
        prop_assert_eq!(verdict, Redemption::Refused(Refused::Revoked));
    }
}
