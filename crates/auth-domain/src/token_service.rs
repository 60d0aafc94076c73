//! The token endpoint's one use case: a request comes in, a pair of tokens or a refusal goes out. What its siblings do
//! stands in [`revocation`](crate::revocation) and [`introspection`](crate::introspection).

use std::sync::Arc;

use crate::audit::{AuditEvent, AuditRecord};
use crate::claims::{AccessClaims, Issuer, RefreshClaims, SignedPair, TokenPairClaims, TokenUse};
use crate::client::{Client, GrantType, WireProfile};
use crate::client_auth::ClientCredentials;
use crate::context::RequestContext;
use crate::device::{DeviceNote, DevicePolicy};
use crate::grant::SignIn;
use crate::id::{ClientId, Jti, RowId, SessionId, Subject, UserId};
use crate::ports::{
    AccessTokens, AuditTrail, Clients, Clock, PasswordHasher, Random, Sessions, Throttle, TokenSigner,
    Unavailable, Users,
};
use crate::refusal::{GrantFault, Refusal};
use crate::request::{Grant, TokenRequest};
use crate::scope::Scope;
use crate::session::{SessionKey, Successor};
use crate::throttle::{self, Counter, CounterKind, Limits, NetworkKey, Room, Verdict};
use crate::time::{Seconds, Timestamp};

/// Issues tokens: the rules of this crate, wired to the ports.
#[derive(Clone)]
pub struct TokenService {
    pub(crate) ports: Ports,
    pub(crate) policy: Policy,
}

/// What the token service needs of the world.
#[derive(Clone)]
#[expect(missing_docs, reason = "each is the port of its name")]
pub struct Ports {
    pub clients: Arc<dyn Clients>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub access_tokens: Arc<dyn AccessTokens>,
    pub audit: Arc<dyn AuditTrail>,
    pub throttle: Arc<dyn Throttle>,
    pub hasher: Arc<dyn PasswordHasher>,
    pub signer: Arc<dyn TokenSigner>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// The operator's decisions that hold for every client.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who issues, and for whom.
    pub issuer: Issuer,
    /// What a reuse ends.
    pub reuse_revokes: ReuseRevokes,
    /// The limits; `None` where they are switched off.
    pub limits: Option<Limits>,
    /// Whether the password grant is offered at all.
    pub password_grant: PasswordGrant,
    /// How devices are known that an account's owner has signed in from; `None` where they are not.
    pub devices: Option<DevicePolicy>,
}

crate::name::named! {
    /// What presenting a consumed token ends.
    ReuseRevokes {
        /// The chain of that token.
        Chain = "chain",
        /// Every chain of that user at that client.
        UserClient = "user_client",
    } expected "chain, user_client"
}

/// Whether the password grant is offered at all: it is a bridge, and RFC 9700 section 2.4 says to leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordGrant {
    /// To the clients that may use it.
    Offered,
    /// To nobody.
    Off,
}

/// What a request came to, and what is known about it for the log, the metrics and the wire.
#[derive(Debug)]
pub struct Answer<T = TokenSet> {
    /// The facts that were found out on the way.
    pub facts: Facts,
    /// The result.
    pub outcome: Outcome<T>,
}

impl<T> Answer<T> {
    /// The answer to a request that could not even be read.
    pub fn unread(refusal: Refusal) -> Self {
        Self {
            facts: Facts::default(),
            outcome: Outcome::Refused(refusal),
        }
    }
}

/// What was found out about a request on the way to its outcome.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The grant, once the request has been understood.
    pub grant_type: Option<GrantType>,
    /// The client, once it is known to exist.
    pub client_id: Option<ClientId>,
    /// How that client is spoken to.
    pub wire_profile: Option<WireProfile>,
    /// The user, once known.
    pub user_id: Option<UserId>,
    /// The session, once known.
    pub session_id: Option<SessionId>,
    /// How a refresh went, where there was one.
    pub rotation: Option<RotationResult>,
    /// What the limit of the network has left, where one has judged the request.
    pub quota: Option<Quota>,
}

/// What a limit by address has left, to be told to the client. No limit by account is ever told: its counter would
/// tell a stranger how often the account's owner signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The grant whose requests it counts.
    pub grant_type: GrantType,
    /// How many requests it lets through in a window.
    pub limit: u32,
    /// How long a window is.
    pub window: Seconds,
    /// What is left of this one.
    pub room: Room,
}

impl Quota {
    fn of(grant_type: GrantType, counter: &Counter, verdict: Verdict) -> Self {
        Self {
            grant_type,
            limit: counter.limit,
            window: counter.window,
            room: match verdict {
                Verdict::Allowed(room) => room,
                Verdict::Full { retry_after, .. } => Room {
                    remaining: 0,
                    resets_in: retry_after,
                },
            },
        }
    }
}

crate::name::named! {
    /// How presenting a refresh token ended, for the metric of rotations.
    RotationResult {
        /// It was consumed.
        Rotated = "rotated",
        /// Its successor was given again.
        Repeated = "repeated",
        /// It had been consumed before: chains were ended.
        Reuse = "reuse",
        /// It was refused.
        Refused = "refused",
    } expected "rotated, repeated, reuse, refused"
}

