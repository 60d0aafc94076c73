-- The refresh tokens of the older service, which carry no session's id: each with the session that it was taken into, also
-- those that had been rotated already, so that presenting one is told as reuse. Only a take-over writes here; a rotation
-- of ours needs no row. The index is for the end of a session, which takes its rows along.
CREATE TABLE legacy_tokens (
    jti_hash BLOB NOT NULL PRIMARY KEY CHECK (length(jti_hash) = 32),
    session_id BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX legacy_tokens_by_session ON legacy_tokens (session_id);
