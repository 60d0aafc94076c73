//! Rows on their way from one database to another: read in pages, and put down as they are.

use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::schema::{
    audit_logs, denied_tokens, legacy_tokens, oauth_clients, refresh_tokens, sessions, users,
};
use crate::transfer::marks::{Looks, Newest};
use crate::transfer::rows::{
    AuditRow, ClientRow, DeniedTokenRow, Keeps, LegacyTokenRow, Row, SessionRow, TokenRow, UserRow,
};

macro_rules! keeps {
    ($($row:ident in $table:ident by $key:ident,)+) => {$(
        impl Keeps<$row> for Conn {
            fn page(
                &mut self,
                after: Option<&<$row as Row>::Key>,
                at_most: usize,
            ) -> Result<Vec<$row>, StoreError> {
                let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
                let page = $table::table.order($table::$key).limit(at_most);
                Ok(match after {
                    Some(after) => page.filter($table::$key.gt(after)).load(self)?,
                    None => page.load(self)?,
                })
            }

            fn count(&mut self) -> Result<i64, StoreError> {
                Ok($table::table.count().get_result(self)?)
            }

            fn add(&mut self, rows: &[$row]) -> Result<(), StoreError> {
                diesel::insert_into($table::table).values(rows).execute(self)?;
                Ok(())
            }

            fn replace(&mut self, rows: &[$row]) -> Result<(), StoreError> {
                self.transaction(|conn| {
                    for row in rows {
                        diesel::update($table::table.find(row.key()))
                            .set(row)
                            .execute(conn)?;
                    }
                    Ok(())
                })
            }

            fn delete(&mut self, keys: &[<$row as Row>::Key]) -> Result<(), StoreError> {
                self.transaction(|conn| {
                    for key in keys {
                        diesel::delete($table::table.find(key)).execute(conn)?;
                    }
                    Ok(())
                })
            }
        }
    )+};
}

keeps! {
    UserRow in users by id,
    ClientRow in oauth_clients by id,
    SessionRow in sessions by id,
    LegacyTokenRow in legacy_tokens by jti_hash,
    TokenRow in refresh_tokens by id,
    DeniedTokenRow in denied_tokens by jti_hash,
    AuditRow in audit_logs by id,
}

impl Looks for Conn {
    fn newest(&mut self) -> Result<Newest, StoreError> {
        let audit_row = audit_logs::table
            .order(audit_logs::id.desc())
            .select(audit_logs::id)
            .first(self)
            .optional()?;
        let session_use = sessions::table
            .order(sessions::last_used_at.desc())
            .select(sessions::last_used_at)
            .first(self)
            .optional()?;
        let client_change = oauth_clients::table
            .order(oauth_clients::updated_at.desc())
            .select(oauth_clients::updated_at)
            .first(self)
            .optional()?;
        let user_change = users::table
            .order(users::updated_at.desc())
            .select(users::updated_at)
            .first(self)
            .optional()?;
        Ok(Newest {
            audit_row,
            session_use,
            client_change,
            user_change,
        })
    }
}
