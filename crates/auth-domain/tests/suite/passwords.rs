//! Decisions about passwords.

use std::time::Duration;

use auth_domain::client::GrantType;
use auth_domain::id::ClientId;
use auth_domain::password::LegacyHashes::{Kept, Replaced};
use auth_domain::password::{
    HashScheme, LegacyHashes, MAX_PASSWORD_BYTES, NewPasswordRules, Pace, PasswordFault, PasswordPolicy,
    Reach, StoredHash, VerifyPlan, bare, mark_cut, plan_verification,
};
use auth_domain::ports::Unavailable;
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Facts, Outcome};
use auth_domain::user::{Email, Username};
use proptest::prelude::*;
use proptest::sample::select;
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
    let stored = StoredHash {
        scheme: HashScheme::Bcrypt { cost: 10 },
        reach: Reach::Whole,
    };
    assert_eq!(plan, VerifyPlan::Compare(stored));
}

#[test]
fn where_there_is_nothing_to_compare_a_real_hash_is_computed_all_the_same() {
    assert_eq!(plan_verification(None, ARGON2), VerifyPlan::Dummy(ARGON2));
    assert_eq!(
        plan_verification(Some(&hash("!")), HashScheme::BCRYPT_12),
        VerifyPlan::Dummy(HashScheme::BCRYPT_12)
    );
}

/// A hash of 12 rounds as the older service wrote it.
const OLDER: &str = "$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C";

const fn whole(scheme: HashScheme) -> StoredHash {
    StoredHash {
        scheme,
        reach: Reach::Whole,
    }
}

const CUT: StoredHash = StoredHash {
    scheme: HashScheme::BCRYPT_12,
    reach: Reach::Cut,
};

fn password(length: usize) -> Password {
    Password::new("x".repeat(length))
}

#[test]
fn a_mark_is_read_as_it_was_made_and_leaves_the_hash_as_it_was() {
    let marked = mark_cut(&hash(OLDER));
    assert_eq!(marked.expose(), format!("$bcrypt-cut{OLDER}"));
    assert_eq!(StoredHash::of(&marked), Some(CUT));
    assert_eq!(HashScheme::of(&marked), Some(HashScheme::BCRYPT_12));
    assert_eq!(bare(&marked), OLDER);
    assert!(mark_cut(&marked).is_same(&marked), "marked once is enough");
    assert_eq!(StoredHash::of(&hash(OLDER)), Some(whole(HashScheme::BCRYPT_12)));
    assert_eq!(bare(&hash(OLDER)), OLDER);
}

#[rstest]
#[case("$bcrypt-cut")]
#[case("$bcrypt-cut2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C")]
#[case("$bcrypt-cut$2x$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C")]
#[case("$bcrypt-cut$bcrypt-cut$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C")]
#[case("bcrypt-cut$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C")]
#[case("$bcrypt-cut$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA")]
fn a_mark_before_anything_but_a_bcrypt_hash_makes_it_none(#[case] text: &str) {
    assert_eq!(StoredHash::of(&hash(text)), None);
}

#[rstest]
#[case::short("short", Some("short"))]
#[case::whole(&"x".repeat(72), Some(&"x".repeat(72) as &str))]
#[case::longer(&format!("{}tail", "x".repeat(72)), Some(&"x".repeat(72) as &str))]
#[case::with_a_nul("with\0nul", None)]
#[case::with_a_nul_past_what_counts(&format!("{}\0", "x".repeat(72)), None)]
#[case::empty("", Some(""))]
fn a_hash_of_the_older_service_is_compared_with_the_first_72_bytes(
    #[case] text: &str,
    #[case] part: Option<&str>,
) {
    let password = Password::new(text.to_owned());
    assert_eq!(CUT.part_of(&password), part.map(str::as_bytes));
}

#[test]
fn a_letter_of_two_bytes_is_cut_in_two_as_the_older_service_did() {
    let password = Password::new(format!("{}я", "x".repeat(71)));
    let part = CUT.part_of(&password).unwrap();
    assert_eq!(part, &password.expose().as_bytes()[..72]);
}

