-- Operators beside the built-in owner. A row is never deleted and a name never given twice: audit rows name their actor.
-- A request finds its operator by key_hash; the list is read in the order of names.

CREATE TABLE operators (
    name       TEXT   NOT NULL PRIMARY KEY,
    role       TEXT   NOT NULL,
    key_hash   BYTEA  NOT NULL UNIQUE,
    resources  TEXT,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
) /*sqlite WITHOUT ROWID*/;
