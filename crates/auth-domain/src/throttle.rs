//! The rules by which guessing is slowed down: counters in windows, pure; where they are kept is the port's business.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::device::DeviceId;
use crate::id::UserId;
use crate::session::SessionKey;
use crate::time::{Seconds, Timestamp};
use crate::user::Login;

/// What is counted. User names enter only as hashes: a store of counters tells nobody who signs in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CounterKey {
    /// Password grants from a network: an IPv4 address or an IPv6 /64.
    LoginsFrom(NetworkKey),
    /// Password grants for an account.
    LoginsFor(AccountKey),
    /// Failed password grants from a network.
    FailuresFrom(NetworkKey),
    /// Failed password grants for an account.
    FailuresFor(AccountKey),
    /// Password grants for its account from a known device.
    LoginsBy(DeviceId),
    /// Failed password grants for its account from a known device.
    FailuresBy(DeviceId),
    /// Refresh grants from a network.
    RefreshesFrom(NetworkKey),
    /// Refused tokens of a session that the audit trail tells of.
    RefusalsOf(SessionKey),
}

impl CounterKey {
    /// The limit that it counts for.
    pub const fn limit(self) -> Limit {
        match self {
            Self::LoginsFrom(_) => Limit::LoginsByAddress,
            Self::LoginsFor(_) => Limit::LoginsByAccount,
            Self::FailuresFrom(_) => Limit::FailuresByAddress,
            Self::FailuresFor(_) => Limit::FailuresByAccount,
            Self::LoginsBy(_) => Limit::LoginsByDevice,
            Self::FailuresBy(_) => Limit::FailuresByDevice,
            Self::RefreshesFrom(_) => Limit::RefreshesByAddress,
            Self::RefusalsOf(_) => Limit::RefusalsBySession,
        }
    }
}

crate::name::named! {
    /// A limit, as the audit trail calls it.
    Limit {
        /// Password grants from a network.
        LoginsByAddress = "logins_by_address",
        /// Password grants for an account.
        LoginsByAccount = "logins_by_account",
        /// Failed password grants from a network.
        FailuresByAddress = "failures_by_address",
        /// Failed password grants for an account.
        FailuresByAccount = "failures_by_account",
        /// Password grants for its account from a known device.
        LoginsByDevice = "logins_by_device",
        /// Failed password grants for its account from a known device.
        FailuresByDevice = "failures_by_device",
        /// Refresh grants from a network.
        RefreshesByAddress = "refreshes_by_address",
        /// Refused tokens of a session that the audit trail tells of.
        RefusalsBySession = "refusals_by_session",
    } expected "the name of a limit"
}

/// A network as far as limits go: one IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkKey(IpAddr);

impl NetworkKey {
    /// The network of an address. An IPv4 address mapped into IPv6 counts as itself.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self(IpAddr::V6(network.into()))
            }
        }
    }

    /// The network's first address.
    pub const fn address(self) -> IpAddr {
        self.0
    }
}

/// An account as far as limits go: the same for a user's name and e-mail address, and a key of its own for a
/// login that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountKey([u8; 16]);

impl AccountKey {
    /// The key of a user that exists.
    pub fn of_user(user: UserId) -> Self {
        Self::digest(b"user\0", user.as_uuid().as_bytes())
    }

    /// The key of a login that names nobody: one for each text that would be looked up apart, so that spelling a
    /// name otherwise gives no more and no fewer guesses than it would for a user that exists.
    pub fn of_unknown(login: &Login) -> Self {
        match login {
            Login::Username(name) => Self::digest(b"unknown name\0", name.as_bytes()),
            Login::Email(folded) => Self::digest(b"unknown address\0", folded.as_bytes()),
        }
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn digest(kind: &[u8], name: &[u8]) -> Self {
        let digest = Sha256::new_with_prefix(kind).chain_update(name).finalize();
        let mut bytes = [0_u8; 16];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = from;
        }
        Self(bytes)
    }
}

/// One counter to be raised, and the rule for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// What is counted.
    pub key: CounterKey,
    /// How many are let through.
    pub limit: u32,
    /// For how long a count stands.
    pub window: Seconds,
    /// What being over the limit means.
    pub kind: CounterKind,
}

/// What being over a counter's limit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterKind {
    /// Too many requests: the window is fixed, and starts with its first request.
    Rate,
    /// Too many failures: the window starts anew with each counted failure, and while the count is full nothing
    /// more is counted, so that the lock ends by itself.
    Lockout,
}

/// A counter as it stands in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many were counted.
    pub hits: u32,
    /// Whether a refusal of this window has been told already.
    pub refusal_is_told: bool,
    /// When the count falls back to nothing.
    pub ends_at: Timestamp,
}

/// What one counter says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is let through, if the other counters agree; this is the counter's standing then.
    Room(Count),
    /// It is not; this is the counter's standing now.
    Full {
        /// The counter, with the refusal noted.
        count: Count,
        /// Whether this is the first refusal of the window: the one worth a row in the audit trail.
        is_first: bool,
    },
}

/// Judges one request by one counter. The count is raised before the work is done, so that requests in parallel
/// can't outrun it.
pub fn judge(counter: &Counter, standing: Option<Count>, now: Timestamp) -> Judgement {
    let fresh = Count {
        hits: 0,
        refusal_is_told: false,
        ends_at: now.plus(counter.window),
    };
    let standing = standing.filter(|count| now < count.ends_at).unwrap_or(fresh);
    if standing.hits >= counter.limit {
        let count = Count {
            refusal_is_told: true,
            ..standing
        };
        return Judgement::Full {
            count,
            is_first: !standing.refusal_is_told,
        };
    }
    let ends_at = match counter.kind {
        CounterKind::Rate => standing.ends_at,
        CounterKind::Lockout => fresh.ends_at,
    };
    Judgement::Room(Count {
        hits: standing.hits + 1,
        ends_at,
        ..standing
    })
}

