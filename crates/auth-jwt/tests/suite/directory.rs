//! The key directory and given key pairs: what is made, what is refused, and what the refusal says.

use std::sync::Arc;

use auth_domain::key::KeyState;
use auth_domain::ports::TokenSigner as _;
use auth_jwt::{ImportAs, KeyError, KeyRing, KeySource, KeyStore};
use auth_testkit::MockClock;
use auth_testkit::clock::START;

use crate::common::{
    KID_OF_OLD, directory, fixture, kid, mode, pair_of_old, ring, ring_of_old, set_mode, settings, store,
    try_ring, write,
};

#[test]
fn a_first_start_makes_a_private_directory_and_a_private_key_that_signs() {
    let own = directory();
    let path = own.path().join("data/keys");
    let ring = ring(&path, &MockClock::default());
    let keys = store(&path, START).list(START).expect("in order");
    let [key] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    assert_eq!((key.state, key.bits), (KeyState::Active, 2_048));
    assert_eq!(
        ring.key_set().expect("a key is active").active_kid,
        key.kid.to_string()
    );
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join(format!("{}.pem", key.kid))), 0o600);
    assert_eq!(mode(&path.join("keyring.json")), 0o600);
}

#[test]
fn a_restart_finds_the_same_keys() {
    let own = directory();
    let first = ring(own.path(), &MockClock::default())
        .key_set()
        .expect("a key is active");
    let second = ring(own.path(), &MockClock::default())
        .key_set()
        .expect("a key is active");
    assert_eq!(first, second);
}

#[test]
fn many_first_starts_at_once_make_one_key() {
    let own = directory();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let path = own.path().to_owned();
            std::thread::spawn(move || {
                ring(&path, &MockClock::default())
                    .key_set()
                    .expect("a key")
                    .active_kid
                    .clone()
            })
        })
        .collect();
    let kids: std::collections::HashSet<_> = starts
        .into_iter()
        .map(|start| start.join().expect("it ends"))
        .collect();
    assert_eq!(kids.len(), 1);
}

#[test]
fn rotations_at_once_lose_no_key() {
    let own = directory();
    store(own.path(), START);
    let rotations: Vec<_> = (0..4)
        .map(|_| {
            let path = own.path().to_owned();
            std::thread::spawn(move || store(&path, START).rotate(START).expect("a key can be made").kid)
        })
        .collect();
    for rotation in rotations {
        rotation.join().expect("it ends");
    }
    assert_eq!(store(own.path(), START).list(START).expect("in order").len(), 5);
}

#[test]
fn the_kid_of_a_new_key_is_its_thumbprint() {
    let own = directory();
    let key = &store(own.path(), START).list(START).expect("in order")[0];
    let pem = std::fs::read(own.path().join(format!("{}.pem", key.kid))).expect("it is there");
    let read = auth_jwt::RsaKey::from_pem(&pem).expect("it is a key");
    assert_eq!(read.thumbprint().expect("a thumbprint is a kid"), key.kid);
}

#[test]
fn a_key_that_others_may_read_stops_the_start_and_the_message_says_which_and_why() {
    for bad in [0o640, 0o604, 0o644, 0o660, 0o610] {
        let own = directory();
        let clock = MockClock::default();
        let kid = ring(own.path(), &clock)
            .key_set()
            .expect("a key is active")
            .active_kid
            .clone();
        let path = own.path().join(format!("{kid}.pem"));
        set_mode(&path, bad);
        let message = try_ring(own.path(), &clock).err().expect("refused").to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(
            message.contains(&format!("{bad:04o}")) && message.contains("0600"),
            "{message}"
        );
    }
}

#[test]
fn a_directory_that_others_may_write_to_stops_the_start() {
    let own = directory();
    set_mode(own.path(), 0o770);
    let refused = try_ring(own.path(), &MockClock::default())
        .err()
        .expect("refused");
    assert!(
        matches!(refused, KeyError::WritableByOthers { mode: 0o770, .. }),
        "{refused}"
    );
}

#[test]
fn a_lost_manifest_stops_the_start_and_makes_no_new_key() {
    let own = directory();
    ring(own.path(), &MockClock::default());
    std::fs::remove_file(own.path().join("keyring.json")).expect("it was there");
    let refused = try_ring(own.path(), &MockClock::default())
        .err()
        .expect("refused");
    assert!(matches!(refused, KeyError::ManifestLost { .. }), "{refused}");
}

#[test]
fn a_first_start_that_was_cut_off_is_taken_up_again() {
    let own = directory();
    write(
        &own.path().join("keyring.json"),
        br#"{"version":"1","keys":[]}"#,
        0o600,
    );
    write(
        &own.path().join("half-made.pem"),
        &fixture("private_key.pem"),
        0o600,
    );
    assert!(try_ring(own.path(), &MockClock::default()).is_ok());
}

