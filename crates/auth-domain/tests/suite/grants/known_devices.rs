//! Known devices: a lockout that no outsider can pull, and no guess more for whoever steals a note.

use std::net::IpAddr;

use auth_domain::context::RequestContext;
use auth_domain::device::{DeviceId, DevicePolicy, DeviceSecret, KnownDevice, PasswordMark};
use auth_domain::refusal::{GrantFault, Refusal};
use auth_domain::request::TokenRequest;
use auth_domain::secret::{DeviceToken, PasswordHash};
use auth_domain::throttle::{AccountKey, Budget, CounterKey, NetworkKey};
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Outcome};
use auth_domain::user::User;
use auth_testkit::bed::granted;
use auth_testkit::clock::START;
use auth_testkit::fake::FakeHasher;
use auth_testkit::{TestBed, build};
use rstest::rstest;

use super::{password_form, refused};

const DAY: Seconds = Seconds::new(86_400);
const LOCKED: Refusal = Refusal::Locked {
    retry_after: Seconds::new(900),
};
const WRONG: Refusal = Refusal::InvalidGrant(GrantFault::WrongPassword);

fn secret() -> DeviceSecret {
    DeviceSecret::from_bytes([7; 32])
}

fn bed() -> TestBed {
    let mut bed = TestBed::default();
    bed.policy.devices = Some(DevicePolicy {
        secret: secret(),
        lifetime: DAY,
    });
    bed
}

fn elsewhere(number: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, number])
}

/// A sign-in of `username` that shows a note.
async fn sign_in(
    bed: &TestBed,
    ip: IpAddr,
    username: &str,
    password: &str,
    note: Option<&DeviceToken>,
) -> Answer {
    let form = password_form(username, password).into_iter();
    let pairs = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = TokenRequest {
        device: note.cloned(),
        ..TokenRequest::parse(pairs, None).unwrap()
    };
    let context = RequestContext {
        ip: Some(ip),
        ..build::context()
    };
    bed.service().issue(request, &context).await
}

/// The owner signs in at home.
async fn owner(bed: &TestBed, note: Option<&DeviceToken>) -> Answer {
    sign_in(bed, elsewhere(200), build::ALICE, build::ALICE_PASSWORD, note).await
}

/// Somebody guesses, each time from another address.
async fn guess(bed: &TestBed, number: u8, note: Option<&DeviceToken>) -> Refusal {
    refused(sign_in(bed, elsewhere(number), build::ALICE, "wrong", note).await)
}

fn note_of(answer: Answer) -> DeviceToken {
    granted(answer).device.expect("a note").token
}

fn device_of(note: &DeviceToken) -> KnownDevice {
    KnownDevice::open(note, &secret(), START).expect("a note of ours")
}

fn hits(bed: &TestBed, key: CounterKey) -> u32 {
    bed.throttle.standing(key).map_or(0, |count| count.hits)
}

fn of_alice() -> Budget {
    Budget::Account(AccountKey::of_user(build::user_id(build::ALICE)))
}

#[tokio::test]
async fn a_good_sign_in_hands_out_a_note_about_the_user_and_a_new_device() {
    let bed = bed();
    let note = granted(owner(&bed, None).await).device.expect("a note");
    assert_eq!(note.lifetime, DAY);
    let device = device_of(&note.token);
    assert_eq!(device.user_id, build::user_id(build::ALICE));
    assert_eq!(device.expires_at, START.whole_second().plus(DAY));
    let other = device_of(&note_of(owner(&bed, None).await));
    assert_ne!(other.id, device.id);
}

#[tokio::test]
async fn a_note_is_about_the_hash_that_the_sign_in_has_left() {
    let bed = bed();
    bed.store.put_user(User {
        password_hash: FakeHasher::outdated_hash_of(build::ALICE_PASSWORD),
        ..build::user(build::ALICE)
    });
    let first = note_of(owner(&bed, None).await);
    let second = note_of(owner(&bed, Some(&first)).await);
    assert_eq!(device_of(&second).id, device_of(&first).id);
}

