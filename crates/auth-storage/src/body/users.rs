//! Users: signing in, and their administration.

use auth_domain::audit::AuditRecord;
use auth_domain::id::UserId;
use auth_domain::ports::UserKey;
use auth_domain::ports::admin::{Changed, UserChange, UserCreated};
use auth_domain::session::{NewSession, RevocationReason};
use auth_domain::time::Timestamp;
use auth_domain::user::{Login, User};
use diesel::dsl::exists;
use diesel::prelude::*;

use super::{Conn, audit, sessions};
use crate::error::StoreError;
use crate::rows::UserRow;
use crate::schema::users;
use crate::types::{Id, Moment};

/// The user of that name or address.
pub(super) fn find_by_login(conn: &mut Conn, login: &Login) -> Result<Option<User>, StoreError> {
    let row = match login {
        Login::Username(name) => users::table
            .filter(users::username.eq(name))
            .select(UserRow::as_select())
            .get_result(conn),
        Login::Email(key) => users::table
            .filter(users::email_key.eq(key))
            .select(UserRow::as_select())
            .get_result(conn),
    };
    row.optional()?.map(User::try_from).transpose()
}

/// One user.
pub(super) fn find(conn: &mut Conn, key: &UserKey) -> Result<Option<User>, StoreError> {
    match key {
        UserKey::Login(login) => find_by_login(conn, login),
        UserKey::Id(id) => users::table
            .find(Id(id.as_uuid()))
            .select(UserRow::as_select())
            .get_result(conn)
            .optional()?
            .map(User::try_from)
            .transpose(),
    }
}

/// Users in the order of their names, after the given one.
pub(super) fn list(conn: &mut Conn, after: Option<&str>, limit: u32) -> Result<Vec<User>, StoreError> {
    users::table
        .filter(users::username.gt(after.unwrap_or("")))
        .order(users::username)
        .limit(limit.into())
        .select(UserRow::as_select())
        .load(conn)?
        .into_iter()
        .map(User::try_from)
        .collect()
}

/// Notes a sign-in, and puts a new hash in place; `false`, and nothing changed, where the user is not active or has
/// another password by now.
pub(super) fn sign_in(conn: &mut Conn, session: &NewSession) -> Result<bool, StoreError> {
    let verified_against = session.verified_against.expose();
    let hash = session
        .rehashed
        .as_ref()
        .map_or(verified_against, |rehashed| rehashed.expose());
    let changed = diesel::update(users::table.find(Id(session.user_id.as_uuid())))
        .filter(users::is_active.eq(true))
        .filter(users::password_hash.eq(verified_against))
        .set((
            users::last_login_at.eq(Some(Moment(session.first.issued_at))),
            users::password_hash.eq(hash),
        ))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Stores a new user.
pub(super) fn create(conn: &mut Conn, user: &User, record: &AuditRecord) -> Result<UserCreated, StoreError> {
    let stored = diesel::insert_into(users::table)
        .values(UserRow::from(user))
        .on_conflict_do_nothing()
        .execute(conn)?;
    if stored == 0 {
        return conflict(conn, user);
    }
    audit::record(conn, record)?;
    Ok(UserCreated::Created)
}

fn conflict(conn: &mut Conn, user: &User) -> Result<UserCreated, StoreError> {
    let has_name = users::table.filter(users::username.eq(user.username.as_str()));
    if diesel::select(exists(has_name)).get_result(conn)? {
        return Ok(UserCreated::UsernameTaken);
    }
    let has_address = users::table.filter(users::email_key.eq(user.email.folded()));
    if diesel::select(exists(has_address)).get_result(conn)? {
        return Ok(UserCreated::EmailTaken);
    }
    Err(StoreError::DuplicateKey {
        table: "users",
        row: user.id.to_string(),
    })
}

/// Changes a user, and ends or deletes the chains that the change leaves no ground to. Says at which heads the history
/// of deleted chains begins.
pub(super) fn change(
    conn: &mut Conn,
    id: UserId,
    change: &UserChange,
    at: Timestamp,
    record: &AuditRecord,
) -> Result<(Changed, Vec<Id>), StoreError> {
    let mut heads = Vec::new();
    let changed = match change {
        UserChange::SetPassword(hash) => diesel::update(users::table.find(Id(id.as_uuid())))
            .set((
                users::password_hash.eq(hash.expose()),
                users::updated_at.eq(Moment(at)),
            ))
            .execute(conn)?,
        UserChange::Activate => set_active(conn, id, true, at)?,
        UserChange::Deactivate => set_active(conn, id, false, at)?,
        UserChange::Delete => {
            heads = sessions::heads_of_user(conn, id)?;
            diesel::delete(users::table.find(Id(id.as_uuid()))).execute(conn)?
        }
    };
    if changed == 0 {
        return Ok((Changed::NotFound, Vec::new()));
    }
    if let Some(reason) = reason_to_end_chains(change) {
        sessions::end_of_user(conn, id, reason, at)?;
    }
    audit::record(conn, record)?;
    Ok((Changed::Changed, heads))
}

fn set_active(conn: &mut Conn, id: UserId, is_active: bool, at: Timestamp) -> Result<usize, StoreError> {
    let changed = diesel::update(users::table.find(Id(id.as_uuid())))
        .set((users::is_active.eq(is_active), users::updated_at.eq(Moment(at))))
        .execute(conn)?;
    Ok(changed)
}

const fn reason_to_end_chains(change: &UserChange) -> Option<RevocationReason> {
    match change {
        UserChange::SetPassword(_) => Some(RevocationReason::PasswordChanged),
        UserChange::Deactivate => Some(RevocationReason::UserDeactivated),
        // A deleted user's chains are deleted with it.
        UserChange::Activate | UserChange::Delete => None,
    }
}
