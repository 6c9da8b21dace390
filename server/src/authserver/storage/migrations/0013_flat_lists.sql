-- What operators list stays flat however much there is (docs/performance.md): each list has an index in its order.

CREATE INDEX clients_by_kind ON clients (registration_source, status, issued_at, id);
CREATE INDEX consent_grants_by_user ON consent_grants (user_id, id);
CREATE INDEX issuances_of_machines ON issuance_rows (id) WHERE kind = 'machine';

-- Of rows that were revoked alone: nothing is added to what a token touches.
CREATE INDEX authorizations_by_revocation ON authorizations (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX issuances_by_revocation ON issuance_rows (revoked_at) WHERE revoked_at IS NOT NULL AND kind = 'machine';

-- An event of a client about itself is found by its actor (audit/store.py), which is most of them: the row of a machine's token
-- stands in one index less.
DROP INDEX audit_events_by_client;
CREATE INDEX audit_events_by_client ON audit_rows (client_number, id) WHERE coalesce(actor_number, 0) <> client_number;