#[tokio::test]
async fn a_known_device_keeps_its_name_and_gets_a_later_end() {
    let bed = bed();
    let first = note_of(owner(&bed, None).await);
    bed.clock.advance(Seconds::new(60));
    let second = note_of(owner(&bed, Some(&first)).await);
    let (first, second) = (device_of(&first), device_of(&second));
    assert_eq!(second.id, first.id);
    assert_eq!(second.expires_at, first.expires_at.plus(Seconds::new(60)));
}

#[tokio::test]
async fn an_attack_from_elsewhere_locks_the_account_and_the_owner_signs_in_again_and_again() {
    let bed = bed();
    let mut note = note_of(owner(&bed, None).await);
    for _ in 0..20 {
        for number in 0..10 {
            guess(&bed, number, None).await;
        }
        let as_a_stranger = refused(owner(&bed, None).await);
        assert!(
            matches!(
                as_a_stranger,
                Refusal::Locked { .. } | Refusal::RateLimited { .. }
            ),
            "{as_a_stranger:?}"
        );
        note = note_of(owner(&bed, Some(&note)).await);
        // Less than ten times an hour, as often as any account may be signed in to.
        bed.clock.advance(Seconds::new(400));
    }
}

#[tokio::test]
async fn an_owner_who_signs_in_gives_the_attacker_no_fresh_guesses() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    for number in 0..4 {
        assert_eq!(guess(&bed, number, None).await, WRONG);
    }
    granted(owner(&bed, Some(&note)).await);
    assert_eq!(hits(&bed, of_alice().failures()), 4);
    assert_eq!(guess(&bed, 4, None).await, WRONG);
    assert_eq!(guess(&bed, 5, None).await, LOCKED);
}

#[tokio::test]
async fn a_sign_in_from_a_known_device_forgives_the_device_its_own_failures() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    let device = Budget::Device(device_of(&note).id);
    for number in 0..4 {
        guess(&bed, number, Some(&note)).await;
    }
    assert_eq!(hits(&bed, device.failures()), 4);
    granted(owner(&bed, Some(&note)).await);
    assert_eq!(hits(&bed, device.failures()), 0);
    assert_eq!(hits(&bed, device.logins()), 5);
}

#[tokio::test]
async fn a_sign_in_without_a_note_forgives_the_account_as_ever() {
    let bed = bed();
    for number in 0..4 {
        guess(&bed, number, None).await;
    }
    granted(owner(&bed, None).await);
    assert_eq!(hits(&bed, of_alice().failures()), 0);
}

#[tokio::test]
async fn a_stolen_note_gives_its_own_few_guesses_and_locks_nobody_else() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    for number in 0..5 {
        assert_eq!(guess(&bed, number, Some(&note)).await, WRONG);
    }
    assert_eq!(guess(&bed, 5, Some(&note)).await, LOCKED);
    assert_eq!(
        refused(owner(&bed, Some(&note)).await),
        LOCKED,
        "the device is locked"
    );
    assert_eq!(hits(&bed, of_alice().failures()), 0);
    granted(owner(&bed, None).await);
    bed.clock.advance(Seconds::new(900));
    granted(owner(&bed, Some(&note)).await);
}

#[tokio::test]
async fn a_device_signs_in_ten_times_an_hour_like_an_account() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    for number in 0..10 {
        let answer = sign_in(
            &bed,
            elsewhere(number),
            build::ALICE,
            build::ALICE_PASSWORD,
            Some(&note),
        );
        granted(answer.await);
    }
    let refusal = refused(owner(&bed, Some(&note)).await);
    let an_hour = Seconds::new(3_600);
    assert_eq!(refusal, Refusal::RateLimited { retry_after: an_hour });
}

#[tokio::test]
async fn the_limits_of_the_network_hold_for_known_devices_too() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    for _ in 0..4 {
        granted(owner(&bed, Some(&note)).await);
    }
    assert!(matches!(
        refused(owner(&bed, Some(&note)).await),
        Refusal::RateLimited { .. }
    ));
}

#[tokio::test]
async fn failures_from_a_known_device_count_for_its_network() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    guess(&bed, 1, Some(&note)).await;
    let network = NetworkKey::of(elsewhere(1));
    assert_eq!(hits(&bed, CounterKey::FailuresFrom(network)), 1);
}

/// A note that is no good for a sign-in of alice.
#[derive(Debug, Clone, Copy)]
enum Useless {
    Expired,
    OfAnotherPassword,
    OfAnotherUser,
    OfAnotherServer,
    Garbage,
}

