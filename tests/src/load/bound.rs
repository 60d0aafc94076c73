//! The bound of a refresh: two signatures and one verification are work that no server can save.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use josekit::JoseError;
use josekit::jws::RS256;
use josekit::jws::{JwsSigner, JwsVerifier};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::machine::pin_this_thread;

/// About as much as the signing input of one of our tokens.
const MESSAGE: [u8; 480] = [b'a'; 480];
const RSA_BITS: u32 = 2_048;

/// How much of a core one RSA operation takes, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bound {
    /// One signature.
    pub sign_us: f64,
    /// One verification.
    pub verify_us: f64,
}

impl Bound {
    /// Measures on a core that has nothing else to do, for so long each.
    ///
    /// # Errors
    /// Where the core does not exist or josekit refuses its own key.
    pub fn measure(core: usize, each: Duration) -> io::Result<Self> {
        let measured = std::thread::spawn(move || {
            pin_this_thread(&[core])?;
            time_both(each).map_err(io::Error::other)
        });
        measured
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the measuring thread panicked")))
    }

    /// The most refreshes a second that one core can sign and verify: `1 / (2 · sign + verify)`.
    pub fn refreshes_per_second(self) -> f64 {
        1_000_000.0 / (2.0 * self.sign_us + self.verify_us)
    }

    /// The mean of what was measured before and after something.
    #[must_use]
    pub fn between(self, after: Self) -> Self {
        Self {
            sign_us: f64::midpoint(self.sign_us, after.sign_us),
            verify_us: f64::midpoint(self.verify_us, after.verify_us),
        }
    }
}

fn time_both(each: Duration) -> Result<Bound, JoseError> {
    let pair = RS256.generate_key_pair(RSA_BITS)?;
    let signer = RS256.signer_from_der(pair.to_der_private_key())?;
    let verifier = RS256.verifier_from_der(pair.to_der_public_key())?;
    let signature = signer.sign(&MESSAGE)?;
    Ok(Bound {
        sign_us: time(each, || signer.sign(black_box(&MESSAGE)).map(drop))?,
        verify_us: time(each, || verifier.verify(black_box(&MESSAGE), &signature))?,
    })
}

/// The mean time of an operation that is repeated for so long, in microseconds of this thread's processor time: what
/// others do on the core meanwhile is not the operation's.
fn time(long: Duration, mut operation: impl FnMut() -> Result<(), JoseError>) -> Result<f64, JoseError> {
    let (start, used) = (Instant::now(), processor_time());
    let mut count = 0_u32;
    while start.elapsed() < long {
        operation()?;
        count += 1;
    }
    let used = processor_time().saturating_sub(used);
    Ok(used.as_secs_f64() * 1_000_000.0 / f64::from(count.max(1)))
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
