//! The running instances: there, well, of these settings, and all with the same keys.

use std::collections::BTreeSet;

use serde_json::Value;

use super::asked::{Answer, Asker, KEY_SET, METADATA};
use super::finding::Finding;
use super::{clock, keys};
use crate::cli::failure::Failure;

const SUBJECT: &str = "instance";

/// What an instance said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Instance {
    pub(super) base: String,
    pub(super) health: Answer,
    pub(super) ready: Answer,
    pub(super) metadata: Answer,
    pub(super) key_set: Answer,
}

impl Instance {
    /// Asks an instance.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(super) fn ask(asker: &Asker, base: &str) -> Result<Self, Failure> {
        Ok(Self {
            base: base.to_owned(),
            health: asker.ask(&format!("{base}/health"))?,
            ready: asker.ask(&format!("{base}/ready"))?,
            metadata: asker.ask(&format!("{base}{METADATA}"))?,
            key_set: asker.ask(&format!("{base}{KEY_SET}"))?,
        })
    }

    /// Who stands before it.
    pub(super) fn proxy(&self) -> Option<&str> {
        self.ready.proxy.as_deref()
    }

    /// The version of the program, as it says itself.
    fn version(&self) -> &str {
        let version = self.health.body.get("version").and_then(Value::as_str);
        version.unwrap_or("unknown")
    }

    fn keys(&self) -> BTreeSet<String> {
        keys::names_in(&self.key_set.body)
    }
}

/// Judges those that have answered, for servers of this issuer that publish these keys.
pub(super) fn judge(
    instances: &[Instance],
    issuer: &str,
    published: Option<&BTreeSet<String>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in instances {
        findings.push(readiness(instance));
        findings.push(name(instance, issuer));
        findings.extend(
            instance
                .ready
                .ahead
                .map(|ahead| clock::judge(SUBJECT, &instance.base, ahead)),
        );
        findings.extend(published.map(|published| own_keys(instance, published)));
    }
    findings.extend(same_keys(instances));
    findings.extend(same_versions(instances));
    findings
}

fn readiness(instance: &Instance) -> Finding {
    let base = &instance.base;
    match instance.ready.status {
        200 => Finding::ok(SUBJECT, format!("{base} answers, and can serve")),
        404 => Finding::fail(
            SUBJECT,
            format!(
                "{base} answers, and knows no /ready: it is no auth-service, or a proxy that passes on too little"
            ),
            "--url takes the base URL of an instance itself, behind the proxy.",
        ),
        status => {
            let missing = instance.ready.body.get("missing").and_then(Value::as_array);
            let missing: Vec<_> = missing.into_iter().flatten().filter_map(Value::as_str).collect();
            Finding::fail(
                SUBJECT,
                format!(
                    "{base} can't serve (status {status}); missing: {}",
                    missing.join(", ")
                ),
                "Its log says why; what is missing is looked at here as well.",
            )
        }
    }
}

fn name(instance: &Instance, issuer: &str) -> Finding {
    let base = &instance.base;
    match instance.metadata.body.get("issuer").and_then(Value::as_str) {
        Some(named) if named == issuer => Finding::ok(SUBJECT, format!("{base} issues tokens of {issuer}")),
        Some(named) => Finding::fail(
            SUBJECT,
            format!("{base} issues tokens of {named}, and by these settings it would be {issuer}"),
            "Start it anew with the same AUTH_SERVICE__JWT_ISSUER; or is --url another deployment's, or this another's \
             configuration?",
        ),
        None => Finding::fail(
            SUBJECT,
            format!("{base} gives no metadata (status {})", instance.metadata.status),
            "Is it an auth-service?",
        ),
    }
}

fn own_keys(instance: &Instance, published: &BTreeSet<String>) -> Finding {
    let base = &instance.base;
    if instance.keys() == *published {
        return Finding::ok(
            SUBJECT,
            format!("{base} publishes the keys that are looked at here"),
        );
    }
    Finding::fail(
        SUBJECT,
        format!(
            "{base} publishes {}, and the keys here are {}",
            listed(&instance.keys()),
            listed(published)
        ),
        "It reads another folder of keys: all instances share one (AUTH_SERVICE__KEYS_DIR), or have the same pair.",
    )
}

