//! The claims of tokens: their form on the wire, and when they are accepted.

use auth_domain::claims::{AccessClaims, ClaimFault, Issuer, RefreshClaims, TokenUse};
use auth_domain::id::{ClientId, Jti, SessionId, Subject, UserId};
use auth_domain::scope::Scope;
use auth_domain::session::SessionKey;
use auth_domain::time::{Seconds, Timestamp};
use rstest::rstest;
use uuid::Uuid;

const IAT: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(IAT + seconds)
}

fn just_before(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() - 1)
}

fn issuer() -> Issuer {
    Issuer {
        url: "https://auth.example".into(),
        audience: "api".into(),
        not_before_leeway: Seconds::new(5),
        clock_skew: Seconds::new(60),
    }
}

fn access() -> AccessClaims {
    AccessClaims {
        iss: "https://auth.example".into(),
        sub: Subject::User(UserId::from_uuid(Uuid::from_u128(1))),
        aud: "api".into(),
        exp: at(900).into(),
        iat: at(0).into(),
        nbf: at(-5).into(),
        jti: Jti::from_uuid(Uuid::from_u128(2)),
        token_use: TokenUse::Access,
        client_id: ClientId::parse("codelab-flutter-app").unwrap(),
        scope: Scope::parse("api:read api:write").unwrap(),
        sid: None,
    }
}

fn refresh() -> RefreshClaims {
    RefreshClaims {
        iss: "https://auth.example".into(),
        sub: UserId::from_uuid(Uuid::from_u128(1)),
        aud: "https://auth.example".into(),
        exp: at(900).into(),
        iat: at(0).into(),
        nbf: at(-5).into(),
        jti: Jti::from_uuid(Uuid::from_u128(2)),
        token_use: TokenUse::Refresh,
        client_id: ClientId::parse("codelab-flutter-app").unwrap(),
        scope: Scope::parse("api:read").unwrap(),
        sid: Some(SessionId::from_uuid(Uuid::from_u128(3))),
    }
}

