//! Every row of the table of refusals, with bodies and headers, in both wire profiles.

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::test::TestRequest;
use auth_domain::client::{Client, ClientStatus, GrantType, WireProfile};
use auth_domain::time::Seconds;
use auth_domain::user::{User, UserStatus};
use auth_testkit::{TestBed, build};

use crate::rig::{CONFIDENTIAL_FLUTTER, PUBLIC, Rig, form, form_request, login, refresh};

/// The clients of one wire profile: a public and a confidential one.
#[derive(Clone, Copy)]
struct Profile {
    public: &'static str,
    confidential: &'static str,
    wire: WireProfile,
}

const RFC: Profile = Profile {
    public: PUBLIC,
    confidential: build::BACKEND,
    wire: WireProfile::Rfc,
};
const FLUTTER: Profile = Profile {
    public: build::FLUTTER,
    confidential: CONFIDENTIAL_FLUTTER,
    wire: WireProfile::CodelabFlutter,
};

#[actix_web::test]
async fn each_refusal_looks_to_a_client_of_the_rfc_profile_as_rfc_6749_says() {
    insta::assert_snapshot!(table(RFC).await);
}

#[actix_web::test]
async fn to_a_client_of_the_flutter_profile_nothing_differs_but_the_status_of_invalid_grant() {
    let flutter = table(FLUTTER).await;
    let as_rfc = flutter.replace(FLUTTER.public, RFC.public).replace(
        "\nwww-authenticate: Bearer realm=\"codelab-auth\"\n{\"error\":\"invalid_grant\"",
        "\n{\"error\":\"invalid_grant\"",
    );
    let rfc = table(RFC).await;
    let differing: Vec<_> = as_rfc
        .split("\n\n")
        .zip(rfc.split("\n\n"))
        .filter(|(flutter, rfc)| flutter != rfc)
        .map(|(flutter, rfc)| flutter.replacen("\n401\n", "\n400\n", 1) == rfc)
        .collect();
    assert_eq!(differing, [true; 9], "the nine cases of a bad grant");
    insta::assert_snapshot!(flutter);
}

async fn table(of: Profile) -> String {
    let mut table = Vec::new();
    table.extend(faulty_requests(of).await);
    table.extend(bad_clients(of).await);
    table.extend(bad_grants(of).await);
    table.extend(limits_and_outages(of).await);
    table.join("\n\n")
}

async fn row(name: &str, rig: &Rig, request: TestRequest) -> String {
    format!("== {name}\n{}", rig.send(request).await.text())
}

async fn faulty_requests(of: Profile) -> Vec<String> {
    let rig = Rig::new(TestBed::without_limits());
    let good = login(of.public, build::ALICE, build::ALICE_PASSWORD);
    let mut rows = Vec::new();
    let forms = [
        ("no parameters at all", String::new()),
        ("grant_type missing", form(&[("client_id", of.public)])),
        (
            "grant_type empty",
            good.replace("grant_type=password", "grant_type="),
        ),
        ("client_id missing", form(&[("grant_type", "password")])),
        (
            "username missing",
            form(&[
                ("grant_type", "password"),
                ("client_id", of.public),
                ("password", "x"),
            ]),
        ),
        ("password empty", login(of.public, build::ALICE, "")),
        ("refresh_token missing", refresh(of.public, "")),
        ("parameter repeated", format!("{good}&username=bob")),
        (
            "parameter repeated with an empty value",
            format!("{good}&scope=&scope="),
        ),
        ("username too long", login(of.public, &"u".repeat(1_021), "x")),
        ("refresh_token too long", refresh(of.public, &"t".repeat(8_193))),
        ("NUL in a parameter", login(of.public, "ali\0ce", "x")),
        ("invalid UTF-8", format!("{good}&scope=%ff%fe")),
        ("malformed percent encoding", format!("{good}&scope=%zz")),
        (
            "body over 16 KiB",
            format!("{good}&padding={}", "x".repeat(16 * 1_024)),
        ),
        ("too many parameters", format!("{good}{}", "&a=b".repeat(100))),
        (
            "grant type unknown",
            good.replace("grant_type=password", "grant_type=authorization_code"),
        ),
        ("scope malformed", format!("{good}&scope=%22")),
        ("scope not allowed", format!("{good}&scope=api%3Aadmin")),
    ];
    for (name, form) in forms {
        rows.push(row(name, &rig, form_request(&form)).await);
    }
    let typed = |content_type: &str| form_request(&good).insert_header((CONTENT_TYPE, content_type));
    rows.push(row("content type JSON", &rig, typed("application/json")).await);
    rows.push(
        row(
            "content type multipart",
            &rig,
            typed("multipart/form-data; boundary=x"),
        )
        .await,
    );
    let untyped = TestRequest::post().uri("/oauth/token").set_payload(good.clone());
    rows.push(row("content type missing", &rig, untyped).await);
    rows
}

