//! Times and JSON as the older service's tables hold them, both read and written as text.

use std::borrow::Cow;

use auth_domain::takeover::when;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::QueryId;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{SqlType, Text};
use diesel::sqlite::Sqlite;

use crate::types::{DbTime, Moment};

/// A point in time: text without a zone on SQLite, TIMESTAMPTZ on PostgreSQL.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(sqlite_type(name = "Text"))]
pub struct LegacyTime;

/// A JSON document: text on SQLite, JSON on PostgreSQL.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(oid = 114, array_oid = 199))]
#[diesel(sqlite_type(name = "Text"))]
pub struct LegacyJson;

/// A point in time as text. Whether it is one is not judged here.
#[derive(Debug, Clone, AsExpression, FromSqlRow)]
#[diesel(sql_type = LegacyTime)]
pub(super) struct When(pub(super) String);

/// Text or JSON, or what can be read of it: on SQLite the column may hold any bytes, and one such row must not keep all
/// others from being read.
#[derive(Debug, Clone, FromSqlRow)]
pub(super) struct Words {
    pub(super) text: String,
    /// Whether it is no UTF-8, so that the text is not all of it.
    pub(super) is_garbled: bool,
}

impl Words {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self {
            is_garbled: matches!(text, Cow::Owned(_)),
            text: text.into_owned(),
        }
    }
}

impl FromSql<LegacyTime, Sqlite> for When {
    /// What is no text is no time either, of its row alone.
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let words = <Words as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self(words.text))
    }
}

impl ToSql<LegacyTime, Sqlite> for When {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        <str as ToSql<Text, Sqlite>>::to_sql(&self.0, out)
    }
}

impl FromSql<LegacyTime, Pg> for When {
    /// What lies beyond the older service's calendar, infinity for example, stays no time.
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let Moment(moment) = <Moment as FromSql<DbTime, Pg>>::from_sql(value)?;
        Ok(Self(when::write(moment).unwrap_or_default()))
    }
}

impl ToSql<LegacyTime, Pg> for When {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let moment = Moment(when::parse(&self.0).ok_or("no time")?);
        <Moment as ToSql<DbTime, Pg>>::to_sql(&moment, &mut out.reborrow())
    }
}

impl FromSql<Text, Sqlite> for Words {
    fn from_sql(mut value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::of(value.read_blob()))
    }
}

impl FromSql<Text, Pg> for Words {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::of(value.as_bytes()))
    }
}

impl FromSql<LegacyJson, Sqlite> for Words {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <Self as FromSql<Text, Sqlite>>::from_sql(value)
    }
}

impl FromSql<LegacyJson, Pg> for Words {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <Self as FromSql<Text, Pg>>::from_sql(value)
    }
}
