//! What counters are called in Redis: hashes, so that its memory, dumps and monitors name nobody.

use std::fmt::Write as _;
use std::net::IpAddr;

use auth_domain::session::SessionKey;
use auth_domain::throttle::CounterKey;
use sha2::{Digest as _, Sha256};

/// The counters' names begin with this.
const COUNTER: &str = "codelab-auth:throttle:";
/// The number of the last answer.
pub(crate) const ANSWERS: &str = "codelab-auth:throttle-answers";
/// The instances that are there, each with when it was last heard of.
pub(crate) const INSTANCES: &str = "codelab-auth:instances";

/// The name of a counter.
pub(crate) fn name_of(key: CounterKey) -> String {
    let (kind, subject) = parts(key);
    let digest = Sha256::new_with_prefix(kind)
        .chain_update([0])
        .chain_update(subject)
        .finalize();
    let mut name = String::with_capacity(COUNTER.len() + 64);
    name.push_str(COUNTER);
    for byte in digest {
        // Writing to a String can't fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn parts(key: CounterKey) -> (&'static str, Vec<u8>) {
    match key {
        CounterKey::LoginsFrom(network) => ("logins from", octets(network.address())),
        CounterKey::FailuresFrom(network) => ("failures from", octets(network.address())),
        CounterKey::RefreshesFrom(network) => ("refreshes from", octets(network.address())),
        CounterKey::LoginsFor(account) => ("logins for", account.as_bytes().to_vec()),
        CounterKey::FailuresFor(account) => ("failures for", account.as_bytes().to_vec()),
        CounterKey::LoginsBy(device) => ("logins by", device.as_bytes().to_vec()),
        CounterKey::FailuresBy(device) => ("failures by", device.as_bytes().to_vec()),
        CounterKey::RefusalsOf(SessionKey::Id(id)) => ("refusals of", id.as_uuid().as_bytes().to_vec()),
        CounterKey::RefusalsOf(SessionKey::Legacy(token)) => ("refusals of token", token.as_bytes().to_vec()),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use auth_domain::device::DeviceId;
    use auth_domain::throttle::{AccountKey, NetworkKey};
    use auth_domain::user::Login;
    use auth_testkit::{SeededRandom, build};

    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own_that_names_nobody() {
        let account = AccountKey::of_unknown(&Login::parse("bob"));
        let device = DeviceId::generate(&SeededRandom::default());
        let networks =
            ["192.0.2.7", "192.0.2.8", "2001:db8::"].map(|text| NetworkKey::of(text.parse().unwrap()));
        let mut keys = vec![
            CounterKey::LoginsFor(account),
            CounterKey::FailuresFor(account),
            CounterKey::LoginsBy(device),
            CounterKey::FailuresBy(device),
            CounterKey::RefusalsOf(SessionKey::Id(build::session_id("session"))),
            CounterKey::RefusalsOf(SessionKey::Legacy(build::jti_hash("session"))),
        ];
        for network in networks {
            keys.extend([
                CounterKey::LoginsFrom(network),
                CounterKey::FailuresFrom(network),
                CounterKey::RefreshesFrom(network),
            ]);
        }
        let names: BTreeSet<_> = keys.iter().map(|key| name_of(*key)).collect();
        assert_eq!(names.len(), keys.len());
        for name in names {
            let hash = name.strip_prefix(COUNTER).unwrap();
            assert!(
                hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}"
            );
        }
    }

    #[test]
    fn names_stay_the_same_from_version_to_version() {
        let network = NetworkKey::of("192.0.2.7".parse().unwrap());
        assert_eq!(
            name_of(CounterKey::LoginsFrom(network)),
            "codelab-auth:throttle:8074db7e469d0927d8258b54ce18bf0faaa8ac410fd253a35d7c9bb95a7c56cf"
        );
    }
}
