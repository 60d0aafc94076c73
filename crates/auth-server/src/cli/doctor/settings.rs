//! The settings: what `config check` warns of, and what is decided by not deciding it.

use super::finding::Finding;
use crate::settings::{Environment, Key, Layers, Problem, Settings, Source};

const SUBJECT: &str = "settings";

/// Looks at settings with which a server would start.
pub(super) fn examine(settings: &Settings, layers: &Layers) -> Vec<Finding> {
    let is_chosen = is_issuer_chosen(layers);
    let mut findings = warnings(&settings.warnings);
    findings.push(issuer(is_chosen, &settings.tokens.issuer.url));
    findings.push(environment(
        settings.environment,
        is_chosen,
        &settings.tokens.issuer.url,
    ));
    findings.push(limits(settings.limits.is_some()));
    findings
}

/// Whether somebody has set the issuer.
pub(super) fn is_issuer_chosen(layers: &Layers) -> bool {
    layers
        .find(Key::JwtIssuer)
        .is_some_and(|issuer| issuer.source != Source::Default)
}

fn warnings(warnings: &[Problem]) -> Vec<Finding> {
    if warnings.is_empty() {
        return vec![Finding::ok(SUBJECT, "nothing is wrong with them")];
    }
    let told = |problem: &Problem| Finding {
        mend: None,
        ..Finding::warn(SUBJECT, problem.to_string(), "")
    };
    warnings.iter().map(told).collect()
}

fn issuer(is_chosen: bool, url: &str) -> Finding {
    if is_chosen {
        return Finding::ok("issuer", format!("tokens say that they come from {url}"));
    }
    Finding::warn(
        "issuer",
        format!("JWT_ISSUER is not set, so tokens say that they come from {url}"),
        "Set AUTH_SERVICE__JWT_ISSUER to this server's public URL before users sign in: tokens of another issuer are refused.",
    )
}

fn environment(environment: Environment, is_chosen: bool, issuer: &str) -> Finding {
    match environment {
        Environment::Production => Finding::ok(
            "environment",
            "production: what is unsafe there would not start, and it would",
        ),
        Environment::Development | Environment::Test | Environment::Staging
            if is_chosen && issuer.starts_with("https://") =>
        {
            Finding::warn(
                "environment",
                "it is not production, though the issuer is a public URL: settings that are unsafe in earnest would start",
                "Set AUTH_SERVICE__ENVIRONMENT=production; `auth-service config check` then lists what has to change.",
            )
        }
        Environment::Development | Environment::Test | Environment::Staging => Finding::ok(
            "environment",
            "not production: what is unsafe in earnest is allowed",
        ),
    }
}

fn limits(are_on: bool) -> Finding {
    if are_on {
        return Finding::ok("limits", "guessing passwords is slowed down");
    }
    Finding::warn(
        "limits",
        "nothing slows down who guesses passwords",
        "Set AUTH_SERVICE__ENABLE_RATE_LIMITING=true; RATE_LIMIT_EXEMPT_NETWORKS names those that no limit holds for.",
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    const HTTPS: &str = "https://auth.example.com";

    #[rstest]
    #[case(Environment::Production, true, HTTPS, Verdict::Ok)]
    #[case(Environment::Development, true, HTTPS, Verdict::Warn)]
    #[case(Environment::Staging, true, HTTPS, Verdict::Warn)]
    #[case(Environment::Development, false, HTTPS, Verdict::Ok)]
    #[case(Environment::Test, true, "http://127.0.0.1:1", Verdict::Ok)]
    fn a_public_server_runs_in_production(
        #[case] of: Environment,
        #[case] is_chosen: bool,
        #[case] issuer: &str,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(environment(of, is_chosen, issuer).verdict, verdict);
    }

    #[test]
    fn what_is_left_to_the_default_is_warned_of() {
        assert_eq!(issuer(true, HTTPS).verdict, Verdict::Ok);
        assert_eq!(issuer(false, HTTPS).verdict, Verdict::Warn);
        assert_eq!(limits(true).verdict, Verdict::Ok);
        assert_eq!(limits(false).verdict, Verdict::Warn);
    }

    #[test]
    fn each_warning_of_the_settings_is_one_of_the_doctors() {
        assert_eq!(warnings(&[])[0].verdict, Verdict::Ok);
        let two = [Problem::new("A", "is so"), Problem::new("B", "is so")];
        let said: Vec<_> = warnings(&two).into_iter().map(|finding| finding.said).collect();
        assert_eq!(said, ["A: is so", "B: is so"]);
    }
}