#[rstest]
#[case::bcrypt(whole(HashScheme::BCRYPT_12), 72, true)]
#[case::bcrypt_too_long(whole(HashScheme::BCRYPT_12), 73, false)]
#[case::argon2id(whole(ARGON2), 1_024, true)]
fn any_other_hash_is_compared_with_the_whole_password_or_not_at_all(
    #[case] stored: StoredHash,
    #[case] length: usize,
    #[case] is_compared: bool,
) {
    let password = password(length);
    let bytes = password.expose().as_bytes();
    assert_eq!(stored.part_of(&password), is_compared.then_some(bytes));
    let with_nul = Password::new("with\0nul".to_owned());
    let takes_nul = stored.scheme == ARGON2;
    assert_eq!(stored.part_of(&with_nul).is_some(), takes_nul);
}

const BCRYPT_10: HashScheme = HashScheme::Bcrypt { cost: 10 };
const QUICK: HashScheme = HashScheme::Argon2id {
    memory_kib: 8,
    iterations: 2,
    parallelism: 1,
};

#[rstest]
#[case::the_current_scheme(whole(ARGON2), 8, HashScheme::OWASP_ARGON2ID, Replaced, false)]
#[case::other_parameters(whole(QUICK), 8, ARGON2, Replaced, true)]
#[case::other_parameters_in_a_trial(whole(QUICK), 8, ARGON2, Kept, true)]
#[case::bcrypt(whole(HashScheme::BCRYPT_12), 72, ARGON2, Replaced, true)]
#[case::bcrypt_in_a_trial(whole(HashScheme::BCRYPT_12), 72, ARGON2, Kept, false)]
#[case::bcrypt_of_fewer_rounds(whole(BCRYPT_10), 8, HashScheme::BCRYPT_12, Replaced, true)]
#[case::bcrypt_of_fewer_rounds_in_a_trial(whole(BCRYPT_10), 8, HashScheme::BCRYPT_12, Kept, false)]
#[case::argon2id_where_bcrypt_is_current(whole(ARGON2), 72, HashScheme::BCRYPT_12, Replaced, true)]
#[case::argon2id_of_what_bcrypt_would_cut(whole(ARGON2), 73, HashScheme::BCRYPT_12, Replaced, false)]
#[case::cut(CUT, 72, ARGON2, Replaced, true)]
#[case::cut_with_a_tail_that_nobody_verified(CUT, 73, ARGON2, Replaced, false)]
#[case::cut_in_a_trial(CUT, 72, ARGON2, Kept, false)]
#[case::cut_of_the_current_scheme(CUT, 72, HashScheme::BCRYPT_12, Replaced, true)]
#[case::cut_with_a_tail_where_bcrypt_is_current(CUT, 73, HashScheme::BCRYPT_12, Replaced, false)]
fn a_hash_is_replaced_when_it_is_outdated_and_all_of_its_password_was_verified(
    #[case] stored: StoredHash,
    #[case] length: usize,
    #[case] current: HashScheme,
    #[case] legacy: LegacyHashes,
    #[case] verdict: bool,
) {
    assert_eq!(stored.is_outdated(&password(length), current, legacy), verdict);
}

const CLASSIC: NewPasswordRules = NewPasswordRules {
    policy: PasswordPolicy::Classic,
    scheme: ARGON2,
};
const NIST: NewPasswordRules = NewPasswordRules {
    policy: PasswordPolicy::Nist,
    scheme: ARGON2,
};

const TOO_SHORT: PasswordFault = PasswordFault::TooShort { least: 8 };
const TOO_SHORT_FOR_NIST: PasswordFault = PasswordFault::TooShort { least: 15 };

fn faults(rules: NewPasswordRules, password: &str) -> Vec<PasswordFault> {
    let username = Username::parse("Alice.Example1!").unwrap();
    let email = Email::parse("Umbrellabird1@example.org").unwrap();
    rules.faults(&Password::new(password.to_owned()), &username, &email)
}

