-- The modules' statements: load the facts a module decides on, commit what it
-- decided. Between the two the pure core decides (core/aegis_module.h); the
-- gateway's routes and the worker roles use the same two statements.

-- What was measured on a resource in the last quarter of an hour, by metric.
CREATE OR REPLACE FUNCTION aegis.case_metrics(p_tenant text, p_resource text) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_resource IS NULL THEN
        RETURN '[]'; -- and no partition is looked at
    END IF;
    RETURN (
    SELECT coalesce(json_agg(json_build_object('resource', x.resource, 'metric', x.metric,
               'samples', x.samples, 'avg', x.avg, 'max', x.max, 'p95', x.p95,
               'from', x.t0, 'to', x.t1)), '[]')
      FROM (SELECT m.resource, m.metric, sum(m.samples) AS samples,
                   sum(m.avg * m.samples) / nullif(sum(m.samples), 0) AS avg,
                   max(m.max) AS max, max(m.p95) AS p95,
                   min(m.bucket) AS t0, max(m.bucket) AS t1
              FROM aegis.metric_1m m
             WHERE m.tenant = p_tenant AND m.resource = p_resource
               AND m.bucket > now() - interval '15 minutes'
             GROUP BY m.resource, m.metric ORDER BY m.metric LIMIT 50) x);
END $$;

