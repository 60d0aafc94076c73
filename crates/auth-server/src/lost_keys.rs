//! Notices that the folder of keys is not the one it was: an empty one beside a database full of sessions.
//!
//! A first key would be made in it, every token that is out would be taken for a forgery, and clients would forget theirs:
//! for want of a mounted folder, or of one that instances share.

use std::path::PathBuf;

use auth_domain::ports::admin::Founding;
use auth_domain::time::Timestamp;
use auth_jwt::KeyStore;

use crate::compose::{StartError, key_directory};
use crate::settings::{KeyPlace, Settings};

/// Refuses to make a first key where users are signed in.
///
/// # Errors
/// Where there is no key though there were some, or either can't be found out.
pub(crate) async fn check(
    settings: &Settings,
    founding: &dyn Founding,
    now: Timestamp,
) -> Result<(), StartError> {
    let KeyPlace::Folder(folder) = &settings.keys.place else {
        return Ok(());
    };
    if KeyStore::open_existing(key_directory(settings, folder))?.is_some() {
        return Ok(());
    }
    if !founding.has_live_chains(now).await? {
        return Ok(());
    }
    Err(StartError::KeysLost(LostKeys {
        folder: folder.clone(),
    }))
}

/// The folder that should have held the keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no key in {}, but users are signed in here: their tokens were signed by keys that are somewhere else. Is the \
     folder mounted, and is it the one that all instances share? If the keys are lost for good, `auth-service keys rotate` \
     makes new ones, and everybody signs in again",
    folder.display()
)]
pub struct LostKeys {
    folder: PathBuf,
}
