//! What running servers export, held to what `docs/METRICS.md` lists: nothing else, and all of it.

use std::net::SocketAddr;

use auth_e2e::client::{Client, FLUTTER};
use auth_e2e::http::Http;
use auth_e2e::installation::Installation;
use auth_e2e::server::Server;
use auth_testkit::metrics::{Exported, Reference};
use auth_testkit::server::{Database, RedisServer};

/// What only shows after a time that no test waits for, or over TLS; other tests see them.
const ELSEWHERE: [&str; 3] = [
    "auth_housekeeping_duration_seconds",
    "auth_housekeeping_finished_timestamp_seconds",
    "auth_tls_certificate_expiry_timestamp_seconds",
];

fn reference() -> Reference {
    Reference::read(include_str!("../../../docs/METRICS.md"))
}

fn exported(address: SocketAddr) -> Exported {
    Exported::read(&Http::new(address).get("/metrics").unwrap().text())
}

/// Has every endpoint asked, well and badly.
fn ask_everything(server: &Server) {
    let (http, client) = (server.http(), Client::new(server.http(), FLUTTER));
    let first = client.admin_tokens();
    client.refreshed(&first);
    assert_eq!(client.refresh(&first.refresh).status, 401);
    assert_eq!(client.sign_in("nobody", "x").status, 401);
    assert_eq!(
        Client::new(server.http(), "nobody").sign_in("nobody", "x").status,
        401
    );
    let token = [("token", "x"), ("client_id", FLUTTER)];
    assert_eq!(http.post_form("/oauth/revoke", &[], &token).unwrap().status, 200);
    assert_eq!(
        http.post_form("/oauth/introspect", &[], &token).unwrap().status,
        401
    );
    for path in ["/health", "/ready", "/live", "/nowhere", "/.well-known/jwks.json"] {
        assert!(http.get(path).is_ok(), "{path}");
    }
}

#[test]
fn servers_export_what_is_listed_and_nothing_else() {
    let (redis, database) = (RedisServer::start(), Database::new());
    let replica = database.url();
    let large = Installation::new()
        .on_postgres(database)
        .with("AUTH_SERVICE__DB_READ_URL", &replica)
        .with("AUTH_SERVICE__REDIS_URL", &redis.url())
        .with("AUTH_SERVICE__KEY_ROTATION_INTERVAL", "86400")
        // Nobody takes them there.
        .with("AUTH_SERVICE__OTLP_ENDPOINT", "http://127.0.0.1:1");
    let installations = [Installation::new(), large];
    let servers: Vec<Server> = installations.iter().map(Installation::start).collect();
    let reference = reference();
    let [small, large] = [0, 1].map(|which: usize| {
        ask_everything(&servers[which]);
        let exported = exported(servers[which].address());
        assert_eq!(exported.strays(&reference), [""; 0]);
        exported
    });
    let absent = reference.absent_from(&[&small, &large]);
    assert!(absent.iter().all(|name| ELSEWHERE.contains(name)), "{absent:?}");

    for (exported, series, value) in [
        (&small, "auth_database_up", Some(1.0)),
        (&small, "auth_database_replica_up", None),
        (&small, "auth_redis_up", None),
        (&small, "auth_signing_key_end_timestamp_seconds", None),
        (
            &small,
            r#"auth_database_pool_connections_max{pool="writes"}"#,
            Some(1.0),
        ),
        (&small, r#"auth_database_commits_total{pool="rotations"}"#, None),
        (&small, "auth_refresh_token_reuse_total", Some(1.0)),
        (&large, "auth_database_up", Some(1.0)),
        (&large, "auth_database_replica_up", Some(1.0)),
        (&large, "auth_redis_up", Some(1.0)),
        (
            &large,
            r#"auth_database_commits_total{pool="rotations"}"#,
            Some(1.0),
        ),
        (
            &large,
            r#"auth_database_committed_writes_total{pool="rotations"}"#,
            Some(1.0),
        ),
        (
            &large,
            r#"auth_database_pool_connections_max{pool="replica"}"#,
            Some(4.0),
        ),
        (&large, r#"auth_signing_keys{state="active"}"#, Some(1.0)),
        (&large, "auth_signing_key_directory_up", Some(1.0)),
        (&large, "auth_housekeeping_overdue", Some(0.0)),
        (&large, "auth_stopping", Some(0.0)),
        (&large, "auth_http_connections_max", Some(10_000.0)),
        (
            &large,
            r#"auth_failed_login_attempts_total{reason="invalid_credentials"}"#,
            Some(1.0),
        ),
        (
            &large,
            r#"auth_http_requests_total{route="/oauth/token",method="POST",status="200"}"#,
            Some(2.0),
        ),
    ] {
        assert_eq!(exported.value(series), value, "{series}");
    }
    let age = large.value("auth_signing_key_age_seconds").unwrap();
    assert!((0.0..600.0).contains(&age), "{age}");
    let rows = small
        .value(r#"auth_database_committed_writes_total{pool="writes"}"#)
        .unwrap();
    let commits = small
        .value(r#"auth_database_commits_total{pool="writes"}"#)
        .unwrap();
    assert!(commits > 0.0 && rows >= commits, "{rows} in {commits}");
    let open = small.value("auth_http_connections").unwrap();
    assert!(open >= 1.0, "the one that asks, at least: {open}");
    let busy = small.value("process_cpu_seconds_total").unwrap();
    assert!(busy > 0.0, "two passwords were hashed: {busy}");
}
