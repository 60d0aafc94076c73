//! The values that hold, each with where it came from; nothing secret among them.

use secrecy::ExposeSecret;
use serde::Serialize;

use super::layers::{Layers, Source};
use super::table::{Fallback, Key, Secrecy};
use super::values::mask_url;

/// What stands in for a secret.
pub const MASK: &str = "******";

/// One setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name.
    pub name: &'static str,
    /// Its value, masked where it must be; `None` where it has none.
    pub value: Option<String>,
    /// Where the value came from; where there is none, what that comes to.
    pub source: String,
}

/// Every setting as it holds, in the order of the reference.
pub fn effective(layers: &Layers) -> Vec<Line> {
    Key::ALL.iter().map(|key| line(*key, layers)).collect()
}

fn line(key: Key, layers: &Layers) -> Line {
    let entry = key.entry();
    let sourced = layers.find(key);
    let value = sourced.map(|sourced| match entry.secrecy {
        Secrecy::Open => sourced.text.expose_secret().to_owned(),
        Secrecy::Url => mask_url(sourced.text.expose_secret()),
        Secrecy::Secret => MASK.to_owned(),
    });
    let source = match (sourced.map(|sourced| &sourced.source), entry.default) {
        (Some(source), _) => source.to_string(),
        (None, Fallback::Unset(meaning)) => meaning.to_owned(),
        (None, Fallback::Value(_)) => Source::Default.to_string(),
    };
    Line {
        name: entry.name,
        value,
        source,
    }
}
