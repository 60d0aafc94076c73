//! A flood of sign-ins, and what those notice of it who are signed in already.
//!
//! Refreshes and fetches of the key set go on at a steady rate, by turns by themselves and beside a flood of several times
//! as many sign-ins as the server can hash. No rate depends on the answers (an open loop): whoever is answered late is
//! seen to have waited.

use std::io;
use std::time::Instant;

use clap::Args;

use crate::load::crowd::{Crowd, Paced};
use crate::load::figures::{Case, Figure, Run};
use crate::load::options::Options;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{DURABILITY, Stand, run_users};
use crate::load::users::{Act, Doing, Users};

/// The case of refreshes under the flood.
pub const REFRESH: &str = "refresh, under the flood";
/// The case of fetches of the key set under the flood.
pub const KEY_SET: &str = "key set, under the flood";
/// The case of the flood.
pub const SIGN_INS: &str = "sign-ins of the flood";
/// How many times what the server can hash is asked of it.
const EXCESS: f64 = 4.0;
/// How many sign-ins at once show what the server can hash: few enough that none is turned away.
const SOUNDING: usize = 4;

/// Refreshes and fetches of the key set at a steady rate, by turns without and with a flood of four times as many sign-ins
/// as the server can hash
#[derive(Debug, Clone, Args)]
pub struct Storm {
    /// How often the quiet and the flood are measured, by turns; each is summed up over all of them
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Refreshes a second, and as many fetches of the key set
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How many users refresh, and as many fetch the key set
    #[arg(long, default_value_t = 64)]
    users: usize,
    /// Over how many connections the flood comes
    #[arg(long, default_value_t = 256)]
    flood: usize,
    /// Hold the server to its core; else it has all there are
    #[arg(long)]
    one_core: bool,
    #[command(flatten)]
    options: Options,
}

/// Everybody there is.
struct Everybody {
    refreshing: Crowd,
    fetching: Crowd,
    signing_in: Crowd,
}

/// What was seen of one kind of weather, over all rounds.
struct Log {
    refresh: Paced,
    key_set: Paced,
    login: Paced,
    others: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Quiet,
    Flood,
}

impl Scenario for Storm {
    fn name(&self) -> &'static str {
        "storm"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        let load = format!(
            "open loop: {0} refreshes/s and {0} fetches of the key set/s, by turns without and with sign-ins of {EXCESS} \
             times what is hashed by itself; latency from when each request was due",
            self.rate
        );
        [load, DURABILITY.to_owned()]
    }

    fn cores(&self) -> [Vec<usize>; 2] {
        let all = std::thread::available_parallelism().map_or(1, Into::into);
        let server = if self.one_core {
            vec![self.options.server_core]
        } else {
            (0..all).collect()
        };
        [server, vec![self.options.users_core]]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let [cores, _] = self.cores();
        // One worker, wherever it is: the flood is to be felt.
        let installation = crate::load::stand::installation(&self.options, &cores);
        let installation = installation.with("AUTH_SERVICE__WORKERS", "1");
        let installation = crate::load::stand::with_settings(installation, &self.options);
        let stand = Stand::of(&self.options, cores, vec![installation], None)?;
        let outcome = run_users(self.observe(&stand));
        stand.stop()?;
        outcome
    }
}

impl Storm {
    async fn observe(&self, stand: &Stand) -> io::Result<Outcome> {
        let capacity = self.capacity(stand).await?;
        let mut everybody = self.everybody(stand, capacity * EXCESS).await?;
        let (mut quiet, mut flood) = (Log::new()?, Log::new()?);
        // What is first done for each user is dearer, and not measured.
        self.observe_once(stand, &mut everybody, Weather::Flood, &mut Log::new()?)
            .await?;
        for _ in 0..self.rounds {
            self.observe_once(stand, &mut everybody, Weather::Quiet, &mut quiet)
                .await?;
            self.observe_once(stand, &mut everybody, Weather::Flood, &mut flood)
                .await?;
        }
        let (mut cases, mut notes) = (Vec::new(), Vec::new());
        for (name, of_quiet, of_flood) in [
            ("refresh", &quiet.refresh, &flood.refresh),
            ("key set", &quiet.key_set, &flood.key_set),
        ] {
            cases.extend(self.compared(name, (of_quiet, quiet.others), (of_flood, flood.others))?);
        }
        let mut login = Run::default().with(Figure::RawPerSecond, capacity);
        flood.login.tell(&mut login)?;
        cases.push(Case::once(SIGN_INS, self.flood, login));
        if flood.login.turned_away.is_empty() {
            notes.push("nobody was turned away: this was no flood".to_owned());
        }
        Ok(Outcome {
            cases,
            notes,
            postgresql: None,
        })
    }

