-- The gatekeeper's part of loading facts and committing decisions: approval by
-- people, and the rates of automatic approvals. What is decided is decided by the
-- core (core/aegis_module_gate.c, core/aegis_module_approve.c); here it is seen to
-- that what was decided on is still so when it is committed.

-- A question with its voices and, when it is closed, the decision that closed it.
CREATE OR REPLACE FUNCTION aegis.gate_request_json(q aegis.gate_request) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT json_build_object('request_id', q.request_id, 'plan_id', q.plan_id,
        'plan_hash', q.plan_hash, 'state', q.state, 'rule', q.rule, 'needs', q.needs,
        'proposers', q.proposers, 'asked_at', q.created_at, 'expires_at', q.expires_at,
        'votes', (SELECT coalesce(json_agg(json_build_object('principal', v.principal,
                      'verdict', v.verdict, 'counts', v.counts, 'comment', v.comment,
                      'at', v.created_at) ORDER BY v.created_at, v.principal), '[]')
                    FROM aegis.gate_vote v WHERE v.tenant = q.tenant AND v.case_id = q.case_id
                     AND v.request_id = q.request_id),
        'decision', (SELECT json_strip_nulls(json_build_object('decision_id', d.decision_id,
                      'plan_id', d.plan_id, 'plan_hash', d.plan_hash, 'verdict', d.verdict,
                      'rule', d.rule, 'reason', d.reason, 'checks', d.checks, 'source', d.source,
                      'policy_hash', d.policy_hash, 'not_before', a.not_before,
                      'not_after', a.not_after))
                       FROM aegis.gate_decision d
                       LEFT JOIN aegis.plan_approved a ON a.tenant = d.tenant
                        AND a.case_id = d.case_id AND a.plan_id = d.plan_id
                        AND a.decision_id = d.decision_id
                      WHERE d.tenant = q.tenant AND d.case_id = q.case_id
                        AND d.decision_id = q.decision_id)));
END $$;

-- How many automatic approvals a rule of kind rate sees; beyond p_most nobody asks.
DROP FUNCTION IF EXISTS aegis.gate_rate(text, text, text, int, timestamptz);
CREATE OR REPLACE FUNCTION aegis.gate_rate(p_tenant text, p_service text, p_per text,
    p_window_s int, p_at timestamptz, p_most int)
RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT count(*)::int FROM (
        SELECT FROM aegis.gate_decision d
         WHERE d.tenant = p_tenant AND d.verdict = 'approved' AND d.source = 'policy'
           AND d.created_at > p_at - make_interval(secs => p_window_s) AND d.created_at < p_at
           AND (p_per = 'tenant' OR d.service = p_service)
         LIMIT p_most) x);
END $$;

-- What the rules of kind rate count for one case, by rule.
CREATE OR REPLACE FUNCTION aegis.gate_rates(p_rates json, p_tenant text, p_service text,
    p_at timestamptz)
RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT coalesce(json_object_agg(r.rule ->> 'id', aegis.gate_rate(p_tenant, p_service,
               coalesce(r.rule ->> 'per', 'tenant'), (r.rule ->> 'window_s')::int, p_at,
               (r.rule ->> 'max')::int)), '{}')
      FROM json_array_elements(p_rates) AS r(rule));
END $$;

-- Who stands behind a plan: its author, who opened the case, and who sent it to be
-- planned or to the gate this time. Workers are nobody.
CREATE OR REPLACE FUNCTION aegis.gate_proposers(c aegis.ops_case, p_plan_id uuid) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT coalesce(json_agg(DISTINCT x.who) FILTER (WHERE x.who NOT LIKE 'aegis:%'), '[]')
      FROM aegis.plan_proposed p
     CROSS JOIN LATERAL (
           SELECT p.created_by AS who
           UNION ALL
           SELECT t.principal FROM aegis.case_timeline t
            WHERE t.tenant = p.tenant AND t.case_id = p.case_id
              AND (t.kind = 'create' OR t.kind = 'transition' AND (
                   t.version = c.version AND t.event = 'plan_ready'
                   OR t.version >= p.for_version - 1 AND t.event IN ('start_analysis', 'resume')))) x
     WHERE p.tenant = c.tenant AND p.case_id = c.case_id AND p.plan_id = p_plan_id);
