//! One way to write each value as bytes, whatever its database makes of it: what two digests are compared by.
//!
//! A column's type is known, so only what varies in length says how long it is. JSON counts by value: the order of an
//! object's members, blanks and the spelling of a number mean nothing (RFC 8259 sections 4 and 6).

use serde_json::{Number, Value};

use crate::types::{Id, Json, Moment};

/// A value of a column.
pub(crate) trait Canonical {
    /// Appends it.
    fn write_to(&self, out: &mut Vec<u8>);
}

impl Canonical for bool {
    fn write_to(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }
}

impl Canonical for i64 {
    fn write_to(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }
}

impl Canonical for Id {
    fn write_to(&self, out: &mut Vec<u8>) {
        out.extend(self.0.as_bytes());
    }
}

impl Canonical for Moment {
    fn write_to(&self, out: &mut Vec<u8>) {
        self.0.as_micros().write_to(out);
    }
}

impl Canonical for Vec<u8> {
    fn write_to(&self, out: &mut Vec<u8>) {
        bytes(self, out);
    }
}

impl Canonical for String {
    fn write_to(&self, out: &mut Vec<u8>) {
        bytes(self.as_bytes(), out);
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn write_to(&self, out: &mut Vec<u8>) {
        self.is_some().write_to(out);
        if let Some(value) = self {
            value.write_to(out);
        }
    }
}

impl Canonical for Json {
    /// What is JSON to SQLite only, half a surrogate pair say, is a text that equals no other.
    fn write_to(&self, out: &mut Vec<u8>) {
        match serde_json::from_str(&self.0) {
            Ok(document) => json(&document, out),
            Err(_) => tagged(Tag::Other, self.0.as_bytes(), out),
        }
    }
}

/// What kind of JSON follows.
#[derive(Clone, Copy)]
enum Tag {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
    Other,
}

fn json(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(Tag::Null as u8),
        Value::Bool(truth) => {
            out.push(Tag::Bool as u8);
            truth.write_to(out);
        }
        Value::Number(number) => tagged(Tag::Number, spelt(number).as_bytes(), out),
        Value::String(text) => tagged(Tag::String, text.as_bytes(), out),
        Value::Array(items) => {
            out.push(Tag::Array as u8);
            length(items.len(), out);
            for item in items {
                json(item, out);
            }
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(Tag::Object as u8);
            length(members.len(), out);
            for (name, value) in members {
                bytes(name.as_bytes(), out);
                json(value, out);
            }
        }
    }
}

/// Without exponent, sign of zero or fraction of nothing: PostgreSQL keeps 1e2 as 100.
fn spelt(number: &Number) -> String {
    if number.is_f64()
        && let Some(float) = number.as_f64()
    {
        return format!("{}", float + 0.0);
    }
    number.to_string()
}

fn tagged(tag: Tag, text: &[u8], out: &mut Vec<u8>) {
    out.push(tag as u8);
    bytes(text, out);
}

fn bytes(text: &[u8], out: &mut Vec<u8>) {
    length(text.len(), out);
    out.extend(text);
}

fn length(length: usize, out: &mut Vec<u8>) {
    out.extend((length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn written(value: &impl Canonical) -> Vec<u8> {
        let mut out = Vec::new();
        value.write_to(&mut out);
        out
    }

    fn json_of(text: &str) -> Vec<u8> {
        written(&Json(text.to_owned()))
    }

    #[rstest]
    #[case(r#"{"a":1,"b":[true,null]}"#, r#" { "b" : [ true, null ], "a" : 1 } "#)]
    #[case(r#""\u00e9""#, r#""é""#)]
    #[case("1e2", "100")]
    #[case("-0.0", "0")]
    #[case("1.50", "1.5")]
    #[case("1e22", "10000000000000000000000")]
    #[case("18446744073709551615", "18446744073709551615")]
    #[case(r#"{"a":1,"a":2}"#, r#"{"a":2}"#)]
    fn json_of_one_value_is_written_the_same(#[case] one: &str, #[case] other: &str) {
        assert_eq!(json_of(one), json_of(other));
    }

    #[rstest]
    #[case("1", r#""1""#)]
    #[case("[]", "{}")]
    #[case("null", r#""""#)]
    #[case(r#"["a","b"]"#, r#"["ab"]"#)]
    #[case(r#"["a","b"]"#, r#"["b","a"]"#)]
    #[case(r#"{"a":"b"}"#, r#"{"b":"a"}"#)]
    #[case("9007199254740993", "9007199254740992")]
    #[case("0.1", "0.10000000000000002")]
    #[case(r#""\ud800""#, r#""\ud801""#)]
    fn json_of_two_values_is_written_differently(#[case] one: &str, #[case] other: &str) {
        assert_ne!(json_of(one), json_of(other));
    }

    #[test]
    fn where_one_column_ends_the_next_does_not_begin() {
        let row = |one: &str, other: &str| {
            let mut out = written(&one.to_owned());
            other.to_owned().write_to(&mut out);
            out
        };
        assert_ne!(row("ab", "c"), row("a", "bc"));
        assert_ne!(written(&None::<String>), written(&Some(String::new())));
    }
}
