//! The rows that move, column by column as they are: nothing in them is judged.
//!
//! A row is read by its place among all columns of its table, so a column that is added to the schema and not here does
//! not compile.

use diesel::prelude::*;

use super::canon::Canonical;
use super::end::End;
use super::hex;
use crate::error::StoreError;
use crate::schema::{
    audit_logs, denied_tokens, legacy_tokens, oauth_clients, refresh_tokens, sessions, users,
};
use crate::types::{Id, Json, Moment};

/// A row of a table, on its way.
pub(crate) trait Row: Sized + 'static {
    /// What it is found by.
    type Key: Key;

    /// Its table.
    const TABLE: &'static str;

    /// What it is found by.
    fn key(&self) -> Self::Key;

    /// Appends every column in the one way there is to write it.
    fn write_to(&self, out: &mut Vec<u8>);

    /// The rows of this type at one end.
    fn of(end: &mut End) -> &mut dyn Keeps<Self>;
}

/// A primary key. Every database orders keys by their bytes.
pub(crate) trait Key {
    /// What it is ordered by.
    fn bytes(&self) -> &[u8];

    /// As an operator may look for it.
    fn shown(&self) -> String;
}

impl Key for Id {
    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// A hash.
impl Key for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn shown(&self) -> String {
        hex(self)
    }
}

/// What a database does with rows of one table; what writes is all or nothing.
pub(crate) trait Keeps<R: Row> {
    /// The first rows behind a key, in the order of keys.
    fn page(&mut self, after: Option<&R::Key>, at_most: usize) -> Result<Vec<R>, StoreError>;

    /// How many there are.
    fn count(&mut self) -> Result<i64, StoreError>;

    /// Adds rows.
    fn add(&mut self, rows: &[R]) -> Result<(), StoreError>;

    /// Puts each row in the place of the one with its key.
    fn replace(&mut self, rows: &[R]) -> Result<(), StoreError>;

    /// Deletes rows, and with them what can't be without them.
    fn delete(&mut self, keys: &[R::Key]) -> Result<(), StoreError>;
}

macro_rules! rows {
    ($($row:ident of $table:ident by $key:ident: $kind:ty {
        $($column:ident: $type:ty,)+
    })+) => {$(
        #[doc = concat!("A row of `", stringify!($table), "`.")]
        #[derive(Queryable, Insertable, AsChangeset)]
        #[diesel(
            table_name = $table,
            primary_key($key),
            treat_none_as_default_value = false,
            treat_none_as_null = true
        )]
        pub(crate) struct $row {
            $($column: $type,)+
        }

        impl Row for $row {
            type Key = $kind;

            const TABLE: &'static str = stringify!($table);

            fn key(&self) -> $kind {
                self.$key.clone()
            }

            fn write_to(&self, out: &mut Vec<u8>) {
                $(Canonical::write_to(&self.$column, out);)+
            }

            fn of(end: &mut End) -> &mut dyn Keeps<Self> {
                match end {
                    End::Sqlite(conn) => conn.as_mut(),
                    End::Postgres(conn) => conn.as_mut(),
                }
            }
        }
    )+};
}

rows! {
    UserRow of users by id: Id {
        id: Id,
        username: String,
        email: String,
        email_key: String,
        password_hash: String,
        is_active: bool,
        is_verified: bool,
        created_at: Moment,
        updated_at: Moment,
        last_login_at: Option<Moment>,
    }

    ClientRow of oauth_clients by id: Id {
        id: Id,
        client_id: String,
        client_secret_hash: Option<Vec<u8>>,
        name: String,
        description: Option<String>,
        is_confidential: bool,
        allowed_scopes: String,
        allowed_grant_types: String,
        access_token_lifetime: i64,
        refresh_token_lifetime: i64,
        wire_profile: String,
        refresh_retry_window: i64,
        refresh_chain_lifetime: Option<i64>,
        access_token_type: String,
        access_token_has_sid: bool,
        is_active: bool,
        created_at: Moment,
        updated_at: Moment,
    }

    SessionRow of sessions by id: Id {
        id: Id,
        user_id: Id,
        client_id: String,
        scope: String,
        amr: String,
        head_token_id: Id,
        previous_token_id: Option<Id>,
        head_jti_hash: Vec<u8>,
        previous_jti_hash: Option<Vec<u8>>,
        head_issued_at: Moment,
        expires_at: Moment,
        revoked_at: Option<Moment>,
        revoked_reason: Option<String>,
        created_at: Moment,
        last_used_at: Moment,
    }

    LegacyTokenRow of legacy_tokens by jti_hash: Vec<u8> {
        jti_hash: Vec<u8>,
        session_id: Id,
    }

    TokenRow of refresh_tokens by id: Id {
        id: Id,
        session_id: Id,
        parent_id: Option<Id>,
        jti_hash: Vec<u8>,
        issued_at: Moment,
        expires_at: Moment,
    }

    DeniedTokenRow of denied_tokens by jti_hash: Vec<u8> {
        jti_hash: Vec<u8>,
        expires_at: Moment,
    }

    AuditRow of audit_logs by id: Id {
        id: Id,
        user_id: Option<Id>,
        client_id: Option<String>,
        event_type: String,
        event_data: Json,
        ip_address: Option<String>,
        user_agent: Option<String>,
        correlation_id: String,
        success: bool,
        error_message: Option<String>,
        created_at: Moment,
    }
}
