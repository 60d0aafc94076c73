//! Points and spans of time as the rules see them; where "now" comes from is the `Clock` port's business.

use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in time, UTC, to the microsecond: the finest grain both databases keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since 1970-01-01T00:00:00Z (`NumericDate` of RFC 7519 section 2).
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The same moment without its fraction of a second: what a token's `iat` and `exp` can say.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        Self::from_unix_seconds(self.unix_seconds())
    }

    /// This moment and so many seconds more; saturates at the end of time.
    #[must_use]
    pub const fn plus(self, span: Seconds) -> Self {
        Self(self.0.saturating_add(span.as_micros()))
    }

    /// This moment and so many seconds less; saturates at the beginning of time.
    #[must_use]
    pub const fn minus(self, span: Seconds) -> Self {
        Self(self.0.saturating_sub(span.as_micros()))
    }

    /// Whole seconds from this moment until `later`, rounded up, never below zero. Serves `Retry-After`.
    pub fn seconds_until(self, later: Self) -> Seconds {
        let micros = later.0.saturating_sub(self.0).max(0);
        let whole = micros / MICROS_PER_SECOND + i64::from(micros % MICROS_PER_SECOND != 0);
        Seconds::new(u32::try_from(whole).unwrap_or(u32::MAX))
    }
}

/// A span of whole seconds: lifetimes, windows, leeways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(u32);

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn new(seconds: u32) -> Self {
        Self(seconds)
    }

    /// The number of seconds.
    pub const fn get(self) -> u32 {
        self.0
    }

    const fn as_micros(self) -> i64 {
        // A u32 of seconds in microseconds fits an i64 by a wide margin.
        (self.0 as i64) * MICROS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_rounded_down_on_both_sides_of_the_epoch() {
        assert_eq!(Timestamp::from_micros(1_999_999).unix_seconds(), 1);
        assert_eq!(Timestamp::from_micros(-1).unix_seconds(), -1);
        assert_eq!(
            Timestamp::from_micros(1_999_999).whole_second(),
            Timestamp::from_unix_seconds(1)
        );
    }

    #[test]
    fn seconds_until_rounds_up_and_never_goes_below_zero() {
        let now = Timestamp::from_micros(10);
        assert_eq!(now.seconds_until(Timestamp::from_micros(10)), Seconds::ZERO);
        assert_eq!(now.seconds_until(Timestamp::from_micros(11)), Seconds::new(1));
        assert_eq!(
            now.seconds_until(Timestamp::from_micros(1_000_010)),
            Seconds::new(1)
        );
        assert_eq!(
            now.seconds_until(Timestamp::from_micros(1_000_011)),
            Seconds::new(2)
        );
        assert_eq!(now.seconds_until(Timestamp::from_micros(0)), Seconds::ZERO);
        assert_eq!(
            now.seconds_until(Timestamp::from_micros(i64::MAX)),
            Seconds::new(u32::MAX)
        );
    }

    #[test]
    fn adding_and_taking_away_saturates_instead_of_wrapping() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end.plus(Seconds::new(1)), end);
        let start = Timestamp::from_micros(i64::MIN);
        assert_eq!(start.minus(Seconds::new(1)), start);
        let moment = Timestamp::from_micros(5);
        assert_eq!(moment.plus(Seconds::new(2)).as_micros(), 2_000_005);
        assert_eq!(moment.minus(Seconds::new(2)).as_micros(), -1_999_995);
    }
}
