//! Work on cores that are named.

use std::io;
use std::thread;

use super::machine::pin_this_thread;

/// Does the same work on each of some cores at once, each in a thread of its own.
///
/// # Errors
/// Where a core does not exist, and those of the work.
pub(super) fn on_each<T: Send>(
    cores: &[usize],
    work: impl Fn() -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let bound_to = |core: usize| {
        pin_this_thread(&[core])?;
        work()
    };
    thread::scope(|scope| {
        let working: Vec<_> = cores.iter().map(|core| scope.spawn(|| bound_to(*core))).collect();
        working
            .into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            })
            .collect()
    })
}
