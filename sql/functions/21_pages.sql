-- What is read of cases: one, pages of them, pages of a case's timeline. A position in
-- pages is a key of an index, never an offset: a page far behind costs what the first
-- one does (t/16sql_load.t counts the rows that each of them reads). after is the key of
-- the last item seen, or < and the key of the first one: then the page is the one before
-- it. Its start is looked for backwards, by keys alone, and from there it is read as any
-- other, so that one cut off by its size goes on with what it left out.

CREATE OR REPLACE FUNCTION aegis.not_found(p_ord int, p_request_id text)
RETURNS aegis.result LANGUAGE sql STABLE AS $$
    SELECT aegis.refused(p_ord, 'not-found', NULL, p_request_id, NULL, NULL)
$$;

CREATE OR REPLACE FUNCTION aegis.not_found_body(p_request_id text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN aegis.problem('not-found', p_request_id, NULL, NULL);
END $$;

-- What a case's text is made of, for who makes it (core/aegis_case.c); no row for what
-- is not there. It is inlined into the statement that asks, which is why it calls itself
-- stable: a function that is called would write its rows down twice, and half of what a
-- read costs is not the row. It says for whom it acts before it looks for a row.
CREATE OR REPLACE FUNCTION aegis.case_read(p_tenant text[], p_case_id uuid[])
RETURNS TABLE (ord int, version int, card text, status text, plan_id uuid, exec_id uuid,
               reason text, updated_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT u.n, c.version, c.card, c.status, c.plan_id, c.exec_id, c.reason, c.updated_at
      FROM generate_series(1, CASE WHEN aegis.act_for(p_tenant) IS NOT NULL
                                   THEN cardinality(p_tenant) END) AS u(n)
     CROSS JOIN LATERAL (
           SELECT c.version, c.card, c.status, c.plan_id, c.exec_id, c.reason, c.updated_at
             FROM aegis.ops_case c
            WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] OFFSET 0) c
$$;

-- The same with the text, for gateways that do not make it themselves.
-- Column by column: (f(x)).* would call f once for each of them.
CREATE OR REPLACE FUNCTION aegis.case_get(p_tenant text[], p_case_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT u.n, CASE WHEN c.version IS NULL THEN 404 ELSE 200 END,
           CASE WHEN c.version IS NULL THEN 'not-found' ELSE 'ok' END, c.version,
           CASE WHEN c.version IS NULL THEN aegis.not_found_body(p_request_id[u.n])
                ELSE c.body END, NULL::text
      FROM generate_series(1, cardinality(p_tenant)) AS u(n)
      LEFT JOIN LATERAL (
           SELECT c.version, aegis.case_text(c) AS body FROM aegis.ops_case c
            WHERE c.tenant = p_tenant[u.n] AND c.case_id = p_case_id[u.n] OFFSET 0) c ON true;
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

-- The cursor of a page that is ordered by a time and an id: where the next one begins,
-- and what says so of a row. down: newest first.
CREATE OR REPLACE FUNCTION aegis.page_after(p_after text, p_down boolean, OUT at timestamptz, OUT id uuid)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_after IS NULL THEN
        at := CASE WHEN p_down THEN 'infinity' ELSE '-infinity' END;
        id := CASE WHEN p_down THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff' ELSE '00000000-0000-0000-0000-000000000000' END;
    ELSE
        at := 'epoch'::timestamptz + split_part(p_after, '.', 1)::bigint * interval '1 microsecond';
        id := split_part(p_after, '.', 2)::uuid;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION aegis.page_key(p_at timestamptz, p_id uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT (extract(epoch FROM p_at) * 1000000)::bigint || '.' || p_id
$$;

-- Where the page before a position begins, and how many items it has, out of the keys
-- found backwards, one more than were asked for: behind that one, or at the first item.
CREATE OR REPLACE FUNCTION aegis.page_turn(p_keys text[], p_limit int, OUT after text, OUT items int)
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_keys[p_limit + 1], least(cardinality(p_keys), p_limit)
$$;

-- The page itself: the items that fit of those found, one more than was asked for.
-- body is the array of items. extra is, on the first page, the position of the next or
-- NULL; else "<of the next> <of the one before>", with " end" behind when this is the
-- last. A gateway from before there were pages before sends all of that as a position,
-- so the lists take what is before the space.
DROP FUNCTION IF EXISTS aegis.page(int, json[], text[], int);
CREATE OR REPLACE FUNCTION aegis.page(p_ord int, p_version int, p_items json[], p_keys text[],
    p_after text, p_limit int)
RETURNS aegis.result LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_fits int := aegis.page_fits(p_items, p_limit);
    v_more boolean := coalesce(cardinality(p_items) > v_fits, false);
BEGIN
    RETURN ROW(p_ord, 200, 'ok', p_version, coalesce(array_to_json(p_items[1:v_fits]), '[]')::text,
               CASE WHEN p_after IS NOT NULL
                    THEN p_keys[v_fits] || ' <' || p_keys[1] || CASE WHEN v_more THEN '' ELSE ' end' END
                    WHEN v_more THEN p_keys[v_fits] END)::aegis.result;
END $$;

-- The keys of the cases before a position, nearest first: what case_list found backwards.
CREATE OR REPLACE FUNCTION aegis.case_list_before(p_tenant text, p_status text, p_tag text, p_from timestamptz,
    p_until timestamptz, p_by_state boolean, p_limit int, p_at timestamptz, p_id uuid)
RETURNS text[] LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF p_by_state THEN
        RETURN ARRAY(SELECT aegis.page_key(y.created_at, y.case_id)
              FROM unnest(ARRAY[p_status, '']) AS s(settled)
             CROSS JOIN LATERAL (
                   SELECT c.created_at, c.case_id FROM aegis.ops_case c
                    WHERE c.settled = s.settled AND c.tenant = p_tenant AND NOT c.closed
                      AND c.status = p_status AND c.created_at >= p_from AND c.created_at <= p_until
                      AND c.created_at >= p_at AND (c.created_at, c.case_id) > (p_at, p_id)
                      AND (p_tag IS NULL OR EXISTS (SELECT FROM aegis.case_tag g
                           WHERE g.tenant = p_tenant AND g.tag = p_tag
                             AND g.created_at = c.created_at AND g.case_id = c.case_id))
                    ORDER BY c.created_at, c.case_id LIMIT p_limit) y
             ORDER BY y.created_at, y.case_id LIMIT p_limit);
    ELSIF p_tag IS NULL THEN
        RETURN ARRAY(SELECT aegis.page_key(c.created_at, c.case_id) FROM aegis.ops_case c
             WHERE c.tenant = p_tenant AND (p_status IS NULL OR c.status = p_status)
               AND c.created_at >= p_from AND c.created_at <= p_until
               AND c.created_at >= p_at AND (c.created_at, c.case_id) > (p_at, p_id)
             ORDER BY c.created_at, c.case_id LIMIT p_limit);
    END IF;
    RETURN ARRAY(SELECT aegis.page_key(g.created_at, g.case_id) FROM aegis.case_tag g
         WHERE g.tenant = p_tenant AND g.tag = p_tag AND g.created_at >= p_from AND g.created_at <= p_until
           AND g.created_at >= p_at AND (g.created_at, g.case_id) > (p_at, p_id)
           AND (p_status IS NULL OR EXISTS (SELECT FROM aegis.ops_case c WHERE c.tenant = g.tenant
                AND c.case_id = g.case_id AND c.status = p_status))
         ORDER BY g.created_at, g.case_id LIMIT p_limit);
END $$;

-- A page of cases, newest first. after is "<microseconds>.<case_id>" of the
-- last item seen. Planned for each call, unlike all others: which index is right depends on the
-- filters, and one plan for all of them walks through every case of the tenant.
CREATE OR REPLACE FUNCTION aegis.case_list(p_tenant text[], p_status text[], p_tag text[],
    p_since timestamptz[], p_until timestamptz[], p_limit int[], p_after text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_from timestamptz; v_at timestamptz; v_id uuid;
    v_by_state boolean; v_after text; v_limit int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_from := coalesce(p_since[n], '-infinity');
        v_after := split_part(p_after[n], ' ', 1);
        v_limit := p_limit[n];
        -- a state and a tag: along the tag when few cases have it, else along the state
        v_by_state := p_status[n] <> 'CLOSED' AND (p_tag[n] IS NULL
            OR 1000 = (SELECT count(*) FROM (SELECT FROM aegis.case_tag g
                WHERE g.tenant = p_tenant[n] AND g.tag = p_tag[n] LIMIT 1000) few));
        IF v_after LIKE '<%' THEN
            SELECT t.after, t.items INTO v_after, v_limit
              FROM aegis.page_after(substr(v_after, 2), false) a
             CROSS JOIN LATERAL aegis.page_turn(aegis.case_list_before(p_tenant[n], p_status[n], p_tag[n],
                   v_from, coalesce(p_until[n], 'infinity'), v_by_state, v_limit + 1, a.at, a.id), v_limit) t;
        END IF;
        SELECT least(a.at, p_until[n]), a.id INTO v_at, v_id FROM aegis.page_after(v_after, true) a;
        IF v_by_state THEN
            -- those at rest in this state, and those that move and are in it now
            SELECT array_agg(aegis.case_json(x.c) ORDER BY x.created_at DESC, x.case_id DESC),
                   array_agg((extract(epoch FROM x.created_at) * 1000000)::bigint || '.' || x.case_id
                             ORDER BY x.created_at DESC, x.case_id DESC)
              INTO v_items, v_keys
              FROM (SELECT y.c, y.created_at, y.case_id
                      FROM unnest(ARRAY[p_status[n], '']) AS s(settled)
                     CROSS JOIN LATERAL (
                           SELECT c, c.created_at, c.case_id FROM aegis.ops_case c
                            WHERE c.settled = s.settled AND c.tenant = p_tenant[n] AND NOT c.closed
                              AND c.status = p_status[n] AND c.created_at >= v_from
                              AND c.created_at <= v_at AND (c.created_at, c.case_id) < (v_at, v_id)
                              AND (p_tag[n] IS NULL OR EXISTS (SELECT FROM aegis.case_tag g
                                   WHERE g.tenant = p_tenant[n] AND g.tag = p_tag[n]
                                     AND g.created_at = c.created_at AND g.case_id = c.case_id))
                            ORDER BY c.created_at DESC, c.case_id DESC
                            LIMIT v_limit + 1) y
                     ORDER BY y.created_at DESC, y.case_id DESC
                     LIMIT v_limit + 1) x;
        ELSIF p_tag[n] IS NULL THEN
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
                     LIMIT v_limit + 1) x;
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
                     LIMIT v_limit + 1) x;
        END IF;
        RETURN NEXT aegis.page(n, NULL, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;

-- A page of a timeline, oldest first. after is "<version>.<seq>".
CREATE OR REPLACE FUNCTION aegis.case_timeline_page(p_tenant text[], p_case_id uuid[],
    p_limit int[], p_after text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_version int; v_after text; v_limit int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_after := split_part(p_after[n], ' ', 1);
        v_limit := p_limit[n];
        SELECT c.version INTO v_version FROM aegis.ops_case c
         WHERE c.tenant = p_tenant[n] AND c.case_id = p_case_id[n];
        IF NOT FOUND THEN
            RETURN NEXT aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        IF v_after LIKE '<%' THEN
            SELECT b.after, b.items INTO v_after, v_limit FROM aegis.page_turn(ARRAY(
                SELECT t.version || '.' || t.seq FROM aegis.case_timeline t
                 WHERE t.tenant = p_tenant[n] AND t.case_id = p_case_id[n]
                   AND (t.version, t.seq) < (split_part(substr(v_after, 2), '.', 1)::int,
                                             split_part(v_after, '.', 2)::int)
                 ORDER BY t.version DESC, t.seq DESC LIMIT v_limit + 1), v_limit) b;
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
                   AND (t.version, t.seq) > (coalesce(split_part(v_after, '.', 1)::int, 0),
                                             coalesce(split_part(v_after, '.', 2)::int, 0))
                 ORDER BY t.version, t.seq LIMIT v_limit + 1) t;
        RETURN NEXT aegis.page(n, v_version, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;
