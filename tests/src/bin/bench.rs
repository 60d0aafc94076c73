//! The benchmark: measures the server on this machine, beside the machine's own speed at the same work.

use std::io::{self, Write as _};
use std::process::ExitCode;

use auth_e2e::load::all::All;
use auth_e2e::load::goals::{is_judged, missed};
use auth_e2e::load::report::Report;
use auth_e2e::load::results::{Results, Scenario};
use auth_e2e::load::scenario::cores::Cores;
use auth_e2e::load::scenario::half_load::HalfLoad;
use auth_e2e::load::scenario::instances::Instances;
use auth_e2e::load::scenario::introspect::Introspect;
use auth_e2e::load::scenario::jwks::{BareServer, Jwks};
use auth_e2e::load::scenario::login::Login;
use auth_e2e::load::scenario::mixed::Mixed;
use auth_e2e::load::scenario::refresh::Refresh;
use auth_e2e::load::scenario::refresh_pg::RefreshPg;
use auth_e2e::load::scenario::rest::Rest;
use auth_e2e::load::scenario::revoke::Revoke;
use auth_e2e::load::scenario::saturation::Saturation;
use auth_e2e::load::scenario::scale::Scale;
use auth_e2e::load::scenario::storm::Storm;
use clap::{Parser, Subcommand};

/// Measures the server on one core, its users on another: requests a second, latencies, processor time and bytes written
/// for each request, and the ratio to what the machine can do by itself at the same minute. Without a subcommand: refresh.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    refresh: Refresh,
}

#[derive(Debug, Subcommand)]
enum What {
    Refresh(Refresh),
    RefreshPg(RefreshPg),
    Login(Login),
    Jwks(Jwks),
    Revoke(Revoke),
    Introspect(Introspect),
    Mixed(Mixed),
    Storm(Storm),
    Scale(Scale),
    Instances(Instances),
    Saturation(Saturation),
    HalfLoad(HalfLoad),
    Cores(Cores),
    Rest(Rest),
    All(All),
    Report(Report),
    #[command(hide = true)]
    BareServer(BareServer),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.what {
        None => measure(&arguments.refresh),
        Some(What::Refresh(refresh)) => measure(refresh),
        Some(What::RefreshPg(refresh)) => measure(refresh),
        Some(What::Login(login)) => measure(login),
        Some(What::Jwks(jwks)) => measure(jwks),
        Some(What::Revoke(revoke)) => measure(revoke),
        Some(What::Introspect(introspect)) => measure(introspect),
        Some(What::Mixed(mixed)) => measure(mixed),
        Some(What::Storm(storm)) => measure(storm),
        Some(What::Scale(scale)) => measure(scale),
        Some(What::Instances(instances)) => measure(instances),
        Some(What::Saturation(saturation)) => measure(saturation),
        Some(What::HalfLoad(half_load)) => measure(half_load),
        Some(What::Cores(cores)) => measure(cores),
        Some(What::Rest(rest)) => measure(rest),
        Some(What::All(all)) => all.measure(),
        Some(What::Report(report)) => report.write().map(|()| ExitCode::SUCCESS),
        Some(What::BareServer(server)) => server.serve().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Nobody is left to tell if this fails too.
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}

/// Measures a scenario, says what it came to, and keeps it where that is asked for.
fn measure(scenario: &dyn Scenario) -> io::Result<ExitCode> {
    let results = Results::of(scenario)?;
    write!(io::stdout(), "{results}")?;
    if let Some(file) = &scenario.options().json {
        results.write(file)?;
    }
    let missed = missed(&results);
    for goal in &missed {
        writeln!(io::stdout(), "missed: {goal}")?;
    }
    if !scenario.options().strict {
        return Ok(ExitCode::SUCCESS);
    }
    if !is_judged(&results) {
        writeln!(io::stdout(), "not judged: no case that was measured has a goal")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
