//! Traces, as a collector that speaks the real protocol receives them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use auth_e2e::client::{Client, FLUTTER, TOKEN, Tokens};
use auth_e2e::http::{Answer, Http};
use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::server::within;
use auth_testkit::server::{Collected, Collector, RedisServer};
use openssl::pkey::PKey;
use openssl::ssl::{AlpnError, SslAcceptor, SslMethod, select_next_proto};
use openssl::x509::X509;
use rstest::rstest;
use serde_json::Value;

use crate::tls::{Authority, GOOD};

const PATIENCE: Duration = Duration::from_secs(30);
const CALLERS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS_SPAN: &str = "b7ad6b7169203331";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// An installation that sends its traces to a collector.
fn traced(collector: &Collector, protocol: &str) -> Installation {
    Installation::new()
        .with("AUTH_SERVICE__OTLP_ENDPOINT", &collector.endpoint())
        .with("AUTH_SERVICE__OTLP_PROTOCOL", protocol)
}

fn sign_in_with(http: &Http, headers: &[(&str, &str)]) -> Answer {
    let form = [
        ("grant_type", "password"),
        ("client_id", FLUTTER),
        ("username", "admin"),
        ("password", ADMIN_PASSWORD),
    ];
    http.post_form(TOKEN, headers, &form).unwrap()
}

/// Whether the request's own span, which ends last, has come so many times.
fn are_requests(count: usize) -> impl Fn(&[Collected]) -> bool {
    move |spans| spans.iter().filter(|span| span.kind == SERVER).count() >= count
}

/// The spans of a trace, each as its path from the root.
fn tree(spans: &[Collected], trace_id: &str) -> Vec<String> {
    let own: BTreeMap<_, _> = spans
        .iter()
        .filter(|span| span.trace_id == trace_id)
        .map(|span| (span.span_id.as_str(), span))
        .collect();
    let path = |span: &Collected| {
        let mut path = vec![span.name.as_str()];
        let mut above = own.get(span.parent_id.as_str());
        while let Some(parent) = above {
            path.insert(0, parent.name.as_str());
            above = own.get(parent.parent_id.as_str());
        }
        path.join(" > ")
    };
    let mut paths: Vec<_> = own.values().map(|span| path(span)).collect();
    paths.sort();
    paths
}

fn roots(spans: &[Collected]) -> Vec<&Collected> {
    spans.iter().filter(|span| span.kind == SERVER).collect()
}

#[rstest]
#[case("grpc")]
#[case("http")]
fn a_sign_in_and_a_refresh_make_one_trace_each(#[case] protocol: &str) {
    let collector = if protocol == "grpc" {
        Collector::grpc()
    } else {
        Collector::http()
    };
    let redis = RedisServer::start();
    let installation = traced(&collector, protocol)
        .with("AUTH_SERVICE__OTLP_HEADERS", "x-key=open-sesame-1,X-Tenant=a b=c")
        .with("AUTH_SERVICE__REDIS_URL", &redis.url())
        .with("AUTH_SERVICE__REDIS_TIMEOUT", "5000");
    let server = installation.start();
    let traceparent = format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-01");
    let headers = [
        ("traceparent", traceparent.as_str()),
        ("tracestate", "vendor=1"),
        ("x-correlation-id", "the-sign-in"),
    ];
    let tokens = Tokens::of(&sign_in_with(&server.http(), &headers));
    Client::flutter(server.http()).refreshed(&tokens);
    let spans = collector.wait_until(are_requests(2));
    let roots = roots(&spans);
    let [sign_in, refresh] = roots.as_slice() else {
        panic!("{spans:#?}")
    };
    assert_eq!(
        (
            sign_in.trace_id.as_str(),
            sign_in.parent_id.as_str(),
            sign_in.trace_state.as_str()
        ),
        (CALLERS_TRACE, CALLERS_SPAN, "vendor=1")
    );
    assert_eq!(refresh.parent_id, "");
    assert_eq!(
        tree(&spans, CALLERS_TRACE),
        [
            "POST /oauth/token",
            "POST /oauth/token > grant",
            "POST /oauth/token > grant > clients.find",
            "POST /oauth/token > grant > password.verify",
            "POST /oauth/token > grant > sessions.open",
            "POST /oauth/token > grant > throttle.hit",
            "POST /oauth/token > grant > throttle.hit",
            "POST /oauth/token > grant > throttle.pardon",
            "POST /oauth/token > grant > tokens.sign",
            "POST /oauth/token > grant > users.find",
        ]
    );
    assert_eq!(
        tree(&spans, &refresh.trace_id),
        [
            "POST /oauth/token",
            "POST /oauth/token > grant",
            "POST /oauth/token > grant > clients.find",
            "POST /oauth/token > grant > sessions.find",
            "POST /oauth/token > grant > sessions.rotate",
            "POST /oauth/token > grant > throttle.hit",
            "POST /oauth/token > grant > tokens.sign",
            "POST /oauth/token > grant > tokens.verify",
        ]
    );
    check_what_is_said(&spans, sign_in);
    assert!(
        collector
            .header("x-key")
            .iter()
            .all(|value| value == "open-sesame-1")
    );
    assert!(collector.header("x-tenant").iter().any(|value| value == "a b=c"));
    server.stop();
    check_lines(&installation.printed(), sign_in, refresh);
}