#[rstest]
#[case::shortest("Abcde1!x", &[])]
#[case::seven_characters("Abxe1!z", &[TOO_SHORT])]
#[case::seven_characters_of_many_bytes("Äöü1!éß", &[TOO_SHORT])]
#[case::letters_of_any_script("Пароль-2026", &[])]
#[case::no_upper_case("abcde1!x", &[PasswordFault::NoUpperCase])]
#[case::no_lower_case("ABCDE1!X", &[PasswordFault::NoLowerCase])]
#[case::no_digit("Abcdef!x?", &[PasswordFault::NoDigit])]
#[case::no_special("Abcdef1x5", &[PasswordFault::NoSpecial])]
#[case::a_space_is_special("Abcde 1x", &[])]
#[case::nul("Abxe1!\0z", &[PasswordFault::Nul])]
#[case::own_name("aLICE.Example1!", &[PasswordFault::OwnName])]
#[case::own_address("UMBRELLABIRD1@example.Org", &[PasswordFault::OwnName])]
#[case::own_part_of_the_address("Umbrellabird1!", &[PasswordFault::OwnName])]
#[case::all_that_letters_lack(
    "abc",
    &[TOO_SHORT, PasswordFault::NoUpperCase, PasswordFault::NoDigit, PasswordFault::NoSpecial, PasswordFault::Common]
)]
#[case::too_short_and_nothing_else("Q9!xz", &[TOO_SHORT])]
#[case::too_short_and_nul("A1z!\0x", &[TOO_SHORT, PasswordFault::Nul])]
#[case::digits_alone(
    "83650274",
    &[PasswordFault::NoUpperCase, PasswordFault::NoLowerCase, PasswordFault::NoSpecial]
)]
#[case::own_name_without_the_rest(
    "umbrellabird",
    &[PasswordFault::NoUpperCase, PasswordFault::NoDigit, PasswordFault::NoSpecial, PasswordFault::OwnName]
)]
#[case::common_and_nothing_else("P@ssw0rd1!", &[PasswordFault::Common])]
fn all_that_the_classic_policy_has_against_a_password_is_named(
    #[case] password: &str,
    #[case] expected: &[PasswordFault],
) {
    assert_eq!(faults(CLASSIC, password), expected);
}

#[rstest]
#[case::shortest("plum-tango-oven", &[])]
#[case::fourteen_characters("plum tango ovn", &[TOO_SHORT_FOR_NIST])]
#[case::fifteen_characters_of_any_kind("☃ снег идёт 雪ふる", &[])]
#[case::letters_alone("umbrellafactoryteapot", &[])]
#[case::digits_alone("836502749164038", &[])]
#[case::words_of_the_list_in_a_row("sunshine dragon monkey", &[])]
#[case::the_service_in_a_sentence("i sign in to codelab", &[])]
#[case::nul("plum-tango\0-oven", &[PasswordFault::Nul])]
#[case::own_name("Alice Example 11!!", &[PasswordFault::OwnName])]
#[case::own_address("umbrellabird1@example.org", &[PasswordFault::OwnName])]
#[case::the_service("CodeLab Auth Service", &[PasswordFault::Common])]
#[case::a_common_word_repeated("passwordpassword", &[PasswordFault::Common])]
#[case::a_row("123456789012345", &[PasswordFault::Common])]
fn all_that_the_policy_after_nist_has_against_a_password_is_named(
    #[case] password: &str,
    #[case] expected: &[PasswordFault],
) {
    assert_eq!(faults(NIST, password), expected);
}

