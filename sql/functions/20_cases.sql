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

-- One statement answers, looks up keys, writes and remembers: what costs is
-- starting a statement, not the rows in it.
CREATE OR REPLACE FUNCTION aegis.case_create(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_title text[], p_kind text[], p_severity text[], p_mode text[],
    p_tags text[], p_labels text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_request_id text[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    v_since timestamptz := now() - aegis.idempotency_ttl();
    v_from  date := (v_since AT TIME ZONE 'UTC')::date;
    v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_got   boolean[] := aegis.lock_keys(p_tenant, p_principal, p_key, p_consumer);
    v_seen  text[];
BEGIN
    IF array_remove(p_consumer, NULL) <> '{}' THEN
        v_seen := aegis.seen_messages(p_tenant, p_consumer, p_key);
    END IF;

    RETURN QUERY
    WITH j AS MATERIALIZED (
        SELECT u.*, u.ord::int AS n, k.status AS k_status, k.version AS k_version,
               k.body AS k_body, k.extra AS k_extra, CASE
               WHEN NOT u.got THEN 'idempotency-key-in-flight'
               WHEN u.nth_key > 1 THEN 'again'
               WHEN k.hash <> u.hash THEN 'idempotency-key-reused'
               WHEN k.code IS NOT NULL OR u.seen IS NOT NULL THEN 'replay'
               ELSE 'ok' END AS code
          FROM (SELECT x.*, row_number() OVER (PARTITION BY x.tenant,
                           coalesce(x.consumer, x.principal), x.key ORDER BY x.ord) AS nth_key
                  FROM unnest(p_tenant, p_principal, p_key, p_hash, p_consumer, p_case_id,
                           p_title, p_kind, p_severity, p_mode, p_tags, p_labels, p_actor,
                           p_reason, p_correlation_id, p_traceparent, p_request_id, v_got, v_seen)
                       WITH ORDINALITY AS x(tenant, principal, key, hash, consumer, case_id,
                           title, kind, severity, mode, tags, labels, actor, reason,
                           correlation_id, traceparent, request_id, got, seen, ord)) u
          LEFT JOIN aegis.idempotency k ON u.consumer IS NULL AND k.tenant = u.tenant
           AND k.principal = u.principal AND k.key = u.key
           AND k.day >= v_from AND k.day <= v_today
           AND (k.created_at > v_since OR k.day = v_today)),
    made AS MATERIALIZED (
        SELECT j.*, row_to_json(ROW(j.case_id, j.tenant, 'NEW', 1, j.title, j.kind, j.severity,
                   j.mode, j.tags::jsonb, j.labels::jsonb, NULL, NULL, j.reason, j.correlation_id,
                   now(), now())::aegis.case_view)::text AS body
          FROM j WHERE j.code = 'ok'),
    ins AS (
        INSERT INTO aegis.ops_case (tenant, case_id, status, version, title, kind, severity, mode,
               tags, labels, reason, correlation_id, created_at, updated_at)
        SELECT m.tenant, m.case_id, 'NEW', 1, m.title, m.kind, m.severity, m.mode,
               m.tags::jsonb, m.labels::jsonb, m.reason, m.correlation_id, now(), now()
          FROM made m),
    tg AS (
        INSERT INTO aegis.case_tag (tenant, tag, created_at, case_id)
        SELECT DISTINCT m.tenant, t.tag, now(), m.case_id
          FROM made m, json_array_elements_text(m.tags::json) AS t(tag)),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, to_status,
               actor, principal, reason, correlation_id, trace_id, idem_key)
        SELECT m.tenant, m.case_id, 1, 'create', 'create', 'NEW', m.actor, m.principal, m.reason,
               m.correlation_id, split_part(m.traceparent, '-', 2), m.key
          FROM made m),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT m.tenant, m.case_id, 1, aegis.outbox_part(m.case_id),
               m.case_id || ':1:created', 'evt.case.created.v1',
               row_to_json(ROW(m.case_id, m.tenant, 1, m.title, m.kind, m.severity, m.mode,
                   m.tags::json, m.labels::json, m.actor, m.correlation_id, now())::aegis.created_fact),
               m.traceparent
          FROM made m),
    r AS (
        SELECT m.n AS ord, 201 AS status, 'ok' AS code, 1 AS version,
               m.body, m.case_id::text AS extra
          FROM made m
        UNION ALL
        SELECT j.n, coalesce(j.k_status, 200), 'replay', j.k_version, coalesce(j.k_body, ''), j.k_extra
          FROM j WHERE j.code = 'replay'
        UNION ALL
        SELECT f.* FROM j, aegis.refused(j.n, j.code, NULL, j.request_id, NULL, NULL) f
         WHERE j.code NOT IN ('ok', 'replay')),
    kept AS (
        INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code,
               version, body, extra)
        SELECT p_tenant[r.ord], p_principal[r.ord], p_key[r.ord], v_today, p_hash[r.ord],
               r.status, r.code, r.version, r.body, r.extra
          FROM r WHERE r.code = 'ok' AND p_consumer[r.ord] IS NULL),
    done AS (
        INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
        SELECT p_tenant[r.ord], p_consumer[r.ord], p_key[r.ord], r.code
          FROM r WHERE r.code = 'ok' AND p_consumer[r.ord] IS NOT NULL),
    woken AS (SELECT pg_notify('aegis_outbox', '') FROM made WHERE p_notify LIMIT 1)
    SELECT r.* FROM r LEFT JOIN woken ON true;
