//! The cookie of a known device: how it is handed out, how it is taken back, and what it does.

use actix_web::test::TestRequest;
use auth_domain::device::{DevicePolicy, DeviceSecret};
use auth_domain::time::Seconds;
use auth_server::http::client_address::Trust;
use auth_server::http::device_cookie::find;
use auth_testkit::{TestBed, build};
use proptest::prelude::*;

use crate::rig::{PUBLIC, Reply, Rig, form_request, login, refresh};

const SECURE: &str = "__Host-codelab-device";
const PLAIN: &str = "codelab-device";

fn bed() -> TestBed {
    let mut bed = TestBed::default();
    bed.policy.devices = Some(DevicePolicy {
        secret: DeviceSecret::from_bytes([7; 32]),
        lifetime: Seconds::new(15_552_000),
    });
    bed
}

/// A server behind a proxy that terminates TLS.
fn behind_a_proxy(bed: TestBed) -> Rig {
    let proxies = vec!["192.0.2.1/32".parse().unwrap()];
    Rig::new(bed).set(|settings| {
        settings.trust = Trust {
            proxies,
            ..Trust::default()
        };
    })
}

fn over_https(form: &str, from: &str) -> TestRequest {
    form_request(form)
        .insert_header(("X-Forwarded-Proto", "https"))
        .insert_header(("X-Forwarded-For", from.to_owned()))
}

fn good() -> String {
    login(PUBLIC, build::ALICE, build::ALICE_PASSWORD)
}

