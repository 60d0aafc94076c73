//! What a cache of clients remembers, in what order it was asked for, and how much of it: time is told, never read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use auth_domain::client::Client;
use auth_domain::id::ClientId;
use auth_domain::time::{Seconds, Timestamp};

/// Clients that were found, for so long, and so many at most.
#[derive(Debug)]
pub(super) struct Shelf {
    lifetime: Seconds,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<ClientId, Kept>,
    /// Questions and invalidations are numbered in one order: an answer is kept only where its question comes after
    /// the last invalidation.
    last: u64,
    last_invalidation: u64,
}

#[derive(Debug)]
struct Kept {
    client: Arc<Client>,
    question: Question,
}

/// That the store is about to be asked for a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    number: u64,
    at: Timestamp,
}

impl Shelf {
    pub(super) fn new(lifetime: Seconds, capacity: usize) -> Self {
        Self {
            lifetime,
            capacity,
            state: Mutex::default(),
        }
    }

    /// The client of that identifier, where it is remembered and was asked for lately enough.
    pub(super) fn find(&self, client_id: &ClientId, now: Timestamp) -> Option<Arc<Client>> {
        self.with(|state| {
            let kept = state.clients.get(client_id)?;
            self.is_fresh(kept, now).then(|| Arc::clone(&kept.client))
        })
    }

    /// To be called before the store is asked: what it answers is as old as the question, at most.
    pub(super) fn ask(&self, now: Timestamp) -> Question {
        self.with(|state| Question {
            number: state.next(),
            at: now,
        })
    }

    /// Remembers the answer to a question, unless something was forgotten since it was asked, or a later one has been
    /// answered before. Where there is no room, the one that was asked for first has to go.
    pub(super) fn keep(&self, question: Question, client: Client) {
        self.with(|state| {
            let known = state.clients.get(&client.client_id);
            let is_overtaken = known.is_some_and(|known| known.question.number > question.number);
            if is_overtaken || question.number < state.last_invalidation {
                return;
            }
            if known.is_none() && state.clients.len() >= self.capacity {
                state.forget_the_oldest();
            }
            let client_id = client.client_id.clone();
            let client = Arc::new(client);
            state.clients.insert(client_id, Kept { client, question });
        });
    }

    /// Forgets one client, and whatever is being asked now.
    pub(super) fn forget(&self, client_id: &ClientId) {
        self.with(|state| {
            state.last_invalidation = state.next();
            state.clients.remove(client_id);
        });
    }

    /// Forgets all clients, and whatever is being asked now.
    pub(super) fn forget_all(&self) {
        self.with(|state| {
            state.last_invalidation = state.next();
            state.clients.clear();
        });
    }

