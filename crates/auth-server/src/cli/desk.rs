//! What administrative commands work with: the store, and a name under which their changes are audited.

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::id::{ClientId, UserId};
use auth_domain::ports::{Hashed, PasswordHasher as _, Random};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Timestamp;
use auth_domain::user::{Email, Username};
use auth_storage::Store;

use super::failure::Failure;
use super::output::place_of;
use crate::compose::{self, StartError, World};
use crate::settings::Settings;

/// What the audit trail says made a change.
pub(super) const AGENT: &str = concat!("auth-service/", env!("CARGO_PKG_VERSION"), " (command line)");

/// An operator's desk.
pub(super) struct Desk {
    /// The database.
    pub(super) store: Store,
    world: World,
}

impl Desk {
    /// Opens the database of the settings, which must be there and up to date.
    ///
    /// # Errors
    /// Where it is not.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Failure> {
        let url = &settings.database.url;
        if url.path().is_some_and(|file| !file.exists()) {
            return Err(
                Failure::refused(format!("there is no database at {}", place_of(url))).advise(
                    "`auth-service serve` makes it at its first start, `auth-service migrate up` by itself. \
                 AUTH_SERVICE__DB_URL says where it is.",
                ),
            );
        }
        let store = compose::open_store(settings).map_err(StartError::Store)?;
        compose::check_store(settings, &store).await?;
        Ok(Self {
            store,
            world: World::of_system(AGENT),
        })
    }

    /// What time it is.
    pub(super) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Where randomness comes from.
    pub(super) fn random(&self) -> &dyn Random {
        &*self.world.random
    }

    /// An audit row about a change made here.
    pub(super) fn audit(
        &self,
        event: AuditEvent,
        user_id: Option<UserId>,
        client_id: Option<ClientId>,
    ) -> AuditRecord {
        self.world.audit(event, user_id, client_id)
    }
}

/// Checks a new password against the policy and hashes it.
///
/// # Errors
/// Every rule that it breaks, or a pool that can't be started.
pub(super) async fn hash_new_password(
    desk: &Desk,
    settings: &Settings,
    password: &Password,
    username: &Username,
    email: &Email,
) -> Result<PasswordHash, Failure> {
    let faults = settings.passwords.rules().faults(password, username, email);
    if !faults.is_empty() {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        return Err(Failure::refused(format!(
            "this can't be the password: {}",
            faults.join("; ")
        )));
    }
    let pool = compose::start_hashing(settings, &desk.world.random).map_err(StartError::Hashing)?;
    match pool.hash(password).await? {
        Hashed::Done(hash) => Ok(hash),
        Hashed::Saturated { .. } => Err(Failure::refused(
            "hash the password: the hashing pool takes nothing",
        )),
    }
}