fn same_keys(instances: &[Instance]) -> Option<Finding> {
    let (first, others) = instances.split_first()?;
    if others.is_empty() {
        return None;
    }
    let other = others.iter().find(|other| other.keys() != first.keys());
    Some(match other {
        None => Finding::ok(SUBJECT, format!("all {} publish the same keys", instances.len())),
        Some(other) => Finding::fail(
            SUBJECT,
            format!(
                "{} publishes {}, {} publishes {}: what one signs the other refuses",
                first.base,
                listed(&first.keys()),
                other.base,
                listed(&other.keys())
            ),
            "Give all instances one folder of keys, or the same pair; docs/SCALING.md says how.",
        ),
    })
}

fn same_versions(instances: &[Instance]) -> Option<Finding> {
    let (first, others) = instances.split_first()?;
    if others.is_empty() {
        return None;
    }
    let other = others.iter().find(|other| other.version() != first.version());
    Some(match other {
        None => Finding::ok(SUBJECT, format!("all are of version {}", first.version())),
        Some(other) => Finding::warn(
            SUBJECT,
            format!(
                "{} is of version {}, {} of {}",
                first.base,
                first.version(),
                other.base,
                other.version()
            ),
            "That is well during an update: end it, and bring all to one version.",
        ),
    })
}

/// Names for a sentence.
pub(super) fn listed(keys: &BTreeSet<String>) -> String {
    if keys.is_empty() {
        return "no key".to_owned();
    }
    keys.iter().cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    const ISSUER: &str = "https://auth.example.com";

    fn instance(base: &str, issuer: &str, kids: &[&str]) -> Instance {
        let answer = |body| Answer {
            status: 200,
            body,
            ..Answer::default()
        };
        let keys: Vec<_> = kids.iter().map(|kid| json!({ "kid": kid })).collect();
        Instance {
            base: base.to_owned(),
            health: answer(json!({ "version": "1" })),
            ready: answer(json!({})),
            metadata: answer(json!({ "issuer": issuer })),
            key_set: answer(json!({ "keys": keys })),
        }
    }

    fn worst(findings: &[Finding]) -> Option<Verdict> {
        findings.iter().map(|finding| finding.verdict).max()
    }

    #[rstest]
    #[case(ISSUER, &["a", "b"], Verdict::Ok)]
    #[case("https://other.example.com", &["a", "b"], Verdict::Fail)]
    #[case(ISSUER, &["a"], Verdict::Fail)]
    #[case(ISSUER, &[], Verdict::Fail)]
    fn an_instance_has_the_issuer_and_the_keys_of_the_settings(
        #[case] issuer: &str,
        #[case] kids: &[&str],
        #[case] verdict: Verdict,
    ) {
        let published = ["a", "b"].map(ToOwned::to_owned).into();
        let findings = judge(&[instance("http://one", issuer, kids)], ISSUER, Some(&published));
        assert_eq!(worst(&findings), Some(verdict), "{findings:?}");
    }

    #[rstest]
    #[case(&["a", "b"], Verdict::Ok)]
    #[case(&["b", "a"], Verdict::Ok)]
    #[case(&["a", "c"], Verdict::Fail)]
    fn all_instances_publish_the_same_keys(#[case] kids: &[&str], #[case] verdict: Verdict) {
        let two = [
            instance("http://one", ISSUER, &["a", "b"]),
            instance("http://two", ISSUER, kids),
        ];
        assert_eq!(same_keys(&two).map(|finding| finding.verdict), Some(verdict));
        assert_eq!(same_keys(&two[..1]), None);
    }

    #[test]
    fn instances_of_two_versions_are_warned_of() {
        let one = instance("http://one", ISSUER, &["a"]);
        let mut other = instance("http://two", ISSUER, &["a"]);
        let verdict = |two: &[Instance]| same_versions(two).map(|finding| finding.verdict);
        assert_eq!(verdict(&[one.clone(), other.clone()]), Some(Verdict::Ok));
        other.health.body = json!({ "version": "2" });
        assert_eq!(verdict(&[one.clone(), other]), Some(Verdict::Warn));
        assert_eq!(verdict(&[one]), None);
    }

    #[rstest]
    #[case(200, Verdict::Ok)]
    #[case(404, Verdict::Fail)]
    #[case(503, Verdict::Fail)]
    fn an_instance_that_can_not_serve_fails(#[case] status: u16, #[case] verdict: Verdict) {
        let mut one = instance("http://one", ISSUER, &[]);
        one.ready.status = status;
        one.ready.body = json!({ "missing": ["migrations"] });
        let finding = readiness(&one);
        assert_eq!(finding.verdict, verdict);
        assert_eq!(finding.said.contains("migrations"), status == 503);
    }
}
