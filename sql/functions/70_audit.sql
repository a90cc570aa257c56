-- The audit's sealer. What a row's hash is over stands twice: here, and in
-- workers/ctl/aegis_ctl_audit.c, which recomputes it without asking these functions.

CREATE OR REPLACE FUNCTION aegis.audit_table(p_tbl text) RETURNS name LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_tbl WHEN 'timeline' THEN 'case_timeline' WHEN 'decision' THEN 'gate_decision'
                      WHEN 'approval' THEN 'plan_approved' WHEN 'vote' THEN 'gate_vote' END::name
$$;

-- A table of the audit as a query: tenant, xid, key, leaf. The key orders the rows
-- of one transaction; leaf is sha256 of the row as JSON.
CREATE OR REPLACE FUNCTION aegis.audit_query(p_tbl text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format($q$SELECT x.tenant, x.audit_xid AS xid, x.case_id, (%s) COLLATE "C" AS key,
            sha256(convert_to(json_build_array(%s)::text, 'UTF8')) AS leaf FROM aegis.%I x $q$,
        v.key, 'x.tenant, x.case_id, ' || v.cols
            || $q$, to_char(x.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')$q$, v.name)
      FROM (VALUES
        ('timeline', 'case_timeline',
         $q$x.case_id || ':' || to_char(x.version, 'FM0000000000') || ':' || to_char(x.seq, 'FM0000000000')$q$,
         'x.version, x.seq, x.kind, x.event, x.from_status, x.to_status, x.rule, x.actor, x.principal,'
         ' x.reason, x.correlation_id, x.trace_id, x.idem_key, x.meta::text'),
        ('decision', 'gate_decision', $q$x.case_id || ':' || x.decision_id$q$,
         'x.decision_id, x.plan_id, x.plan_hash, x.for_version, x.verdict, x.rule, x.reason,'
         ' x.checks::text, x.policy_hash, x.created_by'),
        ('approval', 'plan_approved', $q$x.case_id || ':' || x.decision_id || ':' || x.plan_id$q$,
         'x.plan_id, x.decision_id, x.plan_hash,'
         ' to_char(x.not_before AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US''),'
         ' to_char(x.not_after AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US'')'),
        ('vote', 'gate_vote', $q$x.case_id || ':' || x.request_id || ':' || x.principal || ':' || x.verdict$q$,
         'x.request_id, x.principal, x.verdict, x.counts::text, x.comment')) AS v(tbl, name, key, cols)
     WHERE v.tbl = p_tbl
$$;

-- A segment's root: over its content and the root before it.
CREATE OR REPLACE FUNCTION aegis.audit_root(p_tenant text, p_seq bigint, p_tbl text, p_n int,
    p_last_xid bigint, p_last_key text, p_rows_hash bytea, p_prev bytea, p_at timestamptz)
RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(json_build_array('aegis-audit-1', p_tenant, p_seq, p_tbl, p_n,
        p_last_xid, p_last_key, encode(p_rows_hash, 'hex'), encode(p_prev, 'hex'),
        to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'))::text, 'UTF8'))
$$;

-- The statement that seals rows of a table as one segment a tenant: those of $1 <= xid < $2;
-- with p_paged, of one transaction, those behind the key $3 (of the case $4), at most $5. They
-- are sorted once, and the aggregates take them as they come: an ORDER BY in each would sort
-- them for each. p_paged 0: the rows that no transaction is known of.
CREATE OR REPLACE FUNCTION aegis.audit_seal_query(p_tbl text, p_paged boolean, p_from bigint)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format($q$
        WITH page AS (%s),
        per AS (
            SELECT p.tenant, count(*)::int AS n, array_agg(p.xid || '/' || p.key) AS keys,
                   string_agg(p.leaf, ''::bytea) AS hashes, max(p.xid) AS last_xid
              FROM (SELECT * FROM page ORDER BY tenant, xid, key) p GROUP BY p.tenant),
        made AS MATERIALIZED (
            SELECT r.*, substr(r.keys[r.n], strpos(r.keys[r.n], '/') + 1) AS last_key,
                   sha256(r.hashes) AS rows_hash, coalesce(b.seq, 0) + 1 AS seq,
                   coalesce(b.root, decode(repeat('00', 32), 'hex')) AS prev
              FROM per r LEFT JOIN LATERAL (
                   SELECT s.seq, s.root FROM aegis.audit_segment s WHERE s.tenant = r.tenant
                    ORDER BY s.seq DESC LIMIT 1) b ON true),
        leaf AS (
            INSERT INTO aegis.audit_leaf (tenant, seq, keys, hashes)
            SELECT m.tenant, m.seq, m.keys, m.hashes FROM made m)
        INSERT INTO aegis.audit_segment AS s (tenant, seq, tbl, n, last_xid, last_key, rows_hash,
               prev, root, sealed_at)
        SELECT m.tenant, m.seq, %L, m.n, m.last_xid, m.last_key, m.rows_hash, m.prev,
               aegis.audit_root(m.tenant, m.seq, %2$L, m.n, m.last_xid, m.last_key, m.rows_hash,
                                m.prev, now()), now()
          FROM made m
        RETURNING s.tenant, s.seq, s.tbl, s.n, s.root, s.last_xid, s.last_key$q$,
        -- above 0, as the partial index asks for; the key's order for the rows without one
        CASE WHEN NOT p_paged THEN aegis.audit_query(p_tbl)
             || 'WHERE x.audit_xid >= $1 AND x.audit_xid < $2 AND x.audit_xid > 0'
             ELSE 'SELECT q.* FROM (' || aegis.audit_query(p_tbl)
             || 'WHERE x.audit_xid >= $1 AND x.audit_xid < $2 AND x.case_id >= $4'
             || CASE WHEN p_from > 0 THEN ' AND x.audit_xid > 0' ELSE '' END
             || ') q WHERE q.key > $3 ORDER BY q.case_id, q.key LIMIT $5' END, p_tbl)
$$;

DROP FUNCTION IF EXISTS aegis.audit_seal_rows(text, bigint, bigint, text, int);
-- For each table a function, whose plan stays: to plan it takes longer than some hundred rows.
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['timeline', 'decision', 'approval', 'vote'] LOOP
        EXECUTE format('CREATE OR REPLACE FUNCTION aegis.audit_seal_%s(p_from bigint, p_to bigint)'
            ' RETURNS TABLE (tenant text, seq bigint, tbl text, n int, root bytea, last_xid bigint,'
            ' last_key text) LANGUAGE plpgsql AS %L', t,
            E'#variable_conflict use_column\nBEGIN RETURN QUERY ' || aegis.audit_seal_query(t, false, 1) || '; END');
    END LOOP;
END $$;

-- Seal about p_limit rows of one table behind its cursor, of transactions below
-- p_horizon: all of a transaction's rows at once, but one that wrote more than
-- p_limit, as 0 did, in pages. A cursor whose key is ~ is through with its xid.
CREATE OR REPLACE FUNCTION aegis.audit_seal_table(p_tbl text, p_limit int, p_horizon bigint)
RETURNS TABLE (tenant text, seq bigint, tbl text, n int, root bytea) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp
SET enable_bitmapscan = off SET enable_hashagg = off AS $$
#variable_conflict use_column
DECLARE
    v_xids text := format('SELECT x.audit_xid FROM aegis.%I x WHERE x.audit_xid > $1 AND x.audit_xid > 0'
        ' AND x.audit_xid < $2 ORDER BY x.audit_xid OFFSET $3 LIMIT 1', aegis.audit_table(p_tbl));
    v_at  aegis.audit_cursor; v_first bigint; v_to bigint; v_n bigint := 0; v_seal text; s record;
BEGIN
    SELECT * INTO v_at FROM aegis.audit_cursor c WHERE c.tbl = p_tbl FOR UPDATE;
    IF v_at.key = '~' THEN
        EXECUTE v_xids INTO v_first USING v_at.xid, p_horizon, 0;
        IF v_first IS NULL THEN
            RETURN;
        END IF;
        EXECUTE v_xids INTO v_to USING v_at.xid, p_horizon, p_limit;
        v_to := coalesce(v_to, p_horizon);
        IF v_to = v_first THEN
            v_at.xid := v_first;
            v_at.key := '';
        END IF;
    END IF;

    v_seal := CASE WHEN v_at.key = '~' THEN format('SELECT * FROM aegis.audit_seal_%s($1, $2)', p_tbl)
                   ELSE aegis.audit_seal_query(p_tbl, true, v_at.xid) END;
    FOR s IN EXECUTE v_seal USING CASE WHEN v_at.key = '~' THEN v_first ELSE v_at.xid END,
                 CASE WHEN v_at.key = '~' THEN v_to ELSE v_at.xid + 1 END, v_at.key,
                 CASE WHEN v_at.key IN ('', '~') THEN '00000000-0000-0000-0000-000000000000'
                      ELSE left(v_at.key, 36) END::uuid, p_limit
    LOOP
        v_n := v_n + s.n;
        IF (s.last_xid, s.last_key COLLATE "C") > (v_at.xid, CASE WHEN v_at.key = '~' THEN ''
                                                     ELSE v_at.key END COLLATE "C") THEN
            v_at.xid := s.last_xid;
            v_at.key := CASE WHEN v_at.key = '~' THEN '~' ELSE s.last_key END;
        END IF;
        tenant := s.tenant; seq := s.seq; tbl := s.tbl; n := s.n; root := s.root;
        RETURN NEXT;
    END LOOP;

    -- a short page was the transaction's last
    UPDATE aegis.audit_cursor c
       SET xid = v_at.xid, key = CASE WHEN v_n < p_limit THEN '~' ELSE v_at.key END
     WHERE c.tbl = p_tbl;
END $$;

-- One caller at a time; another gets nothing.
CREATE OR REPLACE FUNCTION aegis.audit_seal(p_limit int)
RETURNS TABLE (tenant text, seq bigint, tbl text, n int, root text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope   text := aegis.act_for_all();
    v_horizon bigint;
    v_ahead   bigint;
    v_tbl     text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('aegis.audit_seal', 0)) THEN
        RETURN;
    END IF;
    v_horizon := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    SELECT max(c.xid) INTO v_ahead FROM aegis.audit_cursor c;
    IF v_ahead >= v_horizon THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('the cluster counts transactions from %s, what is sealed comes from one that had counted to %s',
                             v_horizon, v_ahead),
            HINT = 'after a logical restore: docs/audit.md';
    END IF;
    FOREACH v_tbl IN ARRAY ARRAY['timeline', 'decision', 'approval', 'vote'] LOOP
        RETURN QUERY SELECT s.tenant, s.seq, s.tbl, s.n, encode(s.root, 'hex')
                       FROM aegis.audit_seal_table(v_tbl, p_limit, v_horizon) s;
    END LOOP;
END $$;

-- Rows of a tenant's table that are older than a day may be deleted from now on:
-- the chain says so for ever. The owner's to call.
CREATE OR REPLACE FUNCTION aegis.audit_retire(p_tenant text, p_tbl text, p_before timestamptz)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_to   aegis.audit_segment;
    v_last aegis.audit_segment;
    v_hash bytea := sha256(''::bytea);
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('aegis.audit_seal', 0));
    SELECT * INTO v_last FROM aegis.audit_segment s WHERE s.tenant = p_tenant ORDER BY s.seq DESC LIMIT 1;
    SELECT * INTO v_to FROM aegis.audit_segment s
     WHERE s.tenant = p_tenant AND s.tbl = p_tbl AND s.sealed_at < p_before ORDER BY s.seq DESC LIMIT 1;
    IF v_to.seq IS NULL THEN RETURN 0; END IF;
    INSERT INTO aegis.audit_segment (tenant, seq, tbl, n, last_xid, last_key, rows_hash, prev, root, sealed_at)
    VALUES (p_tenant, v_last.seq + 1, 'retire:' || p_tbl, 0, v_to.last_xid, v_to.last_key, v_hash,
            v_last.root, aegis.audit_root(p_tenant, v_last.seq + 1, 'retire:' || p_tbl, 0, v_to.last_xid,
            v_to.last_key, v_hash, v_last.root, now()), now());
    INSERT INTO aegis.audit_leaf (tenant, seq, keys, hashes) VALUES (p_tenant, v_last.seq + 1, '{}', '');
    RETURN v_to.last_xid;
END $$;

-- Age of the oldest row that no segment has.
CREATE OR REPLACE FUNCTION aegis.audit_lag(OUT oldest_s double precision) LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    SELECT coalesce(extract(epoch FROM now() - t.created_at), 0) INTO oldest_s
      FROM aegis.audit_cursor c CROSS JOIN LATERAL (
           SELECT x.created_at FROM aegis.case_timeline x
            WHERE x.audit_xid > c.xid AND x.audit_xid > 0 ORDER BY x.audit_xid LIMIT 1) t
     WHERE c.tbl = 'timeline';
    oldest_s := coalesce(oldest_s, 0);
END $$;
