//! What every [`TokenSigner`] must keep.

use auth_domain::claims::{AccessClaims, RefreshClaims, SignedPair, TokenPairClaims, TokenUse};
use auth_domain::client::AccessTokenType;
use auth_domain::id::{Jti, SessionId, Subject};
use auth_domain::ports::{Genuine, TokenSigner};
use auth_domain::secret::Token;
use auth_domain::time::{Seconds, Timestamp};

use crate::build;
use crate::clock::START;

/// The claims of a pair issued at that moment: 15 minutes and 30 days.
pub fn pair_claims(issued_at: Timestamp) -> TokenPairClaims {
    TokenPairClaims {
        access: access_claims(issued_at),
        access_type: AccessTokenType::AtJwt,
        refresh: refresh_claims(issued_at),
    }
}

fn access_claims(issued_at: Timestamp) -> AccessClaims {
    AccessClaims {
        iss: "https://auth.codelab.local".to_owned(),
        sub: Subject::User(build::user_id(build::ALICE)),
        aud: "codelab-api".to_owned(),
        exp: issued_at.plus(Seconds::new(900)).into(),
        iat: issued_at.into(),
        nbf: issued_at.minus(Seconds::new(5)).into(),
        jti: Jti::from_uuid(build::uuid("access token")),
        token_use: TokenUse::Access,
        client_id: build::client_id(build::FLUTTER),
        scope: build::scope("api:read api:write"),
        sid: None,
    }
}

fn refresh_claims(issued_at: Timestamp) -> RefreshClaims {
    RefreshClaims {
        iss: "https://auth.codelab.local".to_owned(),
        sub: build::user_id(build::ALICE),
        aud: "https://auth.codelab.local".to_owned(),
        exp: issued_at.plus(Seconds::new(2_592_000)).into(),
        iat: issued_at.into(),
        nbf: issued_at.minus(Seconds::new(5)).into(),
        jti: Jti::from_uuid(build::uuid("refresh token")),
        token_use: TokenUse::Refresh,
        client_id: build::client_id(build::FLUTTER),
        scope: build::scope("api:read api:write"),
        sid: Some(SessionId::from_uuid(build::uuid("session"))),
    }
}

/// Signs a pair with a signer that is there.
pub async fn sign(signer: &dyn TokenSigner, claims: &TokenPairClaims) -> SignedPair {
    signer.sign_pair(claims).await.expect("the signer is there")
}

/// Whether a signer takes a text for an access or a refresh token of its own.
pub fn accepts(signer: &dyn TokenSigner, text: &str) -> bool {
    let token = Token::new(text.to_owned());
    let access = signer.verify_access(&token).expect("no text is an outage");
    let refresh = signer.verify_refresh(&token).expect("no text is an outage");
    matches!(access, Genuine::Yes(_)) || matches!(refresh, Genuine::Yes(_))
}

/// What was signed verifies, and says what was signed; by either `typ` of access tokens.
pub async fn what_was_signed_verifies_to_the_same_claims(signer: &dyn TokenSigner) {
    for access_type in [AccessTokenType::AtJwt, AccessTokenType::Jwt] {
        let sid = Some(SessionId::from_uuid(build::uuid("session")));
        let mut claims = pair_claims(START);
        claims.access_type = access_type;
        claims.access.sid = sid;
        let pair = sign(signer, &claims).await;
        let access = signer.verify_access(&pair.access).expect("the signer is there");
        assert_eq!(access, Genuine::Yes(claims.access));
        let refresh = signer.verify_refresh(&pair.refresh).expect("the signer is there");
        assert_eq!(refresh, Genuine::Yes(claims.refresh));
    }
}

/// The same claims give the same tokens, so that a lost answer can be given again.
pub async fn equal_claims_give_equal_tokens(signer: &dyn TokenSigner) {
    let (first, second) = (
        sign(signer, &pair_claims(START)).await,
        sign(signer, &pair_claims(START)).await,
    );
    assert_eq!(first.access.expose(), second.access.expose());
    assert_eq!(first.refresh.expose(), second.refresh.expose());
    let later = sign(signer, &pair_claims(START.plus(Seconds::new(1)))).await;
    assert_ne!(first.access.expose(), later.access.expose());
    assert_ne!(first.refresh.expose(), later.refresh.expose());
}

/// The same refresh token is given again also when another key has become active in between: a second string with
/// the same `jti` would look like a second branch of the chain. `change_key` lets that happen.
pub async fn a_change_of_keys_gives_the_same_refresh_token_again(
    signer: &dyn TokenSigner,
    claims: &TokenPairClaims,
    change_key: impl FnOnce(),
) {
    let before = sign(signer, claims).await;
    change_key();
    let after = sign(signer, claims).await;
    assert_eq!(before.refresh.expose(), after.refresh.expose());
    let verified = signer
        .verify_refresh(&after.refresh)
        .expect("the signer is there");
    assert_eq!(verified, Genuine::Yes(claims.refresh.clone()));
    assert!(accepts(signer, after.access.expose()));
}

