-- The orchestrator's statements that write: create, transition (reads: 21_pages.sql).

-- An approval ends with the next decision on the same plan that is none.
CREATE OR REPLACE FUNCTION aegis.still_approved(a aegis.plan_approved) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT NOT EXISTS (SELECT FROM aegis.gate_decision d
         WHERE d.tenant = a.tenant AND d.case_id = a.case_id AND d.plan_id = a.plan_id
           AND d.created_at > a.created_at AND d.verdict <> 'approved'));
END $$;

-- The facts of core/tables/facts.def for one case; only the bits of p_needs
-- are looked up. p_plan_id is the plan that plan_ready names.
CREATE OR REPLACE FUNCTION aegis.case_facts(c aegis.ops_case, p_needs int, p_plan_id uuid)
RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT
      CASE WHEN p_needs & 1 <> 0 AND EXISTS (
               SELECT FROM aegis.plan_proposed p
                WHERE p.tenant = c.tenant AND p.case_id = c.case_id
                  AND p.plan_id = p_plan_id AND p.complete) THEN 1 ELSE 0 END
    | CASE WHEN p_needs & 2 <> 0 AND EXISTS (
               SELECT FROM aegis.plan_approved a
                WHERE a.tenant = c.tenant AND a.case_id = c.case_id
                  AND a.plan_id = c.plan_id AND aegis.still_approved(a)) THEN 2 ELSE 0 END
    | CASE WHEN p_needs & 4 <> 0 AND EXISTS (
               SELECT FROM aegis.plan_approved a
                WHERE a.tenant = c.tenant AND a.case_id = c.case_id
                  AND a.plan_id = c.plan_id AND aegis.still_approved(a)
                  AND now() >= a.not_before AND now() < a.not_after) THEN 4 ELSE 0 END
    | CASE WHEN p_needs & 8 <> 0 AND EXISTS (
               SELECT FROM aegis.verify_checkpoint v
                WHERE v.tenant = c.tenant AND v.case_id = c.case_id
                  AND v.for_version = c.version AND v.plan_id = c.plan_id
                  AND v.passed) THEN 8 ELSE 0 END);
END $$;

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
        OR left(p_if_match, 1) = '!'
           AND '!' || p_version::text <> ALL (string_to_array(p_if_match, ','))
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
    v_got   boolean[] := aegis.lock_keys(p_tenant, p_principal, p_key, p_consumer);
    v_today date := (clock_timestamp() AT TIME ZONE 'UTC')::date; -- lock_keys() says why
    v_twice int[];
    v_seen  text[];
