-- The orchestrator's statements: create, transition, read.

-- The facts of core/tables/facts.def for one case; only the bits of p_needs
-- are looked up. p_plan_id is the plan that plan_ready names.
CREATE OR REPLACE FUNCTION aegis.case_facts(c aegis.ops_case, p_needs int, p_plan_id uuid)
RETURNS int LANGUAGE sql STABLE AS $$
    SELECT
      CASE WHEN p_needs & 1 <> 0 AND EXISTS (
               SELECT FROM aegis.plan_proposed p
                WHERE p.tenant = c.tenant AND p.case_id = c.case_id
                  AND p.plan_id = p_plan_id AND p.complete) THEN 1 ELSE 0 END
    | CASE WHEN p_needs & 2 <> 0 AND EXISTS (
               SELECT FROM aegis.plan_approved a
                WHERE a.tenant = c.tenant AND a.case_id = c.case_id
                  AND a.plan_id = c.plan_id) THEN 2 ELSE 0 END
    | CASE WHEN p_needs & 4 <> 0 AND EXISTS (
               SELECT FROM aegis.plan_approved a
                WHERE a.tenant = c.tenant AND a.case_id = c.case_id
                  AND a.plan_id = c.plan_id
                  AND now() >= a.not_before AND now() < a.not_after) THEN 4 ELSE 0 END
    | CASE WHEN p_needs & 8 <> 0 AND EXISTS (
               SELECT FROM aegis.verify_checkpoint v
                WHERE v.tenant = c.tenant AND v.case_id = c.case_id
                  AND v.for_version = c.version AND v.plan_id = c.plan_id
                  AND v.passed) THEN 8 ELSE 0 END
$$;

-- SQL's twin of core's aegis_fsm_decide(): the rule that fires, and the facts
-- that are missing for it. t/15fsm_sql.t compares the two over everything.
CREATE OR REPLACE FUNCTION aegis.fsm_decide(p_status text, p_event text, p_facts int,
    OUT rule int, OUT to_status text, OUT missing int, OUT command text)
LANGUAGE sql STABLE AS $$
    SELECT t.rule, t.to_status, t.needs & ~p_facts, s.command
      FROM aegis.fsm_transition t JOIN aegis.fsm_state s ON s.name = t.to_status
     WHERE t.from_status = p_status AND t.event = p_event
$$;

-- Does the case's version satisfy If-Match? NULL: not asked. '*': any. Else
-- the opaque parts of the strong tags, comma separated (RFC 9110 13.1.1); with
-- a ! before each, the versions that If-None-Match excludes (13.1.2).
CREATE OR REPLACE FUNCTION aegis.if_match_holds(p_if_match text, p_version int)
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_if_match IS NULL OR p_if_match = '*'
        OR p_version::text = ANY (string_to_array(p_if_match, ','))
        OR left(p_if_match, 1) = '!' AND '!' || p_version <> ALL (string_to_array(p_if_match, ','))
$$;

CREATE OR REPLACE FUNCTION aegis.case_create(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_title text[], p_kind text[], p_severity text[], p_mode text[],
    p_tags text[], p_labels text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_request_id text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_claim aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer);
    v_out   aegis.result[];
