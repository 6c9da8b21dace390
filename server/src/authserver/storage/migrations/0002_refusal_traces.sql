-- Why requests were refused, by the reference id that the client was given. Bounded in number and age: whoever inserts
-- deletes what is too much (traces/store.py). Ids grow with time, so the oldest rows are the lowest ids.

CREATE TABLE refusal_traces (
    id         /*sqlite INTEGER PRIMARY KEY*/ /*postgres BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY*/,
    reference  TEXT   NOT NULL,
    error      TEXT   NOT NULL,
    client_id  TEXT   NOT NULL,
    decision   TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX refusal_traces_by_reference ON refusal_traces (reference);
