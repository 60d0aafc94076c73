//! What every [`PasswordHasher`] must keep.

use auth_domain::ports::{Hashed, PasswordHasher, Verified};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Seconds;

const RIGHT: &str = "Correct-Horse-1";

/// Passwords that are not [`RIGHT`], each by a little.
const WRONG: [&str; 6] = [
    "",
    "correct-horse-1",
    "Correct-Horse-",
    "Correct-Horse-1 ",
    "Correct-Horse-1\0",
    "Cоrrect-Horse-1",
];

/// A hash of a password, from a hasher that is not saturated.
pub async fn hash(hasher: &dyn PasswordHasher, password: &str) -> PasswordHash {
    let answer = hasher.hash(&Password::new(password.to_owned())).await;
    match answer.expect("the hasher is there") {
        Hashed::Done(hash) => hash,
        Hashed::Saturated { .. } => panic!("a contract is checked on a hasher that has room"),
    }
}

/// What a hasher says of a password.
pub async fn verify(hasher: &dyn PasswordHasher, password: &str, stored: Option<&PasswordHash>) -> Verified {
    let password = Password::new(password.to_owned());
    let verified = hasher.verify(&password, stored).await;
    verified.expect("the hasher is there")
}

/// The password that was hashed is right, and its hash is up to date.
pub async fn a_new_hash_verifies_its_password(hasher: &dyn PasswordHasher) {
    for password in [
        RIGHT,
        "Пароль-кириллицей-1",
        "with spaces, \"quotes\" and $dollars$",
    ] {
        let stored = hash(hasher, password).await;
        assert_eq!(
            verify(hasher, password, Some(&stored)).await,
            Verified::Yes { is_outdated: false },
            "{password}"
        );
    }
}

/// Any other is wrong, however near.
pub async fn another_password_is_wrong(hasher: &dyn PasswordHasher) {
    let stored = hash(hasher, RIGHT).await;
    for password in WRONG {
        let verified = verify(hasher, password, Some(&stored)).await;
        assert_eq!(verified, Verified::No, "{password:?}");
    }
}

/// Where nothing is stored no password is right.
pub async fn no_password_is_right_where_nothing_is_stored(hasher: &dyn PasswordHasher) {
    for password in ["", RIGHT] {
        assert_eq!(verify(hasher, password, None).await, Verified::No);
    }
}

/// A stored text that is no hash is nobody's password, and no outage.
pub async fn no_password_is_right_where_the_stored_hash_is_malformed(hasher: &dyn PasswordHasher) {
    for stored in ["", "$", RIGHT, "$argon2id$", "$2b$12$", "$1$salt$hash"] {
        let stored = PasswordHash::new(stored.to_owned());
        assert_eq!(verify(hasher, RIGHT, Some(&stored)).await, Verified::No);
    }
}

/// A hash by another scheme verifies, and is said to be outdated; a wrong password says nothing of it.
pub async fn an_outdated_hash_verifies_and_says_so(
    hasher: &dyn PasswordHasher,
    password: &str,
    stored: &PasswordHash,
) {
    assert_eq!(
        verify(hasher, password, Some(stored)).await,
        Verified::Yes { is_outdated: true }
    );
    assert_eq!(
        verify(hasher, "another password", Some(stored)).await,
        Verified::No
    );
}

/// A hasher without room says so, and when to try again, whatever it is asked.
pub async fn a_saturated_hasher_says_when_to_try_again(hasher: &dyn PasswordHasher, retry_after: Seconds) {
    for stored in [None, Some(PasswordHash::new("$2b$04$".to_owned()))] {
        assert_eq!(
            verify(hasher, RIGHT, stored.as_ref()).await,
            Verified::Saturated { retry_after }
        );
    }
    let answer = hasher.hash(&Password::new(RIGHT.to_owned())).await;
    let answer = answer.expect("saturation is no outage");
    assert!(
        matches!(answer, Hashed::Saturated { retry_after: said } if said == retry_after),
        "{answer:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHasher;

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        let hasher = FakeHasher::default();
        a_new_hash_verifies_its_password(&hasher).await;
        another_password_is_wrong(&hasher).await;
        no_password_is_right_where_nothing_is_stored(&hasher).await;
        no_password_is_right_where_the_stored_hash_is_malformed(&hasher).await;
        let outdated = FakeHasher::outdated_hash_of("of old");
        an_outdated_hash_verifies_and_says_so(&hasher, "of old", &outdated).await;
        hasher.saturate(Seconds::new(3));
        a_saturated_hasher_says_when_to_try_again(&hasher, Seconds::new(3)).await;
    }
}
