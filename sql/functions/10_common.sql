-- What every statement shares: the shape of an answer, problem documents, the
-- case as a resource, and the claim of a key that makes a write happen once.
--
-- Every statement takes arrays of items (one element an item, all the same
-- length) and returns one row an item: (ord, status, code, version, body,
-- extra). code is 'ok' or a code of core/tables/errors.def; two more tell the
-- caller to send the item again by itself: 'again' (the key or the case was in
-- this group already) and 'busy' (the case is locked by somebody else).

DO $$ BEGIN
    CREATE TYPE aegis.result AS (ord int, status int, code text, version int,
                                 body text, extra text);
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

DO $$ BEGIN
    -- verdict: new · replay · idempotency-key-reused · idempotency-key-in-flight · again
    CREATE TYPE aegis.claim AS (verdict text, c_status int, c_code text,
                                c_version int, c_body text, c_extra text);
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

-- Say for whom the rest of this transaction acts: row-level security shows and
-- takes rows of these tenants only. It ends with the transaction, so nothing is
-- left on a connection that the next request uses. Every statement says it first.
CREATE OR REPLACE FUNCTION aegis.act_for(p_tenant text[]) RETURNS text
LANGUAGE sql AS $$
    SELECT set_config('aegis.tenants', E'\x1f' || array_to_string(p_tenant, E'\x1f') || E'\x1f', true)
$$;

-- For all of them: the housekeeping of workers, which no request reaches.
CREATE OR REPLACE FUNCTION aegis.act_for_all() RETURNS text
LANGUAGE sql AS $$
    SELECT set_config('aegis.tenants', '*', true)
$$;

-- How long a key is remembered. Partitions are kept one day longer.
CREATE OR REPLACE FUNCTION aegis.idempotency_ttl() RETURNS interval
LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('aegis.idempotency_ttl', true), ''), '24 hours')::interval
$$;

-- The case as clients see it: its card and what changes. Inlined, and text, because
-- json would be checked again; concat() copies the card once, where a chain of ||
-- copies it for each link.
CREATE OR REPLACE FUNCTION aegis.case_text(c aegis.ops_case) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT concat(c.card, ',"status":"', c.status, '","version":', c.version,
        CASE WHEN c.plan_id IS NULL THEN ',"plan_id":null'
             ELSE concat(',"plan_id":"', c.plan_id, '"') END,
        CASE WHEN c.exec_id IS NULL THEN ',"exec_id":null'
             ELSE concat(',"exec_id":"', c.exec_id, '"') END,
        CASE WHEN c.reason = '' THEN ',"reason":""'
             ELSE concat(',"reason":', to_json(c.reason)) END,
        ',"updated_at":', to_json(c.updated_at), '}')
$$;

CREATE OR REPLACE FUNCTION aegis.case_json(c aegis.ops_case) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT aegis.case_text(c)::json
$$;

-- RFC 9457. ext is an object whose members follow the standard ones. request_id
-- may have the trace id behind it, after a blank.
CREATE OR REPLACE FUNCTION aegis.problem(p_code text, p_request_id text,
                                         p_detail text, p_ext jsonb)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT rtrim(json_strip_nulls(json_build_object(
        'type', 'urn:aegis:problem:' || e.code, 'title', e.title,
        'status', e.status, 'detail', coalesce(p_detail, e.remedy),
        'instance', 'urn:aegis:request:' || split_part(coalesce(p_request_id, ''), ' ', 1),
        'trace_id', nullif(split_part(p_request_id, ' ', 2), '')))::text, '}')
        || CASE WHEN p_ext IS NULL OR p_ext = '{}' THEN '}'
                ELSE ',' || ltrim(p_ext::text, '{') END
      FROM aegis.error_def e WHERE e.code = p_code
$$;

CREATE OR REPLACE FUNCTION aegis.allowed_events(p_status text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(event ORDER BY rule), '[]')
      FROM aegis.fsm_transition WHERE from_status = p_status
$$;

-- The facts of a mask that do not hold, as their names.
DROP FUNCTION IF EXISTS aegis.missing_facts(int, int);
CREATE OR REPLACE FUNCTION aegis.missing_facts(p_needs int, p_facts int, p_tenant text,
    p_plan_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT coalesce(jsonb_agg(CASE WHEN f.name <> 'plan_complete'
               THEN jsonb_build_object('fact', f.name, 'detail', f.sentence)
               WHEN p.plan_id IS NULL
               THEN jsonb_build_object('fact', f.name, 'detail', f.sentence || '; there is no plan')
               ELSE jsonb_build_object('fact', f.name, 'lacks', p.missing,
                   'detail', f.sentence || '; revision ' || p.revision || ' lacks '
                   || (SELECT string_agg(m, ' and ') FROM json_array_elements_text(p.missing) m))
               END ORDER BY f.bit), '[]')
      FROM aegis.fsm_fact f
      LEFT JOIN aegis.plan_proposed p ON f.name = 'plan_complete' AND p.tenant = p_tenant
                                     AND p.plan_id = p_plan_id
     WHERE (p_needs >> f.bit) & 1 = 1 AND (p_facts >> f.bit) & 1 = 0);