BEGIN
    WITH i AS MATERIALIZED (
        SELECT * FROM unnest(p_tenant, p_principal, p_key, p_case_id, p_title, p_kind,
                   p_severity, p_mode, p_tags, p_labels, p_actor, p_reason,
                   p_correlation_id, p_traceparent, p_request_id, v_claim)
               WITH ORDINALITY AS i(tenant, principal, key, case_id, title, kind,
                   severity, mode, tags, labels, actor, reason, correlation_id,
                   traceparent, request_id, verdict, c_status, c_code, c_version,
                   c_body, c_extra, ord)),
    ins AS (
        INSERT INTO aegis.ops_case AS c (tenant, case_id, title, kind, severity, mode,
                                    tags, labels, reason, correlation_id)
        SELECT tenant, case_id, title, kind, severity, mode, tags::jsonb,
               labels::jsonb, reason, correlation_id
          FROM i WHERE verdict = 'new'
        RETURNING c.case_id, c.created_at, aegis.case_json(c)::text AS body),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, to_status,
               actor, principal, reason, correlation_id, trace_id, idem_key)
        SELECT tenant, case_id, 1, 'create', 'create', 'NEW', actor, principal, reason,
               correlation_id, split_part(traceparent, '-', 2), key
          FROM i WHERE verdict = 'new'),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT i.tenant, i.case_id, 1, aegis.outbox_part(i.case_id),
               i.case_id || ':1:created', 'evt.case.created.v1',
               json_build_object('case_id', i.case_id, 'tenant', i.tenant, 'case_version', 1,
                   'title', i.title, 'kind', i.kind, 'severity', i.severity, 'mode', i.mode,
                   'tags', i.tags::json, 'labels', i.labels::json, 'actor', i.actor,
                   'correlation_id', i.correlation_id, 'at', ins.created_at),
               i.traceparent
          FROM i JOIN ins USING (case_id))
    SELECT array_agg(ROW(i.ord, 201, 'ok', 1, ins.body, i.case_id::text)::aegis.result)
      INTO v_out FROM i JOIN ins USING (case_id);

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    IF p_notify AND v_out IS NOT NULL THEN PERFORM pg_notify('aegis_outbox', ''); END IF;

    RETURN QUERY SELECT * FROM unnest(v_out)
     UNION ALL
     SELECT a.* FROM generate_subscripts(v_claim, 1) n,
            LATERAL aegis.claim_answer(n, v_claim[n], p_request_id[n]) a
      WHERE (v_claim[n]).verdict <> 'new';
END $$;

