//! `health`: asks a running server how it is; for people and for container health checks.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Ending, Report, fields};
use super::serve::callable;
use crate::settings::Settings;

/// A server that takes longer is not healthy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which server to ask.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// The server's base URL [default: the address of the settings]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Asks.
///
/// # Errors
/// Where nobody answers, or what answers is not this server.
pub(super) fn run(arguments: &HealthArguments, settings: &Settings) -> Result<Report, Failure> {
    let base = arguments
        .url
        .clone()
        .unwrap_or_else(|| format!("http://{}", callable(settings.listen.address())));
    let url = format!("{}/health", base.trim_end_matches('/'));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(&url).call().map_err(|error| {
        Failure::of(&format!("ask {url}"), &error)
            .advise("Is the server running? `auth-service serve` starts it.")
    })?;
    let status = answer.status().as_u16();
    let body: Value = answer
        .body_mut()
        .read_json()
        .map_err(|error| Failure::of(&format!("read the answer of {url}"), &error))?;
    Ok(report(status, &body))
}

fn report(status: u16, body: &Value) -> Report {
    let member = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let people = fields(&[
        ("status", member("status")),
        ("version", member("version")),
        ("database", member("database")),
        ("redis", member("redis")),
    ]);
    Report {
        ending: if status == 200 { Ending::Good } else { Ending::Bad },
        ..Report::new(people, json!({ "http_status": status, "health": body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_loopback() {
        let ask = |address: &str| callable(address.parse().unwrap()).to_string();
        assert_eq!(ask("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(ask("[::]:1"), "[::1]:1");
        assert_eq!(ask("192.0.2.1:1"), "192.0.2.1:1");
    }

    #[test]
    fn only_status_200_is_good() {
        assert_eq!(report(200, &json!({"status": "healthy"})).ending, Ending::Good);
        assert_eq!(report(503, &json!({"status": "unhealthy"})).ending, Ending::Bad);
    }
}