END $$;

-- The partition of the outbox that a case belongs to; one relay owns one.
CREATE OR REPLACE FUNCTION aegis.outbox_part(p_case_id uuid) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (get_byte(uuid_send(p_case_id), 15) & 15)::smallint
$$;

-- Lock keys, at once and without waiting; true where the lock is ours. It is held
-- to the commit, so between a look-up in the next statement and the insert nobody
-- else can write the same key. It must be taken in a statement before the look-up:
-- only the next one's snapshot is sure to see what the last holder committed.
-- The day up to which keys are looked up is read off the clock behind the lock, too: the
-- last holder may have begun behind a midnight that we began before.
CREATE OR REPLACE FUNCTION aegis.lock_key(p_tenant text, p_owner text, p_key text)
RETURNS boolean LANGUAGE sql AS $$
    SELECT pg_try_advisory_xact_lock(
        hashtextextended(p_tenant || E'\x1f' || p_owner || E'\x1f' || p_key, 0))
$$;
CREATE OR REPLACE FUNCTION aegis.lock_keys(p_tenant text[], p_principal text[],
    p_key text[], p_consumer text[])
RETURNS boolean[] LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_key) = 1 THEN -- needs no query
        RETURN ARRAY[aegis.lock_key(p_tenant[1], coalesce(p_consumer[1], p_principal[1]), p_key[1])];
    END IF;
    RETURN ARRAY(SELECT aegis.lock_key(p_tenant[i], coalesce(p_consumer[i], p_principal[i]), p_key[i])
      FROM generate_series(1, cardinality(p_key)) i);
END $$;

-- The items of a group whose key or case an earlier one of it has: they are sent
-- again by themselves. Those whose key somebody else holds stand in nobody's way.
CREATE OR REPLACE FUNCTION aegis.said_twice(p_tenant text[], p_principal text[], p_key text[],
    p_consumer text[], p_case_id uuid[], p_got boolean[])
RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(ARRAY(SELECT DISTINCT unnest(p_case_id))) = cardinality(p_case_id)
       AND cardinality(ARRAY(SELECT DISTINCT unnest(p_key))) = cardinality(p_key)
    THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY(SELECT x.ord::int
      FROM (SELECT u.ord, row_number() OVER (PARTITION BY u.tenant, u.case_id, u.got
                       ORDER BY u.ord) AS nth_case,
                   row_number() OVER (PARTITION BY u.tenant,
                       coalesce(u.consumer, u.principal), u.key ORDER BY u.ord) AS nth_key
              FROM unnest(p_tenant, p_principal, p_key, p_consumer, p_case_id, p_got)
                   WITH ORDINALITY AS u(tenant, principal, key, consumer, case_id, got, ord)) x
     WHERE x.nth_case > 1 OR x.nth_key > 1);
END $$;

-- What became of messages that were handled before: the inbox's word, or NULL.
CREATE OR REPLACE FUNCTION aegis.seen_messages(p_tenant text[], p_consumer text[], p_key text[])
RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(SELECT (SELECT n.outcome FROM aegis.inbox n WHERE n.tenant = i.tenant
                            AND n.consumer = i.consumer AND n.msg_id = i.key LIMIT 1)
      FROM unnest(p_tenant, p_consumer, p_key) WITH ORDINALITY AS i(tenant, consumer, key, ord)
     ORDER BY i.ord);
END $$;

-- Claim keys: each is new, or what is known of it.
-- consumer NULL: the key is an Idempotency-Key, the ledger is idempotency.
-- consumer set: the key is a message id, the ledger is inbox.
CREATE OR REPLACE FUNCTION aegis.claim_keys(p_tenant text[], p_principal text[],
    p_key text[], p_hash bytea[], p_consumer text[])
RETURNS aegis.claim[] LANGUAGE plpgsql AS $$
DECLARE
    v_since timestamptz := now() - aegis.idempotency_ttl();
    v_from  date := (v_since AT TIME ZONE 'UTC')::date;
    v_got   boolean[] := aegis.lock_keys(p_tenant, p_principal, p_key, p_consumer);
    v_today date := (clock_timestamp() AT TIME ZONE 'UTC')::date; -- lock_keys() says why
    v_seen  text[];
    v_twice bigint[];