-- The case, and what its modules need to know, as one json document. Behind a colon
-- p_module may name hashes of templates and policies that the caller has: their bodies
-- are left out.
CREATE OR REPLACE FUNCTION aegis.module_load(p_module text[], p_tenant text[],
    p_case_id uuid[], p_plan_id uuid[], p_template text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    -- in the snapshot that shows the policy
    WITH counted AS MATERIALIZED (SELECT aegis.gate_rates_all(p_module, p_tenant, p_case_id) AS rates)
    SELECT i.ord::int, CASE WHEN c.version IS NULL THEN 404 ELSE 200 END,
        CASE WHEN c.version IS NULL THEN 'not-found' ELSE 'ok' END, c.version,
        CASE WHEN c.version IS NULL THEN aegis.not_found_body(i.request_id)
        ELSE json_build_object(
            'case', aegis.case_json(c.row), 'now', now(),
            'planning', CASE WHEN i.module = 'plan' THEN aegis.plan_facts(c.row, i.template, i.known) END,
            'plan', CASE WHEN i.module IN ('gate', 'approve', 'deny') THEN (
                 SELECT json_build_object('plan_id', p.plan_id, 'revision', p.revision,
                        'hash', p.hash, 'complete', p.complete, 'missing', p.missing,
                        'risk_score', p.risk_score, 'plan', p.plan)
                   FROM aegis.plan_proposed p
                  WHERE p.tenant = i.tenant AND p.case_id = i.case_id
                    AND p.plan_id = c.plan_id) END,
            'policy', CASE WHEN i.module IN ('gate', 'approve', 'deny') THEN (
                 SELECT json_build_object('revision', g.revision, 'hash', g.hash,
                        'body', CASE WHEN strpos(i.known, g.hash) = 0 THEN g.body END)
                   FROM aegis.gate_policy g ORDER BY g.revision DESC LIMIT 1) END,
            'verification', CASE WHEN i.module = 'verify' THEN aegis.verify_facts(c.row, i.plan_id) END,
            'gate', CASE WHEN i.module IN ('gate', 'approve', 'deny') THEN
                 aegis.gate_facts(c.row, c.plan_id, (SELECT t.rates FROM counted t)) END,
            'metrics', CASE WHEN i.module = 'analyze' THEN
                 aegis.case_metrics(i.tenant, (c.row).labels ->> 'resource') END
            )::text END, NULL::text
      FROM (SELECT u.*, split_part(u.asked, ':', 1) AS module, split_part(u.asked, ':', 2) AS known
              FROM unnest(p_module, p_tenant, p_case_id, p_plan_id, p_template, p_request_id)
                   WITH ORDINALITY AS u(asked, tenant, case_id, plan_id, template, request_id, ord)) i
      LEFT JOIN LATERAL (
           -- a condition on coalesce() may leak: row-level security keeps it from an index
           SELECT o AS row, o.version, coalesce(i.plan_id, o.plan_id) AS plan_id
             FROM aegis.ops_case o
            WHERE o.tenant = i.tenant AND o.case_id = i.case_id OFFSET 0) c ON true;
END $$;

-- Was the same decided by another request since this one loaded its facts? Neither a plan nor a
-- verification that begins gives the case a new version.
CREATE OR REPLACE FUNCTION aegis.module_overtaken(p_tenant text, p_case_id uuid, p_for_version int,
    p_doc json) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE WHEN p_doc ->> 'table' = 'plan_proposed' THEN EXISTS (
               SELECT FROM aegis.plan_proposed p WHERE p.tenant = p_tenant AND p.case_id = p_case_id
                  AND p.revision = (p_doc #>> '{artefact,revision}')::int)
           WHEN json_typeof(p_doc -> 'verify_run') = 'object' THEN EXISTS (
               SELECT FROM aegis.verify_run v WHERE v.tenant = p_tenant AND v.case_id = p_case_id
                  AND v.for_version = p_for_version)
           ELSE false END;
END $$;

-- Commit what a module decided. doc is what the core made:
--   table     plan_proposed | gate_decision | verify_checkpoint | event_envelope
--             | '' when the module only has a failure to report
--   artefact  its columns · more: rows for the table beside it (plan_approved,
--             evidence_link) · subject, msg_id, data: the fact to publish
--   verify_run  a verification that goes on (33_verify.sql)
--   id, body  what the client gets
--   approval, counted, note: the gatekeeper's (32_gate.sql)
--   move      what a command's fact does to the case (22_advance.sql)
-- key NULL: no message asked, the transaction that holds the case goes on with it
-- itself. For a command body is the state in which the case is now.
-- states names the states in which a request may do this. A command's artefact
-- is only made while the case is still at the command's version.
CREATE OR REPLACE FUNCTION aegis.module_commit(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_for_version int[], p_states text[], p_doc text[], p_actor text[],
    p_traceparent text[], p_request_id text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope  text := aegis.act_for(p_tenant);
    v_carry  boolean := p_key[1] IS NULL;
    v_claim  aegis.claim[] := CASE WHEN v_carry
        THEN array_fill(ROW('new', NULL, NULL, NULL, NULL, NULL)::aegis.claim, ARRAY[cardinality(p_tenant)])
        ELSE aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer) END;
    v_locked int[] := aegis.lock_cases(p_tenant, p_case_id,
                          cardinality(p_tenant) = 1 AND (v_claim[1]).verdict = 'new');
    v_gate   boolean := array_to_string(p_doc, ' ') ~ '"(approval|counted|note)":';
    v_doc    json[] := CASE WHEN v_gate THEN p_doc::json[] END;
    v_code   text[];
    v_table  text[]; v_row jsonb[]; v_more json[]; v_subject text[]; v_msg_id text[];
    v_data   json[]; v_run json[]; v_id text[]; v_status int[]; v_body text[];
    v_move   json[]; v_facts int[]; v_plan uuid[]; v_moved int[];
    v_out    aegis.result[];
    v_n      int;
BEGIN
    SELECT array_agg(CASE
               WHEN i.verdict <> 'new' THEN i.verdict
               WHEN c.case_id IS NULL THEN 'not-found'
               WHEN (i.ord = ANY (v_locked)) IS NOT TRUE THEN 'busy'
               WHEN i.nth > 1 THEN 'again'
               WHEN i.consumer IS NOT NULL AND c.version <> i.for_version THEN 'stale-fact'
               WHEN c.status <> ALL (string_to_array(i.states, ' ')) THEN 'wrong-state'
               -- the case moved between load and commit: decide again
               WHEN c.version <> i.for_version THEN 'again'
               ELSE 'ok' END ORDER BY i.ord)
      INTO v_code
      FROM (SELECT u.*, row_number() OVER (PARTITION BY u.tenant, u.case_id ORDER BY u.ord) AS nth
              FROM unnest(p_tenant, p_case_id, p_consumer, p_for_version, p_states, v_claim)
                   WITH ORDINALITY AS u(tenant, case_id, consumer, for_version, states,
                        verdict, s, k, v, b, e, ord)) i
      LEFT JOIN LATERAL (
           SELECT o.case_id, o.version, o.status FROM aegis.ops_case o
            WHERE o.tenant = i.tenant AND o.case_id = i.case_id OFFSET 0) c ON true;

    -- a command that was overtaken comes again by itself
    IF array_position(p_consumer, NULL) IS NOT NULL THEN
        v_code := ARRAY(SELECT CASE WHEN v_code[n] = 'ok' AND p_consumer[n] IS NULL
                   AND aegis.module_overtaken(p_tenant[n], p_case_id[n], p_for_version[n], p_doc[n]::json)
                   THEN 'again' ELSE v_code[n] END FROM generate_subscripts(v_code, 1) n ORDER BY n);
    END IF;
    IF v_gate THEN
        v_code := aegis.gate_check(p_tenant, p_case_id, p_for_version, v_doc, v_code);
    END IF;

    -- each document is read once
    SELECT array_agg(d."table" ORDER BY u.n),
           array_agg(d.artefact || jsonb_build_object('tenant', p_tenant[u.n], 'case_id', p_case_id[u.n],
               'for_version', p_for_version[u.n], 'created_by', p_actor[u.n], 'created_at', now())
               ORDER BY u.n),
           array_agg(d.more ORDER BY u.n), array_agg(d.subject ORDER BY u.n),
           array_agg(d.msg_id ORDER BY u.n), array_agg(d.data ORDER BY u.n),
           array_agg(d.verify_run ORDER BY u.n),
           array_agg(d.id ORDER BY u.n), array_agg(d.status ORDER BY u.n),
           array_agg(d.body::text ORDER BY u.n),
           array_agg(CASE WHEN p_consumer[u.n] IS NOT NULL THEN d.move END ORDER BY u.n),
           -- what is written here need not be looked up to be true
           array_agg(CASE d."table"
               WHEN 'plan_proposed' THEN (d.artefact -> 'complete')::boolean::int
               WHEN 'gate_decision' THEN CASE WHEN d.artefact ->> 'verdict' = 'approved'
                    AND now() >= (d.more #>> '{0,not_before}')::timestamptz
                    AND now() < (d.more #>> '{0,not_after}')::timestamptz THEN 6 ELSE 0 END
               WHEN 'verify_checkpoint' THEN CASE WHEN (d.artefact -> 'passed')::boolean THEN 8 ELSE 0 END
               ELSE 0 END ORDER BY u.n),
           array_agg((d.artefact ->> 'plan_id')::uuid ORDER BY u.n)
      INTO v_table, v_row, v_more, v_subject, v_msg_id, v_data, v_run, v_id, v_status, v_body,
           v_move, v_facts, v_plan
      FROM unnest(p_doc) WITH ORDINALITY AS u(doc, n)
     CROSS JOIN LATERAL json_to_record(CASE WHEN v_code[u.n] = 'ok' THEN u.doc ELSE '{}' END::json)
           AS d("table" text, artefact jsonb, more json, subject text, msg_id text, data json,
                verify_run json, id text, status int, body json, move json);

    -- one query for each table that is written: starting one for all of them costs more
    IF 'plan_proposed' = ANY (v_table) THEN
        INSERT INTO aegis.plan_proposed
        SELECT r.* FROM generate_subscripts(v_row, 1) o,
               jsonb_populate_record(NULL::aegis.plan_proposed, v_row[o]) r
         WHERE v_table[o] = 'plan_proposed';
    END IF;
    IF 'verify_checkpoint' = ANY (v_table) THEN
        INSERT INTO aegis.verify_checkpoint
        SELECT r.* FROM generate_subscripts(v_row, 1) o,
               jsonb_populate_record(NULL::aegis.verify_checkpoint, v_row[o]) r
         WHERE v_table[o] = 'verify_checkpoint';
    END IF;
    IF 'gate_decision' = ANY (v_table) THEN
        -- named, so that the rest have their defaults: a populated record has none
        INSERT INTO aegis.gate_decision (tenant, case_id, decision_id, plan_id, plan_hash,
               for_version, verdict, rule, reason, checks, policy_hash, created_by, created_at,
               source, service)
        SELECT r.tenant, r.case_id, r.decision_id, r.plan_id, r.plan_hash,
               r.for_version, r.verdict, r.rule, r.reason, r.checks, r.policy_hash, r.created_by,
               r.created_at, r.source, r.service
          FROM generate_subscripts(v_row, 1) o,
               jsonb_populate_record(NULL::aegis.gate_decision, v_row[o]) r
         WHERE v_table[o] = 'gate_decision';
        INSERT INTO aegis.plan_approved (tenant, case_id, plan_id, decision_id, plan_hash,
               not_before, not_after, created_at)
        SELECT r.tenant, r.case_id, r.plan_id, r.decision_id, r.plan_hash,
               r.not_before, r.not_after, r.created_at
          FROM generate_subscripts(v_row, 1) o,
               json_array_elements(v_more[o]) m,
               jsonb_populate_record(NULL::aegis.plan_approved, m::jsonb || jsonb_build_object(
                   'tenant', p_tenant[o], 'case_id', p_case_id[o], 'created_at', now())) r
         WHERE v_table[o] = 'gate_decision';
    END IF;
    IF 'event_envelope' = ANY (v_table) THEN
        INSERT INTO aegis.event_envelope
        SELECT r.* FROM generate_subscripts(v_row, 1) o,
               jsonb_populate_record(NULL::aegis.event_envelope, v_row[o]) r
         WHERE v_table[o] = 'event_envelope';
        INSERT INTO aegis.evidence_link
        SELECT r.* FROM generate_subscripts(v_row, 1) o,
               json_array_elements(v_more[o]) m,
               jsonb_populate_record(NULL::aegis.evidence_link, m::jsonb || jsonb_build_object(
                   'tenant', p_tenant[o], 'case_id', p_case_id[o], 'created_at', now())) r
         WHERE v_table[o] = 'event_envelope';
    END IF;

    IF array_remove(p_consumer, NULL) <> '{}' THEN
        v_moved := aegis.case_advance(p_tenant, p_case_id, p_for_version, v_move, v_subject,
            v_msg_id, v_data, p_traceparent, v_facts, v_plan, NULL);
    END IF;
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    SELECT p_tenant[o], p_case_id[o], p_for_version[o], aegis.outbox_part(p_case_id[o]),
           v_msg_id[o], v_subject[o], v_data[o], p_traceparent[o]
      FROM generate_subscripts(v_subject, 1) o
     WHERE v_subject[o] IS NOT NULL AND v_moved[o] IS NULL;

    IF strpos(array_to_string(p_doc, ''), '"verify_run":') > 0 THEN
        FOR v_n IN SELECT o FROM generate_subscripts(v_run, 1) o WHERE v_run[o] IS NOT NULL LOOP
            PERFORM aegis.verify_begin(p_tenant[v_n], p_case_id[v_n], p_for_version[v_n], p_actor[v_n],
                                       p_traceparent[v_n], v_run[v_n]);
        END LOOP;
    END IF;
    IF v_gate THEN
        PERFORM aegis.gate_commit(p_tenant, p_principal, p_key, p_case_id, p_for_version,
            v_doc, p_actor, p_traceparent, v_code);
    END IF;

    SELECT array_agg(ROW(i.ord,
               CASE WHEN i.code = 'ok' THEN coalesce(v_status[i.ord], 200)
                    WHEN i.code IN ('again', 'busy') THEN 0
                    ELSE (SELECT e.status FROM aegis.error_def e WHERE e.code = i.code) END,
               i.code, c.version,
               CASE WHEN i.code = 'ok' AND p_consumer[i.ord] IS NOT NULL THEN c.status
                    WHEN i.code = 'ok' THEN coalesce(v_body[i.ord], '')
                    WHEN i.code IN ('again', 'busy') THEN ''
                    ELSE aegis.problem(i.code, p_request_id[i.ord], NULL,
                         CASE WHEN c.case_id IS NULL THEN NULL ELSE jsonb_build_object(
                              'case_id', c.case_id, 'current_status', c.status,
                              'current_version', c.version,
                              'allowed_states', to_jsonb(string_to_array(p_states[i.ord], ' '))) END) END,
               CASE WHEN i.code = 'ok' THEN v_id[i.ord]
                    ELSE p_doc[i.ord]::json ->> 'id' END)::aegis.result)
      INTO v_out
      FROM unnest(v_code, v_claim) WITH ORDINALITY AS i(code, verdict, s, k, v, b, e, ord)
      LEFT JOIN LATERAL (
           SELECT o.case_id, o.version, o.status FROM aegis.ops_case o
            WHERE o.tenant = p_tenant[i.ord] AND o.case_id = p_case_id[i.ord] OFFSET 0) c ON true
     WHERE i.verdict = 'new';

    IF NOT v_carry THEN
        PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    END IF;
    IF p_notify AND v_out IS NOT NULL THEN PERFORM pg_notify('aegis_outbox', ''); END IF;

    RETURN QUERY SELECT * FROM unnest(v_out)
     UNION ALL
     SELECT a.* FROM generate_subscripts(v_claim, 1) n,
            LATERAL aegis.claim_answer(n, v_claim[n], p_request_id[n]) a
      WHERE (v_claim[n]).verdict <> 'new';
END $$;