/// The result of a request.
#[derive(Debug)]
pub enum Outcome<T = TokenSet> {
    /// What was asked for.
    Granted(T),
    /// Nothing, for a reason that is the request's.
    Refused(Refusal),
    /// Nothing, for a reason that is ours.
    Unavailable(Unavailable),
}

/// The content of a successful answer (RFC 6749 section 5.1).
#[derive(Debug, Clone)]
pub struct TokenSet {
    /// Both tokens.
    pub tokens: SignedPair,
    /// The lifetime of the access token.
    pub expires_in: Seconds,
    /// What the access token is good for.
    pub scope: Scope,
    /// A note for the device that was signed in from, where devices are known.
    pub device: Option<DeviceNote>,
}

/// Why a use case ended early.
pub(crate) enum Halt {
    Refused(Refusal),
    Unavailable(Unavailable),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Unavailable> for Halt {
    fn from(outage: Unavailable) -> Self {
        Self::Unavailable(outage)
    }
}

/// One request on its way: what came with it, and what has been found out.
pub(crate) struct Walk<'a> {
    pub(crate) service: &'a TokenService,
    pub(crate) context: &'a RequestContext,
    pub(crate) now: Timestamp,
    pub(crate) facts: Facts,
}

impl TokenService {
    /// Wires the rules to the ports.
    pub fn new(ports: Ports, policy: Policy) -> Self {
        Self { ports, policy }
    }

    /// The operator's decisions this service works by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Carries out a token request: throttle, client, grant.
    pub async fn issue(&self, request: TokenRequest, context: &RequestContext) -> Answer {
        let mut walk = self.set_out(context);
        let result = walk.issue(request).await;
        walk.arrive(result)
    }

    /// Begins a walk, at the time that the whole request is judged at.
    pub(crate) fn set_out<'a>(&'a self, context: &'a RequestContext) -> Walk<'a> {
        Walk {
            service: self,
            context,
            now: self.ports.clock.now(),
            facts: Facts::default(),
        }
    }
}

