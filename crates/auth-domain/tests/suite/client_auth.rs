//! Client authentication: who must show a secret, and who must not.

use auth_domain::client::{AccessTokenType, ClientAuthentication, ClientStatus, GrantType, WireProfile};
use auth_domain::client_auth::ClientCredentials;
use auth_domain::secret::{ClientSecret, ClientSecretHash};
use auth_domain::session::RevocationReason;
use auth_testkit::build;
use rstest::rstest;

fn shown(secret: Option<&str>) -> ClientCredentials {
    ClientCredentials::parse(Some("app".into()), secret.map(str::to_owned), None).unwrap()
}

#[rstest]
#[case::public_shows_none(None, None, true)]
#[case::public_shows_one(None, Some("s"), false)]
#[case::confidential_shows_its_own(Some("s"), Some("s"), true)]
#[case::confidential_shows_another(Some("s"), Some("t"), false)]
#[case::confidential_shows_none(Some("s"), None, false)]
fn a_client_proves_itself_by_its_secret_or_has_none(
    #[case] registered: Option<&str>,
    #[case] presented: Option<&str>,
    #[case] is_proved: bool,
) {
    let mut client = build::public_client("some-client");
    if let Some(secret) = registered {
        let hash = ClientSecretHash::of(&ClientSecret::new(secret.to_owned()));
        client.authentication = ClientAuthentication::Confidential(hash);
    }
    assert_eq!(client.authentication.is_confidential(), registered.is_some());
    assert_eq!(shown(presented).authenticate(&client), is_proved);
    client.status = ClientStatus::Disabled;
    assert!(
        !shown(presented).authenticate(&client),
        "a disabled client proves nothing"
    );
}

#[test]
fn each_name_is_read_as_it_is_written_and_no_other_is() {
    for grant in GrantType::ALL {
        assert_eq!(GrantType::parse(grant.as_str()).unwrap(), *grant);
    }
    for profile in WireProfile::ALL {
        assert_eq!(WireProfile::parse(&profile.to_string()).unwrap(), *profile);
    }
    for reason in RevocationReason::ALL {
        assert_eq!(RevocationReason::parse(reason.as_str()).unwrap(), *reason);
    }
    let error = AccessTokenType::parse("jwt").unwrap_err();
    assert_eq!(error.to_string(), "must be one of: at+jwt, JWT");
}
