//! Times and JSON as the older service's tables hold them, both read and written as text.

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

/// A JSON document as text.
#[derive(Debug, Clone, FromSqlRow)]
pub(super) struct Document(pub(super) String);

impl FromSql<LegacyTime, Sqlite> for When {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<Text, Sqlite>>::from_sql(value).map(Self)
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

impl FromSql<LegacyJson, Sqlite> for Document {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<Text, Sqlite>>::from_sql(value).map(Self)
    }
}

impl FromSql<LegacyJson, Pg> for Document {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(String::from_utf8(value.as_bytes().to_vec())?))
    }
}
