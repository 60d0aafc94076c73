//! The notes of known devices: who can write them, and how long they are believed.

use auth_domain::device::{DeviceId, DeviceSecret, KnownDevice};
use auth_domain::id::UserId;
use auth_domain::secret::DeviceToken;
use auth_domain::time::Seconds;
use auth_testkit::clock::START;
use auth_testkit::random::SeededRandom;
use proptest::prelude::*;
use uuid::Uuid;

fn secret(byte: u8) -> DeviceSecret {
    DeviceSecret::from_bytes([byte; 32])
}

fn device(user: u128) -> KnownDevice {
    KnownDevice {
        id: DeviceId::generate(&SeededRandom::default()),
        user_id: UserId::from_uuid(Uuid::from_u128(user)),
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
        expires_at: START.whole_second(),
    };
    let sealed = device.seal(&secret(0x0b));
    assert_eq!(
        sealed.expose(),
        "AQAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAGlVuQBEuEcVxpFCQnQFcHlK_0gwCHmN-DEwZM-JHr6jELELbQ"
    );
    assert!(!format!("{sealed:?} {:?}", secret(0x0b)).contains(sealed.expose()));
}

struct ZeroRandom;

impl auth_domain::ports::Random for ZeroRandom {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

proptest! {
    #[test]
    fn no_altered_note_is_believed(at in 0_usize..98, to in proptest::char::range('!', '~')) {
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
