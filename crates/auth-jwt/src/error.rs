//! What can go wrong with keys: always the operator's business, never a stranger's token's.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::kid::Kid;
use crate::rsa::RsaKeyFault;

/// An error of any kind.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why keys could not be read, kept or used. Each message says which file, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("could not {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A private key that others than its owner may read.
    #[error("{} has mode {mode:04o}: a private key must be its owner's alone, so set it to 0600", path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key directory in which others than its owner may put files.
    #[error("{} has mode {mode:04o}: only its owner may write to the key directory, so set it to 0700", path.display())]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder, a pipe, a device or a socket in place of a file.
    #[error("{} is no ordinary file", path.display())]
    Special {
        /// What there is.
        path: PathBuf,
    },
    /// A file too large to be a key or a key ring's manifest.
    #[error("{} is larger than {limit} bytes: it is not what it should be", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most it may have.
        limit: u64,
    },
    /// A file that holds no key that can be used.
    #[error("{} holds no usable key", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RsaKeyFault,
    },
    /// A text that was to be imported is no key that can be used.
    #[error("the key to import is not usable")]
    NotImportable(#[source] RsaKeyFault),
    /// A public key that belongs to another private key.
    #[error("{} is not the public half of {}", public.display(), private.display())]
    NotAPair {
        /// The public key's file.
        public: PathBuf,
        /// The private key's file.
        private: PathBuf,
    },
    /// There is a key of that name already.
    #[error("there is a key `{0}` already")]
    KidTaken(Kid),
    /// The key that signs has been taken out of the directory by somebody.
    #[error("the key `{0}` is no longer in the key directory")]
    Gone(Kid),
    /// The manifest can't be read.
    #[error("{} is not the manifest of a key directory", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Keys without the manifest that says since when they are published: it was lost.
    #[error(
        "{} holds keys but no keyring.json: put it back, or move the keys away and import those still needed",
        path.display()
    )]
    ManifestLost {
        /// The directory.
        path: PathBuf,
    },
    /// The key set could not be written as JSON.
    #[error("could not write the key set")]
    KeySet(#[source] BoxError),
    /// A new key could not be made.
    #[error("could not make a new key")]
    Generate(#[source] RsaKeyFault),
}

impl KeyError {
    /// Says what was tried with which file, for `map_err`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
