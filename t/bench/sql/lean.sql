-- The best shapes of one call for one item that we could write, with the work of
-- aegis.case_transition, case_create and case_get for one request and no more:
-- no arrays, no groups, no facts, no messages from a bus. pgbench calls them.

-- As PL/pgSQL, a statement a step.
CREATE FUNCTION bench.transition(p_tenant text, p_principal text, p_key text, p_hash bytea,
    p_case_id uuid, p_event text, p_actor text, p_reason text, p_correlation_id text,
    p_traceparent text, p_request_id text, p_meta text, p_if_match text, p_notify boolean,
    OUT status int, OUT code text, OUT version int, OUT body text, OUT extra text)
LANGUAGE plpgsql AS $$
DECLARE
    v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_from date := ((now() - interval '24 hours') AT TIME ZONE 'UTC')::date;
    v_hash bytea; v_mode text; v_plan uuid; v_exec uuid; v_cur text; v_ver int; v_at timestamptz;
    v_rule int; v_to text; v_command text;
BEGIN
    PERFORM aegis.act_for(ARRAY[p_tenant]);
    IF NOT pg_try_advisory_xact_lock(hashtextextended(
            p_tenant || E'\x1f' || p_principal || E'\x1f' || p_key, 0)) THEN
        status := 409; code := 'idempotency-key-in-flight'; RETURN;
    END IF;
    SELECT d.hash, d.status, 'replay', d.version, d.body, d.extra
      INTO v_hash, status, code, version, body, extra
      FROM aegis.idempotency d
     WHERE d.tenant = p_tenant AND d.principal = p_principal AND d.key = p_key
       AND d.day >= v_from AND d.day <= v_today;
    IF FOUND THEN
        IF v_hash <> p_hash THEN status := 422; code := 'idempotency-key-reused'; END IF;
        RETURN;
    END IF;
    SELECT c.status, c.version, t.rule, t.to_status, t.command
      INTO v_cur, v_ver, v_rule, v_to, v_command
      FROM aegis.ops_case c
      LEFT JOIN aegis.fsm_transition t ON t.from_status = c.status AND t.event = p_event
     WHERE c.tenant = p_tenant AND c.case_id = p_case_id FOR NO KEY UPDATE OF c;
    IF p_if_match IS NOT NULL AND p_if_match <> '*' AND p_if_match <> v_ver::text THEN
        status := 412; code := 'version-mismatch'; version := v_ver; RETURN;
    END IF;
    IF v_rule IS NULL THEN
        status := 409; code := 'illegal-transition'; version := v_ver; RETURN;
    END IF;
    UPDATE aegis.ops_case c
       SET status = v_to, version = c.version + 1, updated_at = now(), reason = p_reason,
           nudges = 0, nudged_at = NULL, closed = v_to = 'CLOSED', settled = ''
     WHERE c.tenant = p_tenant AND c.case_id = p_case_id
    RETURNING c.version, c.mode, c.plan_id, c.exec_id, c.updated_at, aegis.case_text(c)
         INTO version, v_mode, v_plan, v_exec, v_at, body;
    INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
           to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
    VALUES (p_tenant, p_case_id, version, 0, 'transition', p_event, v_cur, v_to, v_rule, p_actor,
           p_principal, p_reason, p_correlation_id, split_part(p_traceparent, '-', 2), p_key, p_meta::json);
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    VALUES (p_tenant, p_case_id, version, aegis.outbox_part(p_case_id),
           p_case_id || ':' || version || ':transition', 'evt.case.transition.v1',
           row_to_json(ROW(p_case_id, p_tenant, version, p_event, v_cur, v_to, v_rule, p_actor,
               p_reason, p_correlation_id, v_at)::aegis.transition_fact),
           p_traceparent);
    IF v_command <> '' AND v_mode = 'auto' THEN
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        VALUES (p_tenant, p_case_id, version, aegis.outbox_part(p_case_id),
               p_case_id || ':' || version || ':command', v_command,
               row_to_json(ROW(p_case_id, p_tenant, version, v_plan, v_exec,
                   p_correlation_id)::aegis.command_data),
               p_traceparent);
    END IF;
    status := 200; code := 'ok'; extra := v_rule::text;
    INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
    VALUES (p_tenant, p_principal, p_key, p_hash, status, code, version, body, extra);
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
END $$;

CREATE FUNCTION bench.create_case(p_tenant text, p_principal text, p_key text, p_hash bytea,
    p_case_id uuid, p_title text, p_kind text, p_severity text, p_mode text, p_tags text,
    p_labels text, p_actor text, p_reason text, p_correlation_id text, p_traceparent text,
    p_request_id text, p_notify boolean,
    OUT status int, OUT code text, OUT version int, OUT body text, OUT extra text)
LANGUAGE plpgsql AS $$
DECLARE
    v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_from date := ((now() - interval '24 hours') AT TIME ZONE 'UTC')::date;
    v_hash bytea; v_at timestamptz;
BEGIN
    PERFORM aegis.act_for(ARRAY[p_tenant]);
    IF NOT pg_try_advisory_xact_lock(hashtextextended(
            p_tenant || E'\x1f' || p_principal || E'\x1f' || p_key, 0)) THEN
        status := 409; code := 'idempotency-key-in-flight'; RETURN;
    END IF;
    SELECT d.hash, d.status, 'replay', d.version, d.body, d.extra
      INTO v_hash, status, code, version, body, extra
      FROM aegis.idempotency d
     WHERE d.tenant = p_tenant AND d.principal = p_principal AND d.key = p_key
       AND d.day >= v_from AND d.day <= v_today;
    IF FOUND THEN
        IF v_hash <> p_hash THEN status := 422; code := 'idempotency-key-reused'; END IF;
        RETURN;
    END IF;
    INSERT INTO aegis.ops_case AS c (tenant, case_id, title, kind, severity, mode, tags, labels,
           reason, correlation_id)
    VALUES (p_tenant, p_case_id, p_title, p_kind, p_severity, p_mode, p_tags::jsonb, p_labels::jsonb,
           p_reason, p_correlation_id)
    RETURNING c.created_at, aegis.case_text(c) INTO v_at, body;
    INSERT INTO aegis.case_tag (tenant, tag, created_at, case_id)
    SELECT p_tenant, t.tag, v_at, p_case_id FROM json_array_elements_text(p_tags::json) AS t(tag);
    INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, to_status, actor,
           principal, reason, correlation_id, trace_id, idem_key)
    VALUES (p_tenant, p_case_id, 1, 'create', 'create', 'NEW', p_actor, p_principal, p_reason,
           p_correlation_id, split_part(p_traceparent, '-', 2), p_key);
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    VALUES (p_tenant, p_case_id, 1, aegis.outbox_part(p_case_id), p_case_id || ':1:created',
           'evt.case.created.v1', row_to_json(ROW(p_case_id, p_tenant, 1, p_title, p_kind, p_severity,
               p_mode, p_tags::json, p_labels::json, p_actor, p_correlation_id, v_at)::aegis.created_fact),
           p_traceparent);
    status := 201; code := 'ok'; version := 1; extra := p_case_id::text;
    INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
    VALUES (p_tenant, p_principal, p_key, p_hash, status, code, version, body, extra);
    IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
END $$;

GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA bench TO aegis_gateway;
REVOKE EXECUTE ON FUNCTION bench.reset() FROM PUBLIC, aegis_gateway;
