//! The resource owner password credentials grant (RFC 6749 section 4.3).

use crate::audit::AuditEvent;
use crate::client::Client;
use crate::device::{DeviceId, DeviceNote, KnownDevice, PasswordMark};
use crate::id::{Jti, RowId, SessionId, UserId};
use crate::ports::{Hashed, Verified};
use crate::refusal::{GrantFault, Refusal};
use crate::scope::{self, Scope};
use crate::secret::{DeviceToken, Password, PasswordHash};
use crate::session::{AuthenticationMethod, NewSession, Opened, Successor, TokenRow};
use crate::throttle::{AccountKey, Budget, CounterKey, NetworkKey, Pardon};
use crate::token_service::{Halt, Terms, TokenSet, Walk};
use crate::user::{Login, User, UserStatus};

/// What somebody shows to be signed in.
pub(crate) struct SignIn<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a Password,
    /// What the tokens shall be good for, where that is asked.
    pub(crate) scope: Option<&'a Scope>,
    /// The note of a known device, where one was sent.
    pub(crate) device: Option<&'a DeviceToken>,
}

impl Walk<'_> {
    /// Signs a user in: scope, limits of the account, password, then a new session with its first tokens.
    ///
    /// A user that does not exist, a wrong password and an inactive user take the same work and end alike.
    pub(crate) async fn password_grant(
        &mut self,
        client: &Client,
        sign_in: &SignIn<'_>,
    ) -> Result<TokenSet, Halt> {
        let SignIn {
            username, password, ..
        } = *sign_in;
        let scope = scope::narrow(&client.allowed_scopes, sign_in.scope).ok_or(Refusal::InvalidScope)?;
        let login = Login::parse(username);
        let found = self.service.ports.users.find_by_login(&login).await?;
        self.facts.user_id = found.as_ref().map(|user| user.id);
        let guess = self.guess(found.as_ref(), &login, self.known_device(sign_in.device));
        self.pass_guess(&guess, username).await?;
        let proved = match self.judged(found, password).await {
            Ok(Ok(proved)) => proved,
            Ok(Err(fault)) => return self.refuse_login(fault, username).await,
            Err(halt) => return self.take_back(&guess, halt).await,
        };
        let entry = Entry {
            client,
            login: &login,
            password,
            scope: &scope,
        };
        match self.admit(entry, &proved).await {
            Ok(Some((tokens, password))) => {
                self.pardon(&guess.was_right()).await;
                Ok(TokenSet {
                    device: self.note_for(proved.user.id, password, guess.budget),
                    ..tokens
                })
            }
            Ok(None) => self.refuse_login(GrantFault::Overtaken, username).await,
            Err(halt) => self.take_back(&guess, halt).await,
        }
    }

    /// The verdict on the password, once the work has been done.
    async fn judged(
        &self,
        found: Option<User>,
        password: &Password,
    ) -> Result<Result<Proved, GrantFault>, Halt> {
        let stored = found.as_ref().map(|user| &user.password_hash);
        match self.service.ports.hasher.verify(password, stored).await? {
            Verified::Saturated { retry_after } => Err(Refusal::Saturated { retry_after }.into()),
            Verified::Yes { is_outdated } => Ok(judge(found, Some(is_outdated))),
            Verified::No => Ok(judge(found, None)),
        }
    }

    /// Opens a session for a user whose password was right, and says which password that is by now, since it may have
    /// been hashed anew; `None` where the account has changed since it was judged.
    ///
    /// Of right passwords that come at once one replaces an outdated hash, and the others find it replaced. They are
    /// judged anew by the hash that is there now: once, and as the one guess that they have been counted as.
    async fn admit(
        &mut self,
        entry: Entry<'_>,
        proved: &Proved,
    ) -> Result<Option<(TokenSet, PasswordMark)>, Halt> {
        let admitted = self.enter(entry, proved).await?;
        if admitted.is_some() {
            return Ok(admitted);
        }
        let Some(rehashed) = self.rehashed(entry.login, &proved.user).await? else {
            return Ok(None);
        };
        match self.judged(Some(rehashed), entry.password).await? {
            Ok(proved) => self.enter(entry, &proved).await,
            Err(_) => Ok(None),
        }
    }

    /// The same user as found again, where nothing but another hash keeps a session from being opened.
    async fn rehashed(&self, login: &Login, judged: &User) -> Result<Option<User>, Halt> {
        let found = self.service.ports.users.find_by_login(login).await?;
        Ok(found.filter(|user| {
            user.id == judged.id
                && user.status == UserStatus::Active
                && !user.password_hash.is_same(&judged.password_hash)
        }))
    }

    /// Opens a session on the ground of the hash that was judged; `None` where that does not stand any more.
    async fn enter(
        &mut self,
        entry: Entry<'_>,
        proved: &Proved,
    ) -> Result<Option<(TokenSet, PasswordMark)>, Halt> {
        let Proved { user, is_outdated } = proved;
        let rehashed = if *is_outdated {
            self.hash_anew(entry.password).await?
        } else {
            None
        };
        let password = PasswordMark::of(rehashed.as_ref().unwrap_or(&user.password_hash));
        let tokens = self
            .open_session(entry.client, user, entry.scope, rehashed)
            .await?;
        Ok(tokens.map(|tokens| (tokens, password)))
    }

    /// Ends a login that our own trouble has stopped: an outage is nobody's failed guess, and must not lock anybody
    /// out once it is over. (A wrong password has been judged, and stays counted whatever happens afterwards.)
    async fn take_back<T>(&self, guess: &Guess, halt: Halt) -> Result<T, Halt> {
        self.pardon(&guess.was_for_nothing()).await;
        Err(halt)
    }

    /// What the note of a device says, where it is ours and still believed. It is read before anybody asks whom the
    /// login names, so that the work tells nobody whether there is such an account.
    fn known_device(&self, note: Option<&DeviceToken>) -> Option<KnownDevice> {
        let policy = self.service.policy.devices.as_ref()?;
        KnownDevice::open(note?, &policy.secret, self.now)
    }

    /// A guess from a device that the very account's owner has signed in from before is taken from the device's
    /// budget; every other from the account's.
    fn guess(&self, found: Option<&User>, login: &Login, device: Option<KnownDevice>) -> Guess {
        let unknown = || AccountKey::of_unknown(login);
        let account = || found.map_or_else(unknown, |user| AccountKey::of_user(user.id));
        let own = device.filter(|device| found.is_some_and(|user| device.is_of(user)));
        Guess {
            budget: own.map_or_else(|| Budget::Account(account()), |device| Budget::Device(device.id)),
            network: self.network(),
        }
    }

    async fn pass_guess(&self, guess: &Guess, login: &str) -> Result<(), Halt> {
        match self.service.policy.limits {
            Some(limits) => self.pass(&limits.guess(guess.budget, guess.network), login).await,
            None => Ok(()),
        }
    }

    /// A new note for the device that somebody has just signed in from; a known one keeps its name, and with that its
    /// counters.
    fn note_for(&self, user_id: UserId, password: PasswordMark, budget: Budget) -> Option<DeviceNote> {
        let policy = self.service.policy.devices.as_ref()?;
        let id = match budget {
            Budget::Account(_) => DeviceId::generate(&*self.service.ports.random),
            Budget::Device(id) => id,
        };
        let device = KnownDevice {
            id,
            user_id,
            password,
            expires_at: self.now.whole_second().plus(policy.lifetime),
        };
        Some(DeviceNote {
            token: device.seal(&policy.secret),
            lifetime: policy.lifetime,
        })
    }

    async fn pardon(&self, pardons: &[Pardon]) {
        if self.service.policy.limits.is_some() {
            self.service.ports.throttle.pardon(pardons).await;
        }
    }

    async fn refuse_login<T>(&self, reason: GrantFault, login: &str) -> Result<T, Halt> {
        self.record(AuditEvent::LoginFailed {
            reason,
            login: login.to_owned(),
        })
        .await?;
        Err(Refusal::InvalidGrant(reason).into())
    }

    /// A hash by the current scheme; a login does not fail for want of one.
    async fn hash_anew(&self, password: &Password) -> Result<Option<PasswordHash>, Halt> {
        match self.service.ports.hasher.hash(password).await? {
            Hashed::Done(hash) => Ok(Some(hash)),
            Hashed::Saturated { .. } => Ok(None),
        }
    }

    /// Signs, then stores: a signing failure changes nothing, and a lost commit drops strings that no one saw.
    async fn open_session(
        &mut self,
        client: &Client,
        user: &User,
        scope: &Scope,
        rehashed: Option<PasswordHash>,
    ) -> Result<Option<TokenSet>, Halt> {
        let random = &*self.service.ports.random;
        let session_id = SessionId::generate(random, self.now);
        self.facts.session_id = Some(session_id);
        let refresh = self.first_token(client);
        let terms = Terms {
            user_id: user.id,
            session_id,
            granted: scope,
            scope,
            refresh,
        };
        let tokens = self.sign(client, terms).await?;
        let audit = self.audit(AuditEvent::LoginSuccess {
            session_id,
            scope: scope.clone(),
            rehashed: rehashed.is_some(),
        });
        let session = NewSession {
            id: session_id,
            user_id: user.id,
            client_id: client.client_id.clone(),
            scope: scope.clone(),
            amr: AuthenticationMethod::Password,
            first: TokenRow {
                id: RowId::generate(random, self.now),
                jti_hash: refresh.jti.hash(),
                issued_at: refresh.issued_at,
                expires_at: refresh.expires_at,
            },
            verified_against: user.password_hash.clone(),
            rehashed,
        };
        match self.service.ports.sessions.open(session, audit).await? {
            Opened::Opened => Ok(Some(tokens)),
            Opened::Overtaken => Ok(None),
        }
    }

    fn first_token(&self, client: &Client) -> Successor {
        let policy = &client.policy;
        let lifetime = policy
            .chain_lifetime
            .map_or(policy.refresh_token_lifetime, |chain| {
                chain.min(policy.refresh_token_lifetime)
            });
        Successor {
            jti: Jti::generate(&*self.service.ports.random),
            issued_at: self.now,
            expires_at: self.now.whole_second().plus(lifetime),
        }
    }
}

