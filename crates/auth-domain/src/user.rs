//! Users: who signs in.

use serde::Serialize;

use crate::id::UserId;
use crate::secret::PasswordHash;
use crate::time::Timestamp;

/// A person who can sign in.
#[derive(Debug, Clone)]
pub struct User {
    /// The id, for good.
    pub id: UserId,
    /// The unique name.
    pub username: Username,
    /// The unique address.
    pub email: Email,
    /// The stored hash of the password.
    pub password_hash: PasswordHash,
    /// Whether the user may sign in and stay signed in.
    pub status: UserStatus,
    /// Whether the address was confirmed.
    pub is_verified: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
    /// When the user last signed in with a password.
    pub last_login_at: Option<Timestamp>,
}

/// Whether a user may sign in and stay signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// The user may.
    Active,
    /// An operator has switched the account off: no sign-in, no refresh.
    Inactive,
}

/// A user name: 3 to 255 characters, without control characters, white space at the ends or `@`
/// (so that it can never be taken for somebody's e-mail address).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Username(String);

/// An e-mail address, as written; compared and kept unique without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Email(String);

/// Why a text can't name a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Not of 3 to 255 characters.
    #[error("a user name has 3 to 255 characters")]
    UsernameLength,
    /// Control characters, `@`, or white space at an end.
    #[error("a user name has no control characters, no '@' and no white space at its ends")]
    UsernameCharacter,
    /// Not of the form `local@domain`, or over 254 bytes (RFC 5321 section 4.5.3.1.3).
    #[error("an e-mail address has the form name@domain and at most 254 characters")]
    Email,
}

impl Username {
    /// Takes a text as a user name.
    ///
    /// # Errors
    /// [`NameFault`] where the text breaks a rule of the type.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        if !(3..=255).contains(&text.chars().count()) {
            return Err(NameFault::UsernameLength);
        }
        if text.trim() != text
            || text
                .chars()
                .any(|character| character.is_control() || character == '@')
        {
            return Err(NameFault::UsernameCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Email {
    /// Takes a text as an e-mail address. Only what tells an address from anything else is checked: a mail sent
    /// there is the only real test.
    ///
    /// # Errors
    /// [`NameFault::Email`].
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        let (local, domain) = text.rsplit_once('@').ok_or(NameFault::Email)?;
        let has_bad_character = text
            .chars()
            .any(|character| character.is_control() || character.is_whitespace());
        if local.is_empty() || domain.is_empty() || text.len() > 254 || has_bad_character {
            return Err(NameFault::Email);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which addresses are compared and kept unique.
    pub fn folded(&self) -> String {
        fold_email(&self.0)
    }
}

/// What a person typed to say who they are: a user name or an e-mail address, told apart by the `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user name, looked up exactly as it is.
    Username(String),
    /// An address in its folded form.
    Email(String),
}

impl Login {
    /// Reads what was typed. Any text is one or the other; whether such a user exists is the store's answer.
    pub fn parse(text: &str) -> Self {
        if text.contains('@') {
            Self::Email(fold_email(text))
        } else {
            Self::Username(text.to_owned())
        }
    }

    /// The key to look up.
    pub fn key(&self) -> &str {
        match self {
            Self::Username(key) | Self::Email(key) => key,
        }
    }
}

fn fold_email(text: &str) -> String {
    text.to_lowercase()
}