fn useless(which: Useless) -> DeviceToken {
    let good = KnownDevice {
        id: DeviceId::generate(&auth_testkit::random::SeededRandom::default()),
        user_id: build::user_id(build::ALICE),
        password: PasswordMark::of(&build::user(build::ALICE).password_hash),
        expires_at: START.whole_second().plus(DAY),
    };
    let (device, secret) = match which {
        Useless::Expired => {
            let expires_at = START.whole_second();
            (KnownDevice { expires_at, ..good }, secret())
        }
        Useless::OfAnotherPassword => {
            let password = PasswordMark::of(&PasswordHash::new("another".to_owned()));
            (KnownDevice { password, ..good }, secret())
        }
        Useless::OfAnotherUser => {
            let user_id = build::user_id("bob");
            (KnownDevice { user_id, ..good }, secret())
        }
        Useless::OfAnotherServer => (good, DeviceSecret::from_bytes([8; 32])),
        Useless::Garbage => return DeviceToken::new("\u{0}; garbage".to_owned()),
    };
    device.seal(&secret)
}

#[rstest]
#[case(Useless::Expired)]
#[case(Useless::OfAnotherPassword)]
#[case(Useless::OfAnotherUser)]
#[case(Useless::OfAnotherServer)]
#[case(Useless::Garbage)]
#[tokio::test]
async fn a_note_that_is_no_good_counts_as_none(#[case] which: Useless) {
    let bed = bed();
    let note = useless(which);
    for number in 0..5 {
        assert_eq!(guess(&bed, number, Some(&note)).await, WRONG);
    }
    assert_eq!(hits(&bed, of_alice().failures()), 5);
    assert_eq!(guess(&bed, 6, None).await, LOCKED);
    assert_eq!(refused(owner(&bed, Some(&note)).await), LOCKED);
}

#[tokio::test]
async fn a_note_of_somebody_else_is_replaced_by_one_of_another_name() {
    let bed = bed();
    bed.store.put_user(build::user("bob"));
    let of_alice = note_of(owner(&bed, None).await);
    let answer = sign_in(&bed, elsewhere(1), "bob", build::ALICE_PASSWORD, Some(&of_alice)).await;
    let of_bob = device_of(&note_of(answer));
    assert_eq!(of_bob.user_id, build::user_id("bob"));
    assert_ne!(of_bob.id, device_of(&of_alice).id);
}

#[tokio::test]
async fn a_note_does_not_help_a_login_that_names_nobody() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    for number in 0..5 {
        let answer = sign_in(&bed, elsewhere(number), "nobody", "wrong", Some(&note)).await;
        assert_eq!(refused(answer), Refusal::InvalidGrant(GrantFault::UnknownUser));
    }
    let answer = sign_in(&bed, elsewhere(6), "nobody", "wrong", Some(&note)).await;
    assert_eq!(refused(answer), LOCKED);
}

#[tokio::test]
async fn where_devices_are_not_known_no_note_is_written_and_none_is_read() {
    let mut bed = bed();
    let note = note_of(owner(&bed, None).await);
    bed.policy.devices = None;
    assert!(granted(owner(&bed, Some(&note)).await).device.is_none());
    for number in 0..5 {
        guess(&bed, number, None).await;
    }
    assert_eq!(refused(owner(&bed, Some(&note)).await), LOCKED);
}

#[tokio::test]
async fn an_outage_is_nobodys_failed_guess_on_a_device_either() {
    let bed = bed();
    let note = note_of(owner(&bed, None).await);
    let device = Budget::Device(device_of(&note).id);
    bed.signer.outage.fail_nth(1);
    let answer = owner(&bed, Some(&note)).await;
    assert!(matches!(answer.outcome, Outcome::Unavailable(_)), "{answer:?}");
    assert_eq!(hits(&bed, device.failures()), 0);
    assert_eq!(hits(&bed, device.logins()), 0);
}

#[tokio::test]
async fn a_refresh_carries_no_note() {
    let bed = bed();
    let tokens = granted(owner(&bed, None).await);
    let refreshed = granted(bed.refresh(tokens.tokens.refresh.expose()).await);
    assert!(refreshed.device.is_none());
}
