//! A headless Chromium, driven by WebDriver (W3C): JSON over HTTP to `chromedriver` on a loopback port.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auth_e2e::server::within;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

/// How long the browser may take for a step, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing leaves for the browser's makers, and nothing of this machine's graphics or sandboxes is needed.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // What is to be clicked on stands still.
    "--force-prefers-reduced-motion",
    "--window-size=1280,1600",
];
/// By this member WebDriver marks an element (section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. It ends, with all it has begun, when this is dropped.
#[derive(Debug)]
pub(super) struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
    process: Option<Pid>,
    profile: TempDir,
}

impl Browser {
    /// Starts one with a new, empty profile.
    pub(super) fn start() -> Self {
        let (driver, address) = start_driver();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            agent,
            session: format!("{address}/session"),
            process: None,
            profile,
        };
        browser.begin();
        browser
    }

    fn begin(&mut self) {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let begun = self.post(
            "",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "goog:chromeOptions": {"args": flags}
            }}}),
        );
        let id = begun["sessionId"].as_str().unwrap();
        self.session = format!("{}/{id}", self.session);
        let process = begun["capabilities"]["goog:processID"].as_i64();
        self.process = process.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        // Away from the browser's own first page, and what that asked for with it.
        self.open("about:blank");
        self.asked_for();
    }

    /// Opens a page, and waits until it is there.
    pub(super) fn open(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// Has requests to addresses of these patterns fail.
    pub(super) fn refuse(&self, patterns: &[&str]) {
        for (command, params) in [
            ("Network.enable", json!({})),
            ("Network.setBlockedURLs", json!({ "urls": patterns })),
        ] {
            self.post("/goog/cdp/execute", &json!({"cmd": command, "params": params}));
        }
    }

    /// Runs the body of a function on the page; says what that returns.
    pub(super) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The same again and again until it returns something.
    pub(super) fn wait_for(&self, script: &str) -> Value {
        let seen = within(PATIENCE, || {
            Some(self.run(script)).filter(|value| !value.is_null())
        });
        seen.unwrap_or_else(|| panic!("nothing came of {script}: {:#?}", self.faults()))
    }

    /// Empties a field, and types into it.
    pub(super) fn type_into(&self, field: &str, text: &str) {
        let field = self.find(field);
        self.post(&format!("{field}/clear"), &json!({}));
        self.post(&format!("{field}/value"), &json!({ "text": text }));
    }

    /// Clicks on something, which must be where a reader could click on it.
    pub(super) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("{element}/click"), &json!({}));
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector}));
        format!("/element/{}", found[ELEMENT].as_str().unwrap())
    }

    /// All cookies that the browser has, those that scripts can't see among them.
    pub(super) fn cookies(&self) -> Value {
        let request = self.agent.get(format!("{}/cookie", self.session));
        let mut answer = request.call().unwrap();
        answer.body_mut().read_json::<Value>().unwrap()["value"].take()
    }

    /// Every address that the network has been asked for since this was asked last.
    pub(super) fn asked_for(&self) -> Vec<String> {
        let entries = self.log("performance");
        let messages = entries
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let requests = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        requests
            .filter_map(|message| {
                let address = &message["message"]["params"]["request"]["url"];
                Some(address.as_str()?.to_owned())
            })
            .collect()
    }

    /// What the console says is wrong: errors of scripts, what was not found, what a policy refused.
    pub(super) fn faults(&self) -> Vec<Value> {
        let mut entries = self.log("browser");
        entries.retain(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        entries
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.post("/se/log", &json!({ "type": kind }));
        log.as_array().unwrap().clone()
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.session));
        let mut answer = request.send_json(body).unwrap();
        let value: Value = answer.body_mut().read_json().unwrap();
        assert!(answer.status().is_success(), "{path} {body}: {value}");
        value["value"].clone()
    }
}

/// Starts the driver on a free port, and reads from it which.
fn start_driver() -> (Child, String) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("chromedriver can't be started, .ci/install test installs it: {error}")
        });
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    });
    let port = port.unwrap_or_else(|| panic!("chromedriver ended before it said its port"));
    (driver, format!("http://127.0.0.1:{port}"))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closing the session closes the browser; where that fails, it is killed.
        let _ = self.agent.delete(&self.session).call();
        if let Some(browser) = self.process {
            let ended = within(Duration::from_secs(5), || {
                test_kill_process(browser).is_err().then_some(())
            });
            if ended.is_none() {
                let _ = kill_process(browser, Signal::KILL);
            }
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
