//! Whose a database is, by the names of its tables and columns: looked at before anything is read or written.

use std::collections::{HashMap, HashSet};

use diesel::QueryableByName;
use diesel::sql_types::Text;

use super::Fault;
use super::schema::COLUMNS;

/// The table that only a database of this program has.
const OF_THIS_PROGRAM: &str = "__diesel_schema_migrations";

/// A column of a table.
#[derive(QueryableByName)]
pub(in crate::legacy) struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
}

/// What a database is made of.
pub(in crate::legacy) struct Catalogue(HashMap<String, HashSet<String>>);

impl Catalogue {
    /// A catalogue of all its columns.
    pub(in crate::legacy) fn of(columns: Vec<Column>) -> Self {
        let mut tables: HashMap<String, HashSet<String>> = HashMap::new();
        for column in columns {
            tables
                .entry(column.table_name)
                .or_default()
                .insert(column.column_name);
        }
        Self(tables)
    }

    /// Refuses what is not the older service's: all of its tables have to be there.
    pub(in crate::legacy) fn check(&self) -> Result<(), Fault> {
        self.check_owner()?;
        let missing: Vec<_> = COLUMNS
            .iter()
            .map(|(table, _)| *table)
            .filter(|table| !self.0.contains_key(*table))
            .collect();
        if !missing.is_empty() {
            return Err(Fault::Stranger(format!(
                "it lacks the tables {}",
                missing.join(", ")
            )));
        }
        self.check_columns()
    }

    /// Refuses what belongs to somebody else. Tables may be missing, and are made then.
    pub(in crate::legacy) fn check_what_is_there(&self) -> Result<(), Fault> {
        self.check_owner()?;
        self.check_columns()
    }

    fn check_owner(&self) -> Result<(), Fault> {
        if self.0.contains_key(OF_THIS_PROGRAM) {
            return Err(Fault::Stranger(
                "it is a database of this program, perhaps the one that DB_URL names".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_columns(&self) -> Result<(), Fault> {
        let mut missing = Vec::new();
        for (table, columns) in COLUMNS {
            let Some(there) = self.0.get(table) else { continue };
            let absent = columns.iter().filter(|column| !there.contains(**column));
            missing.extend(absent.map(|column| format!("{table}.{column}")));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Fault::Stranger(format!(
            "it lacks the columns {}",
            missing.join(", ")
        )))
    }
}
