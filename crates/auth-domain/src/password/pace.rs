//! When the refusal of a sign-in may leave: never so soon that its time tells what was looked at.

use std::time::Duration;

use crate::client::GrantType;
use crate::refusal::Refusal;
use crate::token_service::{Answer, Outcome};

/// The time within which a locked account is looked up; more than that, and whether there was one can't be told.
const LOOK_UP: Duration = Duration::from_millis(10);

/// The shortest times in which refusals are answered, counted from when the request was read whole.
///
/// A failed sign-in costs one real hash whoever it names, but a stored hash of the older kind costs many times what a
/// new one does. Computing both each time would take that much from everybody; waiting takes nothing from anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    failed: Duration,
    turned_away: Duration,
}

impl Pace {
    /// A pace at which a failed sign-in is answered no sooner than this. No time at all is no pace.
    pub fn with_floor(floor: Duration) -> Self {
        Self {
            failed: floor,
            turned_away: floor.min(LOOK_UP),
        }
    }

    /// How long after its request was read whole this answer may leave, at the earliest.
    pub fn earliest(self, answer: &Answer) -> Duration {
        match answer.outcome {
            Outcome::Refused(refusal) if answer.facts.grant_type == Some(GrantType::Password) => {
                self.of_refusal(refusal, answer.facts.client_id.is_some())
            }
            Outcome::Refused(_) | Outcome::Granted(_) | Outcome::Unavailable(_) => Duration::ZERO,
        }
    }

    /// What is refused before the client is known is refused before any user is looked up.
    const fn of_refusal(self, refusal: Refusal, is_client_known: bool) -> Duration {
        match refusal {
            Refusal::InvalidGrant(_) => self.failed,
            Refusal::Locked { .. } | Refusal::RateLimited { .. } if is_client_known => self.turned_away,
            Refusal::Locked { .. }
            | Refusal::RateLimited { .. }
            | Refusal::Saturated { .. }
            | Refusal::InvalidRequest(_)
            | Refusal::InvalidClient(_)
            | Refusal::UnauthorizedClient
            | Refusal::UnsupportedGrantType
            | Refusal::InvalidScope => Duration::ZERO,
        }
    }
}
