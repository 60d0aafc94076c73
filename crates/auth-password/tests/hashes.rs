//! Hashes made elsewhere, and hashes made here: what verifies, and what never does.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use auth_domain::password::{HashScheme, LegacyHashes, mark_cut};
use auth_domain::ports::{Hashed, PasswordHasher, Random, Unavailable, Verified};
use auth_domain::secret::{Password, PasswordHash};
use auth_domain::time::Seconds;
use auth_password::{HashingPool, HashingSettings, StartFault};
use auth_testkit::SeededRandom;
use auth_testkit::contract::hasher as contract;

/// How long a job may wait on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);
const QUICK_ARGON2ID: HashScheme = HashScheme::Argon2id {
    memory_kib: 64,
    iterations: 1,
    parallelism: 1,
};
const OTHER_ARGON2ID: HashScheme = HashScheme::Argon2id {
    memory_kib: 64,
    iterations: 2,
    parallelism: 1,
};
const QUICK_BCRYPT: HashScheme = HashScheme::Bcrypt { cost: 4 };

/// What libxcrypt makes of the password `Pa55word!Пароль`, by each name of the format.
const PREFIXES: [&str; 3] = [
    "$2a$04$abcdefghijklmnopqrstuun904e1JFGpjEo7QEOBcsaf0LpT1VbF6",
    "$2b$04$abcdefghijklmnopqrstuun904e1JFGpjEo7QEOBcsaf0LpT1VbF6",
    "$2y$04$abcdefghijklmnopqrstuun904e1JFGpjEo7QEOBcsaf0LpT1VbF6",
];

/// What libxcrypt makes of the ten digits, eight times over.
const OF_EIGHTY_BYTES: &str = "$2b$04$abcdefghijklmnopqrstuum2G75IXDN/xsgbNa/hCiPSKyIHQd70S";

/// What the older service stored, and the password to it.
const OF_THE_OLDER_SERVICE: [(&str, &str); 3] = [
    (
        "Correct-Horse-1",
        "$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C",
    ),
    (
        "Pa55word!Пароль",
        "$2b$12$p0ja5i5u2uqHB8IdNOD4Be2clM/OVf2Xme4suZnbnlBvJ6.sSPrQi",
    ),
    (
        "L0ng!xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "$2b$12$.k4L0AYBqv1WcHY8aOwzEO3Hv6Cxnb06Fa0IigJz7NpwBYr7rO5Iq",
    ),
];

fn pool(scheme: HashScheme) -> HashingPool {
    start(scheme).expect("the scheme is a good one")
}

fn start(scheme: HashScheme) -> Result<HashingPool, StartFault> {
    start_for(scheme, LegacyHashes::Replaced)
}

fn start_for(scheme: HashScheme, legacy: LegacyHashes) -> Result<HashingPool, StartFault> {
    let settings = HashingSettings {
        scheme,
        legacy,
        threads: NonZeroUsize::MIN,
        queue: 4,
        deadline: PATIENCE,
        retry_after: Seconds::new(1),
    };
    let random: Arc<dyn Random> = Arc::new(SeededRandom::default());
    HashingPool::start(&settings, &random)
}

async fn verify(pool: &HashingPool, password: &str, stored: &str) -> Verified {
    contract::verify(pool, password, Some(&PasswordHash::new(stored.to_owned()))).await
}

async fn hash(pool: &HashingPool, password: &str) -> Result<Hashed, Unavailable> {
    pool.hash(&Password::new(password.to_owned())).await
}

const OUTDATED: Verified = Verified::Yes { is_outdated: true };

#[tokio::test]
async fn both_schemes_keep_the_contract() {
    for scheme in [QUICK_ARGON2ID, QUICK_BCRYPT] {
        let pool = pool(scheme);
        contract::a_new_hash_verifies_its_password(&pool).await;
        contract::another_password_is_wrong(&pool).await;
        contract::no_password_is_right_where_nothing_is_stored(&pool).await;
        contract::no_password_is_right_where_the_stored_hash_is_malformed(&pool).await;
        let outdated = PasswordHash::new(PREFIXES[1].to_owned());
        if scheme == QUICK_ARGON2ID {
            contract::an_outdated_hash_verifies_and_says_so(&pool, "Pa55word!Пароль", &outdated).await;
        }
    }
}

