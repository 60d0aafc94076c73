-- Names sort by their bytes, as they do on SQLite and in the service's own comparisons: whatever locale the cluster has.

CREATE TABLE users (
    id UUID NOT NULL PRIMARY KEY,
    username TEXT COLLATE "C" NOT NULL UNIQUE,
    email TEXT COLLATE "C" NOT NULL,
    -- The address folded by the service's own rule, which does not depend on the locale.
    email_key TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT COLLATE "C" NOT NULL,
    is_active BOOLEAN NOT NULL,
    is_verified BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    last_login_at TIMESTAMPTZ
) WITH (fillfactor = 80);

CREATE TABLE oauth_clients (
    id UUID NOT NULL PRIMARY KEY,
    client_id TEXT COLLATE "C" NOT NULL UNIQUE,
    client_secret_hash BYTEA CHECK (octet_length(client_secret_hash) = 32),
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    is_confidential BOOLEAN NOT NULL CHECK (is_confidential = (client_secret_hash IS NOT NULL)),
    allowed_scopes TEXT COLLATE "C" NOT NULL,
    allowed_grant_types TEXT COLLATE "C" NOT NULL,
    access_token_lifetime BIGINT NOT NULL DEFAULT 900,
    refresh_token_lifetime BIGINT NOT NULL DEFAULT 2592000,
    wire_profile TEXT COLLATE "C" NOT NULL DEFAULT 'rfc',
    refresh_retry_window BIGINT NOT NULL DEFAULT 0,
    refresh_chain_lifetime BIGINT,
    access_token_type TEXT COLLATE "C" NOT NULL DEFAULT 'at+jwt',
    access_token_has_sid BOOLEAN NOT NULL DEFAULT FALSE,
    is_active BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- A sign-in with the head of its chain: a rotation is a compare-and-set on one row. No index names a column that a
-- rotation changes, and a page keeps room: so a rotation updates its row within the page and no index at all (HOT).
CREATE TABLE sessions (
    id UUID NOT NULL PRIMARY KEY,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT COLLATE "C" NOT NULL REFERENCES oauth_clients (client_id) ON DELETE CASCADE,
    scope TEXT COLLATE "C" NOT NULL,
    amr TEXT COLLATE "C" NOT NULL,
    head_token_id UUID NOT NULL,
    previous_token_id UUID,
    head_jti_hash BYTEA NOT NULL CHECK (octet_length(head_jti_hash) = 32),
    previous_jti_hash BYTEA CHECK (octet_length(previous_jti_hash) = 32),
    head_issued_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    revoked_reason TEXT COLLATE "C" CHECK ((revoked_reason IS NULL) = (revoked_at IS NULL)),
    created_at TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 70);

-- For ending or deleting the chains of a user (at a client), and of a client. No rotation touches either.
CREATE INDEX sessions_by_user ON sessions (user_id, client_id);
CREATE INDEX sessions_by_client ON sessions (client_id);

-- Every token of every chain, appended in the order of time and never changed. No index but the key, and no foreign
-- key, which would want one: a chain is found by its session's head and followed from row to parent_id, and old rows
-- leave by key range. A row without its session (there is none unless somebody deletes sessions by hand) is invisible
-- in the view below, and leaves with its time.
CREATE TABLE refresh_tokens (
    id UUID NOT NULL PRIMARY KEY,
    session_id UUID NOT NULL,
    parent_id UUID,
    jti_hash BYTEA NOT NULL CHECK (octet_length(jti_hash) = 32),
    issued_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);

-- Outlives what it speaks of: no foreign keys.
CREATE TABLE audit_logs (
    id UUID NOT NULL PRIMARY KEY,
    user_id UUID,
    client_id TEXT COLLATE "C",
    event_type TEXT COLLATE "C" NOT NULL,
    event_data JSONB NOT NULL,
    ip_address TEXT COLLATE "C",
    user_agent TEXT COLLATE "C",
    correlation_id TEXT COLLATE "C" NOT NULL,
    success BOOLEAN NOT NULL,
    error_message TEXT COLLATE "C",
    created_at TIMESTAMPTZ NOT NULL
);

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
