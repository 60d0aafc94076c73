//! Rows on their way in and out: domain types become rows as they are, rows become domain types only if every value fits.
#![expect(
    clippy::ref_option_ref,
    reason = "Diesel's derive for rows that borrow writes references to optional references"
)]

use std::collections::BTreeSet;
use std::fmt::Display;

use auth_domain::audit::AuditRecord;
use auth_domain::client::{
    AccessTokenType, Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, RotationPolicy,
    WireProfile,
};
use auth_domain::id::{ClientId, JtiHash, RowId, SessionId, UserId};
use auth_domain::ports::admin::AuditEntry;
use auth_domain::scope::Scope;
use auth_domain::secret::{ClientSecretHash, PasswordHash};
use auth_domain::session::{NewSession, RevocationReason, SessionState, SessionView, TokenRow};
use auth_domain::time::Seconds;
use auth_domain::user::{Email, User, UserStatus, Username};
use diesel::prelude::*;

use crate::error::StoreError;
use crate::schema::{audit_logs, oauth_clients, refresh_tokens, sessions, users};
use crate::types::{Id, Json, Moment};

/// A row of `users`.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = users, treat_none_as_default_value = false)]
pub(crate) struct UserRow {
    id: Id,
    username: String,
    email: String,
    email_key: String,
    password_hash: String,
    is_active: bool,
    is_verified: bool,
    created_at: Moment,
    updated_at: Moment,
    last_login_at: Option<Moment>,
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self {
            id: Id(user.id.as_uuid()),
            username: user.username.as_str().to_owned(),
            email: user.email.as_str().to_owned(),
            email_key: user.email.folded(),
            password_hash: user.password_hash.expose().to_owned(),
            is_active: user.status == UserStatus::Active,
            is_verified: user.is_verified,
            created_at: Moment(user.created_at),
            updated_at: Moment(user.updated_at),
            last_login_at: user.last_login_at.map(Moment),
        }
    }
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        let id = row.id.0;
        let broken = |column, fault: &dyn Display| StoreError::broken("users", column, id, fault);
        Ok(Self {
            id: UserId::from_uuid(id),
            username: Username::parse(&row.username).map_err(|fault| broken("username", &fault))?,
            email: Email::parse(&row.email).map_err(|fault| broken("email", &fault))?,
            password_hash: PasswordHash::new(row.password_hash),
            status: user_status(row.is_active),
            is_verified: row.is_verified,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            last_login_at: row.last_login_at.map(|moment| moment.0),
        })
    }
}

const fn user_status(is_active: bool) -> UserStatus {
    if is_active {
        UserStatus::Active
    } else {
        UserStatus::Inactive
    }
}

/// A row of `oauth_clients`.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = oauth_clients, treat_none_as_default_value = false)]
pub(crate) struct ClientRow {
    id: Id,
    client_id: String,
    client_secret_hash: Option<Vec<u8>>,
    is_confidential: bool,
    is_active: bool,
    created_at: Moment,
    updated_at: Moment,
    #[diesel(embed)]
    terms: ClientTerms,
}

/// The columns of `oauth_clients` that an operator may change at will.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = oauth_clients, treat_none_as_default_value = false, treat_none_as_null = true)]
pub(crate) struct ClientTerms {
    name: String,
    description: Option<String>,
    allowed_scopes: String,
    allowed_grant_types: String,
    access_token_lifetime: i64,
    refresh_token_lifetime: i64,
    wire_profile: String,
    refresh_retry_window: i64,
    refresh_chain_lifetime: Option<i64>,
    access_token_type: String,
    access_token_has_sid: bool,
}

impl From<&Client> for ClientRow {
    fn from(client: &Client) -> Self {
        let secret_hash = match &client.authentication {
            ClientAuthentication::Public => None,
            ClientAuthentication::Confidential(hash) => Some(hash.as_bytes().to_vec()),
        };
        Self {
            id: Id(client.id.as_uuid()),
            client_id: client.client_id.as_str().to_owned(),
            is_confidential: secret_hash.is_some(),
            client_secret_hash: secret_hash,
            is_active: client.status == ClientStatus::Active,
            created_at: Moment(client.created_at),
            updated_at: Moment(client.updated_at),
            terms: client.into(),
        }
    }
}

impl From<&Client> for ClientTerms {
    fn from(client: &Client) -> Self {
        let grants: Vec<&str> = client.allowed_grants.iter().map(|grant| grant.as_str()).collect();
        let policy = &client.policy;
        Self {
            name: client.name.clone(),
            description: client.description.clone(),
            allowed_scopes: client.allowed_scopes.to_string(),
            allowed_grant_types: grants.join(" "),
            access_token_lifetime: policy.access_token_lifetime.get().into(),
            refresh_token_lifetime: policy.refresh_token_lifetime.get().into(),
            wire_profile: client.wire_profile.as_str().to_owned(),
            refresh_retry_window: policy.rotation.window().get().into(),
            refresh_chain_lifetime: policy.chain_lifetime.map(|lifetime| lifetime.get().into()),
            access_token_type: policy.access_token_type.as_str().to_owned(),
            access_token_has_sid: policy.session_id_in_access_token,
        }
    }
}

