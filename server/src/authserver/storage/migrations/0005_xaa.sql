-- Enterprise identity providers whose assertions are traded for tokens, what each may have granted, and whose accounts its
-- users stand for. keys_version is raised to have every process forget the provider's keys.

CREATE TABLE trusted_idps (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    issuer       TEXT    NOT NULL UNIQUE,
    jwks_uri     TEXT    NOT NULL,
    audience     TEXT    NOT NULL,
    enabled      BOOLEAN NOT NULL DEFAULT TRUE,
    keys_version BIGINT  NOT NULL DEFAULT 1,
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL
) /*sqlite WITHOUT ROWID*/;

-- scopes: NULL does not bound, an empty list lets nothing through.
CREATE TABLE xaa_policies (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    idp_id     TEXT    NOT NULL REFERENCES trusted_idps (id) ON DELETE CASCADE,
    client_ids TEXT    NOT NULL,
    scopes     TEXT,
    resources  TEXT    NOT NULL,
    enabled    BOOLEAN NOT NULL DEFAULT TRUE,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX xaa_policies_by_idp ON xaa_policies (idp_id);

-- local_user_id has no foreign key: a mapping to a user who is gone is refused when it is used.
CREATE TABLE subject_mappings (
    id            TEXT   NOT NULL UNIQUE,
    idp_id        TEXT   NOT NULL REFERENCES trusted_idps (id) ON DELETE CASCADE,
    idp_subject   TEXT   NOT NULL,
    local_user_id TEXT,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (idp_id, idp_subject)
) /*sqlite WITHOUT ROWID*/;
