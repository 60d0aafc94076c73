//! Alerts, recording rules, the dashboard and the runbooks: each is correct by itself, they belong together, they ask for
//! what is exported alone, and a real Prometheus takes them.

mod catalogue;
mod prometheus;
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, thread};

use auth_e2e::binary::{self, workspace_root};
use auth_e2e::client::Client;
use auth_e2e::installation::Installation;
use auth_testkit::metrics::Exported;
use serde_json::Value;

use self::catalogue::Catalogue;
use self::prometheus::Prometheus;
use self::promql::Names;
use crate::documents;
use crate::support::everything_in;

const RULES: &str = "deploy/prometheus/rules/auth-service.yml";
const DASHBOARD: &str = "deploy/grafana/auth-service.json";
const RUNBOOKS: &str = "docs/runbooks";
/// What each page says, in this order.
const PARTS: [&str; 7] = [
    "**What it means.**",
    "**Who notices, and how urgent it is.**",
    "**Why this threshold.**",
    "**Look.**",
    "**Do.**",
    "**It is over when**",
    "**Don't**",
];
/// What Prometheus itself makes of whatever it watches.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

fn text(path: &str) -> String {
    fs::read_to_string(workspace_root().join(path)).unwrap()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace_root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|own| own == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

fn rule_tests() -> Vec<PathBuf> {
    files("deploy/prometheus/tests", "yml")
}

/// What comes after a key in a file of rules or of their tests.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text
        .lines()
        .map(|line| line.trim_start().trim_start_matches("- "));
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .collect()
}

/// The names of all alerts, each with its severity.
fn alerts() -> BTreeMap<String, String> {
    let text = text(RULES);
    let alerts = text.split("- alert: ").skip(1);
    alerts
        .map(|alert| {
            let name = alert.lines().next().unwrap();
            (name.to_owned(), values(alert, "severity")[0].to_owned())
        })
        .collect()
}

/// The expressions of all rules.
fn expressions_of_rules() -> Vec<String> {
    let text = text(RULES);
    let blocks = text.split("expr: |\n").skip(1);
    let is_inside = |line: &&str| line.starts_with("          ");
    blocks
        .map(|block| block.lines().take_while(is_inside).collect::<Vec<_>>().join("\n"))
        .collect()
}

/// The expressions in the runbooks, each with its file.
fn expressions_of_runbooks() -> Vec<(String, String)> {
    let pages = files(RUNBOOKS, "md").into_iter();
    pages
        .flat_map(|page| {
            let text = fs::read_to_string(&page).unwrap();
            let blocks = text.split("```promql\n").skip(1);
            let expressions = blocks.map(|block| block.split_once("```").unwrap().0.to_owned());
            expressions.map(|one| (stem(&page), one)).collect::<Vec<_>>()
        })
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn dashboard() -> Value {
    serde_json::from_str(&text(DASHBOARD)).unwrap()
}

/// Every value of that key, however deep it lies.
fn all<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, inner)| {
                let own = (name == key).then_some(inner);
                own.into_iter().chain(all(inner, key))
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| all(item, key)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// The dashboard's expressions, with something in place of its variables.
fn expressions_of_the_dashboard() -> Vec<String> {
    let dashboard = dashboard();
    let expressions = all(&dashboard, "expr").into_iter();
    expressions
        .map(|expression| {
            let chosen = [
                ("$__rate_interval", "1m"),
                ("$job", "auth-service"),
                ("$instance", ".*"),
            ];
            let expression = expression.as_str().unwrap().to_owned();
            chosen.iter().fold(expression, |text, (variable, value)| {
                text.replace(variable, value)
            })
        })
        .collect()
}

#[track_caller]
fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let run = Command::new("promtool").args(arguments).args(files).output();
    let run = run.unwrap_or_else(|error| panic!("promtool (run `.ci/install test`): {error}"));
    assert!(run.status.success(), "{}", everything_in(&run));
}

#[test]
fn the_configuration_and_the_rules_are_correct() {
    let configuration = workspace_root().join("deploy/prometheus/prometheus.yml");
    promtool(&["check", "config"], &[configuration]);
    promtool(
        &["check", "rules", "--lint-fatal"],
        &[workspace_root().join(RULES)],
    );
}

#[test]
fn every_rule_does_what_its_tests_say() {
    thread::scope(|scope| {
        for file in rule_tests() {
            scope.spawn(|| promtool(&["test", "rules"], &[file]));
        }
    });
}