#[test]
fn claims_are_written_as_the_consumers_read_them() {
    let json = serde_json::to_value(access()).unwrap();
    let expected = serde_json::json!({
        "iss": "https://auth.example",
        "sub": "00000000-0000-0000-0000-000000000001",
        "aud": "api",
        "exp": IAT + 900,
        "iat": IAT,
        "nbf": IAT - 5,
        "jti": "00000000-0000-0000-0000-000000000002",
        "type": "access",
        "client_id": "codelab-flutter-app",
        "scope": "api:read api:write",
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<AccessClaims>(json).unwrap(), access());
    let json = serde_json::to_value(refresh()).unwrap();
    assert_eq!(json["type"], "refresh");
    assert_eq!(json["sid"], "00000000-0000-0000-0000-000000000003");
    assert_eq!(serde_json::from_value::<RefreshClaims>(json).unwrap(), refresh());
}

#[test]
fn an_access_token_carries_the_session_where_its_client_asks_for_it() {
    let claims = AccessClaims {
        sid: Some(SessionId::from_uuid(Uuid::from_u128(3))),
        ..access()
    };
    assert_eq!(
        serde_json::to_value(claims).unwrap()["sid"],
        "00000000-0000-0000-0000-000000000003"
    );
}

#[test]
fn times_are_whole_seconds() {
    let claims = AccessClaims {
        iat: Timestamp::from_micros(1_999_999).into(),
        ..access()
    };
    assert_eq!(serde_json::to_value(claims).unwrap()["iat"].to_string(), "1");
    assert!(serde_json::from_str::<auth_domain::claims::NumericDate>("1.5").is_err());
}

#[rstest]
#[case::good(access(), Ok(()))]
#[case::issuer(AccessClaims { iss: "https://evil.example".into(), ..access() }, Err(ClaimFault::Issuer))]
#[case::audience(AccessClaims { aud: "https://auth.example".into(), ..access() }, Err(ClaimFault::Audience))]
#[case::kind(AccessClaims { token_use: TokenUse::Refresh, ..access() }, Err(ClaimFault::Use))]
fn an_access_token_is_for_its_audience_alone(
    #[case] claims: AccessClaims,
    #[case] verdict: Result<(), ClaimFault>,
) {
    assert_eq!(claims.check(&issuer(), at(1)), verdict);
}

#[rstest]
#[case::good(refresh(), Ok(()))]
#[case::issuer(RefreshClaims { iss: "https://evil.example".into(), ..refresh() }, Err(ClaimFault::Issuer))]
#[case::audience(RefreshClaims { aud: "api".into(), ..refresh() }, Err(ClaimFault::Audience))]
#[case::kind(RefreshClaims { token_use: TokenUse::Access, ..refresh() }, Err(ClaimFault::Use))]
fn a_refresh_token_is_for_its_issuer_alone(
    #[case] claims: RefreshClaims,
    #[case] verdict: Result<(), ClaimFault>,
) {
    assert_eq!(claims.check(&issuer(), at(1)), verdict);
}

/// One of the older service, which knew no sessions.
fn legacy() -> RefreshClaims {
    RefreshClaims {
        aud: "api".into(),
        sid: None,
        ..refresh()
    }
}

#[rstest]
#[case::good(legacy(), Ok(()))]
#[case::issuer(RefreshClaims { iss: "https://evil.example".into(), ..legacy() }, Err(ClaimFault::Issuer))]
#[case::our_audience(RefreshClaims { aud: "https://auth.example".into(), ..legacy() }, Err(ClaimFault::Audience))]
#[case::other_audience(RefreshClaims { aud: "other".into(), ..legacy() }, Err(ClaimFault::Audience))]
#[case::kind(RefreshClaims { token_use: TokenUse::Access, ..legacy() }, Err(ClaimFault::Use))]
#[case::sid(RefreshClaims { sid: refresh().sid, ..legacy() }, Err(ClaimFault::Audience))]
fn a_refresh_token_of_the_older_service_is_for_its_audience_alone(
    #[case] claims: RefreshClaims,
    #[case] verdict: Result<(), ClaimFault>,
) {
    assert_eq!(claims.check(&issuer(), at(1)), verdict);
}

#[test]
fn a_refresh_token_of_the_older_service_is_written_and_read_without_a_session() {
    let json = serde_json::to_value(legacy()).unwrap();
    assert_eq!(json.get("sid"), None);
    assert_eq!(serde_json::from_value::<RefreshClaims>(json).unwrap(), legacy());
}

#[test]
fn a_session_is_found_by_its_id_or_by_the_token_itself() {
    let id = SessionId::from_uuid(Uuid::from_u128(3));
    assert_eq!(refresh().session_key(), SessionKey::Id(id));
    assert_eq!(legacy().session_key(), SessionKey::Legacy(legacy().jti.hash()));
}

#[rstest]
#[case::ours("rt+jwt", refresh(), true)]
#[case::of_the_older_service("JWT", legacy(), true)]
#[case::ours_by_the_older_type("JWT", refresh(), false)]
#[case::older_by_our_type("rt+jwt", legacy(), false)]
#[case::an_access_token_by_the_older_type("JWT", RefreshClaims { token_use: TokenUse::Access, ..legacy() }, false)]
#[case::an_access_token_by_our_type("rt+jwt", RefreshClaims { token_use: TokenUse::Access, ..refresh() }, false)]
#[case::by_the_type_of_access_tokens("at+jwt", refresh(), false)]
#[case::older_by_the_type_of_access_tokens("at+jwt", legacy(), false)]
#[case::in_other_letters("jwt", legacy(), false)]
#[case::by_no_type("", legacy(), false)]
fn a_refresh_token_has_the_one_type_that_goes_with_it(
    #[case] typ: &str,
    #[case] claims: RefreshClaims,
    #[case] verdict: bool,
) {
    assert_eq!(claims.belong_under(typ), verdict);
}

#[rstest]
#[case::of_today("at+jwt", TokenUse::Access, true)]
#[case::of_old("JWT", TokenUse::Access, true)]
#[case::a_refresh_token_of_old("JWT", TokenUse::Refresh, false)]
#[case::a_refresh_token_in_disguise("at+jwt", TokenUse::Refresh, false)]
#[case::by_the_type_of_refresh_tokens("rt+jwt", TokenUse::Access, false)]
#[case::in_other_letters("AT+JWT", TokenUse::Access, false)]
fn an_access_token_has_one_of_its_types(
    #[case] typ: &str,
    #[case] token_use: TokenUse,
    #[case] verdict: bool,
) {
    let claims = AccessClaims {
        token_use,
        ..access()
    };
    assert_eq!(claims.belong_under(typ), verdict);
}

#[test]
fn an_access_token_expires_at_the_second_that_the_skew_allows() {
    assert_eq!(access().check(&issuer(), just_before(at(960))), Ok(()));
    assert_eq!(access().check(&issuer(), at(960)), Err(ClaimFault::Expired));
}

#[test]
fn a_token_is_not_valid_before_its_time_save_for_the_skew() {
    assert_eq!(access().check(&issuer(), at(-65)), Ok(()));
    assert_eq!(
        access().check(&issuer(), just_before(at(-65))),
        Err(ClaimFault::NotYetValid)
    );
    assert_eq!(refresh().check(&issuer(), at(-65)), Ok(()));
    assert_eq!(
        refresh().check(&issuer(), just_before(at(-65))),
        Err(ClaimFault::NotYetValid)
    );
}

#[test]
fn the_expiry_of_a_refresh_token_is_left_to_the_chain() {
    assert_eq!(refresh().check(&issuer(), at(1_000_000)), Ok(()));
}