/// A correction of a counter, once it has turned out that there was nothing to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pardon {
    /// One request less.
    One(CounterKey),
    /// Back to nothing.
    All(CounterKey),
}

impl Pardon {
    /// The counter's standing afterwards; `None` is nothing.
    pub fn apply(self, standing: Count) -> Option<Count> {
        match self {
            Self::All(_) => None,
            Self::One(_) if standing.hits <= 1 => None,
            Self::One(_) => Some(Count {
                hits: standing.hits - 1,
                ..standing
            }),
        }
    }

    /// Which counter.
    pub const fn key(self) -> CounterKey {
        match self {
            Self::One(key) | Self::All(key) => key,
        }
    }
}

/// What a counter that let a request through has room for afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// So many requests more.
    pub remaining: u32,
    /// Until the count falls back to nothing.
    pub resets_in: Seconds,
}

impl Room {
    /// The room of a counter at this standing.
    pub fn of(counter: &Counter, count: Count, now: Timestamp) -> Self {
        Self {
            remaining: counter.limit.saturating_sub(count.hits),
            resets_in: now.seconds_until(count.ends_at),
        }
    }
}

/// What all counters of a request together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every counter let it through, and was raised. This is what the first of them still has room for.
    Allowed(Room),
    /// A counter was full, and none was raised.
    Full {
        /// Which: the first that was.
        key: CounterKey,
        /// What being over that counter's limit means.
        kind: CounterKind,
        /// When to try again.
        retry_after: Seconds,
        /// Whether it is the counter's first refusal of its window.
        is_first: bool,
    },
}

impl Verdict {
    /// Whether the request was let through.
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Whose budget a guess at a password is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// The account's, which every stranger shares.
    Account(AccountKey),
    /// That of a device the account's owner has signed in from before: no stranger can use it up.
    Device(DeviceId),
}

impl Budget {
    /// What counts the guesses.
    pub const fn logins(self) -> CounterKey {
        match self {
            Self::Account(account) => CounterKey::LoginsFor(account),
            Self::Device(device) => CounterKey::LoginsBy(device),
        }
    }

    /// What counts the wrong ones.
    pub const fn failures(self) -> CounterKey {
        match self {
            Self::Account(account) => CounterKey::FailuresFor(account),
            Self::Device(device) => CounterKey::FailuresBy(device),
        }
    }
}

/// The limits on the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Password grants a minute from one network.
    pub logins_per_network: u32,
    /// Password grants an hour for one account.
    pub logins_per_account: u32,
    /// Failures that lock an account.
    pub failures_per_account: u32,
    /// Failures that lock a network.
    pub failures_per_network: u32,
    /// How long a lock lasts.
    pub lockout: Seconds,
    /// Refresh grants a minute from one network.
    pub refreshes_per_network: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logins_per_network: 5,
            logins_per_account: 10,
            failures_per_account: 5,
            failures_per_network: 10,
            lockout: Seconds::new(900),
            refreshes_per_network: 6_000,
        }
    }
}

const MINUTE: Seconds = Seconds::new(60);
const HOUR: Seconds = Seconds::new(3_600);

impl Limits {
    /// The counter that a password grant from a network must pass before anything else is done.
    pub fn login_from(&self, network: NetworkKey) -> [Counter; 1] {
        [rate(
            CounterKey::LoginsFrom(network),
            self.logins_per_network,
            MINUTE,
        )]
    }

    /// The counters that must be passed before an account's password is looked at: each look counts as a failure
    /// until it has turned out not to be one. A known device has as much of its own as the account has for all others.
    pub fn guess(&self, budget: Budget, network: Option<NetworkKey>) -> Vec<Counter> {
        let mut counters = vec![
            rate(budget.logins(), self.logins_per_account, HOUR),
            lockout(budget.failures(), self.failures_per_account, self.lockout),
        ];
        counters.extend(network.map(|network| {
            lockout(
                CounterKey::FailuresFrom(network),
                self.failures_per_network,
                self.lockout,
            )
        }));
        counters
    }

    /// The counter that a refresh grant from a network must pass.
    pub fn refresh_from(&self, network: NetworkKey) -> [Counter; 1] {
        [rate(
            CounterKey::RefreshesFrom(network),
            self.refreshes_per_network,
            MINUTE,
        )]
    }
}

/// So many refused tokens of one session are told of by the audit trail in an hour. Whoever holds a single dead token
/// may present it as often as refreshing is allowed, and would fill the disk with rows that say the same.
pub const fn told_refusals(session: SessionKey) -> Counter {
    const MOST: u32 = 5;
    const WINDOW: Seconds = Seconds::new(3_600);
    rate(CounterKey::RefusalsOf(session), MOST, WINDOW)
}

const fn rate(key: CounterKey, limit: u32, window: Seconds) -> Counter {
    Counter {
        key,
        limit,
        window,
        kind: CounterKind::Rate,
    }
}

const fn lockout(key: CounterKey, limit: u32, window: Seconds) -> Counter {
    Counter {
        key,
        limit,
        window,
        kind: CounterKind::Lockout,
    }
}
