-- What is said to a run and by it while it runs: cancel it, hear of it, and keep
-- what its steps write.

-- The answer of POST /exec/{id}/cancel; a run that is over is a wrong state.
-- Asking twice is the same as asking once: the first to ask is kept.
CREATE OR REPLACE FUNCTION aegis.exec_cancel(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_exec_id uuid[], p_actor text[], p_reason text[], p_rollback boolean[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    v_claim aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer);
    v_out   aegis.result[];
    n int; r aegis.exec_run;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        IF (v_claim[n]).verdict <> 'new' THEN
            v_out := v_out || aegis.claim_answer(n, v_claim[n], p_request_id[n]);
            CONTINUE;
        END IF;
        SELECT * INTO r FROM aegis.exec_run x
         WHERE x.tenant = p_tenant[n] AND x.exec_id = p_exec_id[n] FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            v_out := v_out || aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        IF r.state NOT IN ('QUEUED', 'RUNNING') THEN
            v_out := v_out || aegis.refused(n, 'wrong-state', r.epoch, p_request_id[n],
                'the run is over', jsonb_build_object('exec_id', r.exec_id,
                    'run_state', r.state));
            CONTINUE;
        END IF;
        IF r.cancel_by = '' THEN
            UPDATE aegis.exec_run x
               SET cancel_by = p_actor[n], cancel_reason = coalesce(p_reason[n], ''),
                   cancel_rollback = coalesce(p_rollback[n], false)
             WHERE x.tenant = r.tenant AND x.case_id = r.case_id AND x.exec_id = r.exec_id
            RETURNING x.* INTO r;
        END IF;
        v_out := v_out || ROW(n, 202, 'ok', r.epoch, aegis.exec_json(r)::text, NULL)::aegis.result;
    END LOOP;

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    PERFORM pg_notify('aegis_exec', 'cancel');
    RETURN QUERY SELECT * FROM unnest(v_out);
END $$;

-- A case that is parked while it executes, or is rolled back, ends its run, and its executor is told
-- at once. What an executor has locked right now learns it from its heartbeat.
CREATE OR REPLACE FUNCTION aegis.exec_parked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE aegis.exec_run x SET cancel_by = 'aegis:case', cancel_reason = 'the case was parked'
      FROM (SELECT r.tenant, r.case_id, r.exec_id FROM aegis.exec_run r
             WHERE r.tenant = NEW.tenant AND r.case_id = NEW.case_id
               AND r.for_version = OLD.version AND r.state IN ('QUEUED', 'RUNNING')
               AND r.cancel_by = '' FOR NO KEY UPDATE SKIP LOCKED) r
     WHERE x.tenant = r.tenant AND x.case_id = r.case_id AND x.exec_id = r.exec_id;
    IF FOUND THEN
        PERFORM pg_notify('aegis_exec', 'cancel');
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS exec_parked ON aegis.ops_case;
CREATE TRIGGER exec_parked AFTER UPDATE OF status ON aegis.ops_case
    FOR EACH ROW WHEN (OLD.status IN ('EXECUTING', 'VERIFYING') AND NEW.status = 'PARKED')
    EXECUTE FUNCTION aegis.exec_parked();

-- The rows of oo_locator for one step's outputs.
CREATE OR REPLACE FUNCTION aegis.exec_locate(s aegis.exec_step, p_output json)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.oo_locator (tenant, locator_id, dataset, bucket, object_key, t_from, t_to,
                query_hint, bytes, case_id, created_by)
    SELECT s.tenant, (o.value->>'locator_id')::uuid, 'exec.' || o.key, o.value->>'bucket',
           o.value->>'key', s.started_at, now(), s.exec_id || ' ' || s.phase || ' ' || s.step_no
               || ' ' || s.attempt, (o.value->>'bytes')::bigint, s.case_id, 'aegis:exec'
      FROM json_each(p_output) o WHERE o.value->>'locator_id' IS NOT NULL
        ON CONFLICT (tenant, locator_id) DO UPDATE SET t_to = excluded.t_to, bytes = excluded.bytes;
END $$;

-- What a step has written so far. 'fenced': the run is somebody else's.
CREATE OR REPLACE FUNCTION aegis.exec_progress(p_tenant text[], p_case_id uuid[], p_exec_id uuid[],
    p_epoch int[], p_phase text[], p_step_no int[], p_attempt int[], p_output text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; s aegis.exec_step;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        UPDATE aegis.exec_step x SET output = p_output[n]::json,
               stdout_ref = coalesce('oo_locator:' || (p_output[n]::json#>>'{stdout,locator_id}'), ''),
               stderr_ref = coalesce('oo_locator:' || (p_output[n]::json#>>'{stderr,locator_id}'), '')
          FROM aegis.exec_run r
         WHERE r.tenant = p_tenant[n] AND r.case_id = p_case_id[n] AND r.exec_id = p_exec_id[n]
           AND r.epoch = p_epoch[n] AND r.state = 'RUNNING'
           AND x.tenant = r.tenant AND x.exec_id = r.exec_id AND x.phase = p_phase[n]
           AND x.step_no = p_step_no[n] AND x.attempt = p_attempt[n] AND x.state = 'RUNNING'
        RETURNING x.* INTO s;
        IF s.exec_id = p_exec_id[n] THEN
            PERFORM aegis.exec_locate(s, p_output[n]::json);
        END IF;
        RETURN NEXT ROW(n, 200, CASE WHEN s.exec_id = p_exec_id[n] THEN 'ok' ELSE 'fenced' END,
                        NULL, '', NULL)::aegis.result;
        s := NULL;
    END LOOP;
END $$;

-- Two executors count the attempts that act upon a target one after the other:
-- the lock is held to the end of the transaction that begins one more.
CREATE OR REPLACE FUNCTION aegis.exec_lock_targets(p_target text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('aegis.exec_target' || E'\x1f' || t, 0))
       FROM (SELECT DISTINCT u AS t FROM unnest(p_target) u WHERE u <> '' ORDER BY 1) x;
END $$;