BEGIN
    IF cardinality(p_tenant) > 1 THEN
        v_twice := aegis.said_twice(p_tenant, p_principal, p_key, p_consumer, p_case_id, v_got);
    END IF;
    IF array_remove(p_consumer, NULL) <> '{}' THEN
        v_seen := aegis.seen_messages(p_tenant, p_consumer, p_key);
    END IF;

    RETURN QUERY
    WITH j AS MATERIALIZED (
        SELECT u.ord::int AS n, u.tenant, u.case_id, k.status AS k_status, k.version AS k_version,
               k.body AS k_body, k.extra AS k_extra, CASE
               WHEN NOT u.got THEN 'idempotency-key-in-flight'
               WHEN u.ord = ANY (v_twice) THEN 'again'
               WHEN k.hash <> u.hash THEN 'idempotency-key-reused'
               WHEN k.code IS NOT NULL OR u.seen IS NOT NULL THEN 'replay'
               ELSE 'ok' END AS code
          FROM unnest(p_tenant, p_principal, p_key, p_hash, p_consumer, p_case_id, v_got, v_seen)
               WITH ORDINALITY AS u(tenant, principal, key, hash, consumer, case_id, got, seen, ord)
          -- LIMIT 1: item by item, whatever the planner believes of the table, and one of two answers
          -- that a longer time set has brought back
          LEFT JOIN LATERAL (
               SELECT k.hash, k.status, k.code, k.version, k.body, k.extra FROM aegis.idempotency k
                WHERE u.consumer IS NULL AND k.tenant = u.tenant
                  AND k.principal = u.principal AND k.key = u.key
                  AND k.day >= v_from AND k.day <= v_today
                  AND (k.created_at > v_since OR k.day = v_today) LIMIT 1) k ON true),
    ins AS (
        INSERT INTO aegis.ops_case AS c (tenant, case_id, title, kind, severity, mode, tags, labels,
               reason, correlation_id)
        SELECT j.tenant, j.case_id, p_title[j.n], p_kind[j.n], p_severity[j.n], p_mode[j.n],
               p_tags[j.n]::jsonb, p_labels[j.n]::jsonb, p_reason[j.n], p_correlation_id[j.n]
          FROM j WHERE j.code = 'ok'
        RETURNING array_position(p_case_id, c.case_id) AS n, c.tenant, c.case_id,
                  aegis.case_text(c) AS body),
    tg AS (
        INSERT INTO aegis.case_tag (tenant, tag, created_at, case_id)
        SELECT DISTINCT i.tenant, t.tag, now(), i.case_id
          FROM ins i, json_array_elements_text(p_tags[i.n]::json) AS t(tag)),
    tl AS (
        INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, to_status,
               actor, principal, reason, correlation_id, trace_id, idem_key)
        SELECT i.tenant, i.case_id, 1, 'create', 'create', 'NEW', p_actor[i.n], p_principal[i.n],
               p_reason[i.n], p_correlation_id[i.n], split_part(p_traceparent[i.n], '-', 2), p_key[i.n]
          FROM ins i),
    ob AS (
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        SELECT i.tenant, i.case_id, 1, aegis.outbox_part(i.case_id),
               i.case_id || ':1:created', 'evt.case.created.v1',
               row_to_json(ROW(i.case_id, i.tenant, 1, p_title[i.n], p_kind[i.n], p_severity[i.n],
                   p_mode[i.n], p_tags[i.n]::json, p_labels[i.n]::json, p_actor[i.n],
                   p_correlation_id[i.n], now())::aegis.created_fact),
               p_traceparent[i.n]
          FROM ins i),
    kept AS (
        INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code,
               version, body, extra)
        SELECT i.tenant, p_principal[i.n], p_key[i.n], v_today, p_hash[i.n], 201, 'ok', 1,
               i.body, i.case_id::text
          FROM ins i WHERE p_consumer[i.n] IS NULL),
    done AS (
        INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
        SELECT i.tenant, p_consumer[i.n], p_key[i.n], 'ok'
          FROM ins i WHERE p_consumer[i.n] IS NOT NULL),
    woken AS (SELECT pg_notify('aegis_outbox', '') FROM ins WHERE p_notify LIMIT 1)
    SELECT i.n, 201, 'ok', 1, i.body, i.case_id::text FROM ins i LEFT JOIN woken ON true
     UNION ALL
    SELECT j.n, coalesce(j.k_status, 200), 'replay', j.k_version, coalesce(j.k_body, ''), j.k_extra
      FROM j WHERE j.code = 'replay'
     UNION ALL
    SELECT f.* FROM j, aegis.refused(j.n, j.code, NULL, p_request_id[j.n], NULL, NULL) f
     WHERE j.code NOT IN ('ok', 'replay');
END $$;

DROP FUNCTION IF EXISTS aegis.judge(text[], text[], text[], bytea[], text[], uuid[], text[], text[],
    int[], text[], int[], boolean[], text[], int[], int[], int[], int[], date, date, timestamptz);
DROP FUNCTION IF EXISTS aegis.transition_refused(text[], text[], text[], bytea[], text[], uuid[],
    text[], text[], text[], int[], text[], int[], boolean[], text[], int[], int[], int[], int[],
    date, date, timestamptz);
DROP FUNCTION IF EXISTS aegis.note_stale(text[], text[], text[], text[], uuid[], text[], text[],
    text[], text[], text[], text[], int[], boolean[], text[], int[]);
DROP FUNCTION IF EXISTS aegis.transition_refused(text[], text[], text[], bytea[], text[], uuid[],
    text[], text[], int[], text[], int[], boolean[], text[], int[], int[], int[], int[], date,
    date, timestamptz);
