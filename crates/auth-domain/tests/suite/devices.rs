//! The notes of known devices: who can write them, and how long they are believed.

use auth_domain::device::{DeviceId, DeviceSecret, KnownDevice, PasswordMark};
use auth_domain::id::UserId;
use auth_domain::secret::{DeviceToken, PasswordHash};
use auth_domain::time::Seconds;
use auth_testkit::clock::START;
use auth_testkit::random::SeededRandom;
use proptest::prelude::*;
use uuid::Uuid;

fn secret(byte: u8) -> DeviceSecret {
    DeviceSecret::from_bytes([byte; 32])
}

fn mark(hash: &str) -> PasswordMark {
    PasswordMark::of(&PasswordHash::new(hash.to_owned()))
}

fn device(user: u128) -> KnownDevice {
    KnownDevice {
        id: DeviceId::generate(&SeededRandom::default()),
        user_id: UserId::from_uuid(Uuid::from_u128(user)),
        password: mark("$hash$"),
        expires_at: START.whole_second().plus(Seconds::new(60)),
    }
}

#[test]
fn a_note_is_read_back_as_it_was_written() {
    let device = device(7);
    let token = device.seal(&secret(1));
    assert_eq!(KnownDevice::open(&token, &secret(1), START), Some(device));
}

#[test]
fn a_note_is_believed_until_its_last_second_and_no_longer() {
    let device = device(7);
    let token = device.seal(&secret(1));
    let end = device.expires_at;
    let just_before = end.minus(Seconds::new(1));
    assert_eq!(KnownDevice::open(&token, &secret(1), just_before), Some(device));
    assert_eq!(KnownDevice::open(&token, &secret(1), end), None);
}

#[test]
fn a_note_under_another_secret_is_none() {
    let token = device(7).seal(&secret(1));
    assert_eq!(KnownDevice::open(&token, &secret(2), START), None);
}

#[test]
fn the_seal_is_an_hmac_sha256_of_the_note() {
    // Computed by Python's hmac module: pins the note's layout and the key's use.
    let device = KnownDevice {
        id: DeviceId::generate(&ZeroRandom),
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        password: mark("$hash$"),
        expires_at: START.whole_second(),
    };
    let sealed = device.seal(&secret(0x0b));
    assert_eq!(
        sealed.expose(),
        "AQAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAA1DXIV2ZlCUiSsDZPvPM_dAAAAABpVbkA_j_AtTnKPk9OpDdE0rO1y7G9sWCaXVhDGKW-ZzGzf44"
    );
    assert!(!format!("{sealed:?} {:?}", secret(0x0b)).contains(sealed.expose()));
}

/// Whether two secrets are the same: whether one reads what the other has sealed.
fn are_same(one: &DeviceSecret, other: &DeviceSecret) -> bool {
    KnownDevice::open(&device(7).seal(one), other, START).is_some()
}

#[test]
fn a_secret_is_read_from_64_hexadecimal_digits_and_nothing_else() {
    let read = DeviceSecret::parse(&"0aF".repeat(22)[..64]).unwrap();
    let bytes: Vec<u8> = [0x0a, 0xf0, 0xaf].iter().copied().cycle().take(32).collect();
    assert!(are_same(
        &read,
        &DeviceSecret::from_bytes(bytes.try_into().unwrap())
    ));
    for wrong in [
        "",
        &"a".repeat(63),
        &"a".repeat(65),
        &"a".repeat(66),
        &"g".repeat(64),
        &format!("+{}", "a".repeat(63)),
        &format!(" {}", "a".repeat(63)),
        &"\u{e4}".repeat(32),
    ] {
        assert!(DeviceSecret::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_generated_secret_can_be_read_and_is_another_each_time() {
    let random = SeededRandom::default();
    let [one, other] = [(); 2].map(|()| DeviceSecret::generate_text(&random));
    assert_ne!(one, other);
    assert!(!are_same(
        &DeviceSecret::parse(&one).unwrap(),
        &DeviceSecret::parse(&other).unwrap()
    ));
}

#[test]
fn a_derived_secret_is_an_hmac_of_a_label_under_the_other_one() {
    // Computed by Python's hmac module.
    let expected = "7ede8117822d9eaf7972f515d617969cd6f4cd517f664bad9d31edd707385a87";
    assert!(are_same(
        &DeviceSecret::derived_from(&[b'k'; 100]),
        &DeviceSecret::parse(expected).unwrap()
    ));
}

#[test]
fn a_note_of_another_layout_is_none_though_its_seal_is_good() {
    let open = |text: &str| {
        let note = DeviceToken::new(text.to_owned());
        KnownDevice::open(&note, &secret(0x0b), START)
    };
    // The same note twice, computed by Python's hmac module: once of version 1, once of version 2.
    let known = "AQAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAA1DXIV2ZlCUiSsDZPvPM_dAAAAABpVbk8c7LlspuetQUAbzFzm-0HY_fK18305hRr5vYEb9SE0TA";
    let unknown = "AgAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAA1DXIV2ZlCUiSsDZPvPM_dAAAAABpVbk8Y9vzF0olkuHZN3JdompzTbdeOWGdeGpXdGDS1SiCW34";
    assert!(open(known).is_some());
    assert_eq!(open(unknown), None);
}

#[test]
fn a_secret_shows_nothing() {
    assert_eq!(format!("{:?}", secret(1)), "DeviceSecret(..)");
}

#[test]
fn the_name_of_a_device_is_what_was_drawn() {
    struct Counting;

    impl auth_domain::ports::Random for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            for (byte, number) in buffer.iter_mut().zip(0..) {
                *byte = number;
            }
        }
    }

    let expected: Vec<u8> = (0..16).collect();
    assert_eq!(DeviceId::generate(&Counting).as_bytes(), expected.as_slice());
}

struct ZeroRandom;

impl auth_domain::ports::Random for ZeroRandom {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

proptest! {
    #[test]
    fn no_altered_note_is_believed(at in 0_usize..119, to in proptest::char::range('!', '~')) {
        let sealed = device(7).seal(&secret(1));
        let altered: String = sealed
            .expose()
            .chars()
            .enumerate()
            .map(|(index, character)| if index == at { to } else { character })
            .collect();
        prop_assume!(altered != sealed.expose());
        prop_assert_eq!(KnownDevice::open(&DeviceToken::new(altered), &secret(1), START), None);
    }

    #[test]
    fn no_text_is_taken_for_a_note(text in ".{0,200}") {
        prop_assert_eq!(KnownDevice::open(&DeviceToken::new(text), &secret(1), START), None);
    }
}