END $$;

-- What a transition needs to know that is not in the case's row, for the items
-- whose event asks for it: the plan that plan_ready names, the run that ended,
-- the facts of the guard. The cases are locked; NULL where there is nothing.
CREATE OR REPLACE FUNCTION aegis.look_up(p_tenant text[], p_case_id uuid[], p_event text[],
    p_meta text[], OUT plan uuid[], OUT run uuid[], OUT facts int[])
LANGUAGE plpgsql AS $$
BEGIN
    SELECT array_agg(x.plan_id ORDER BY x.ord), array_agg(x.run ORDER BY x.ord),
           array_agg(CASE WHEN x.needs = 0 THEN 0
                          ELSE aegis.case_facts(x.row, x.needs, x.plan_id) END ORDER BY x.ord)
      INTO plan, run, facts
      FROM (SELECT i.ord, c AS row, coalesce(t.needs, 0) AS needs,
                   CASE WHEN i.event = 'plan_ready' THEN (
                        SELECT p.plan_id FROM aegis.plan_proposed p
                         WHERE p.tenant = c.tenant AND p.case_id = c.case_id
                           AND ((i.meta::json ->> 'plan_id') IS NULL
                                OR p.plan_id::text = i.meta::json ->> 'plan_id')
                         ORDER BY p.revision DESC LIMIT 1) END AS plan_id,
                   CASE WHEN i.event IN ('exec_done', 'exec_failed') THEN (
                        SELECT r.exec_id FROM aegis.exec_run r
                         WHERE r.tenant = c.tenant AND r.case_id = c.case_id
                           AND r.for_version = c.version) END AS run
              FROM unnest(p_tenant, p_case_id, p_event, p_meta)
                   WITH ORDINALITY AS i(tenant, case_id, event, meta, ord)
              LEFT JOIN aegis.ops_case c ON c.tenant = i.tenant AND c.case_id = i.case_id
              LEFT JOIN aegis.fsm_transition t ON t.from_status = c.status AND t.event = i.event) x;
END $$;

-- Facts that came too late to move their case are notes on its timeline. Returns
-- the items that were; got, seen and locked are what the caller found.
CREATE OR REPLACE FUNCTION aegis.note_stale(p_tenant text[], p_principal text[], p_key text[],
    p_consumer text[], p_case_id uuid[], p_event text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_meta text[], p_fact_version int[],
    p_got boolean[], p_seen text[], p_locked int[])
RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    v_noted int[];
BEGIN
    WITH s AS MATERIALIZED (
        SELECT u.*, c.mode
          FROM (SELECT x.*, x.ord::int AS n,
                       row_number() OVER (PARTITION BY x.tenant, x.case_id, x.got ORDER BY x.ord) AS nth_case,
                       row_number() OVER (PARTITION BY x.tenant, x.consumer, x.key ORDER BY x.ord) AS nth_key
                  FROM unnest(p_tenant, p_principal, p_key, p_consumer, p_case_id, p_event,
                           p_actor, p_reason, p_correlation_id, p_traceparent, p_meta,
                           p_fact_version, p_got, p_seen)
                       WITH ORDINALITY AS x(tenant, principal, key, consumer, case_id, event,
                           actor, reason, correlation_id, traceparent, meta, fact_version,
                           got, seen, ord)) u
          JOIN aegis.ops_case c ON c.tenant = u.tenant AND c.case_id = u.case_id
         WHERE u.consumer IS NOT NULL AND u.got AND u.seen IS NULL AND u.n = ANY (p_locked)
           AND u.nth_case = 1 AND u.nth_key = 1
           AND (u.fact_version < c.version OR (c.mode = 'manual' AND u.event = 'plan_ready'))),
    noted AS (
        UPDATE aegis.ops_case c SET notes = c.notes + 1 FROM s
         WHERE c.tenant = s.tenant AND c.case_id = s.case_id
        RETURNING s.*, c.version, c.status, c.notes, c.correlation_id AS case_correlation),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        SELECT s.tenant, s.case_id, s.version, s.notes, 'note', s.event, s.status, s.status,
               NULL, s.actor, s.principal,
               CASE WHEN s.mode = 'manual' AND s.event = 'plan_ready'
                    THEN 'recorded only: in mode manual plan_ready is a person''s to give'
                    ELSE 'recorded only: the case has moved on since version ' || s.fact_version END
               || CASE WHEN s.reason <> '' THEN '; ' || s.reason ELSE '' END,
               coalesce(nullif(s.correlation_id, ''), s.case_correlation),
               split_part(s.traceparent, '-', 2), s.key, s.meta::json
          FROM noted s)
    SELECT array_agg(s.n) INTO v_noted FROM noted s;
    RETURN v_noted;
END $$;

