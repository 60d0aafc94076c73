//! Identifiers and secrets: form, derivation, and what they show of themselves.

use auth_domain::id::{ClientId, ClientIdFault, Jti, JtiHash, RowId, SessionId, Subject, UserId};
use auth_domain::ports::Random;
use auth_domain::secret::{ClientSecret, ClientSecretHash, Password, PasswordHash, Token};
use auth_domain::time::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

struct Sevens;

impl Random for Sevens {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0x7a);
    }
}

#[rstest]
#[case("abc")]
#[case("a client with spaces ~")]
fn a_client_id_is_printable_ascii(#[case] text: &str) {
    assert_eq!(ClientId::parse(text).unwrap().as_str(), text);
    assert_eq!(ClientId::parse(text).unwrap().to_string(), text);
}

#[test]
fn a_client_id_has_3_to_255_characters() {
    assert!(ClientId::parse(&"x".repeat(255)).is_ok());
    for length in [0, 2, 256] {
        assert_eq!(ClientId::parse(&"x".repeat(length)), Err(ClientIdFault::Length));
    }
}

#[rstest]
#[case("ab\u{1f}")]
#[case("ab\u{7f}")]
#[case("abé")]
#[case("ab\0")]
fn a_client_id_holds_nothing_else(#[case] text: &str) {
    assert_eq!(ClientId::parse(text), Err(ClientIdFault::Character));
}

#[test]
fn a_client_id_is_never_a_uuid() {
    assert_eq!(
        ClientId::parse("67e55044-10b1-426f-9247-bb680e5fe0c8"),
        Err(ClientIdFault::Uuid)
    );
}

#[test]
fn ids_made_later_sort_later_and_carry_their_time() {
    let early = RowId::generate(&Sevens, Timestamp::from_micros(1_700_000_000_000_999));
    let late = RowId::generate(&Sevens, Timestamp::from_micros(1_700_000_000_001_000));
    assert!(early < late);
    assert_eq!(early.as_uuid().get_version_num(), 7);
    let (seconds, nanos) = late.as_uuid().get_timestamp().unwrap().to_unix();
    assert_eq!((seconds, nanos), (1_700_000_000, 1_000_000));
    assert_eq!(
        SessionId::generate(&Sevens, Timestamp::from_micros(-5))
            .as_uuid()
            .as_bytes()[..6],
        [0; 6]
    );
}

#[test]
fn an_id_is_written_as_its_uuid() {
    let uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
    assert_eq!(
        UserId::from_uuid(uuid).to_string(),
        "67e55044-10b1-426f-9247-bb680e5fe0c8"
    );
    assert_eq!(
        Jti::from_uuid(uuid).to_string(),
        "67e55044-10b1-426f-9247-bb680e5fe0c8"
    );
}

#[test]
fn a_random_jti_is_a_uuid_of_version_4() {
    let text = Jti::generate(&Sevens).to_string();
    assert_eq!(text, "7a7a7a7a-7a7a-4a7a-ba7a-7a7a7a7a7a7a");
}

/// The older service stored the lower-case hexadecimal SHA-256 of the `jti` text; the bytes must be the same.
#[test]
fn a_jti_is_hashed_in_its_textual_form() {
    let jti = Jti::from_uuid(Uuid::try_parse("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap());
    let expected = [
        0x00, 0x20, 0x31, 0xb9, 0x6b, 0xd3, 0x22, 0x56, 0x61, 0x94, 0x0c, 0xde, 0xe0, 0x5b, 0x25,
        0x7c, //
        0xfa, 0xd1, 0x04, 0x84, 0x96, 0x0f, 0xc9, 0x31, 0xea, 0x45, 0x83, 0x78, 0xfc, 0x68, 0xaa, 0xec,
    ];
    assert_eq!(*jti.hash().as_bytes(), expected);
    assert_eq!(JtiHash::from_bytes(*jti.hash().as_bytes()), jti.hash());
}

#[test]
fn the_first_id_of_a_millisecond_parts_what_was_made_before_from_the_rest() {
    let made = |micros| RowId::generate(&Sevens, Timestamp::from_micros(micros));
    let bound = RowId::first_of(Timestamp::from_micros(1_767_225_600_123_456));
    assert!(made(1_767_225_600_122_999) < bound);
    assert!(bound < made(1_767_225_600_123_000));
    assert!(bound < made(1_767_225_600_124_000));
    let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
    assert!(RowId::first_of(first) < made(0));
    assert!(made(1_767_225_600_123_000) < RowId::first_of(last));
}

#[test]
fn a_successor_is_fixed_by_its_parent_and_shaped_as_a_uuid_of_version_8() {
    let successor = Jti::successor_of("header.payload.signature");
    assert_eq!(successor, Jti::successor_of("header.payload.signature"));
    assert_ne!(successor, Jti::successor_of("header.payload.signaturf"));
    assert_eq!(
        Uuid::try_parse(&successor.to_string()).unwrap().get_version_num(),
        8
    );
    assert_eq!(successor.to_string(), "c05155e0-ad11-83d9-a74a-d29540a2a401");
}

#[test]
fn a_subject_is_a_user_or_a_client_and_survives_json() {
    let uuid = Uuid::from_u128(5);
    let user = Subject::User(UserId::from_uuid(uuid));
    let client = Subject::Client(ClientId::parse("codelab-internal").unwrap());
    for subject in [user, client] {
        let json = serde_json::to_string(&subject).unwrap();
        assert_eq!(json, format!("\"{subject}\""));
        assert_eq!(serde_json::from_str::<Subject>(&json).unwrap(), subject);
    }
    assert!(serde_json::from_str::<Subject>(r#""a""#).is_err());
    assert!(serde_json::from_str::<ClientId>(r#""a""#).is_err());
}

#[test]
fn secrets_show_nothing_of_themselves() {
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        Password::new("sesame".into()),
        ClientSecret::new("sesame".into()),
        Token::new("sesame".into()),
        PasswordHash::new("sesame".into()),
        ClientSecretHash::from_bytes(*b"sesamesesamesesamesesamesesamese"),
        JtiHash::from_bytes(*b"sesamesesamesesamesesamesesamese"),
    );
    assert_eq!(
        shown,
        "Password(..) ClientSecret(..) Token(..) PasswordHash(..) ClientSecretHash(..) JtiHash(..)"
    );
}

#[test]
fn a_generated_secret_is_256_random_bits_in_hexadecimal() {
    assert_eq!(ClientSecret::generate(&Sevens).expose(), "7a".repeat(32));
    assert_eq!(Password::generate(&Sevens).expose(), "7a".repeat(32));
}

#[test]
fn a_client_secret_is_known_by_its_hash_alone() {
    let secret = ClientSecret::new("s3cret".into());
    let hash = ClientSecretHash::of(&secret);
    assert!(hash.matches(&secret));
    assert!(!hash.matches(&ClientSecret::new("s3creT".into())));
    assert_eq!(ClientSecretHash::from_bytes(*hash.as_bytes()), hash);
    assert_ne!(hash.as_bytes()[..6], *b"s3cret");
}

#[test]
fn a_changed_password_hash_is_seen() {
    let hash = PasswordHash::new("$a".into());
    assert!(hash.is_same(&PasswordHash::new("$a".into())));
    assert!(!hash.is_same(&PasswordHash::new("$b".into())));
}

proptest! {
    #[test]
    fn two_tokens_never_share_a_successor(one in "[a-z.]{1,40}", other in "[a-z.]{1,40}") {
        prop_assume!(one != other);
        prop_assert_ne!(Jti::successor_of(&one), Jti::successor_of(&other));
    }
}
