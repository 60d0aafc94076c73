//! Times as the older service wrote them: `2026-11-22 18:49:20.372859`, UTC where no zone is named.

use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::parsing::Parsed;

use crate::time::Timestamp;

/// A zone is `Z`, `+HH`, `+HHMM` or `+HH:MM`.
const FORMAT: StaticFormatDescription = format_description!(
    version = 2,
    "[year]-[month]-[day][first [ ][T]][hour]:[minute]:[second][optional [.[subsecond digits:1+]]]\
     [optional [[first [Z]\
     [[offset_hour sign:mandatory]:[offset_minute]]\
     [[offset_hour sign:mandatory][offset_minute]]\
     [[offset_hour sign:mandatory]]]]]"
);

/// Reads a time of the years 1 to 9999, with or without fraction and zone; `None` where it is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let mut parsed = Parsed::new().with_offset_hour(0)?;
    let rest = parsed.parse_items(text.as_bytes(), FORMAT).ok()?;
    let at = OffsetDateTime::try_from(parsed).ok()?;
    let is_of_its_kind = rest.is_empty()
        && at.year() >= 1
        && at.offset().whole_hours().abs() < 24
        && at == at.truncate_to_microsecond();
    let micros = i64::try_from(at.unix_timestamp_nanos() / 1_000).ok()?;
    is_of_its_kind.then(|| Timestamp::from_micros(micros))
}

/// Writes a time as the older service did; `None` beyond the years it can have written.
pub fn write(at: Timestamp) -> Option<String> {
    let at = time::Timestamp::from_microseconds(at.as_micros().into()).ok()?;
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, micros) = at.as_hms_micro();
    (year >= 1).then(|| {
        format!(
            "{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}",
            u8::from(month)
        )
    })
}
