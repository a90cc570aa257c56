-- A transition for one item as one statement. Everything sees one snapshot, which
-- is all right for one caller a case; with several, a second look would be needed.
-- p_<column> stands for a value. For whom it acts is a setting of the session:
-- one statement cannot say it before it looks.
WITH got AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtextextended(
        p_tenant || E'\x1f' || p_principal || E'\x1f' || p_key, 0)) AS got),
seen AS MATERIALIZED (
    SELECT d.hash, d.status, d.code, d.version, d.body, d.extra
      FROM got, aegis.idempotency d
     WHERE got.got AND d.tenant = p_tenant AND d.principal = p_principal AND d.key = p_key
       AND d.day >= ((now() - interval '24 hours') AT TIME ZONE 'UTC')::date),
c AS MATERIALIZED (
    SELECT o.* FROM got, aegis.ops_case o
     WHERE got.got AND NOT EXISTS (SELECT FROM seen)
       AND o.tenant = p_tenant AND o.case_id = p_case_id
       FOR NO KEY UPDATE OF o),
j AS MATERIALIZED (
    SELECT c.status AS cur_status, c.version AS cur_version, t.rule, t.to_status, t.command,
           CASE WHEN p_if_match IS NOT NULL AND p_if_match <> '*'
                     AND c.version::text <> p_if_match THEN 'version-mismatch'
                WHEN t.rule IS NULL THEN 'illegal-transition' ELSE 'ok' END AS code
      FROM c LEFT JOIN aegis.fsm_transition t ON t.from_status = c.status AND t.event = p_event),
u AS (
    UPDATE aegis.ops_case c
       SET status = j.to_status, version = c.version + 1, updated_at = now(), reason = p_reason,
           nudges = 0, nudged_at = NULL
      FROM j WHERE j.code = 'ok' AND c.tenant = p_tenant AND c.case_id = p_case_id
    RETURNING c.version, c.status, c.mode, c.plan_id, c.exec_id, c.updated_at,
              aegis.case_text(c) AS body),
tl AS (
    INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
           to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
    SELECT p_tenant, p_case_id, u.version, 0, 'transition', p_event, j.cur_status, u.status,
           j.rule, p_actor, p_principal, p_reason, p_correlation_id,
           split_part(p_traceparent, '-', 2), p_key, p_meta::json FROM j, u),
ob AS (
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    SELECT p_tenant, p_case_id, u.version, aegis.outbox_part(p_case_id),
           p_case_id || ':' || u.version || ':' || 'transition', 'evt.case.transition.v1',
           row_to_json(ROW(p_case_id, p_tenant, u.version, p_event, j.cur_status, u.status, j.rule,
               p_actor, p_reason, p_correlation_id, u.updated_at)::aegis.transition_fact),
           p_traceparent FROM j, u
    UNION ALL
    SELECT p_tenant, p_case_id, u.version, aegis.outbox_part(p_case_id),
           p_case_id || ':' || u.version || ':' || 'command', j.command,
           row_to_json(ROW(p_case_id, p_tenant, u.version, u.plan_id, u.exec_id,
               p_correlation_id)::aegis.command_data),
           p_traceparent FROM j, u WHERE j.command <> '' AND u.mode = 'auto'),
ans AS MATERIALIZED (
    SELECT CASE WHEN j.code = 'ok' THEN 200 ELSE 409 END AS status, j.code,
           coalesce(u.version, j.cur_version) AS version,
           coalesce(u.body, aegis.problem(j.code, p_request_id, NULL, NULL)) AS body,
           j.rule::text AS extra
      FROM j LEFT JOIN u ON true),
mem AS (
    INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
    SELECT p_tenant, p_principal, p_key, p_hash, a.status, a.code, a.version, a.body, a.extra
      FROM ans a)
SELECT a.status, a.code, a.version, a.body, a.extra FROM ans a
UNION ALL
SELECT s.status, CASE WHEN s.hash = p_hash THEN 'replay' ELSE 'idempotency-key-reused' END,
       s.version, s.body, s.extra FROM seen s;
