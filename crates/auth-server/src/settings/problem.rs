//! What is wrong with settings, said so that it can be mended: the name, the fault, and what would be right.

use std::fmt;

use super::table::Key;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is wrong with: a setting and its source, or a file.
    pub place: String,
    /// What is wrong, and what would be right.
    pub fault: String,
}

impl Problem {
    /// A fault at a place.
    pub fn new(place: impl Into<String>, fault: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            fault: fault.into(),
        }
    }

    /// A variable that is no setting.
    pub fn unknown(place: &str, name: &str, prefix: &str) -> Self {
        let meant = Key::nearest(name).map_or_else(
            || "`auth-service config reference` lists all settings".to_owned(),
            |near| format!("did you mean {prefix}{near}?"),
        );
        Self::new(place, format!("is not a setting; {meant}"))
    }

    /// A section of a settings file, which has none.
    pub fn section(place: impl Into<String>) -> Self {
        Self::new(
            place,
            "is not a setting but a section, and there are none: write the names at the top of the file, such as port = 8003",
        )
    }

    /// A name in a settings file that is no setting.
    pub fn unknown_in_file(place: &str, name: &str) -> Self {
        let meant = Key::nearest(name).map_or_else(
            || "`auth-service config reference` lists all settings".to_owned(),
            |near| format!("did you mean {}?", near.to_ascii_lowercase()),
        );
        Self::new(place, format!("is not a setting; {meant}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.fault)
    }
}

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct WrongSettings(pub Vec<Problem>);

impl fmt::Display for WrongSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.0 {
            write!(out, "{separator}{problem}")?;
            separator = "\n";
        }
        Ok(())
    }
}