/// An access token is no refresh token, nor the reverse, of whatever `typ` the access token is.
pub async fn neither_token_passes_for_the_other(signer: &dyn TokenSigner) {
    for access_type in [AccessTokenType::AtJwt, AccessTokenType::Jwt] {
        let claims = TokenPairClaims {
            access_type,
            ..pair_claims(START)
        };
        let pair = sign(signer, &claims).await;
        let as_refresh = signer
            .verify_refresh(&pair.access)
            .expect("no token is an outage");
        assert!(matches!(as_refresh, Genuine::No(_)), "{access_type:?}");
        let as_access = signer
            .verify_access(&pair.refresh)
            .expect("no token is an outage");
        assert!(matches!(as_access, Genuine::No(_)), "{access_type:?}");
    }
}

/// No character of a token can be exchanged for its neighbour, left out, or doubled.
pub async fn every_change_to_a_token_is_noticed(signer: &dyn TokenSigner) {
    let pair = sign(signer, &pair_claims(START)).await;
    for token in [pair.access.expose(), pair.refresh.expose()] {
        assert!(accepts(signer, token));
        for (at, character) in token.char_indices() {
            let (before, rest) = token.split_at(at);
            let after = rest.get(1..).expect("tokens are ASCII");
            let neighbour = char::from(u8::try_from(character).expect("tokens are ASCII") ^ 1);
            for changed in [
                format!("{before}{neighbour}{after}"),
                format!("{before}{after}"),
                format!("{before}{character}{character}{after}"),
            ] {
                assert!(!accepts(signer, &changed), "at {at}: {changed}");
            }
        }
    }
}

/// A token has one spelling: nothing may be put around it or into it.
pub async fn nothing_may_be_added_to_a_token(signer: &dyn TokenSigner) {
    let pair = sign(signer, &pair_claims(START)).await;
    for token in [pair.access.expose(), pair.refresh.expose()] {
        for addition in [
            "\0", " ", "\n", "\r\n", "\t", "=", "==", ".", "..", "A", "é", "\u{feff}",
        ] {
            assert!(
                !accepts(signer, &format!("{addition}{token}")),
                "{addition:?} in front"
            );
            assert!(
                !accepts(signer, &format!("{token}{addition}")),
                "{addition:?} behind"
            );
            let around_dots = token.replace('.', &format!("{addition}."));
            assert!(!accepts(signer, &around_dots), "{addition:?} before the dots");
        }
    }
}

/// A text that is no token at all is refused, and is no outage.
pub fn no_other_text_is_a_token(signer: &dyn TokenSigner) {
    let long = "A".repeat(100_000);
    let texts = [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "\0",
        "null",
        "{}.{}.{}",
        "e30.e30.e30",
        &long,
    ];
    for text in texts {
        assert!(!accepts(signer, text), "{text:?}");
    }
}

/// The tokens of another key are forged.
pub async fn tokens_of_another_signer_are_refused(signer: &dyn TokenSigner, another: &dyn TokenSigner) {
    let pair = sign(another, &pair_claims(START)).await;
    assert!(!accepts(signer, pair.access.expose()));
    assert!(!accepts(signer, pair.refresh.expose()));
}

/// The key set names the key that signs, under a strong entity tag, and is made once.
pub fn the_key_set_names_the_key_that_signs(signer: &dyn TokenSigner) {
    let key_set = signer.key_set().expect("the signer is there");
    let json = str::from_utf8(&key_set.json).expect("JSON is UTF-8");
    assert!(
        json.contains(&format!("\"kid\":\"{}\"", key_set.active_kid)),
        "{json}"
    );
    assert!(key_set.etag.len() > 2 && key_set.etag.starts_with('"') && key_set.etag.ends_with('"'));
    let again = signer.key_set().expect("the signer is there");
    assert_eq!(*key_set, *again);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSigner;

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        let signer = FakeSigner::default();
        what_was_signed_verifies_to_the_same_claims(&signer).await;
        equal_claims_give_equal_tokens(&signer).await;
        // The fake has one key for ever.
        a_change_of_keys_gives_the_same_refresh_token_again(&signer, &pair_claims(START), || ()).await;
        neither_token_passes_for_the_other(&signer).await;
        every_change_to_a_token_is_noticed(&signer).await;
        nothing_may_be_added_to_a_token(&signer).await;
        no_other_text_is_a_token(&signer);
        tokens_of_another_signer_are_refused(&signer, &FakeSigner::with_key("another")).await;
        the_key_set_names_the_key_that_signs(&signer);
    }
}