#[track_caller]
fn check_what_is_said(spans: &[Collected], sign_in: &Collected) {
    let said = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(
        sign_in.attributes,
        said(&[
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("http.route", "/oauth/token"),
            ("url.scheme", "http"),
        ])
    );
    assert_eq!(
        named("grant").attributes,
        said(&[
            ("auth.client_id", FLUTTER),
            ("auth.grant_type", "password"),
            ("auth.result", "granted"),
        ])
    );
    assert_eq!(
        named("users.find").attributes,
        said(&[("db.operation.name", "users.find"), ("db.system.name", "sqlite")])
    );
    assert_eq!(named("throttle.hit").attributes["db.system.name"], "redis");
    assert_eq!(named("sessions.rotate").kind, CLIENT);
    let resource = &sign_in.resource;
    assert_eq!(resource["service.name"], "auth-service");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "development");
    assert_eq!(resource["service.instance.id"].len(), 36);
    assert!(spans.iter().all(|span| !span.is_error));
}

/// The log names the trace and the span, whoever has begun the trace.
#[track_caller]
fn check_lines(printed: &str, sign_in: &Collected, refresh: &Collected) {
    let line = |event: &str| -> Value {
        let lines = printed
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["event_type"] == event);
        lines.next().unwrap_or_else(|| panic!("no {event} in {printed}"))
    };
    for (event, span) in [("login_success", sign_in), ("token_refresh", refresh)] {
        let line = line(event);
        assert_eq!(line["trace_id"], span.trace_id.as_str());
        assert_eq!(line["span_id"], span.span_id.as_str());
    }
    assert_eq!(line("login_success")["correlation_id"], "the-sign-in");
}

#[test]
fn a_failure_is_marked_and_what_operators_ask_makes_no_trace() {
    let collector = Collector::http();
    let installation = traced(&collector, "http");
    let server = installation.start();
    let http = server.http();
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(http.get(path).unwrap().status, 200);
    }
    http.get("/.well-known/jwks.json").unwrap();
    http.get("/a-secret-path").unwrap();
    let wrong = Client::flutter(http).sign_in("nobody", "Wrong-Password-1");
    assert_eq!(wrong.status, 401);
    let spans = collector.wait_until(are_requests(3));
    let names: Vec<_> = roots(&spans).iter().map(|root| root.name.as_str()).collect();
    assert_eq!(names, ["GET /.well-known/jwks.json", "GET", "POST /oauth/token"]);
    let grant = spans.iter().find(|span| span.name == "grant").unwrap();
    assert_eq!(grant.attributes["auth.result"], "unknown_user");
    let raw = collector.raw();
    for private in ["nobody", "Wrong-Password-1", "a-secret-path", "127.0.0.1"] {
        let is_there = raw
            .windows(private.len())
            .any(|window| window == private.as_bytes());
        assert!(!is_there, "{private}");
    }
}