-- The one statement that changes a case's state.
--   consumer NULL   a request: key is its Idempotency-Key
--   consumer set    a fact: key is the message id, fact_version the case
--                   version that the fact answers to (NULL: not known)
-- A fact that answers to a version which has passed is recorded on the timeline
-- as a note and never moves the case.
CREATE OR REPLACE FUNCTION aegis.case_transition(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_event text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_request_id text[], p_meta text[],
    p_expected_version int[], p_if_match text[], p_fact_version int[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_claim  aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer);
    v_locked int[] := aegis.lock_cases(p_tenant, p_case_id, v_claim);
    v_out    aegis.result[];
BEGIN
    -- A new statement, so a new snapshot: it sees the rows as locked, and the
    -- facts that were committed while we waited.
    WITH i AS MATERIALIZED (
        SELECT u.*, u.ord::int AS n, (u.meta::json ->> 'plan_id') AS meta_plan_id,
               u.ord = ANY (v_locked) AS locked,
               row_number() OVER (PARTITION BY u.tenant, u.case_id ORDER BY u.ord) AS nth
          FROM unnest(p_tenant, p_principal, p_key, p_consumer, p_case_id, p_event,
                   p_actor, p_reason, p_correlation_id, p_traceparent, p_request_id, p_meta,
                   p_expected_version, p_if_match, p_fact_version, v_claim)
               WITH ORDINALITY AS u(tenant, principal, key, consumer, case_id, event,
                   actor, reason, correlation_id, traceparent, request_id, meta,
                   expected_version, if_match, fact_version, verdict, c_status, c_code,
                   c_version, c_body, c_extra, ord)
         WHERE u.verdict = 'new'),
    known AS MATERIALIZED (
        SELECT i.*, c.case_id AS found, c.status AS cur_status, c.version AS cur_version,
               c.mode AS cur_mode, coalesce(nullif(i.correlation_id, ''), c.correlation_id)
               AS correlation, t.rule, t.to_status, t.needs,
               CASE WHEN i.event <> 'plan_ready' THEN c.plan_id ELSE (
                   SELECT p.plan_id FROM aegis.plan_proposed p
                    WHERE p.tenant = c.tenant AND p.case_id = c.case_id
                      AND (i.meta_plan_id IS NULL OR p.plan_id::text = i.meta_plan_id)
                    ORDER BY p.revision DESC LIMIT 1) END AS new_plan_id,
               c AS row
          FROM i
          LEFT JOIN aegis.ops_case c ON c.tenant = i.tenant AND c.case_id = i.case_id
          LEFT JOIN aegis.fsm_transition t ON t.from_status = c.status AND t.event = i.event),
    judged AS MATERIALIZED (
        SELECT k.*, CASE
               WHEN k.nth > 1 THEN 'again'
               WHEN k.found IS NULL THEN 'not-found'
               WHEN k.locked IS NOT TRUE THEN 'busy'
               WHEN NOT aegis.if_match_holds(k.if_match, k.cur_version) THEN 'version-mismatch'
               WHEN k.expected_version <> k.cur_version THEN 'version-conflict'
               WHEN k.consumer IS NOT NULL AND (k.fact_version < k.cur_version
                    OR (k.cur_mode = 'manual' AND k.event = 'plan_ready')) THEN 'stale-fact'
               WHEN k.rule IS NULL OR k.fact_version > k.cur_version THEN 'illegal-transition'
               WHEN k.needs & ~f.facts <> 0 THEN 'guard-failed'
               ELSE 'ok' END AS code, f.facts
          FROM known k
          CROSS JOIN LATERAL (SELECT CASE WHEN coalesce(k.needs, 0) = 0 THEN 0
                   ELSE aegis.case_facts(k.row, k.needs, k.new_plan_id) END AS facts) f),
    upd AS (
        UPDATE aegis.ops_case c
           SET status = j.to_status, version = c.version + 1, updated_at = now(),
               reason = j.reason, plan_id = j.new_plan_id, nudges = 0, nudged_at = NULL,
               exec_id = CASE WHEN j.event IN ('exec_done', 'exec_failed')
                              THEN coalesce((SELECT r.exec_id FROM aegis.exec_run r
                                    WHERE r.tenant = c.tenant AND r.case_id = c.case_id
                                      AND r.for_version = j.cur_version), c.exec_id)
                              ELSE c.exec_id END
          FROM judged j
         WHERE j.code = 'ok' AND c.tenant = j.tenant AND c.case_id = j.case_id
        RETURNING j.n, c.tenant, c.case_id, c.version, c.status, c.mode, c.plan_id, c.exec_id,
                  c.kind, c.updated_at, aegis.case_json(c)::text AS body),
    noted AS (
        UPDATE aegis.ops_case c SET notes = c.notes + 1 FROM judged j
         WHERE j.code = 'stale-fact' AND c.tenant = j.tenant AND c.case_id = j.case_id
        RETURNING j.n, c.version, c.status, c.notes),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        SELECT j.tenant, j.case_id, u.version, 0, 'transition', j.event, j.cur_status, u.status,
               j.rule, j.actor, j.principal, j.reason, j.correlation,
               split_part(j.traceparent, '-', 2), j.key, j.meta::json
          FROM judged j JOIN upd u USING (n)
        UNION ALL
        SELECT j.tenant, j.case_id, s.version, s.notes, 'note', j.event, s.status, s.status,
               NULL, j.actor, j.principal,
               CASE WHEN j.cur_mode = 'manual' AND j.event = 'plan_ready'
                    THEN 'recorded only: in mode manual plan_ready is a person''s to give'
                    ELSE 'recorded only: the case has moved on since version ' || j.fact_version END
               || CASE WHEN j.reason <> '' THEN '; ' || j.reason ELSE '' END,
               j.correlation, split_part(j.traceparent, '-', 2), j.key, j.meta::json
          FROM judged j JOIN noted s USING (n)),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
               u.case_id || ':' || u.version || m.suffix, m.subject, m.data, j.traceparent
          FROM judged j JOIN upd u USING (n)
          JOIN aegis.fsm_state s ON s.name = u.status
          CROSS JOIN LATERAL (
               SELECT ':transition' AS suffix, 'evt.case.transition.v1' AS subject,
                      json_build_object('case_id', u.case_id, 'tenant', u.tenant,
                          'case_version', u.version, 'event', j.event,
                          'from_status', j.cur_status, 'to_status', u.status,
                          'rule', j.rule, 'actor', j.actor, 'reason', j.reason,
                          'correlation_id', j.correlation, 'at', u.updated_at) AS data
               UNION ALL
               SELECT ':command', s.command, json_build_object('case_id', u.case_id,
                          'tenant', u.tenant, 'case_version', u.version, 'plan_id', u.plan_id,
                          'exec_id', u.exec_id, 'correlation_id', j.correlation)
                WHERE s.command <> '' AND u.mode = 'auto') m)
    SELECT array_agg(ROW(j.n,
               CASE WHEN j.code = 'ok' THEN 200 WHEN j.code IN ('again', 'busy') THEN 0
                    ELSE (SELECT e.status FROM aegis.error_def e WHERE e.code = j.code) END,
               j.code, coalesce(u.version, j.cur_version),
               CASE WHEN j.code = 'ok' THEN u.body
                    WHEN j.code IN ('again', 'busy') THEN ''
                    ELSE aegis.problem(j.code, j.request_id,
                        CASE j.code
                        WHEN 'illegal-transition' THEN 'The event ' || j.event
                             || ' is not legal in state ' || j.cur_status || '.'
                        WHEN 'guard-failed' THEN 'The event ' || j.event || ' needs more before it may fire.'
                        WHEN 'version-mismatch' THEN 'The case is at version ' || j.cur_version || '.'
                        WHEN 'version-conflict' THEN 'The case is at version ' || j.cur_version || '.'
                        END,
                        CASE WHEN j.found IS NULL THEN NULL ELSE jsonb_build_object(
                             'case_id', j.case_id, 'current_status', j.cur_status,
                             'current_version', j.cur_version) END
                        || CASE WHEN j.code IN ('illegal-transition', 'version-mismatch', 'version-conflict')
                                THEN jsonb_build_object('allowed_events', aegis.allowed_events(j.cur_status))
                                WHEN j.code = 'guard-failed'
                                THEN jsonb_build_object('missing', aegis.missing_facts(j.needs, j.facts))
                                ELSE '{}' END) END,
               j.rule::text)::aegis.result)
      INTO v_out
      FROM judged j LEFT JOIN upd u USING (n);

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    IF p_notify AND v_out IS NOT NULL THEN PERFORM pg_notify('aegis_outbox', ''); END IF;

    RETURN QUERY SELECT * FROM unnest(v_out)
     UNION ALL
     SELECT a.* FROM generate_subscripts(v_claim, 1) n,
            LATERAL aegis.claim_answer(n, v_claim[n], p_request_id[n]) a
      WHERE (v_claim[n]).verdict <> 'new';
