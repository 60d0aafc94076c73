//! A Prometheus of a test's own, by the files of deploy/prometheus in a hurry.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auth_e2e::binary::workspace_root;
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::server::within;
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what must come, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it asks and judges here; and as long an answer may take, or all that was known of a server is forgotten.
const AT_ONCE: &str = "1s";

/// A running Prometheus. Killed when this is dropped.
pub(crate) struct Prometheus {
    process: Child,
    http: Http,
    directory: TempDir,
}

impl Prometheus {
    /// Starts one that watches a server, and waits until it has asked it.
    pub(crate) fn watching(server: SocketAddr) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("auth-prometheus-")
            .tempdir()
            .unwrap();
        // A free port is all that is wanted of this installation.
        let own = Installation::new().address();
        write_configuration(directory.path(), server, own);
        let said = fs::File::create(directory.path().join("said")).unwrap();
        let process = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={own}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus (run `.ci/install test`): {error}"));
        let new = Self {
            process,
            http: Http::new(own),
            directory,
        };
        new.wait_for("both jobs to be asked", || {
            let asked = new.ask("/api/v1/query", &[("query", "up == 1")])?;
            (asked["result"].as_array()?.len() == 2).then_some(())
        });
        new
    }

    /// What an expression comes to now: its series.
    #[track_caller]
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let form = [("query", expression)];
        let answer = self.http.post_form("/api/v1/query", &[], &form).unwrap();
        assert_eq!(answer.status, 200, "{expression}\n{}", answer.text());
        let data = &answer.json()["data"];
        match data["resultType"].as_str().unwrap() {
            "vector" => data["result"].as_array().unwrap().clone(),
            _ => vec![data["result"].clone()],
        }
    }

    /// Every rule, as Prometheus sees it.
    #[track_caller]
    pub(crate) fn rules(&self) -> Vec<Value> {
        let data = self.ask("/api/v1/rules", &[]).unwrap();
        let groups = data["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    /// Looks again and again until there is something to see.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        let said = || fs::read_to_string(self.directory.path().join("said")).unwrap();
        within(PATIENCE, look).unwrap_or_else(|| panic!("waited in vain for {what}\n{}", said()))
    }

    fn ask(&self, path: &str, form: &[(&str, &str)]) -> Option<Value> {
        let answer = match form {
            [] => self.http.get(path),
            form => self.http.post_form(path, &[], form),
        };
        let answer = answer.ok().filter(|answer| answer.status == 200)?;
        Some(answer.json()["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The files as they are, but for whom they watch, and for how long they take their time.
fn write_configuration(directory: &Path, server: SocketAddr, own: SocketAddr) {
    let from = workspace_root().join("deploy/prometheus");
    let configuration = fs::read_to_string(from.join("prometheus.yml")).unwrap();
    let configuration = exchange(&configuration, "15s", AT_ONCE);
    let configuration = exchange(
        &configuration,
        "'auth-a:9003', 'auth-b:9003'",
        &format!("'{server}'"),
    );
    let configuration = exchange(&configuration, "localhost:9090", &own.to_string());
    fs::write(directory.join("prometheus.yml"), configuration).unwrap();
    fs::create_dir(directory.join("rules")).unwrap();
    for rules in fs::read_dir(from.join("rules")).unwrap() {
        let rules = rules.unwrap();
        let hurried: String = fs::read_to_string(rules.path())
            .unwrap()
            .lines()
            .map(hurry)
            .collect();
        fs::write(directory.join("rules").join(rules.file_name()), hurried).unwrap();
    }
}

/// A line of rules, which wait for nothing here.
fn hurry(line: &str) -> String {
    match line.split_once(": ") {
        Some((key, _)) if key.trim() == "for" => format!("{key}: 0s\n"),
        Some((key, _)) if key.trim() == "interval" => format!("{key}: {AT_ONCE}\n"),
        _ => format!("{line}\n"),
    }
}

#[track_caller]
fn exchange(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not there any more");
    text.replace(from, to)
}
