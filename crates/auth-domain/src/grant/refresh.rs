//! The refresh grant (RFC 6749 section 6) with rotation and reuse detection (RFC 9700 section 4.14.2).

use crate::audit::AuditEvent;
use crate::claims::RefreshClaims;
use crate::client::Client;
use crate::id::{JtiHash, RowId};
use crate::ports::{Genuine, Unavailable};
use crate::refusal::{GrantFault, Refusal};
use crate::rotation::{self, Presented, Redemption};
use crate::scope::{self, Scope};
use crate::secret::Token;
use crate::session::{
    Revocation, RevocationReason, RevocationTarget, Rotated, Rotation, SessionKey, SessionView, Successor,
    TokenRow,
};
use crate::token_service::{Halt, ReuseRevokes, RotationResult, Terms, TokenSet, Walk};

/// How often a token is judged anew after another use of it came first. Each time something final has happened to
/// it in between, so the second judgement already is never "rotate"; the bound only guards against a broken store.
const MAX_JUDGEMENTS: usize = 4;

impl Walk<'_> {
    /// Redeems a refresh token: verify it, find its chain, judge it, and carry out the judgement.
    pub(crate) async fn refresh_grant(
        &mut self,
        client: &Client,
        token: &Token,
        requested: Option<&Scope>,
    ) -> Result<TokenSet, Halt> {
        self.facts.rotation = Some(RotationResult::Refused);
        let claims = self.verified_claims(token)?;
        self.facts.user_id = Some(claims.sub);
        self.facts.session_id = claims.sid;
        let presented = Presented::by(&client.client_id, token, &claims);
        for _ in 0..MAX_JUDGEMENTS {
            let session = self.session_of(&claims).await?;
            match rotation::redeem(&presented, &session, &client.policy, self.now) {
                Redemption::Rotate(successor) => {
                    let rotated = self
                        .rotate(client, &session, presented.jti_hash, successor, requested)
                        .await?;
                    if let Some(tokens) = rotated {
                        return Ok(tokens);
                    }
                }
                Redemption::Repeat(successor) => {
                    return self.repeat(client, &session, successor, requested).await;
                }
                Redemption::Reuse => return self.punish_reuse(&session).await,
                Redemption::Refused(refused) => {
                    return self
                        .refuse_token(refused.into(), SessionKey::Id(session.id))
                        .await;
                }
            }
        }
        Err(Unavailable::new("redeem a refresh token", "its session keeps changing under it").into())
    }

    fn verified_claims(&self, token: &Token) -> Result<RefreshClaims, Halt> {
        let claims = match self.service.ports.signer.verify_refresh(token)? {
            Genuine::Yes(claims) => claims,
            Genuine::No(_) => return Err(Refusal::InvalidGrant(GrantFault::Forged).into()),
        };
        match claims.check(&self.service.policy.issuer, self.now) {
            Ok(()) => Ok(claims),
            Err(_) => Err(Refusal::InvalidGrant(GrantFault::WrongClaims).into()),
        }
    }

    async fn session_of(&mut self, claims: &RefreshClaims) -> Result<SessionView, Halt> {
        let key = claims.session_key();
        let Some(session) = self.service.ports.sessions.find(&key).await? else {
            return self.refuse_token(GrantFault::UnknownSession, key).await;
        };
        self.facts.session_id = Some(session.id);
        Ok(session)
    }

    /// Signs, then consumes. `None` where another use of the token came first.
    async fn rotate(
        &mut self,
        client: &Client,
        session: &SessionView,
        from: JtiHash,
        successor: Successor,
        requested: Option<&Scope>,
    ) -> Result<Option<TokenSet>, Halt> {
        let scope = refreshed_scope(client, session, requested)?;
        let tokens = self.sign(client, terms(session, &scope, successor)).await?;
        let audit = self.audit(AuditEvent::TokenRefresh {
            session_id: session.id,
            scope,
            repeated: false,
        });
        let to = TokenRow {
            id: RowId::generate(&*self.service.ports.random, self.now),
            jti_hash: successor.jti.hash(),
            issued_at: successor.issued_at,
            expires_at: successor.expires_at,
        };
        let rotation = Rotation {
            session_id: session.id,
            from,
            to,
        };
        match self.service.ports.sessions.rotate(rotation, audit).await? {
            Rotated::Rotated => {
                self.facts.rotation = Some(RotationResult::Rotated);
                Ok(Some(tokens))
            }
            Rotated::Superseded => Ok(None),
        }
    }

    /// Gives the same successor again to a client that may have lost the answer.
    async fn repeat(
        &mut self,
        client: &Client,
        session: &SessionView,
        successor: Successor,
        requested: Option<&Scope>,
    ) -> Result<TokenSet, Halt> {
        let scope = refreshed_scope(client, session, requested)?;
        let tokens = self.sign(client, terms(session, &scope, successor)).await?;
        self.record(AuditEvent::TokenRefresh {
            session_id: session.id,
            scope,
            repeated: true,
        })
        .await?;
        self.facts.rotation = Some(RotationResult::Repeated);
        Ok(tokens)
    }

    /// Ends what the policy says, and refuses. The revocation is committed before the refusal is said.
    async fn punish_reuse(&mut self, session: &SessionView) -> Result<TokenSet, Halt> {
        let target = match self.service.policy.reuse_revokes {
            ReuseRevokes::Chain => RevocationTarget::Session(session.id),
            ReuseRevokes::UserClient => {
                RevocationTarget::UserAtClient(session.user_id, session.client_id.clone())
            }
        };
        let audit = self.audit(AuditEvent::SecurityIncident {
            session_id: session.id,
            revoked: target.clone(),
        });
        let revocation = Revocation {
            target,
            reason: RevocationReason::Reuse,
            at: self.now,
        };
        self.service.ports.sessions.revoke(revocation, audit).await?;
        self.facts.rotation = Some(RotationResult::Reuse);
        Err(Refusal::InvalidGrant(GrantFault::Reuse).into())
    }

    async fn refuse_token<T>(&self, reason: GrantFault, key: SessionKey) -> Result<T, Halt> {
        self.record_refused_token(reason, Some(key)).await?;
        Err(Refusal::InvalidGrant(reason).into())
    }
}

/// The access token's scope: what was granted at sign-in, as far as the client may still use it, narrowed to what
/// is asked. The refresh token keeps the original grant (RFC 6749 section 6).
fn refreshed_scope(
    client: &Client,
    session: &SessionView,
    requested: Option<&Scope>,
) -> Result<Scope, Refusal> {
    let grantable = session.scope.intersection(&client.allowed_scopes);
    scope::narrow(&grantable, requested).ok_or(Refusal::InvalidScope)
}

fn terms<'a>(session: &'a SessionView, scope: &'a Scope, refresh: Successor) -> Terms<'a> {
    Terms {
        user_id: session.user_id,
        session_id: session.id,
        granted: &session.scope,
        scope,
        refresh,
    }
}