-- What a transition needs to know that is not in the case's row, for the items
-- whose event asks for it: the plan that plan_ready names, the run that ended,
-- the facts of the guard. The cases are locked; NULL where there is nothing. late:
-- some fact may be one for note_stale().
DROP FUNCTION IF EXISTS aegis.look_up(text[], uuid[], text[], text[]);
CREATE OR REPLACE FUNCTION aegis.look_up(p_tenant text[], p_case_id uuid[], p_event text[],
    p_meta text[], p_fact_version int[], OUT plan uuid[], OUT run uuid[], OUT facts int[],
    OUT late boolean)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT array_agg(x.plan_id ORDER BY x.ord), array_agg(x.run ORDER BY x.ord),
           array_agg(CASE WHEN x.needs = 0 THEN 0
                          ELSE aegis.case_facts(x.row, x.needs, x.plan_id) END ORDER BY x.ord),
           bool_or(p_fact_version[x.ord] < (x.row).version OR (x.row).mode = 'manual')
      INTO plan, run, facts, late
      FROM (SELECT u.n AS ord, c.c AS row, coalesce(t.needs, 0) AS needs, p.plan_id, r.exec_id AS run
              FROM generate_series(1, cardinality(p_tenant)) AS u(n)
              LEFT JOIN LATERAL (
                   SELECT c FROM aegis.ops_case c
                    WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] OFFSET 0) c ON true
              LEFT JOIN LATERAL (
                   SELECT t.needs FROM aegis.fsm_transition t
                    WHERE t.from_status = (c.c).status AND t.event = p_event[u.n] OFFSET 0) t ON true
              LEFT JOIN LATERAL (
                   SELECT p.plan_id FROM aegis.plan_proposed p
                    WHERE p_event[u.n] = 'plan_ready'
                      AND p.tenant = p_tenant[u.n] AND p.case_id = p_case_id[u.n]
                      AND ((p_meta[u.n]::json ->> 'plan_id') IS NULL
                           OR p.plan_id::text = p_meta[u.n]::json ->> 'plan_id')
                    ORDER BY p.revision DESC LIMIT 1) p ON true
              LEFT JOIN LATERAL (
                   SELECT r.exec_id FROM aegis.exec_run r
                    WHERE p_event[u.n] IN ('exec_done', 'exec_failed')
                      AND r.tenant = p_tenant[u.n] AND r.case_id = p_case_id[u.n]
                      AND r.for_version = (c.c).version AND NOT r.dry LIMIT 1) r ON true) x;
END $$;

-- Facts that came too late to move their case are notes on its timeline. Returns
-- the items that were; got, seen and locked are what the caller found.
CREATE OR REPLACE FUNCTION aegis.note_stale(p_tenant text[], p_principal text[], p_key text[],
    p_consumer text[], p_case_id uuid[], p_event text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_meta text[], p_fact_version int[],
    p_got boolean[], p_seen text[], p_locked int[], p_twice int[])
RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    v_noted int[];
BEGIN
    WITH s AS MATERIALIZED (
        SELECT u.*, u.ord::int AS n, c.mode
          FROM unnest(p_tenant, p_principal, p_key, p_consumer, p_case_id, p_event, p_actor,
                   p_reason, p_correlation_id, p_traceparent, p_meta, p_fact_version, p_got, p_seen)
               WITH ORDINALITY AS u(tenant, principal, key, consumer, case_id, event, actor,
                   reason, correlation_id, traceparent, meta, fact_version, got, seen, ord)
          JOIN aegis.ops_case c ON c.tenant = u.tenant AND c.case_id = u.case_id
         WHERE u.consumer IS NOT NULL AND u.got AND u.seen IS NULL AND u.ord = ANY (p_locked)
           AND (u.ord = ANY (p_twice)) IS NOT TRUE
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

-- What is to become of one item of a transition: the order of these lines is the
-- order in which an item is refused. 'mine' is a key that this very transaction has
-- just written. Inlined into the queries that ask, as all that is asked per row must be.
CREATE OR REPLACE FUNCTION aegis.verdict(p_got boolean, p_twice boolean, p_mine boolean,
    p_same_hash boolean, p_known boolean, p_version int, p_locked boolean, p_if_match text,
    p_expected int, p_stale boolean, p_fact_version int, p_rule int, p_needs int, p_facts int)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
           WHEN NOT p_got THEN 'idempotency-key-in-flight'
           WHEN p_twice THEN 'again'
           WHEN p_mine THEN 'mine'
           WHEN NOT p_same_hash THEN 'idempotency-key-reused'
           WHEN p_known THEN 'replay'
           WHEN p_version IS NULL THEN 'not-found'
           WHEN NOT p_locked THEN 'busy'
           WHEN NOT aegis.if_match_holds(p_if_match, p_version) THEN 'version-mismatch'
           WHEN p_expected <> p_version THEN 'version-conflict'
           WHEN p_stale THEN 'stale-fact'
           WHEN p_rule IS NULL OR p_fact_version > p_version THEN 'illegal-transition'
           WHEN p_needs & ~coalesce(p_facts, 0) <> 0 THEN 'guard-failed'
           ELSE 'ok' END
$$;

-- The answers of the items that were not carried out; final ones are remembered.
-- One that could have been carried out by now was locked, or changed under way.
CREATE OR REPLACE FUNCTION aegis.transition_refused(p_tenant text[], p_principal text[],
    p_key text[], p_hash bytea[], p_consumer text[], p_case_id uuid[], p_event text[],
    p_request_id text[], p_expected_version int[], p_if_match text[], p_fact_version int[],
    p_got boolean[], p_seen text[], p_plan uuid[], p_facts int[], p_locked int[], p_twice int[],
    p_stale int[], p_from date, p_today date, p_since timestamptz)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_now text[];
BEGIN
    IF array_remove(p_consumer, NULL) <> '{}' THEN
        v_now := aegis.seen_messages(p_tenant, p_consumer, p_key);
    END IF;

    RETURN QUERY
    WITH j AS MATERIALIZED (
        SELECT u.n, replace(x.code, 'ok', 'busy') AS code, c.status, c.version, t.rule, t.needs,
               k.status AS k_status, k.version AS k_version, k.body AS k_body, k.extra AS k_extra
          FROM generate_series(1, cardinality(p_tenant)) AS u(n)
          LEFT JOIN LATERAL (
               SELECT k.xmin, k.* FROM aegis.idempotency k
                WHERE p_consumer[u.n] IS NULL AND k.tenant = p_tenant[u.n]
                  AND k.principal = p_principal[u.n] AND k.key = p_key[u.n]
                  AND k.day >= p_from AND k.day <= p_today
                  AND (k.created_at > p_since OR k.day = p_today) LIMIT 1) k ON true
          LEFT JOIN LATERAL (
               SELECT c.status, c.version FROM aegis.ops_case c
                WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] OFFSET 0) c ON true
          LEFT JOIN LATERAL (
               SELECT t.rule, t.needs FROM aegis.fsm_transition t
                WHERE t.from_status = c.status AND t.event = p_event[u.n] OFFSET 0) t ON true
         CROSS JOIN LATERAL aegis.verdict(p_got[u.n], u.n = ANY (p_twice),
                   k.xmin = pg_current_xact_id_if_assigned()::xid, k.hash = p_hash[u.n],
                   k.code IS NOT NULL OR p_seen[u.n] IS NOT NULL, c.version,
                   p_locked IS NULL OR u.n = ANY (p_locked), p_if_match[u.n],
                   p_expected_version[u.n], u.n = ANY (p_stale), p_fact_version[u.n], t.rule,
                   t.needs, p_facts[u.n]) AS x(code)
         -- a message that is in the inbox by now, and was not, is ours
         WHERE x.code <> 'mine' AND (v_now[u.n] IS NULL OR p_seen[u.n] IS NOT NULL)),
    r AS MATERIALIZED (
        SELECT j.n AS ord, coalesce(j.k_status, 200) AS status, 'replay' AS code,
               j.k_version AS version, coalesce(j.k_body, '') AS body, j.k_extra AS extra
          FROM j WHERE j.code = 'replay'
        UNION ALL
        SELECT f.* FROM j, aegis.refused(j.n, j.code,
                   CASE WHEN aegis.is_final(j.code) THEN j.version END, p_request_id[j.n],
                   CASE j.code
                   WHEN 'illegal-transition' THEN 'The event ' || p_event[j.n]
                        || ' is not legal in state ' || j.status || '.'
                   WHEN 'guard-failed' THEN 'The event ' || p_event[j.n] || ' needs more before it may fire.'
                   WHEN 'version-mismatch' THEN 'The case is at version ' || j.version || '.'
                   WHEN 'version-conflict' THEN 'The case is at version ' || j.version || '.' END,
                   CASE WHEN aegis.is_final(j.code) OR j.code = 'stale-fact'
                        THEN jsonb_build_object('case_id', p_case_id[j.n],
                             'current_status', j.status, 'current_version', j.version) END
                   || CASE WHEN j.code = 'guard-failed'
                           THEN jsonb_build_object('missing',
                                aegis.missing_facts(j.needs, coalesce(p_facts[j.n], 0),
                                    p_tenant[j.n], p_plan[j.n]))
                           WHEN aegis.is_final(j.code)
                           THEN jsonb_build_object('allowed_events', aegis.allowed_events(j.status))
                           ELSE '{}' END, j.rule::text) f
         WHERE j.code <> 'replay'),
    kept AS (
        INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code,
               version, body, extra)
        SELECT p_tenant[r.ord], p_principal[r.ord], p_key[r.ord], p_today, p_hash[r.ord],
               r.status, r.code, r.version, r.body, r.extra
          FROM r WHERE aegis.is_final(r.code) AND p_consumer[r.ord] IS NULL),
    done AS (
        INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
        SELECT p_tenant[r.ord], p_consumer[r.ord], p_key[r.ord], r.code
          FROM r WHERE aegis.is_done(r.code) AND p_consumer[r.ord] IS NOT NULL)
    SELECT r.* FROM r;
