//! Random walks of two users, two clients and a thief over the whole service.

use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Outcome, RotationResult};
use auth_testkit::bed::granted;
use auth_testkit::{TestBed, build};
use proptest::prelude::*;

use super::client_with_window;

#[derive(Debug, Clone)]
enum Step {
    /// Present a token known to somebody, asking for a scope.
    Refresh {
        token: prop::sample::Index,
        scope: Option<&'static str>,
        owner: bool,
    },
    Wait {
        seconds: u32,
    },
    /// The n-th storage call from here on fails.
    Fail {
        call: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let scope = prop_oneof![
        3 => Just(None),
        1 => prop::sample::select(vec!["api:read", "api:write", "api:read api:write", "api:admin"]).prop_map(Some),
    ];
    let step = prop_oneof![
        10 => (any::<prop::sample::Index>(), scope, prop::bool::weighted(0.9))
            .prop_map(|(token, scope, owner)| Step::Refresh { token, scope, owner }),
        2 => (0_u32..20).prop_map(|seconds| Step::Wait { seconds }),
        1 => (1_u64..4).prop_map(|call| Step::Fail { call }),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a walk has seen of one token.
#[derive(Debug, Clone)]
struct Seen {
    text: String,
    successor: Option<usize>,
}

struct Walk {
    bed: TestBed,
    tokens: Vec<Seen>,
    is_dead: bool,
}

impl Walk {
    async fn refresh(&mut self, index: usize, scope: Option<&str>, owner: bool) {
        let answer = ask(&self.bed, &self.tokens[index].text, scope, owner).await;
        let result = answer.facts.rotation;
        match answer.outcome {
            Outcome::Granted(set) => {
                assert!(owner, "another client's token never works");
                assert!(!self.is_dead, "nothing of a chain works after a reuse");
                assert!(
                    set.scope.is_within(&build::scope("api:read api:write")),
                    "scope never widens"
                );
                self.note_successor(index, set.tokens.refresh.expose(), result);
            }
            Outcome::Refused(Refusal::InvalidGrant(GrantFault::Reuse)) => self.is_dead = true,
            Outcome::Refused(_) | Outcome::Unavailable(_) => {}
        }
    }

    fn note_successor(&mut self, index: usize, text: &str, result: Option<RotationResult>) {
        if let Some(known) = self.tokens[index].successor {
            assert_eq!(self.tokens[known].text, text, "a token has one successor");
            assert_eq!(result, Some(RotationResult::Repeated), "a token is consumed once");
            return;
        }
        self.tokens[index].successor = Some(self.tokens.len());
        self.tokens.push(Seen {
            text: text.to_owned(),
            successor: None,
        });
    }
}

async fn ask(bed: &TestBed, token: &str, scope: Option<&str>, owner: bool) -> Answer {
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
    form.extend(scope.map(|scope| ("scope", scope)));
    if owner {
        form.push(("client_id", build::FLUTTER));
    } else {
        form.extend([
            ("client_id", build::BACKEND),
            ("client_secret", build::BACKEND_SECRET),
        ]);
    }
    bed.ask(&form).await
}

fn walk(window: u32, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let bed = TestBed::without_limits();
        bed.store.put_client(client_with_window(window));
        let bystander = bed.sign_in().await.tokens.refresh;
        let first = bed.sign_in().await.tokens.refresh.expose().to_owned();
        let mut walk = Walk {
            bed,
            tokens: vec![Seen {
                text: first,
                successor: None,
            }],
            is_dead: false,
        };
        for step in steps {
            match step {
                Step::Refresh { token, scope, owner } => {
                    walk.refresh(token.index(walk.tokens.len()), scope, owner).await;
                }
                Step::Wait { seconds } => walk.bed.clock.advance(Seconds::new(seconds)),
                Step::Fail { call } => walk.bed.store.outage.fail_nth(call),
            }
        }
        walk.bed.store.outage.end();
        granted(walk.bed.refresh(bystander.expose()).await);
    });
}

proptest! {
    #[test]
    fn no_walk_breaks_the_chain_and_no_other_chain_notices(window in 0_u32..15, steps in steps()) {
        walk(window, steps);
    }
}
