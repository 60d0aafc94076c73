//! Users of the older service: taken with their ids and their passwords.

use std::collections::HashSet;

use super::port::Fate;
use super::{LegacyTable, LegacyUser, Planned, Reason, hash, parse_id, when};
use crate::id::UserId;
use crate::user::{Email, User, UserStatus, Username};

/// Judges all users at once: of two whose names or addresses are the same here, the older one is taken.
pub fn plan_users(rows: Vec<LegacyUser>) -> Planned<User> {
    let mut planned = Planned::default();
    let mut readable = Vec::new();
    for row in rows {
        match read(&row) {
            Ok(user) => readable.push(user),
            Err(reason) => planned.put(LegacyTable::Users, &row.id, Err(reason)),
        }
    }
    readable.sort_by_key(|user| (user.created_at, user.id));
    let mut seen = Seen::default();
    for user in readable {
        let judged = seen.enter(&user);
        let row = user.id.to_string();
        planned.put(LegacyTable::Users, &row, judged.map(|()| user));
    }
    planned
}

#[derive(Default)]
struct Seen {
    ids: HashSet<UserId>,
    names: HashSet<Username>,
    addresses: HashSet<String>,
}

impl Seen {
    fn enter(&mut self, user: &User) -> Result<(), Reason> {
        let address = user.email.folded();
        if self.ids.contains(&user.id) {
            return Err(Reason::SameId);
        }
        if self.names.contains(&user.username) {
            return Err(Reason::SameUsername);
        }
        if !self.addresses.insert(address) {
            return Err(Reason::SameEmail);
        }
        self.ids.insert(user.id);
        self.names.insert(user.username.clone());
        Ok(())
    }
}

fn read(row: &LegacyUser) -> Result<User, Reason> {
    let time = |column, text: &str| when::parse(text).ok_or(Reason::Time(column));
    Ok(User {
        id: UserId::from_uuid(parse_id(&row.id)?),
        username: Username::parse(&row.username)?,
        email: Email::parse(&row.email)?,
        password_hash: hash::taken(&row.password_hash).ok_or(Reason::PasswordHash)?,
        status: if row.is_active {
            UserStatus::Active
        } else {
            UserStatus::Inactive
        },
        is_verified: row.is_verified,
        created_at: time("created_at", &row.created_at)?,
        updated_at: time("updated_at", &row.updated_at)?,
        last_login_at: row
            .last_login_at
            .as_deref()
            .map(|text| time("last_login_at", text))
            .transpose()?,
    })
}

/// What becomes of a user who is here already, under the same id.
///
/// The older service notes each sign-in as a change. Its row is the newer one where it says so, and where the user here
/// is still as taken: with a hash of the older service, and without a later sign-in here. Whoever is inactive on one side
/// is so here afterwards: an account that was locked here must not be opened by a sign-in there.
pub fn reconcile_user(ours: &User, theirs: &User) -> Fate {
    if theirs.updated_at <= ours.updated_at {
        return Fate::AlreadyThere;
    }
    if ours.status == UserStatus::Inactive && theirs.status == UserStatus::Active {
        return Fate::Kept(Reason::OffHere);
    }
    let is_as_taken = hash::was_taken(&ours.password_hash) && ours.last_login_at <= theirs.last_login_at;
    if is_as_taken {
        Fate::Updated
    } else {
        Fate::Kept(Reason::MovedOn)
    }
}
