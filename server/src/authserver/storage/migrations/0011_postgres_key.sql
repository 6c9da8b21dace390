-- Signing keys that live in this database, sealed (signing.key_store=postgres_key). Ids rise with each rotation; the
-- current key has no rotated_at. All
-- changes are made one after the other, under the row of the topic signing_keys in `changes`; the index is the proof.

CREATE TABLE signing_keys (
    id          BIGINT  NOT NULL PRIMARY KEY,
    kid         TEXT    NOT NULL UNIQUE,
    algorithm   TEXT    NOT NULL,
    enc_private BYTEA   NOT NULL,
    is_current  BOOLEAN NOT NULL,
    created_at  BIGINT  NOT NULL,
    rotated_at  BIGINT
);
CREATE UNIQUE INDEX signing_keys_current ON signing_keys (is_current) WHERE is_current;

-- What this server knows of the versions of its keys in Vault (signing.key_store=vault_transit), and Vault does not: that
-- it made a version itself, and when, or that a version was retired. A key that was deleted in Vault and made again has
-- versions of the same names: they are told apart by when Vault made them.
CREATE TABLE vault_key_versions (
    kid              TEXT   NOT NULL,
    vault_created_at BIGINT NOT NULL,
    key_name         TEXT   NOT NULL,
    created_at       BIGINT,
    retired_at       BIGINT,
    PRIMARY KEY (kid, vault_created_at)
);
