//! What every store of users, clients and audit rows must keep.

use std::collections::BTreeSet;

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::client::{
    AccessTokenType, Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, RotationPolicy,
    WireProfile,
};
use auth_domain::context::RequestContext;
use auth_domain::ports::admin::{
    Changed, ClientChange, ClientCreated, Founded, Founders, UserChange, UserCreated,
};
use auth_domain::ports::{StoreReadiness, UserKey};
use auth_domain::refusal::GrantFault;
use auth_domain::secret::{ClientSecret, ClientSecretHash};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::{Email, Login, User, UserStatus, Username};

use super::stage::{SeenAudit, Stage, after, note};
use crate::build;
use crate::fake::FakeHasher;

fn assert_same_user(stored: &User, expected: &User) {
    assert!(stored.password_hash.is_same(&expected.password_hash), "the hash");
    // The hash is left out of what follows: its type has no equality and shows nothing of itself.
    assert_eq!(format!("{stored:?}"), format!("{expected:?}"));
}

fn email(text: &str) -> Email {
    Email::parse(text).expect("a good address")
}

fn founders(by: &str) -> Founders {
    let clients = [
        build::flutter_client(),
        build::confidential_client("internal", by),
    ];
    Founders {
        admin: (build::user("admin"), note(&format!("admin by {by}"))),
        clients: clients
            .map(|client| {
                let record = note(&format!("{} by {by}", client.client_id));
                (client, record)
            })
            .into(),
    }
}

async fn found(stage: &Stage, by: &str) -> (bool, bool) {
    let founded = stage.founding.found(founders(by)).await;
    let Founded { admin, clients } = founded.expect("the store is there");
    (admin, clients)
}

/// An empty store takes all founders with their audit rows, once.
pub async fn an_empty_store_is_founded_once(stage: Stage) {
    assert_eq!(found(&stage, "one").await, (true, true));
    assert_eq!(found(&stage, "other").await, (false, false));
    assert_eq!(stage.audit_rows(), 3);
    let internal = find_client(&stage, "internal").await.expect("it is there");
    assert_eq!(internal, build::confidential_client("internal", "one"));
    assert!(find_client(&stage, build::FLUTTER).await.is_some());
    assert_eq!(
        stage.user(build::user("admin").id).await.username.as_str(),
        "admin"
    );
}

/// One user suppresses the first user and not the first clients; one client the reverse.
pub async fn only_the_kind_that_is_missing_is_founded(stage: Stage) {
    stage.create_user(&build::user("bob")).await;
    assert_eq!(found(&stage, "one").await, (false, true));
    assert_eq!(stage.audit_rows(), 3);
    let bob = build::user("bob").id;
    let gone = stage
        .user_directory
        .change(bob, UserChange::Delete, after(1), note("gone"));
    assert_eq!(gone.await.expect("the store is there"), Changed::Changed);
    assert_eq!(found(&stage, "other").await, (true, false));
    assert_eq!(stage.audit_rows(), 5);
}

/// Of many instances that start at once, each kind is stored by exactly one.
pub async fn of_founders_at_once_each_kind_is_stored_by_one(stage: Stage) {
    let starts: Vec<_> = (0..8)
        .map(|n| {
            let stage = stage.clone();
            tokio::spawn(async move { found(&stage, &n.to_string()).await })
        })
        .collect();
    let mut winners = Vec::new();
    for start in starts {
        winners.push(start.await.expect("no start panics"));
    }
    assert_eq!(winners.iter().filter(|won| **won == (true, true)).count(), 1);
    assert_eq!(winners.iter().filter(|won| **won == (false, false)).count(), 7);
    assert_eq!(stage.audit_rows(), 3);
}

/// Every column of a user survives the round trip.
pub async fn a_user_is_found_as_it_was_stored(stage: Stage) {
    let user = User {
        email: email("Álice.Smith@Example.COM"),
        status: UserStatus::Inactive,
        is_verified: false,
        created_at: Timestamp::from_micros(1),
        updated_at: Timestamp::from_micros(-1),
        last_login_at: Some(after(3)),
        username: Username::parse("alice ünïcode").expect("a good name"),
        ..build::user("alice")
    };
    stage.create_user(&user).await;
    assert_same_user(&stage.user(user.id).await, &user);
}