-- The one statement that changes a case's state.
--   consumer NULL   a request: key is its Idempotency-Key
--   consumer set    a fact: key is the message id, fact_version the case
--                   version that the fact answers to (NULL: not known)
-- A fact that answers to a version which has passed is recorded on the timeline
-- as a note and never moves the case.
-- Keys and cases are locked first. The main query is a new statement and so a new
-- snapshot: it sees the rows as locked, and every key that was committed before.
CREATE OR REPLACE FUNCTION aegis.case_transition(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_event text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_request_id text[], p_meta text[],
    p_expected_version int[], p_if_match text[], p_fact_version int[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope  text := aegis.act_for(p_tenant);
    v_since  timestamptz := now() - aegis.idempotency_ttl();
    v_from   date := (v_since AT TIME ZONE 'UTC')::date;
    v_today  date := (now() AT TIME ZONE 'UTC')::date;
    v_facts_come boolean := array_remove(p_consumer, NULL) <> '{}';
    v_got    boolean[] := aegis.lock_keys(p_tenant, p_principal, p_key, p_consumer);
    v_locked int[] := aegis.lock_cases(p_tenant, p_case_id, false);
    v_plan   uuid[];
    v_run    uuid[];
    v_facts  int[];
    v_seen   text[];
    v_stale  int[];
BEGIN
    -- an item alone waits for its case, but a known key is answered at once
    IF v_locked = '{}' AND cardinality(p_tenant) = 1 AND v_got[1]
       AND ((aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer))[1]).verdict = 'new'
    THEN
        v_locked := aegis.lock_cases(p_tenant, p_case_id, true);
    END IF;
    IF p_event && '{plan_ready,gate_approved,verify_pass,exec_done,exec_failed}'::text[] THEN
        SELECT l.plan, l.run, l.facts INTO v_plan, v_run, v_facts
          FROM aegis.look_up(p_tenant, p_case_id, p_event, p_meta) l;
    END IF;
    IF v_facts_come THEN
        v_seen := aegis.seen_messages(p_tenant, p_consumer, p_key);
        v_stale := aegis.note_stale(p_tenant, p_principal, p_key, p_consumer, p_case_id,
            p_event, p_actor, p_reason, p_correlation_id, p_traceparent, p_meta,
            p_fact_version, v_got, v_seen, v_locked);
    END IF;

    RETURN QUERY
    WITH j AS MATERIALIZED (
        SELECT u.*, u.ord::int AS n, c.version AS cur_version, c.status AS cur_status,
               t.rule, t.to_status, t.needs, s.command,
               CASE WHEN u.event = 'plan_ready' THEN u.plan_id ELSE c.plan_id END AS new_plan_id,
               coalesce(u.exec_id, c.exec_id) AS new_exec_id,
               coalesce(nullif(u.correlation_id, ''), c.correlation_id) AS correlation,
               k.status AS k_status, k.version AS k_version, k.body AS k_body, k.extra AS k_extra,
               CASE
               WHEN NOT u.got THEN 'idempotency-key-in-flight'
               WHEN u.nth_key > 1 THEN 'again'
               WHEN k.hash <> u.hash THEN 'idempotency-key-reused'
               WHEN k.code IS NOT NULL OR u.seen IS NOT NULL THEN 'replay'
               WHEN u.nth_case > 1 THEN 'again'
               WHEN c.case_id IS NULL THEN 'not-found'
               WHEN (u.ord = ANY (v_locked)) IS NOT TRUE THEN 'busy'
               WHEN NOT aegis.if_match_holds(u.if_match, c.version) THEN 'version-mismatch'
               WHEN u.expected_version <> c.version THEN 'version-conflict'
               WHEN u.ord = ANY (v_stale) THEN 'stale-fact'
               WHEN t.rule IS NULL OR u.fact_version > c.version THEN 'illegal-transition'
               WHEN t.needs & ~coalesce(u.facts, 0) <> 0 THEN 'guard-failed'
               ELSE 'ok' END AS code
          FROM (SELECT x.*,
                       row_number() OVER (PARTITION BY x.tenant, x.case_id, x.got ORDER BY x.ord) AS nth_case,
                       row_number() OVER (PARTITION BY x.tenant,
                           coalesce(x.consumer, x.principal), x.key ORDER BY x.ord) AS nth_key
                  FROM unnest(p_tenant, p_principal, p_key, p_hash, p_consumer, p_case_id, p_event,
                           p_actor, p_reason, p_correlation_id, p_traceparent, p_request_id, p_meta,
                           p_expected_version, p_if_match, p_fact_version, v_got, v_seen, v_plan,
                           v_run, v_facts)
                       WITH ORDINALITY AS x(tenant, principal, key, hash, consumer, case_id, event,
                           actor, reason, correlation_id, traceparent, request_id, meta,
                           expected_version, if_match, fact_version, got, seen, plan_id, exec_id,
                           facts, ord)) u
          LEFT JOIN aegis.idempotency k ON u.consumer IS NULL AND k.tenant = u.tenant
           AND k.principal = u.principal AND k.key = u.key
           AND k.day >= v_from AND k.day <= v_today
           AND (k.created_at > v_since OR k.day = v_today)
          LEFT JOIN aegis.ops_case c ON c.tenant = u.tenant AND c.case_id = u.case_id
          LEFT JOIN aegis.fsm_transition t ON t.from_status = c.status AND t.event = u.event
          LEFT JOIN aegis.fsm_state s ON s.name = t.to_status),
    upd AS (
        UPDATE aegis.ops_case c
           SET status = j.to_status, version = c.version + 1, updated_at = now(),
               reason = j.reason, plan_id = j.new_plan_id, exec_id = j.new_exec_id,
               nudges = 0, nudged_at = NULL
          FROM j
         WHERE j.code = 'ok' AND c.tenant = j.tenant AND c.case_id = j.case_id
        RETURNING j.*, c.version, c.status, c.mode, c.updated_at, aegis.case_json(c)::text AS body),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        SELECT u.tenant, u.case_id, u.version, 0, 'transition', u.event, u.cur_status, u.status,
               u.rule, u.actor, u.principal, u.reason, u.correlation,
               split_part(u.traceparent, '-', 2), u.key, u.meta::json
          FROM upd u),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
               u.case_id || ':' || u.version || ':transition', 'evt.case.transition.v1',
               row_to_json(ROW(u.case_id, u.tenant, u.version, u.event, u.cur_status, u.status,
                   u.rule, u.actor, u.reason, u.correlation, u.updated_at)::aegis.transition_fact),
               u.traceparent
          FROM upd u
        UNION ALL
        SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
               u.case_id || ':' || u.version || ':command', u.command,
               row_to_json(ROW(u.case_id, u.tenant, u.version, u.new_plan_id, u.new_exec_id,
                   u.correlation)::aegis.command_data),
               u.traceparent
          FROM upd u WHERE u.command <> '' AND u.mode = 'auto'),
    r AS (
        SELECT u.n AS ord, 200 AS status, 'ok' AS code, u.version, u.body, u.rule::text AS extra
          FROM upd u
        UNION ALL
        SELECT j.n, coalesce(j.k_status, 200), 'replay', j.k_version, coalesce(j.k_body, ''), j.k_extra
          FROM j WHERE j.code = 'replay'
        UNION ALL
        SELECT f.* FROM j, aegis.refused(j.n, j.code,
                   CASE WHEN aegis.is_final(j.code) THEN j.cur_version END, j.request_id,
                   CASE j.code
                   WHEN 'illegal-transition' THEN 'The event ' || j.event
                        || ' is not legal in state ' || j.cur_status || '.'
                   WHEN 'guard-failed' THEN 'The event ' || j.event || ' needs more before it may fire.'
                   WHEN 'version-mismatch' THEN 'The case is at version ' || j.cur_version || '.'
                   WHEN 'version-conflict' THEN 'The case is at version ' || j.cur_version || '.' END,
                   CASE WHEN aegis.is_final(j.code) OR j.code = 'stale-fact'
                        THEN jsonb_build_object('case_id', j.case_id,
                             'current_status', j.cur_status, 'current_version', j.cur_version) END
                   || CASE WHEN j.code = 'guard-failed'
                           THEN jsonb_build_object('missing',
                                aegis.missing_facts(j.needs, coalesce(j.facts, 0)))
                           WHEN aegis.is_final(j.code)
                           THEN jsonb_build_object('allowed_events', aegis.allowed_events(j.cur_status))
                           ELSE '{}' END, j.rule::text) f
         WHERE j.code NOT IN ('ok', 'replay')),
    kept AS (
        INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code,
               version, body, extra)
        SELECT p_tenant[r.ord], p_principal[r.ord], p_key[r.ord], v_today, p_hash[r.ord],
               r.status, r.code, r.version, r.body, r.extra
          FROM r WHERE aegis.is_final(r.code) AND p_consumer[r.ord] IS NULL),
    done AS (
        INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
        SELECT p_tenant[r.ord], p_consumer[r.ord], p_key[r.ord], r.code
          FROM r WHERE v_facts_come AND aegis.is_done(r.code) AND p_consumer[r.ord] IS NOT NULL),
    woken AS (SELECT pg_notify('aegis_outbox', '') FROM upd WHERE p_notify LIMIT 1)
    SELECT r.* FROM r LEFT JOIN woken ON true;
