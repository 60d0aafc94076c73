//! Tells running servers of clients that were changed here: those that remember clients notice at once.

use auth_domain::id::ClientId;
use auth_domain::ports::Unavailable;
use auth_redis::Announcement;
use auth_storage::DatabaseUrl;

use super::output::print_error;
use crate::compose;
use crate::settings::Settings;
use crate::telemetry;

/// Tells of a client whose change is committed, or may be. Where that can't be done the operator learns how long it
/// takes instead; the change stands all the same.
pub(super) async fn client_changed(settings: &Settings, client_id: &ClientId) {
    let told = tell(settings, Announcement::Client(client_id.clone())).await;
    if let (Err(untold), Some(lifetime)) = (told, settings.database.client_cache) {
        print_error(&format!(
            "note: running servers could not be told of this change ({untold}); each notices within {} s, as its \
             CLIENT_CACHE_LIFETIME says",
            lifetime.get()
        ));
    }
}

/// Tells of a client that was created. No server remembers that it was not there; but one may still remember another of
/// the same identifier, that was deleted while nobody could be told.
pub(super) async fn client_created(settings: &Settings, client_id: &ClientId) {
    let _ = tell(settings, Announcement::Client(client_id.clone())).await;
}

/// What a command that changes many clients at once has done to those that servers may remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientChanges {
    /// Nothing.
    None,
    /// Clients were created, and none that was there has changed.
    Additions,
    /// Clients that were there were changed or deleted, or may have been.
    Any,
}

/// Tells whoever serves a database, by the Redis of the settings, that any of its clients may have changed. Where that
/// can't be done the operator learns it, unless nobody can remember anything that holds no more.
pub(super) async fn clients_changed(settings: &Settings, database: &DatabaseUrl, changes: ClientChanges) {
    let own = &settings.database;
    // Beside an embedded database of its own a command knows nothing of what the servers of another remember.
    let is_remembered = !database.is_embedded() && (own.url.is_embedded() || own.client_cache.is_some());
    if changes == ClientChanges::None || !is_remembered {
        return;
    }
    let told = publish(settings, Announcement::AnyClient).await;
    if let (Err(untold), ClientChanges::Any) = (told, changes) {
        print_error(&format!(
            "note: servers of {database} that run could not be told that clients have changed ({untold}); each notices \
             within the seconds that its CLIENT_CACHE_LIFETIME says"
        ));
    }
}

/// Why running servers know nothing of a change.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("no AUTH_SERVICE__REDIS_URL is set")]
    NoRedis,
    #[error("{}: {}", .0.what, telemetry::causes(.0))]
    Unavailable(#[from] Unavailable),
}

async fn tell(settings: &Settings, announcement: Announcement) -> Result<(), Untold> {
    if settings.database.url.is_embedded() {
        return Ok(());
    }
    publish(settings, announcement).await
}

async fn publish(settings: &Settings, announcement: Announcement) -> Result<(), Untold> {
    let redis = settings.redis.as_ref().ok_or(Untold::NoRedis)?;
    compose::announcements(redis)?.announce(&announcement).await?;
    Ok(())
}
