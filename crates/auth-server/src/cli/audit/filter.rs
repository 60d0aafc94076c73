//! Which events are wanted, as the command line says it.

use std::net::IpAddr;

use auth_domain::audit::EventKind;
use auth_domain::id::{ClientId, UserId};
use auth_domain::ports::UserKey;
use auth_domain::ports::admin::AuditFilter;
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::Login;
use clap::Args;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::cli::desk::Desk;
use crate::cli::failure::Failure;

/// Which events: those for which everything given holds.
#[derive(Debug, Default, Args)]
pub(super) struct FilterArguments {
    /// Of this moment or later: RFC 3339, a date (UTC), or a span back from now such as 90s, 15m, 2h, 7d, 4w
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Of before this moment, written in the same ways
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Of this kind, such as login_failed; may be given several times
    #[arg(long = "event", value_name = "KIND")]
    kinds: Vec<String>,
    /// About this user: name, e-mail address, or id (which finds deleted users too)
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// About this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// About the request of this correlation id
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// What did not succeed
    #[arg(long, conflicts_with = "succeeded")]
    failed: bool,
    /// What succeeded
    #[arg(long)]
    succeeded: bool,
}

impl FilterArguments {
    /// The filter that is meant.
    ///
    /// # Errors
    /// Where a value can't be meant, or there is no such user.
    pub(super) async fn resolve(&self, desk: &Desk) -> Result<AuditFilter, Failure> {
        let filter = self.without_user(desk.now()).map_err(Failure::usage)?;
        let user_id = match &self.user {
            Some(user) => Some(user_id(desk, user).await?),
            None => None,
        };
        Ok(AuditFilter { user_id, ..filter })
    }

    fn without_user(&self, now: Timestamp) -> Result<AuditFilter, String> {
        let since = given("--since", self.since.as_deref(), |text| moment(text, now))?;
        let until = given("--until", self.until.as_deref(), |text| moment(text, now))?;
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err("--since is not before --until: no event can be both".to_owned());
        }
        let kinds: Result<Vec<_>, _> = self.kinds.iter().map(|name| kind(name)).collect();
        Ok(AuditFilter {
            after: None,
            since,
            until,
            kinds: kinds?,
            user_id: None,
            client_id: given("--client", self.client.as_deref(), |text| {
                ClientId::parse(text).map_err(|fault| fault.to_string())
            })?,
            ip: given("--ip", self.ip.as_deref(), |text| {
                text.parse::<IpAddr>()
                    .map(|ip| ip.to_canonical())
                    .map_err(|_| format!("{text} is no IP address, such as 192.0.2.7 or 2001:db8::7"))
            })?,
            correlation_id: self.correlation_id.clone(),
            success: self.success(),
        })
    }

    const fn success(&self) -> Option<bool> {
        match (self.succeeded, self.failed) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        }
    }
}

fn given<T>(
    flag: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    text.map(parse)
        .transpose()
        .map_err(|fault| format!("{flag}: {fault}"))
}

async fn user_id(desk: &Desk, user: &str) -> Result<UserId, Failure> {
    if let Ok(id) = uuid::Uuid::try_parse(user) {
        return Ok(UserId::from_uuid(id));
    }
    let key = UserKey::Login(Login::parse(user));
    let found = desk.store.user_directory.find(&key).await?;
    found.map(|user| user.id).ok_or_else(|| {
        Failure::refused(format!("there is no user {user}"))
            .advise("Events about a deleted user are found by the user's id.")
    })
}

/// A kind of event by its name; for a name that is none, with the one that was probably meant.
fn kind(name: &str) -> Result<EventKind, String> {
    EventKind::parse(name).map_err(|fault| {
        let near = EventKind::ALL
            .iter()
            .map(|kind| (strsim::normalized_damerau_levenshtein(kind.as_str(), name), kind))
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        match near {
            Some((_, kind)) => format!("--event: {name} is not a kind of event; did you mean {kind}?"),
            None => format!("--event: {name} is not a kind of event; it {fault}"),
        }
    })
}

/// A moment, or a span back from now.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return micros(at);
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return micros(date.midnight().assume_utc());
    }
    span(text)
        .map(|span| now.minus(span))
        .ok_or_else(|| format!("{text} is neither RFC 3339, such as 2026-11-22T15:04:05Z, nor a date, nor a span such as 90s, 15m, 2h, 7d, 4w"))
}

