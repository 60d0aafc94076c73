//! The hash of a password by itself: the parameters of a stored one, and its bare rate on some cores.

use std::io;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::bound::time;
use super::cores::on_each;
use super::sqlite::File;
use crate::installation::{ADMIN_PASSWORD, Installation};

const SALT: [u8; 16] = [7; 16];
const HASH_BYTES: usize = 32;

/// How dear a hash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dearness {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Dearness {
    /// That of the hash that an installation has stored for its administrator.
    pub(super) fn of(installation: &Installation) -> io::Result<Self> {
        let mut file = File::open(&installation.database())?;
        let stored = file.texts("SELECT password_hash AS value FROM users WHERE username = 'admin'")?;
        let stored = stored.first().map_or("", String::as_str);
        Self::parse(stored).ok_or_else(|| io::Error::other("the stored hash is none of Argon2id"))
    }

    /// Reads `$argon2id$v=19$m=…,t=…,p=…$…`.
    fn parse(stored: &str) -> Option<Self> {
        let parameters = stored.strip_prefix("$argon2id$v=19$")?.split('$').next()?;
        let value = |name: &str| {
            let mut pairs = parameters.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        Some(Self {
            memory_kib: value("m")?,
            passes: value("t")?,
            lanes: value("p")?,
        })
    }

    /// The memory that one takes, in MiB.
    pub(super) fn memory_mib(self) -> f64 {
        f64::from(self.memory_kib) / 1_024.0
    }

    /// How many a second some cores compute that do nothing else, each with memory that it keeps.
    pub(super) fn per_second(self, cores: &[usize], long: Duration) -> io::Result<f64> {
        let micros = on_each(cores, || self.micros(long).map_err(io::Error::other))?;
        Ok(micros.into_iter().map(|each| 1_000_000.0 / each).sum())
    }

    fn micros(self, long: Duration) -> Result<f64, argon2::Error> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES))?;
        let mut memory = vec![Block::default(); params.block_count()];
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut computed = [0; HASH_BYTES];
        time(long, || {
            hasher.hash_password_into_with_memory(
                ADMIN_PASSWORD.as_bytes(),
                &SALT,
                &mut computed,
                &mut memory,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_stored_hash_are_read() {
        let dearness = Dearness::parse("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA").unwrap();
        assert_eq!((dearness.passes, dearness.lanes), (2, 1));
        assert!((dearness.memory_mib() - 19.0).abs() < 1e-9);
        assert_eq!(Dearness::parse("$2b$12$abc"), None);
    }
}