#[tokio::test]
async fn a_new_hash_names_its_scheme() {
    for scheme in [QUICK_ARGON2ID, QUICK_BCRYPT] {
        let stored = contract::hash(&pool(scheme), "Correct-Horse-1").await;
        assert_eq!(HashScheme::of(&stored), Some(scheme));
    }
}

#[tokio::test]
async fn the_scheme_that_owasp_recommends_is_computed_as_it_is_named() {
    let pool = pool(HashScheme::OWASP_ARGON2ID);
    let stored = contract::hash(&pool, "Correct-Horse-1").await;
    assert!(stored.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    let verified = contract::verify(&pool, "Correct-Horse-1", Some(&stored)).await;
    assert_eq!(verified, Verified::Yes { is_outdated: false });
}

#[tokio::test]
async fn a_password_hashed_twice_has_two_salts() {
    for scheme in [QUICK_ARGON2ID, QUICK_BCRYPT] {
        let pool = pool(scheme);
        let first = contract::hash(&pool, "Correct-Horse-1").await;
        let second = contract::hash(&pool, "Correct-Horse-1").await;
        assert!(!first.is_same(&second));
    }
}

#[tokio::test]
async fn the_reference_vectors_of_argon2id_verify() {
    let pool = pool(QUICK_ARGON2ID);
    let one_lane = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let two_lanes = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
    for stored in [one_lane, two_lanes] {
        assert_eq!(verify(&pool, "password", stored).await, OUTDATED);
        assert_eq!(verify(&pool, "Password", stored).await, Verified::No);
    }
}

#[tokio::test]
async fn the_three_names_of_bcrypt_verify() {
    let pool = pool(QUICK_ARGON2ID);
    for stored in PREFIXES {
        assert_eq!(
            verify(&pool, "Pa55word!Пароль", stored).await,
            OUTDATED,
            "{stored}"
        );
        assert_eq!(
            verify(&pool, "Pa55word!пароль", stored).await,
            Verified::No,
            "{stored}"
        );
    }
}

#[tokio::test]
async fn the_hashes_of_the_older_service_verify() {
    let pool = pool(QUICK_ARGON2ID);
    for (password, stored) in OF_THE_OLDER_SERVICE {
        assert_eq!(verify(&pool, password, stored).await, OUTDATED, "{password}");
    }
}

#[tokio::test]
async fn a_password_of_more_than_72_bytes_never_matches_a_bcrypt_hash() {
    let pool = pool(QUICK_ARGON2ID);
    let eighty = "0123456789".repeat(8);
    // Whoever made this hash cut the password in silence: what was hashed are its first 72 bytes.
    assert_eq!(verify(&pool, &eighty[..72], OF_EIGHTY_BYTES).await, OUTDATED);
    for length in [71, 73, 80] {
        assert_eq!(
            verify(&pool, &eighty[..length], OF_EIGHTY_BYTES).await,
            Verified::No,
            "{length}"
        );
    }
    let another_end = format!("{}another end", &eighty[..72]);
    assert_eq!(verify(&pool, &another_end, OF_EIGHTY_BYTES).await, Verified::No);
}

/// The same hash, as one that was taken over from the older service.
fn marked(hash: &str) -> PasswordHash {
    mark_cut(&PasswordHash::new(hash.to_owned()))
}

#[tokio::test]
async fn a_marked_hash_is_of_whatever_begins_with_its_72_bytes() {
    let pool = pool(QUICK_ARGON2ID);
    let eighty = "0123456789".repeat(8);
    let stored = marked(OF_EIGHTY_BYTES);
    // What follows was verified by nobody: it must not become part of the password.
    let kept = Verified::Yes { is_outdated: false };
    for (password, verdict) in [
        (eighty[..71].to_owned(), Verified::No),
        (eighty[..72].to_owned(), OUTDATED),
        (eighty[..73].to_owned(), kept),
        (eighty.clone(), kept),
        (format!("{}another end", &eighty[..72]), kept),
        (format!("{}{eighty}", &eighty[..71]), Verified::No),
        (format!("{}\0", &eighty[..72]), Verified::No),
        (format!("{eighty}\0"), Verified::No),
        (eighty.to_uppercase().replace('0', "1"), Verified::No),
    ] {
        let verified = contract::verify(&pool, &password, Some(&stored)).await;
        assert_eq!(verified, verdict, "{password:?}");
    }
}

/// passlib cut the bytes, not the letters.
#[tokio::test]
async fn a_marked_hash_may_end_within_a_letter() {
    let argon2id = pool(QUICK_ARGON2ID);
    let salt = [7; 16];
    let letters = format!("{}я", "x".repeat(71));
    let cut = bcrypt::hash_with_salt(&letters.as_bytes()[..72], 4, salt).expect("bcrypt hashes 72 bytes");
    let stored = marked(&cut.to_string());
    let verified = contract::verify(&argon2id, &letters, Some(&stored)).await;
    assert_eq!(verified, Verified::Yes { is_outdated: false });
    let other = format!("{}ы", "x".repeat(71));
    assert_eq!(
        contract::verify(&argon2id, &other, Some(&stored)).await,
        Verified::Yes { is_outdated: false }
    );
    let first_byte_differs = format!("{}é", "x".repeat(71));
    assert_eq!(
        contract::verify(&argon2id, &first_byte_differs, Some(&stored)).await,
        Verified::No
    );
}

#[tokio::test]
async fn the_marked_hashes_of_the_older_service_verify_and_give_way() {
    let pool = pool(QUICK_ARGON2ID);
    for (password, stored) in OF_THE_OLDER_SERVICE {
        let verified = contract::verify(&pool, password, Some(&marked(stored))).await;
        assert_eq!(verified, OUTDATED, "{password}");
        let wrong = contract::verify(&pool, &password.to_uppercase(), Some(&marked(stored))).await;
        assert_eq!(wrong, Verified::No, "{password}");
    }
}

#[tokio::test]
async fn while_they_are_kept_bcrypt_hashes_verify_and_are_never_outdated() {
    let pool = start_for(QUICK_ARGON2ID, LegacyHashes::Kept).expect("the scheme is a good one");
    let up_to_date = Verified::Yes { is_outdated: false };
    let plain = PasswordHash::new(PREFIXES[1].to_owned());
    for stored in [plain, marked(PREFIXES[1])] {
        let verified = contract::verify(&pool, "Pa55word!Пароль", Some(&stored)).await;
        assert_eq!(verified, up_to_date);
        assert_eq!(
            contract::verify(&pool, "Pa55word!", Some(&stored)).await,
            Verified::No
        );
    }
    let outdated = contract::hash(&self::pool(OTHER_ARGON2ID), "Correct-Horse-1").await;
    assert_eq!(
        contract::verify(&pool, "Correct-Horse-1", Some(&outdated)).await,
        OUTDATED
    );
}

#[tokio::test]
async fn argon2id_looks_at_every_byte() {
    let pool = pool(QUICK_ARGON2ID);
    let long = "0123456789".repeat(100);
    let stored = contract::hash(&pool, &long).await;
    assert_eq!(
        verify(&pool, &long, stored.expose()).await,
        Verified::Yes { is_outdated: false }
    );
    assert_eq!(verify(&pool, &long[..999], stored.expose()).await, Verified::No);
}

#[tokio::test]
async fn a_nul_never_matches_a_bcrypt_hash() {
    let pool = pool(QUICK_ARGON2ID);
    // bcrypt ends a password with a NUL itself, and begins it anew after that to fill its 72 bytes.
    let begun_anew = "Pa55word!Пароль\0Pa55word!Пароль";
    for password in ["Pa55word!Пароль\0", begun_anew, "\0", "\0Pa55word!Пароль"] {
        assert_eq!(
            verify(&pool, password, PREFIXES[1]).await,
            Verified::No,
            "{password:?}"
        );
    }
}

#[tokio::test]
async fn bcrypt_hashes_no_password_that_it_would_cut() {
    let pool = pool(QUICK_BCRYPT);
    for password in ["x".repeat(73), "with\0nul".to_owned()] {
        assert!(hash(&pool, &password).await.is_err(), "{password:?}");
    }
    assert!(matches!(hash(&pool, &"x".repeat(72)).await, Ok(Hashed::Done(_))));
}

#[tokio::test]
async fn a_password_too_long_for_the_current_scheme_keeps_its_outdated_hash() {
    let eighty = "0123456789".repeat(8);
    let of = |length: usize| eighty[..length].to_owned();
    let by_argon2id = pool(QUICK_ARGON2ID);
    let by_bcrypt = pool(HashScheme::Bcrypt { cost: 5 });
    for (length, is_outdated) in [(72, true), (73, false)] {
        let stored = contract::hash(&by_argon2id, &of(length)).await;
        let verified = verify(&by_bcrypt, &of(length), stored.expose()).await;
        assert_eq!(verified, Verified::Yes { is_outdated }, "{length}");
    }
}

#[tokio::test]
async fn a_stored_hash_that_asks_for_absurd_work_is_wrong_and_costs_no_more_than_another() {
    let pool = pool(QUICK_ARGON2ID);
    let salt_and_hash = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let bcrypt_rest = "abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde";
    // Each of these would take minutes, or more memory than there is.
    for parameters in ["m=4194304,t=1,p=1", "m=65536,t=4000000,p=1", "m=65536,t=1,p=5000"] {
        let stored = format!("$argon2id$v=19${parameters}${salt_and_hash}");
        assert_eq!(
            verify(&pool, "password", &stored).await,
            Verified::No,
            "{parameters}"
        );
    }
    for cost in [16, 31] {
        let stored = format!("$2b${cost}${bcrypt_rest}");
        assert_eq!(verify(&pool, "password", &stored).await, Verified::No, "{cost}");
    }
}

#[tokio::test]
async fn damaged_hashes_are_wrong() {
    let pool = pool(QUICK_ARGON2ID);
    let argon2id = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    for stored in [
        &argon2id[..argon2id.len() - 3],
        &argon2id.replace("c29tZXNhbHQ", "????"),
        &argon2id.replace("$nf65", "$"),
        &argon2id.replace("v=19", "v=16"),
        &argon2id.replace("argon2id", "argon2i"),
        &argon2id[..argon2id.len() - 44],
        &PREFIXES[1][..59],
        &PREFIXES[1].replace("$04$", "$4$"),
        &PREFIXES[1].replace("2b", "2x"),
    ] {
        assert_eq!(verify(&pool, "password", stored).await, Verified::No, "{stored}");
        assert_eq!(
            verify(&pool, "Pa55word!Пароль", stored).await,
            Verified::No,
            "{stored}"
        );
    }
}

#[test]
fn a_pool_does_not_start_with_a_scheme_that_it_could_not_compute() {
    let argon2id = |memory_kib, iterations, parallelism| HashScheme::Argon2id {
        memory_kib,
        iterations,
        parallelism,
    };
    for scheme in [
        argon2id(0, 1, 1),
        argon2id(64, 0, 1),
        argon2id(64, 1, 0),
        argon2id(1_048_576, 1, 1),
        argon2id(64, 1, 17),
        HashScheme::Bcrypt { cost: 3 },
        HashScheme::Bcrypt { cost: 16 },
    ] {
        assert!(matches!(start(scheme), Err(StartFault::Scheme(_))), "{scheme:?}");
    }
}