/// A name finds its user exactly as written; an address without regard to case, letters beyond ASCII included.
pub async fn a_user_is_found_by_name_and_by_address_in_any_case(stage: Stage) {
    let user = User {
        email: email("Álice@Example.com"),
        ..build::user("alice")
    };
    stage.create_user(&user).await;
    for (typed, is_found) in [
        ("alice", true),
        ("Alice", false),
        ("Álice@Example.com", true),
        ("áLICE@eXAMPLE.COM", true),
        ("alice@example.com", false),
        ("bob", false),
    ] {
        let login = Login::parse(typed);
        let by_port = stage
            .users
            .find_by_login(&login)
            .await
            .expect("the store is there");
        assert_eq!(by_port.is_some(), is_found, "{typed}");
        let by_key = stage.user_directory.find(&UserKey::Login(login)).await;
        assert_eq!(by_key.expect("the store is there").is_some(), is_found, "{typed}");
    }
}

/// Two users never share a name or an address; a refused one leaves no trace.
pub async fn names_and_addresses_are_unique(stage: Stage) {
    let alice = build::user("alice");
    stage.create_user(&alice).await;
    let rows = stage.audit_rows();
    let same_name = User {
        email: email("else@example.com"),
        id: build::user_id("else"),
        ..alice.clone()
    };
    let same_address = User {
        email: email("ALICE@EXAMPLE.COM"),
        ..build::user("else")
    };
    for (user, refusal) in [
        (same_name, UserCreated::UsernameTaken),
        (same_address, UserCreated::EmailTaken),
    ] {
        let created = stage.user_directory.create(user, note("refused")).await;
        assert_eq!(created.expect("the store is there"), refusal);
    }
    assert_eq!(stage.audit_rows(), rows);
    let all = stage.user_directory.list(None, 10).await;
    assert_eq!(all.expect("the store is there").len(), 1);
}

/// Lists come in the order of names, a page at a time, without gap or repetition.
pub async fn users_are_listed_by_name_in_pages(stage: Stage) {
    for name in ["mallory", "alice", "Zoe", "bob", "carol"] {
        stage.create_user(&build::user(name)).await;
    }
    let mut names: Vec<String> = Vec::new();
    loop {
        let last = names.last().map(String::as_str);
        let page = stage
            .user_directory
            .list(last, 2)
            .await
            .expect("the store is there");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        names.extend(page.iter().map(|user| user.username.as_str().to_owned()));
    }
    assert_eq!(names, ["Zoe", "alice", "bob", "carol", "mallory"]);
}

/// Each change does what it says to the user, and says when.
pub async fn a_change_to_a_user_is_stored(stage: Stage) {
    let user = build::user("alice");
    stage.create_user(&user).await;
    let hash = FakeHasher::hash_of("another");
    for (n, change) in [
        (1, UserChange::Deactivate),
        (2, UserChange::Activate),
        (3, UserChange::SetPassword(hash.clone())),
    ] {
        let status = match change {
            UserChange::Deactivate => UserStatus::Inactive,
            UserChange::Activate | UserChange::SetPassword(_) | UserChange::Delete => UserStatus::Active,
        };
        let record = note(&format!("change {n}"));
        let changed = stage
            .user_directory
            .change(user.id, change, after(n), record)
            .await;
        assert_eq!(changed.expect("the store is there"), Changed::Changed);
        let stored = stage.user(user.id).await;
        assert_eq!((stored.status, stored.updated_at), (status, after(n)));
    }
    assert!(stage.user(user.id).await.password_hash.is_same(&hash));
    assert_eq!(stage.audit_rows(), 4);
}