BEGIN
    IF array_remove(p_consumer, NULL) <> '{}' THEN
        v_seen := aegis.seen_messages(p_tenant, p_consumer, p_key);
    END IF;

    IF cardinality(p_key) > 1 THEN
        v_twice := ARRAY(SELECT x.ord FROM (
            SELECT u.ord, row_number() OVER (PARTITION BY u.tenant,
                       coalesce(u.consumer, u.principal), u.key ORDER BY u.ord) AS nth
              FROM unnest(p_tenant, p_principal, p_key, p_consumer)
                   WITH ORDINALITY AS u(tenant, principal, key, consumer, ord)) x
             WHERE x.nth > 1);
    END IF;

    RETURN ARRAY(SELECT ROW(CASE
               WHEN NOT v_got[u.n] THEN 'idempotency-key-in-flight'
               WHEN u.n = ANY (v_twice) THEN 'again'
               WHEN k.hash <> p_hash[u.n] THEN 'idempotency-key-reused'
               WHEN k.code IS NOT NULL OR v_seen[u.n] IS NOT NULL THEN 'replay'
               ELSE 'new' END,
               coalesce(k.status, 200), coalesce(k.code, v_seen[u.n]), k.version,
               coalesce(k.body, ''), k.extra)::aegis.claim
      FROM generate_series(1, cardinality(p_key)) AS u(n)
      LEFT JOIN LATERAL (
           SELECT k.hash, k.status, k.code, k.version, k.body, k.extra FROM aegis.idempotency k
            WHERE p_consumer[u.n] IS NULL AND k.tenant = p_tenant[u.n]
              AND k.principal = p_principal[u.n] AND k.key = p_key[u.n]
              AND k.day >= v_from AND k.day <= v_today
              -- its day is part of the primary key: until the day is over, a key of
              -- today stays known even when the time set is shorter
              AND (k.created_at > v_since OR k.day = v_today)
            -- two, when a longer time set has brought the older one back: one row an item
            LIMIT 1) k ON true
     ORDER BY u.n);
END $$;

DROP FUNCTION IF EXISTS aegis.lock_cases(text[], uuid[], aegis.claim[]);
-- Lock the cases of items; the items that got their lock are returned. In a group, skip what is locked, so that one case never stalls its
-- neighbours. An item alone waits (lock_timeout bounds it).
CREATE OR REPLACE FUNCTION aegis.lock_cases(p_tenant text[], p_case_id uuid[], p_wait boolean)
RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
    IF p_wait THEN
        RETURN ARRAY(SELECT 1 FROM aegis.ops_case c
                      WHERE c.tenant = p_tenant[1] AND c.case_id = p_case_id[1]
                        FOR NO KEY UPDATE);
    END IF;
    RETURN ARRAY(SELECT u.n FROM generate_series(1, cardinality(p_tenant)) AS u(n)
                  CROSS JOIN LATERAL (
                        SELECT FROM aegis.ops_case c
                         WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n]
                           FOR NO KEY UPDATE SKIP LOCKED) c);
END $$;

-- The refusals that are final: the key remembers them as it does a success.
CREATE OR REPLACE FUNCTION aegis.is_final(p_code text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_code IN ('ok', 'illegal-transition', 'wrong-state', 'already-exists',
                      'guard-failed', 'version-mismatch', 'version-conflict')
$$;

-- The same for a consumer's message: done and stale.
CREATE OR REPLACE FUNCTION aegis.is_done(p_code text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_code IN ('ok', 'stale-fact', 'already-exists')
$$;

-- Write what the claimed keys answered.
CREATE OR REPLACE FUNCTION aegis.remember(p_tenant text[], p_principal text[],
    p_key text[], p_hash bytea[], p_consumer text[], p_claim aegis.claim[], p_out aegis.result[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF array_position(p_consumer, NULL) IS NOT NULL THEN
        INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
        SELECT p_tenant[o.ord], p_principal[o.ord], p_key[o.ord], p_hash[o.ord],
               o.status, o.code, o.version, o.body, o.extra
          FROM unnest(p_out) o
         WHERE p_consumer[o.ord] IS NULL AND (p_claim[o.ord]).verdict = 'new'
           AND aegis.is_final(o.code);
    END IF;
    IF array_remove(p_consumer, NULL) <> '{}' THEN
        INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
        SELECT p_tenant[o.ord], p_consumer[o.ord], p_key[o.ord], o.code
          FROM unnest(p_out) o
         WHERE p_consumer[o.ord] IS NOT NULL AND (p_claim[o.ord]).verdict = 'new'
           AND aegis.is_done(o.code);
    END IF;
END $$;

-- The answer to an item that was not done: a problem document, or "send it
-- again" (status 0) for again and busy. ext is what the document adds.
CREATE OR REPLACE FUNCTION aegis.refused(p_ord int, p_code text, p_version int,
    p_request_id text, p_detail text, p_ext jsonb, p_extra text DEFAULT NULL)
RETURNS aegis.result LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_code IN ('again', 'busy') THEN
        RETURN ROW(p_ord, 0, p_code, p_version, '', NULL)::aegis.result;
    END IF;
    RETURN ROW(p_ord, (SELECT e.status FROM aegis.error_def e WHERE e.code = p_code), p_code,
               p_version, aegis.problem(p_code, p_request_id, p_detail, p_ext), p_extra)::aegis.result;
END $$;

-- The answer of an item whose claim is not 'new'.
CREATE OR REPLACE FUNCTION aegis.claim_answer(p_ord int, p_claim aegis.claim, p_request_id text)
RETURNS aegis.result LANGUAGE sql STABLE AS $$
    SELECT CASE p_claim.verdict
        WHEN 'replay' THEN ROW(p_ord, p_claim.c_status, 'replay', p_claim.c_version,
                               p_claim.c_body, p_claim.c_extra)::aegis.result
        ELSE aegis.refused(p_ord, p_claim.verdict, NULL, p_request_id, NULL, NULL) END
$$;