END $$;

CREATE OR REPLACE FUNCTION aegis.not_found(p_ord int, p_request_id text)
RETURNS aegis.result LANGUAGE sql STABLE AS $$
    SELECT ROW(p_ord, 404, 'not-found', NULL,
               aegis.problem('not-found', p_request_id, NULL, NULL), NULL)::aegis.result
$$;

CREATE OR REPLACE FUNCTION aegis.case_get(p_tenant text[], p_case_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE sql STABLE AS $$
    SELECT (CASE WHEN c.case_id IS NULL THEN aegis.not_found(i.ord::int, i.request_id)
            ELSE ROW(i.ord, 200, 'ok', c.version, aegis.case_json(c), NULL)::aegis.result END).*
      FROM unnest(p_tenant, p_case_id, p_request_id) WITH ORDINALITY AS i(tenant, case_id, request_id, ord)
      LEFT JOIN aegis.ops_case c ON c.tenant = i.tenant AND c.case_id = i.case_id
$$;

-- How many of a page's items are sent: as many as were asked for, but none
-- behind the first MiB. What the gateway holds for an answer stays bounded.
CREATE OR REPLACE FUNCTION aegis.page_fits(p_items json[], p_limit int)
RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(max(x.n) FILTER (WHERE x.upto - x.size < 1048576), 0)::int
      FROM (SELECT i.n, octet_length(i.item::text) AS size,
                   sum(octet_length(i.item::text)) OVER (ORDER BY i.n) AS upto
              FROM unnest(p_items) WITH ORDINALITY AS i(item, n)
             WHERE i.n <= p_limit) x
$$;

-- A page of cases, newest first. after is "<microseconds>.<case_id>" of the
-- last item seen. body is the array of items, extra the next position or NULL.
-- Planned for each call, unlike all others: which index is right depends on the
-- filters, and one plan for all of them walks through every case of the tenant.
CREATE OR REPLACE FUNCTION aegis.case_list(p_tenant text[], p_status text[], p_tag text[],
    p_since timestamptz[], p_until timestamptz[], p_limit int[], p_after text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    n int; v_items json[]; v_keys text[]; v_at timestamptz; v_id uuid; v_fits int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_at := coalesce(p_until[n], 'infinity');
        v_id := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
        IF p_after[n] IS NOT NULL THEN
            v_at := 'epoch'::timestamptz + split_part(p_after[n], '.', 1)::bigint * interval '1 microsecond';
            v_id := split_part(p_after[n], '.', 2)::uuid;
        END IF;
        SELECT array_agg(aegis.case_json(x.c) ORDER BY x.created_at DESC, x.case_id DESC),
               array_agg((extract(epoch FROM x.created_at) * 1000000)::bigint || '.' || x.case_id
                         ORDER BY x.created_at DESC, x.case_id DESC)
          INTO v_items, v_keys
          FROM (SELECT c, c.created_at, c.case_id FROM aegis.ops_case c
                 WHERE c.tenant = p_tenant[n]
                   AND (p_status[n] IS NULL OR c.status = p_status[n])
                   AND (p_tag[n] IS NULL OR c.tags @> jsonb_build_array(p_tag[n]))
                   AND (p_since[n] IS NULL OR c.created_at >= p_since[n])
                   AND c.created_at <= v_at AND (c.created_at, c.case_id) < (v_at, v_id)
                 ORDER BY c.created_at DESC, c.case_id DESC
                 LIMIT p_limit[n] + 1) x;
        v_fits := aegis.page_fits(v_items, p_limit[n]);
        RETURN NEXT ROW(n, 200, 'ok', NULL,
            coalesce(array_to_json(v_items[1:v_fits]), '[]')::text,
            CASE WHEN cardinality(v_items) > v_fits THEN v_keys[v_fits] END)::aegis.result;
    END LOOP;
END $$;

-- A page of a timeline, oldest first. after is "<version>.<seq>".
CREATE OR REPLACE FUNCTION aegis.case_timeline_page(p_tenant text[], p_case_id uuid[],
    p_limit int[], p_after text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql STABLE AS $$
DECLARE
    n int; v_items json[]; v_keys text[]; v_version int; v_fits int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        SELECT c.version INTO v_version FROM aegis.ops_case c
         WHERE c.tenant = p_tenant[n] AND c.case_id = p_case_id[n];
        IF NOT FOUND THEN
            RETURN NEXT aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        SELECT array_agg(json_build_object('version', t.version, 'kind', t.kind,
                   'event', t.event, 'from_status', t.from_status, 'to_status', t.to_status,
                   'rule', t.rule, 'actor', t.actor, 'principal', t.principal,
                   'reason', t.reason, 'correlation_id', t.correlation_id,
                   'trace_id', t.trace_id, 'meta', t.meta, 'created_at', t.created_at)
                   ORDER BY t.version, t.seq),
               array_agg(t.version || '.' || t.seq ORDER BY t.version, t.seq)
          INTO v_items, v_keys
          FROM (SELECT * FROM aegis.case_timeline t
                 WHERE t.tenant = p_tenant[n] AND t.case_id = p_case_id[n]
                   AND (p_after[n] IS NULL OR (t.version, t.seq) >
                       (split_part(p_after[n], '.', 1)::int, split_part(p_after[n], '.', 2)::int))
                 ORDER BY t.version, t.seq LIMIT p_limit[n] + 1) t;
        v_fits := aegis.page_fits(v_items, p_limit[n]);
        RETURN NEXT ROW(n, 200, 'ok', v_version,
            coalesce(array_to_json(v_items[1:v_fits]), '[]')::text,
            CASE WHEN cardinality(v_items) > v_fits THEN v_keys[v_fits] END)::aegis.result;
    END LOOP;
END $$;
