//! Decisions about passwords.

use auth_domain::password::{
    HashScheme, MAX_PASSWORD_BYTES, PasswordFault, VerifyPlan, check_new_password, is_outdated,
    new_password_faults, plan_verification,
};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::user::{Email, Username};
use rstest::rstest;

const ARGON2: HashScheme = HashScheme::Argon2id {
    memory_kib: 19_456,
    iterations: 2,
    parallelism: 1,
};

fn hash(text: &str) -> PasswordHash {
    PasswordHash::new(text.to_owned())
}

#[rstest]
#[case("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", Some(ARGON2))]
#[case(
    "$argon2id$v=19$m=8,t=3,p=4$c2FsdHNhbHQ$aGFzaA",
    Some(HashScheme::Argon2id { memory_kib: 8, iterations: 3, parallelism: 4 })
)]
#[case("$2b$12$abcdefghijklmnopqrstuv", Some(HashScheme::BCRYPT_12))]
#[case("$2a$04$abcdefghijklmnopqrstuv", Some(HashScheme::Bcrypt { cost: 4 }))]
#[case("$2y$31$abcdefghijklmnopqrstuv", Some(HashScheme::Bcrypt { cost: 31 }))]
#[case("$2b$03$abcdefghijklmnopqrstuv", None)]
#[case("$2b$32$abcdefghijklmnopqrstuv", None)]
#[case("$2x$12$abcdefghijklmnopqrstuv", None)]
#[case("$2b$", None)]
#[case("$2b$xx$", None)]
#[case("$argon2id$v=16$m=19456,t=2,p=1$c2FsdA$aGFzaA", None)]
#[case("$argon2i$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", None)]
#[case("$argon2id$v=19$m=19456,t=2$c2FsdA$aGFzaA", None)]
#[case("$argon2id$v=19$m=19456,t=2,p=1,x=1$c2FsdA$aGFzaA", None)]
#[case("$argon2id$v=19$t=2,m=19456,p=1$c2FsdA$aGFzaA", None)]
#[case("$argon2id$v=19", None)]
#[case("$argon2id", None)]
#[case("argon2id$v=19$m=19456,t=2,p=1", None)]
#[case("plain", None)]
#[case("", None)]
fn a_scheme_is_read_off_its_hash(#[case] text: &str, #[case] scheme: Option<HashScheme>) {
    assert_eq!(HashScheme::of(&hash(text)), scheme);
}

#[test]
fn a_known_hash_is_computed_by_its_own_scheme() {
    let plan = plan_verification(Some(&hash("$2b$10$abc")), ARGON2);
    assert_eq!(plan, VerifyPlan::Compare(HashScheme::Bcrypt { cost: 10 }));
}

#[test]
fn where_there_is_nothing_to_compare_a_real_hash_is_computed_all_the_same() {
    assert_eq!(plan_verification(None, ARGON2), VerifyPlan::Dummy(ARGON2));
    assert_eq!(
        plan_verification(Some(&hash("!")), HashScheme::BCRYPT_12),
        VerifyPlan::Dummy(HashScheme::BCRYPT_12)
    );
}

#[test]
fn a_hash_of_another_scheme_or_other_parameters_is_outdated() {
    assert!(!is_outdated(ARGON2, HashScheme::OWASP_ARGON2ID));
    assert!(is_outdated(HashScheme::BCRYPT_12, ARGON2));
    assert!(is_outdated(
        HashScheme::Argon2id {
            memory_kib: 8,
            iterations: 2,
            parallelism: 1
        },
        ARGON2
    ));
}

fn check(password: &str, scheme: HashScheme) -> Result<(), PasswordFault> {
    let username = Username::parse("Alice.Example1!").unwrap();
    let email = Email::parse("Alice1@example.org").unwrap();
    check_new_password(&Password::new(password.to_owned()), &username, &email, scheme)
}