/// A change to nobody writes nothing.
pub async fn a_change_to_an_unknown_user_writes_nothing(stage: Stage) {
    for change in [
        UserChange::Activate,
        UserChange::Deactivate,
        UserChange::Delete,
        UserChange::SetPassword(FakeHasher::hash_of("another")),
    ] {
        let id = build::user_id("nobody");
        let changed = stage
            .user_directory
            .change(id, change, after(1), note("nobody"))
            .await;
        assert_eq!(changed.expect("the store is there"), Changed::NotFound);
    }
    assert_eq!(stage.audit_rows(), 0);
}

/// A client with no value at its default.
fn unusual_client() -> Client {
    Client {
        description: Some("What it is, \"quoted\"\nand in lines".to_owned()),
        allowed_scopes: build::scope("a b:c"),
        allowed_grants: BTreeSet::from([GrantType::RefreshToken]),
        policy: ClientPolicy {
            access_token_lifetime: Seconds::new(1),
            refresh_token_lifetime: Seconds::new(u32::MAX),
            rotation: RotationPolicy::RetryWindow(Seconds::new(30)),
            chain_lifetime: Some(Seconds::new(77)),
            access_token_type: AccessTokenType::Jwt,
            session_id_in_access_token: true,
        },
        wire_profile: WireProfile::CodelabFlutter,
        status: ClientStatus::Disabled,
        updated_at: after(1),
        ..build::confidential_client("unusual", "its secret")
    }
}

async fn find_client(stage: &Stage, id: &str) -> Option<Client> {
    let found = stage.clients.find(&build::client_id(id)).await;
    found.expect("the store is there")
}

async fn change_client(stage: &Stage, id: &str, change: ClientChange) -> Changed {
    let record = note(&format!("change {change:?}"));
    let id = build::client_id(id);
    let changed = stage.client_directory.change(&id, change, after(9), record).await;
    changed.expect("the store is there")
}

/// Every column of a client survives the round trip.
pub async fn a_client_is_found_as_it_was_stored(stage: Stage) {
    for client in [unusual_client(), build::flutter_client()] {
        stage.create_client(&client).await;
        let stored = find_client(&stage, client.client_id.as_str()).await;
        assert_eq!(stored, Some(client));
    }
    assert_eq!(find_client(&stage, "nobody").await, None);
}

/// Two clients never share an identifier; the refused one leaves no trace.
pub async fn client_identifiers_are_unique(stage: Stage) {
    let client = build::flutter_client();
    stage.create_client(&client).await;
    let rows = stage.audit_rows();
    let second = Client {
        id: unusual_client().id,
        name: "Another".to_owned(),
        ..client.clone()
    };
    let created = stage.client_directory.create(second, note("refused")).await;
    assert_eq!(created.expect("the store is there"), ClientCreated::Taken);
    assert_eq!(stage.audit_rows(), rows);
    assert_eq!(find_client(&stage, build::FLUTTER).await, Some(client));
}

/// Lists come in the order of identifiers, a page at a time, without gap or repetition.
pub async fn clients_are_listed_by_identifier_in_pages(stage: Stage) {
    for id in ["web", "App", "backend", "cli"] {
        stage.create_client(&build::public_client(id)).await;
    }
    let first = stage
        .client_directory
        .list(None, 3)
        .await
        .expect("the store is there");
    let ids: Vec<_> = first.iter().map(|client| client.client_id.as_str()).collect();
    assert_eq!(ids, ["App", "backend", "cli"]);
    let after = build::client_id("cli");
    let rest = stage.client_directory.list(Some(&after), 3).await;
    let rest = rest.expect("the store is there");
    let ids: Vec<_> = rest.iter().map(|client| client.client_id.as_str()).collect();
    assert_eq!(ids, ["web"]);
}