impl Walk<'_> {
    /// Ends a walk.
    pub(crate) fn arrive<T>(self, result: Result<T, Halt>) -> Answer<T> {
        Answer {
            facts: self.facts,
            outcome: match result {
                Ok(granted) => Outcome::Granted(granted),
                Err(Halt::Refused(refusal)) => Outcome::Refused(refusal),
                Err(Halt::Unavailable(outage)) => Outcome::Unavailable(outage),
            },
        }
    }

    async fn issue(&mut self, request: TokenRequest) -> Result<TokenSet, Halt> {
        let grant_type = request.grant.grant_type();
        self.facts.grant_type = Some(grant_type);
        self.pass_network_limit(grant_type, request.grant.login()).await?;
        let client = self.authenticated_client(&request.client).await?;
        self.check_grant_is_allowed(grant_type, &client)?;
        match &request.grant {
            Grant::Password { username, password } => {
                let sign_in = SignIn {
                    username,
                    password,
                    scope: request.scope.as_ref(),
                    device: request.device.as_ref(),
                };
                self.password_grant(&client, &sign_in).await
            }
            Grant::RefreshToken(token) => self.refresh_grant(&client, token, request.scope.as_ref()).await,
        }
    }

    /// The network that limits by address count for; none where they do not hold.
    pub(crate) fn network(&self) -> Option<NetworkKey> {
        let ip = self.context.ip.filter(|_| !self.context.is_exempt);
        ip.map(NetworkKey::of)
    }

    /// Raises the counter that a network has for requests of this kind, notes what it has left, and stops where it
    /// is full.
    pub(crate) async fn pass_network_limit(
        &mut self,
        grant_type: GrantType,
        login: Option<&str>,
    ) -> Result<(), Halt> {
        let (Some(limits), Some(network)) = (self.service.policy.limits, self.network()) else {
            return Ok(());
        };
        let [counter] = match grant_type {
            GrantType::Password => limits.login_from(network),
            GrantType::RefreshToken => limits.refresh_from(network),
        };
        let verdict = self.service.ports.throttle.hit(&[counter], self.now).await;
        self.facts.quota = Some(Quota::of(grant_type, &counter, verdict));
        self.heed(verdict, login).await
    }

    /// Raises counters and stops where one is full.
    pub(crate) async fn pass(&self, counters: &[Counter], login: &str) -> Result<(), Halt> {
        let verdict = self.service.ports.throttle.hit(counters, self.now).await;
        self.heed(verdict, Some(login)).await
    }

    /// Tells the audit trail of a token that was refused, unless it has been told of that session's often enough.
    pub(crate) async fn record_refused_token(
        &self,
        reason: GrantFault,
        session: Option<SessionKey>,
    ) -> Result<(), Unavailable> {
        if let Some(session) = session {
            let counter = throttle::told_refusals(session);
            let verdict = self.service.ports.throttle.hit(&[counter], self.now).await;
            if !verdict.is_allowed() {
                return Ok(());
            }
        }
        let session_id = match session {
            Some(SessionKey::Id(id)) => Some(id),
            Some(SessionKey::Legacy(_)) | None => None,
        };
        self.record(AuditEvent::TokenInvalid { reason, session_id }).await
    }

    async fn heed(&self, verdict: Verdict, login: Option<&str>) -> Result<(), Halt> {
        let Verdict::Full {
            key,
            kind,
            retry_after,
            is_first,
        } = verdict
        else {
            return Ok(());
        };
        if is_first {
            self.record(AuditEvent::RateLimitExceeded {
                limit: key.limit(),
                grant_type: self.facts.grant_type,
                login: login.map(str::to_owned),
                retry_after,
            })
            .await?;
        }
        match kind {
            CounterKind::Rate => Err(Refusal::RateLimited { retry_after }.into()),
            CounterKind::Lockout => Err(Refusal::Locked { retry_after }.into()),
        }
    }

    /// The client, once it has proved who it is.
    pub(crate) async fn authenticated_client(
        &mut self,
        credentials: &ClientCredentials,
    ) -> Result<Client, Halt> {
        let refusal = Refusal::InvalidClient(credentials.challenge);
        let client_id = ClientId::parse(&credentials.client_id).map_err(|_| refusal)?;
        let client = self
            .service
            .ports
            .clients
            .find(&client_id)
            .await?
            .ok_or(refusal)?;
        self.facts.client_id = Some(client_id);
        self.facts.wire_profile = Some(client.wire_profile);
        if credentials.authenticate(&client) {
            Ok(client)
        } else {
            Err(refusal.into())
        }
    }

    fn check_grant_is_allowed(&self, grant_type: GrantType, client: &Client) -> Result<(), Refusal> {
        if grant_type == GrantType::Password && self.service.policy.password_grant == PasswordGrant::Off {
            return Err(Refusal::UnsupportedGrantType);
        }
        if client.allowed_grants.contains(&grant_type) {
            Ok(())
        } else {
            Err(Refusal::UnauthorizedClient)
        }
    }

    /// An audit row about this request as far as it is understood.
    pub(crate) fn audit(&self, event: AuditEvent) -> AuditRecord {
        AuditRecord {
            id: RowId::generate(&*self.service.ports.random, self.now),
            at: self.now,
            event,
            user_id: self.facts.user_id,
            client_id: self.facts.client_id.clone(),
            context: self.context.clone(),
        }
    }

    /// Writes an audit row for an event that changes nothing else.
    pub(crate) async fn record(&self, event: AuditEvent) -> Result<(), Unavailable> {
        self.service.ports.audit.record(self.audit(event)).await
    }

    /// Signs the two tokens of an answer.
    pub(crate) async fn sign(&self, client: &Client, terms: Terms<'_>) -> Result<TokenSet, Unavailable> {
        let claims = TokenPairClaims {
            access: self.access_claims(client, &terms),
            access_type: client.policy.access_token_type,
            refresh: self.refresh_claims(client, &terms),
        };
        let tokens = self.service.ports.signer.sign_pair(&claims).await?;
        Ok(TokenSet {
            tokens,
            expires_in: client.policy.access_token_lifetime,
            scope: terms.scope.clone(),
            device: None,
        })
    }

    fn access_claims(&self, client: &Client, terms: &Terms<'_>) -> AccessClaims {
        let issuer = &self.service.policy.issuer;
        let issued_at = self.now.whole_second();
        AccessClaims {
            iss: issuer.url.clone(),
            sub: Subject::User(terms.user_id),
            aud: issuer.audience.clone(),
            exp: issued_at.plus(client.policy.access_token_lifetime).into(),
            iat: issued_at.into(),
            nbf: issued_at.minus(issuer.not_before_leeway).into(),
            jti: Jti::generate(&*self.service.ports.random),
            token_use: TokenUse::Access,
            client_id: client.client_id.clone(),
            scope: terms.scope.clone(),
            sid: client
                .policy
                .session_id_in_access_token
                .then_some(terms.session_id),
        }
    }

    fn refresh_claims(&self, client: &Client, terms: &Terms<'_>) -> RefreshClaims {
        let issuer = &self.service.policy.issuer;
        let issued_at = terms.refresh.issued_at.whole_second();
        RefreshClaims {
            iss: issuer.url.clone(),
            sub: terms.user_id,
            aud: issuer.url.clone(),
            exp: terms.refresh.expires_at.into(),
            iat: issued_at.into(),
            nbf: issued_at.minus(issuer.not_before_leeway).into(),
            jti: terms.refresh.jti,
            token_use: TokenUse::Refresh,
            client_id: client.client_id.clone(),
            scope: terms.granted.clone(),
            sid: Some(terms.session_id),
        }
    }
}

/// What an answer's tokens say.
pub(crate) struct Terms<'a> {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    /// What was granted at sign-in: the refresh token's scope.
    pub(crate) granted: &'a Scope,
    /// What the access token is good for.
    pub(crate) scope: &'a Scope,
    pub(crate) refresh: Successor,
}