END $$;

CREATE OR REPLACE FUNCTION aegis.not_found(p_ord int, p_request_id text)
RETURNS aegis.result LANGUAGE sql STABLE AS $$
    SELECT aegis.refused(p_ord, 'not-found', NULL, p_request_id, NULL, NULL)
$$;

CREATE OR REPLACE FUNCTION aegis.not_found_body(p_request_id text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN aegis.problem('not-found', p_request_id, NULL, NULL);
END $$;

-- Column by column: (f(x)).* would call f once for each of them.
CREATE OR REPLACE FUNCTION aegis.case_get(p_tenant text[], p_case_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT i.ord::int, CASE WHEN c.version IS NULL THEN 404 ELSE 200 END,
           CASE WHEN c.version IS NULL THEN 'not-found' ELSE 'ok' END, c.version,
           CASE WHEN c.version IS NULL THEN aegis.not_found_body(i.request_id)
                ELSE aegis.case_json(c)::text END, NULL::text
      FROM unnest(p_tenant, p_case_id, p_request_id)
           WITH ORDINALITY AS i(tenant, case_id, request_id, ord)
      LEFT JOIN aegis.ops_case c ON c.tenant = i.tenant AND c.case_id = i.case_id;
END $$;

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
RETURNS SETOF aegis.result LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_from timestamptz; v_at timestamptz; v_id uuid; v_fits int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_from := coalesce(p_since[n], '-infinity');
        v_at := coalesce(p_until[n], 'infinity');
        v_id := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
        IF p_after[n] IS NOT NULL THEN
            v_at := 'epoch'::timestamptz + split_part(p_after[n], '.', 1)::bigint * interval '1 microsecond';
            v_id := split_part(p_after[n], '.', 2)::uuid;
        END IF;
        IF p_tag[n] IS NULL THEN
            SELECT array_agg(aegis.case_json(x.c) ORDER BY x.created_at DESC, x.case_id DESC),
                   array_agg((extract(epoch FROM x.created_at) * 1000000)::bigint || '.' || x.case_id
                             ORDER BY x.created_at DESC, x.case_id DESC)
              INTO v_items, v_keys
              FROM (SELECT c, c.created_at, c.case_id FROM aegis.ops_case c
                     WHERE c.tenant = p_tenant[n]
                       AND (p_status[n] IS NULL OR c.status = p_status[n])
                       AND c.created_at >= v_from
                       AND c.created_at <= v_at AND (c.created_at, c.case_id) < (v_at, v_id)
                     ORDER BY c.created_at DESC, c.case_id DESC
                     LIMIT p_limit[n] + 1) x;
        ELSE
            SELECT array_agg(aegis.case_json(x.c) ORDER BY x.created_at DESC, x.case_id DESC),
                   array_agg((extract(epoch FROM x.created_at) * 1000000)::bigint || '.' || x.case_id
                             ORDER BY x.created_at DESC, x.case_id DESC)
              INTO v_items, v_keys
              FROM (SELECT c, g.created_at, g.case_id FROM aegis.case_tag g
                      JOIN aegis.ops_case c ON c.tenant = g.tenant AND c.case_id = g.case_id
                     WHERE g.tenant = p_tenant[n] AND g.tag = p_tag[n]
                       AND (p_status[n] IS NULL OR c.status = p_status[n])
                       AND g.created_at >= v_from
                       AND g.created_at <= v_at AND (g.created_at, g.case_id) < (v_at, v_id)
                     ORDER BY g.created_at DESC, g.case_id DESC
                     LIMIT p_limit[n] + 1) x;
        END IF;
        v_fits := aegis.page_fits(v_items, p_limit[n]);
        RETURN NEXT ROW(n, 200, 'ok', NULL,
            coalesce(array_to_json(v_items[1:v_fits]), '[]')::text,
            CASE WHEN cardinality(v_items) > v_fits THEN v_keys[v_fits] END)::aegis.result;
    END LOOP;
END $$;

-- A page of a timeline, oldest first. after is "<version>.<seq>".
CREATE OR REPLACE FUNCTION aegis.case_timeline_page(p_tenant text[], p_case_id uuid[],
    p_limit int[], p_after text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_version int; v_fits int; v_after int; v_seq int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_after := coalesce(split_part(p_after[n], '.', 1)::int, 0);
        v_seq := coalesce(split_part(p_after[n], '.', 2)::int, 0);
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
                   AND (t.version, t.seq) > (v_after, v_seq)
                 ORDER BY t.version, t.seq LIMIT p_limit[n] + 1) t;
        v_fits := aegis.page_fits(v_items, p_limit[n]);
        RETURN NEXT ROW(n, 200, 'ok', v_version,
            coalesce(array_to_json(v_items[1:v_fits]), '[]')::text,
            CASE WHEN cardinality(v_items) > v_fits THEN v_keys[v_fits] END)::aegis.result;
    END LOOP;
END $$;
