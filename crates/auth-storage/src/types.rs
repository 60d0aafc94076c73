//! Our own SQL types for what databases keep in different ways: UUIDs, times and JSON, each native on its database.
//!
//! On SQLite a UUID is a BLOB of 16 bytes, a time an INTEGER of microseconds, JSON a TEXT.

use auth_domain::time::Timestamp;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Binary, SqlType, Text};
use diesel::sqlite::Sqlite;
use uuid::Uuid;

/// A UUID.
#[derive(SqlType, QueryId)]
#[diesel(sqlite_type(name = "Binary"))]
pub struct DbUuid;

/// A point in time, UTC, to the microsecond.
#[derive(SqlType, QueryId)]
#[diesel(sqlite_type(name = "Long"))]
pub struct DbTime;

/// A JSON document.
#[derive(SqlType, QueryId)]
#[diesel(sqlite_type(name = "Text"))]
pub struct DbJson;

/// A UUID on its way to or from a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = DbUuid)]
pub(crate) struct Id(pub(crate) Uuid);

/// A point in time on its way to or from a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = DbTime)]
pub(crate) struct Moment(pub(crate) Timestamp);

/// A JSON document, as text, on its way to or from a database.
#[derive(Debug, Clone, AsExpression, FromSqlRow)]
#[diesel(sql_type = DbJson)]
pub(crate) struct Json(pub(crate) String);

impl ToSql<DbUuid, Sqlite> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let bytes: &[u8] = self.0.as_bytes();
        <[u8] as ToSql<Binary, Sqlite>>::to_sql(bytes, out)
    }
}

impl FromSql<DbUuid, Sqlite> for Id {
    fn from_sql(mut value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(value.read_blob())?))
    }
}

impl ToSql<DbTime, Sqlite> for Moment {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_micros());
        Ok(IsNull::No)
    }
}

impl FromSql<DbTime, Sqlite> for Moment {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?;
        Ok(Self(Timestamp::from_micros(micros)))
    }
}

impl ToSql<DbJson, Sqlite> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        <str as ToSql<Text, Sqlite>>::to_sql(&self.0, out)
    }
}

impl FromSql<DbJson, Sqlite> for Json {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        <String as FromSql<Text, Sqlite>>::from_sql(value).map(Self)
    }
}
