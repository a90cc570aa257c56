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

-- How long a key is remembered. Partitions are kept one day longer.
CREATE OR REPLACE FUNCTION aegis.idempotency_ttl() RETURNS interval
LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('aegis.idempotency_ttl', true), ''), '24 hours')::interval
$$;

-- The case as clients see it. json, not jsonb: the order of keys is kept.
CREATE OR REPLACE FUNCTION aegis.case_json(c aegis.ops_case) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'case_id', c.case_id, 'tenant', c.tenant, 'status', c.status,
        'version', c.version, 'title', c.title, 'kind', c.kind,
        'severity', c.severity, 'mode', c.mode, 'tags', c.tags,
        'labels', c.labels, 'plan_id', c.plan_id, 'exec_id', c.exec_id,
        'reason', c.reason, 'correlation_id', c.correlation_id,
        'created_at', c.created_at, 'updated_at', c.updated_at)
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
CREATE OR REPLACE FUNCTION aegis.missing_facts(p_needs int, p_facts int) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('fact', name, 'detail', sentence) ORDER BY bit), '[]')
      FROM aegis.fsm_fact WHERE (p_needs >> bit) & 1 = 1 AND (p_facts >> bit) & 1 = 0
$$;

-- The partition of the outbox that a case belongs to; one relay owns one.
CREATE OR REPLACE FUNCTION aegis.outbox_part(p_case_id uuid) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (get_byte(uuid_send(p_case_id), 15) & 15)::smallint
$$;

-- Claim keys, at once and without waiting. The advisory lock is held to the
-- commit, so between our look-up and our insert nobody else can write the same
-- key; it is taken in a statement before the look-up, because only the next
-- statement's snapshot is sure to see what the lock's last holder committed.
-- consumer NULL: the key is an Idempotency-Key, the ledger is idempotency.
-- consumer set: the key is a message id, the ledger is inbox.
CREATE OR REPLACE FUNCTION aegis.claim_keys(p_tenant text[], p_principal text[],
    p_key text[], p_hash bytea[], p_consumer text[])
RETURNS aegis.claim[] LANGUAGE plpgsql AS $$
DECLARE
    v_got boolean[];
    v_out aegis.claim[];
BEGIN
    SELECT array_agg(pg_try_advisory_xact_lock(hashtextextended(
               i.tenant || E'\x1f' || coalesce(i.consumer, i.principal) || E'\x1f' || i.key, 0))
               ORDER BY i.ord)
      INTO v_got
      FROM unnest(p_tenant, p_principal, p_key, p_consumer)
           WITH ORDINALITY AS i(tenant, principal, key, consumer, ord);

    SELECT array_agg(ROW(CASE
               WHEN NOT i.got THEN 'idempotency-key-in-flight'
               WHEN i.nth > 1 THEN 'again'
               WHEN k.code IS NULL THEN 'new'
               WHEN i.consumer IS NULL AND k.hash IS DISTINCT FROM i.hash THEN 'idempotency-key-reused'
               ELSE 'replay' END,
               k.status, k.code, k.version, k.body, k.extra)::aegis.claim ORDER BY i.ord)
      INTO v_out
      FROM (SELECT u.*, row_number() OVER (PARTITION BY u.tenant,
                       coalesce(u.consumer, u.principal), u.key ORDER BY u.ord) AS nth
              FROM unnest(p_tenant, p_principal, p_key, p_hash, p_consumer, v_got)
                   WITH ORDINALITY AS u(tenant, principal, key, hash, consumer, got, ord)) i
      LEFT JOIN LATERAL (
           SELECT d.hash, d.status, d.code, d.version, d.body, d.extra
             FROM aegis.idempotency d
            WHERE i.consumer IS NULL AND d.tenant = i.tenant
              AND d.principal = i.principal AND d.key = i.key
              AND d.day >= ((now() - aegis.idempotency_ttl()) AT TIME ZONE 'UTC')::date
              -- its day is part of the primary key: until the day is over, a
              -- key of today stays known even when the time set is shorter
              AND (d.created_at > now() - aegis.idempotency_ttl()
                   OR d.day = (now() AT TIME ZONE 'UTC')::date)
           UNION ALL
           SELECT NULL, 200, n.outcome, NULL, '', NULL
             FROM aegis.inbox n
            WHERE i.consumer IS NOT NULL AND n.tenant = i.tenant
              AND n.consumer = i.consumer AND n.msg_id = i.key
           LIMIT 1) k ON true;

    RETURN v_out;