impl TryFrom<ClientRow> for Client {
    type Error = StoreError;

    fn try_from(row: ClientRow) -> Result<Self, StoreError> {
        let id = row.id.0;
        let broken = |column, fault: &dyn Display| StoreError::broken("oauth_clients", column, id, fault);
        let policy = row.terms.policy(&broken)?;
        let authentication = match row.client_secret_hash {
            None => ClientAuthentication::Public,
            Some(bytes) => ClientAuthentication::Confidential(ClientSecretHash::from_bytes(
                hash_bytes(bytes).map_err(|fault| broken("client_secret_hash", &fault))?,
            )),
        };
        Ok(Self {
            id: RowId::from_uuid(id),
            client_id: ClientId::parse(&row.client_id).map_err(|fault| broken("client_id", &fault))?,
            authentication,
            allowed_scopes: Scope::parse(&row.terms.allowed_scopes)
                .map_err(|fault| broken("allowed_scopes", &fault))?,
            allowed_grants: grants(&row.terms.allowed_grant_types)
                .map_err(|fault| broken("allowed_grant_types", &fault))?,
            policy,
            wire_profile: WireProfile::parse(&row.terms.wire_profile)
                .map_err(|fault| broken("wire_profile", &fault))?,
            name: row.terms.name,
            description: row.terms.description,
            status: if row.is_active {
                ClientStatus::Active
            } else {
                ClientStatus::Disabled
            },
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

impl ClientTerms {
    fn policy(
        &self,
        broken: &impl Fn(&'static str, &dyn Display) -> StoreError,
    ) -> Result<ClientPolicy, StoreError> {
        let seconds = |column, stored: i64| {
            u32::try_from(stored)
                .map(Seconds::new)
                .map_err(|fault| broken(column, &fault))
        };
        Ok(ClientPolicy {
            access_token_lifetime: seconds("access_token_lifetime", self.access_token_lifetime)?,
            refresh_token_lifetime: seconds("refresh_token_lifetime", self.refresh_token_lifetime)?,
            rotation: RotationPolicy::from_window(seconds(
                "refresh_retry_window",
                self.refresh_retry_window,
            )?),
            chain_lifetime: self
                .refresh_chain_lifetime
                .map(|stored| seconds("refresh_chain_lifetime", stored))
                .transpose()?,
            access_token_type: AccessTokenType::parse(&self.access_token_type)
                .map_err(|fault| broken("access_token_type", &fault))?,
            session_id_in_access_token: self.access_token_has_sid,
        })
    }
}

fn grants(stored: &str) -> Result<BTreeSet<GrantType>, impl Display + use<>> {
    stored.split_whitespace().map(GrantType::parse).collect()
}

fn hash_bytes(stored: Vec<u8>) -> Result<[u8; 32], String> {
    <[u8; 32]>::try_from(stored).map_err(|stored| format!("{} bytes where there must be 32", stored.len()))
}

/// A row of `sessions` as it is first stored.
#[derive(Insertable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
pub(crate) struct NewSessionRow<'a> {
    id: Id,
    user_id: Id,
    client_id: &'a str,
    scope: String,
    amr: &'static str,
    head_token_id: Id,
    head_jti_hash: &'a [u8],
    head_issued_at: Moment,
    expires_at: Moment,
    created_at: Moment,
    last_used_at: Moment,
}

impl<'a> From<&'a NewSession> for NewSessionRow<'a> {
    fn from(session: &'a NewSession) -> Self {
        let first = &session.first;
        Self {
            id: Id(session.id.as_uuid()),
            user_id: Id(session.user_id.as_uuid()),
            client_id: session.client_id.as_str(),
            scope: session.scope.to_string(),
            amr: session.amr.as_str(),
            head_token_id: Id(first.id.as_uuid()),
            head_jti_hash: first.jti_hash.as_bytes(),
            head_issued_at: Moment(first.issued_at),
            expires_at: Moment(first.expires_at),
            created_at: Moment(first.issued_at),
            last_used_at: Moment(first.issued_at),
        }
    }
}

/// What the rules ask about a session.
#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub(crate) struct SessionRow {
    id: Id,
    user_id: Id,
    client_id: String,
    scope: String,
    head_jti_hash: Vec<u8>,
    previous_jti_hash: Option<Vec<u8>>,
    head_issued_at: Moment,
    expires_at: Moment,
    revoked_at: Option<Moment>,
    revoked_reason: Option<String>,
    created_at: Moment,
}

impl SessionRow {
    /// Whose row it is.
    pub(crate) fn session_id(&self) -> SessionId {
        SessionId::from_uuid(self.id.0)
    }

    /// The session with its user's status.
    pub(crate) fn into_view(self, user_is_active: bool) -> Result<SessionView, StoreError> {
        let id = self.id.0;
        let broken = |column, fault: &dyn Display| StoreError::broken("sessions", column, id, fault);
        let hash = |column, bytes| {
            hash_bytes(bytes)
                .map(JtiHash::from_bytes)
                .map_err(|fault| broken(column, &fault))
        };
        Ok(SessionView {
            id: SessionId::from_uuid(id),
            user_id: UserId::from_uuid(self.user_id.0),
            user_status: user_status(user_is_active),
            client_id: ClientId::parse(&self.client_id).map_err(|fault| broken("client_id", &fault))?,
            scope: Scope::parse(&self.scope).map_err(|fault| broken("scope", &fault))?,
            head: hash("head_jti_hash", self.head_jti_hash)?,
            previous: self
                .previous_jti_hash
                .map(|bytes| hash("previous_jti_hash", bytes))
                .transpose()?,
            head_issued_at: self.head_issued_at.0,
            expires_at: self.expires_at.0,
            state: session_state(self.revoked_at, self.revoked_reason.as_deref())
                .map_err(|fault| broken("revoked_reason", &fault))?,
            created_at: self.created_at.0,
        })
    }
}

fn session_state(revoked_at: Option<Moment>, reason: Option<&str>) -> Result<SessionState, String> {
    match (revoked_at, reason) {
        (None, None) => Ok(SessionState::Live),
        (Some(at), Some(reason)) => RevocationReason::parse(reason)
            .map(|reason| SessionState::Revoked { at: at.0, reason })
            .map_err(|fault| fault.to_string()),
        (Some(_), None) | (None, Some(_)) => Err("goes with revoked_at".to_owned()),
    }
}

/// A row of `refresh_tokens`.
#[derive(Insertable)]
#[diesel(table_name = refresh_tokens, treat_none_as_default_value = false)]
pub(crate) struct NewTokenRow<'a> {
    id: Id,
    session_id: Id,
    parent_id: Option<Id>,
    jti_hash: &'a [u8],
    issued_at: Moment,
    expires_at: Moment,
}

impl<'a> NewTokenRow<'a> {
    /// A token of a session, with the row of the token whose consumption brought it forth.
    pub(crate) fn new(session: SessionId, parent_id: Option<Id>, token: &'a TokenRow) -> Self {
        Self {
            id: Id(token.id.as_uuid()),
            session_id: Id(session.as_uuid()),
            parent_id,
            jti_hash: token.jti_hash.as_bytes(),
            issued_at: Moment(token.issued_at),
            expires_at: Moment(token.expires_at),
        }
    }
}

/// A row of `audit_logs`.
#[derive(Insertable)]
#[diesel(table_name = audit_logs, treat_none_as_default_value = false)]
pub(crate) struct NewAuditRow<'a> {
    pub(crate) id: Id,
    pub(crate) user_id: Option<Id>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) event_type: &'static str,
    pub(crate) event_data: Json,
    pub(crate) ip_address: Option<String>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) correlation_id: &'a str,
    pub(crate) success: bool,
    pub(crate) error_message: Option<&'static str>,
    pub(crate) created_at: Moment,
}

