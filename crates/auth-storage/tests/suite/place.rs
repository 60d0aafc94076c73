//! A place for a database of either kind, for what must hold on both.

use std::sync::Arc;

use auth_storage::{DatabaseUrl, Migrations, Store, StoreOptions};
use auth_testkit::contract::stage::Stage;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::file::{File, stage_over};
use crate::postgres::Shared;

/// The kinds of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A database of a test's own; its copies are of the same one.
#[derive(Clone)]
pub(crate) enum Place {
    File(Arc<File>),
    Server(Arc<Shared>),
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Place {
    /// One without any table.
    pub(crate) fn unmigrated(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::File(Arc::new(File::unmigrated())),
            Kind::Postgres => Self::Server(Arc::new(Shared::unmigrated())),
        }
    }

    /// One with the schema of this version.
    pub(crate) fn migrated(kind: Kind) -> Self {
        let place = Self::unmigrated(kind);
        place
            .migrations()
            .up()
            .expect("an empty database takes the schema");
        place
    }

    pub(crate) fn url(&self) -> DatabaseUrl {
        match self {
            Self::File(file) => file.url(),
            Self::Server(database) => database.url(),
        }
    }

    pub(crate) fn migrations(&self) -> Migrations {
        Migrations::of(&self.url())
    }

    pub(crate) fn open(&self) -> Store {
        auth_storage::open(&self.url(), None, StoreOptions::default()).expect("the database opens")
    }

    pub(crate) fn stage(&self, store: &Store) -> Stage {
        match self {
            Self::File(file) => stage_over(store, Arc::clone(file) as _),
            Self::Server(database) => stage_over(store, Arc::clone(database) as _),
        }
    }

    /// What a query, whose one column is called `line`, finds past the store.
    pub(crate) fn lines(&self, sql: &str) -> Vec<String> {
        let query = diesel::sql_query(sql.to_owned());
        let lines: Vec<Line> = match self {
            Self::File(file) => {
                let path = file.path();
                let name = path.to_str().expect("a temporary path is UTF-8");
                query.load(&mut SqliteConnection::establish(name).expect("the file opens"))
            }
            Self::Server(database) => query.load(&mut database.connect()),
        }
        .expect("the query is good");
        lines.into_iter().map(|line| line.line).collect()
    }

    /// Runs a statement past the store.
    pub(crate) fn change(&self, sql: &str) {
        let statement = diesel::sql_query(sql.to_owned());
        match self {
            Self::File(file) => {
                let path = file.path();
                let name = path.to_str().expect("a temporary path is UTF-8");
                statement.execute(&mut SqliteConnection::establish(name).expect("the file opens"))
            }
            Self::Server(database) => statement.execute(&mut database.connect()),
        }
        .expect("the statement is good");
    }

    /// All that the database says it holds, in its own words, but for the record of migrations.
    pub(crate) fn catalogue(&self) -> Vec<String> {
        self.lines(match self {
            Self::File(_) => {
                "SELECT name || ': ' || coalesce(sql, '') AS line FROM sqlite_schema \
                 WHERE substr(tbl_name, 1, 2) <> '__' ORDER BY line"
            }
            Self::Server(_) => POSTGRES_CATALOGUE,
        })
    }

    /// Tables and views with their columns and whether these may be empty; and what has an index: in words that are the
    /// same for both kinds.
    pub(crate) fn outline(&self) -> Vec<String> {
        let mut outline = self.lines(match self {
            Self::File(_) => SQLITE_OUTLINE,
            Self::Server(_) => POSTGRES_OUTLINE,
        });
        outline.sort();
        outline
    }

    /// Whether there is a file: on a server there never is.
    pub(crate) fn has_file(&self) -> bool {
        matches!(self, Self::File(file) if file.path().exists())
    }
}

const POSTGRES_CATALOGUE: &str = "\
    SELECT line FROM ( \
        SELECT relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || \
            coalesce(collname, '') || ' ' || coalesce(pg_get_expr(adbin, adrelid), '') AS line, relname \
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid \
        LEFT JOIN pg_collation ON pg_collation.oid = attcollation \
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 \
        UNION ALL SELECT relname || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid), relname \
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid WHERE relnamespace = 'public'::regnamespace \
        UNION ALL SELECT indexdef, tablename FROM pg_indexes WHERE schemaname = 'public' \
        UNION ALL SELECT viewname || ' ' || definition, viewname FROM pg_views WHERE schemaname = 'public' \
        UNION ALL SELECT relname || ' ' || coalesce(array_to_string(reloptions, ','), ''), relname FROM pg_class \
        WHERE relnamespace = 'public'::regnamespace \
    ) AS all_of_it WHERE left(relname, 2) <> '__' ORDER BY line";

const SQLITE_OUTLINE: &str = "\
    SELECT tables.name || '.' || columns.name || \
        CASE WHEN tables.type = 'table' THEN CASE columns.\"notnull\" WHEN 1 THEN ' full' ELSE ' may be empty' END \
        ELSE '' END AS line \
    FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
    WHERE tables.type IN ('table', 'view') AND substr(tables.name, 1, 2) <> '__' \
    UNION ALL SELECT tables.name || ' by ' || group_concat(keys.name) FROM sqlite_schema AS tables, \
        pragma_index_list(tables.name) AS indexes, pragma_index_info(indexes.name) AS keys \
    WHERE tables.type = 'table' AND substr(tables.name, 1, 2) <> '__' GROUP BY tables.name, indexes.name";

const POSTGRES_OUTLINE: &str = "\
    SELECT relname || '.' || attname || CASE WHEN relkind = 'r' THEN \
        CASE WHEN attnotnull THEN ' full' ELSE ' may be empty' END ELSE '' END AS line \
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid \
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND left(relname, 2) <> '__' \
    UNION ALL SELECT relname || ' by ' || string_agg(attname, ',' ORDER BY place) FROM pg_index \
    JOIN pg_class ON pg_class.oid = indrelid \
    CROSS JOIN LATERAL unnest(indkey) WITH ORDINALITY AS keys (attnum, place) \
    JOIN pg_attribute ON pg_attribute.attrelid = indrelid AND pg_attribute.attnum = keys.attnum \
    WHERE relnamespace = 'public'::regnamespace AND left(relname, 2) <> '__' GROUP BY relname, indexrelid";
