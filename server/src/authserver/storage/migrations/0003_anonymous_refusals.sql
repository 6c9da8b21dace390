-- Refusals that anybody can cause must not push out those of signed-in users and proven clients.

ALTER TABLE refusal_traces ADD COLUMN is_anonymous BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX refusal_traces_by_anonymity ON refusal_traces (is_anonymous, id);