#[test]
fn a_question_makes_no_keys() {
    let own = directory();
    let (missing, empty) = (own.path().join("missing"), own.path().join("empty"));
    std::fs::create_dir(&empty).expect("there is room for a test's files");
    set_mode(&empty, 0o700);
    for path in [&missing, &empty] {
        assert!(
            KeyStore::open_existing(settings(path))
                .expect("in order")
                .is_none()
        );
    }
    assert!(!missing.exists());
    assert_eq!(std::fs::read_dir(&empty).expect("it is there").count(), 0);
    store(&empty, START);
    assert!(
        KeyStore::open_existing(settings(&empty))
            .expect("in order")
            .is_some()
    );
}

#[test]
fn a_key_file_that_the_manifest_does_not_name_is_reported_and_left_alone() {
    let own = directory();
    let store = store(own.path(), START);
    assert!(store.strays().expect("in order").is_empty());
    let left = write(&own.path().join("left.pem"), &fixture("private_key.pem"), 0o600);
    assert_eq!(store.sweep(START).expect("in order"), []);
    assert_eq!(store.strays().expect("in order"), std::slice::from_ref(&left));
    assert!(left.exists());
}

#[test]
fn a_damaged_manifest_stops_the_start() {
    for content in [
        "",
        "{}",
        r#"{"version":"2","keys":[]}"#,
        r#"{"version":"1","keys":[{"kid":"../x","published_at":0,"activates_at":0,"signed_until":0}]}"#,
        r#"{"version":"1","keys":[],"more":1}"#,
    ] {
        let own = directory();
        write(&own.path().join("keyring.json"), content.as_bytes(), 0o600);
        let refused = try_ring(own.path(), &MockClock::default())
            .err()
            .expect("refused");
        assert!(
            matches!(refused, KeyError::Manifest { .. }),
            "{content}: {refused}"
        );
    }
}

#[test]
fn a_ring_keeps_its_keys_while_the_directory_is_damaged() {
    let own = directory();
    let ring = ring(own.path(), &MockClock::default());
    let before = ring.key_set().expect("a key is active");
    write(&own.path().join("keyring.json"), b"damaged", 0o600);
    assert!(ring.refresh().is_err());
    assert_eq!(ring.key_set().expect("a key is active"), before);
}

#[test]
fn a_name_that_is_taken_is_not_imported_over() {
    let own = directory();
    let store = store(own.path(), START);
    let pem = fixture("private_key.pem");
    let import = || store.import(&pem, Some(kid(KID_OF_OLD)), ImportAs::Signer, START);
    import().expect("the fixture is a key");
    assert!(matches!(import(), Err(KeyError::KidTaken(_))));
    let rubbish = store.import(b"rubbish", None, ImportAs::Signer, START);
    assert!(matches!(rubbish, Err(KeyError::NotImportable(_))));
}

#[test]
fn a_given_pair_is_used_as_it_is() {
    let own = directory();
    let ring = ring_of_old(own.path());
    assert!(ring.store().is_none());
    assert_eq!(ring.refresh().expect("nothing to do"), None);
    let key_set = ring.key_set().expect("a key is active");
    assert_eq!(key_set.active_kid, KID_OF_OLD);
    let json = str::from_utf8(&key_set.json).expect("text");
    let start = r#"{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"2024-01-key-1","n":""#;
    assert!(
        json.starts_with(start) && json.ends_with(r#"","e":"AQAB"}]}"#),
        "{json}"
    );
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let own = directory();
    let KeySource::Pair { private_key_path, .. } = pair_of_old(own.path()) else {
        panic!("a pair");
    };
    let other = openssl::rsa::Rsa::generate(2_048).expect("a key");
    let public = own.path().join("other.pem");
    write(&public, &other.public_key_to_pem().expect("PEM"), 0o644);
    let source = KeySource::Pair {
        private_key_path,
        public_key_path: Some(public),
        kid: None,
    };
    let refused = KeyRing::open(source, Arc::new(MockClock::default()))
        .err()
        .expect("refused");
    assert!(matches!(refused, KeyError::NotAPair { .. }), "{refused}");
}

#[test]
fn a_given_private_key_that_others_may_read_is_refused() {
    let own = directory();
    let source = pair_of_old(own.path());
    set_mode(&own.path().join("private.pem"), 0o640);
    let refused = KeyRing::open(source, Arc::new(MockClock::default()))
        .err()
        .expect("refused");
    assert!(
        matches!(refused, KeyError::ReadableByOthers { mode: 0o640, .. }),
        "{refused}"
    );
}

#[test]
fn a_device_in_place_of_a_key_is_refused_and_not_read() {
    let own = directory();
    let KeySource::Pair { public_key_path, .. } = pair_of_old(own.path()) else {
        panic!("a pair");
    };
    let source = KeySource::Pair {
        private_key_path: "/dev/zero".into(),
        public_key_path,
        kid: None,
    };
    let refused = KeyRing::open(source, Arc::new(MockClock::default()))
        .err()
        .expect("refused");
    assert!(matches!(refused, KeyError::Special { .. }), "{refused}");
}
