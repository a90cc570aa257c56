-- The executor's statements. A run is accepted once per stay in EXECUTING,
-- claimed under a lease with an epoch, and every later write names the epoch:
-- 'fenced' means that somebody else owns the run now, and nothing was changed.

CREATE OR REPLACE FUNCTION aegis.exec_json(r aegis.exec_run) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT json_build_object('exec_id', r.exec_id, 'case_id', r.case_id, 'plan_id', r.plan_id,
        'state', r.state, 'reason', r.reason, 'dry_run', r.dry, 'created_by', r.created_by,
        'created_at', r.created_at, 'started_at', r.started_at, 'finished_at', r.finished_at,
        'waiting_for', nullif(r.waiting_for, ''),
        'cancel', CASE WHEN r.cancel_by <> '' THEN json_build_object('by', r.cancel_by,
            'reason', r.cancel_reason, 'rollback', r.cancel_rollback) END,
        'progress', (SELECT json_build_object(
             'steps', coalesce(json_array_length(p.plan->'steps'), 0),
             'done', (SELECT count(DISTINCT s.step_no) FROM aegis.exec_step s
                       WHERE s.tenant = r.tenant AND s.exec_id = r.exec_id
                         AND s.phase = CASE WHEN r.dry THEN 'check' ELSE 'step' END AND s.state = 'OK'))
           FROM aegis.plan_proposed p WHERE p.tenant = r.tenant AND p.plan_id = r.plan_id),
        'steps', (SELECT coalesce(json_agg(json_build_object('phase', s.phase,
             'step_no', s.step_no, 'attempt', s.attempt, 'action', s.action, 'state', s.state,
             'target', nullif(s.target, ''), 'exit_code', s.exit_code, 'error', s.error,
             'result', s.result, 'stdout_ref', s.stdout_ref, 'stderr_ref', s.stderr_ref,
             'output', s.output, 'started_at', s.started_at, 'finished_at', s.finished_at)
             ORDER BY s.phase DESC, s.step_no, s.attempt), '[]')
           FROM aegis.exec_step s WHERE s.tenant = r.tenant AND s.exec_id = r.exec_id)));
END $$;

