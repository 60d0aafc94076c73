//! The older service's database: read as it is and never written, or written back on demand.
//!
//! Its tables are not ours: ids and hashes are text, times are text on one database and TIMESTAMPTZ on the other. So
//! they have a schema and types of their own. The queries stand once, as all others do.

mod catalogue;
mod postgres;
mod schema;
mod sqlite;
mod types;

use auth_domain::takeover::{LegacySink, LegacySource};

use crate::error::StoreError;
use crate::{DatabaseUrl, OpenError};

/// Opens the older service's database for reading only, at one moment: what is written there afterwards is not seen.
///
/// An SQLite file is neither changed nor touched, and nothing is left beside it.
///
/// # Errors
/// Where it can't be opened, or does not hold the older service's tables.
pub fn open_source(url: &DatabaseUrl) -> Result<Box<dyn LegacySource>, OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => sqlite::open_source(path)
            .map(|source| Box::new(source) as Box<dyn LegacySource>)
            .map_err(|error| failed(url, error)),
        DatabaseUrl::Postgres(server) => postgres::open_source(server)
            .map(|source| Box::new(source) as Box<dyn LegacySource>)
            .map_err(|error| failed(url, error)),
    }
}

/// Opens a database of the older service for writing back; makes its file and its tables where they are missing.
///
/// # Errors
/// Where it can't be opened or written.
pub fn open_sink(url: &DatabaseUrl) -> Result<Box<dyn LegacySink>, OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            // Who may read a file that is there is the older service's business; a new one is private.
            if !path.exists() {
                crate::sqlite::prepare_file(path)?;
            }
            sqlite::open_sink(path)
                .map(|sink| Box::new(sink) as Box<dyn LegacySink>)
                .map_err(|error| failed(url, error))
        }
        DatabaseUrl::Postgres(server) => postgres::open_sink(server)
            .map(|sink| Box::new(sink) as Box<dyn LegacySink>)
            .map_err(|error| failed(url, error)),
    }
}

/// Why it can't be opened.
enum Fault {
    /// It can't be used.
    Store(StoreError),
    /// It is something else.
    Stranger(String),
}

impl<E: Into<StoreError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

fn failed(url: &DatabaseUrl, fault: Fault) -> OpenError {
    let database = url.to_string();
    match fault {
        Fault::Store(source) => OpenError::Database {
            database,
            source: Box::new(source),
        },
        Fault::Stranger(what) => OpenError::NotLegacy { database, what },
    }
}

/// The object that a row's `event_data` is kept as. What is none is put into one, so that nothing is lost.
fn event_object(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "{}".to_owned();
    };
    let object = match serde_json::from_str(text) {
        Ok(serde_json::Value::Null) => return "{}".to_owned(),
        Ok(object @ serde_json::Value::Object(_)) => object,
        Ok(other) => serde_json::json!({ "legacy": other }),
        Err(_) => serde_json::json!({ "legacy": text }),
    };
    // JSONB knows no NUL.
    object.to_string().replace("\\u0000", "\\ufffd")
}

/// The texts of a JSON array; `None` where it is none.
fn grants(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// A JSON array as the older service wrote it.
fn grants_text(grants: &[String]) -> String {
    let quoted: Vec<_> = grants
        .iter()
        .map(|grant| serde_json::Value::from(grant.as_str()).to_string())
        .collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, "{}")]
    #[case(Some("null"), "{}")]
    #[case(Some(r#"{"scope": "api:read"}"#), r#"{"scope":"api:read"}"#)]
    #[case(Some("[1]"), r#"{"legacy":[1]}"#)]
    #[case(Some("not JSON"), r#"{"legacy":"not JSON"}"#)]
    #[case(Some(r#"{"a":"\u0000"}"#), r#"{"a":"\ufffd"}"#)]
    fn event_data_is_an_object_and_nothing_of_it_is_lost(#[case] text: Option<&str>, #[case] kept: &str) {
        assert_eq!(event_object(text), kept);
    }

    #[test]
    fn grants_are_written_as_they_were_read() {
        let text = r#"["password", "refresh_token"]"#;
        assert_eq!(grants_text(&grants(text).unwrap()), text);
        assert_eq!(grants("password"), None);
        assert_eq!(grants("[1]"), None);
    }
}
