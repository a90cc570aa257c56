-- The second way in which a case moves: what has just been written for it moves it
-- in the same transaction. case_transition() (20_cases.sql) is for who only asks.

-- Move locked cases on. p_move[n] is NULL, or what core/aegis_move.h says: {event,
-- actor, reason, meta, correlation_id}; p_version is the version that it is for, and
-- p_facts the facts of core/tables/facts.def that the caller has just made true, of
-- the plan p_plan or the run p_run. The fact p_subject is published with it, and says
-- by "moved_to" that nobody has to move the case for it any more. A command is left
-- out where aegis.here says that this very transaction goes on with it; a run is then
-- begun at once. Returns the new versions, NULL where nothing has happened: because
-- the event is illegal, its guard misses something or a person has to give it. Then
-- the caller publishes the fact, and the fsm role judges.
CREATE OR REPLACE FUNCTION aegis.case_advance(p_tenant text[], p_case_id uuid[], p_version int[],
    p_move json[], p_subject text[], p_msg_id text[], p_data json[], p_traceparent text[],
    p_facts int[], p_plan uuid[], p_run uuid[])
RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    v_here  text := coalesce(current_setting('aegis.here', true), '');
    v_moved int[];
    v_runs  boolean;
BEGIN
    -- narrow, and item by item, as in case_transition()
    WITH j AS MATERIALIZED (
        SELECT u.n, c.place, c.status, t.rule, t.to_status, t.command, m.event, m.actor, m.reason,
               m.meta, coalesce(nullif(m.correlation_id, ''), c.correlation_id) AS correlation
          FROM generate_series(1, cardinality(p_tenant)) AS u(n)
         CROSS JOIN LATERAL json_to_record(p_move[u.n]) AS m(event text, actor text, reason text,
                   meta json, correlation_id text)
         CROSS JOIN LATERAL (
               SELECT c.ctid AS place, c.status, c.correlation_id FROM aegis.ops_case c
                WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n]
                  AND c.version = p_version[u.n]
                  AND CASE m.event WHEN 'plan_ready' THEN c.mode <> 'manual'
                           ELSE p_plan[u.n] IS NULL OR p_plan[u.n] = c.plan_id END
                  FOR NO KEY UPDATE) c
         CROSS JOIN LATERAL (
               SELECT t.rule, t.to_status, t.command FROM aegis.fsm_transition t
                WHERE t.from_status = c.status AND t.event = m.event
                  AND t.needs & ~coalesce(p_facts[u.n], 0) = 0 OFFSET 0) t
         WHERE p_move[u.n] IS NOT NULL),
    upd AS (
        UPDATE aegis.ops_case c
           SET status = j.to_status, version = c.version + 1, updated_at = now(),
               closed = j.to_status = 'CLOSED', settled = '', reason = j.reason,
               plan_id = CASE WHEN j.event = 'plan_ready' THEN p_plan[j.n] ELSE c.plan_id END,
               exec_id = coalesce(p_run[j.n], c.exec_id), nudges = 0, nudged_at = NULL
          FROM j
         WHERE c.ctid = j.place -- locked: it is where it was seen
        RETURNING j.n, j.status AS was, j.rule, j.command, j.correlation, j.event, j.actor, j.meta,
                  c.tenant, c.case_id, c.version, c.status, c.mode, c.plan_id, c.exec_id, c.reason),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        SELECT u.tenant, u.case_id, u.version, 0, 'transition', u.event, u.was, u.status, u.rule,
               u.actor, 'aegis:fsm', u.reason, u.correlation,
               split_part(p_traceparent[u.n], '-', 2), p_msg_id[u.n], u.meta
          FROM upd u),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT u.tenant, u.case_id, p_version[u.n], aegis.outbox_part(u.case_id), p_msg_id[u.n],
               p_subject[u.n], (left(p_data[u.n]::text, -1) || ',"moved_to":' || u.version || '}')::json,
               p_traceparent[u.n]
          FROM upd u
        UNION ALL
        SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
               u.case_id || ':' || u.version || ':transition', 'evt.case.transition.v1',
               row_to_json(ROW(u.case_id, u.tenant, u.version, u.event, u.was, u.status,
                   u.rule, u.actor, u.reason, u.correlation, now())::aegis.transition_fact),
               p_traceparent[u.n]
          FROM upd u
        UNION ALL
        SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
               u.case_id || ':' || u.version || ':command', u.command,
               row_to_json(ROW(u.case_id, u.tenant, u.version, u.plan_id, u.exec_id,
                   u.correlation)::aegis.command_data),
               p_traceparent[u.n]
          FROM upd u WHERE u.command <> '' AND u.mode = 'auto' AND strpos(v_here, u.command) = 0)
    SELECT array_agg(u.version ORDER BY g.n), bool_or(u.status = 'EXECUTING') INTO v_moved, v_runs
      FROM generate_series(1, cardinality(p_tenant)) AS g(n) LEFT JOIN upd u ON u.n = g.n;

    IF v_runs AND strpos(v_here, 'cmd.exec.run') > 0 THEN
        PERFORM aegis.exec_open(p_tenant, p_case_id, v_moved, p_traceparent);
    END IF;
    RETURN v_moved;
END $$;

-- The commands of cases that their transaction did not go on with after all.
CREATE OR REPLACE FUNCTION aegis.case_ask(p_tenant text[], p_case_id uuid[], p_traceparent text[],
    p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    SELECT c.tenant, c.case_id, c.version, aegis.outbox_part(c.case_id),
           c.case_id || ':' || c.version || ':command', s.command,
           row_to_json(ROW(c.case_id, c.tenant, c.version, c.plan_id, c.exec_id,
               t.correlation_id)::aegis.command_data), p_traceparent[u.n]
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
      JOIN aegis.ops_case c ON c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] AND c.mode = 'auto'
      JOIN aegis.case_timeline t ON t.tenant = c.tenant AND t.case_id = c.case_id
       AND t.version = c.version AND t.seq = 0
      JOIN aegis.fsm_state s ON s.name = c.status AND s.command <> '';
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN QUERY SELECT n, 200, 'ok', NULL::int, '', NULL::text
                   FROM generate_series(1, cardinality(p_tenant)) n;
END $$;

-- Facts that have moved their case in their own transaction are no news to who asks
-- for the transition once more: a fsm role of before, or one that was told late.
CREATE OR REPLACE FUNCTION aegis.seen_moves(p_tenant text[], p_consumer text[], p_case_id uuid[],
    p_key text[], p_fact_version int[], p_seen text[])
RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(SELECT coalesce(p_seen[u.n], (
               SELECT 'ok' FROM aegis.case_timeline t
                WHERE p_consumer[u.n] = 'aegis-fsm'
                  AND t.tenant = p_tenant[u.n] AND t.case_id = p_case_id[u.n]
                  AND t.version = p_fact_version[u.n] + 1 AND t.seq = 0
                  AND t.principal = 'aegis:fsm' AND t.idem_key = p_key[u.n]))
      FROM generate_series(1, cardinality(p_tenant)) AS u(n) ORDER BY u.n);
END $$;
