-- How far the audit trail was delivered to each destination (audit/delivery). A destination goes through the checkpoints in
-- their order: all rows up to one are delivered, and so many of the next.

CREATE TABLE audit_deliveries (
    destination     TEXT   NOT NULL PRIMARY KEY,
    checkpoint      BIGINT NOT NULL,
    position        BIGINT NOT NULL,
    sequence        BIGINT NOT NULL,
    begun_at        BIGINT NOT NULL,
    delivered_at    BIGINT,
    failures        BIGINT NOT NULL,
    last_error      TEXT   NOT NULL,
    next_attempt_at BIGINT NOT NULL
);
