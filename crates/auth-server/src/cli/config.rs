//! `config`: what holds, where it came from, and what could be set.

use std::fs::File;
use std::sync::Arc;

use auth_jwt::KeyStore;
use auth_storage::DatabaseUrl;
use clap::Subcommand;
use serde_json::json;

use super::failure::Failure;
use super::output::{Report, Table};
use crate::compose::{self, StartError};
use crate::settings::{Key, KeyPlace, Layers, Settings, Sources, WrongSettings, reference, report};
use crate::system::SystemClock;

/// What to do about settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check all settings and the files they name, and print what holds, secrets masked
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

/// Reads what settings name and makes nothing, so that the check fails where a start would.
fn read_files(settings: &Settings) -> Result<(), Failure> {
    compose::open_certificates(&settings.listen, &SystemClock)?;
    let database = &settings.database;
    look_for_files(Key::DbUrl, Some(&database.url))?;
    look_for_files(Key::DbReadUrl, database.replica.as_ref())?;
    match &settings.keys.place {
        KeyPlace::Pair { .. } => compose::open_keys(settings, Arc::new(SystemClock)).map(drop),
        KeyPlace::Folder(folder) => {
            KeyStore::open_existing(compose::key_directory(settings, folder)).map(drop)
        }
    }
    .map_err(StartError::Keys)?;
    Ok(())
}

/// The certificates and keys of a connection to the database, which its library reads when it connects.
fn look_for_files(key: Key, url: Option<&DatabaseUrl>) -> Result<(), Failure> {
    let Some(DatabaseUrl::Postgres(url)) = url else {
        return Ok(());
    };
    for (parameter, path) in url.files() {
        File::open(&path).map_err(|error| {
            Failure::refused(format!(
                "AUTH_SERVICE__{}: {parameter} names {}, which can't be read: {error}",
                key.entry().name,
                path.display()
            ))
        })?;
    }
    Ok(())
}

fn check(sources: &Sources) -> Result<Report, Failure> {
    let settings = Settings::load_to_serve(sources)?;
    read_files(&settings)?;
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