fn micros(at: OffsetDateTime) -> Result<Timestamp, String> {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000))
        .map(Timestamp::from_micros)
        .map_err(|fault| fault.to_string())
}

/// A number with the first letter of its unit.
fn span(text: &str) -> Option<Seconds> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    // A sign, which `parse` would take, is nothing that a span has.
    let count: u32 = number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(number)?
        .parse()
        .ok()?;
    count.checked_mul(seconds).map(Seconds::new)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

    #[rstest]
    #[case("2026-01-01T00:00:00Z", 0)]
    #[case("2026-01-01T01:00:00.000001+01:00", 1)]
    #[case("2026-01-02", 86_400_000_000)]
    #[case("0s", 0)]
    #[case("90s", -90_000_000)]
    #[case("15m", -900_000_000)]
    #[case("2h", -7_200_000_000)]
    #[case("7d", -604_800_000_000)]
    #[case("4w", -2_419_200_000_000)]
    fn a_moment_is_a_time_a_date_or_a_span_back(#[case] text: &str, #[case] from_now: i64) {
        assert_eq!(
            moment(text, NOW),
            Ok(Timestamp::from_micros(NOW.as_micros() + from_now))
        );
    }

    #[rstest]
    #[case("")]
    #[case("h")]
    #[case("-2h")]
    #[case("+2h")]
    #[case("2 h")]
    #[case("2y")]
    #[case("99999999999d")]
    #[case("yesterday")]
    #[case("2026-13-01")]
    #[case("2026-01-01T00:00:00")]
    fn what_is_no_moment_is_refused_with_what_would_be(#[case] text: &str) {
        let refused = moment(text, NOW).unwrap_err();
        assert!(refused.contains("RFC 3339"), "{refused}");
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_nearest_or_with_all() {
        let near = kind("login_fail").unwrap_err();
        assert!(near.contains("did you mean login_failed?"), "{near}");
        let far = kind("x").unwrap_err();
        assert!(
            far.contains("must be one of: login_success, login_failed"),
            "{far}"
        );
        for known in EventKind::ALL {
            assert_eq!(kind(known.as_str()), Ok(*known));
        }
    }

    #[test]
    fn everything_that_is_given_is_in_the_filter() {
        let arguments = FilterArguments {
            since: Some("2h".to_owned()),
            until: Some("1h".to_owned()),
            kinds: vec!["login_failed".to_owned(), "token_refresh".to_owned()],
            user: None,
            client: Some("app".to_owned()),
            ip: Some("::ffff:192.0.2.1".to_owned()),
            correlation_id: Some("c".to_owned()),
            failed: true,
            succeeded: false,
        };
        let expected = AuditFilter {
            after: None,
            since: Some(NOW.minus(Seconds::new(7_200))),
            until: Some(NOW.minus(Seconds::new(3_600))),
            kinds: vec![EventKind::LoginFailed, EventKind::TokenRefresh],
            user_id: None,
            client_id: Some(ClientId::parse("app").unwrap()),
            ip: Some("192.0.2.1".parse().unwrap()),
            correlation_id: Some("c".to_owned()),
            success: Some(false),
        };
        assert_eq!(arguments.without_user(NOW), Ok(expected));
        assert_eq!(
            FilterArguments::default().without_user(NOW),
            Ok(AuditFilter::default())
        );
    }

    #[rstest]
    #[case(FilterArguments { since: Some("1h".into()), until: Some("2h".into()), ..FilterArguments::default() }, "--since is not before")]
    #[case(FilterArguments { since: Some("soon".into()), ..FilterArguments::default() }, "--since: soon is neither")]
    #[case(FilterArguments { until: Some("soon".into()), ..FilterArguments::default() }, "--until: soon is neither")]
    #[case(FilterArguments { client: Some("x".into()), ..FilterArguments::default() }, "--client: a client id has")]
    #[case(FilterArguments { ip: Some("10.0.0.0/8".into()), ..FilterArguments::default() }, "--ip: 10.0.0.0/8 is no IP address, such as 192.0.2.7")]
    fn a_wrong_value_is_refused_by_its_flag(#[case] arguments: FilterArguments, #[case] says: &str) {
        let refused = arguments.without_user(NOW).unwrap_err();
        assert!(refused.starts_with(says), "{refused}");
    }
}
