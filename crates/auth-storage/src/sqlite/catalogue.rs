//! What a database is made of, held against what this program makes.
//!
//! A file from elsewhere may bring triggers and views. They would run within this program from then on, undo
//! revocations, say, and no new password and no new key would be rid of them. So a file counts as one of this program's
//! only where its catalogue is what the migrations of its version leave behind, word for word.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::{Conn, migrations};
use crate::migrations::BoxError;

diesel::table! {
    /// SQLite's own catalogue.
    sqlite_schema (name) {
        #[sql_name = "type"]
        kind -> Text,
        name -> Text,
        tbl_name -> Text,
        sql -> Nullable<Text>,
    }
}

/// A table, an index, a view or a trigger.
#[derive(Queryable, PartialEq, Eq)]
struct Part {
    kind: String,
    name: String,
    table: String,
    sql: Option<String>,
}

/// The first thing that makes a database another one than migrations up to these versions do. `uri` is opened without
/// running anything that stands in the file.
pub(super) fn fault_in(uri: &str, versions: &[String]) -> Result<Option<String>, BoxError> {
    let mut file = Conn::establish(uri)?;
    file.batch_execute("PRAGMA trusted_schema = OFF; PRAGMA query_only = ON;")?;
    let found = parts_of(&mut file)?;
    let mut made = Conn::establish(":memory:")?;
    migrations::apply(&mut made, versions)?;
    Ok(difference(&found, &parts_of(&mut made)?))
}

fn parts_of(conn: &mut Conn) -> QueryResult<Vec<Part>> {
    sqlite_schema::table.load(conn)
}

fn difference(found: &[Part], made: &[Part]) -> Option<String> {
    let stranger = found.iter().find(|part| !made.contains(part));
    if let Some(part) = stranger {
        let is_known = made
            .iter()
            .any(|own| (&own.kind, &own.name) == (&part.kind, &part.name));
        return Some(if is_known {
            format!("its {} is not as this program makes it", named(part))
        } else {
            format!("it has the {}, which this program does not make", named(part))
        });
    }
    let missing = made.iter().find(|part| !found.contains(part));
    if let Some(part) = missing {
        return Some(format!("its {} is missing", named(part)));
    }
    (found.len() != made.len()).then(|| "its catalogue names something twice".to_owned())
}

/// What it is called; a name from elsewhere does nothing to a terminal.
fn named(part: &Part) -> String {
    format!("{} {}", part.kind.escape_debug(), part.name.escape_debug())
}
