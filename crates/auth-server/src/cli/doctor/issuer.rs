//! The issuer's URL as services see it: it leads here, and lets nobody keep the key set for too long.

use std::collections::BTreeSet;

use serde_json::Value;

use super::asked::{Answer, Asker, KEY_SET, METADATA};
use super::finding::Finding;
use super::instances::{Instance, listed};
use super::{clock, keys};
use crate::cli::failure::Failure;
use crate::settings::Listen;

const SUBJECT: &str = "issuer";
/// A new key is published for longer than this before it signs.
const KEPT_AT_MOST: u64 = 3_600;

/// What is found under the issuer's URL.
pub(super) struct Seen {
    metadata: Answer,
    key_set: Answer,
}

impl Seen {
    /// Asks as a service would.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(super) fn ask(asker: &Asker, issuer: &str) -> Result<Self, Failure> {
        let base = issuer.trim_end_matches('/');
        let metadata = asker.ask(&format!("{base}{METADATA}"))?;
        let key_set = asker.ask(&format!("{base}{KEY_SET}"))?;
        Ok(Self { metadata, key_set })
    }
}

/// Judges what was seen, beside what instances said when they were asked themselves.
pub(super) fn judge(
    seen: &Result<Seen, Failure>,
    issuer: &str,
    instances: &[Instance],
    listen: &Listen,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match seen {
        Err(failure) => findings.push(unreachable(failure, !instances.is_empty())),
        Ok(seen) => {
            findings.push(name(&seen.metadata, issuer));
            findings.extend(
                instances
                    .first()
                    .map(|instance| same_keys(&seen.key_set, &instance.key_set)),
            );
            findings.push(lifetime(&seen.key_set));
            let ahead = seen.metadata.ahead;
            findings.extend(ahead.map(|ahead| clock::judge(SUBJECT, "who answers for the issuer", ahead)));
        }
    }
    let proxy = seen.as_ref().ok().and_then(|seen| seen.metadata.proxy.as_deref());
    let proxy = proxy.or_else(|| instances.iter().find_map(Instance::proxy));
    let is_terminated = issuer.starts_with("https://") && listen.tls.is_none();
    findings.push(proxies(proxy, is_terminated, !listen.trust.proxies.is_empty()));
    findings
}

/// Before a first start nobody can answer there.
fn unreachable(failure: &Failure, is_running: bool) -> Finding {
    let (said, advice) = failure.clone().into_parts();
    let mend = "Services fetch the key set from there: the name has to resolve, the proxy to pass /.well-known/ on, and \
                this machine to be let through.";
    let mend = [Some(mend.to_owned()), advice];
    let mend = mend.into_iter().flatten().collect::<Vec<_>>().join("\n");
    if is_running {
        Finding::fail(SUBJECT, said, mend)
    } else {
        Finding::warn(SUBJECT, said, mend)
    }
}

fn name(metadata: &Answer, issuer: &str) -> Finding {
    match metadata.body.get("issuer").and_then(Value::as_str) {
        Some(named) if named == issuer => {
            Finding::ok(SUBJECT, format!("{issuer} leads to a server of that name"))
        }
        Some(named) => Finding::fail(
            SUBJECT,
            format!("{issuer} leads to a server that calls itself {named}"),
            "Set AUTH_SERVICE__JWT_ISSUER to the URL that clients use, to the letter, or let that URL lead here.",
        ),
        None => Finding::fail(
            SUBJECT,
            format!(
                "{issuer}{METADATA} gives no metadata (status {})",
                metadata.status
            ),
            "The proxy has to pass /.well-known/ on to this server; where clients come in by a prefix, the issuer ends in it.",
        ),
    }
}

fn same_keys(public: &Answer, of_instance: &Answer) -> Finding {
    let [public, of_instance]: [BTreeSet<_>; 2] =
        [public, of_instance].map(|answer| keys::names_in(&answer.body));
    if public == of_instance {
        return Finding::ok(SUBJECT, "services get the keys that the instances publish");
    }
    Finding::fail(
        SUBJECT,
        format!(
            "services get {}, an instance publishes {}",
            listed(&public),
            listed(&of_instance)
        ),
        "A cache keeps an old key set, or the URL leads to another deployment.",
    )
}