#[test]
fn every_alert_is_tried_where_it_fires_and_where_it_does_not() {
    let mut fire: BTreeSet<String> = BTreeSet::new();
    let mut are_quiet = BTreeSet::new();
    for file in rule_tests() {
        let text = fs::read_to_string(file).unwrap();
        for check in text.split("- alertname: ").skip(1) {
            let name = check.lines().next().unwrap().to_owned();
            let expected = check.lines().find(|line| line.contains("exp_alerts:")).unwrap();
            let is_quiet = expected.ends_with("[]");
            if is_quiet { &mut are_quiet } else { &mut fire }.insert(name);
        }
    }
    let alerts: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(fire, alerts);
    assert_eq!(are_quiet, alerts);
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let alerts = alerts();
    let pages: BTreeSet<String> = files(RUNBOOKS, "md").iter().map(|page| stem(page)).collect();
    let expected = alerts.keys().cloned().chain(["README".to_owned()]);
    assert_eq!(pages, expected.collect());
    let index = text("docs/runbooks/README.md");
    for (name, severity) in &alerts {
        assert!(
            ["critical", "warning"].contains(&&**severity),
            "{name}: {severity}"
        );
        let row = format!("| [{name}]({name}.md) | {severity} |");
        assert!(index.contains(&row), "the index has no row {row}");
        let page = text(&format!("{RUNBOOKS}/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let paragraphs = page.split("\n\n");
        let paragraphs: Vec<&str> = paragraphs.filter(|text| text.starts_with("**")).collect();
        for (part, paragraph) in PARTS.iter().zip(&paragraphs) {
            assert!(paragraph.starts_with(part), "{name}: {paragraph}");
        }
        assert_eq!(paragraphs.len(), PARTS.len(), "{name}");
    }
    let links = values(&text(RULES), "runbook_url")
        .into_iter()
        .map(|link| {
            link.rsplit('/')
                .next()
                .unwrap()
                .trim_end_matches(".md'")
                .to_owned()
        })
        .collect::<Vec<_>>();
    let names: Vec<String> = values(&text(RULES), "alert")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(links, names, "an alert leads to another's page");
}

#[test]
fn whoever_asks_for_a_metric_asks_for_one_that_is_exported() {
    let catalogue = Catalogue::read();
    let rules = text(RULES);
    let recorded: BTreeSet<&str> = values(&rules, "record").into_iter().collect();
    let mut faults = Vec::new();
    for (place, expression) in everything_asked_for() {
        let names = Names::of(&expression);
        for selector in &names.selectors {
            let metric = &*selector.metric;
            if OF_PROMETHEUS.contains(&metric) || recorded.contains(metric) {
                continue;
            }
            let wrong = catalogue.faults(selector).into_iter();
            faults.extend(wrong.map(|fault| format!("{place}: {fault}")));
        }
        let unknown = names.labels.iter().filter(|label| !is_a_label(&catalogue, label));
        faults.extend(unknown.map(|label| format!("{place}: there is no label {label}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn is_a_label(catalogue: &Catalogue, label: &str) -> bool {
    // Those of ALERTS.
    catalogue.knows_label(label) || ["alertname", "severity"].contains(&label)
}

/// The expressions of rules, tests, dashboard and runbooks, each with where it stands.
fn everything_asked_for() -> Vec<(String, String)> {
    let rules = expressions_of_rules().into_iter();
    let rules = rules.map(|expression| ("rules".to_owned(), expression));
    let panels = expressions_of_the_dashboard().into_iter();
    let panels = panels.map(|expression| ("dashboard".to_owned(), expression));
    let tests = rule_tests().into_iter().flat_map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let series = values(&text, "series").into_iter();
        let series = series.map(|series| (stem(&file), series.trim_matches('\'').to_owned()));
        series.collect::<Vec<_>>()
    });
    rules
        .chain(panels)
        .chain(tests)
        .chain(expressions_of_runbooks())
        .collect()
}

#[test]
fn the_dashboard_is_tied_to_no_data_source_and_its_links_lead_to_runbooks() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for source in all(&dashboard, "datasource") {
        assert_eq!(source["uid"], "${datasource}", "{source}");
    }
    let known: Vec<&str> = all(&dashboard["templating"], "name")
        .into_iter()
        .filter_map(Value::as_str)
        .collect();
    for expression in all(&dashboard, "expr") {
        for variable in expression.as_str().unwrap().split('$').skip(1) {
            let end = variable.find(|part: char| !part.is_ascii_alphanumeric() && part != '_');
            let name = &variable[..end.unwrap_or(variable.len())];
            assert!(known.contains(&name) || name == "__rate_interval", "${name}");
        }
    }
    let links: BTreeSet<&str> = all(&dashboard, "url")
        .into_iter()
        .filter_map(Value::as_str)
        .collect();
    for link in &links {
        let page = link.strip_prefix("${runbooks}/").unwrap();
        let is_there = workspace_root().join(RUNBOOKS).join(page).exists();
        assert!(is_there || page == "${__value.raw}.md", "{link}");
    }
    for alert in alerts().keys() {
        let link = format!("${{runbooks}}/{alert}.md");
        assert!(links.contains(&*link), "no panel leads to {alert}");
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for panel in dashboard()["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty());
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().unwrap().len() > 8, "{title}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some() || panel["type"] == "table", "{title}");
    }
}

#[test]
fn a_prometheus_that_watches_a_server_judges_by_the_rules_and_draws_the_dashboard() {
    let installation = Installation::new();
    let server = installation.start();
    let prometheus = Prometheus::watching(server.address());
    let client = Client::flutter(server.http());
    let tokens = client.admin_tokens();
    client.refreshed(&tokens);
    for _ in 0..3 {
        assert_eq!(client.sign_in("admin", "Wrong-Horse-7-Battery").status, 401);
    }

    // Three of four failed; what is between two looks is guessed, so not to the last digit.
    let share = "job:auth_failed_logins:ratio_rate10m > 0.5 < 1";
    prometheus.wait_for("failed sign-ins to be seen", || prometheus.query(share).pop());
    prometheus.wait_for("every rule to be judged", || {
        let rules = prometheus.rules();
        let mut judged = rules.iter();
        judged
            .all(|rule| rule["lastEvaluation"].as_str().unwrap() > "2000")
            .then_some(())
    });
    for rule in prometheus.rules() {
        assert_eq!(rule["health"], "ok", "{rule}");
    }

    let all = expressions_of_rules().into_iter();
    let all = all.chain(
        expressions_of_runbooks()
            .into_iter()
            .map(|(_, expression)| expression),
    );
    for expression in all {
        prometheus.query(&expression);
    }
    let exported = Exported::read(&server.http().get("/metrics").unwrap().text());
    let catalogue = Catalogue::read();
    let absent = catalogue.reference().absent_from(&[&exported]);
    for expression in expressions_of_the_dashboard() {
        let asks_for_what_is_absent = Names::of(&expression).selectors.iter().any(|selector| {
            let family = catalogue.family(&selector.metric);
            absent.contains(&family) || family == "ALERTS"
        });
        let may_be_empty = asks_for_what_is_absent || expression.contains('>');
        prometheus.wait_for(&expression, || {
            let is_drawn = !prometheus.query(&expression).is_empty();
            (is_drawn || may_be_empty).then_some(())
        });
    }

    drop(server);
    prometheus.wait_for("the alert that nobody answers", || {
        prometheus
            .query("ALERTS{alertname=\"AuthServiceDown\",severity=\"critical\",alertstate=\"firing\"}")
            .pop()
    });
}

#[test]
fn every_command_of_the_runbooks_that_can_run_here_does() {
    let installation = Installation::new().unlimited();
    let server = installation.start();
    let client = Client::flutter(server.http());
    client.admin_tokens();
    client.sign_in("admin", "Wrong-Horse-7-Battery");
    let deploy = workspace_root().join("deploy");
    symlink(deploy, installation.directory().join("deploy")).unwrap();
    let mut tried = 0;
    for page in files(RUNBOOKS, "md") {
        let name = format!("{RUNBOOKS}/{}.md", stem(&page));
        for command in documents::commands(&name, "runbook") {
            let command = command.replace("127.0.0.1:8003", &server.address().to_string());
            let run = shell(&installation, &command);
            assert!(run.status.success(), "{name}: {command}{}", everything_in(&run));
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}

/// A command as an operator would type it beside the server.
fn shell(installation: &Installation, command: &str) -> Output {
    let programs = binary::auth_service().parent().unwrap().display();
    let mut shell = Command::new("bash");
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AUTH_SERVICE") {
            shell.env_remove(&name);
        }
    }
    shell
        .args(["-euo", "pipefail", "-c", command])
        .envs(installation.settings())
        .env("PATH", format!("{programs}:{}", env::var("PATH").unwrap()))
        .current_dir(installation.directory())
        .output()
        .unwrap()
}
