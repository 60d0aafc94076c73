//! Notices that the folder of keys is not the one it was: an empty one beside a database full of sessions.
//!
//! A first key would be made in it, every token that is out would be taken for a forgery, and clients would forget theirs:
//! for want of a mounted folder, or of one that instances share.

use std::path::PathBuf;

use auth_domain::audit::EventKind;
use auth_domain::ports::admin::{AuditFilter, AuditLog};
use auth_jwt::KeyStore;

use crate::compose::{StartError, key_directory};
use crate::settings::{KeyPlace, Settings};

/// Refuses to make a first key where users have signed in already.
///
/// # Errors
/// Where there is no key though there were some, or either can't be found out.
pub(crate) async fn check(settings: &Settings, audit_log: &dyn AuditLog) -> Result<(), StartError> {
    let KeyPlace::Folder(folder) = &settings.keys.place else {
        return Ok(());
    };
    if KeyStore::open_existing(key_directory(settings, folder))?.is_some() {
        return Ok(());
    }
    let sign_ins = AuditFilter {
        kinds: vec![EventKind::LoginSuccess],
        ..AuditFilter::default()
    };
    if audit_log.tail(&sign_ins, 1).await?.is_empty() {
        return Ok(());
    }
    Err(StartError::KeysLost(LostKeys {
        folder: folder.clone(),
    }))
}

/// The folder that should have held the keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no key in {}, but users have signed in here: their tokens were signed by keys that are somewhere else. Is the \
     folder mounted, and is it the one that all instances share? If the keys are lost for good, `auth-service keys rotate` \
     makes new ones, and everybody signs in again",
    folder.display()
)]
pub struct LostKeys {
    folder: PathBuf,
}
