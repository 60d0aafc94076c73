//! Introspection (RFC 7662): what a token stands for, now. It only looks: no token is consumed by it, none is told as
//! reused, and nothing is written.

use crate::claims::{AccessClaims, NumericDate, RefreshClaims, TokenUse};
use crate::client::Client;
use crate::context::RequestContext;
use crate::id::{ClientId, Jti, JtiHash, SessionId, Subject, UserId};
use crate::ports::{AccessStanding, Unavailable};
use crate::refusal::Refusal;
use crate::request::AboutToken;
use crate::revocation::OurToken;
use crate::rotation::{self, Presented, Redemption};
use crate::scope::Scope;
use crate::secret::Token;
use crate::session::{SessionKey, SessionState};
use crate::token_service::{Answer, Halt, TokenService, Walk};
use crate::user::Username;

/// What is told about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introspection {
    /// It is good, and says this.
    Active(Box<ActiveToken>),
    /// It is not, for whatever reason: that alone is told (RFC 7662 section 2.2).
    Inactive,
}

/// A token that is good, as far as it is told (RFC 7662 section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveToken {
    /// What it is for.
    pub token_use: TokenUse,
    /// What it is good for.
    pub scope: Scope,
    /// The client it was issued to.
    pub client_id: ClientId,
    /// The name of the user it speaks for, as it is now.
    pub username: Username,
    /// That user.
    pub sub: UserId,
    /// For whose use it is.
    pub aud: String,
    /// Who issued it.
    pub iss: String,
    /// Its identifier.
    pub jti: Jti,
    /// The second at which it ceases to be valid.
    pub exp: NumericDate,
    /// The second at which it was issued.
    pub iat: NumericDate,
    /// The second before which it is not valid.
    pub nbf: NumericDate,
    /// Its session, where it names one.
    pub sid: Option<SessionId>,
}

impl TokenService {
    /// Tells a confidential client what a token stands for (RFC 7662 section 2).
    ///
    /// No limit by address holds here: it would shut out a service that asks for each of its requests, and there is
    /// nothing to be guessed, since a client's secret has 256 random bits.
    pub async fn introspect(&self, request: &AboutToken, context: &RequestContext) -> Answer<Introspection> {
        let mut walk = self.set_out(context);
        let result = walk.introspect(request).await;
        walk.arrive(result)
    }
}

impl Walk<'_> {
    async fn introspect(&mut self, request: &AboutToken) -> Result<Introspection, Halt> {
        let client = self.authenticated_client(&request.client).await?;
        if !client.authentication.is_confidential() {
            // Anybody can name a public client, and may not try out tokens so (RFC 7662 section 2.1).
            return Err(Refusal::InvalidClient(request.client.challenge).into());
        }
        let active = match self.recognized(&request.token)? {
            Some(OurToken::Access(claims)) => self.active_access_token(claims).await?,
            Some(OurToken::Refresh(claims)) => {
                self.active_refresh_token(&client, &request.token, claims).await?
            }
            None => None,
        };
        Ok(active.map_or(Introspection::Inactive, |token| {
            Introspection::Active(Box::new(token))
        }))
    }

    async fn active_access_token(&self, claims: AccessClaims) -> Result<Option<ActiveToken>, Unavailable> {
        let Subject::User(user_id) = claims.sub else {
            return Ok(None);
        };
        if claims.check(&self.service.policy.issuer, self.now).is_err() || !self.is_live(claims.sid).await? {
            return Ok(None);
        }
        let username = self
            .username(&claims.jti.hash(), user_id, &claims.client_id)
            .await?;
        Ok(username.map(|username| ActiveToken {
            token_use: claims.token_use,
            scope: claims.scope,
            client_id: claims.client_id,
            username,
            sub: user_id,
            aud: claims.aud,
            iss: claims.iss,
            jti: claims.jti,
            exp: claims.exp,
            iat: claims.iat,
            nbf: claims.nbf,
            sid: claims.sid,
        }))
    }

    /// A refresh token is active where its own client could refresh by it now, and for nobody else.
    async fn active_refresh_token(
        &mut self,
        client: &Client,
        token: &Token,
        claims: RefreshClaims,
    ) -> Result<Option<ActiveToken>, Unavailable> {
        if claims.check(&self.service.policy.issuer, self.now).is_err()
            || !self.could_refresh(client, token, &claims).await?
        {
            return Ok(None);
        }
        let username = self
            .username(&claims.jti.hash(), claims.sub, &claims.client_id)
            .await?;
        Ok(username.map(|username| ActiveToken {
            token_use: claims.token_use,
            scope: claims.scope,
            client_id: claims.client_id,
            username,
            sub: claims.sub,
            aud: claims.aud,
            iss: claims.iss,
            jti: claims.jti,
            exp: claims.exp,
            iat: claims.iat,
            nbf: claims.nbf,
            sid: claims.sid,
        }))
    }

    /// Whether the token is the head of a chain that lives, by the rule of the refresh grant itself.
    async fn could_refresh(
        &mut self,
        client: &Client,
        token: &Token,
        claims: &RefreshClaims,
    ) -> Result<bool, Unavailable> {
        let Some(session) = self.service.ports.sessions.find(&claims.session_key()).await? else {
            return Ok(false);
        };
        self.facts.session_id = Some(session.id);
        let presented = Presented::by(&client.client_id, token, claims);
        let redemption = rotation::redeem(&presented, &session, &client.policy, self.now);
        Ok(matches!(redemption, Redemption::Rotate(_)))
    }

    /// Whether a session that a token names has not been ended; a token that names none hangs on none.
    async fn is_live(&self, session_id: Option<SessionId>) -> Result<bool, Unavailable> {
        let Some(session_id) = session_id else {
            return Ok(true);
        };
        let session = self
            .service
            .ports
            .sessions
            .find(&SessionKey::Id(session_id))
            .await?;
        Ok(session.is_some_and(|session| session.state == SessionState::Live))
    }

    /// The name of the user that a token speaks for, where nothing speaks against the token.
    async fn username(
        &self,
        jti: &JtiHash,
        user_id: UserId,
        client_id: &ClientId,
    ) -> Result<Option<Username>, Unavailable> {
        let tokens = &self.service.ports.access_tokens;
        match tokens.standing(jti, user_id, client_id).await? {
            AccessStanding::Good { username } => Ok(Some(username)),
            AccessStanding::Bad => Ok(None),
        }
    }
}
