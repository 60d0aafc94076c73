//! Values with sensible content, to be bent by struct update syntax where a test cares:
//! `Client { status: ClientStatus::Disabled, ..build::public_client("some-client") }`.

use std::net::{IpAddr, Ipv4Addr};

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::claims::Issuer;
use auth_domain::client::{Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, WireProfile};
use auth_domain::context::RequestContext;
use auth_domain::id::{ClientId, JtiHash, RowId, SessionId, UserId};
use auth_domain::scope::Scope;
use auth_domain::secret::{ClientSecret, ClientSecretHash, PasswordHash};
use auth_domain::session::{AuthenticationMethod, NewSession, TokenRow};
use auth_domain::throttle::Limits;
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::token_service::{PasswordGrant, Policy, ReuseRevokes};
use auth_domain::user::{Email, User, UserStatus, Username};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::START;
use crate::fake::FakeHasher;
use crate::random::SeededRandom;

/// The client id of the CodeLab application in the field.
pub const FLUTTER: &str = "codelab-flutter-app";
/// The client id of the confidential client that a [`TestBed`](crate::TestBed) knows.
pub const BACKEND: &str = "backend";
/// That client's secret.
pub const BACKEND_SECRET: &str = "backend-secret";
/// The user that a [`TestBed`](crate::TestBed) knows.
pub const ALICE: &str = "alice";
/// That user's password.
pub const ALICE_PASSWORD: &str = "correct horse battery staple";

/// A UUID that the text determines.
pub fn uuid(text: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (bytes, _) = digest.split_first_chunk::<16>().expect("a digest has 32 bytes");
    uuid::Builder::from_custom_bytes(*bytes).into_uuid()
}

/// A client id.
pub fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).expect("a test's client id is a good one")
}

/// A scope.
pub fn scope(text: &str) -> Scope {
    Scope::parse(text).expect("a test's scope is a good one")
}

/// The id of the user that [`user`] makes of that name.
pub fn user_id(name: &str) -> UserId {
    UserId::from_uuid(uuid(&format!("user {name}")))
}

/// An active user with the address `name@example.com` and the password [`ALICE_PASSWORD`].
pub fn user(name: &str) -> User {
    User {
        id: user_id(name),
        username: Username::parse(name).expect("a test's user name is a good one"),
        email: Email::parse(&format!("{name}@example.com")).expect("made of a good user name"),
        password_hash: FakeHasher::hash_of(ALICE_PASSWORD),
        status: UserStatus::Active,
        is_verified: true,
        created_at: START,
        updated_at: START,
        last_login_at: None,
    }
}

/// An active public client for both grants, with the scopes `api:read api:write` and the default policy.
pub fn public_client(id: &str) -> Client {
    Client {
        id: RowId::from_uuid(uuid(&format!("client {id}"))),
        client_id: client_id(id),
        name: format!("The client {id}"),
        description: None,
        authentication: ClientAuthentication::Public,
        allowed_scopes: scope("api:read api:write"),
        allowed_grants: GrantType::ALL.iter().copied().collect(),
        policy: ClientPolicy::default(),
        wire_profile: WireProfile::Rfc,
        status: ClientStatus::Active,
        created_at: START,
        updated_at: START,
    }
}

/// The same as a confidential client with this secret.
pub fn confidential_client(id: &str, secret: &str) -> Client {
    let hash = ClientSecretHash::of(&ClientSecret::new(secret.to_owned()));
    Client {
        authentication: ClientAuthentication::Confidential(hash),
        ..public_client(id)
    }
}

/// The CodeLab application in the field: public, with its own wire profile.
pub fn flutter_client() -> Client {
    Client {
        wire_profile: WireProfile::CodelabFlutter,
        ..public_client(FLUTTER)
    }
}

/// A request from 192.0.2.1.
pub fn context() -> RequestContext {
    RequestContext {
        ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        is_exempt: false,
        user_agent: Some("testkit/1.0".to_owned()),
        correlation_id: "correlation-1".to_owned(),
    }
}

/// The issuer of the service's default settings.
pub fn issuer() -> Issuer {
    Issuer {
        url: "https://auth.codelab.local".to_owned(),
        audience: "codelab-api".to_owned(),
        not_before_leeway: Seconds::new(5),
        clock_skew: Seconds::new(60),
    }
}

/// The operator's decisions of the service's default settings.
pub fn policy() -> Policy {
    Policy {
        issuer: issuer(),
        reuse_revokes: ReuseRevokes::Chain,
        limits: Some(Limits::default()),
        password_grant: PasswordGrant::Offered,
        devices: None,
    }
}

/// The hash of a token that is known by this text only.
pub fn jti_hash(text: &str) -> JtiHash {
    JtiHash::from_bytes(Sha256::digest(text.as_bytes()).into())
}

/// A token known by this text, issued at a moment, valid for 30 days from its whole second.
pub fn token_row(text: &str, issued_at: Timestamp) -> TokenRow {
    TokenRow {
        id: RowId::from_uuid(uuid(&format!("token {text}"))),
        jti_hash: jti_hash(text),
        issued_at,
        expires_at: issued_at.whole_second().plus(Seconds::new(2_592_000)),
    }
}

/// A sign-in of a user as [`user`] makes it, at [`START`]; its first token is known by the session's text followed by `/0`.
pub fn new_session(text: &str, user: &User, client: &Client) -> NewSession {
    NewSession {
        id: session_id(text),
        user_id: user.id,
        client_id: client.client_id.clone(),
        scope: scope("api:read api:write"),
        amr: AuthenticationMethod::Password,
        first: token_row(&format!("{text}/0"), START),
        verified_against: user.password_hash.clone(),
        rehashed: None,
    }
}

/// The id of the session that [`new_session`] makes of that text.
pub fn session_id(text: &str) -> SessionId {
    SessionId::from_uuid(uuid(&format!("session {text}")))
}

/// An audit row known by this text, about that event, from [`context`], at [`START`].
pub fn audit(text: &str, event: AuditEvent) -> AuditRecord {
    audit_at(START, text, event)
}

/// The same at a moment, which its id carries as every audit row's does.
pub fn audit_at(at: Timestamp, text: &str, event: AuditEvent) -> AuditRecord {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (seed, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    AuditRecord {
        id: RowId::generate(&SeededRandom::new(u64::from_le_bytes(*seed)), at),
        at,
        event,
        user_id: None,
        client_id: None,
        context: context(),
    }
}

/// The hash of a password by the fake hasher's current scheme.
pub fn password_hash(password: &str) -> PasswordHash {
    FakeHasher::hash_of(password)
}
