-- The verifier's statements: what a verification looks at, the claim of those
-- that are due, the commit of an evaluation, and the pages that show them. What
-- is decided is core/aegis_module_verify.c; the first look at a verification is
-- module_load's and module_commit's.

-- The minutes of metric_1m from one time to another, newest 2000, as
-- [epoch, samples, avg, max, p95].
CREATE OR REPLACE FUNCTION aegis.verify_points(p_tenant text, p_resource text, p_metric text,
    p_from timestamptz, p_to timestamptz)
RETURNS json LANGUAGE sql STABLE AS $$
    SELECT coalesce(json_agg(json_build_array(extract(epoch FROM x.bucket), x.samples, x.avg,
                                              x.max, x.p95) ORDER BY x.bucket), '[]')
      FROM (SELECT m.bucket, sum(m.samples)::int AS samples, max(m.max) AS max, max(m.p95) AS p95,
                   -- series of one metric, told apart by their labels, are one point
                   CASE WHEN count(*) = 1 THEN max(m.avg)
                        ELSE sum(m.avg * m.samples) / nullif(sum(m.samples), 0) END AS avg
              FROM aegis.metric_1m m
             WHERE m.tenant = p_tenant AND m.resource = p_resource AND m.metric = p_metric
               AND m.bucket >= p_from AND m.bucket <= p_to
             GROUP BY m.bucket ORDER BY m.bucket DESC LIMIT 2000) x
$$;

-- For each check {"window", "baseline"}, as far as the database knows them. A
-- window begins behind the change: older samples say nothing about the repair.
CREATE OR REPLACE FUNCTION aegis.verify_measured(p_tenant text, p_checks json,
    p_from timestamptz, p_to timestamptz)
