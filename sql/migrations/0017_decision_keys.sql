-- The same for decisions (0016), so that a tenant's approvals of the last hour are counted
-- by the index of times. Both indexes can be made CONCURRENTLY before the upgrade.
LOCK TABLE aegis.gate_decision IN ACCESS EXCLUSIVE MODE;
CREATE UNIQUE INDEX IF NOT EXISTS gate_decision_key ON aegis.gate_decision (case_id, tenant, decision_id);
CREATE INDEX IF NOT EXISTS gate_decision_for ON aegis.gate_decision (case_id, tenant, for_version);
ALTER TABLE aegis.gate_decision DROP CONSTRAINT gate_decision_pkey,
    ADD CONSTRAINT gate_decision_pkey PRIMARY KEY USING INDEX gate_decision_key;
DROP INDEX aegis.gate_decision_version;