/// An update replaces what an operator may change at will, empty values included, and nothing else.
pub async fn an_update_keeps_identity_secret_status_and_birth(stage: Stage) {
    let client = unusual_client();
    stage.create_client(&client).await;
    let new = Client {
        created_at: after(5),
        updated_at: client.updated_at,
        ..build::flutter_client()
    };
    let change = ClientChange::Update(Box::new(new.clone()));
    assert_eq!(
        change_client(&stage, "unusual", change.clone()).await,
        Changed::Changed
    );
    let second = change_client(&stage, "unusual", change).await;
    assert_eq!(second, Changed::Overtaken, "it was changed since it was read");
    let expected = Client {
        name: new.name,
        description: None,
        allowed_scopes: new.allowed_scopes,
        allowed_grants: new.allowed_grants,
        policy: new.policy,
        wire_profile: new.wire_profile,
        updated_at: after(9),
        ..client
    };
    assert_eq!(find_client(&stage, "unusual").await, Some(expected));
}

/// Switching a client off and on again is seen at once.
pub async fn a_client_is_switched_off_and_on(stage: Stage) {
    stage.create_client(&build::flutter_client()).await;
    for (change, status) in [
        (ClientChange::Disable, ClientStatus::Disabled),
        (ClientChange::Enable, ClientStatus::Active),
    ] {
        assert_eq!(
            change_client(&stage, build::FLUTTER, change).await,
            Changed::Changed
        );
        let stored = find_client(&stage, build::FLUTTER).await.expect("it is there");
        assert_eq!((stored.status, stored.updated_at), (status, after(9)));
    }
    let deleted = change_client(&stage, build::FLUTTER, ClientChange::Delete).await;
    assert_eq!(deleted, Changed::Changed);
    assert_eq!(find_client(&stage, build::FLUTTER).await, None);
}

/// A confidential client's secret is replaced; a public client has none and is left alone.
pub async fn only_a_confidential_client_gets_a_new_secret(stage: Stage) {
    let (public, confidential) = (build::flutter_client(), unusual_client());
    stage.create_client(&public).await;
    stage.create_client(&confidential).await;
    let rows = stage.audit_rows();
    let hash = ClientSecretHash::of(&ClientSecret::new("another".to_owned()));
    let change = ClientChange::RotateSecret(hash.clone());
    assert_eq!(
        change_client(&stage, build::FLUTTER, change.clone()).await,
        Changed::NotFound
    );
    assert_eq!(find_client(&stage, build::FLUTTER).await, Some(public));
    assert_eq!(stage.audit_rows(), rows);
    assert_eq!(change_client(&stage, "unusual", change).await, Changed::Changed);
    let stored = find_client(&stage, "unusual").await.expect("it is there");
    assert_eq!(stored.authentication, ClientAuthentication::Confidential(hash));
}

/// Events of every shape, in contexts full and empty, come back as they were written.
pub async fn audit_rows_survive_the_round_trip(stage: Stage) {
    let mut bare = AuditRecord {
        context: RequestContext::default(),
        ..build::audit("bare", AuditEvent::PasswordChange {})
    };
    bare.at = Timestamp::from_micros(1_767_225_600_999_999);
    let mut full = build::audit(
        "full",
        AuditEvent::LoginFailed {
            reason: GrantFault::WrongPassword,
            login: "al'ice\"\\\u{1b}[31m\u{202e}☃ \u{1f600}\n".to_owned(),
        },
    );
    full.user_id = Some(build::user_id("alice"));
    full.client_id = Some(build::client_id(build::FLUTTER));
    full.context.ip = Some("2001:db8::1".parse().expect("an address"));
    let key = build::audit(
        "key",
        AuditEvent::KeyRotated {
            kid: "k".to_owned(),
            activates_at: i64::MAX,
        },
    );
    let mut expected = Vec::new();
    for record in [bare, full, key] {
        expected.push(SeenAudit::from(&record));
        stage.audit.record(record).await.expect("the store is there");
    }
    expected.sort_by_key(|row| row.id);
    assert_eq!(stage.inside.audit_trail(), expected);
}

/// A store with the schema of this program is ready.
pub async fn a_migrated_store_is_ready(stage: Stage) {
    let readiness = stage.probe.check().await;
    assert_eq!(readiness.expect("the store is there"), StoreReadiness::Ready);
}
