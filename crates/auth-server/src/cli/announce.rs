//! Tells running servers of clients that were changed here: those that remember clients notice at once.

use auth_domain::id::ClientId;
use auth_domain::ports::Unavailable;
use auth_redis::Announcement;

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
    let redis = settings.redis.as_ref().ok_or(Untold::NoRedis)?;
    compose::announcements(redis)?.announce(&announcement).await?;
    Ok(())
}