impl<'a> TryFrom<&'a AuditRecord> for NewAuditRow<'a> {
    type Error = StoreError;

    fn try_from(record: &'a AuditRecord) -> Result<Self, StoreError> {
        Ok(Self {
            id: Id(record.id.as_uuid()),
            user_id: record.user_id.map(|user| Id(user.as_uuid())),
            client_id: record.client_id.as_ref().map(ClientId::as_str),
            event_type: record.event.event_type(),
            event_data: Json(serde_json::to_string(&record.event)?),
            ip_address: record.context.ip.map(|ip| ip.to_string()),
            user_agent: record.context.user_agent.as_deref(),
            correlation_id: &record.context.correlation_id,
            success: record.event.is_success(),
            error_message: record.event.error_message(),
            created_at: Moment(record.at),
        })
    }
}

/// A row of `audit_logs` as it is read. Nothing in it is judged again: the trail tells what was written.
#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_logs)]
pub(crate) struct AuditRow {
    id: Id,
    user_id: Option<Id>,
    client_id: Option<String>,
    event_type: String,
    event_data: Json,
    ip_address: Option<String>,
    user_agent: Option<String>,
    correlation_id: String,
    success: bool,
    error_message: Option<String>,
    created_at: Moment,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self {
            id: RowId::from_uuid(row.id.0),
            at: row.created_at.0,
            event_type: row.event_type,
            event_data: row.event_data.0,
            user_id: row.user_id.map(|user| UserId::from_uuid(user.0)),
            client_id: row.client_id,
            ip: row.ip_address,
            user_agent: row.user_agent,
            correlation_id: row.correlation_id,
            success: row.success,
            error_message: row.error_message,
        }
    }
}
