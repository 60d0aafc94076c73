-- Access tokens that are denied before they expire. A row is of no use once its token has expired, and is deleted then.
-- No index but the key: introspection asks by it, and the deletion reads the whole table, once an hour.
CREATE TABLE denied_tokens (
    jti_hash BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(jti_hash) = 32),
    expires_at TIMESTAMPTZ NOT NULL
);
