-- What seals the audit trail (audit/chain): checkpoints, each over the rows that it lists and the checkpoint before it, signed;
-- the public keys that signed them; and what a purge leaves behind. Nothing is added to the rows of the trail themselves.

CREATE TABLE audit_checkpoints (
    number      BIGINT NOT NULL PRIMARY KEY,
    through     BYTEA  NOT NULL,
    row_count   BIGINT NOT NULL,
    late_count  BIGINT NOT NULL,
    total       BIGINT NOT NULL,
    jws         TEXT   NOT NULL,
    cosignature TEXT,
    leaves      BYTEA  NOT NULL
);

CREATE TABLE audit_keys (
    thumbprint TEXT NOT NULL PRIMARY KEY,
    jwk        TEXT NOT NULL
);

CREATE TABLE audit_tombstones (
    number BIGINT NOT NULL PRIMARY KEY,
    jws    TEXT   NOT NULL
);

-- Who does what only one process of all may do, and until when unless it says so again.
CREATE TABLE leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
