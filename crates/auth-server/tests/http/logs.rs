//! The one log line of a token request: what it tells, and what it must never tell.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, Once};

use actix_web::http::header::{HeaderValue, USER_AGENT};
use auth_testkit::build;
use serde_json::Value;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::rig::{PUBLIC, Rig, form_request, login, refresh};

thread_local! {
    /// Where the lines of this thread's test go, if it keeps them.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// What a test has logged, on the thread that it runs on.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Ends the keeping when it is dropped.
struct Keeping;

impl Drop for Keeping {
    fn drop(&mut self) {
        KEPT.take();
    }
}

/// Lets each test that wants to keep what it logs. One subscriber for all threads: each place that logs asks only once
/// whether anybody listens, and with one for each test it might ask on a thread where nobody does, and be silent then
/// on all of them.
pub(crate) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(|| KEPT.with_borrow(Clone::clone).unwrap_or_default())
            .with_filter(dynamic_filter_fn(|_, _| KEPT.with_borrow(Option::is_some)));
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

fn keep() -> (Kept, Keeping) {
    listen();
    let kept = Kept::default();
    KEPT.set(Some(kept.clone()));
    (kept, Keeping)
}

fn of_requests(kept: &Kept) -> Vec<Value> {
    let lines = kept.lines().into_iter();
    lines.filter(|line| line["event_type"].is_string()).collect()
}

#[actix_web::test]
async fn a_token_request_leaves_one_line_with_its_circumstances() {
    let (kept, _current) = keep();
    let rig = Rig::default();
    let form = login(PUBLIC, build::ALICE, build::ALICE_PASSWORD);
    let request = form_request(&form)
        .insert_header(("User-Agent", "app/1"))
        .insert_header((
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ));
    rig.send(request).await;
    let lines = of_requests(&kept);
    let [line] = lines.as_slice() else {
        panic!("{lines:#?}")
    };
    for (field, value) in [
        ("level", "INFO"),
        ("target", "auth_server::http"),
        ("event_type", "login_success"),
        ("correlation_id", "test-1"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("client_id", PUBLIC),
        ("ip_address", "192.0.2.1"),
        ("user_agent", "app/1"),
        ("scope", "api:read api:write"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(line["user_id"], build::user_id(build::ALICE).to_string());
    assert!(line["duration_ms"].is_number() && line["timestamp"].is_string());
}

#[actix_web::test]
async fn a_user_agent_can_not_turn_a_line_around() {
    let (kept, _current) = keep();
    let agent = HeaderValue::from_bytes("app\u{202e}\u{9b}1".as_bytes()).unwrap();
    let request = form_request("").insert_header((USER_AGENT, agent));
    Rig::default().send(request).await;
    let lines = of_requests(&kept);
    assert_eq!(lines.first().unwrap()["user_agent"], "app?????1");
}

#[actix_web::test]
async fn each_outcome_has_its_name_and_level() {
    let (kept, _current) = keep();
    let rig = Rig::default();
    let first = rig.sign_in(PUBLIC).await;
    rig.post(&refresh(PUBLIC, &first)).await;
    rig.post(&refresh(PUBLIC, &first)).await;
    rig.post(&refresh(PUBLIC, "forged")).await;
    rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    rig.post("").await;
    rig.bed.store.outage.begin();
    rig.post(&refresh(PUBLIC, &first)).await;
    let lines = of_requests(&kept);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["level"].as_str().unwrap(),
                line["event_type"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("INFO", "login_success"),
            ("INFO", "token_refresh"),
            ("WARN", "security_incident"),
            ("INFO", "token_invalid"),
            ("INFO", "login_failed"),
            ("INFO", "token_refused"),
            ("ERROR", "unavailable"),
        ]
    );
}

#[actix_web::test]
async fn a_request_that_no_use_case_tells_of_leaves_one_line_by_its_answer() {
    let (kept, _current) = keep();
    let rig = Rig::default();
    rig.get("/.well-known/jwks.json").await;
    rig.get("/a-secret-path?token=secret").await;
    rig.get("/oauth/token").await;
    rig.bed.store.outage.begin();
    rig.get("/ready").await;
    let lines = of_requests(&kept);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let status = line["status"].to_string();
            let fields = [
                field("level"),
                field("event_type"),
                field("method"),
                field("route"),
                status,
            ];
            fields.join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "DEBUG request GET /.well-known/jwks.json 200",
            "INFO request GET other 404",
            "INFO request GET /oauth/token 405",
            "ERROR unavailable GET /ready 503",
        ]
    );
    let all_say = |field: &str, value: &str| lines.iter().all(|line| line[field] == value);
    assert!(all_say("correlation_id", "test-1") && all_say("ip_address", "192.0.2.1"));
    assert!(lines.iter().all(|line| line["duration_ms"].is_number()));
    assert!(!kept.text().contains("secret"));
}

#[actix_web::test]
async fn requests_about_tokens_leave_a_line_each_and_no_token_in_it() {
    let (kept, _current) = keep();
    let rig = Rig::default();
    let token = rig.sign_in(PUBLIC).await;
    let asked = |path: &str, form: String| rig.send(form_request(&form).uri(path));
    let own = format!("client_id={PUBLIC}&token={token}");
    asked("/oauth/revoke", own.clone()).await;
    let proved = format!(
        "client_id={}&client_secret={}&token={token}",
        build::BACKEND,
        build::BACKEND_SECRET
    );
    asked("/oauth/introspect", proved.clone()).await;
    asked("/oauth/revoke", proved).await;
    asked("/oauth/introspect", own).await;
    rig.bed.store.outage.begin();
    asked("/oauth/revoke", format!("client_id={PUBLIC}&token=abc")).await;
    let lines = of_requests(&kept);
    let told: Vec<_> = lines
        .iter()
        .skip(1)
        .map(|line| {
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            [
                field("level"),
                field("event_type"),
                field("result"),
                field("reason"),
            ]
            .join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "INFO token_revoke chain ",
            "INFO token_introspect inactive ",
            "INFO token_invalid  foreign_client",
            "INFO token_refused  invalid_client",
            "ERROR unavailable  ",
        ]
    );
    assert!(
        lines
            .iter()
            .skip(1)
            .take(3)
            .all(|line| line["session_id"].is_string())
    );
    let signature = token.rsplit('.').next().unwrap();
    assert!(!kept.text().contains(signature) && !kept.text().contains(build::BACKEND_SECRET));
}

#[actix_web::test]
async fn no_line_holds_a_password_a_token_a_secret_a_user_name_or_an_address_of_a_mailbox() {
    let (kept, _current) = keep();
    let rig = Rig::default();
    let first = rig.sign_in(PUBLIC).await;
    rig.post(&refresh(PUBLIC, &first)).await;
    rig.post(&refresh(PUBLIC, &first)).await;
    rig.post(&login(PUBLIC, "mallory@example.com", "hunter2-wrong"))
        .await;
    rig.post(&format!(
        "{}&client_secret=swordfish",
        login(build::BACKEND, build::ALICE, "x")
    ))
    .await;
    let text = kept.text();
    assert!(!of_requests(&kept).is_empty());
    let signature = first.rsplit('.').next().unwrap();
    for secret in [
        build::ALICE_PASSWORD,
        "hunter2-wrong",
        "swordfish",
        signature,
        "mallory",
        "example.com",
        "\"alice\"",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
