//! Times as the older service wrote them: `2026-11-22 18:49:20.372859`, UTC where no zone is named.

use crate::time::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01, where the leap day is a year's last, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
const DAYS_PER_400_YEARS: i64 = 146_097;

/// Reads a time of the years 1 to 9999, with or without fraction and zone; `None` where it is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let zone_at = time.find(['+', '-', 'Z']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let seconds = days(date)? * SECONDS_PER_DAY - offset(zone)?;
    let (whole, micros) = clock_time(clock)?;
    Some(Timestamp::from_micros(
        (seconds + whole) * MICROS_PER_SECOND + micros,
    ))
}

/// Writes a time as the older service did; `None` beyond the years it can have written.
pub fn write(at: Timestamp) -> Option<String> {
    let micros = at.as_micros();
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let (year, month, day) = date_of(seconds.div_euclid(SECONDS_PER_DAY));
    let clock = seconds.rem_euclid(SECONDS_PER_DAY);
    (1..=9_999).contains(&year).then(|| {
        format!(
            "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:06}",
            clock / 3_600,
            clock / 60 % 60,
            clock % 60,
            micros.rem_euclid(MICROS_PER_SECOND)
        )
    })
}

/// `YYYY-MM-DD` as days since 1970-01-01.
fn days(date: &str) -> Option<i64> {
    let mut fields = date.split('-');
    let (year, month, day) = (
        number(fields.next()?, 4)?,
        number(fields.next()?, 2)?,
        number(fields.next()?, 2)?,
    );
    let is_date = fields.next().is_none()
        && year >= 1
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day);
    is_date.then(|| days_since_1970(year, month, day))
}

/// `HH:MM:SS` with up to six digits of a fraction, as seconds and microseconds.
fn clock_time(clock: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut fields = whole.split(':');
    let (hour, minute, second) = (
        number(fields.next()?, 2)?,
        number(fields.next()?, 2)?,
        number(fields.next()?, 2)?,
    );
    let is_time = fields.next().is_none() && hour < 24 && minute < 60 && second < 60;
    let digits = u32::try_from(fraction.len())
        .ok()
        .filter(|digits| (1..=6).contains(digits))?;
    let micros = number(fraction, fraction.len())? * 10_i64.pow(6 - digits);
    is_time.then_some((hour * 3_600 + minute * 60 + second, micros))
}

/// A zone as seconds east of UTC: nothing, `Z`, `+HH`, `+HHMM` or `+HH:MM`.
fn offset(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, zone.strip_prefix('+')?),
    };
    let digits = digits.replacen(':', "", 1);
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() {
        0
    } else {
        number(minutes, 2)?
    };
    let hours = number(hours, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts years from March, so that the leap day is the last of its year.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * DAYS_PER_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970
}

/// The other way round: year, month and day.
const fn date_of(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + DAYS_TO_1970;
    let (era, of_era) = (
        days.div_euclid(DAYS_PER_400_YEARS),
        days.rem_euclid(DAYS_PER_400_YEARS),
    );
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = years + era * 400;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}