#[test]
fn what_a_caller_or_the_settings_leave_out_is_not_sent() {
    let collector = Collector::http();
    let never = traced(&collector, "http").with("AUTH_SERVICE__TRACE_SAMPLE_RATIO", "0");
    let server = never.start();
    sign_in_with(&server.http(), &[]);
    let unwanted = format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-00");
    sign_in_with(&server.http(), &[("traceparent", &unwanted)]);
    let wanted = format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-01");
    sign_in_with(&server.http(), &[("traceparent", &wanted)]);
    // What was left to be sent is sent before it ends.
    assert!(server.stop().unwrap().success());
    assert_eq!(roots(&collector.spans()).len(), 1);
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| span.trace_id == CALLERS_TRACE)
    );
}

#[test]
fn a_collector_that_is_away_harms_nobody_and_is_sent_to_again_when_it_is_back() {
    let gone = Collector::grpc();
    let (address, installation) = (gone.address(), traced(&gone, "grpc").unlimited());
    drop(gone);
    let server = installation.start();
    let client = Client::flutter(server.http());
    let mut tokens = client.admin_tokens();
    let begun = Instant::now();
    for _ in 0..20 {
        tokens = client.refreshed(&tokens);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let dropped = within(PATIENCE, || {
        let metrics = server.http().get("/metrics").unwrap().text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("auth_trace_spans_dropped_total{reason=\"not_taken\"} "))?;
        (line != "0").then_some(())
    });
    assert!(dropped.is_some(), "what was not taken is counted");
    let back = Collector::grpc_at(address);
    let arrived = within(PATIENCE, || {
        tokens = client.refreshed(&tokens);
        (!back.spans().is_empty()).then_some(())
    });
    assert!(arrived.is_some(), "{}", installation.printed());
    assert!(server.stop().unwrap().success());
    let printed = installation.printed();
    assert_eq!(
        printed.matches("the collector takes no spans").count(),
        1,
        "{printed}"
    );
    assert_eq!(
        printed.matches("the collector takes spans again").count(),
        1,
        "{printed}"
    );
}

#[rstest]
#[case("grpc", "PRI * HTTP/2.0\r\n")]
#[case("http", "POST /v1/traces HTTP/1.1\r\n")]
fn a_collector_may_be_spoken_to_over_tls(#[case] protocol: &str, #[case] beginning: &str) {
    let authority = Authority::new();
    let (listener, acceptor) = secure_listener(&authority);
    let port = listener.local_addr().unwrap().port();
    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&trusted, authority.pem()).unwrap();
    let installation = Installation::new()
        .with(
            "AUTH_SERVICE__OTLP_ENDPOINT",
            &format!("https://localhost:{port}"),
        )
        .with("AUTH_SERVICE__OTLP_PROTOCOL", protocol)
        .with("SSL_CERT_FILE", &trusted.path().display().to_string());
    let server = installation.start();
    sign_in_with(&server.http(), &[]);
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = acceptor.accept(stream).unwrap();
    let mut first = vec![0; beginning.len()];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(String::from_utf8_lossy(&first), beginning);
    drop(server);
}

/// Whom the authority vouches for.
fn secure_listener(authority: &Authority) -> (TcpListener, SslAcceptor) {
    let (certificate, key) = authority.issue(1, GOOD);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder
        .set_certificate(&X509::from_pem(&certificate).unwrap())
        .unwrap();
    builder
        .set_private_key(&PKey::private_key_from_pem(&key).unwrap())
        .unwrap();
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x02h2\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    (TcpListener::bind("127.0.0.1:0").unwrap(), builder.build())
}

#[test]
fn a_server_that_can_not_reach_its_collector_ends_in_time_all_the_same() {
    // It takes connections, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let installation = Installation::new()
        .with("AUTH_SERVICE__OTLP_ENDPOINT", &endpoint)
        .with("AUTH_SERVICE__OTLP_PROTOCOL", "http");
    let server = installation.start();
    sign_in_with(&server.http(), &[]);
    let begun = Instant::now();
    assert!(server.stop().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
