//! Revocation (RFC 7009): a refresh token takes its whole chain along, an access token is denied until it expires.
//!
//! Nothing is said to be revoked that is not: what is granted here has been committed.

use crate::audit::AuditEvent;
use crate::claims::{AccessClaims, Issuer, RefreshClaims};
use crate::client::{Client, GrantType};
use crate::context::RequestContext;
use crate::id::{ClientId, Subject};
use crate::ports::{Denial, Genuine, TokenSigner, Unavailable};
use crate::refusal::{GrantFault, Refusal};
use crate::request::AboutToken;
use crate::secret::Token;
use crate::session::{Revocation, RevocationReason, RevocationTarget, SessionKey};
use crate::time::Timestamp;
use crate::token_service::{Answer, Halt, TokenService, Walk};

crate::name::named! {
    /// What revoking a token came to. To the client it is all one: the token is good for nothing (RFC 7009
    /// section 2.2).
    Revoked {
        /// Its chain was ended.
        Chain = "chain",
        /// Its chain had ended before.
        EndedBefore = "ended_before",
        /// It is an access token, and denied from now on.
        AccessToken = "access_token",
        /// It is an access token that is accepted nowhere any more.
        Expired = "expired",
        /// It is none of this server's.
        Unknown = "unknown",
    } expected "chain, ended_before, access_token, expired, unknown"
}

/// A token that this server has signed, for its own use or its audience's. Its times have not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OurToken {
    /// A refresh token.
    Refresh(RefreshClaims),
    /// An access token.
    Access(AccessClaims),
}

impl OurToken {
    /// Reads a token of either kind; `None` where it is none of ours, whatever else it may be.
    ///
    /// # Errors
    /// Where nothing can be verified.
    pub fn recognize(
        token: &Token,
        signer: &dyn TokenSigner,
        issuer: &Issuer,
    ) -> Result<Option<Self>, Unavailable> {
        if let Genuine::Yes(claims) = signer.verify_refresh(token)? {
            let is_ours = claims.check_origin(issuer).is_ok();
            return Ok(is_ours.then_some(Self::Refresh(claims)));
        }
        match signer.verify_access(token)? {
            Genuine::Yes(claims) if claims.check_origin(issuer).is_ok() => Ok(Some(Self::Access(claims))),
            Genuine::Yes(_) | Genuine::No(_) => Ok(None),
        }
    }
}

/// What denies an access token for as long as anybody may accept it; `None` where nobody does any more.
pub fn denial_of(claims: &AccessClaims, issuer: &Issuer, now: Timestamp) -> Option<Denial> {
    let until = claims.accepted_until(issuer);
    (now < until).then(|| Denial {
        jti_hash: claims.jti.hash(),
        until,
    })
}

/// What the audit trail says of an access token that is denied.
pub fn denied(claims: &AccessClaims) -> AuditEvent {
    AuditEvent::AccessTokenDenied {
        expires_at: Timestamp::from(claims.exp).unix_seconds(),
    }
}

impl TokenService {
    /// Revokes a token for the client it was issued to (RFC 7009 section 2).
    pub async fn revoke(&self, request: &AboutToken, context: &RequestContext) -> Answer<Revoked> {
        let mut walk = self.set_out(context);
        let result = walk.revoke(request).await;
        walk.arrive(result)
    }
}

impl Walk<'_> {
    /// Counted with the refreshes of its network: it costs as much, and is asked for as rightfully.
    async fn revoke(&mut self, request: &AboutToken) -> Result<Revoked, Halt> {
        self.pass_network_limit(GrantType::RefreshToken, None).await?;
        let client = self.authenticated_client(&request.client).await?;
        match self.recognized(&request.token)? {
            Some(OurToken::Refresh(claims)) => self.end_chain(&client, &claims).await,
            Some(OurToken::Access(claims)) => self.deny(&client, &claims).await,
            None => Ok(Revoked::Unknown),
        }
    }

    /// A token of ours, and the facts that it tells.
    pub(crate) fn recognized(&mut self, token: &Token) -> Result<Option<OurToken>, Unavailable> {
        let signer = &*self.service.ports.signer;
        let known = OurToken::recognize(token, signer, &self.service.policy.issuer)?;
        match &known {
            Some(OurToken::Refresh(claims)) => {
                self.facts.user_id = Some(claims.sub);
                self.facts.session_id = claims.sid;
            }
            Some(OurToken::Access(claims)) => {
                self.facts.session_id = claims.sid;
                self.facts.user_id = match claims.sub {
                    Subject::User(user_id) => Some(user_id),
                    Subject::Client(_) => None,
                };
            }
            None => {}
        }
        Ok(known)
    }

    /// Ends the chain of a refresh token, whichever of its generations it is, and whether or not it has expired.
    async fn end_chain(&mut self, client: &Client, claims: &RefreshClaims) -> Result<Revoked, Halt> {
        let key = self.resolved(claims.session_key()).await?;
        self.check_owner(client, &claims.client_id, Some(key)).await?;
        let SessionKey::Id(session_id) = key else {
            return Ok(Revoked::EndedBefore);
        };
        let (target, reason) = (RevocationTarget::Session(session_id), RevocationReason::Requested);
        let audit = self.audit(AuditEvent::TokenRevoke {
            target: target.clone(),
            reason,
        });
        let revocation = Revocation {
            target,
            reason,
            at: self.now,
        };
        match self.service.ports.sessions.revoke(revocation, audit).await? {
            0 => Ok(Revoked::EndedBefore),
            _ => Ok(Revoked::Chain),
        }
    }

    /// The key by which a session is revoked, its id. That of a token of the older service is looked up; where there
    /// is none, the key stays what it is.
    async fn resolved(&mut self, key: SessionKey) -> Result<SessionKey, Unavailable> {
        if let SessionKey::Legacy(_) = key
            && let Some(session) = self.service.ports.sessions.find(&key).await?
        {
            self.facts.session_id = Some(session.id);
            return Ok(SessionKey::Id(session.id));
        }
        Ok(key)
    }

    async fn deny(&self, client: &Client, claims: &AccessClaims) -> Result<Revoked, Halt> {
        let session = claims.sid.map(SessionKey::Id);
        self.check_owner(client, &claims.client_id, session).await?;
        let Some(denial) = denial_of(claims, &self.service.policy.issuer, self.now) else {
            return Ok(Revoked::Expired);
        };
        let audit = self.audit(denied(claims));
        self.service.ports.access_tokens.deny(denial, audit).await?;
        Ok(Revoked::AccessToken)
    }

    /// Refuses a token that was issued to another client, and leaves it as it is (RFC 7009 section 2.1).
    async fn check_owner(
        &self,
        client: &Client,
        owner: &ClientId,
        session: Option<SessionKey>,
    ) -> Result<(), Halt> {
        if client.client_id == *owner {
            return Ok(());
        }
        let reason = GrantFault::ForeignClient;
        self.record_refused_token(reason, session).await?;
        Err(Refusal::InvalidGrant(reason).into())
    }
}