END $$;

-- What the rules of kind rate count for the cases of a batch, once for each tenant and service:
-- {<tenant>\x1f<service>: {<rule>: n}}.
CREATE OR REPLACE FUNCTION aegis.gate_rates_all(p_module text[], p_tenant text[], p_case_id uuid[])
RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_rates json;
BEGIN
    IF array_to_string(p_module, ' ') !~ '(gate|approve|deny)' THEN
        RETURN '{}';
    END IF;
    v_rates := (SELECT g.rates FROM aegis.gate_policy g ORDER BY g.revision DESC LIMIT 1);
    IF coalesce(json_array_length(v_rates), 0) = 0 THEN
        RETURN '{}';
    END IF;
    RETURN (
    SELECT coalesce(jsonb_object_agg(x.tenant || E'\x1f' || x.service,
               aegis.gate_rates(v_rates, x.tenant, x.service, now())), '{}')
      FROM (SELECT DISTINCT i.tenant, o.service
              FROM unnest(p_module, p_tenant, p_case_id) AS i(module, tenant, case_id)
             CROSS JOIN LATERAL (SELECT coalesce(c.labels ->> 'service', '') AS service
                  FROM aegis.ops_case c WHERE c.tenant = i.tenant AND c.case_id = i.case_id OFFSET 0) o
             WHERE split_part(i.module, ':', 1) IN ('gate', 'approve', 'deny')) x);
END $$;

DROP FUNCTION IF EXISTS aegis.gate_facts(aegis.ops_case, uuid);
CREATE OR REPLACE FUNCTION aegis.gate_facts(c aegis.ops_case, p_plan_id uuid, p_rates jsonb) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN json_build_object(
        'rates', coalesce(p_rates -> (c.tenant || E'\x1f' || coalesce(c.labels ->> 'service', '')), '{}'),
        'proposers', aegis.gate_proposers(c, p_plan_id),
        'request', (SELECT aegis.gate_request_json(q) FROM aegis.gate_request q
                     WHERE q.tenant = c.tenant AND q.case_id = c.case_id
                       AND q.for_version = c.version
                     ORDER BY q.created_at DESC, q.request_id DESC LIMIT 1));
END $$;

-- Whoever is to commit a counted approval locks the tenant's rates, so that the
-- next statement sees those that were committed before; in one order, so that no two
-- wait for each other. While rules are far from their maximum the lock is shared and
-- nobody waits: what is returned, all that other connections can have under way (256
-- decisions each), then has to be left over as well. Else it is exclusive, waits
-- also for those who share it, and 0 is returned.
DROP FUNCTION IF EXISTS aegis.gate_lock_rates(text[], json[], text[]);
CREATE OR REPLACE FUNCTION aegis.gate_lock_rates(p_tenant text[], p_doc json[], p_code text[])
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_spare int := 256 * current_setting('max_connections')::int;
    v_keys  bigint[];
    v_near  boolean;