RETURNS json LANGUAGE sql STABLE AS $$
    SELECT coalesce(json_agg(CASE WHEN k.chk ->> 'metric' IS NULL THEN '{}' ELSE json_build_object(
        'window', json_build_object('points', aegis.verify_points(p_tenant,
            k.chk ->> 'resource', k.chk ->> 'metric', greatest(
                now() - make_interval(secs => coalesce(k.chk ->> 'window_s', k.chk ->> 'long_s')::float8),
                p_to + make_interval(secs => coalesce(k.chk ->> 'warmup_s', '0')::float8)), now())),
        'baseline', CASE WHEN k.chk -> 'baseline' IS NOT NULL THEN
            json_build_object('points', aegis.verify_points(p_tenant,
                k.chk ->> 'resource', k.chk ->> 'metric',
                p_from - make_interval(secs => (k.chk #>> '{baseline,window_s}')::float8), p_from)) END)
        END ORDER BY k.n), '[]')
      FROM json_array_elements(CASE WHEN json_typeof(p_checks) = 'array' THEN p_checks ELSE '[]' END)
           WITH ORDINALITY AS k(chk, n)
$$;

-- All that a verification of a case is decided on: aegis_verify_evaluate() says
-- what it reads. verify is the run of this stay, final its verdict.
CREATE OR REPLACE FUNCTION aegis.verify_facts(c aegis.ops_case, p_plan_id uuid)
RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    p aegis.plan_proposed; r aegis.exec_run; v aegis.verify_run; b aegis.exec_run;
    v_plan uuid := coalesce(p_plan_id, c.plan_id);
BEGIN
    -- by whole keys: a plan that was made when the tables were empty is kept
    SELECT * INTO p FROM aegis.plan_proposed x
     WHERE x.tenant = c.tenant AND x.case_id = c.case_id AND x.plan_id = v_plan;
    SELECT * INTO r FROM aegis.exec_run x
     WHERE x.tenant = c.tenant AND x.case_id = c.case_id AND x.exec_id = c.exec_id;
    SELECT * INTO v FROM aegis.verify_run x
     WHERE x.tenant = c.tenant AND x.case_id = c.case_id AND x.for_version = c.version;
    IF v.rollback_exec_id IS NOT NULL THEN
        SELECT * INTO b FROM aegis.exec_run x
         WHERE x.tenant = v.tenant AND x.case_id = v.case_id AND x.exec_id = v.rollback_exec_id;
    END IF;
    RETURN json_build_object(
        'now_s', extract(epoch FROM now())::float8,
        'plan', CASE WHEN p.plan_id IS NOT NULL THEN
             json_build_object('plan_id', p.plan_id, 'plan', p.plan) END,
        'run', CASE WHEN r.exec_id IS NOT NULL THEN
             json_build_object('exec_id', r.exec_id, 'state', r.state, 'steps', (
                 SELECT coalesce(json_agg(json_build_object('phase', s.phase,
                        'step_no', s.step_no, 'attempt', s.attempt, 'state', s.state)
                        ORDER BY s.phase, s.step_no, s.attempt), '[]')
                   FROM aegis.exec_step s
                  WHERE s.tenant = r.tenant AND s.exec_id = r.exec_id)) END,
        'change', json_build_object(
             'from_s', extract(epoch FROM coalesce(r.started_at, now()))::float8,
             'to_s', extract(epoch FROM coalesce(r.finished_at, now()))::float8),
        -- a check of no metric has nothing to look up, which is dear even to find out
        'measured', CASE WHEN strpos((p.plan -> 'verify')::text, '"metric"') > 0
             THEN aegis.verify_measured(c.tenant, p.plan -> 'verify',
                  coalesce(r.started_at, now()), coalesce(r.finished_at, now()))
             ELSE ('[' || coalesce(rpad('{}', 3 * json_array_length(CASE json_typeof(p.plan -> 'verify')
                  WHEN 'array' THEN p.plan -> 'verify' END) - 1, ',{}'), '') || ']')::json END,
        'verify', CASE WHEN v.verify_id IS NOT NULL THEN
             json_build_object('verify_id', v.verify_id, 'state', v.state, 'outcome', v.outcome,
                 'reason', v.reason, 'evaluations', v.evaluations, 'progress', v.progress,
                 'started_s', extract(epoch FROM v.created_at)::float8,
                 'overdue', v.deadline_at < now()) END,
        'final', (SELECT aegis.verify_checkpoint_json(k)
                    FROM aegis.verify_checkpoint k
                   WHERE k.tenant = c.tenant AND k.case_id = c.case_id
                     AND k.for_version = c.version AND k.final
                   ORDER BY k.created_at DESC LIMIT 1),
        'rollback', CASE WHEN b.exec_id IS NOT NULL THEN
             json_build_object('exec_id', b.exec_id, 'state', b.state, 'reason', b.reason) END);
END $$;

CREATE OR REPLACE FUNCTION aegis.verify_checkpoint_json(k aegis.verify_checkpoint)
RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('checkpoint_id', k.checkpoint_id,
        'verify_id', coalesce(k.verify_id, k.checkpoint_id), 'plan_id', k.plan_id,
        'evaluation', k.evaluation, 'final', k.final, 'passed', k.passed, 'outcome', k.outcome,
        'checks', k.checks, 'reason', k.reason, 'created_by', k.created_by,
        'created_at', k.created_at)
$$;

-- The run that rolls a plan back, for a verification that is in ROLLBACK. It is
-- of the same stay of the case: when the case leaves it, the run is cancelled.
CREATE OR REPLACE FUNCTION aegis.verify_roll_back(v aegis.verify_run)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.exec_run (tenant, case_id, exec_id, plan_id, for_version, phase,
                correlation_id, traceparent, created_by)
    VALUES (v.tenant, v.case_id, v.rollback_exec_id, v.plan_id, v.for_version, 'rollback',
            v.correlation_id, v.traceparent, 'aegis:verify');
    PERFORM pg_notify('aegis_exec', '');
END $$;

-- Begin a verification that takes time, or wait for a rollback: what a module
-- decided (doc.verify_run), in the transaction of module_commit, which holds the
-- case's lock.
CREATE OR REPLACE FUNCTION aegis.verify_begin(p_tenant text, p_case_id uuid, p_for_version int,
    p_actor text, p_traceparent text, p_run json)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v aegis.verify_run;
BEGIN
    INSERT INTO aegis.verify_run (tenant, case_id, verify_id, plan_id, for_version, state, outcome,
                reason, evaluations, progress, next_at, deadline_at, rollback_exec_id,
                correlation_id, traceparent, created_by)
    SELECT c.tenant, c.case_id, (p_run ->> 'verify_id')::uuid, (p_run ->> 'plan_id')::uuid,
           p_for_version, p_run ->> 'state', p_run ->> 'outcome', p_run ->> 'reason',
           (p_run ->> 'evaluations')::int, p_run -> 'progress', now(),
           now() + make_interval(secs => (p_run ->> 'deadline_s')::float8),
           CASE WHEN p_run ->> 'state' = 'ROLLBACK' THEN gen_random_uuid() END,
           c.correlation_id, coalesce(p_traceparent, ''), p_actor
      FROM aegis.ops_case c WHERE c.tenant = p_tenant AND c.case_id = p_case_id
    RETURNING * INTO v;
    IF v.state = 'ROLLBACK' THEN
        PERFORM aegis.verify_roll_back(v);
    END IF;
END $$;

-- Take up to p_limit verifications that are due and that nobody works on, with
-- all that is needed to judge them. What its case has left behind is cancelled.
CREATE OR REPLACE FUNCTION aegis.verify_claim(p_owner text, p_limit int, p_lease_s int)
RETURNS TABLE (tenant text, case_id uuid, verify_id uuid, epoch int, state text, body text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT v.tenant, v.case_id, v.verify_id, c.version IS DISTINCT FROM v.for_version AS gone
          FROM aegis.verify_run v
          LEFT JOIN aegis.ops_case c ON c.tenant = v.tenant AND c.case_id = v.case_id
         WHERE v.state IN ('RUNNING', 'ROLLBACK') AND v.next_at <= now() AND v.lease_until < now()
         ORDER BY v.next_at LIMIT p_limit FOR UPDATE OF v SKIP LOCKED),
    gone AS (
        UPDATE aegis.verify_run v
           SET state = 'CANCELLED', reason = 'the case has left VERIFYING', finished_at = now(),
               epoch = v.epoch + 1
          FROM due d
         WHERE d.gone AND v.tenant = d.tenant AND v.case_id = d.case_id AND v.verify_id = d.verify_id),
    mine AS (
        UPDATE aegis.verify_run v
           SET owner = p_owner, epoch = v.epoch + 1,
               lease_until = now() + make_interval(secs => p_lease_s)
          FROM due d
         WHERE NOT d.gone AND v.tenant = d.tenant AND v.case_id = d.case_id AND v.verify_id = d.verify_id
        RETURNING v.*)
    SELECT m.tenant, m.case_id, m.verify_id, m.epoch, m.state, json_build_object(
               'case', aegis.case_json(c), 'now', now(), 'traceparent', m.traceparent,
               'age_ms', (extract(epoch FROM now() - m.created_at) * 1000)::bigint,
               'verification', aegis.verify_facts(c, m.plan_id))::text
      FROM mine m
      JOIN aegis.ops_case c ON c.tenant = m.tenant AND c.case_id = m.case_id;
END $$;

-- Commit what became of claimed verifications (doc: checkpoint, run, subject and
-- data, each of them or not), and give them back. The epoch says whether the
-- caller still owns it: one who does not has changed nothing ('fenced'). A
-- verdict's fact goes out with the row that says so, or not at all.
CREATE OR REPLACE FUNCTION aegis.verify_step(p_tenant text[], p_case_id uuid[], p_verify_id uuid[],
    p_epoch int[], p_doc text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; c aegis.ops_case; v aegis.verify_run; d json; r json; v_moved int[];
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        d := p_doc[n]::json;
        r := d -> 'run';
        -- the case first, as everybody locks: while we hold it, it stays where it is
        SELECT * INTO c FROM aegis.ops_case x
         WHERE x.tenant = p_tenant[n] AND x.case_id = p_case_id[n] FOR NO KEY UPDATE;
        SELECT * INTO v FROM aegis.verify_run x
         WHERE x.tenant = p_tenant[n] AND x.case_id = p_case_id[n] AND x.verify_id = p_verify_id[n]
           AND x.epoch = p_epoch[n] AND x.state IN ('RUNNING', 'ROLLBACK') FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN NEXT ROW(n, 200, 'fenced', NULL, '', NULL)::aegis.result;
            CONTINUE;
        END IF;
        IF c.version <> v.for_version THEN
            UPDATE aegis.verify_run x
               SET state = 'CANCELLED', reason = 'the case has left VERIFYING', finished_at = now()
             WHERE x.tenant = v.tenant AND x.case_id = v.case_id AND x.verify_id = v.verify_id;
            RETURN NEXT ROW(n, 200, 'cancelled', c.version, '', NULL)::aegis.result;
            CONTINUE;
        END IF;
        UPDATE aegis.verify_run x SET
               state = coalesce(r ->> 'state', x.state),
               outcome = coalesce(r ->> 'outcome', x.outcome),
               reason = coalesce(r ->> 'reason', x.reason),
               evaluations = coalesce((r ->> 'evaluations')::int, x.evaluations),
               progress = coalesce(r -> 'progress', x.progress),
               -- a rollback is waited for by looking, each second
               next_at = CASE WHEN coalesce(r ->> 'state', x.state) = 'ROLLBACK' THEN now() + interval '1 s'
                   ELSE coalesce(to_timestamp((r ->> 'next_s')::float8), now() + interval '1 s') END,
               deadline_at = CASE WHEN r ->> 'state' = 'ROLLBACK' AND x.state <> 'ROLLBACK'
                   THEN now() + make_interval(secs => (r ->> 'deadline_s')::float8)
                   ELSE x.deadline_at END,
               rollback_exec_id = CASE WHEN r ->> 'state' = 'ROLLBACK'
                   THEN coalesce(x.rollback_exec_id, gen_random_uuid()) ELSE x.rollback_exec_id END,
               lease_until = '-infinity',
               finished_at = CASE WHEN coalesce(r ->> 'state', x.state) IN ('RUNNING', 'ROLLBACK')
                   THEN NULL ELSE now() END
         WHERE x.tenant = v.tenant AND x.case_id = v.case_id AND x.verify_id = v.verify_id
        RETURNING * INTO v;
        IF r ->> 'state' = 'ROLLBACK' THEN
            PERFORM aegis.verify_roll_back(v);
        END IF;
        IF json_typeof(d -> 'checkpoint') = 'object' THEN
            INSERT INTO aegis.verify_checkpoint (tenant, case_id, checkpoint_id, plan_id, for_version,
                        passed, checks, reason, created_by, verify_id, evaluation, outcome, final)
            SELECT v.tenant, v.case_id, k.checkpoint_id, k.plan_id, v.for_version, k.passed, k.checks,
                   k.reason, v.created_by, v.verify_id, k.evaluation, k.outcome, k.final
              FROM json_populate_record(NULL::aegis.verify_checkpoint, d -> 'checkpoint') k;
        END IF;
        IF d ->> 'subject' IS NOT NULL THEN
            v_moved := aegis.case_advance(ARRAY[v.tenant], ARRAY[v.case_id], ARRAY[v.for_version],
                ARRAY[d -> 'move'], ARRAY[d ->> 'subject'], ARRAY[v.verify_id || ':verified'],
                ARRAY[d -> 'data'], ARRAY[v.traceparent],
                ARRAY[CASE WHEN (d #>> '{checkpoint,passed}')::boolean THEN 8 ELSE 0 END],
                ARRAY[v.plan_id], NULL);
        END IF;
        IF d ->> 'subject' IS NOT NULL AND v_moved[1] IS NULL THEN
            INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
            VALUES (v.tenant, v.case_id, v.for_version, aegis.outbox_part(v.case_id),
                    v.verify_id || ':verified', d ->> 'subject', d -> 'data', v.traceparent);
        END IF;
        RETURN NEXT ROW(n, 200, 'ok', coalesce(v_moved[1], c.version), '', v.state)::aegis.result;
        v_moved := NULL;
    END LOOP;
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
END $$;

-- How many are under way, and how late the most late one is.
CREATE OR REPLACE FUNCTION aegis.verify_lag(OUT running bigint, OUT late_s double precision)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    SELECT count(*), coalesce(extract(epoch FROM now() - min(v.next_at)), 0) INTO running, late_s
      FROM aegis.verify_run v WHERE v.state IN ('RUNNING', 'ROLLBACK');
END $$;

-- A verification and its newest 20 evaluations. One that was decided at once has
-- no row of its own: its verdict is all of it.
CREATE OR REPLACE FUNCTION aegis.verify_get(p_tenant text[], p_verify_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v aegis.verify_run; k aegis.verify_checkpoint; v_last json;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        SELECT * INTO v FROM aegis.verify_run x
         WHERE x.tenant = p_tenant[n] AND x.verify_id = p_verify_id[n];
        SELECT * INTO k FROM aegis.verify_checkpoint x
         WHERE x.tenant = p_tenant[n] AND x.verify_id = p_verify_id[n]
         ORDER BY x.evaluation DESC LIMIT 1;
        IF v.verify_id IS NULL AND k.verify_id IS NULL THEN
            RETURN NEXT aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        SELECT coalesce(json_agg(aegis.verify_checkpoint_json(x) ORDER BY x.evaluation DESC), '[]')
          INTO v_last
          FROM (SELECT * FROM aegis.verify_checkpoint x
                 WHERE x.tenant = p_tenant[n] AND x.verify_id = p_verify_id[n]
                 ORDER BY x.evaluation DESC LIMIT 20) x;
        RETURN NEXT ROW(n, 200, 'ok', coalesce(v.for_version, k.for_version), json_build_object(
            'verify_id', p_verify_id[n], 'case_id', coalesce(v.case_id, k.case_id),
            'plan_id', coalesce(v.plan_id, k.plan_id),
            'for_version', coalesce(v.for_version, k.for_version),
            'state', coalesce(v.state, CASE k.outcome WHEN 'pass' THEN 'PASSED'
                     WHEN 'inconclusive' THEN 'INCONCLUSIVE' ELSE 'FAILED' END),
            'outcome', coalesce(v.outcome, k.outcome), 'reason', coalesce(v.reason, k.reason),
            'evaluations', coalesce(v.evaluations, k.evaluation),
            'next_at', CASE WHEN v.state IN ('RUNNING', 'ROLLBACK') THEN v.next_at END,
            'deadline_at', CASE WHEN v.state IN ('RUNNING', 'ROLLBACK') THEN v.deadline_at END,
            'rollback_exec_id', v.rollback_exec_id,
            'created_by', coalesce(v.created_by, k.created_by),
            'created_at', coalesce(v.created_at, k.created_at),
            'finished_at', CASE WHEN v.verify_id IS NULL THEN k.created_at ELSE v.finished_at END,
            'checkpoints', v_last)::text, NULL)::aegis.result;
    END LOOP;
END $$;

-- Every evaluation of a case, oldest first.
CREATE OR REPLACE FUNCTION aegis.verify_page(p_tenant text[], p_case_id uuid[], p_limit int[],
    p_after text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_version int; v_after text; v_limit int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        SELECT c.version INTO v_version FROM aegis.ops_case c
         WHERE c.tenant = p_tenant[n] AND c.case_id = p_case_id[n];
        IF NOT FOUND THEN
            RETURN NEXT aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        v_after := split_part(p_after[n], ' ', 1);
        v_limit := p_limit[n];
        IF v_after LIKE '<%' THEN
            SELECT b.after, b.items INTO v_after, v_limit FROM aegis.page_turn(ARRAY(
                SELECT x.checkpoint_id::text FROM aegis.verify_checkpoint x
                 WHERE x.tenant = p_tenant[n] AND x.case_id = p_case_id[n]
                   AND x.checkpoint_id < substr(v_after, 2)::uuid
                 ORDER BY x.checkpoint_id DESC LIMIT v_limit + 1), v_limit) b;
        END IF;
        SELECT array_agg(aegis.verify_checkpoint_json(x) ORDER BY x.checkpoint_id),
               array_agg(x.checkpoint_id::text ORDER BY x.checkpoint_id)
          INTO v_items, v_keys
          FROM (SELECT * FROM aegis.verify_checkpoint x
                 WHERE x.tenant = p_tenant[n] AND x.case_id = p_case_id[n]
                   AND (v_after IS NULL OR x.checkpoint_id > v_after::uuid)
                 ORDER BY x.checkpoint_id LIMIT v_limit + 1) x;
        RETURN NEXT aegis.page(n, v_version, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;
