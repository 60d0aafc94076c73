//! Every query on the older service's tables, once for both databases.

use auth_domain::ports::Unavailable;
use auth_domain::secret::PasswordHash;
use auth_domain::takeover::{LegacyAudit, LegacyClient, LegacySink, LegacySource, LegacyToken, LegacyUser};
use diesel::connection::SimpleConnection;
use diesel::dsl::exists;
use diesel::prelude::*;

use super::Conn;
use crate::error::StoreError;
use crate::legacy::catalogue::Catalogue;
use crate::legacy::schema::{audit_logs, oauth_clients, refresh_tokens, users};
use crate::legacy::types::{When, Words};
use crate::legacy::{Fault, event_object, grants, grants_text};

/// The older service's database, being read.
pub(in crate::legacy) struct Source {
    conn: Conn,
}

/// The older service's database, being written.
pub(in crate::legacy) struct Sink {
    conn: Conn,
}

/// A row of `users`.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = users, treat_none_as_default_value = false, treat_none_as_null = true)]
struct UserRow {
    id: String,
    username: String,
    email: String,
    password_hash: String,
    is_active: bool,
    is_verified: bool,
    created_at: When,
    updated_at: When,
    last_login_at: Option<When>,
}

/// A row of `oauth_clients`.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = oauth_clients, treat_none_as_default_value = false)]
struct ClientRow {
    id: String,
    client_id: String,
    client_secret_hash: Option<String>,
    is_confidential: bool,
    created_at: When,
    #[diesel(embed)]
    terms: ClientTerms,
}

/// The columns of `oauth_clients` that follow what was changed.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = oauth_clients, treat_none_as_default_value = false, treat_none_as_null = true)]
struct ClientTerms {
    name: String,
    description: Option<String>,
    allowed_scopes: String,
    allowed_grant_types: String,
    access_token_lifetime: i32,
    refresh_token_lifetime: i32,
    is_active: bool,
    updated_at: When,
}

/// A row of `refresh_tokens`.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = refresh_tokens, treat_none_as_default_value = false)]
struct TokenRow {
    id: String,
    jti_hash: String,
    user_id: String,
    client_id: String,
    scope: String,
    expires_at: When,
    revoked: bool,
    revoked_at: Option<When>,
    parent_jti_hash: Option<String>,
    created_at: When,
}

/// A row of `audit_logs`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_logs)]
struct AuditRow {
    id: String,
    user_id: Option<Words>,
    client_id: Option<Words>,
    event_type: Words,
    event_data: Option<Words>,
    ip_address: Option<Words>,
    user_agent: Option<Words>,
    success: bool,
    error_message: Option<Words>,
    created_at: When,
}

impl Source {
    /// A source over a connection whose transaction has begun. Finds out whether the tables are there, by a query of all
    /// columns.
    pub(in crate::legacy) fn over(mut conn: Conn, columns: &str) -> Result<Self, Fault> {
        Catalogue::of(diesel::sql_query(columns).load(&mut conn)?).check()?;
        let mut source = Self { conn };
        source.read_clients("", 1)?;
        source.read_users("", 1)?;
        source.read_tokens(("", ""), 1)?;
        source.read_audit("", 1)?;
        Ok(source)
    }

