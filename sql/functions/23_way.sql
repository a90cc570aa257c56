-- A case's whole way in two statements, for a process that has all of the modules on
-- it: way_load() reads what every decision of a fresh case is made on, the process
-- decides (workers/roles/fsm/aegis_way.c), way_commit() writes what came of it, each
-- transition with its row, its facts and its artefact, or nothing. Between the two
-- nobody is held up: the case is still where it was, or is asked for in another way
-- (case_transition, 22_advance.sql), which is also for all that is not ordinary here.

-- Cases in NEW at this version, of mode auto, about which nothing was written yet and
-- for which there is a template. 'no': any other. p_module names hashes of templates
-- and policies that the caller has; whether there is knowledge to quote from is said, and
-- looked up by the caller, who holds no lock.
CREATE OR REPLACE FUNCTION aegis.way_load(p_tenant text[], p_case_id uuid[], p_fact_version int[],
    p_module text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope  text := aegis.act_for(p_tenant);
    v_set    bigint := (SELECT s.revision FROM aegis.plan_template_set s ORDER BY s.revision DESC LIMIT 1);
    v_policy text;
    v_counts boolean;
    v_rates  jsonb := '{}';
BEGIN
    SELECT json_build_object('revision', g.revision, 'hash', g.hash,
               'body', CASE WHEN strpos(p_module[1], g.hash) = 0 THEN g.body END)::text,
           json_array_length(g.rates) > 0
      INTO v_policy, v_counts
      FROM aegis.gate_policy g ORDER BY g.revision DESC LIMIT 1;
    IF v_counts THEN
        v_rates := aegis.gate_rates_all(array_fill('gate'::text, ARRAY[cardinality(p_tenant)]),
                                        p_tenant, p_case_id);
    END IF;

    RETURN QUERY
    SELECT u.n, 200, CASE WHEN c.version IS NOT NULL AND t.hash IS NOT NULL AND v_policy IS NOT NULL
               THEN 'ok' ELSE 'no' END, c.version,
           '{"case":' || c.body || ',"now":' || to_json(now())::text
               || ',"metrics":' || CASE WHEN c.resource IS NULL THEN '[]'
                       ELSE aegis.case_metrics(p_tenant[u.n], c.resource)::text END
               || ',"planning":{"next_revision":1,"last":null,"quotes":' || c.quotes || ',"evidence":[],"template":{"name":'
               || to_json(c.template)::text || ',"hash":"' || t.hash || '","body":' || t.body
               || '}},"policy":' || v_policy
               -- by whom a plan is matters when people are asked, and then it is loaded again
               || ',"gate":{"request":null,"rates":' || coalesce(v_rates -> (p_tenant[u.n] || E'\x1f' || c.service), '{}')::text
               || '}}', NULL::text
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
      -- OFFSET 0: item by item, whatever the planner believes of the tables
      LEFT JOIN LATERAL (
           SELECT o.version, aegis.case_text(o) AS body, o.labels ->> 'resource' AS resource,
                  coalesce(o.labels ->> 'template', o.kind) AS template,
                  coalesce(o.labels ->> 'service', '') AS service,
                  CASE WHEN EXISTS (SELECT FROM aegis.kb_tenant k WHERE k.tenant = o.tenant AND k.chunks > 0)
                       THEN 'true' ELSE 'false' END AS quotes
             FROM aegis.ops_case o
            WHERE o.tenant = p_tenant[u.n] AND o.case_id = p_case_id[u.n]
              AND o.version = p_fact_version[u.n] AND o.status = 'NEW' AND o.mode = 'auto'
              AND NOT EXISTS (SELECT FROM aegis.plan_proposed p
                               WHERE p.tenant = p_tenant[u.n] AND p.case_id = p_case_id[u.n])
              AND NOT EXISTS (SELECT FROM aegis.event_envelope e
                               WHERE e.tenant = p_tenant[u.n] AND e.case_id = p_case_id[u.n])
           OFFSET 0) c ON true
      LEFT JOIN LATERAL (
           SELECT x.hash, CASE WHEN strpos(p_module[1], x.hash) = 0 THEN x.body::text ELSE 'null' END AS body
             FROM aegis.plan_template x WHERE x.revision = v_set AND x.name = c.template OFFSET 0) t ON true;
END $$;

-- What both of the two below end with: where the way ends early, somebody is asked to go on.
CREATE OR REPLACE FUNCTION aegis.way_over(p_tenant text[], p_case_id uuid[], p_traceparent text[],
    p_version int[], p_status text[], p_then text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
BEGIN
    IF 'open' = ANY (p_then) THEN
        PERFORM aegis.exec_open(p_tenant, p_case_id, ARRAY(SELECT CASE WHEN t = 'open' THEN v END
                    FROM unnest(p_version, p_then) WITH ORDINALITY AS u(v, t, n) ORDER BY n), p_traceparent);
    END IF;
    IF 'ask' = ANY (p_then) THEN
        PERFORM aegis.case_ask(array_agg(p_tenant[n] ORDER BY n), array_agg(p_case_id[n] ORDER BY n),
                    array_agg(p_traceparent[n] ORDER BY n), false)
           FROM generate_subscripts(p_then, 1) n WHERE p_then[n] = 'ask';
    END IF;
    IF p_notify AND array_remove(p_version, NULL) <> '{}' THEN PERFORM pg_notify('aegis_outbox', ''); END IF;

    RETURN QUERY SELECT n, 200, CASE WHEN p_version[n] IS NULL THEN 'again' ELSE 'ok' END, p_version[n],
                        coalesce(p_status[n], ''), NULL::text
                   FROM generate_series(1, cardinality(p_tenant)) n;
END $$;

-- Write what was decided on the way, of n cases; an array a column, since a document a case
-- would be read over and over for its parts. Of a case:
--   go_on      'ask': its command is to be published, 'open': its run to be begun
--   counted    for gate_check(), when the decision relied on rules of kind rate
--   complete, verdict, not_before, not_after, passed: what the guards ask for
--   the artefacts, as rows, at the place of their case; without an id there is none.
--   links are [{link_no, ref, note}]
-- Of each move, in their order: of which case (of), and what the timeline says of it. Of
-- each fact, in their order: the number of the move that it is told before (move).
-- Of each step: of which case's run (step_of).
-- Whether a move is legal is looked up here; one that is not takes all of its case with
-- it. 'again': nothing was written of this one.
CREATE OR REPLACE FUNCTION aegis.way_commit(
    p_tenant text[], p_case_id uuid[], p_for_version int[], p_traceparent text[], p_go_on text[],
    p_counted text[], p_complete bool[], p_verdict text[], p_not_before timestamptz[],
    p_not_after timestamptz[], p_passed bool[],
    p_of int[], p_event text[], p_was text[], p_actor text[], p_reason text[], p_correlation text[],
    p_key text[], p_meta json[],
    p_move int[], p_msg_id text[], p_subject text[], p_data json[],
    p_event_id uuid[], p_event_version int[], p_severity text[], p_kind text[], p_title text[],
    p_summary text[], p_labels json[], p_links json[],
    p_plan_id uuid[], p_plan_version int[], p_revision int[], p_template text[], p_hash text[],
    p_missing json[], p_risk_score float8[], p_plan json[], p_params json[],
    p_decision_id uuid[], p_decision_version int[], p_rule text[], p_why text[], p_checks json[],
    p_policy_hash text[], p_source text[], p_service text[],
    p_exec_id uuid[], p_run_version int[], p_owner text[],
    p_step_of int[], p_phase text[], p_step_no int[], p_attempt int[], p_action text[], p_state text[],
    p_retry_safe bool[], p_token text[], p_exit_code int[], p_error text[], p_final bool[],
    p_output json[], p_result json[],
    p_checkpoint_id uuid[], p_checkpoint_version int[], p_verify_id uuid[], p_looked json[],
    p_found text[], p_evaluation int[], p_outcome text[], p_last bool[],
    p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope   text := aegis.act_for(p_tenant);
    v_code    text[] := array_fill('ok'::text, ARRAY[cardinality(p_tenant)]);
    v_version int[]; v_status text[]; v_then text[];
BEGIN
    IF array_remove(p_counted, NULL) <> '{}' THEN
        PERFORM aegis.lock_cases(p_tenant, p_case_id, false);
        v_code := aegis.gate_check(p_tenant, p_case_id, p_for_version, p_counted::json[], v_code);
    END IF;

    -- what goes from one part to the next are numbers: the arrays are at hand everywhere
    WITH d AS MATERIALIZED (
        SELECT u.n, c.place
          FROM generate_series(1, cardinality(p_tenant)) AS u(n)
         CROSS JOIN LATERAL (
               SELECT c.ctid AS place FROM aegis.ops_case c
                WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n]
                  AND c.version = p_for_version[u.n] AND c.status = 'NEW' AND c.mode = 'auto'
                  FOR NO KEY UPDATE SKIP LOCKED) c
         WHERE v_code[u.n] = 'ok' AND array_position(p_case_id, p_case_id[u.n]) = u.n),
    m AS MATERIALIZED (
        SELECT w.i, w.n, p_for_version[w.n] + w.k::int AS version, w.rule, w.to_status,
               w.rule IS NOT NULL AND w.was = w.before AS legal, w.last
          FROM (SELECT i.i, p_of[i.i] AS n, p_was[i.i] AS was, t.rule, t.to_status,
                       row_number() OVER w AS k, lag(t.to_status, 1, 'NEW') OVER w AS before,
                       lead(i.i) OVER w IS NULL AS last
                  FROM generate_series(1, cardinality(p_of)) AS i(i)
                  LEFT JOIN aegis.fsm_transition t ON t.from_status = p_was[i.i] AND t.event = p_event[i.i]
                   AND t.needs & ~CASE p_event[i.i] WHEN 'plan_ready' THEN p_complete[p_of[i.i]]::int
                       WHEN 'gate_approved' THEN CASE WHEN p_verdict[p_of[i.i]] = 'approved'
                            AND now() >= p_not_before[p_of[i.i]] AND now() < p_not_after[p_of[i.i]]
                            THEN 6 ELSE 0 END
                       WHEN 'verify_pass' THEN CASE WHEN p_passed[p_of[i.i]] THEN 8 ELSE 0 END
                       ELSE 0 END = 0
                WINDOW w AS (PARTITION BY p_of[i.i] ORDER BY i.i)) w),
    g AS MATERIALIZED (
        SELECT m.n, max(m.version) AS version, max(m.i) AS last, max(m.to_status) FILTER (WHERE m.last) AS status,
               bool_or(p_event[m.i] = 'plan_ready') AS planned, bool_or(p_event[m.i] = 'exec_done') AS ran
          FROM m GROUP BY m.n HAVING bool_and(m.legal)),
    upd AS (
        UPDATE aegis.ops_case c
           SET status = g.status, version = g.version, updated_at = now(), closed = g.status = 'CLOSED',
               settled = '', reason = p_reason[g.last],
               plan_id = CASE WHEN g.planned THEN p_plan_id[g.n] END,
               exec_id = CASE WHEN g.ran THEN p_exec_id[g.n] END, nudges = 0, nudged_at = NULL
          FROM g JOIN d ON d.n = g.n
         WHERE c.ctid = d.place -- locked: it is where it was seen
        RETURNING g.n, c.version, c.status, c.correlation_id AS correlation),
    -- of those moved alone: one whose row was changed behind this statement's snapshot is locked
    -- where it is now, and not moved
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        SELECT p_tenant[m.n], p_case_id[m.n], m.version, 0, 'transition', p_event[m.i], p_was[m.i],
               m.to_status, m.rule, p_actor[m.i], 'aegis:fsm', p_reason[m.i],
               coalesce(nullif(p_correlation[m.i], ''), g.correlation),
               split_part(p_traceparent[m.n], '-', 2), p_key[m.i], p_meta[m.i]
          FROM m JOIN upd g ON g.n = m.n),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT p_tenant[o.n], p_case_id[o.n], o.version, aegis.outbox_part(p_case_id[o.n]),
               CASE WHEN o.f IS NULL THEN p_case_id[o.n] || ':' || o.version || ':transition'
                    ELSE p_msg_id[o.f] END,
               CASE WHEN o.f IS NULL THEN 'evt.case.transition.v1' ELSE p_subject[o.f] END,
               CASE WHEN o.f IS NULL THEN row_to_json(ROW(p_case_id[o.n], p_tenant[o.n], o.version,
                          p_event[o.i], p_was[o.i], o.to_status, o.rule, p_actor[o.i], p_reason[o.i],
                          coalesce(nullif(p_correlation[o.i], ''), o.correlation),
                          now())::aegis.transition_fact)
                    ELSE p_data[o.f] END, p_traceparent[o.n]
          FROM (SELECT m.n, m.i, f.f, m.version - (f.f IS NOT NULL)::int AS version, m.to_status, m.rule,
                       g.correlation
                  FROM upd g JOIN m ON m.n = g.n
                  JOIN (SELECT p_move[f] AS i, f FROM generate_series(1, cardinality(p_move)) f
                        UNION ALL SELECT i, NULL FROM generate_series(1, cardinality(p_of)) i) f ON f.i = m.i
                 ORDER BY m.i, f.f) o), -- the transition behind the facts that made it
    ev AS (
        INSERT INTO aegis.event_envelope (tenant, case_id, event_id, for_version, severity, kind, title,
               summary, labels)
        SELECT p_tenant[n], p_case_id[n], p_event_id[n], p_event_version[n], p_severity[n], p_kind[n],
               p_title[n], p_summary[n], p_labels[n]
          FROM upd WHERE p_event_id[n] IS NOT NULL),
    li AS (
        INSERT INTO aegis.evidence_link (tenant, case_id, event_id, link_no, ref, note)
        SELECT p_tenant[n], p_case_id[n], p_event_id[n], r.link_no, r.ref, r.note
          FROM upd, json_to_recordset(p_links[n]) AS r(link_no int, ref text, note text)
         WHERE p_links[n] IS NOT NULL),
    pl AS (
        INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, template,
               hash, complete, missing, risk_score, plan, created_by, params)
        SELECT p_tenant[n], p_case_id[n], p_revision[n], p_plan_id[n], p_plan_version[n], p_template[n],
               p_hash[n], p_complete[n], p_missing[n], p_risk_score[n], p_plan[n], 'aegis:planner',
               p_params[n]
          FROM upd WHERE p_plan_id[n] IS NOT NULL),
    de AS (
        INSERT INTO aegis.gate_decision (tenant, case_id, decision_id, plan_id, plan_hash, for_version,
               verdict, rule, reason, checks, policy_hash, created_by, source, service)
        SELECT p_tenant[n], p_case_id[n], p_decision_id[n], p_plan_id[n], p_hash[n], p_decision_version[n],
               p_verdict[n], p_rule[n], p_why[n], p_checks[n], p_policy_hash[n], 'aegis:gate',
               p_source[n], p_service[n]
          FROM upd WHERE p_decision_id[n] IS NOT NULL),
    ap AS (
        INSERT INTO aegis.plan_approved (tenant, case_id, plan_id, decision_id, plan_hash, not_before,
               not_after)
        SELECT p_tenant[n], p_case_id[n], p_plan_id[n], p_decision_id[n], p_hash[n], p_not_before[n],
               p_not_after[n]
          FROM upd WHERE p_verdict[n] = 'approved'),
    ru AS (
        INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version, state, owner, epoch,
               lease_until, correlation_id, traceparent, created_by, started_at, finished_at)
        SELECT p_tenant[n], p_case_id[n], p_exec_id[n], p_plan_id[n], p_run_version[n], 'DONE', p_owner[n],
               1, 'infinity', correlation, coalesce(p_traceparent[n], ''), 'aegis:exec', now(), now()
          FROM upd WHERE p_exec_id[n] IS NOT NULL),
    st AS (
        INSERT INTO aegis.exec_step (tenant, case_id, exec_id, phase, step_no, attempt, action, state,
               retry_safe, token, exit_code, error, final, output, result, finished_at)
        SELECT p_tenant[g.n], p_case_id[g.n], p_exec_id[g.n], p_phase[s], p_step_no[s], p_attempt[s],
               p_action[s], p_state[s], p_retry_safe[s], p_token[s], p_exit_code[s], p_error[s],
               p_final[s], p_output[s], p_result[s], now()
          FROM upd g JOIN generate_series(1, cardinality(p_step_of)) s ON p_step_of[s] = g.n),
    ch AS (
        INSERT INTO aegis.verify_checkpoint (tenant, case_id, checkpoint_id, plan_id, for_version,
               passed, checks, reason, created_by, verify_id, evaluation, outcome, final)
        SELECT p_tenant[n], p_case_id[n], p_checkpoint_id[n], p_plan_id[n], p_checkpoint_version[n],
               p_passed[n], p_looked[n], p_found[n], 'aegis:verify', p_verify_id[n], p_evaluation[n],
               p_outcome[n], p_last[n]
          FROM upd WHERE p_checkpoint_id[n] IS NOT NULL)
    SELECT array_agg(u.version ORDER BY i.n), array_agg(u.status ORDER BY i.n),
           array_agg(CASE WHEN u.n IS NOT NULL THEN p_go_on[u.n] END ORDER BY i.n)
      INTO v_version, v_status, v_then
      FROM generate_series(1, cardinality(p_tenant)) AS i(n) LEFT JOIN upd u ON u.n = i.n;

    RETURN QUERY SELECT * FROM aegis.way_over(p_tenant, p_case_id, p_traceparent, v_version, v_status,
                                              v_then, p_notify);
