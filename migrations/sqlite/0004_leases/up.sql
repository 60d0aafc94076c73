-- Who may do what one process does at a time, and until when: a row for each such thing that is being done.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder BLOB NOT NULL CHECK (length(holder) = 16),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
