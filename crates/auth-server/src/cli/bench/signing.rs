//! What a signature and its verification cost, by a key of the size that signs tokens here.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth_domain::key::KeyState;
use auth_domain::ports::Clock as _;
use auth_jwt::{KeyBits, KeyStore, RsaKey};
use serde_json::{Value, json};

use super::estimate::bound;
use super::stopwatch::Whose;
use crate::cli::failure::Failure;
use crate::compose::{self, StartError};
use crate::files;
use crate::settings::{KeyPlace, Settings};
use crate::system::SystemClock;

/// About as much as the signed part of one of our tokens.
const MESSAGE: [u8; 480] = [b'a'; 480];

/// What signing came to, in seconds of a core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Signing {
    /// The size of the key.
    pub(super) bits: u32,
    /// One signature.
    pub(super) sign: f64,
    /// One verification.
    pub(super) verify: f64,
}

impl Signing {
    /// The same for programs.
    pub(super) fn view(&self) -> Value {
        json!({
            "algorithm": RsaKey::ALGORITHM,
            "key_bits": self.bits,
            "sign_us": self.sign * 1e6,
            "verify_us": self.verify * 1e6,
            "bound_per_second": bound(self),
        })
    }
}

/// Signs for so long, and verifies for as long, on the calling thread.
///
/// # Errors
/// Where the keys can't be looked at, or the library fails.
pub(super) async fn measure(settings: &Settings, long: Duration) -> Result<Signing, Failure> {
    let key = match &settings.keys.place {
        KeyPlace::Folder(folder) => key_as_in(folder, settings)?,
        KeyPlace::Pair { private, .. } => given_key(private, settings)?,
    };
    let failed = |error: auth_jwt::BoxError| Failure::of("sign", &*error);
    let signature = key.sign(&MESSAGE).map_err(failed)?;
    let sign = async || key.sign(black_box(&MESSAGE)).map(drop);
    let verify = async || {
        key.verify(black_box(&MESSAGE), &signature)
            .then_some(())
            .ok_or_else(|| Failure::refused("a signature was not verified by the key that made it"))
    };
    Ok(Signing {
        bits: key.bits(),
        sign: Whose::Thread.cost(long, sign).await.map_err(failed)?,
        verify: Whose::Thread.cost(long, verify).await?,
    })
}

/// A new key of the size of the one that signs in a folder, or, where there is none yet, of the size that it would have.
fn key_as_in(folder: &Path, settings: &Settings) -> Result<RsaKey, Failure> {
    let bits = signing_bits(folder, settings).map_err(StartError::Keys)?;
    let bits = bits.and_then(|bits| KeyBits::try_from(bits).ok());
    let made = RsaKey::generate(bits.unwrap_or(settings.keys.bits));
    let (key, _) = made.map_err(|fault| Failure::of("make a key", &fault))?;
    Ok(key)
}

fn signing_bits(folder: &Path, settings: &Settings) -> Result<Option<u32>, auth_jwt::KeyError> {
    let Some(store) = KeyStore::open_existing(compose::key_directory(settings, folder))? else {
        return Ok(None);
    };
    let keys = store.list(SystemClock.now())?;
    let active = keys.iter().find(|key| key.state == KeyState::Active);
    Ok(active.map(|key| key.bits))
}

/// The key that settings name. Its signatures are of nothing, and go nowhere.
fn given_key(private: &Path, settings: &Settings) -> Result<RsaKey, Failure> {
    compose::open_keys(settings, Arc::new(SystemClock)).map_err(StartError::Keys)?;
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(&format!("use the private key in {}", private.display()), error)
    };
    let pem = files::read_private(private).map_err(|fault| unusable(&fault))?;
    RsaKey::from_pem(&pem).map_err(|fault| unusable(&fault))
}
