//! The name of a key (`kid`, RFC 7515 section 4.1.4), which is a file's name and header text as well.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A key's name: 1 to 64 letters, digits, `-`, `_` and `.`, and no `.` in front. So it names a file inside its
/// directory and nothing else, and stands in JSON as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Kid(String);

/// Why a text can't be a key's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a kid has 1 to 64 letters, digits, `-`, `_` and `.`, and does not begin with `.`")]
pub struct KidFault;

impl Kid {
    /// Takes a text as a key's name.
    ///
    /// # Errors
    /// [`KidFault`], where it is none.
    pub fn parse(text: &str) -> Result<Self, KidFault> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_good = (1..=64).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_plain);
        if is_good {
            Ok(Self(text.to_owned()))
        } else {
            Err(KidFault)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Kid {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_and_names_of_old_are_kids() {
        for good in [
            "2024-01-key-1",
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            "a",
            "v1.2",
        ] {
            assert_eq!(Kid::parse(good).map(|kid| kid.to_string()), Ok(good.to_owned()));
        }
        assert!(Kid::parse(&"k".repeat(64)).is_ok());
    }

    #[test]
    fn nothing_that_could_leave_the_directory_or_the_header_is_a_kid() {
        for bad in [
            "", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a\0", "a\"", "a b", "a\n", "é",
        ] {
            assert_eq!(Kid::parse(bad), Err(KidFault), "{bad:?}");
        }
        assert_eq!(Kid::parse(&"k".repeat(65)), Err(KidFault));
    }
}
