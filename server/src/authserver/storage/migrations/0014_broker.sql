-- The token vault: upstream services, and what users may do there. Secrets and credentials are ciphertext, each beside the
-- name of the driver that sealed it; config_data is a JSON object without secrets. A provider cannot go while resources or
-- grants name it, revoked grants included. A user has one credential at a provider: whoever writes it raises its version.

CREATE TABLE broker_providers (
    id                 TEXT   NOT NULL PRIMARY KEY,
    slug               TEXT   NOT NULL UNIQUE,
    display_name       TEXT   NOT NULL,
    protocol           TEXT   NOT NULL,
    config_data        TEXT   NOT NULL,
    enc_secret_data    BYTEA,
    enc_secret_backend TEXT,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;

CREATE TABLE broker_grants (
    id                 BYTEA  NOT NULL UNIQUE,
    user_id            TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    broker_provider_id TEXT   NOT NULL REFERENCES broker_providers (id),
    credential_data    BYTEA  NOT NULL,
    enc_backend        TEXT   NOT NULL,
    scopes_granted     TEXT   NOT NULL,
    version            BIGINT NOT NULL DEFAULT 1,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    revoked_at         BIGINT,
    PRIMARY KEY (user_id, broker_provider_id)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX broker_grants_by_provider ON broker_grants (broker_provider_id);
CREATE INDEX resources_by_provider ON resources (broker_provider_id) WHERE broker_provider_id IS NOT NULL;