#[rstest]
#[case::as_it_is("Password")]
#[case::digits_behind("Password123")]
#[case::look_alikes("P@$$w0rd")]
#[case::look_alikes_and_more("P@ssw0rd1!")]
#[case::a_year("Sunshine2024!")]
#[case::both_ends("123Sunshine!!")]
#[case::a_long_row_behind("Sunshine123456789!")]
#[case::six_surprises("Sunshine7#2?9x".trim_end_matches('x'))]
#[case::a_look_alike_at_the_end("Dragon$")]
#[case::one_for_l("We1come1")]
#[case::separated("S-u-n-s-h-i-n-e-1")]
#[case::twice("Sunshine1Sunshine1")]
#[case::thrice_and_more("sunshinesunshinesunshine2024!")]
#[case::a_first_name("Jennifer-1987")]
#[case::what_devices_come_with("Administrator1!")]
#[case::the_service("C0deLab2026!")]
#[case::one_character("aaaaaaaaaaaaaaaaaaaa")]
#[case::up("abcdefghijklmnop")]
#[case::down("9876543210")]
#[case::over_ten("7890123456")]
#[case::three_rows("Abcdef123!")]
#[case::five_characters_repeated("xK7!qxK7!qxK7!q")]
fn what_guessers_try_first_is_common(#[case] password: &str) {
    for rules in [CLASSIC, NIST] {
        let found = faults(rules, password);
        assert!(found.contains(&PasswordFault::Common), "{password}: {found:?}");
    }
}

#[rstest]
#[case::seven_surprises("Sunshine7#2?9*5")]
#[case::seven_on_both_sides("7#2?sunshine9*5")]
#[case::a_word_behind_another("Sunshine dragon")]
#[case::a_word_within_another("xsunshinex")]
#[case::an_unlisted_word("Umbrellafactory1!")]
#[case::four_rows("abcdefg 1234 x")]
#[case::six_characters_repeated("xK7!qwxK7!qw")]
#[case::almost_a_repetition("xK7!qxK7!qxK7!")]
#[case::not_one_after_the_other("acegikmoqsuwy")]
fn what_has_to_be_guessed_is_not_common(#[case] password: &str) {
    for rules in [CLASSIC, NIST] {
        let found = faults(rules, password);
        assert!(!found.contains(&PasswordFault::Common), "{password}: {found:?}");
    }
}

#[rstest]
#[case::decorated("Alice.Example1!2026")]
#[case::look_alikes("@l1ce.3xample")]
#[case::repeated("umbrellabird1umbrellabird1")]
#[case::without_its_dot("aliceexample1!")]
fn an_own_name_is_known_through_its_decoration(#[case] password: &str) {
    assert!(faults(NIST, password).contains(&PasswordFault::OwnName));
}

#[rstest]
#[case::within_a_sentence("alice example likes plums")]
#[case::another_domain("umbrellabird1@example.com")]
#[case::cut("alice.exampl")]
fn a_password_that_holds_a_name_is_not_the_name(#[case] password: &str) {
    assert!(!faults(NIST, password).contains(&PasswordFault::OwnName));
}

#[test]
fn a_password_is_as_long_as_its_hash_can_hold_and_no_longer() {
    let of = |length: usize| format!("Aa1!{}", "xq7".repeat(length).split_at(length - 4).0);
    for policy in [PasswordPolicy::Classic, PasswordPolicy::Nist] {
        let by = |scheme, length| faults(NewPasswordRules { policy, scheme }, &of(length));
        assert_eq!(by(ARGON2, MAX_PASSWORD_BYTES), []);
        assert_eq!(by(ARGON2, MAX_PASSWORD_BYTES + 1), [PasswordFault::TooLong]);
        assert_eq!(by(HashScheme::BCRYPT_12, 72), []);
        assert_eq!(by(HashScheme::BCRYPT_12, 73), [PasswordFault::TooLongForBcrypt]);
        assert_eq!(by(ARGON2, 73), []);
    }
}

#[rstest]
#[case("12345678", Ok(()))]
#[case("1234567", Err(TOO_SHORT))]
#[case("1234567\0", Err(PasswordFault::Nul))]
fn a_size_is_checked_without_regard_to_characters(
    #[case] text: &str,
    #[case] verdict: Result<(), PasswordFault>,
) {
    assert_eq!(auth_domain::password::check_size(text, ARGON2), verdict);
}

const FLOOR: Duration = Duration::from_millis(500);
const LOOK_UP: Duration = Duration::from_millis(10);
const LATER: Seconds = Seconds::new(60);