CREATE OR REPLACE FUNCTION aegis.exec_get(p_tenant text[], p_exec_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT i.ord::int, CASE WHEN r.exec_id IS NULL THEN 404 ELSE 200 END,
           CASE WHEN r.exec_id IS NULL THEN 'not-found' ELSE 'ok' END, r.epoch,
           CASE WHEN r.exec_id IS NULL THEN aegis.not_found_body(i.request_id)
                ELSE aegis.exec_json(r)::text END, NULL::text
      FROM unnest(p_tenant, p_exec_id, p_request_id) WITH ORDINALITY AS i(tenant, exec_id, request_id, ord)
      LEFT JOIN aegis.exec_run r ON r.tenant = i.tenant AND r.exec_id = i.exec_id;
END $$;

-- Why a run is to end, for its executor; NULL: nobody wants that.
CREATE OR REPLACE FUNCTION aegis.exec_cancelled(r aegis.exec_run) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN r.cancel_by = 'aegis:case' THEN json_build_object('left', true)
                WHEN r.cancel_by <> '' THEN json_build_object('rollback', r.cancel_rollback,
                    'reason', 'cancelled by ' || r.cancel_by
                        || CASE WHEN r.cancel_reason = '' THEN '' ELSE ': ' || r.cancel_reason END)
           END
$$;

-- The fact of a finished run. suffix makes a re-announcement a new message.
CREATE OR REPLACE FUNCTION aegis.exec_announce(r aegis.exec_run, p_suffix text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    SELECT r.tenant, r.case_id, r.for_version, aegis.outbox_part(r.case_id),
           r.exec_id || CASE r.state WHEN 'DONE' THEN ':done' ELSE ':failed' END || p_suffix,
           CASE r.state WHEN 'DONE' THEN 'evt.exec.done.v1' ELSE 'evt.exec.failed.v1' END,
           json_build_object('case_id', r.case_id, 'tenant', r.tenant, 'case_version', r.for_version,
               'exec_id', r.exec_id, 'plan_id', r.plan_id, 'state', r.state, 'reason', r.reason,
               'correlation_id', r.correlation_id, 'at', r.finished_at), r.traceparent;
END $$;

DROP FUNCTION IF EXISTS aegis.exec_accept(text[], text[], text[], bytea[], text[], uuid[], uuid[],
    int[], text[], text[], text[], text[], boolean);
-- Accept a run, from POST /adapter/exec (consumer NULL) or from cmd.exec.run.
-- One item at a time is enough: what is heavy is the run, not its acceptance. A
-- dry run may be asked for as soon as there is a plan, as often as one likes.
CREATE OR REPLACE FUNCTION aegis.exec_accept(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_exec_id uuid[], p_for_version int[], p_dry_run boolean[], p_actor text[],
    p_correlation_id text[], p_traceparent text[], p_request_id text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    v_claim aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer);
    v_out   aegis.result[];
    n int; c aegis.ops_case; r aegis.exec_run; v_code text; v_dry boolean;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        IF (v_claim[n]).verdict <> 'new' THEN
            v_out := v_out || aegis.claim_answer(n, v_claim[n], p_request_id[n]);
            CONTINUE;
        END IF;
        -- The key's lock is held; the case's row lock makes the run unique
        -- and keeps the case in EXECUTING until the run is there.
        SELECT * INTO c FROM aegis.ops_case o
         WHERE o.tenant = p_tenant[n] AND o.case_id = p_case_id[n] FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            v_out := v_out || aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        v_dry := coalesce(p_dry_run[n], false);
        SELECT * INTO r FROM aegis.exec_run x WHERE x.tenant = p_tenant[n] AND NOT x.dry AND NOT v_dry
           AND x.case_id = p_case_id[n] AND x.for_version = coalesce(p_for_version[n], c.version);
        -- a dry run is of the newest plan, whether or not the case has taken it
        IF v_dry THEN
            c.plan_id := (SELECT p.plan_id FROM aegis.plan_proposed p WHERE p.tenant = c.tenant
                             AND p.case_id = c.case_id ORDER BY p.revision DESC LIMIT 1);
        END IF;
        v_code := CASE
            WHEN v_dry THEN CASE WHEN c.plan_id IS NULL THEN 'wrong-state' ELSE 'ok' END
            WHEN r.exec_id IS NOT NULL THEN 'already-exists'
            WHEN p_consumer[n] IS NOT NULL AND p_for_version[n] < c.version THEN 'stale-fact'
            WHEN c.status <> 'EXECUTING' OR p_for_version[n] > c.version THEN 'wrong-state'
            ELSE 'ok' END;
        IF v_code = 'ok' THEN
            INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version,
                        correlation_id, traceparent, created_by, dry)
            VALUES (c.tenant, c.case_id, p_exec_id[n], c.plan_id, c.version,
                    p_correlation_id[n], p_traceparent[n], p_actor[n], v_dry)
            RETURNING * INTO r;
        ELSIF v_code = 'already-exists' AND p_consumer[n] IS NOT NULL
              AND r.state IN ('DONE', 'FAILED') THEN
            -- the reconciler asks again: the fact was lost on its way
            PERFORM aegis.exec_announce(r, ':' || p_key[n]);
        END IF;
        v_out := v_out || CASE WHEN v_code = 'ok'
            THEN ROW(n, 202, 'ok', c.version, CASE WHEN p_consumer[n] IS NULL
                     THEN aegis.exec_json(r)::text ELSE '' END, r.exec_id::text)::aegis.result
            ELSE (SELECT ROW(n, e.status, v_code, c.version,
                  aegis.problem(v_code, p_request_id[n], NULL, jsonb_build_object(
                      'case_id', c.case_id, 'current_status', c.status,
                      'current_version', c.version, 'exec_id', r.exec_id,
                      'allowed_states', '["EXECUTING"]'::jsonb)),
                  r.exec_id::text)::aegis.result
                    FROM aegis.error_def e WHERE e.code = v_code) END;
    END LOOP;

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    PERFORM pg_notify('aegis_exec', '');
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN QUERY SELECT * FROM unnest(v_out);
END $$;

-- Take up to p_limit runs that nobody works on, with all that is needed to go
-- on with them: the plan and the attempts that were made. Rows of epoch -1 are
-- runs of the owner that somebody has cancelled meanwhile.
CREATE OR REPLACE FUNCTION aegis.exec_claim(p_owner text, p_limit int, p_lease_s int)
RETURNS TABLE (tenant text, case_id uuid, exec_id uuid, epoch int, traceparent text, body text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    -- what an executor was lost with first: it is half done, and a queue may never be empty
    WITH lost AS MATERIALIZED (
        SELECT r.tenant, r.case_id, r.exec_id FROM aegis.exec_run r
         WHERE r.state IN ('QUEUED', 'RUNNING') AND r.lease_until > '-infinity' AND r.lease_until < now()
         ORDER BY r.lease_until, r.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
    queued AS MATERIALIZED (
        SELECT r.tenant, r.case_id, r.exec_id FROM aegis.exec_run r
         WHERE r.state IN ('QUEUED', 'RUNNING') AND r.lease_until = '-infinity'
         ORDER BY r.lease_until, r.created_at LIMIT p_limit - (SELECT count(*) FROM lost) FOR UPDATE SKIP LOCKED),
    open AS (SELECT * FROM lost UNION ALL SELECT * FROM queued),
    mine AS (
        UPDATE aegis.exec_run r
           SET state = 'RUNNING', owner = p_owner, epoch = r.epoch + 1,
               lease_until = now() + make_interval(secs => p_lease_s),
               started_at = coalesce(r.started_at, now())
          FROM open o
         WHERE r.tenant = o.tenant AND r.case_id = o.case_id AND r.exec_id = o.exec_id
        RETURNING r.*)
    SELECT m.tenant, m.case_id, m.exec_id, m.epoch, m.traceparent, json_build_object(
               'case_id', m.case_id, 'tenant', m.tenant, 'exec_id', m.exec_id, 'plan_id', m.plan_id,
               'for_version', m.for_version, 'phase', m.phase, 'dry_run', m.dry, 'cancel', aegis.exec_cancelled(m),
               'plan', p.plan,
               'steps', (SELECT coalesce(json_agg(json_build_object('phase', s.phase,
                    'step_no', s.step_no, 'attempt', s.attempt, 'state', s.state,
                    'token', s.token, 'retry_safe', s.retry_safe, 'final', s.final,
                    'error', s.error)
                    ORDER BY s.phase DESC, s.step_no, s.attempt), '[]')
                  FROM aegis.exec_step s
                 WHERE s.tenant = m.tenant AND s.exec_id = m.exec_id))::text
      FROM mine m
      JOIN aegis.plan_proposed p ON p.tenant = m.tenant AND p.plan_id = m.plan_id
    UNION ALL
    SELECT r.tenant, r.case_id, r.exec_id, -1, '', aegis.exec_cancelled(r)::text
      FROM aegis.exec_run r
     WHERE r.owner = p_owner AND r.state = 'RUNNING' AND r.cancel_by <> '';
END $$;

-- Keep the lease. code: ok · fenced (not ours any more) · cancelled (the case
-- has left the state in which it asked for this run, or, with a body that says
-- why, somebody has asked for its end: stop what runs).
CREATE OR REPLACE FUNCTION aegis.exec_heartbeat(p_tenant text[], p_case_id uuid[], p_exec_id uuid[],
    p_epoch int[], p_lease_s int)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    WITH i AS (
        SELECT * FROM unnest(p_tenant, p_case_id, p_exec_id, p_epoch)
               WITH ORDINALITY AS i(tenant, case_id, exec_id, epoch, ord)),
    kept AS (
        UPDATE aegis.exec_run r SET lease_until = now() + make_interval(secs => p_lease_s)
          FROM i
         WHERE r.tenant = i.tenant AND r.case_id = i.case_id AND r.exec_id = i.exec_id
           AND r.epoch = i.epoch AND r.state = 'RUNNING'
        RETURNING i.ord, r AS run)
    SELECT (ROW(i.ord, 200, CASE WHEN k.ord IS NULL THEN 'fenced'
                WHEN c.version <> (k.run).for_version AND NOT (k.run).dry THEN 'cancelled'
                WHEN (k.run).cancel_by <> '' THEN 'cancelled' ELSE 'ok' END, NULL,
                CASE WHEN c.version <> (k.run).for_version THEN ''
                     ELSE coalesce(aegis.exec_cancelled(k.run)::text, '') END,
                NULL)::aegis.result).*
      FROM i LEFT JOIN kept k USING (ord)
      LEFT JOIN aegis.ops_case c ON c.tenant = (k.run).tenant AND c.case_id = (k.run).case_id;
END $$;

-- Intent before act: the attempt's row, committed before the adapter starts.
-- Sending it again is the same as sending it once: the token tells an owner's
-- own row from the row of a former owner ('already-exists': read the log again).
-- Nothing begins for a case that has left the state that asked for the run
-- ('cancelled'), and nothing acts upon a target that p_target_limit attempts,
-- of whatever run, act upon already ('busy').
DROP FUNCTION IF EXISTS aegis.exec_step_begin(text[], uuid[], uuid[], int[], text[], int[], int[],
    text[], boolean[], text[]);
CREATE OR REPLACE FUNCTION aegis.exec_step_begin(p_tenant text[], p_case_id uuid[], p_exec_id uuid[],
    p_epoch int[], p_phase text[], p_step_no int[], p_attempt int[], p_action text[],
    p_retry_safe boolean[], p_token text[], p_target text[], p_target_limit int[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_some  boolean := array_remove(p_target, '') <> '{}';
BEGIN
    IF v_some THEN
        PERFORM aegis.exec_lock_targets(p_target);
    END IF;
    RETURN QUERY
    WITH i AS (
        SELECT u.*, CASE WHEN u.target <> '' THEN row_number() OVER (PARTITION BY u.target ORDER BY u.ord)
                   + (SELECT count(*) FROM aegis.exec_step t WHERE t.target = u.target AND t.target <> ''
                         AND t.state = 'RUNNING' AND t.token <> u.token) > u.target_limit
                   ELSE false END AS busy
          FROM unnest(p_tenant, p_case_id, p_exec_id, p_epoch, p_phase, p_step_no,
                   p_attempt, p_action, p_retry_safe, p_token, p_target, p_target_limit)
               WITH ORDINALITY AS u(tenant, case_id, exec_id, epoch, phase, step_no,
                   attempt, action, retry_safe, token, target, target_limit, ord)),
    own AS (
        SELECT i.ord, i.busy, c.version IS DISTINCT FROM r.for_version AND NOT r.dry AS cancelled,
               r.waiting_for
          FROM i JOIN aegis.exec_run r ON r.tenant = i.tenant
           AND r.case_id = i.case_id AND r.exec_id = i.exec_id AND r.epoch = i.epoch
          LEFT JOIN aegis.ops_case c ON c.tenant = r.tenant AND c.case_id = r.case_id
         WHERE r.state = 'RUNNING' ORDER BY r.tenant, r.exec_id FOR NO KEY UPDATE OF r),
    ins AS (
        INSERT INTO aegis.exec_step (tenant, case_id, exec_id, phase, step_no, attempt,
                    action, state, retry_safe, token, target)
        SELECT i.tenant, i.case_id, i.exec_id, i.phase, i.step_no, i.attempt, i.action,
               'RUNNING', i.retry_safe, i.token, i.target
          FROM i JOIN own USING (ord) WHERE NOT own.cancelled AND NOT own.busy
            ON CONFLICT DO NOTHING
        RETURNING tenant, exec_id),
    say AS (
        UPDATE aegis.exec_run r SET waiting_for = CASE WHEN own.busy THEN i.target ELSE '' END
          FROM i JOIN own USING (ord)
         WHERE own.waiting_for <> CASE WHEN own.busy THEN i.target ELSE '' END
           AND r.tenant = i.tenant AND r.case_id = i.case_id AND r.exec_id = i.exec_id)
    SELECT (ROW(i.ord, 200, CASE WHEN own.ord IS NULL THEN 'fenced'
                WHEN own.cancelled THEN 'cancelled' WHEN own.busy THEN 'busy'
                WHEN ins.exec_id IS NULL AND s.token IS DISTINCT FROM i.token
                THEN 'already-exists' ELSE 'ok' END,
                NULL, '', NULL)::aegis.result).*
      FROM i LEFT JOIN own USING (ord)
      LEFT JOIN ins ON ins.tenant = i.tenant AND ins.exec_id = i.exec_id
      LEFT JOIN aegis.exec_step s ON s.tenant = i.tenant AND s.exec_id = i.exec_id
       AND s.phase = i.phase AND s.step_no = i.step_no AND s.attempt = i.attempt;
END $$;

DROP FUNCTION IF EXISTS aegis.exec_step_end(text[], uuid[], uuid[], int[], text[], int[], int[],
    text[], int[], text[], text[], text[], boolean);
-- The outcome of an attempt, and its fact.
CREATE OR REPLACE FUNCTION aegis.exec_step_end(p_tenant text[], p_case_id uuid[], p_exec_id uuid[],
    p_epoch int[], p_phase text[], p_step_no int[], p_attempt int[], p_state text[],
    p_exit_code int[], p_error text[], p_final boolean[], p_output text[], p_result text[],
    p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    WITH i AS MATERIALIZED (
        SELECT * FROM unnest(p_tenant, p_case_id, p_exec_id, p_epoch, p_phase, p_step_no,
                   p_attempt, p_state, p_exit_code, p_error, p_final,
                   p_output::json[], p_result)
               WITH ORDINALITY AS i(tenant, case_id, exec_id, epoch, phase, step_no,
                   attempt, state, exit_code, error, final, output, result, ord)),
    own AS MATERIALIZED (
        SELECT i.ord, r.for_version, r.correlation_id, r.traceparent
          FROM i JOIN aegis.exec_run r ON r.tenant = i.tenant
           AND r.case_id = i.case_id AND r.exec_id = i.exec_id AND r.epoch = i.epoch
         WHERE r.state = 'RUNNING' ORDER BY r.tenant, r.exec_id FOR NO KEY UPDATE OF r),
    upd AS (
        UPDATE aegis.exec_step s
           SET state = i.state, exit_code = i.exit_code, error = i.error, final = i.final,
               stdout_ref = coalesce('oo_locator:' || (i.output#>>'{stdout,locator_id}'), ''),
               stderr_ref = coalesce('oo_locator:' || (i.output#>>'{stderr,locator_id}'), ''),
               output = i.output, result = i.result::json, finished_at = now()
          FROM i JOIN own USING (ord)
         WHERE s.tenant = i.tenant AND s.exec_id = i.exec_id AND s.phase = i.phase
           AND s.step_no = i.step_no AND s.attempt = i.attempt AND s.state = 'RUNNING'
        RETURNING i.ord, s.*),
    loc AS (
        INSERT INTO aegis.oo_locator (tenant, locator_id, dataset, bucket, object_key, t_from, t_to,
                    query_hint, bytes, case_id, created_by)
        SELECT u.tenant, (o.value->>'locator_id')::uuid, 'exec.' || o.key, o.value->>'bucket',
               o.value->>'key', u.started_at, now(), u.exec_id || ' ' || u.phase || ' '
                   || u.step_no || ' ' || u.attempt, (o.value->>'bytes')::bigint, u.case_id, 'aegis:exec'
          FROM upd u, json_each(u.output) o
         WHERE u.output IS NOT NULL AND o.value->>'locator_id' IS NOT NULL
            ON CONFLICT (tenant, locator_id) DO UPDATE SET t_to = excluded.t_to, bytes = excluded.bytes),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT u.tenant, u.case_id, o.for_version, aegis.outbox_part(u.case_id),
               u.exec_id || ':' || u.phase || ':' || u.step_no || ':' || u.attempt,
               'evt.exec.step_result.v1', json_build_object('case_id', u.case_id,
                   'tenant', u.tenant, 'case_version', o.for_version, 'exec_id', u.exec_id,
                   'phase', u.phase, 'step_no', u.step_no, 'attempt', u.attempt,
                   'action', u.action, 'state', u.state, 'exit_code', u.exit_code,
                   'error', u.error, 'result', u.result, 'stdout_ref', u.stdout_ref, 'stderr_ref', u.stderr_ref,
                   'correlation_id', o.correlation_id, 'at', u.finished_at), o.traceparent
          FROM upd u JOIN own o USING (ord))
    SELECT i.ord::int, 200, CASE WHEN own.ord IS NULL THEN 'fenced' ELSE 'ok' END,
           NULL::int, '', NULL::text
      FROM i LEFT JOIN own USING (ord);
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
END $$;

-- Attempts that were over before anything was recorded of them, because they act
-- nowhere: rows as of exec_step_begin() and exec_step_end() at once. Sending them
-- again is the same as sending them once; several may be of one run.
CREATE OR REPLACE FUNCTION aegis.exec_step_done(p_tenant text[], p_case_id uuid[], p_exec_id uuid[],
    p_epoch int[], p_phase text[], p_step_no int[], p_attempt int[], p_action text[],
    p_retry_safe boolean[], p_token text[], p_state text[], p_exit_code int[], p_error text[],
    p_final boolean[], p_output text[], p_result text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    v_code  text[]; v_version int[]; v_correlation text[]; v_trace text[];
BEGIN
    SELECT array_agg(CASE WHEN r.exec_id IS NULL THEN 'fenced'
               WHEN c.version IS DISTINCT FROM r.for_version THEN 'cancelled'
               WHEN s.token <> p_token[u.n] THEN 'already-exists'
               WHEN s.token IS NOT NULL THEN 'known' ELSE 'ok' END ORDER BY u.n),
           array_agg(r.for_version ORDER BY u.n), array_agg(r.correlation_id ORDER BY u.n),
           array_agg(r.traceparent ORDER BY u.n)
      INTO v_code, v_version, v_correlation, v_trace
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
      LEFT JOIN LATERAL (
           SELECT r.exec_id, r.for_version, r.correlation_id, r.traceparent FROM aegis.exec_run r
            WHERE r.tenant = p_tenant[u.n] AND r.case_id = p_case_id[u.n] AND r.exec_id = p_exec_id[u.n]
              AND r.epoch = p_epoch[u.n] AND r.state = 'RUNNING' FOR NO KEY UPDATE) r ON true
      LEFT JOIN LATERAL (
           SELECT c.version FROM aegis.ops_case c
            WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] OFFSET 0) c ON true
      LEFT JOIN LATERAL (
           SELECT s.token FROM aegis.exec_step s
            WHERE s.tenant = p_tenant[u.n] AND s.exec_id = p_exec_id[u.n] AND s.phase = p_phase[u.n]
              AND s.step_no = p_step_no[u.n] AND s.attempt = p_attempt[u.n] OFFSET 0) s ON true;

    INSERT INTO aegis.exec_step (tenant, case_id, exec_id, phase, step_no, attempt, action, state,
                retry_safe, token, exit_code, error, final, stdout_ref, stderr_ref, output, result,
                finished_at)
    SELECT p_tenant[n], p_case_id[n], p_exec_id[n], p_phase[n], p_step_no[n], p_attempt[n],
           p_action[n], p_state[n], p_retry_safe[n], p_token[n], p_exit_code[n], p_error[n],
           p_final[n], coalesce('oo_locator:' || (p_output[n]::json #>> '{stdout,locator_id}'), ''),
           coalesce('oo_locator:' || (p_output[n]::json #>> '{stderr,locator_id}'), ''),
           p_output[n]::json, p_result[n]::json, now()
      FROM generate_subscripts(v_code, 1) n WHERE v_code[n] = 'ok';

    IF strpos(array_to_string(p_output, ''), '"locator_id"') > 0 THEN
        INSERT INTO aegis.oo_locator (tenant, locator_id, dataset, bucket, object_key, t_from, t_to,
                    query_hint, bytes, case_id, created_by)
        SELECT p_tenant[n], (o.value->>'locator_id')::uuid, 'exec.' || o.key, o.value->>'bucket',
               o.value->>'key', now(), now(), p_exec_id[n] || ' ' || p_phase[n] || ' '
                   || p_step_no[n] || ' ' || p_attempt[n], (o.value->>'bytes')::bigint, p_case_id[n],
               'aegis:exec'
          FROM generate_subscripts(v_code, 1) n, json_each(p_output[n]::json) o
         WHERE v_code[n] = 'ok' AND o.value->>'locator_id' IS NOT NULL
            ON CONFLICT (tenant, locator_id) DO UPDATE SET t_to = excluded.t_to, bytes = excluded.bytes;
    END IF;

    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    SELECT p_tenant[n], p_case_id[n], v_version[n], aegis.outbox_part(p_case_id[n]),
           p_exec_id[n] || ':' || p_phase[n] || ':' || p_step_no[n] || ':' || p_attempt[n],
           'evt.exec.step_result.v1', json_build_object('case_id', p_case_id[n],
               'tenant', p_tenant[n], 'case_version', v_version[n], 'exec_id', p_exec_id[n],
               'phase', p_phase[n], 'step_no', p_step_no[n], 'attempt', p_attempt[n],
               'action', p_action[n], 'state', p_state[n], 'exit_code', p_exit_code[n],
               'error', p_error[n], 'result', p_result[n]::json,
               'stdout_ref', coalesce('oo_locator:' || (p_output[n]::json #>> '{stdout,locator_id}'), ''),
               'stderr_ref', coalesce('oo_locator:' || (p_output[n]::json #>> '{stderr,locator_id}'), ''),
               'correlation_id', v_correlation[n], 'at', now()), v_trace[n]
      FROM generate_subscripts(v_code, 1) n WHERE v_code[n] = 'ok';

    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN QUERY SELECT n, 200, replace(v_code[n], 'known', 'ok'), NULL::int, '', NULL::text
                   FROM generate_subscripts(v_code, 1) n;
END $$;

-- Begin the runs of cases that have just come to EXECUTING, in the transaction that
-- brought them there: what cmd.exec.run would ask for.
CREATE OR REPLACE FUNCTION aegis.exec_open(p_tenant text[], p_case_id uuid[], p_version int[],
    p_traceparent text[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version, correlation_id,
                traceparent, created_by)
    SELECT c.tenant, c.case_id, gen_random_uuid(), c.plan_id, c.version, c.correlation_id,
           coalesce(p_traceparent[u.n], ''), 'aegis:exec'
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
     CROSS JOIN LATERAL (
           SELECT c.tenant, c.case_id, c.plan_id, c.version, c.correlation_id FROM aegis.ops_case c
            WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] AND c.version = p_version[u.n]
              AND c.status = 'EXECUTING' AND c.mode = 'auto' OFFSET 0) c;
    IF FOUND THEN PERFORM pg_notify('aegis_exec', ''); END IF;
END $$;

-- End runs: DONE, FAILED or CANCELLED; the fact of it moves the case at once, unless
-- somebody else has the case just now: then the fact is the fsm role's. version and
-- extra say where the case is.
CREATE OR REPLACE FUNCTION aegis.exec_finish(p_tenant text[], p_case_id uuid[], p_exec_id uuid[],
    p_epoch int[], p_state text[], p_reason text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope  text := aegis.act_for(p_tenant);
    -- the case first, as everybody locks
    v_locked int[] := aegis.lock_cases(p_tenant, p_case_id, false);
    v_run    aegis.exec_run[]; v_move json[]; v_moved int[]; n int;
    v_subject text[]; v_msg_id text[]; v_data json[]; v_trace text[]; v_exec uuid[]; v_version int[];
BEGIN
    WITH fin AS (
        UPDATE aegis.exec_run x
           SET state = p_state[u.n], reason = p_reason[u.n], finished_at = now(),
               waiting_for = '', lease_until = 'infinity'
          FROM generate_series(1, cardinality(p_tenant)) AS u(n)
         WHERE x.tenant = p_tenant[u.n] AND x.case_id = p_case_id[u.n] AND x.exec_id = p_exec_id[u.n]
           AND x.epoch = p_epoch[u.n] AND x.state = 'RUNNING'
        RETURNING u.n, x AS run)
    SELECT array_agg(f.run ORDER BY g.n) INTO v_run
      FROM generate_series(1, cardinality(p_tenant)) AS g(n) LEFT JOIN fin f ON f.n = g.n;

    -- every attempt has a recorded end: a run that is cancelled right after a
    -- take-over leaves the lost owner's attempt to be closed
    UPDATE aegis.exec_step s
       SET state = 'UNKNOWN', error = 'the run was ended', finished_at = now()
      FROM generate_subscripts(v_run, 1) u
     CROSS JOIN LATERAL (
           SELECT x.ctid AS place FROM aegis.exec_step x
            WHERE x.tenant = p_tenant[u] AND x.exec_id = p_exec_id[u] AND x.state = 'RUNNING'
              FOR NO KEY UPDATE) x
     WHERE (v_run[u]).exec_id IS NOT NULL AND s.ctid = x.place;

    -- a dry run says nothing; a rollback for a verification is the verification's to
    -- speak of; a case that still waits for the run is told however it ended
    SELECT array_agg(CASE WHEN x.says AND u.n = ANY (v_locked) THEN json_build_object(
               'event', CASE x.state WHEN 'DONE' THEN 'exec_done' ELSE 'exec_failed' END,
               'actor', 'aegis:exec', 'reason', coalesce(nullif(x.reason, ''),
                   CASE x.state WHEN 'DONE' THEN 'a run succeeded' ELSE 'a run failed' END),
               'correlation_id', x.correlation_id,
               'meta', json_build_object('plan_id', x.plan_id, 'exec_id', x.exec_id)) END ORDER BY u.n),
           array_agg(CASE WHEN x.says THEN CASE x.state WHEN 'DONE' THEN 'evt.exec.done.v1'
                          ELSE 'evt.exec.failed.v1' END END ORDER BY u.n),
           array_agg(x.exec_id || CASE x.state WHEN 'DONE' THEN ':done' ELSE ':failed' END ORDER BY u.n),
           array_agg(json_build_object('case_id', x.case_id, 'tenant', x.tenant,
               'case_version', x.for_version, 'exec_id', x.exec_id, 'plan_id', x.plan_id,
               'state', x.state, 'reason', x.reason, 'correlation_id', x.correlation_id,
               'at', x.finished_at) ORDER BY u.n),
           array_agg(x.traceparent ORDER BY u.n), array_agg(x.exec_id ORDER BY u.n),
           array_agg(x.for_version ORDER BY u.n)
      INTO v_move, v_subject, v_msg_id, v_data, v_trace, v_exec, v_version
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
      LEFT JOIN LATERAL (
           SELECT r.*, NOT r.dry AND r.phase = 'step' AND (r.state <> 'CANCELLED' OR EXISTS (
                       SELECT FROM aegis.ops_case c WHERE c.tenant = r.tenant
                          AND c.case_id = r.case_id AND c.version = r.for_version)) AS says
             FROM (SELECT (v_run[u.n]).*) r) x ON true;

    v_moved := aegis.case_advance(p_tenant, p_case_id, v_version, v_move, v_subject, v_msg_id,
        v_data, v_trace, NULL, NULL, v_exec);
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        IF v_subject[n] IS NOT NULL AND v_moved[n] IS NULL THEN
            PERFORM aegis.exec_announce(v_run[n], '');
        END IF;
    END LOOP;
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;

    RETURN QUERY
    SELECT u.n, 200, CASE WHEN v_exec[u.n] IS NULL THEN 'fenced' ELSE 'ok' END, c.version, '', c.status
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
      LEFT JOIN LATERAL (
           SELECT o.version, o.status FROM aegis.ops_case o
            WHERE o.tenant = p_tenant[u.n] AND o.case_id = p_case_id[u.n] OFFSET 0) c ON true;
END $$;
