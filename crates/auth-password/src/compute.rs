//! The hash functions themselves: Argon2id (RFC 9106) and bcrypt, computed on the calling thread.
//!
//! Every verification computes one real hash, whatever the stored one looks like.

use argon2::password_hash::phc::{self, Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use auth_domain::password::{self, HashScheme, LegacyHashes, Reach, StoredHash, VerifyPlan};
use auth_domain::ports::{Hashed, Random, Unavailable, Verified};
use auth_domain::secret::{Password, PasswordHash};
use subtle::ConstantTimeEq;

/// The dearest stored hash that is computed. One that asks for more was not made by this server or the older one;
/// computing it would hold a thread for seconds, so the password is taken for wrong.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_BLOCK_PASSES: u64 = 4 * MAX_MEMORY_KIB as u64;
const MAX_LANES: u32 = 16;
const MAX_BCRYPT_COST: u32 = 15;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Longer than any hash that a PHC string carries.
const MAX_HASH_BYTES: usize = 64;

/// Why a hash could not be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashFault {
    #[error("the argon2 parameters are out of range")]
    Parameters(#[source] argon2::Error),
    #[error("the hash could not be written as a PHC string")]
    Format(#[source] phc::Error),
    #[error("bcrypt refused")]
    Bcrypt(#[source] bcrypt::BcryptError),
    #[error("bcrypt would cut this password in silence: it has more than 72 bytes or a NUL")]
    WouldBeCut,
    #[error("the parameters ask for more work than one password may cost")]
    Absurd,
}

/// Computes hashes, keeping the memory that Argon2 needs between them: giving it back to the system and taking it
/// again costs more than a tenth of the hash.
pub(crate) struct Computer {
    scheme: HashScheme,
    legacy: LegacyHashes,
    memory: Vec<Block>,
}

impl Computer {
    /// A computer whose new hashes are of the given scheme.
    pub(crate) const fn new(scheme: HashScheme, legacy: LegacyHashes) -> Self {
        Self {
            scheme,
            legacy,
            memory: Vec::new(),
        }
    }

    /// Verifies a password against a stored hash, or does the same work for nothing.
    pub(crate) fn verify(
        &mut self,
        password: &Password,
        stored: Option<&PasswordHash>,
    ) -> Result<Verified, Unavailable> {
        let plan = password::plan_verification(stored, self.scheme);
        if let (VerifyPlan::Compare(kind), Some(stored)) = (plan, stored)
            && is_affordable(kind.scheme)
            && let Some(is_right) = self.compare(password, stored, kind)
        {
            return Ok(self.verdict(is_right, password, kind));
        }
        if stored.is_some() {
            tracing::error!(
                event_type = "hashing",
                "a stored password hash can't be computed: the password counts as wrong"
            );
        }
        self.dummy(password)
            .map_err(|fault| Unavailable::new("verify a password", fault))?;
        Ok(Verified::No)
    }

    /// Hashes a new password by the current scheme.
    pub(crate) fn hash(&mut self, password: &Password, random: &dyn Random) -> Result<Hashed, Unavailable> {
        let mut salt = [0_u8; SALT_BYTES];
        random.fill(&mut salt);
        self.hash_with(password, salt)
            .map(|text| Hashed::Done(PasswordHash::new(text)))
            .map_err(|fault| Unavailable::new("hash a password", fault))
    }

    fn verdict(&self, is_right: bool, password: &Password, kind: StoredHash) -> Verified {
        if !is_right {
            return Verified::No;
        }
        Verified::Yes {
            is_outdated: kind.is_outdated(password, self.scheme, self.legacy),
        }
    }

    /// Whether it is the password; `None` where the stored hash turns out to be malformed.
    fn compare(&mut self, password: &Password, stored: &PasswordHash, kind: StoredHash) -> Option<bool> {
        match kind.scheme {
            HashScheme::Argon2id { .. } => self.compare_argon2id(password, stored),
            HashScheme::Bcrypt { .. } => compare_bcrypt(password, stored, kind),
        }
    }

    fn compare_argon2id(&mut self, password: &Password, stored: &PasswordHash) -> Option<bool> {
        let parsed = phc::PasswordHash::new(stored.expose()).ok()?;
        let params = Params::try_from(&parsed).ok()?;
        let (salt, expected) = (parsed.salt?, parsed.hash?);
        let mut buffer = [0_u8; MAX_HASH_BYTES];
        let computed = buffer.get_mut(..expected.as_bytes().len())?;
        self.argon2id(password, salt.as_ref(), params, computed).ok()?;
        Some(computed.as_ref().ct_eq(expected.as_bytes()).into())
    }

    /// The work of the current scheme with nothing to compare the result to.
    fn dummy(&mut self, password: &Password) -> Result<(), HashFault> {
        let salt = [0_u8; SALT_BYTES];
        match self.scheme {
            HashScheme::Argon2id { .. } => {
                let mut computed = [0_u8; HASH_BYTES];
                self.argon2id(password, &salt, argon2id_params(self.scheme)?, &mut computed)?;
                std::hint::black_box(computed);
            }
            HashScheme::Bcrypt { cost } => {
                let parts =
                    bcrypt::hash_with_salt(password.expose(), cost, salt).map_err(HashFault::Bcrypt)?;
                std::hint::black_box(parts);
            }
        }
        Ok(())
    }

    fn hash_with(&mut self, password: &Password, salt: [u8; SALT_BYTES]) -> Result<String, HashFault> {
        if !self.scheme.takes_whole(password) {
            return Err(HashFault::WouldBeCut);
        }
        match self.scheme {
            HashScheme::Argon2id { .. } => {
                let params = argon2id_params(self.scheme)?;
                let mut computed = [0_u8; HASH_BYTES];
                self.argon2id(password, &salt, params.clone(), &mut computed)?;
                phc_string(&params, &salt, &computed).map_err(HashFault::Format)
            }
            HashScheme::Bcrypt { cost } => bcrypt::hash_with_salt(password.expose(), cost, salt)
                .map(|parts| parts.to_string())
                .map_err(HashFault::Bcrypt),
        }
    }

    fn argon2id(
        &mut self,
        password: &Password,
        salt: &[u8],
        params: Params,
        computed: &mut [u8],
    ) -> Result<(), HashFault> {
        let blocks = params.block_count();
        // A dearer hash of old gives back what it took beyond the current scheme's need.
        let kept = argon2id_params(self.scheme).map_or(0, |own| own.block_count());
        self.memory
            .resize(blocks.max(self.memory.len()), Block::default());
        let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.expose().as_bytes(), salt, computed, &mut self.memory)
            .map_err(HashFault::Parameters);
        if self.memory.len() > kept {
            self.memory.truncate(kept);
            self.memory.shrink_to_fit();
        }
        done
    }
}

/// Checks once, at the start, that the scheme for new hashes can be computed and will be accepted again.
pub(crate) fn check_scheme(scheme: HashScheme) -> Result<(), HashFault> {
    if !is_affordable(scheme) {
        return Err(HashFault::Absurd);
    }
    match scheme {
        HashScheme::Argon2id { .. } => argon2id_params(scheme).map(drop),
        HashScheme::Bcrypt { cost } if (4..=MAX_BCRYPT_COST).contains(&cost) => Ok(()),
        HashScheme::Bcrypt { cost } => Err(HashFault::Bcrypt(bcrypt::BcryptError::CostNotAllowed(cost))),
    }
}

fn is_affordable(scheme: HashScheme) -> bool {
    match scheme {
        HashScheme::Argon2id {
            memory_kib,
            iterations,
            parallelism,
        } => {
            memory_kib <= MAX_MEMORY_KIB
                && u64::from(memory_kib) * u64::from(iterations) <= MAX_BLOCK_PASSES
                && parallelism <= MAX_LANES
        }
        HashScheme::Bcrypt { cost } => cost <= MAX_BCRYPT_COST,
    }
}

/// Compares by bcrypt, which takes only the first 72 bytes of a password and ends or begins anew at a NUL. What it would
/// not take whole is not the password, though the part that counts may match: else any other end would do as well, and
/// would become the password when the hash is replaced. Only a hash of the older service is marked as one of whatever
/// begins so. The work is done all the same.
fn compare_bcrypt(password: &Password, stored: &PasswordHash, kind: StoredHash) -> Option<bool> {
    let part = kind.part_of(password);
    let bytes = part.unwrap_or(password.expose().as_bytes());
    let is_right = bcrypt::verify(bytes, password::bare(stored)).ok()?;
    let is_whole = part.is_some();
    if is_right && !is_whole && kind.reach == Reach::Whole {
        tracing::warn!(
            event_type = "hashing",
            "the first 72 bytes of a password are right, but bcrypt hashes no longer ones: it counts as wrong until an \
             operator sets it anew"
        );
    }
    Some(is_right && is_whole)
}

fn argon2id_params(scheme: HashScheme) -> Result<Params, HashFault> {
    match scheme {
        HashScheme::Argon2id {
            memory_kib,
            iterations,
            parallelism,
        } => {
            Params::new(memory_kib, iterations, parallelism, Some(HASH_BYTES)).map_err(HashFault::Parameters)
        }
        HashScheme::Bcrypt { .. } => Err(HashFault::Parameters(argon2::Error::AlgorithmInvalid)),
    }
}

fn phc_string(params: &Params, salt: &[u8], computed: &[u8]) -> Result<String, phc::Error> {
    let hash = phc::PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| phc::Error::ParamValueInvalid)?,
        salt: Some(Salt::new(salt)?),
        hash: Some(Output::new(computed)?),
    };
    Ok(hash.to_string())
}