    /// What was seen of one kind of request in both kinds of weather, each with the share that others had of the cores.
    fn compared(&self, name: &str, quiet: (&Paced, f64), flood: (&Paced, f64)) -> io::Result<[Case; 2]> {
        let rounds = f64::from(self.rounds.max(1));
        let run = |(seen, others): (&Paced, f64)| {
            let mut run = Run::default().with(Figure::OthersShare, others / rounds);
            run.is_disturbed = others / rounds > crate::load::figures::OTHERS_AT_MOST;
            seen.tell(&mut run).map(|()| run)
        };
        let (quiet, mut flood) = (run(quiet)?, run(flood)?);
        if let (Some(quiet), Some(under)) = (quiet.figure(Figure::P99Ms), flood.figure(Figure::P99Ms)) {
            flood.put(Figure::P99OverQuiet, under / quiet);
        }
        Ok([
            Case::once(format!("{name}, quiet"), self.users, quiet),
            Case::once(format!("{name}, under the flood"), self.users, flood),
        ])
    }

    async fn capacity(&self, stand: &Stand) -> io::Result<f64> {
        let mut users = Users::connect(Doing::Only(Act::Login), &stand.target(), SOUNDING).await?;
        let seen = users.go_on_until(Instant::now() + self.options.long()).await?;
        Ok(seen.per_second())
    }

    async fn everybody(&self, stand: &Stand, flood: f64) -> io::Result<Everybody> {
        let (target, rate) = (stand.target(), f64::from(self.rate));
        let crowd = async |act, count, rate| Crowd::connect(Doing::Only(act), &target, count, rate).await;
        Ok(Everybody {
            refreshing: crowd(Act::Refresh, self.users, rate).await?,
            fetching: crowd(Act::Jwks, self.users, rate).await?,
            signing_in: crowd(Act::Login, self.flood, flood).await?,
        })
    }

    /// Lets everybody go on for a while, those who sign in only in a flood.
    async fn observe_once(
        &self,
        stand: &Stand,
        everybody: &mut Everybody,
        weather: Weather,
        log: &mut Log,
    ) -> io::Result<()> {
        let start = Instant::now();
        let until = start + self.options.long();
        let flood_until = match weather {
            Weather::Flood => until,
            Weather::Quiet => start,
        };
        let watch = stand.watch()?;
        let (refresh, key_set, login) = tokio::join!(
            everybody.refreshing.go_on_until(until),
            everybody.fetching.go_on_until(until),
            everybody.signing_in.go_on_until(flood_until),
        );
        let (refresh, key_set, login) = (refresh?, key_set?, login?);
        let mut used = Run::default();
        watch.tell(refresh.answered(), start.elapsed().as_secs_f64(), &mut used)?;
        if refresh.turned_away.len() + key_set.turned_away.len() > 0 {
            return Err(io::Error::other("somebody who is signed in was turned away"));
        }
        log.refresh.add(&refresh)?;
        log.key_set.add(&key_set)?;
        log.login.add(&login)?;
        log.others += used.figure(Figure::OthersShare).unwrap_or_default();
        Ok(())
    }
}

impl Log {
    fn new() -> io::Result<Self> {
        Ok(Self {
            refresh: Paced::new()?,
            key_set: Paced::new()?,
            login: Paced::new()?,
            others: 0.0,
        })
    }
}