    /// A clock that was set back gives nothing a longer life: what comes from the future is not fresh.
    fn is_fresh(&self, kept: &Kept, now: Timestamp) -> bool {
        let at = kept.question.at;
        at <= now && now < at.plus(self.lifetime)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Nothing in here panics half way.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Looks at all: some microseconds, beside a question to a database, and only where there are more clients than
    /// fit.
    fn forget_the_oldest(&mut self) {
        let oldest = self.clients.iter().min_by_key(|(_, kept)| kept.question.number);
        if let Some(client_id) = oldest.map(|(client_id, _)| client_id.clone()) {
            self.clients.remove(&client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use auth_testkit::build::{client_id, public_client};
    use auth_testkit::clock::START;
    use proptest::prelude::*;

    use super::*;

    const LIFETIME: Seconds = Seconds::new(300);

    fn shelf() -> Shelf {
        Shelf::new(LIFETIME, 3)
    }

    fn put(shelf: &Shelf, id: &str, now: Timestamp) {
        shelf.keep(shelf.ask(now), public_client(id));
    }

    fn has(shelf: &Shelf, id: &str, now: Timestamp) -> bool {
        shelf.find(&client_id(id), now).is_some()
    }

    #[test]
    fn a_client_is_remembered_for_its_time_and_not_a_microsecond_longer() {
        let shelf = shelf();
        put(&shelf, "client", START);
        let end = START.plus(LIFETIME);
        assert!(has(&shelf, "client", Timestamp::from_micros(end.as_micros() - 1)));
        assert!(!has(&shelf, "client", end));
    }

    #[test]
    fn the_time_counts_from_the_question_and_not_from_the_answer() {
        let shelf = shelf();
        let question = shelf.ask(START);
        shelf.keep(question, public_client("client"));
        assert!(!has(&shelf, "client", START.plus(LIFETIME)));
    }

    #[test]
    fn a_clock_that_is_set_back_lets_nothing_live_longer() {
        let shelf = shelf();
        put(&shelf, "client", START);
        let before = START.minus(Seconds::new(1));
        assert!(!has(&shelf, "client", before));
        put(&shelf, "client", before);
        assert!(has(&shelf, "client", before));
    }

    #[test]
    fn what_was_asked_before_something_was_forgotten_is_not_kept() {
        let shelf = shelf();
        let question = shelf.ask(START);
        shelf.forget(&client_id("client"));
        shelf.keep(question, public_client("client"));
        assert!(!has(&shelf, "client", START));
        let question = shelf.ask(START);
        shelf.forget_all();
        shelf.keep(question, public_client("client"));
        assert!(!has(&shelf, "client", START));
    }

    #[test]
    fn a_late_answer_does_not_go_over_a_later_one() {
        let shelf = shelf();
        let (first, second) = (shelf.ask(START), shelf.ask(START));
        let named = |name: &str| Client {
            name: name.to_owned(),
            ..public_client("client")
        };
        shelf.keep(second, named("new"));
        shelf.keep(first, named("old"));
        assert_eq!(shelf.find(&client_id("client"), START).unwrap().name, "new");
    }

    #[test]
    fn one_that_is_forgotten_takes_no_other_along() {
        let shelf = shelf();
        put(&shelf, "one", START);
        put(&shelf, "other", START);
        shelf.forget(&client_id("one"));
        assert!(!has(&shelf, "one", START));
        assert!(has(&shelf, "other", START));
        shelf.forget_all();
        assert!(!has(&shelf, "other", START));
    }

    #[test]
    fn where_there_is_no_room_the_first_asked_for_goes() {
        let shelf = shelf();
        for id in ["first", "second", "third"] {
            put(&shelf, id, START);
        }
        put(&shelf, "first", START);
        put(&shelf, "fourth", START);
        let kept = ["first", "second", "third", "fourth"].map(|id| has(&shelf, id, START));
        assert_eq!(kept, [true, false, true, true]);
    }

    const NAMES: [&str; 5] = ["client-0", "client-1", "client-2", "client-3", "client-4"];

    #[derive(Debug, Clone)]
    enum Step {
        /// A client is changed; whether it is announced.
        Change(usize, bool),
        /// The link was lost, a client was changed meanwhile, and the link is there again.
        Reconnect(usize),
        Ask(usize),
        /// The store reads for the n-th open question, or for the last of them.
        Read(usize),
        /// The answer to the n-th open question arrives, if it was read.
        Answer(usize),
        Find(usize),
        Pass(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = || 0..NAMES.len();
        prop_oneof![
            1 => (name(), any::<bool>()).prop_map(|(name, is_told)| Step::Change(name, is_told)),
            1 => name().prop_map(Step::Reconnect),
            3 => name().prop_map(Step::Ask),
            3 => (0_usize..4).prop_map(Step::Read),
            3 => (0_usize..4).prop_map(Step::Answer),
            4 => name().prop_map(Step::Find),
            1 => (0_u32..200).prop_map(Step::Pass),
        ]
    }

    /// What is true of a client, and since when.
    #[derive(Default)]
    struct Truth {
        version: u64,
        /// The version that was current when it was last told.
        told: u64,
        /// When each version ceased to be the current one.
        ended: Vec<Timestamp>,
    }

    impl Truth {
        fn change(&mut self, now: Timestamp) {
            self.version += 1;
            self.ended.push(now);
        }

        /// Whether a version may still be believed.
        fn may_be(&self, version: u64, now: Timestamp) -> bool {
            let ended = usize::try_from(version)
                .ok()
                .and_then(|number| self.ended.get(number));
            version >= self.told && ended.is_none_or(|ended| now < ended.plus(LIFETIME))
        }
    }

    struct Open {
        name: usize,
        question: Question,
        read: Option<u64>,
    }

    proptest! {
        #[test]
        fn nothing_is_believed_that_was_told_to_be_otherwise_or_for_longer_than_its_time(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let shelf = shelf();
            let mut truths: [Truth; 5] = Default::default();
            let mut open: Vec<Open> = Vec::new();
            let mut now = START;
            for step in steps {
                match step {
                    Step::Change(name, is_told) => {
                        truths[name].change(now);
                        if is_told {
                            truths[name].told = truths[name].version;
                            shelf.forget(&client_id(NAMES[name]));
                        }
                    }
                    Step::Reconnect(name) => {
                        truths[name].change(now);
                        for truth in &mut truths {
                            truth.told = truth.version;
                        }
                        shelf.forget_all();
                    }
                    Step::Ask(name) => {
                        let question = shelf.ask(now);
                        open.push(Open { name, question, read: None });
                    }
                    Step::Read(number) => {
                        let number = number.min(open.len().saturating_sub(1));
                        if let Some(open) = open.get_mut(number) {
                            open.read.get_or_insert(truths[open.name].version);
                        }
                    }
                    Step::Answer(number) => {
                        if let Some(version) = open.get(number).and_then(|open| open.read) {
                            let Open { name, question, .. } = open.remove(number);
                            shelf.keep(question, Client {
                                name: version.to_string(),
                                ..public_client(NAMES[name])
                            });
                        }
                    }
                    Step::Find(name) => {
                        if let Some(client) = shelf.find(&client_id(NAMES[name]), now) {
                            let version = client.name.parse().unwrap();
                            prop_assert!(truths[name].may_be(version, now), "{} {version}", NAMES[name]);
                        }
                    }
                    Step::Pass(seconds) => now = now.plus(Seconds::new(seconds)),
                }
                prop_assert!(shelf.with(|state| state.clients.len()) <= 3);
            }
        }
    }
}