/// The cookie as a client sends it back.
fn pair(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// The cookie with its value, which differs each time, left out.
fn shape(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie").unwrap();
    let (name, rest) = cookie.split_once('=').unwrap();
    let (value, attributes) = rest.split_once(';').unwrap();
    assert_eq!(value.len(), 119);
    format!("{name}=...;{attributes}")
}

#[actix_web::test]
async fn over_https_the_cookie_belongs_to_this_host_alone() {
    let rig = behind_a_proxy(bed());
    let reply = rig.send(over_https(&good(), "198.51.100.7")).await;
    assert_eq!(
        shape(&reply),
        "__Host-codelab-device=...; Path=/; Max-Age=15552000; HttpOnly; Secure; SameSite=Strict"
    );
}

#[actix_web::test]
async fn over_plain_http_the_cookie_does_without_what_browsers_would_refuse_there() {
    let reply = Rig::new(bed()).post(&good()).await;
    assert_eq!(
        shape(&reply),
        "codelab-device=...; Path=/; Max-Age=15552000; HttpOnly; SameSite=Strict"
    );
}

#[actix_web::test]
async fn nothing_but_a_good_sign_in_hands_a_cookie_out() {
    let rig = Rig::new(bed());
    let token = rig.post(&good()).await.member("refresh_token");
    for form in [
        refresh(PUBLIC, &token),
        login(PUBLIC, build::ALICE, "wrong"),
        login(PUBLIC, "nobody", "wrong"),
        login("nobody", build::ALICE, build::ALICE_PASSWORD),
        String::new(),
    ] {
        assert_eq!(rig.post(&form).await.header("set-cookie"), None, "{form}");
    }
    let unknown = Rig::default().post(&good()).await;
    assert_eq!(unknown.header("set-cookie"), None, "where devices are not known");
}

#[actix_web::test]
async fn an_attack_from_elsewhere_does_not_lock_the_owner_out_who_sends_the_cookie_back() {
    let rig = behind_a_proxy(bed());
    let cookie = pair(&rig.send(over_https(&good(), "198.51.100.7")).await);
    for number in 0..6 {
        let wrong = login(PUBLIC, build::ALICE, "wrong");
        rig.send(over_https(&wrong, &format!("203.0.113.{number}"))).await;
    }
    let stranger = rig.send(over_https(&good(), "198.51.100.7")).await;
    assert_eq!(stranger.status, 429);
    let owner = over_https(&good(), "198.51.100.7").insert_header(("Cookie", cookie));
    assert_eq!(rig.send(owner).await.status, 200);
}

#[actix_web::test]
async fn the_cookie_of_one_scheme_is_none_over_the_other() {
    let rig = Rig::new(bed());
    let cookie = pair(&rig.post(&good()).await);
    rig.bed.clock.advance(Seconds::new(60));
    for _ in 0..5 {
        rig.post(&login(PUBLIC, build::ALICE, "wrong")).await;
    }
    rig.bed.clock.advance(Seconds::new(60));
    let of_https = cookie.replace(PLAIN, SECURE);
    let as_stranger = form_request(&good()).insert_header(("Cookie", of_https));
    assert_eq!(rig.send(as_stranger).await.status, 429);
    let as_known = form_request(&good()).insert_header(("Cookie", cookie));
    assert_eq!(rig.send(as_known).await.status, 200);
}

#[actix_web::test]
async fn a_cookie_of_garbage_is_no_error() {
    let rig = Rig::new(bed());
    for cookie in [
        "",
        ";;=;",
        "codelab-device",
        "codelab-device=",
        "codelab-device=%00;x=y",
    ] {
        let request = form_request(&good()).insert_header(("Cookie", cookie));
        assert_eq!(rig.send(request).await.status, 200, "{cookie}");
    }
}

#[actix_web::test]
async fn an_answer_with_a_cookie_tells_nobody_who_exists() {
    let rig = Rig::new(bed());
    let cookie = pair(&rig.post(&good()).await);
    let send = |name: &str| {
        let form = login(PUBLIC, name, "wrong");
        rig.send(form_request(&form).insert_header(("Cookie", cookie.clone())))
    };
    let (unknown, known) = (send("nobody").await, send(build::ALICE).await);
    let without_quota = |reply: Reply| {
        let headers = reply.headers.into_iter();
        let headers: Vec<_> = headers.filter(|(name, _)| name != "ratelimit").collect();
        (reply.status, headers, reply.body)
    };
    assert_eq!(without_quota(unknown), without_quota(known));
}

fn found(headers: &[&str], is_secure: bool) -> Option<String> {
    let headers = headers.iter().map(|header| header.as_bytes());
    find(headers, is_secure).map(|note| note.expose().to_owned())
}

#[test]
fn the_first_cookie_of_the_right_name_counts() {
    for (headers, note) in [
        (&["codelab-device=abc"][..], Some("abc")),
        (&["a=b; codelab-device=abc; c=d"], Some("abc")),
        (&["a=b;codelab-device=abc"], Some("abc")),
        (&["a=b;   codelab-device=abc  ;"], Some("abc")),
        (&["codelab-device=\"abc\""], Some("abc")),
        (&["a=b", "codelab-device=abc"], Some("abc")),
        (&["codelab-device=one; codelab-device=two"], Some("one")),
        (&["codelab-device=one", "codelab-device=two"], Some("one")),
        (&["codelab-device=; codelab-device=two"], None),
        (&["x-codelab-device=abc"], None),
        (&["codelab-devices=abc"], None),
        (&["Codelab-Device=abc"], None),
        (&["codelab-device"], None),
        (&["codelab-device=a b"], None),
        (&["codelab-device=a=b"], None),
        (&["codelab-device=\"abc"], None),
        (&["codelab-device=a\u{e4}"], None),
        (&["__Host-codelab-device=abc"], None),
        (&[], None),
    ] {
        assert_eq!(found(headers, false).as_deref(), note, "{headers:?}");
    }
    assert_eq!(found(&["codelab-device=abc"], true), None);
    assert_eq!(
        found(&["__Host-codelab-device=A-z_9"], true).as_deref(),
        Some("A-z_9")
    );
}

#[test]
fn a_cookie_longer_than_any_note_is_none() {
    let of_length = |length: usize| found(&[&format!("codelab-device={}", "a".repeat(length))], false);
    assert!(of_length(256).is_some());
    assert_eq!(of_length(257), None);
}

proptest! {
    #[test]
    fn reading_cookies_never_panics(headers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4)) {
        let _ = find(headers.iter().map(Vec::as_slice), true);
    }

    #[test]
    fn reading_cookies_made_of_their_special_characters_never_panics(header in "[;=\" a\\-]{0,24}(codelab-device)?[;=\" a]{0,24}") {
        let _ = find(std::iter::once(header.as_bytes()), false);
    }
}
