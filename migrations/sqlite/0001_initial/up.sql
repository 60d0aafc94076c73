-- Ids are UUIDs in 16 bytes, times are microseconds since 1970 UTC, hashes are raw bytes.
-- A table whose rows come in the order of their keys is WITHOUT ROWID: one B-tree, and inserts append to it.

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    -- The address folded by the service's own rule, which knows more letters than NOCASE does.
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    is_verified INTEGER NOT NULL CHECK (is_verified IN (0, 1)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_login_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE oauth_clients (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    client_id TEXT NOT NULL UNIQUE,
    client_secret_hash BLOB CHECK (length(client_secret_hash) = 32),
    name TEXT NOT NULL,
    description TEXT,
    is_confidential INTEGER NOT NULL CHECK (is_confidential = (client_secret_hash IS NOT NULL)),
    allowed_scopes TEXT NOT NULL,
    allowed_grant_types TEXT NOT NULL,
    access_token_lifetime INTEGER NOT NULL DEFAULT 900,
    refresh_token_lifetime INTEGER NOT NULL DEFAULT 2592000,
    wire_profile TEXT NOT NULL DEFAULT 'rfc',
    refresh_retry_window INTEGER NOT NULL DEFAULT 0,
    refresh_chain_lifetime INTEGER,
    access_token_type TEXT NOT NULL DEFAULT 'at+jwt',
    access_token_has_sid INTEGER NOT NULL DEFAULT 0 CHECK (access_token_has_sid IN (0, 1)),
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A sign-in with the head of its chain: a rotation is a compare-and-set on one row.
CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL REFERENCES oauth_clients (client_id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    amr TEXT NOT NULL,
    head_token_id BLOB NOT NULL CHECK (length(head_token_id) = 16),
    previous_token_id BLOB CHECK (length(previous_token_id) = 16),
    head_jti_hash BLOB NOT NULL CHECK (length(head_jti_hash) = 32),
    previous_jti_hash BLOB CHECK (length(previous_jti_hash) = 32),
    head_issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revoked_reason TEXT CHECK ((revoked_reason IS NULL) = (revoked_at IS NULL)),
    created_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For ending or deleting the chains of a user (at a client), and of a client. No rotation touches either.
CREATE INDEX sessions_by_user ON sessions (user_id, client_id);
CREATE INDEX sessions_by_client ON sessions (client_id);

-- Every token of every chain, appended in the order of time and never changed. No index but the key, and no foreign
-- key, which would want one: a chain is found by its session's head and followed from row to parent_id, and old rows
-- leave by key range. A row without its session (there is none unless somebody deletes sessions by hand) is invisible
-- in the view below, and leaves with its time.
CREATE TABLE refresh_tokens (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    session_id BLOB NOT NULL CHECK (length(session_id) = 16),
    parent_id BLOB CHECK (length(parent_id) = 16),
    jti_hash BLOB NOT NULL CHECK (length(jti_hash) = 32),
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Outlives what it speaks of: no foreign keys.
CREATE TABLE audit_logs (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id BLOB CHECK (length(user_id) = 16),
    client_id TEXT,
    event_type TEXT NOT NULL,
    event_data TEXT NOT NULL CHECK (json_valid(event_data)),
    ip_address TEXT,
    user_agent TEXT,
    correlation_id TEXT NOT NULL,
    success INTEGER NOT NULL CHECK (success IN (0, 1)),
    error_message TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The columns that operators and exports know: one row a token, with what became of it. Reads whole tables.
CREATE VIEW refresh_tokens_classic AS
SELECT
    token.id AS id,
    token.jti_hash AS jti_hash,
    session.user_id AS user_id,
    session.client_id AS client_id,
    session.scope AS scope,
    token.expires_at AS expires_at,
    session.revoked_at IS NOT NULL AS revoked,
    session.revoked_at AS revoked_at,
    parent.jti_hash AS parent_jti_hash,
    token.session_id AS family_id,
    child.issued_at AS consumed_at,
    token.issued_at AS created_at
FROM refresh_tokens AS token
JOIN sessions AS session ON session.id = token.session_id
LEFT JOIN refresh_tokens AS parent ON parent.id = token.parent_id
LEFT JOIN refresh_tokens AS child ON child.parent_id = token.id;
