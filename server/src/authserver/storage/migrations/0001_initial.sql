-- Times are seconds since the epoch, UTC. Lists and objects are JSON text. Identifiers of rows that requests append are
-- 16 bytes in the order of time (protocol/identifiers.py), so (x, id) stands for (x, created_at).
-- A comment that starts with the name of a dialect is read by that dialect alone.

CREATE TABLE clients (
    id                         TEXT    NOT NULL PRIMARY KEY,
    secret_hash                TEXT    NOT NULL DEFAULT '',
    jwks                       TEXT,
    jwks_uri                   TEXT,
    name                       TEXT    NOT NULL,
    redirect_uris              TEXT    NOT NULL,
    grant_types                TEXT    NOT NULL,
    response_types             TEXT    NOT NULL,
    token_endpoint_auth_method TEXT    NOT NULL,
    status                     TEXT    NOT NULL,
    registration_source        TEXT    NOT NULL,
    cimd_url                   TEXT    NOT NULL DEFAULT '',
    cimd_fetched_at            BIGINT,
    scope                      TEXT    NOT NULL DEFAULT '',
    application_type           TEXT,
    is_agent                   BOOLEAN NOT NULL DEFAULT FALSE,
    agent_description          TEXT    NOT NULL DEFAULT '',
    dpop_bound_access_tokens   BOOLEAN NOT NULL DEFAULT FALSE,
    version                    BIGINT  NOT NULL DEFAULT 1,
    issued_at                  BIGINT  NOT NULL,
    updated_at                 BIGINT  NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX clients_by_time ON clients (issued_at, id);

CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT,
    email_folded  TEXT    UNIQUE,
    name          TEXT    NOT NULL DEFAULT '',
    role          TEXT    NOT NULL DEFAULT 'user',
    status        TEXT    NOT NULL DEFAULT 'active',
    password_hash TEXT    NOT NULL DEFAULT '',
    provider      TEXT    NOT NULL DEFAULT 'local',
    provider_sub  TEXT    NOT NULL DEFAULT '',
    session_epoch BIGINT  NOT NULL DEFAULT 0,
    version       BIGINT  NOT NULL DEFAULT 1,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE UNIQUE INDEX users_federated ON users (provider, provider_sub) WHERE provider <> 'local' AND provider_sub <> '';
CREATE INDEX users_by_time ON users (created_at, id);

CREATE TABLE resources (
    id                 TEXT   NOT NULL PRIMARY KEY,
    slug               TEXT   NOT NULL UNIQUE,
    display_name       TEXT   NOT NULL DEFAULT '',
    uri                TEXT   NOT NULL DEFAULT '',
    uri_folded         TEXT   NOT NULL DEFAULT '',
    backend_kind       TEXT   NOT NULL,
    broker_provider_id TEXT,
    scopes             TEXT   NOT NULL,
    policy             TEXT   NOT NULL,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX resources_by_uri ON resources (uri_folded) WHERE uri_folded <> '';
CREATE INDEX resources_by_time ON resources (created_at, id);

-- What one user let one client do: first the pending request, then the code, then the family of refresh tokens that the
-- code became. One row through its whole life: a redemption is one conditional update.
CREATE TABLE authorizations (
    id               BYTEA  NOT NULL PRIMARY KEY,
    client_id        TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    user_id          TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    redirect_uri     TEXT   NOT NULL,
    scope            TEXT   NOT NULL,
    resource_id      TEXT,
    resource         TEXT,
    state            TEXT   NOT NULL DEFAULT '',
    code_challenge   TEXT   NOT NULL,
    code_hash        BYTEA,
    dpop_jkt         TEXT,
    consented        BOOLEAN NOT NULL DEFAULT FALSE,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT,
    consumed_at      BIGINT,
    revoked_at       BIGINT,
    retry_token_hash BYTEA,
    retry_request    BYTEA,
    retry_response   BYTEA,
    rotated_at       BIGINT
) /*postgres WITH (fillfactor = 80)*/;
CREATE UNIQUE INDEX authorizations_by_code ON authorizations (code_hash) WHERE code_hash IS NOT NULL;
CREATE INDEX authorizations_by_expiry ON authorizations (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX authorizations_by_user ON authorizations (user_id, id);
CREATE INDEX authorizations_by_client ON authorizations (client_id, id);

CREATE TABLE refresh_tokens (
    token_hash       BYTEA  NOT NULL PRIMARY KEY,
    authorization_id BYTEA  NOT NULL,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    consumed_at      BIGINT
) /*sqlite WITHOUT ROWID*/ /*postgres WITH (fillfactor = 90)*/;
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

CREATE TABLE consent_grants (
    id            BYTEA  NOT NULL UNIQUE,
    user_id       TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id     TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    resource_id   TEXT   NOT NULL REFERENCES resources (id),
    scopes        TEXT   NOT NULL,
    redirect_uris TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    revoked_at    BIGINT,
    PRIMARY KEY (user_id, client_id, resource_id)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX consent_grants_by_client ON consent_grants (client_id);
CREATE INDEX consent_grants_by_resource ON consent_grants (resource_id);

-- Every token handed out. No foreign keys but to the resource: history survives the deletion of users and clients.
-- kind: user (of a code's family), machine, exchange, broker.
CREATE TABLE issuances (
    id                BYTEA  NOT NULL PRIMARY KEY,
    token_digest      BYTEA,
    kind              TEXT   NOT NULL,
    subject           TEXT,
    client_id         TEXT   NOT NULL,
    resource_id       TEXT   REFERENCES resources (id),
    scopes            TEXT   NOT NULL,
    authorization_id  BYTEA,
    issued_at         BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL,
    revoked_at        BIGINT,
    dpop_jkt          TEXT,
    agent_id          TEXT,
    agent_chain       TEXT,
    consent_client_id TEXT,
    parent_jti        BYTEA
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX issuances_by_client ON issuances (client_id, id);
CREATE INDEX issuances_by_subject ON issuances (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX issuances_by_resource ON issuances (resource_id, id) WHERE resource_id IS NOT NULL;
CREATE INDEX issuances_by_authorization ON issuances (authorization_id, id) WHERE authorization_id IS NOT NULL;
CREATE INDEX issuances_by_agent ON issuances (agent_id, id) WHERE agent_id IS NOT NULL;
CREATE INDEX issuances_by_parent ON issuances (parent_jti) WHERE parent_jti IS NOT NULL;
CREATE INDEX issuances_by_expiry ON issuances (expires_at) WHERE resource_id IS NULL;

CREATE TABLE audit_events (
    id         BYTEA  NOT NULL PRIMARY KEY,
    action     TEXT   NOT NULL,
    actor_id   TEXT   NOT NULL DEFAULT '',
    client_id  TEXT   NOT NULL DEFAULT '',
    ip         TEXT   NOT NULL DEFAULT '',
    detail     TEXT   NOT NULL DEFAULT '',
    trace_id   TEXT   NOT NULL DEFAULT '',
    reference  TEXT,
    created_at BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX audit_events_by_action ON audit_events (action, id);
CREATE INDEX audit_events_by_actor ON audit_events (actor_id, id) WHERE actor_id <> '';
CREATE INDEX audit_events_by_client ON audit_events (client_id, id) WHERE client_id <> '';

CREATE TABLE dpop_jtis (
    jkt        TEXT   NOT NULL,
    jti        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (jkt, jti)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX dpop_jtis_by_expiry ON dpop_jtis (expires_at);

CREATE TABLE assertion_jtis (
    issuer     TEXT   NOT NULL,
    jti        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX assertion_jtis_by_expiry ON assertion_jtis (expires_at);

CREATE TABLE connect_pending_states (
    id            TEXT   NOT NULL PRIMARY KEY,
    user_id       TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_id   TEXT   NOT NULL,
    resource_id   TEXT   NOT NULL REFERENCES resources (id),
    code_verifier TEXT   NOT NULL,
    return_url    TEXT   NOT NULL,
    scopes        TEXT   NOT NULL,
    expires_at    BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX connect_pending_states_by_expiry ON connect_pending_states (expires_at);

CREATE TABLE runtime_settings (
    key        TEXT   NOT NULL PRIMARY KEY,
    value      TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE changes (
    topic   TEXT   NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);