#[rstest]
#[case::shortest("Abcde1!x", Ok(()))]
#[case::seven_characters("Abcd1!x", Err(PasswordFault::TooShort))]
#[case::seven_characters_of_many_bytes("Äöü1!éß", Err(PasswordFault::TooShort))]
#[case::letters_of_any_script("Пароль-2026", Ok(()))]
#[case::no_upper_case("abcde1!x", Err(PasswordFault::NoUpperCase))]
#[case::no_lower_case("ABCDE1!X", Err(PasswordFault::NoLowerCase))]
#[case::no_digit("Abcdef!x", Err(PasswordFault::NoDigit))]
#[case::no_special("Abcdef1x", Err(PasswordFault::NoSpecial))]
#[case::a_space_is_special("Abcde 1x", Ok(()))]
#[case::nul("Abcde1!\0", Err(PasswordFault::Nul))]
#[case::own_name("aLICE.Example1!", Err(PasswordFault::OwnName))]
#[case::own_address("ALICE1@example.Org", Err(PasswordFault::OwnName))]
fn a_new_password_follows_the_policy(#[case] password: &str, #[case] verdict: Result<(), PasswordFault>) {
    assert_eq!(check(password, ARGON2), verdict);
}

#[test]
fn a_password_is_as_long_as_its_hash_can_hold_and_no_longer() {
    let of = |length: usize| format!("Aa1!{}", "x".repeat(length - 4));
    assert_eq!(check(&of(MAX_PASSWORD_BYTES), ARGON2), Ok(()));
    assert_eq!(
        check(&of(MAX_PASSWORD_BYTES + 1), ARGON2),
        Err(PasswordFault::TooLong)
    );
    assert_eq!(check(&of(72), HashScheme::BCRYPT_12), Ok(()));
    assert_eq!(
        check(&of(73), HashScheme::BCRYPT_12),
        Err(PasswordFault::TooLongForBcrypt)
    );
    assert_eq!(check(&of(73), ARGON2), Ok(()));
}

#[rstest]
#[case::good("Abcde1!x", ARGON2, &[])]
#[case::everything_that_letters_lack(
    "abc",
    ARGON2,
    &[PasswordFault::TooShort, PasswordFault::NoUpperCase, PasswordFault::NoDigit, PasswordFault::NoSpecial]
)]
#[case::too_short_and_nul("A1!\0x", ARGON2, &[PasswordFault::TooShort, PasswordFault::Nul])]
#[case::digits_alone(
    "12345678",
    ARGON2,
    &[PasswordFault::NoUpperCase, PasswordFault::NoLowerCase, PasswordFault::NoSpecial]
)]
#[case::the_own_name_without_the_rest(
    "alice",
    ARGON2,
    &[
        PasswordFault::TooShort,
        PasswordFault::NoUpperCase,
        PasswordFault::NoDigit,
        PasswordFault::NoSpecial,
        PasswordFault::OwnName,
    ]
)]
#[case::too_long_for_its_hash(
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    HashScheme::BCRYPT_12,
    &[
        PasswordFault::TooLongForBcrypt,
        PasswordFault::NoUpperCase,
        PasswordFault::NoDigit,
        PasswordFault::NoSpecial,
    ]
)]
fn all_that_the_policy_has_against_a_password_is_named(
    #[case] password: &str,
    #[case] scheme: HashScheme,
    #[case] faults: &[PasswordFault],
) {
    let username = Username::parse("alice").unwrap();
    let email = Email::parse("alice@example.org").unwrap();
    let password = Password::new(password.to_owned());
    assert_eq!(new_password_faults(&password, &username, &email, scheme), faults);
}

#[rstest]
#[case("12345678", Ok(()))]
#[case("1234567", Err(PasswordFault::TooShort))]
#[case("1234567\0", Err(PasswordFault::Nul))]
fn a_size_is_checked_without_regard_to_characters(
    #[case] text: &str,
    #[case] verdict: Result<(), PasswordFault>,
) {
    assert_eq!(auth_domain::password::check_size(text, ARGON2), verdict);
}
