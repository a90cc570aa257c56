-- Who may do what. Applied after every change of the functions; says all of it,
-- so that a right that is taken away here is gone.
REVOKE ALL ON SCHEMA aegis FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA aegis FROM aegis_gateway, aegis_worker, aegis_reader;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA aegis FROM PUBLIC;

GRANT USAGE ON SCHEMA aegis TO aegis_gateway, aegis_worker, aegis_reader;
-- Partitions are reached through their table alone: the policies that keep
-- tenants apart are the table's.
DO $$
DECLARE t regclass;
BEGIN
    FOR t IN SELECT c.oid::regclass FROM pg_class c
              WHERE c.relnamespace = 'aegis'::regnamespace AND c.relkind IN ('r', 'p')
                AND NOT c.relispartition
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO aegis_gateway, aegis_worker, aegis_reader', t);
    END LOOP;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA aegis TO aegis_gateway, aegis_worker;

-- Timelines, decisions, plans and checkpoints are only ever added to.
GRANT INSERT ON aegis.case_timeline, aegis.case_tag, aegis.plan_proposed, aegis.gate_decision,
    aegis.plan_approved, aegis.verify_checkpoint, aegis.event_envelope,
    aegis.evidence_link, aegis.gate_request, aegis.gate_vote, aegis.idempotency, aegis.inbox,
    aegis.outbox, aegis.exec_run, aegis.verify_run
    TO aegis_gateway, aegis_worker;
GRANT UPDATE (cancel_by, cancel_reason, cancel_rollback) ON aegis.exec_run TO aegis_gateway;
GRANT INSERT ON aegis.oo_locator TO aegis_gateway;
GRANT INSERT, UPDATE ON aegis.oo_locator TO aegis_worker;
GRANT INSERT, UPDATE ON aegis.ops_case TO aegis_gateway, aegis_worker;
GRANT UPDATE (state, decision_id, closed_at) ON aegis.gate_request TO aegis_gateway, aegis_worker;

GRANT INSERT ON aegis.audit_segment, aegis.audit_leaf TO aegis_worker;
GRANT UPDATE (xid, key) ON aegis.audit_cursor TO aegis_worker;
REVOKE EXECUTE ON FUNCTION aegis.audit_seal(int), aegis.audit_retire(text, text, timestamptz)
    FROM aegis_gateway;
REVOKE EXECUTE ON FUNCTION aegis.audit_retire(text, text, timestamptz) FROM aegis_worker;
-- with their owner's rights, whom no policy keeps from a tenant's rows
REVOKE EXECUTE ON FUNCTION aegis.audit_seal_table(text, int, bigint),
    aegis.outbox_next(smallint[], int, bigint[], timestamptz, timestamptz) FROM aegis_gateway;
GRANT UPDATE ON aegis.outbox, aegis.exec_run, aegis.verify_run TO aegis_worker;
GRANT INSERT, UPDATE ON aegis.exec_step, aegis.dead_letter, aegis.metric_1m TO aegis_worker;
GRANT INSERT, UPDATE ON aegis.service_call_5m, aegis.log_pattern, aegis.log_pattern_5m,
    aegis.dim_tenant, aegis.dim_resource, aegis.signal_event, aegis.ingest_lane TO aegis_worker;
GRANT INSERT, DELETE ON aegis.ingest_journal TO aegis_worker;
GRANT INSERT, UPDATE ON aegis.analyst_mark, aegis.analyst_series, aegis.analyst_state,
    aegis.finding_group, aegis.finding_member TO aegis_worker;
GRANT INSERT ON aegis.finding TO aegis_worker;
GRANT INSERT ON aegis.analyst_run TO aegis_gateway;
GRANT UPDATE ON aegis.analyst_run TO aegis_worker;
GRANT INSERT ON aegis.gate_policy, aegis.plan_template_set, aegis.plan_template TO aegis_worker;
REVOKE EXECUTE ON FUNCTION aegis.plan_templates_put(text, json, text) FROM aegis_gateway;

GRANT INSERT, UPDATE, DELETE ON aegis.kb_doc, aegis.kb_version, aegis.kb_query, aegis.kb_term, aegis.kb_tenant, aegis.kb_case_todo
    TO aegis_gateway, aegis_worker;
GRANT DELETE ON aegis.kb_chunk, aegis.kb_vector TO aegis_gateway;
GRANT INSERT, UPDATE, DELETE ON aegis.kb_chunk, aegis.kb_vector TO aegis_worker;
REVOKE EXECUTE ON FUNCTION aegis.kb_embedder_use(text, int), aegis.kb_switch(int), aegis.kb_index_vectors(int)
    FROM aegis_gateway;
-- maintain() changes the schema with its owner's rights.
REVOKE EXECUTE ON FUNCTION aegis.maintain(int, int, int) FROM aegis_gateway;