async fn bad_clients(of: Profile) -> Vec<String> {
    let rig = Rig::new(TestBed::without_limits());
    let good = login(of.confidential, build::ALICE, build::ALICE_PASSWORD);
    let disabled = Client {
        status: ClientStatus::Disabled,
        ..build::public_client("disabled")
    };
    rig.bed.store.put_client(disabled);
    let by_basic = |value: &str| form_request(&good).insert_header((AUTHORIZATION, value));
    let basic = |secret: &str| basic(of.confidential, secret);
    vec![
        row("client unknown", &rig, form_request(&login("nobody", "x", "y"))).await,
        row(
            "client id of an impossible form",
            &rig,
            form_request(&login("x", "x", "y")),
        )
        .await,
        row(
            "client disabled",
            &rig,
            form_request(&login("disabled", "x", "y")),
        )
        .await,
        row("secret missing", &rig, form_request(&good)).await,
        row(
            "secret wrong",
            &rig,
            form_request(&format!("{good}&client_secret=wrong")),
        )
        .await,
        row(
            "secret shown by a public client",
            &rig,
            form_request(&format!("{}&client_secret=x", login(of.public, "x", "y"))),
        )
        .await,
        row("secret wrong by Basic", &rig, by_basic(&basic("wrong"))).await,
        row("Basic malformed", &rig, by_basic("Basic !!!")).await,
        row("Basic without a colon", &rig, by_basic("Basic YWJj")).await,
        row("another scheme", &rig, by_basic("Bearer abc")).await,
        row(
            "Authorization repeated",
            &rig,
            by_basic(&basic("wrong")).append_header((AUTHORIZATION, basic("wrong"))),
        )
        .await,
        row(
            "two methods at once",
            &rig,
            form_request(&format!("{good}&client_secret={}", build::BACKEND_SECRET))
                .insert_header((AUTHORIZATION, basic(build::BACKEND_SECRET))),
        )
        .await,
        row(
            "two clients at once",
            &rig,
            form_request(&login(of.public, "x", "y"))
                .insert_header((AUTHORIZATION, basic(build::BACKEND_SECRET))),
        )
        .await,
        not_allowed(of).await,
    ]
}

async fn not_allowed(of: Profile) -> String {
    let rig = Rig::default();
    rig.bed.store.put_client(Client {
        allowed_grants: [GrantType::Password].into(),
        wire_profile: of.wire,
        ..build::public_client("password-only")
    });
    row(
        "grant not allowed to the client",
        &rig,
        form_request(&refresh("password-only", "x")),
    )
    .await
}

async fn bad_grants(of: Profile) -> Vec<String> {
    let mut rows = vec![
        row(
            "user unknown",
            &Rig::default(),
            form_request(&login(of.public, "nobody", "x")),
        )
        .await,
        row(
            "password wrong",
            &Rig::default(),
            form_request(&login(of.public, build::ALICE, "x")),
        )
        .await,
        inactive_user(of).await,
    ];
    let rig = Rig::default();
    let first = rig.sign_in(of.public).await;
    let tampered = format!("{}0", &first[..first.len() - 1]);
    let tampered = if tampered == first {
        format!("{}1", &first[..first.len() - 1])
    } else {
        tampered
    };
    rows.push(
        row(
            "refresh token no token",
            &rig,
            form_request(&refresh(of.public, "abc")),
        )
        .await,
    );
    rows.push(
        row(
            "refresh token tampered with",
            &rig,
            form_request(&refresh(of.public, &tampered)),
        )
        .await,
    );
    let other = Client {
        wire_profile: of.wire,
        ..build::public_client("other")
    };
    rig.bed.store.put_client(other);
    rows.push(
        row(
            "refresh token of another client",
            &rig,
            form_request(&refresh("other", &first)),
        )
        .await,
    );
    let second = rig
        .post(&refresh(of.public, &first))
        .await
        .member("refresh_token");
    rows.push(
        row(
            "refresh token used twice",
            &rig,
            form_request(&refresh(of.public, &first)),
        )
        .await,
    );
    rows.push(
        row(
            "refresh token revoked",
            &rig,
            form_request(&refresh(of.public, &second)),
        )
        .await,
    );
    let third = rig.sign_in(of.public).await;
    let wider = format!("{}&scope=api%3Aadmin", refresh(of.public, &third));
    rows.push(row("scope wider than granted", &rig, form_request(&wider)).await);
    rig.bed.clock.advance(Seconds::new(2_592_000));
    rows.push(
        row(
            "refresh token expired",
            &rig,
            form_request(&refresh(of.public, &third)),
        )
        .await,
    );
    rows
}

async fn inactive_user(of: Profile) -> String {
    let rig = Rig::default();
    rig.bed.store.put_user(User {
        status: UserStatus::Inactive,
        ..build::user(build::ALICE)
    });
    let form = login(of.public, build::ALICE, build::ALICE_PASSWORD);
    row("user inactive", &rig, form_request(&form)).await
}

async fn limits_and_outages(of: Profile) -> Vec<String> {
    let good = login(of.public, build::ALICE, build::ALICE_PASSWORD);
    let wrong = login(of.public, build::ALICE, "wrong");
    let limited = Rig::default();
    for _ in 0..5 {
        limited.post(&wrong).await;
    }
    let mut rows = vec![row("rate limit reached", &limited, form_request(&wrong)).await];
    limited.bed.clock.advance(Seconds::new(60));
    rows.push(row("account locked", &limited, form_request(&good)).await);
    let saturated = Rig::default();
    saturated.bed.hasher.saturate(Seconds::new(2));
    rows.push(row("password hashing saturated", &saturated, form_request(&good)).await);
    let down = Rig::default();
    down.bed.store.outage.begin();
    rows.push(row("storage down", &down, form_request(&good)).await);
    rows
}

fn basic(client_id: &str, secret: &str) -> String {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{client_id}:{secret}"));
    format!("Basic {pair}")
}