fn earliest(floor: Duration, grant: GrantType, is_client_known: bool, outcome: Outcome) -> Duration {
    let facts = Facts {
        grant_type: Some(grant),
        client_id: is_client_known.then(|| ClientId::parse("codelab").unwrap()),
        ..Facts::default()
    };
    Pace::with_floor(floor).earliest(&Answer { facts, outcome })
}

#[rstest]
#[case::unknown_user(Refusal::InvalidGrant(GrantFault::UnknownUser), FLOOR)]
#[case::wrong_password(Refusal::InvalidGrant(GrantFault::WrongPassword), FLOOR)]
#[case::inactive(Refusal::InvalidGrant(GrantFault::UserInactive), FLOOR)]
#[case::overtaken(Refusal::InvalidGrant(GrantFault::Overtaken), FLOOR)]
#[case::locked(Refusal::Locked { retry_after: LATER }, LOOK_UP)]
#[case::too_many(Refusal::RateLimited { retry_after: LATER }, LOOK_UP)]
#[case::saturated(Refusal::Saturated { retry_after: LATER }, Duration::ZERO)]
#[case::no_scope(Refusal::InvalidScope, Duration::ZERO)]
#[case::not_this_grant(Refusal::UnauthorizedClient, Duration::ZERO)]
#[case::no_such_grant(Refusal::UnsupportedGrantType, Duration::ZERO)]
fn a_refusal_that_depends_on_a_user_has_a_time_that_does_not(
    #[case] refusal: Refusal,
    #[case] expected: Duration,
) {
    let of = |grant| earliest(FLOOR, grant, true, Outcome::Refused(refusal));
    assert_eq!(of(GrantType::Password), expected);
    assert_eq!(of(GrantType::RefreshToken), Duration::ZERO);
}

#[test]
fn who_is_turned_away_before_any_user_is_looked_up_is_told_so_at_once() {
    let refusal = Refusal::RateLimited { retry_after: LATER };
    let of = |is_client_known| {
        earliest(
            FLOOR,
            GrantType::Password,
            is_client_known,
            Outcome::Refused(refusal),
        )
    };
    assert_eq!((of(false), of(true)), (Duration::ZERO, LOOK_UP));
}

#[test]
fn no_floor_is_no_pace() {
    for refusal in [
        Refusal::InvalidGrant(GrantFault::WrongPassword),
        Refusal::Locked { retry_after: LATER },
    ] {
        let outcome = Outcome::Refused(refusal);
        assert_eq!(
            earliest(Duration::ZERO, GrantType::Password, true, outcome),
            Duration::ZERO
        );
    }
}

#[test]
fn an_outage_is_told_at_once() {
    let outcome = Outcome::Unavailable(Unavailable::new("read a user", "the store is away"));
    assert_eq!(
        earliest(FLOOR, GrantType::Password, true, outcome),
        Duration::ZERO
    );
}

proptest! {
    #[test]
    fn whatever_is_put_around_a_listed_word_it_is_refused(
        before in "[0-9!?#]{0,3}",
        word in select(vec!["password", "sunshine", "jennifer", "administrator", "iloveyou"]),
        capitals in any::<u16>(),
        behind in "[0-9!?#]{0,3}",
    ) {
        let word: String = word
            .chars()
            .enumerate()
            .map(|(place, letter)| if capitals >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter })
            .collect();
        let found = faults(CLASSIC, &format!("{before}{word}{behind}"));
        prop_assert!(found.contains(&PasswordFault::Common));
    }

    #[test]
    fn four_different_words_are_accepted_by_the_policy_after_nist(
        words in Just(["plum", "tango", "oven", "sunshine", "dragon", "password"]).prop_shuffle(),
    ) {
        let phrase = words[..4].join(" ") + "es";
        prop_assert_eq!(faults(NIST, &phrase), []);
    }

    #[test]
    fn any_text_is_judged_and_its_size_told(text in "\\PC{0,1200}") {
        for rules in [CLASSIC, NIST] {
            let found = faults(rules, &text);
            prop_assert_eq!(found.contains(&PasswordFault::TooLong), text.len() > MAX_PASSWORD_BYTES);
        }
    }
}