BEGIN
    SELECT array_agg(DISTINCT hashtextextended('aegis.gate.rate' || E'\x1f' || x.tenant, 0)),
           bool_or(x.most <= v_spare OR aegis.gate_rate(x.tenant, x.service, x.per, x.window_s,
                       clock_timestamp(), x.most) + v_spare >= x.most)
      INTO v_keys, v_near
      FROM (SELECT DISTINCT i.tenant, coalesce(i.doc #>> '{artefact,service}', '') AS service,
                   r ->> 'per' AS per, (r ->> 'window_s')::int AS window_s, (r ->> 'max')::int AS most
              FROM unnest(p_tenant, p_doc, p_code) AS i(tenant, doc, code)
             CROSS JOIN LATERAL json_array_elements(i.doc -> 'counted') r
             WHERE i.code = 'ok') x;
    IF v_near THEN
        PERFORM pg_advisory_xact_lock(k) FROM unnest(v_keys) k;
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(k) FROM unnest(v_keys) k;
    RETURN v_spare;
END $$;

-- Does what an item was decided on still hold? Else it has to be decided again.
-- The cases are locked. counted: no more automatic approvals than the rule takes,
-- those of earlier items of this very group among them.
CREATE OR REPLACE FUNCTION aegis.gate_check(p_tenant text[], p_case_id uuid[], p_for_version int[],
    p_doc json[], p_code text[])
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    n int; v_code text[] := p_code; v_seen json; v_rate json; v_key text; v_mine jsonb := '{}';
    v_seen_rates jsonb := '{}'; v_which text; v_service text; v_ok boolean;
    v_spare int := aegis.gate_lock_rates(p_tenant, p_doc, p_code);
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        CONTINUE WHEN p_code[n] <> 'ok';
        v_ok := true;
        v_seen := p_doc[n] #> '{approval,seen}';
        IF v_seen IS NOT NULL THEN
            v_ok := EXISTS (SELECT FROM aegis.gate_request q
                WHERE q.tenant = p_tenant[n] AND q.case_id = p_case_id[n]
                  AND q.request_id = (v_seen ->> 'request_id')::uuid AND q.state = 'OPEN'
                  AND (q.expires_at > clock_timestamp() OR NOT (v_seen ->> 'alive')::boolean)
                  AND (v_seen ->> 'votes')::int = (SELECT count(*) FROM aegis.gate_vote v
                       WHERE v.tenant = q.tenant AND v.case_id = q.case_id
                         AND v.request_id = q.request_id));
        ELSIF p_doc[n] #> '{approval,request}' IS NOT NULL THEN
            v_ok := NOT EXISTS (SELECT FROM aegis.gate_request q
                WHERE q.tenant = p_tenant[n] AND q.case_id = p_case_id[n]
                  AND q.for_version = p_for_version[n]);
        END IF;

        v_service := coalesce(p_doc[n] #>> '{artefact,service}', '');
        FOR v_rate IN SELECT json_array_elements(coalesce(p_doc[n] -> 'counted', '[]')) LOOP
            v_key := p_tenant[n] || E'\x1f' || CASE WHEN v_rate ->> 'per' = 'service'
                     THEN v_service ELSE '' END || E'\x1f' || (v_rate ->> 'per');
            -- once a group: whoever could add to it meanwhile is held off, or within v_spare
            v_which := v_key || E'\x1f' || (v_rate ->> 'window_s') || E'\x1f' || (v_rate ->> 'max');
            IF NOT v_seen_rates ? v_which THEN
                v_seen_rates := v_seen_rates || jsonb_build_object(v_which,
                    aegis.gate_rate(p_tenant[n], v_service, v_rate ->> 'per',
                        (v_rate ->> 'window_s')::int, clock_timestamp(), (v_rate ->> 'max')::int));
            END IF;
            v_ok := v_ok AND (v_seen_rates ->> v_which)::int
                    + coalesce((v_mine ->> v_key)::int, 0) + v_spare < (v_rate ->> 'max')::int;
        END LOOP;

        IF NOT v_ok THEN
            v_code[n] := 'again';
            CONTINUE;
        END IF;
        FOR v_key IN SELECT DISTINCT p_tenant[n] || E'\x1f' || CASE WHEN r ->> 'per' = 'service'
                     THEN v_service ELSE '' END || E'\x1f' || (r ->> 'per')
                       FROM json_array_elements(coalesce(p_doc[n] -> 'counted', '[]')) r LOOP
            v_mine := v_mine || jsonb_build_object(v_key, coalesce((v_mine ->> v_key)::int, 0) + 1);
        END LOOP;
    END LOOP;
    RETURN v_code;
END $$;

-- Write what the items of code 'ok' say in "approval" and "note":
--   approval.request  a question · approval.vote  a voice
--   approval.close    {state, decision_id}: the question of approval.seen is decided
--   note              {event, reason, meta}: a row of the timeline
CREATE OR REPLACE FUNCTION aegis.gate_commit(p_tenant text[], p_principal text[], p_key text[],
    p_case_id uuid[], p_for_version int[], p_doc json[], p_actor text[], p_traceparent text[],
    p_code text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n int; v json; c aegis.ops_case;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        CONTINUE WHEN p_code[n] <> 'ok';
        v := p_doc[n] #> '{approval,request}';
        IF v IS NOT NULL THEN
            INSERT INTO aegis.gate_request (tenant, case_id, request_id, plan_id, plan_hash,
                   for_version, rule, needs, proposers, expires_at)
            VALUES (p_tenant[n], p_case_id[n], (v ->> 'request_id')::uuid, (v ->> 'plan_id')::uuid,
                    v ->> 'plan_hash', p_for_version[n], v ->> 'rule', v -> 'needs',
                    v -> 'proposers', (v ->> 'expires_at')::timestamptz);
        END IF;
        v := p_doc[n] #> '{approval,vote}';
        IF v IS NOT NULL THEN
            INSERT INTO aegis.gate_vote (tenant, case_id, request_id, principal, verdict, counts, comment)
            VALUES (p_tenant[n], p_case_id[n], (v ->> 'request_id')::uuid, v ->> 'principal',
                    v ->> 'verdict', v -> 'counts', v ->> 'comment');
        END IF;
        v := p_doc[n] #> '{approval,close}';
        IF v IS NOT NULL THEN
            UPDATE aegis.gate_request q SET state = v ->> 'state', closed_at = now(),
                   decision_id = (v ->> 'decision_id')::uuid
             WHERE q.tenant = p_tenant[n] AND q.case_id = p_case_id[n]
               AND q.request_id = (p_doc[n] #>> '{approval,seen,request_id}')::uuid;
        END IF;
        v := p_doc[n] -> 'note';
        IF v IS NOT NULL THEN
            UPDATE aegis.ops_case o SET notes = o.notes + 1
             WHERE o.tenant = p_tenant[n] AND o.case_id = p_case_id[n] RETURNING o.* INTO c;
            INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, from_status,
                   to_status, actor, principal, reason, correlation_id, trace_id, idem_key, meta)
            VALUES (c.tenant, c.case_id, c.version, c.notes, 'note', v ->> 'event', c.status, c.status,
                    p_actor[n], p_principal[n], v ->> 'reason', c.correlation_id,
                    split_part(p_traceparent[n], '-', 2), p_key[n], v -> 'meta');
        END IF;
    END LOOP;
END $$;

-- A page of what waits for people, oldest first. after is "<microseconds>.<id>".
CREATE OR REPLACE FUNCTION aegis.gate_waiting(p_tenant text[], p_limit int[], p_after text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_at timestamptz; v_id uuid; v_after text; v_limit int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_after := split_part(p_after[n], ' ', 1);
        v_limit := p_limit[n];
        IF v_after LIKE '<%' THEN
            SELECT b.after, b.items INTO v_after, v_limit FROM aegis.page_after(substr(v_after, 2), false) a
             CROSS JOIN LATERAL aegis.page_turn(ARRAY(
                SELECT aegis.page_key(q.created_at, q.request_id) FROM aegis.gate_request q
                  JOIN aegis.ops_case c ON c.tenant = q.tenant AND c.case_id = q.case_id
                   AND c.version = q.for_version
                 WHERE q.tenant = p_tenant[n] AND q.state = 'OPEN' AND q.expires_at > now()
                   AND (q.created_at, q.request_id) < (a.at, a.id)
                 ORDER BY q.created_at DESC, q.request_id DESC LIMIT v_limit + 1), v_limit) b;
        END IF;
        SELECT a.at, a.id INTO v_at, v_id FROM aegis.page_after(v_after, false) a;
        SELECT array_agg(x.item ORDER BY x.created_at, x.request_id),
               array_agg(aegis.page_key(x.created_at, x.request_id) ORDER BY x.created_at, x.request_id)
          INTO v_items, v_keys
          FROM (SELECT q.created_at, q.request_id, json_build_object('case_id', q.case_id,
                       'title', c.title, 'kind', c.kind, 'plan', p.plan,
                       'request', aegis.gate_request_json(q)) AS item
                  FROM aegis.gate_request q
                  JOIN aegis.ops_case c ON c.tenant = q.tenant AND c.case_id = q.case_id
                   AND c.version = q.for_version
                  JOIN aegis.plan_proposed p ON p.tenant = q.tenant AND p.plan_id = q.plan_id
                 WHERE q.tenant = p_tenant[n] AND q.state = 'OPEN' AND q.expires_at > now()
                   AND (q.created_at, q.request_id) > (v_at, v_id)
                 ORDER BY q.created_at, q.request_id LIMIT v_limit + 1) x;
        RETURN NEXT aegis.page(n, NULL, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;

-- What the gate said about a case: what waits now, and its last 50 decisions.
CREATE OR REPLACE FUNCTION aegis.gate_get(p_tenant text[], p_case_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT i.ord::int, CASE WHEN c.version IS NULL THEN 404 ELSE 200 END,
        CASE WHEN c.version IS NULL THEN 'not-found' ELSE 'ok' END, c.version,
        CASE WHEN c.version IS NULL THEN aegis.not_found_body(i.request_id)
        ELSE json_build_object('case_id', c.case_id, 'status', c.status, 'version', c.version,
            'waiting', (SELECT aegis.gate_request_json(q) FROM aegis.gate_request q
                         WHERE q.tenant = c.tenant AND q.case_id = c.case_id
                           AND q.for_version = c.version AND q.state = 'OPEN'),
            'decisions', (SELECT coalesce(json_agg(json_build_object('decision_id', d.decision_id,
                    'plan_id', d.plan_id, 'plan_hash', d.plan_hash, 'version', d.for_version,
                    'verdict', d.verdict, 'rule', d.rule, 'reason', d.reason, 'source', d.source,
                    'checks', d.checks, 'policy_hash', d.policy_hash, 'created_by', d.created_by,
                    'created_at', d.created_at, 'request', (SELECT aegis.gate_request_json(q)
                        FROM aegis.gate_request q WHERE q.tenant = d.tenant
                         AND q.case_id = d.case_id AND q.decision_id = d.decision_id))
                    ORDER BY d.created_at DESC, d.decision_id DESC), '[]')
                FROM (SELECT * FROM aegis.gate_decision x
                       WHERE x.tenant = c.tenant AND x.case_id = c.case_id
                       ORDER BY x.created_at DESC, x.decision_id DESC LIMIT 50) d)
            )::text END, NULL::text
      FROM unnest(p_tenant, p_case_id, p_request_id) WITH ORDINALITY AS i(tenant, case_id, request_id, ord)
      LEFT JOIN aegis.ops_case c ON c.tenant = i.tenant AND c.case_id = i.case_id;
END $$;

-- The questions whose time is over, for the gate role; those whose case has gone on
-- are closed on the way.
CREATE OR REPLACE FUNCTION aegis.gate_due(p_limit int)
RETURNS TABLE (tenant text, case_id uuid, version int, request_id uuid, correlation_id text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    UPDATE aegis.gate_request q SET state = 'SUPERSEDED', closed_at = now()
      FROM aegis.ops_case c
     WHERE q.state = 'OPEN' AND c.tenant = q.tenant AND c.case_id = q.case_id
       AND c.version <> q.for_version;

    RETURN QUERY
    SELECT q.tenant, q.case_id, q.for_version, q.request_id, c.correlation_id
      FROM aegis.gate_request q
      JOIN aegis.ops_case c ON c.tenant = q.tenant AND c.case_id = q.case_id
     WHERE q.state = 'OPEN' AND q.expires_at <= now()
     ORDER BY q.expires_at LIMIT p_limit;
END $$;

-- How many wait, and for how long the oldest.
CREATE OR REPLACE FUNCTION aegis.gate_lag(OUT waiting bigint, OUT oldest_s double precision)
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    SELECT count(*), coalesce(extract(epoch FROM now() - min(q.created_at)), 0)
      INTO waiting, oldest_s FROM aegis.gate_request q WHERE q.state = 'OPEN';
END $$;
