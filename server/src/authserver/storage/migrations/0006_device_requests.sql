-- What devices ask for while they wait for a user (RFC 8628). Whoever starts one deletes what has long expired, and there
-- are never more than so many (authorization/device_store.py). On the user's yes the row goes, and its request goes on as a
-- row of authorizations, under the same id.

CREATE TABLE device_requests (
    device_code_hash BYTEA  NOT NULL PRIMARY KEY,
    id               BYTEA  NOT NULL UNIQUE,
    user_code        TEXT   NOT NULL UNIQUE,
    client_id        TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    scope            TEXT   NOT NULL,
    resource_id      TEXT,
    resource         TEXT,
    dpop_jkt         TEXT,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    poll_interval    BIGINT NOT NULL,
    polled_at        BIGINT,
    denied_at        BIGINT
) /*sqlite WITHOUT ROWID*/ /*postgres WITH (fillfactor = 80)*/;
CREATE INDEX device_requests_by_expiry ON device_requests (expires_at);
CREATE INDEX device_requests_by_client ON device_requests (client_id);