    fn read_users(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyUser>, StoreError> {
        let rows: Vec<UserRow> = users::table
            .filter(users::id.gt(after))
            .order(users::id)
            .limit(limit.into())
            .select(UserRow::as_select())
            .load(&mut self.conn)?;
        Ok(rows.into_iter().map(LegacyUser::from).collect())
    }

    fn read_clients(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyClient>, StoreError> {
        let rows: Vec<ClientRow> = oauth_clients::table
            .filter(oauth_clients::id.gt(after))
            .order(oauth_clients::id)
            .limit(limit.into())
            .select(ClientRow::as_select())
            .load(&mut self.conn)?;
        Ok(rows.into_iter().map(LegacyClient::from).collect())
    }

    /// The first condition is a range of the index over users; the second leaves out what came before within the first
    /// user.
    fn read_tokens(
        &mut self,
        (user, token): (&str, &str),
        limit: u32,
    ) -> Result<Vec<LegacyToken>, StoreError> {
        let rows: Vec<TokenRow> = refresh_tokens::table
            .filter(refresh_tokens::user_id.ge(user))
            .filter(refresh_tokens::user_id.gt(user).or(refresh_tokens::id.gt(token)))
            .order((refresh_tokens::user_id, refresh_tokens::id))
            .limit(limit.into())
            .select(TokenRow::as_select())
            .load(&mut self.conn)?;
        Ok(rows.into_iter().map(LegacyToken::from).collect())
    }

    fn read_audit(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyAudit>, StoreError> {
        let rows: Vec<AuditRow> = audit_logs::table
            .filter(audit_logs::id.gt(after))
            .order(audit_logs::id)
            .limit(limit.into())
            .select(AuditRow::as_select())
            .load(&mut self.conn)?;
        Ok(rows.into_iter().map(LegacyAudit::from).collect())
    }
}

impl LegacySource for Source {
    fn users(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyUser>, Unavailable> {
        self.read_users(after, limit)
            .map_err(|error| error.in_operation("read the older service's users"))
    }

    fn clients(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyClient>, Unavailable> {
        self.read_clients(after, limit)
            .map_err(|error| error.in_operation("read the older service's clients"))
    }

    fn tokens(&mut self, after: (&str, &str), limit: u32) -> Result<Vec<LegacyToken>, Unavailable> {
        self.read_tokens(after, limit)
            .map_err(|error| error.in_operation("read the older service's tokens"))
    }

    fn audit(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyAudit>, Unavailable> {
        self.read_audit(after, limit)
            .map_err(|error| error.in_operation("read the older service's audit trail"))
    }
}

impl Sink {
    /// A sink over a connection whose transaction has begun. Makes the tables that are missing, and finds out whether
    /// those that were there are the older service's: some of this service's own have the same names.
    pub(in crate::legacy) fn over(mut conn: Conn, columns: &str, tables: &str) -> Result<Self, Fault> {
        Catalogue::of(diesel::sql_query(columns).load(&mut conn)?).check_what_is_there()?;
        conn.batch_execute(tables)?;
        let Source { conn } = Source::over(conn, columns)?;
        Ok(Self { conn })
    }

    fn find_user(&mut self, id: &str) -> Result<Option<LegacyUser>, StoreError> {
        let row: Option<UserRow> = users::table
            .find(id)
            .select(UserRow::as_select())
            .get_result(&mut self.conn)
            .optional()?;
        Ok(row.map(LegacyUser::from))
    }

    fn write_user(&mut self, user: &LegacyUser) -> Result<bool, StoreError> {
        let is_same = users::username
            .eq(&user.username)
            .or(users::email.eq(&user.email));
        let another = users::table.filter(users::id.ne(&user.id)).filter(is_same);
        if diesel::select(exists(another)).get_result(&mut self.conn)? {
            return Ok(false);
        }
        let row = UserRow::from(user);
        let updated = diesel::update(users::table.find(&user.id))
            .set(&row)
            .execute(&mut self.conn)?;
        if updated == 0 {
            diesel::insert_into(users::table)
                .values(&row)
                .execute(&mut self.conn)?;
        }
        Ok(true)
    }

    fn write_client(&mut self, client: &LegacyClient) -> Result<(), StoreError> {
        let row = ClientRow::from(client);
        let this = oauth_clients::table.filter(oauth_clients::client_id.eq(&client.client_id));
        let updated = diesel::update(this).set(&row.terms).execute(&mut self.conn)?;
        if updated == 0 {
            diesel::insert_into(oauth_clients::table)
                .values(&row)
                .execute(&mut self.conn)?;
        }
        Ok(())
    }

    fn find_client(&mut self, client_id: &str) -> Result<bool, StoreError> {
        let this = oauth_clients::table.filter(oauth_clients::client_id.eq(client_id));
        Ok(diesel::select(exists(this)).get_result(&mut self.conn)?)
    }

    fn write_token(&mut self, token: &LegacyToken) -> Result<bool, StoreError> {
        let this = refresh_tokens::table.filter(refresh_tokens::jti_hash.eq(&token.jti_hash));
        let row = TokenRow::from(token);
        let is_there: bool = diesel::select(exists(this)).get_result(&mut self.conn)?;
        let changed = match (is_there, token.revoked) {
            (false, _) => diesel::insert_into(refresh_tokens::table)
                .values(&row)
                .execute(&mut self.conn)?,
            (true, true) => diesel::update(this.filter(refresh_tokens::revoked.eq(false)))
                .set((
                    refresh_tokens::revoked.eq(true),
                    refresh_tokens::revoked_at.eq(row.revoked_at),
                ))
                .execute(&mut self.conn)?,
            (true, false) => 0,
        };
        Ok(changed > 0)
    }
}

impl LegacySink for Sink {
    fn user(&mut self, id: &str) -> Result<Option<LegacyUser>, Unavailable> {
        self.find_user(id)
            .map_err(|error| error.in_operation("find a user of the older service"))
    }

    fn put_user(&mut self, user: &LegacyUser) -> Result<bool, Unavailable> {
        self.write_user(user)
            .map_err(|error| error.in_operation("write a user of the older service"))
    }

    fn put_client(&mut self, client: &LegacyClient) -> Result<(), Unavailable> {
        self.write_client(client)
            .map_err(|error| error.in_operation("write a client of the older service"))
    }

    fn has_client(&mut self, client_id: &str) -> Result<bool, Unavailable> {
        self.find_client(client_id)
            .map_err(|error| error.in_operation("find a client of the older service"))
    }

    fn put_token(&mut self, token: &LegacyToken) -> Result<bool, Unavailable> {
        self.write_token(token)
            .map_err(|error| error.in_operation("write a token of the older service"))
    }

    fn commit(&mut self) -> Result<(), Unavailable> {
        self.conn
            .batch_execute("COMMIT")
            .map_err(|error| StoreError::from(error).in_operation("commit what was written back"))
    }
}

impl From<UserRow> for LegacyUser {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            username: row.username,
            email: row.email,
            password_hash: PasswordHash::new(row.password_hash),
            is_active: row.is_active,
            is_verified: row.is_verified,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            last_login_at: row.last_login_at.map(|when| when.0),
        }
    }
}

impl From<&LegacyUser> for UserRow {
    fn from(user: &LegacyUser) -> Self {
        Self {
            id: user.id.clone(),
            username: user.username.clone(),
            email: user.email.clone(),
            password_hash: user.password_hash.expose().to_owned(),
            is_active: user.is_active,
            is_verified: user.is_verified,
            created_at: When(user.created_at.clone()),
            updated_at: When(user.updated_at.clone()),
            last_login_at: user.last_login_at.clone().map(When),
        }
    }
}

impl From<ClientRow> for LegacyClient {
    fn from(row: ClientRow) -> Self {
        let terms = row.terms;
        Self {
            id: row.id,
            client_id: row.client_id,
            client_secret_hash: row.client_secret_hash.map(PasswordHash::new),
            name: terms.name,
            description: terms.description,
            is_confidential: row.is_confidential,
            allowed_scopes: terms.allowed_scopes,
            allowed_grant_types: grants(&terms.allowed_grant_types),
            access_token_lifetime: terms.access_token_lifetime,
            refresh_token_lifetime: terms.refresh_token_lifetime,
            is_active: terms.is_active,
            created_at: row.created_at.0,
            updated_at: terms.updated_at.0,
        }
    }
}

impl From<&LegacyClient> for ClientRow {
    fn from(client: &LegacyClient) -> Self {
        let secret_hash = client.client_secret_hash.as_ref();
        Self {
            id: client.id.clone(),
            client_id: client.client_id.clone(),
            client_secret_hash: secret_hash.map(|hash| hash.expose().to_owned()),
            is_confidential: client.is_confidential,
            created_at: When(client.created_at.clone()),
            terms: ClientTerms {
                name: client.name.clone(),
                description: client.description.clone(),
                allowed_scopes: client.allowed_scopes.clone(),
                allowed_grant_types: grants_text(client.allowed_grant_types.as_deref().unwrap_or_default()),
                access_token_lifetime: client.access_token_lifetime,
                refresh_token_lifetime: client.refresh_token_lifetime,
                is_active: client.is_active,
                updated_at: When(client.updated_at.clone()),
            },
        }
    }
}

impl From<TokenRow> for LegacyToken {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            jti_hash: row.jti_hash,
            user_id: row.user_id,
            client_id: row.client_id,
            scope: row.scope,
            expires_at: row.expires_at.0,
            revoked: row.revoked,
            revoked_at: row.revoked_at.map(|when| when.0),
            parent_jti_hash: row.parent_jti_hash,
            created_at: row.created_at.0,
        }
    }
}

impl From<&LegacyToken> for TokenRow {
    fn from(token: &LegacyToken) -> Self {
        Self {
            id: token.id.clone(),
            jti_hash: token.jti_hash.clone(),
            user_id: token.user_id.clone(),
            client_id: token.client_id.clone(),
            scope: token.scope.clone(),
            expires_at: When(token.expires_at.clone()),
            revoked: token.revoked,
            revoked_at: token.revoked_at.clone().map(When),
            parent_jti_hash: token.parent_jti_hash.clone(),
            created_at: When(token.created_at.clone()),
        }
    }
}

impl AuditRow {
    /// The first column that is no UTF-8.
    fn garbled(&self) -> Option<&'static str> {
        let columns = [
            ("user_id", self.user_id.as_ref()),
            ("client_id", self.client_id.as_ref()),
            ("event_type", Some(&self.event_type)),
            ("event_data", self.event_data.as_ref()),
            ("ip_address", self.ip_address.as_ref()),
            ("user_agent", self.user_agent.as_ref()),
            ("error_message", self.error_message.as_ref()),
        ];
        let garbled = |(_, words): &(_, Option<&Words>)| words.is_some_and(|words| words.is_garbled);
        columns.into_iter().find(garbled).map(|(column, _)| column)
    }
}

impl From<AuditRow> for LegacyAudit {
    fn from(row: AuditRow) -> Self {
        let text = |words: Option<Words>| words.map(|words| words.text);
        Self {
            garbled: row.garbled(),
            id: row.id,
            user_id: text(row.user_id),
            client_id: text(row.client_id),
            event_type: row.event_type.text,
            event_data: event_object(text(row.event_data).as_deref()),
            ip_address: text(row.ip_address),
            user_agent: text(row.user_agent),
            success: row.success,
            error_message: text(row.error_message),
            created_at: row.created_at.0,
        }
    }
}