END $$;

-- The same of workers before it, which send a document a case. A document has
--   moves      [{event, from, actor, reason, correlation, meta, key, subject, data, said}] in
--              their order, each with the fact that made it; said: [{key, data}] are results of
--              steps, told before it
--   reason, then   of the last move; 'ask': its command is to be published, 'open': its run to
--              be begun
--   envelope and links, plan, decision, run and steps, checkpoint: the artefacts, as rows
--   complete, verdict, not_before, not_after, passed: what of them the guards ask for
--   counted    the gate's rules of kind rate, with the case's service
-- Whether a move is legal is looked up here; one that is not takes the whole document
-- with it. 'again': nothing was written of this one.
CREATE OR REPLACE FUNCTION aegis.way_commit(p_tenant text[], p_case_id uuid[], p_for_version int[],
    p_doc text[], p_traceparent text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope   text := aegis.act_for(p_tenant);
    v_code    text[] := array_fill('ok'::text, ARRAY[cardinality(p_tenant)]);
    v_version int[]; v_status text[]; v_then text[];
BEGIN
    IF strpos(array_to_string(p_doc, ''), '"counted":') > 0 THEN
        PERFORM aegis.lock_cases(p_tenant, p_case_id, false);
        v_code := aegis.gate_check(p_tenant, p_case_id, p_for_version, ARRAY(
            SELECT json_build_object('counted', d.doc::json -> 'counted',
                       'artefact', json_build_object('service', d.doc::json ->> 'service'))
              FROM unnest(p_doc) WITH ORDINALITY AS d(doc, n) ORDER BY d.n), v_code);
    END IF;

    WITH d AS MATERIALIZED (
        SELECT u.n, c.place, c.case_correlation, x.*
          FROM generate_series(1, cardinality(p_tenant)) AS u(n)
         CROSS JOIN LATERAL (
               SELECT c.ctid AS place, c.correlation_id AS case_correlation FROM aegis.ops_case c
                WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n]
                  AND c.version = p_for_version[u.n] AND c.status = 'NEW' AND c.mode = 'auto'
                  FOR NO KEY UPDATE SKIP LOCKED) c
         CROSS JOIN LATERAL json_to_record(p_doc[u.n]::json) AS x(moves json, reason text, "then" text,
               envelope json, links json, plan json, plan_id uuid, complete boolean, decision json,
               verdict text, not_before timestamptz, not_after timestamptz, run json, exec_id uuid,
               steps json, checkpoint json, passed boolean)
         WHERE v_code[u.n] = 'ok' AND array_position(p_case_id, p_case_id[u.n]) = u.n),
    m AS MATERIALIZED (
        SELECT d.n, k.k, p_for_version[d.n] + k.k::int AS version, k.event, k.was, t.to_status, t.rule,
               k.actor, k.reason, coalesce(nullif(k.correlation, ''), d.case_correlation) AS correlation,
               k.meta, k.key, k.subject, k.data, k.said
          FROM d
         CROSS JOIN LATERAL ROWS FROM (json_to_recordset(d.moves) AS (event text, "from" text,
               actor text, reason text, correlation text, meta json, key text, subject text,
               data json, said json)) WITH ORDINALITY AS k(event, was, actor, reason, correlation,
               meta, key, subject, data, said, k)
          LEFT JOIN LATERAL (
               SELECT t.rule, t.to_status FROM aegis.fsm_transition t
                WHERE t.from_status = k.was AND t.event = k.event
                  AND t.needs & ~CASE k.event WHEN 'plan_ready' THEN d.complete::int
                      WHEN 'gate_approved' THEN CASE WHEN d.verdict = 'approved'
                           AND now() >= d.not_before AND now() < d.not_after THEN 6 ELSE 0 END
                      WHEN 'verify_pass' THEN CASE WHEN d.passed THEN 8 ELSE 0 END
                      ELSE 0 END = 0 OFFSET 0) t ON true),
    g AS MATERIALIZED (
        SELECT w.n, max(w.version) AS version, (array_agg(w.to_status ORDER BY w.k DESC))[1] AS status,
               bool_or(w.event = 'plan_ready') AS planned, bool_or(w.event = 'exec_done') AS ran
          FROM (SELECT m.n, m.k, m.version, m.event, m.was, m.rule, m.to_status,
                       lag(m.to_status, 1, 'NEW') OVER (PARTITION BY m.n ORDER BY m.k) AS before
                  FROM m) w
         GROUP BY w.n HAVING bool_and(w.rule IS NOT NULL AND w.was = w.before)),
    upd AS (
        UPDATE aegis.ops_case c
           SET status = g.status, version = g.version, updated_at = now(), closed = g.status = 'CLOSED',
               settled = '', reason = d.reason, plan_id = CASE WHEN g.planned THEN d.plan_id END,
               exec_id = CASE WHEN g.ran THEN d.exec_id END, nudges = 0, nudged_at = NULL
          FROM g JOIN d ON d.n = g.n
         WHERE c.ctid = d.place -- locked: it is where it was seen
        RETURNING g.n, c.version, c.status, d."then"),
    -- of those moved alone: one whose row was changed behind this statement's snapshot is locked
    -- where it is now, and not moved
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        SELECT p_tenant[m.n], p_case_id[m.n], m.version, 0, 'transition', m.event, m.was, m.to_status,
               m.rule, m.actor, 'aegis:fsm', m.reason, m.correlation,
               split_part(p_traceparent[m.n], '-', 2), m.key, m.meta
          FROM m JOIN upd g ON g.n = m.n),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT p_tenant[m.n], p_case_id[m.n], o.version, aegis.outbox_part(p_case_id[m.n]), o.key,
               o.subject, o.data, p_traceparent[m.n]
          FROM m JOIN upd g ON g.n = m.n
         CROSS JOIN LATERAL (
               SELECT 1 AS i, m.version - 1 AS version, s.key, 'evt.exec.step_result.v1' AS subject, s.data
                 FROM json_to_recordset(m.said) AS s(key text, data json)
               UNION ALL
               SELECT 2, m.version - 1, m.key, m.subject, m.data WHERE m.subject IS NOT NULL
               UNION ALL
               SELECT 3, m.version, p_case_id[m.n] || ':' || m.version || ':transition',
                      'evt.case.transition.v1', row_to_json(ROW(p_case_id[m.n], p_tenant[m.n], m.version,
                          m.event, m.was, m.to_status, m.rule, m.actor, m.reason, m.correlation,
                          now())::aegis.transition_fact)) o
         ORDER BY m.n, m.k, o.i),
    ev AS (
        INSERT INTO aegis.event_envelope (tenant, case_id, event_id, for_version, severity, kind, title,
               summary, labels)
        SELECT p_tenant[g.n], p_case_id[g.n], r.event_id, r.for_version, r.severity, r.kind, r.title,
               r.summary, r.labels
          FROM upd g JOIN d ON d.n = g.n, json_populate_record(NULL::aegis.event_envelope, d.envelope) r),
    li AS (
        INSERT INTO aegis.evidence_link (tenant, case_id, event_id, link_no, ref, note)
        SELECT p_tenant[g.n], p_case_id[g.n], r.event_id, r.link_no, r.ref, r.note
          FROM upd g JOIN d ON d.n = g.n,
               json_to_recordset(d.links) AS r(event_id uuid, link_no int, ref text, note text)),
    pl AS (
        INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id, for_version, template,
               hash, complete, missing, risk_score, plan, created_by, params)
        SELECT p_tenant[g.n], p_case_id[g.n], r.revision, d.plan_id, r.for_version, r.template, r.hash,
               d.complete, r.missing, r.risk_score, r.plan, r.created_by, r.params
          FROM upd g JOIN d ON d.n = g.n, json_to_record(d.plan) AS r(revision int, for_version int,
               template text, hash text, missing json, risk_score float8, plan json, created_by text,
               params json)
         WHERE d.plan IS NOT NULL),
    de AS (
        INSERT INTO aegis.gate_decision (tenant, case_id, decision_id, plan_id, plan_hash, for_version,
               verdict, rule, reason, checks, policy_hash, created_by, source, service)
        SELECT p_tenant[g.n], p_case_id[g.n], r.decision_id, r.plan_id, r.plan_hash, r.for_version,
               d.verdict, r.rule, r.reason, r.checks, r.policy_hash, r.created_by, r.source, r.service
          FROM upd g JOIN d ON d.n = g.n, json_to_record(d.decision) AS r(decision_id uuid, plan_id uuid,
               plan_hash text, for_version int, rule text, reason text, checks json, policy_hash text,
               created_by text, source text, service text)
         WHERE d.decision IS NOT NULL),
    ap AS (
        INSERT INTO aegis.plan_approved (tenant, case_id, plan_id, decision_id, plan_hash, not_before,
               not_after)
        SELECT p_tenant[g.n], p_case_id[g.n], r.plan_id, r.decision_id, r.plan_hash, d.not_before,
               d.not_after
          FROM upd g JOIN d ON d.n = g.n,
               json_to_record(d.decision) AS r(plan_id uuid, decision_id uuid, plan_hash text)
         WHERE d.verdict = 'approved'),
    ru AS (
        INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version, state, owner, epoch,
               lease_until, correlation_id, traceparent, created_by, started_at, finished_at)
        SELECT p_tenant[g.n], p_case_id[g.n], d.exec_id, d.plan_id, r.for_version, 'DONE', r.owner,
               r.epoch, 'infinity', d.case_correlation, coalesce(p_traceparent[g.n], ''), 'aegis:exec',
               now(), now()
          FROM upd g JOIN d ON d.n = g.n, json_to_record(d.run) AS r(for_version int, owner text, epoch int)
         WHERE d.run IS NOT NULL),
    st AS (
        INSERT INTO aegis.exec_step (tenant, case_id, exec_id, phase, step_no, attempt, action, state,
               retry_safe, token, exit_code, error, final, output, result, finished_at)
        SELECT p_tenant[g.n], p_case_id[g.n], d.exec_id, r.phase, r.step_no, r.attempt, r.action,
               r.state, r.retry_safe, r.token, r.exit_code, r.error, r.final, r.output, r.result, now()
          FROM upd g JOIN d ON d.n = g.n, json_to_recordset(d.steps) AS r(phase text, step_no int,
               attempt int, action text, state text, retry_safe boolean, token text, exit_code int,
               error text, final boolean, output json, result json)),
    ch AS (
        INSERT INTO aegis.verify_checkpoint (tenant, case_id, checkpoint_id, plan_id, for_version,
               passed, checks, reason, created_by, verify_id, evaluation, outcome, final)
        SELECT p_tenant[g.n], p_case_id[g.n], r.checkpoint_id, r.plan_id, r.for_version, d.passed,
               r.checks, r.reason, r.created_by, r.verify_id, r.evaluation, r.outcome, r.final
          FROM upd g JOIN d ON d.n = g.n, json_populate_record(NULL::aegis.verify_checkpoint, d.checkpoint) r
         WHERE d.checkpoint IS NOT NULL)
    SELECT array_agg(u.version ORDER BY i.n), array_agg(u.status ORDER BY i.n),
           array_agg(u."then" ORDER BY i.n)
      INTO v_version, v_status, v_then
      FROM generate_series(1, cardinality(p_tenant)) AS i(n) LEFT JOIN upd u ON u.n = i.n;

    RETURN QUERY SELECT * FROM aegis.way_over(p_tenant, p_case_id, p_traceparent, v_version, v_status,
                                              v_then, p_notify);
END $$;