END $$;

-- The statement that changes a case's state for who asks for that (what moves a case
-- because it was written: 22_advance.sql).
--   consumer NULL   a request: key is its Idempotency-Key
--   consumer set    a fact: key is the message id, fact_version the case
--                   version that the fact answers to (NULL: not known)
-- A fact that answers to a version which has passed is recorded on the timeline
-- as a note and never moves the case.
-- Keys are locked first: the main query is a new statement and so a new snapshot,
-- which sees every key that was committed before. It locks the cases itself and
-- leaves out those that somebody else holds; so it writes at most once to a case,
-- and only to the version that its snapshot shows. What facts or guards ask for is
-- looked up under the case's lock, which is taken before for them.
-- A request that goes alone and can be carried out is done by a statement a step: they
-- cost less to start than the query of all steps, which pays from the second item on. What
-- they do not do, for whatever reason, is left to that query and to its answer.
CREATE OR REPLACE FUNCTION aegis.case_transition(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
    p_case_id uuid[], p_event text[], p_actor text[], p_reason text[],
    p_correlation_id text[], p_traceparent text[], p_request_id text[], p_meta text[],
    p_expected_version int[], p_if_match text[], p_fact_version int[], p_notify boolean)
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    c_asks   CONSTANT text[] := '{plan_ready,gate_approved,verify_pass,exec_done,exec_failed}'; -- for facts
    v_scope  text := aegis.act_for(p_tenant);
    v_since  timestamptz := now() - aegis.idempotency_ttl();
    v_from   date := (v_since AT TIME ZONE 'UTC')::date;
    v_n      int := cardinality(p_tenant);
    v_from_bus boolean := array_remove(p_consumer, NULL) <> '{}';
    v_got    boolean[] := CASE WHEN v_n > 1 OR v_from_bus
                               THEN aegis.lock_keys(p_tenant, p_principal, p_key, p_consumer)
                               ELSE ARRAY[aegis.lock_key(p_tenant[1], p_principal[1], p_key[1])] END;
    v_today  date := (clock_timestamp() AT TIME ZONE 'UTC')::date; -- lock_keys() says why
    v_locked int[]; -- NULL: the main query does it
    v_twice  int[];
    v_plan   uuid[];
    v_run    uuid[];
    v_facts  int[];
    v_seen   text[];
    v_late   boolean;
    v_stale  int[];
    v_done   int;
    v_alone  aegis.result;
    v_place  tid; -- of one item: what is known of its case, and the row that fires
    v_was    text;
    v_to     text;
    v_rule   int;
    v_command text;
    v_said   text;
    v_mode   text;
    v_exec   uuid;
    v_plan_1 uuid;
    v_version int;
    v_body   text;
