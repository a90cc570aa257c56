-- Keys of artefacts begin with what differs, as README's rule 4 has it. With the tenant
-- in front, an index of ids was as good as the primary key to a planner that had seen
-- the tables empty: `tenant = … AND case_id = …` read all plans that the tenant had
-- ever had, for each new case.
--
-- Writers wait while an index is built: seconds for millions of rows. Who cannot have
-- that makes these with CREATE INDEX CONCURRENTLY before the upgrade.
CREATE UNIQUE INDEX IF NOT EXISTS plan_proposed_plan ON aegis.plan_proposed (plan_id, tenant);
CREATE UNIQUE INDEX IF NOT EXISTS exec_run_exec ON aegis.exec_run (exec_id, tenant);
CREATE UNIQUE INDEX IF NOT EXISTS verify_run_verify ON aegis.verify_run (verify_id, tenant);
CREATE INDEX IF NOT EXISTS verify_checkpoint_verify ON aegis.verify_checkpoint (verify_id, evaluation, tenant);
DROP INDEX aegis.plan_proposed_id, aegis.exec_run_id, aegis.verify_run_id, aegis.verify_checkpoint_run;

-- The same for decisions, so that counting a tenant's approvals of the last hour takes
-- the index of times.
CREATE UNIQUE INDEX IF NOT EXISTS gate_decision_key ON aegis.gate_decision (case_id, tenant, decision_id);
CREATE INDEX IF NOT EXISTS gate_decision_for ON aegis.gate_decision (case_id, tenant, for_version);
ALTER TABLE aegis.gate_decision DROP CONSTRAINT gate_decision_pkey,
    ADD CONSTRAINT gate_decision_pkey PRIMARY KEY USING INDEX gate_decision_key;
DROP INDEX aegis.gate_decision_version;