fn lifetime(key_set: &Answer) -> Finding {
    match key_set.max_age {
        Some(..=KEPT_AT_MOST) => Finding::ok(SUBJECT, "nobody keeps the key set for longer than an hour"),
        Some(seconds) => Finding::warn(
            SUBJECT,
            format!(
                "the key set may be kept for {seconds} s, and a new key signs 4200 s after it is published"
            ),
            "Let the proxy leave Cache-Control as it is: services would refuse tokens of a key that they do not know yet.",
        ),
        None => Finding::warn(
            SUBJECT,
            "nothing says for how long the key set may be kept",
            "Let the proxy pass Cache-Control on: without it each service decides by itself.",
        ),
    }
}

/// Where a proxy stands before the server, limits count the proxy until it is named.
fn proxies(proxy: Option<&str>, is_terminated: bool, are_trusted: bool) -> Finding {
    let who = match (proxy, is_terminated) {
        (Some(name), _) => format!("a proxy answers ({name})"),
        (None, true) => {
            "the issuer is https and this server speaks plain HTTP, so a proxy stands before it".to_owned()
        }
        (None, false) if are_trusted => return Finding::ok("proxies", "TRUSTED_PROXIES is set"),
        (None, false) => return Finding::ok("proxies", "no proxy shows"),
    };
    if are_trusted {
        return Finding::ok("proxies", format!("{who}, and TRUSTED_PROXIES is set"));
    }
    Finding::warn(
        "proxies",
        format!(
            "{who}, and TRUSTED_PROXIES is not set: limits count the proxy, and lock everybody out at once"
        ),
        "Set AUTH_SERVICE__TRUSTED_PROXIES to the proxy's network, and let it set X-Forwarded-For and X-Forwarded-Proto.",
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    const ISSUER: &str = "https://auth.example.com";

    fn answer(body: Value) -> Answer {
        Answer {
            status: 200,
            body,
            ..Answer::default()
        }
    }

    #[rstest]
    #[case(json!({ "issuer": ISSUER }), Verdict::Ok)]
    #[case(json!({ "issuer": "https://auth.example.com/" }), Verdict::Fail)]
    #[case(json!({ "issuer": "https://other.example.com" }), Verdict::Fail)]
    #[case(Value::Null, Verdict::Fail)]
    fn the_issuers_url_leads_to_a_server_of_that_very_name(#[case] body: Value, #[case] verdict: Verdict) {
        assert_eq!(name(&answer(body), ISSUER).verdict, verdict);
    }

    #[rstest]
    #[case(Some(3_600), Verdict::Ok)]
    #[case(Some(0), Verdict::Ok)]
    #[case(Some(3_601), Verdict::Warn)]
    #[case(None, Verdict::Warn)]
    fn nobody_may_keep_the_key_set_for_longer_than_an_hour(
        #[case] max_age: Option<u64>,
        #[case] verdict: Verdict,
    ) {
        let key_set = Answer {
            max_age,
            ..Answer::default()
        };
        assert_eq!(lifetime(&key_set).verdict, verdict);
    }

    #[rstest]
    #[case(Some("nginx"), false, false, Verdict::Warn)]
    #[case(Some("nginx"), true, true, Verdict::Ok)]
    #[case(None, true, false, Verdict::Warn)]
    #[case(None, true, true, Verdict::Ok)]
    #[case(None, false, false, Verdict::Ok)]
    fn a_proxy_has_to_be_named(
        #[case] proxy: Option<&str>,
        #[case] is_terminated: bool,
        #[case] are_trusted: bool,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(proxies(proxy, is_terminated, are_trusted).verdict, verdict);
    }

    #[test]
    fn services_get_the_keys_of_the_instances() {
        let keys = |kid: &str| answer(json!({ "keys": [{ "kid": kid }] }));
        assert_eq!(same_keys(&keys("a"), &keys("a")).verdict, Verdict::Ok);
        assert_eq!(same_keys(&keys("a"), &keys("b")).verdict, Verdict::Fail);
    }

    #[test]
    fn an_issuer_that_nobody_answers_for_fails_once_a_server_runs() {
        let away = Failure::refused("ask https://auth.example.com: no such host");
        assert_eq!(unreachable(&away, true).verdict, Verdict::Fail);
        assert_eq!(unreachable(&away, false).verdict, Verdict::Warn);
    }
}
