//! The bound of a refresh: two signatures and one verification are work that no server can save.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use josekit::JoseError;
use josekit::jws::RS256;
use josekit::jws::{JwsSigner, JwsVerifier};
use rustix::time::{ClockId, clock_gettime};

use super::cores::on_each;
use super::figures::{Figure, Run};

/// About as much as the signing input of one of our tokens.
const MESSAGE: [u8; 480] = [b'a'; 480];
const RSA_BITS: u32 = 2_048;

/// How much of a core one RSA operation takes, in microseconds; the mean of several cores.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    sign_us: f64,
    verify_us: f64,
    /// B: the most refreshes a second that all the cores together can sign and verify, `1 / (2 · sign + verify)` each.
    per_second: f64,
}

impl Bound {
    /// Measures on cores that have nothing else to do, for so long each, all at once: what one does may slow another
    /// down.
    ///
    /// # Errors
    /// Where a core does not exist or josekit refuses its own key.
    pub fn measure(cores: &[usize], each: Duration) -> io::Result<Self> {
        let measured = on_each(cores, || time_both(each).map_err(io::Error::other))?;
        let many = f64::from(u32::try_from(measured.len()).unwrap_or(1).max(1));
        let sum = |figure: fn(&Self) -> f64| measured.iter().map(figure).sum::<f64>();
        Ok(Self {
            sign_us: sum(|one| one.sign_us) / many,
            verify_us: sum(|one| one.verify_us) / many,
            per_second: sum(|one| one.per_second),
        })
    }

    /// The mean of what was measured before and after something.
    #[must_use]
    pub const fn between(self, after: Self) -> Self {
        Self {
            sign_us: f64::midpoint(self.sign_us, after.sign_us),
            verify_us: f64::midpoint(self.verify_us, after.verify_us),
            per_second: f64::midpoint(self.per_second, after.per_second),
        }
    }

    /// Tells a run what the bound was meanwhile.
    pub fn tell(self, run: &mut Run) {
        run.put(Figure::RsaSignUs, self.sign_us);
        run.put(Figure::RsaVerifyUs, self.verify_us);
        run.put(Figure::BoundPerSecond, self.per_second);
    }

    const fn of_one_core(sign_us: f64, verify_us: f64) -> Self {
        Self {
            sign_us,
            verify_us,
            per_second: 1_000_000.0 / (2.0 * sign_us + verify_us),
        }
    }
}

fn time_both(each: Duration) -> Result<Bound, JoseError> {
    let pair = RS256.generate_key_pair(RSA_BITS)?;
    let signer = RS256.signer_from_der(pair.to_der_private_key())?;
    let verifier = RS256.verifier_from_der(pair.to_der_public_key())?;
    let signature = signer.sign(&MESSAGE)?;
    let sign_us = time(each, || signer.sign(black_box(&MESSAGE)).map(drop))?;
    let verify_us = time(each, || verifier.verify(black_box(&MESSAGE), &signature))?;
    Ok(Bound::of_one_core(sign_us, verify_us))
}

/// The mean time of an operation that is repeated for so long, in microseconds of this thread's processor time: what
/// others do on the core meanwhile is not the operation's.
///
/// # Errors
/// Those of the operation.
pub fn time<E>(long: Duration, mut operation: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (start, used) = (Instant::now(), processor_time());
    let mut count = 0_u32;
    while count == 0 || start.elapsed() < long {
        operation()?;
        count += 1;
    }
    let used = processor_time().saturating_sub(used);
    Ok(used.as_secs_f64() * 1_000_000.0 / f64::from(count))
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_two_signatures_and_one_verification() {
        let mut run = Run::default();
        Bound::of_one_core(240.0, 20.0)
            .between(Bound::of_one_core(240.0, 20.0))
            .tell(&mut run);
        assert_eq!(run.figure(Figure::BoundPerSecond), Some(2_000.0));
        assert_eq!(run.figure(Figure::RsaSignUs), Some(240.0));
    }
}
