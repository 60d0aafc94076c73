//! A closed loop that is measured: warm-up, and runs with something by itself in between.

use std::io;
use std::time::Instant;

use super::bound::Bound;
use super::figures::{Figure, Run};
use super::options::Options;
use super::stand::{Stand, run_users};
use super::users::{Act, Doing, Target, Users};

/// Measures a stand with so many users who all do the same.
pub(super) fn measure(
    options: &Options,
    stand: &Stand,
    doing: Doing,
    connections: usize,
) -> io::Result<Vec<Run>> {
    measure_at(options, stand, doing, &stand.target(), connections)
}

/// The same with users of another kind.
pub(super) fn measure_at(
    options: &Options,
    stand: &Stand,
    doing: Doing,
    target: &Target,
    connections: usize,
) -> io::Result<Vec<Run>> {
    run_users(async {
        let mut users = Users::connect(doing, target, connections).await?;
        measure_users(options, stand, doing, &mut users).await
    })
}

/// The same with users who are there already.
pub(super) async fn measure_users(
    options: &Options,
    stand: &Stand,
    doing: Doing,
    users: &mut Users,
) -> io::Result<Vec<Run>> {
    users.go_on_until(Instant::now() + options.warm_up()).await?;
    let mut runs = Vec::with_capacity(options.runs);
    // On cores that have nothing else to do while the users wait for this.
    let mut before = Bound::measure(&stand.cores, options.rsa())?;
    for _ in 0..options.runs {
        users.stock_up().await?;
        let mut run = run_once(options, stand, users).await?;
        let after = Bound::measure(&stand.cores, options.rsa())?;
        before.between(after).tell(&mut run);
        if doing == Doing::Only(Act::Refresh) {
            run.put_ratio(
                Figure::RatioToBound,
                Figure::RequestsPerSecond,
                Figure::BoundPerSecond,
            );
        }
        runs.push(run);
        before = after;
    }
    Ok(runs)
}

/// Measures something by itself before and after each run of users, and the ratio of what they were granted to it.
pub(super) async fn measure_beside(
    options: &Options,
    stand: &Stand,
    users: &mut Users,
    mut bare_work: impl AsyncFnMut() -> io::Result<f64>,
) -> io::Result<Vec<Run>> {
    users.go_on_until(Instant::now() + options.warm_up()).await?;
    let bound = Bound::measure(&stand.cores, options.rsa())?;
    let mut runs = Vec::with_capacity(options.runs);
    let mut before = bare_work().await?;
    for _ in 0..options.runs {
        let mut run = run_once(options, stand, users).await?;
        let after = bare_work().await?;
        bound.tell(&mut run);
        run.put(Figure::RawPerSecond, f64::midpoint(before, after));
        run.put_ratio(
            Figure::RatioToRaw,
            Figure::RequestsPerSecond,
            Figure::RawPerSecond,
        );
        runs.push(run);
        before = after;
    }
    Ok(runs)
}

/// One run, with nothing beside it.
pub(super) async fn run_once(options: &Options, stand: &Stand, users: &mut Users) -> io::Result<Run> {
    let watch = stand.watch()?;
    let seen = users.go_on_until(Instant::now() + options.long()).await?;
    let mut run = Run::default();
    seen.tell(&mut run);
    watch.tell(seen.requests, seen.seconds, &mut run)?;
    Ok(run)
}