END $$;

-- Lock the cases of the items whose claim is new, in key order; the items that
-- got their lock are returned. Alone, wait (lock_timeout bounds it); in a group,
-- skip what is locked, so that one case never stalls its neighbours.
CREATE OR REPLACE FUNCTION aegis.lock_cases(p_tenant text[], p_case_id uuid[],
    p_claim aegis.claim[])
RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    v_locked int[];
BEGIN
    IF cardinality(p_tenant) = 1 THEN
        SELECT array_agg(x.ord) INTO v_locked FROM (
            SELECT 1 AS ord FROM aegis.ops_case c
             WHERE (p_claim[1]).verdict = 'new'
               AND c.tenant = p_tenant[1] AND c.case_id = p_case_id[1]
               FOR NO KEY UPDATE) x;
    ELSE
        SELECT array_agg(x.ord) INTO v_locked FROM (
            SELECT i.ord::int FROM unnest(p_tenant, p_case_id, p_claim)
                   WITH ORDINALITY AS i(tenant, case_id, verdict, s, k, v, b, e, ord)
              JOIN aegis.ops_case c ON c.tenant = i.tenant AND c.case_id = i.case_id
             WHERE i.verdict = 'new'
             ORDER BY c.tenant, c.case_id
               FOR NO KEY UPDATE OF c SKIP LOCKED) x;
    END IF;
    RETURN v_locked;
END $$;

-- Write what the claimed keys answered. Only answers that are final are kept:
-- success and the refusals of the domain. For a consumer, done and stale.
CREATE OR REPLACE FUNCTION aegis.remember(p_tenant text[], p_principal text[],
    p_key text[], p_hash bytea[], p_consumer text[], p_claim aegis.claim[], p_out aegis.result[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
    SELECT p_tenant[o.ord], p_principal[o.ord], p_key[o.ord], p_hash[o.ord],
           o.status, o.code, o.version, o.body, o.extra
      FROM unnest(p_out) o
     WHERE p_consumer[o.ord] IS NULL AND (p_claim[o.ord]).verdict = 'new'
       AND o.code IN ('ok', 'illegal-transition', 'wrong-state', 'already-exists',
                      'guard-failed', 'version-mismatch', 'version-conflict');

    INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
    SELECT p_tenant[o.ord], p_consumer[o.ord], p_key[o.ord], o.code
      FROM unnest(p_out) o
     WHERE p_consumer[o.ord] IS NOT NULL AND (p_claim[o.ord]).verdict = 'new'
       AND o.code IN ('ok', 'stale-fact', 'already-exists');
END $$;

-- The answer of an item whose claim is not 'new'.
CREATE OR REPLACE FUNCTION aegis.claim_answer(p_ord int, p_claim aegis.claim, p_request_id text)
RETURNS aegis.result LANGUAGE sql STABLE AS $$
    SELECT CASE p_claim.verdict
        WHEN 'replay' THEN ROW(p_ord, p_claim.c_status, 'replay', p_claim.c_version,
                               p_claim.c_body, p_claim.c_extra)::aegis.result
        WHEN 'again' THEN ROW(p_ord, 0, 'again', NULL, '', NULL)::aegis.result
        ELSE (SELECT ROW(p_ord, e.status, e.code, NULL,
                     aegis.problem(e.code, p_request_id, NULL, NULL), NULL)::aegis.result
                FROM aegis.error_def e WHERE e.code = p_claim.verdict) END
$$;