/// What a session is to be opened for, once the password has proved right.
#[derive(Clone, Copy)]
struct Entry<'a> {
    client: &'a Client,
    login: &'a Login,
    password: &'a Password,
    scope: &'a Scope,
}

/// A user whom the right password was shown for.
struct Proved {
    user: User,
    /// Whether the hash that it was verified against is to be replaced.
    is_outdated: bool,
}

/// Whose password is being guessed, and from where.
struct Guess {
    budget: Budget,
    network: Option<NetworkKey>,
}

impl Guess {
    /// A good login forgets the failures of the budget it was taken from, and takes its own off the network's: an
    /// attacker must not wash a network clean by signing in to an account of their own. Nor does an owner's sign-in
    /// from a known device forgive the account: it would hand fresh guesses to whoever attacks it from elsewhere.
    fn was_right(&self) -> Vec<Pardon> {
        self.pardons(Pardon::All(self.budget.failures()))
    }

    /// The password was not looked at, or looking was in vain: nothing of what was counted for the account stands.
    fn was_for_nothing(&self) -> Vec<Pardon> {
        let mut pardons = self.pardons(Pardon::One(self.budget.failures()));
        pardons.push(Pardon::One(self.budget.logins()));
        pardons
    }

    fn pardons(&self, of_account: Pardon) -> Vec<Pardon> {
        let of_network = self
            .network
            .map(|network| Pardon::One(CounterKey::FailuresFrom(network)));
        std::iter::once(of_account).chain(of_network).collect()
    }
}

/// Who signs in; `is_outdated` is known where the password was right.
fn judge(found: Option<User>, is_outdated: Option<bool>) -> Result<Proved, GrantFault> {
    let user = found.ok_or(GrantFault::UnknownUser)?;
    let is_outdated = is_outdated.ok_or(GrantFault::WrongPassword)?;
    match user.status {
        UserStatus::Active => Ok(Proved { user, is_outdated }),
        UserStatus::Inactive => Err(GrantFault::UserInactive),
    }
}
