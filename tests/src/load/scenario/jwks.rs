//! The key set, beside what the framework by itself serves on the same core.

use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use actix_web::{App, HttpResponse, HttpServer, web};
use clap::Args;

use crate::http::Http;
use crate::load::closed;
use crate::load::cores::on_each;
use crate::load::figures::{Case, Figure, float, median};
use crate::load::options::Options;
use crate::load::process::Usage;
use crate::load::results::{Outcome, Scenario};
use crate::load::stand::{CLOSED_LOOP, Stand, run_users};
use crate::load::users::{Act, Doing, Target, Users};

/// The hidden subcommand that is the framework by itself.
pub const BARE_SERVER: &str = "bare-server";

/// Who has more of a core than this is its limit.
const BUSY: f64 = 0.95;

/// Fetches of the key set a second, and their ratio to what the bare framework serves on the same core
#[derive(Debug, Clone, Args)]
pub struct Jwks {
    /// How many connections; may be given several times
    #[arg(long, value_delimiter = ',', default_values_t = [64])]
    connections: Vec<usize>,
    #[command(flatten)]
    options: Options,
}

/// Serves so many bytes at every path, and does nothing else
#[derive(Debug, Clone, Copy, Args)]
pub struct BareServer {
    /// The length of the body
    #[arg(long)]
    bytes: usize,
}

impl Scenario for Jwks {
    fn name(&self) -> &'static str {
        "jwks"
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn load(&self) -> [String; 2] {
        [
            CLOSED_LOOP.to_owned(),
            "nothing is written; metrics and log on".to_owned(),
        ]
    }

    fn measure(&self) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        for connections in &self.connections {
            let stand = Stand::start(&self.options)?;
            let case = self.measure_one(&stand, *connections)?;
            stand.stop()?;
            let generator = case.highest.get(&Figure::GeneratorShareOfCore);
            if generator.is_some_and(|share| *share > BUSY) {
                outcome.notes.push(format!(
                    "{}: the generator was as busy as the server; the ratio of the processor times says more than that of \
                     the rates",
                    case.name
                ));
            }
            outcome.cases.push(case);
        }
        Ok(outcome)
    }
}

impl Jwks {
    fn measure_one(&self, stand: &Stand, connections: usize) -> io::Result<Case> {
        let target = stand.target();
        let bare = Bare::start(length_of_the_key_set(&target)?, self.options.server_core)?;
        let doing = Doing::Only(Act::Jwks);
        let mut micros = Vec::new();
        let runs = run_users(async {
            let mut users = Users::connect(doing, &target, connections).await?;
            let mut of_bare = Users::connect(doing, &Target::of(bare.address), connections).await?;
            of_bare
                .go_on_until(Instant::now() + self.options.warm_up())
                .await?;
            let bare_work = async || {
                let before = Usage::of(bare.child.id())?.cpu;
                let seen = of_bare.go_on_until(Instant::now() + self.options.long()).await?;
                let used = Usage::of(bare.child.id())?.cpu.saturating_sub(before);
                micros.push(used.as_secs_f64() * 1_000_000.0 / float(seen.requests.max(1)));
                Ok(seen.per_second())
            };
            closed::measure_beside(&self.options, stand, &mut users, bare_work).await
        })?;
        let mut case = Case::of(format!("{connections} connections"), connections, runs);
        case.put(Figure::RawCpuUsEach, median(micros));
        Ok(case)
    }
}

fn length_of_the_key_set(target: &Target) -> io::Result<usize> {
    let address = target
        .addresses
        .first()
        .ok_or_else(|| io::Error::other("no server"))?;
    let answer = Http::new(address)
        .get("/.well-known/jwks.json")
        .map_err(io::Error::other)?;
    Ok(answer.body.len())
}

/// The framework by itself, in a process of its own.
struct Bare {
    child: Child,
    address: SocketAddr,
}

impl Bare {
    fn start(bytes: usize, core: usize) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let spawned = on_each(&[core], || {
            Command::new(&program)
                .args([BARE_SERVER, "--bytes", &bytes.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        })?;
        let mut child = spawned
            .into_iter()
            .next()
            .ok_or_else(|| io::Error::other("no process"))?;
        let mut line = String::new();
        if let Some(printed) = child.stdout.take() {
            BufReader::new(printed).read_line(&mut line)?;
        }
        let address = line.trim().parse();
        address
            .map(|address| Self { child, address })
            .map_err(io::Error::other)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It keeps nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl BareServer {
    /// Serves until it is killed, and says on standard output where.
    ///
    /// # Errors
    /// Where it can't listen.
    pub fn serve(self) -> io::Result<()> {
        let body = web::Bytes::from(vec![b'a'; self.bytes]);
        let server = HttpServer::new(move || {
            let body = body.clone();
            let answer = move || {
                let body = body.clone();
                async move { HttpResponse::Ok().content_type("application/json").body(body) }
            };
            App::new().default_service(web::to(answer))
        });
        let server = server.workers(1).bind((Ipv4Addr::LOCALHOST, 0))?;
        for address in server.addrs() {
            crate::scale::say(&address.to_string());
        }
        actix_web::rt::System::new().block_on(server.run())
    }
}
