//! A row of the audit trail, as people and programs are shown it.

use std::collections::HashMap;

use auth_domain::id::UserId;
use auth_domain::ports::UserKey;
use auth_domain::ports::admin::AuditEntry;
use serde::Serialize;
use serde_json::Value;

use crate::cli::desk::Desk;
use crate::cli::failure::Failure;
use crate::cli::output::{exact_moment, json_line};

/// A row for programs, by the names of the table's columns.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    id: String,
    created_at: String,
    event_type: &'a str,
    success: bool,
    user_id: Option<UserId>,
    client_id: Option<&'a str>,
    ip_address: Option<&'a str>,
    user_agent: Option<&'a str>,
    correlation_id: &'a str,
    error_message: Option<&'a str>,
    event_data: Value,
}

impl<'a> From<&'a AuditEntry> for Row<'a> {
    fn from(entry: &'a AuditEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            created_at: exact_moment(entry.at),
            event_type: &entry.event_type,
            success: entry.success,
            user_id: entry.user_id,
            client_id: entry.client_id.as_deref(),
            ip_address: entry.ip.as_deref(),
            user_agent: entry.user_agent.as_deref(),
            correlation_id: &entry.correlation_id,
            error_message: entry.error_message.as_deref(),
            event_data: data(entry),
        }
    }
}

/// The names of a row's members and of the columns of CSV, in their order.
pub(super) const COLUMNS: [&str; 11] = [
    "id",
    "created_at",
    "event_type",
    "success",
    "user_id",
    "client_id",
    "ip_address",
    "user_agent",
    "correlation_id",
    "error_message",
    "event_data",
];

impl Row<'_> {
    /// The row as one line of JSON.
    ///
    /// # Errors
    /// Where it can't be said in JSON.
    pub(super) fn line(&self) -> Result<String, Failure> {
        json_line(self).map_err(|error| Failure::of("write an event as JSON", &error))
    }

    /// The row's values in the order of [`COLUMNS`], as they are.
    ///
    /// # Errors
    /// Where what is particular to the event can't be said in JSON.
    pub(super) fn cells(&self) -> Result<[String; 11], Failure> {
        let data =
            json_line(&self.event_data).map_err(|error| Failure::of("write an event as JSON", &error))?;
        let text = |optional: Option<&str>| optional.unwrap_or_default().to_owned();
        Ok([
            self.id.clone(),
            self.created_at.clone(),
            self.event_type.to_owned(),
            self.success.to_string(),
            self.user_id.map(|user| user.to_string()).unwrap_or_default(),
            text(self.client_id),
            text(self.ip_address),
            text(self.user_agent),
            self.correlation_id.to_owned(),
            text(self.error_message),
            data,
        ])
    }
}

/// What is particular to the event. A text that is no JSON, which the database's own check keeps out, stays a text.
fn data(entry: &AuditEntry) -> Value {
    serde_json::from_str(&entry.event_data).unwrap_or_else(|_| Value::String(entry.event_data.clone()))
}

/// The cells of a row for people.
pub(super) fn row_of_table(entry: &AuditEntry, user: Option<String>) -> [String; 7] {
    let result = if entry.success { "ok" } else { "failed" };
    [
        exact_moment(entry.at),
        entry.event_type.clone(),
        result.to_owned(),
        user.map_or_else(|| "-".to_owned(), |name| quoted(&name)),
        entry.client_id.as_deref().map_or_else(|| "-".to_owned(), quoted),
        entry.ip.clone().unwrap_or_else(|| "-".to_owned()),
        details(&data(entry)),
    ]
}

/// What is particular to the event, in pairs.
fn details(data: &Value) -> String {
    let Value::Object(members) = data else {
        return data.to_string();
    };
    let pairs: Vec<_> = members
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={}", quoted(text)),
            other => format!("{name}={other}"),
        })
        .collect();
    pairs.join(" ")
}

/// The text in quotation marks, unless it is a word that could not be taken for anything else in its line.
fn quoted(text: &str) -> String {
    let is_word = |character: char| character.is_alphanumeric() || "-_.:@+/".contains(character);
    if !text.is_empty() && text.chars().all(is_word) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// The names of users, each asked for once.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<UserId, String>,
}

/// So many names are remembered; a longer list of users begins anew.
const MAX_NAMES: usize = 10_000;

impl Names {
    /// The name of a user; the id, where the user is gone.
    ///
    /// # Errors
    /// Where the store can't be asked.
    pub(super) async fn of(&mut self, desk: &Desk, user: Option<UserId>) -> Result<Option<String>, Failure> {
        let Some(user) = user else {
            return Ok(None);
        };
        if let Some(name) = self.known.get(&user) {
            return Ok(Some(name.clone()));
        }
        let found = desk.store.user_directory.find(&UserKey::Id(user)).await?;
        let name = found.map_or_else(|| user.to_string(), |found| found.username.as_str().to_owned());
        if self.known.len() >= MAX_NAMES {
            self.known.clear();
        }
        self.known.insert(user, name.clone());
        Ok(Some(name))
    }
}

#[cfg(test)]
mod tests {
    use auth_domain::id::RowId;
    use auth_domain::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn entry(event_data: &str) -> AuditEntry {
        AuditEntry {
            id: RowId::from_uuid(Uuid::from_u128(1)),
            at: Timestamp::from_micros(5),
            event_type: "login_failed".to_owned(),
            event_data: event_data.to_owned(),
            user_id: None,
            client_id: Some("app".to_owned()),
            ip: None,
            user_agent: None,
            correlation_id: "c".to_owned(),
            success: false,
            error_message: Some("unknown_user".to_owned()),
        }
    }

    #[test]
    fn a_value_can_not_pass_for_another_pair_of_its_line() {
        let forged = entry(r#"{"reason":"unknown_user","login":"x reason=\"good\" ","n":1}"#);
        let cells = row_of_table(&forged, Some("ann  ok".to_owned()));
        assert_eq!(
            cells,
            [
                "1970-01-01T00:00:00.000005Z",
                "login_failed",
                "failed",
                "\"ann  ok\"",
                "app",
                "-",
                r#"reason=unknown_user login="x reason=\"good\" " n=1"#
            ]
        );
    }

    #[test]
    fn members_and_columns_have_the_same_names_in_the_same_order() {
        let entry = entry("{}");
        let line = Row::from(&entry).line().unwrap();
        let mut rest = &*line;
        for column in COLUMNS {
            let (_, after) = rest.split_once(&format!("\"{column}\":")).unwrap();
            rest = after;
        }
        let members: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(members.as_object().unwrap().len(), COLUMNS.len());
        assert_eq!(members["event_data"], serde_json::json!({}));
    }

    #[test]
    fn data_that_are_no_json_stay_a_text() {
        let entry = entry("{ broken");
        assert_eq!(Row::from(&entry).event_data, "{ broken");
        assert_eq!(details(&data(&entry)), "\"{ broken\"");
    }
}
