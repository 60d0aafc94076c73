//! `config`: what holds, where it came from, and what could be set.

use clap::Subcommand;
use serde_json::json;

use super::failure::Failure;
use super::output::{Report, Table};
use crate::settings::{Layers, Settings, Sources, WrongSettings, reference, report};

/// What to do about settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check all settings and print what holds, secrets masked
    Check,
    /// Print every setting there is, as Markdown, or with --json as an array
    Reference,
}

/// Carries it out.
///
/// # Errors
/// Everything that is wrong with the settings.
pub(super) fn run(command: &ConfigCommand, sources: &Sources) -> Result<Report, Failure> {
    match command {
        ConfigCommand::Check => check(sources),
        ConfigCommand::Reference => {
            let text = reference::markdown();
            Ok(Report::new(text.trim_end(), json!(reference::views())))
        }
    }
}

fn check(sources: &Sources) -> Result<Report, Failure> {
    let settings = Settings::load_to_serve(sources)?;
    let layers = Layers::read(sources).map_err(WrongSettings)?;
    let lines = report::effective(&layers);
    let mut table = Table::new(&["setting", "value", "source"]);
    for line in &lines {
        let value = line.value.clone().unwrap_or_else(|| "-".to_owned());
        table.row([line.name.to_owned(), value, line.source.clone()]);
    }
    let warnings: Vec<_> = settings.warnings.iter().map(ToString::to_string).collect();
    let mut people = table.to_string();
    for warning in &warnings {
        people.push_str("\nwarning: ");
        people.push_str(warning);
    }
    Ok(Report::new(
        people,
        json!({ "settings": lines, "warnings": warnings }),
    ))
}
