//! What the scripts answer, read back into the domain's values.

use auth_domain::throttle::{Count, Counter, Room, Verdict};
use auth_domain::time::Timestamp;

/// What Redis made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What all counters together say.
    pub verdict: Verdict,
    /// How each counter stands now, in the order they were asked in; after a full one they were not looked at.
    pub counts: Vec<Count>,
    /// The answer's number: of two answers the higher one is the later.
    pub number: u64,
}

/// What became of counters that were corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pardoned {
    /// How each counter stands now; `None` is nothing.
    pub counts: Vec<Option<Count>>,
    /// The answer's number, as in [`Judged`].
    pub number: u64,
}

/// That an answer is not one of our scripts'.
#[derive(Debug, thiserror::Error)]
#[error("Redis gave an answer that is none of the script's")]
pub(crate) struct Unintelligible;

/// A count in the scripts' form: `HITS TOLD END`.
pub(crate) fn written(count: Count) -> String {
    let told = u8::from(count.refusal_is_told);
    format!("{} {told} {}", count.hits, count.ends_at.as_micros())
}

fn read(text: &str) -> Result<Count, Unintelligible> {
    let mut parts = text.split(' ');
    let mut part = || parts.next().ok_or(Unintelligible);
    let (hits, told, ends_at) = (part()?, part()?, part()?);
    let refusal_is_told = match told {
        "0" => false,
        "1" => true,
        _ => return Err(Unintelligible),
    };
    Ok(Count {
        hits: number(hits)?,
        refusal_is_told,
        ends_at: Timestamp::from_micros(number(ends_at)?),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Unintelligible> {
    text.parse().map_err(|_| Unintelligible)
}

impl Judged {
    /// Reads the answer about these counters: the verdict's name, the answer's number, and counts.
    pub(crate) fn read(
        answer: &[String],
        counters: &[Counter],
        now: Timestamp,
    ) -> Result<Self, Unintelligible> {
        let [verdict, number_of_answer, counts @ ..] = answer else {
            return Err(Unintelligible);
        };
        let counts = counts
            .iter()
            .map(|text| read(text))
            .collect::<Result<Vec<_>, _>>()?;
        let verdict = match verdict.as_str() {
            "room" if counts.len() == counters.len() => Verdict::Allowed(room(counters, &counts, now)),
            "first" => refusal(counters, &counts, now, true)?,
            "told" => refusal(counters, &counts, now, false)?,
            _ => return Err(Unintelligible),
        };
        Ok(Self {
            verdict,
            counts,
            number: number(number_of_answer)?,
        })
    }
}

impl Pardoned {
    /// Reads the answer about so many corrections: the answer's number, and counts.
    pub(crate) fn read(answer: &[String], corrections: usize) -> Result<Self, Unintelligible> {
        let [number_of_answer, counts @ ..] = answer else {
            return Err(Unintelligible);
        };
        if counts.len() != corrections {
            return Err(Unintelligible);
        }
        let count = |text: &String| match text.as_str() {
            "" => Ok(None),
            text => read(text).map(Some),
        };
        Ok(Self {
            counts: counts.iter().map(count).collect::<Result<_, _>>()?,
            number: number(number_of_answer)?,
        })
    }
}

fn room(counters: &[Counter], counts: &[Count], now: Timestamp) -> Room {
    match (counters.first(), counts.first()) {
        (Some(counter), Some(count)) => Room::of(counter, *count, now),
        _ => Room::default(),
    }
}

/// The full counter is the last that was looked at.
fn refusal(
    counters: &[Counter],
    counts: &[Count],
    now: Timestamp,
    is_first: bool,
) -> Result<Verdict, Unintelligible> {
    let full = counts.last().ok_or(Unintelligible)?;
    let counter = counters.get(counts.len() - 1).ok_or(Unintelligible)?;
    Ok(Verdict::Full {
        key: counter.key,
        kind: counter.kind,
        retry_after: now.seconds_until(full.ends_at),
        is_first,
    })
}

#[cfg(test)]
mod tests {
    use auth_domain::throttle::{CounterKey, CounterKind, NetworkKey};
    use auth_domain::time::Seconds;

    use super::*;

    fn counter() -> Counter {
        Counter {
            key: CounterKey::LoginsFrom(NetworkKey::of("192.0.2.1".parse().unwrap())),
            limit: 3,
            window: Seconds::new(60),
            kind: CounterKind::Rate,
        }
    }

    #[test]
    fn a_count_survives_the_round_trip() {
        for (hits, refusal_is_told, micros) in [(0, false, 0), (u32::MAX, true, i64::MAX), (1, true, -5)] {
            let count = Count {
                hits,
                refusal_is_told,
                ends_at: Timestamp::from_micros(micros),
            };
            assert_eq!(read(&written(count)).unwrap(), count);
        }
    }

    #[test]
    fn what_no_script_of_ours_says_is_not_taken_for_a_verdict() {
        let answers: &[&[&str]] = &[
            &[],
            &["room"],
            &["room", "1"],
            &["room", "x", "1 0 5"],
            &["room", "1", "1 0 5", "1 0 5"],
            &["room", "1", "-1 0 5"],
            &["room", "1", "1 2 5"],
            &["room", "1", "1 0"],
            &["first", "1"],
            &["told", "1", "1 0 5", "1 0 5"],
            &["maybe", "1", "1 0 5"],
        ];
        for answer in answers {
            let answer: Vec<_> = answer.iter().map(|part| (*part).to_owned()).collect();
            let judged = Judged::read(&answer, &[counter()], Timestamp::from_micros(0));
            assert!(judged.is_err(), "{answer:?}");
        }
        for answer in [&[][..], &["1".to_owned()], &["x".to_owned(), String::new()]] {
            assert!(Pardoned::read(answer, 1).is_err(), "{answer:?}");
        }
    }
}
