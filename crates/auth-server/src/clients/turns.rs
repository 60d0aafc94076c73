//! Who looks a client up, while others who want the same one wait for a moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use auth_domain::id::ClientId;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long others wait. A look-up that hangs, on a connection that is dead without a word, holds up its own request
/// and not every one of the same client.
const PATIENCE: Duration = Duration::from_millis(100);

/// The look-ups that go on: one for each request that waits for one, at most.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<ClientId, watch::Receiver<()>>>);

/// That it is somebody's turn; until this is dropped, however that comes.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    client_id: &'a ClientId,
    _ends: watch::Sender<()>,
}

impl Turns {
    /// Takes the turn, or waits until somebody else's is over, or has lasted for too long: then it is nobody's, and
    /// whoever has waited looks for themselves what has come of it.
    pub(super) async fn take<'a>(&'a self, client_id: &'a ClientId) -> Option<Turn<'a>> {
        let mut others = match self.begin(client_id) {
            Ok(turn) => return Some(turn),
            Err(others) => others,
        };
        // Nothing is ever sent: an error says that the sender is gone, which is what is waited for.
        let _ = timeout(PATIENCE, others.changed()).await;
        None
    }

    fn begin<'a>(&'a self, client_id: &'a ClientId) -> Result<Turn<'a>, watch::Receiver<()>> {
        self.with(|turns| match turns.entry(client_id.clone()) {
            Entry::Occupied(others) => Err(others.get().clone()),
            Entry::Vacant(free) => {
                let (ends, end) = watch::channel(());
                free.insert(end);
                Ok(Turn {
                    turns: self,
                    client_id,
                    _ends: ends,
                })
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<ClientId, watch::Receiver<()>>) -> T) -> T {
        // Nothing in here panics half way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.with(|turns| turns.remove(self.client_id));
    }
}

#[cfg(test)]
mod tests {
    use auth_testkit::build::client_id;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_waited_for_only_so_long() {
        let (turns, id) = (Turns::default(), client_id("some-client"));
        let turn = turns.take(&id).await;
        assert!(turn.is_some());
        let start = tokio::time::Instant::now();
        assert!(turns.take(&id).await.is_none());
        assert_eq!(start.elapsed(), PATIENCE);
        drop(turn);
        assert!(turns.take(&id).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_given_up_ends_the_wait_and_leaves_nothing_behind() {
        let (turns, id) = (Turns::default(), client_id("some-client"));
        let start = tokio::time::Instant::now();
        let turn = turns.take(&id).await;
        let (waited, ()) = tokio::join!(turns.take(&id), async { drop(turn) });
        assert!(waited.is_none());
        assert!(start.elapsed().is_zero());
        assert!(turns.with(|turns| turns.is_empty()));
    }

    #[tokio::test]
    async fn another_client_has_a_turn_of_its_own() {
        let (turns, one, other) = (Turns::default(), client_id("one"), client_id("other"));
        let _turn = turns.take(&one).await;
        assert!(turns.take(&other).await.is_some());
    }
}