BEGIN
    IF v_n = 1 AND NOT v_from_bus AND v_got[1] AND p_expected_version[1] IS NULL
       AND p_fact_version[1] IS NULL AND NOT p_event && c_asks
    THEN
        -- locked first: the row that fires is looked up for the state that is locked
        SELECT c.place, c.status, coalesce(nullif(p_correlation_id[1], ''), c.correlation_id),
               t.rule, t.to_status, t.command
          INTO v_place, v_was, v_said, v_rule, v_to, v_command
          FROM (SELECT c.ctid AS place, c.status, c.version, c.correlation_id FROM aegis.ops_case c
                 WHERE c.tenant = p_tenant[1] AND c.case_id = p_case_id[1]
                   FOR NO KEY UPDATE SKIP LOCKED) c
         CROSS JOIN LATERAL (
               SELECT t.rule, t.needs, t.to_status, t.command FROM aegis.fsm_transition t
                WHERE t.from_status = c.status AND t.event = p_event[1] OFFSET 0) t
         WHERE t.needs = 0 AND (p_if_match[1] IS NULL OR p_if_match[1] = c.version::text)
           AND NOT EXISTS (
               SELECT FROM aegis.idempotency k
                WHERE k.tenant = p_tenant[1] AND k.principal = p_principal[1] AND k.key = p_key[1]
                  AND k.day >= v_from AND k.day <= v_today
                  AND (k.created_at > v_since OR k.day = v_today) OFFSET 0);
    END IF;
    IF v_place IS NOT NULL THEN
        UPDATE aegis.ops_case c
           SET status = v_to, version = c.version + 1, updated_at = now(), closed = v_to = 'CLOSED',
               settled = '', reason = p_reason[1], nudges = 0, nudged_at = NULL
         WHERE c.ctid = v_place -- locked: it is where it was seen
        RETURNING c.version, c.mode, c.plan_id, c.exec_id, aegis.case_text(c)
             INTO v_version, v_mode, v_plan_1, v_exec, v_body;
        INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
               to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
        VALUES (p_tenant[1], p_case_id[1], v_version, 0, 'transition', p_event[1], v_was, v_to,
               v_rule, p_actor[1], p_principal[1], p_reason[1], v_said,
               split_part(p_traceparent[1], '-', 2), p_key[1], p_meta[1]::json);
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
        VALUES (p_tenant[1], p_case_id[1], v_version, aegis.outbox_part(p_case_id[1]),
               p_case_id[1] || ':' || v_version || ':transition', 'evt.case.transition.v1',
               row_to_json(ROW(p_case_id[1], p_tenant[1], v_version, p_event[1], v_was, v_to,
                   v_rule, p_actor[1], p_reason[1], v_said, now())::aegis.transition_fact),
               p_traceparent[1]);
        IF v_command <> '' AND v_mode = 'auto'
           AND strpos(coalesce(current_setting('aegis.here', true), ''), v_command) = 0
        THEN
            INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
            VALUES (p_tenant[1], p_case_id[1], v_version, aegis.outbox_part(p_case_id[1]),
                   p_case_id[1] || ':' || v_version || ':command', v_command,
                   row_to_json(ROW(p_case_id[1], p_tenant[1], v_version, v_plan_1, v_exec,
                       v_said)::aegis.command_data),
                   p_traceparent[1]);
        END IF;
        INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code, version,
               body, extra)
        VALUES (p_tenant[1], p_principal[1], p_key[1], v_today, p_hash[1], 200, 'ok', v_version,
               v_body, v_rule::text);
        IF p_notify THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
        v_alone := ROW(1, 200, 'ok', v_version, v_body, v_rule::text);
        RETURN NEXT v_alone;
        RETURN;
    END IF;

    IF v_n > 1 THEN
        v_twice := aegis.said_twice(p_tenant, p_principal, p_key, p_consumer, p_case_id, v_got);
    END IF;
    IF v_from_bus OR p_event && c_asks THEN
        v_locked := aegis.lock_cases(p_tenant, p_case_id, false);
        -- an item alone waits for its case, but a known key is answered at once
        IF v_n = 1 AND v_locked = '{}' AND v_got[1] AND ((aegis.claim_keys(p_tenant, p_principal,
               p_key, p_hash, p_consumer))[1]).verdict = 'new'
        THEN
            v_locked := aegis.lock_cases(p_tenant, p_case_id, true);
        END IF;
        SELECT l.plan, l.run, l.facts, l.late INTO v_plan, v_run, v_facts, v_late
          FROM aegis.look_up(p_tenant, p_case_id, p_event, p_meta, p_fact_version) l;
    END IF;
    IF v_from_bus THEN
        v_seen := aegis.seen_messages(p_tenant, p_consumer, p_key);
    END IF;
    IF v_from_bus AND v_late THEN
        v_seen := aegis.seen_moves(p_tenant, p_consumer, p_case_id, p_key, p_fact_version, v_seen);
        v_stale := aegis.note_stale(p_tenant, p_principal, p_key, p_consumer, p_case_id,
            p_event, p_actor, p_reason, p_correlation_id, p_traceparent, p_meta,
            p_fact_version, v_got, v_seen, v_locked, v_twice);
    END IF;

    LOOP
        -- narrow on purpose: starting a query costs for each column of each step
        RETURN QUERY
        WITH j AS MATERIALIZED (
            SELECT u.n, c.place, c.status, t.rule, t.to_status, t.command,
                   coalesce(nullif(p_correlation_id[u.n], ''), c.correlation_id) AS correlation
              FROM generate_series(1, v_n) AS u(n)
             CROSS JOIN LATERAL (
                   SELECT c.ctid AS place, c.status, c.version, c.correlation_id
                     FROM aegis.ops_case c
                    WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n]
                      FOR NO KEY UPDATE SKIP LOCKED) c
             -- OFFSET 0: item by item and in this order, whatever the planner believes
             CROSS JOIN LATERAL (
                   SELECT t.rule, t.needs, t.to_status, t.command FROM aegis.fsm_transition t
                    WHERE t.from_status = c.status AND t.event = p_event[u.n] OFFSET 0) t
              LEFT JOIN LATERAL (
                   SELECT k.hash, k.code FROM aegis.idempotency k
                    WHERE p_consumer[u.n] IS NULL AND k.tenant = p_tenant[u.n]
                      AND k.principal = p_principal[u.n] AND k.key = p_key[u.n]
                      AND k.day >= v_from AND k.day <= v_today
                      AND (k.created_at > v_since OR k.day = v_today) LIMIT 1) k ON true
             WHERE aegis.verdict(v_got[u.n], u.n = ANY (v_twice), false, k.hash = p_hash[u.n],
                       k.code IS NOT NULL OR v_seen[u.n] IS NOT NULL, c.version,
                       v_locked IS NULL OR u.n = ANY (v_locked), p_if_match[u.n],
                       p_expected_version[u.n], u.n = ANY (v_stale), p_fact_version[u.n], t.rule,
                       t.needs, v_facts[u.n]) = 'ok'),
        upd AS (
            UPDATE aegis.ops_case c
               SET status = j.to_status, version = c.version + 1, updated_at = now(),
                   closed = j.to_status = 'CLOSED', settled = '', reason = p_reason[j.n],
                   plan_id = CASE WHEN p_event[j.n] = 'plan_ready' THEN v_plan[j.n] ELSE c.plan_id END,
                   exec_id = coalesce(v_run[j.n], c.exec_id), nudges = 0, nudged_at = NULL
              FROM j
             WHERE c.ctid = j.place -- locked: it is where it was seen
            RETURNING j.n, j.status AS was, j.rule, j.command, j.correlation, c.tenant, c.case_id,
                      c.version, c.status, c.mode, c.plan_id, c.exec_id, aegis.case_text(c) AS body),
        tl AS (
            INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
                   to_status, rule, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
            SELECT u.tenant, u.case_id, u.version, 0, 'transition', p_event[u.n], u.was, u.status,
                   u.rule, p_actor[u.n], p_principal[u.n], p_reason[u.n], u.correlation,
                   split_part(p_traceparent[u.n], '-', 2), p_key[u.n], p_meta[u.n]::json
              FROM upd u),
        ob AS (
            INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
            SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
                   u.case_id || ':' || u.version || ':transition', 'evt.case.transition.v1',
                   row_to_json(ROW(u.case_id, u.tenant, u.version, p_event[u.n], u.was, u.status,
                       u.rule, p_actor[u.n], p_reason[u.n], u.correlation, now())::aegis.transition_fact),
                   p_traceparent[u.n]
              FROM upd u
            UNION ALL
            SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
                   u.case_id || ':' || u.version || ':command', u.command,
                   row_to_json(ROW(u.case_id, u.tenant, u.version, u.plan_id, u.exec_id,
                       u.correlation)::aegis.command_data),
                   p_traceparent[u.n]
              FROM upd u WHERE u.command <> '' AND u.mode = 'auto'
               AND strpos(coalesce(current_setting('aegis.here', true), ''), u.command) = 0),
        kept AS (
            INSERT INTO aegis.idempotency (tenant, principal, key, day, hash, status, code,
                   version, body, extra)
            SELECT u.tenant, p_principal[u.n], p_key[u.n], v_today, p_hash[u.n], 200, 'ok',
                   u.version, u.body, u.rule::text
              FROM upd u WHERE p_consumer[u.n] IS NULL)
        SELECT u.n, 200, 'ok', u.version, u.body, u.rule::text FROM upd u;
        GET DIAGNOSTICS v_done = ROW_COUNT;
        EXIT WHEN v_done = v_n OR v_n > 1 OR v_locked IS NOT NULL;

        SELECT f.* INTO v_alone FROM aegis.transition_refused(p_tenant, p_principal, p_key, p_hash,
            p_consumer, p_case_id, p_event, p_request_id, p_expected_version, p_if_match,
            p_fact_version, v_got, v_seen, v_plan, v_facts, v_locked, v_twice, v_stale, v_from,
            v_today, v_since) f;
        IF v_alone.code <> 'busy' THEN
            RETURN NEXT v_alone;
            RETURN;
        END IF;
        v_locked := aegis.lock_cases(p_tenant, p_case_id, true);
    END LOOP;

    IF v_from_bus AND v_done > 0 THEN
        INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
        SELECT p_tenant[u.n], p_consumer[u.n], p_key[u.n], 'ok'
          FROM generate_series(1, v_n) AS u(n)
         CROSS JOIN LATERAL (
               SELECT c.version FROM aegis.ops_case c
                WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] OFFSET 0) c
         CROSS JOIN LATERAL (
               SELECT FROM aegis.case_timeline t
                WHERE t.tenant = p_tenant[u.n] AND t.case_id = p_case_id[u.n]
                  AND t.version = c.version AND t.seq = 0 AND t.idem_key = p_key[u.n]
                  AND t.xmin = pg_current_xact_id_if_assigned()::xid OFFSET 0) t
         WHERE p_consumer[u.n] IS NOT NULL AND (u.n = ANY (v_twice)) IS NOT TRUE;
    END IF;
    IF v_done < v_n THEN
        RETURN QUERY SELECT f.* FROM aegis.transition_refused(p_tenant, p_principal, p_key, p_hash,
            p_consumer, p_case_id, p_event, p_request_id, p_expected_version, p_if_match,
            p_fact_version, v_got, v_seen, v_plan, v_facts, v_locked, v_twice, v_stale, v_from,
            v_today, v_since) f;
    END IF;
    IF p_notify AND v_done > 0 THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
END $$;
