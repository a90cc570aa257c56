-- The knowledge base's documents: put in, read, listed, deleted by requests; claimed,
-- stored and given up by the librarian; and cases that become documents. Search is
-- 63_kb_search.sql. A document's passages are replaced in one transaction, so that a
-- search finds the old ones or the new ones.

CREATE OR REPLACE FUNCTION aegis.kb_doc_json(d aegis.kb_doc) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('doc_id', d.doc_id, 'tenant', d.tenant, 'source', d.source, 'title', d.title,
        'category', d.category, 'lang', d.lang, 'format', d.format, 'url', d.url, 'tags', d.tags,
        'labels', d.labels, 'case_id', d.case_id, 'seen', d.seen, 'version', d.version,
        'ready_version', d.ready_version, 'chunks', d.chunks, 'state', d.state, 'error', d.error,
        'created_by', d.created_by, 'created_at', d.created_at, 'updated_at', d.updated_at)
$$;

-- What a passage of the document is found by beside its words: core/aegis_kb_query.c
-- writes the same.
CREATE OR REPLACE FUNCTION aegis.kb_facets(d aegis.kb_doc) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT ARRAY(SELECT left(f, 400) FROM (
        SELECT 'tenant=' || d.tenant UNION ALL SELECT 'category=' || d.category
        UNION ALL SELECT 'source=' || d.source
        UNION ALL SELECT 'lang=' || d.lang WHERE d.lang <> ''
        UNION ALL SELECT 'tag=' || t FROM jsonb_array_elements_text(d.tags) t
        UNION ALL SELECT 'label.' || l.key || '=' || l.value FROM jsonb_each_text(d.labels) l) x(f))
$$;

CREATE OR REPLACE FUNCTION aegis.kb_ingest(p_tenant text[], p_principal text[], p_key text[], p_hash bytea[],
    p_consumer text[], p_doc_id uuid[], p_source text[], p_title text[], p_format text[], p_content text[],
    p_url text[], p_category text[], p_lang text[], p_tags text[], p_labels text[], p_actor text[],
    p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    v_claim aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer);
    v_out   aegis.result[];
    n int; d aegis.kb_doc; v_source text; v_hash bytea; v_old bytea; v_new boolean;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        IF (v_claim[n]).verdict <> 'new' THEN
            v_out := v_out || aegis.claim_answer(n, v_claim[n], p_request_id[n]);
            CONTINUE;
        END IF;
        -- addresses that begin alike are not one document
        v_source := coalesce(p_source[n], CASE WHEN length(p_url[n]) <= 200 THEN p_url[n]
                             ELSE left(p_url[n], 135) || '#' || encode(sha256(convert_to(p_url[n], 'UTF8')), 'hex') END,
                             'sha256:' || encode(sha256(convert_to(p_content[n], 'UTF8')), 'hex'));
        v_hash := sha256(convert_to(concat_ws(E'\x1f', coalesce(p_content[n], p_url[n]), p_format[n],
            p_title[n], p_category[n], p_lang[n], p_tags[n], p_labels[n]), 'UTF8'));

        INSERT INTO aegis.kb_doc (tenant, doc_id, source, title, category, lang, format, url, tags, labels, created_by)
        VALUES (p_tenant[n], p_doc_id[n], v_source, coalesce(p_title[n], ''),
                coalesce(p_category[n], 'document'), coalesce(p_lang[n], ''),
                coalesce(p_format[n], CASE WHEN p_url[n] IS NULL THEN 'markdown' ELSE '' END),
                coalesce(p_url[n], ''), p_tags[n]::jsonb, p_labels[n]::jsonb, p_actor[n])
            ON CONFLICT (tenant, source) DO NOTHING RETURNING * INTO d;
        v_new := FOUND;
        IF NOT v_new THEN
            SELECT * INTO d FROM aegis.kb_doc x
             WHERE x.tenant = p_tenant[n] AND x.source = v_source FOR NO KEY UPDATE;
            IF NOT FOUND THEN -- it was deleted while we waited for it
                v_out := v_out || ROW(n, 0, 'again', NULL, '', NULL)::aegis.result;
                CONTINUE;
            END IF;
            SELECT x.hash INTO v_old FROM aegis.kb_version x
             WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id AND x.version = d.version;
            -- the same again changes nothing; behind a url there may be something else by now
            -- (the hash does not tell which of the members were left out)
            IF v_old = v_hash AND d.state <> 'FAILED' AND (p_url[n] IS NULL OR d.state = 'QUEUED')
               AND d.category = coalesce(p_category[n], 'document') AND d.lang = coalesce(p_lang[n], '')
               AND (p_title[n] IS NULL OR d.title = p_title[n])
            THEN
                v_out := v_out || ROW(n, 200, 'ok', d.version, aegis.kb_doc_json(d)::text, d.doc_id::text)::aegis.result;
                CONTINUE;
            END IF;
            UPDATE aegis.kb_doc x SET title = coalesce(p_title[n], ''), category = coalesce(p_category[n], 'document'),
                   lang = coalesce(p_lang[n], ''),
                   format = coalesce(p_format[n], CASE WHEN p_url[n] IS NULL THEN 'markdown' ELSE '' END),
                   url = coalesce(p_url[n], ''), tags = p_tags[n]::jsonb, labels = p_labels[n]::jsonb,
                   version = x.version + 1, state = 'QUEUED', error = '', attempts = 0, next_at = now(),
                   lease_until = '-infinity', updated_at = now()
             WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id RETURNING x.* INTO d;
        END IF;
        INSERT INTO aegis.kb_version (tenant, doc_id, version, hash, body, created_by)
        VALUES (d.tenant, d.doc_id, d.version, v_hash, p_content[n], p_actor[n]);
        -- the ten newest are kept
        DELETE FROM aegis.kb_version x WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id
           AND x.version <= d.version - 10 AND x.version <> d.ready_version;
        v_out := v_out || ROW(n, 202, 'ok', d.version, aegis.kb_doc_json(d)::text, d.doc_id::text)::aegis.result;
    END LOOP;

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    PERFORM pg_notify('aegis_kb', '');
    RETURN QUERY SELECT * FROM unnest(v_out);
END $$;

-- What is counted of a tenant's passages is written by one at a time: two who exchange words
-- would each wait for a word of the other. Whoever takes rows of documents takes them before.
CREATE OR REPLACE FUNCTION aegis.kb_lock(p_tenant text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('aegis.kb' || E'\x1f' || x.t, 0))
       FROM (SELECT DISTINCT t FROM unnest(p_tenant) t ORDER BY t) x;
END $$;

-- Take a document's passages away, with what is counted of them.
CREATE OR REPLACE FUNCTION aegis.kb_drop_chunks(p_tenant text, p_doc_id uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint[]; v_lexemes bigint;
BEGIN
    SELECT array_agg(c.chunk_id), sum(length(c.tsv)) INTO v_id, v_lexemes FROM aegis.kb_chunk c
     WHERE c.tenant = p_tenant AND c.doc_id = p_doc_id;
    IF v_id IS NULL THEN
        RETURN;
    END IF;
    PERFORM aegis.kb_lock(ARRAY[p_tenant]);
    WITH gone AS MATERIALIZED (
        SELECT l.term, count(*) AS n FROM aegis.kb_chunk c, unnest(tsvector_to_array(c.tsv)) l(term)
         WHERE c.tenant = p_tenant AND c.doc_id = p_doc_id AND strpos(l.term, '=') = 0
         GROUP BY l.term ORDER BY l.term)
    UPDATE aegis.kb_term t SET n = t.n - g.n FROM gone g
     WHERE t.tenant = p_tenant AND t.term = g.term;
    DELETE FROM aegis.kb_vector x WHERE x.tenant = p_tenant AND x.chunk_id = ANY (v_id);
    DELETE FROM aegis.kb_chunk c WHERE c.tenant = p_tenant AND c.doc_id = p_doc_id;
    UPDATE aegis.kb_tenant t SET chunks = t.chunks - cardinality(v_id), lexemes = t.lexemes - v_lexemes
     WHERE t.tenant = p_tenant;
END $$;

CREATE OR REPLACE FUNCTION aegis.kb_delete(p_tenant text[], p_principal text[], p_key text[], p_hash bytea[],
    p_consumer text[], p_doc_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    v_claim aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, p_consumer);
    v_out   aegis.result[];
    n int; d aegis.kb_doc;
BEGIN
    IF cardinality(p_tenant) > 1 THEN
        PERFORM FROM (SELECT DISTINCT u.t, u.d FROM unnest(p_tenant, p_doc_id) u(t, d) ORDER BY u.d, u.t) u,
                     LATERAL (SELECT FROM aegis.kb_doc x WHERE x.tenant = u.t AND x.doc_id = u.d FOR UPDATE) x;
        PERFORM aegis.kb_lock(p_tenant);
    END IF;
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        IF (v_claim[n]).verdict <> 'new' THEN
            v_out := v_out || aegis.claim_answer(n, v_claim[n], p_request_id[n]);
            CONTINUE;
        END IF;
        SELECT * INTO d FROM aegis.kb_doc x
         WHERE x.tenant = p_tenant[n] AND x.doc_id = p_doc_id[n] FOR UPDATE;
        IF NOT FOUND THEN
            v_out := v_out || aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        PERFORM aegis.kb_drop_chunks(d.tenant, d.doc_id);
        DELETE FROM aegis.kb_version x WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id;
        DELETE FROM aegis.kb_doc x WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id;
        v_out := v_out || ROW(n, 200, 'ok', d.version, json_build_object('doc_id', d.doc_id,
            'source', d.source, 'version', d.version, 'deleted', true)::text, NULL)::aegis.result;
    END LOOP;

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, p_consumer, v_claim, v_out);
    RETURN QUERY SELECT * FROM unnest(v_out);
END $$;

CREATE OR REPLACE FUNCTION aegis.kb_get(p_tenant text[], p_doc_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; d aegis.kb_doc;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        SELECT * INTO d FROM aegis.kb_doc x WHERE x.tenant = p_tenant[n] AND x.doc_id = p_doc_id[n];
        IF NOT FOUND THEN
            RETURN NEXT aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        RETURN NEXT ROW(n, 200, 'ok', d.version, rtrim(aegis.kb_doc_json(d)::text, '}') || ',"versions":' || (
                SELECT coalesce(json_agg(json_build_object('version', v.version, 'hash', encode(v.hash, 'hex'),
                       'bytes', octet_length(v.body), 'created_by', v.created_by, 'created_at', v.created_at)
                       ORDER BY v.version DESC), '[]')::text
                  FROM aegis.kb_version v WHERE v.tenant = d.tenant AND v.doc_id = d.doc_id)
            || ',"body":' || coalesce((SELECT to_json(v.body)::text FROM aegis.kb_version v
                 WHERE v.tenant = d.tenant AND v.doc_id = d.doc_id AND v.version = d.version), 'null')
            || '}', NULL)::aegis.result;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION aegis.kb_list(p_tenant text[], p_limit int[], p_after text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_at timestamptz; v_id uuid; v_after text; v_limit int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_after := split_part(p_after[n], ' ', 1);
        v_limit := p_limit[n];
        IF v_after LIKE '<%' THEN
            SELECT b.after, b.items INTO v_after, v_limit FROM aegis.page_after(substr(v_after, 2), true) a
             CROSS JOIN LATERAL aegis.page_turn(ARRAY(
                SELECT aegis.page_key(d.created_at, d.doc_id) FROM aegis.kb_doc d
                 WHERE d.tenant = p_tenant[n] AND d.created_at >= a.at
                   AND (d.created_at, d.doc_id) > (a.at, a.id)
                 ORDER BY d.created_at, d.doc_id LIMIT v_limit + 1), v_limit) b;
        END IF;
        SELECT a.at, a.id INTO v_at, v_id FROM aegis.page_after(v_after, true) a;
        SELECT array_agg(aegis.kb_doc_json(x) ORDER BY x.created_at DESC, x.doc_id DESC),
               array_agg(aegis.page_key(x.created_at, x.doc_id) ORDER BY x.created_at DESC, x.doc_id DESC)
          INTO v_items, v_keys
          FROM (SELECT * FROM aegis.kb_doc d WHERE d.tenant = p_tenant[n]
                   AND d.created_at <= v_at AND (d.created_at, d.doc_id) < (v_at, v_id)
                 ORDER BY d.created_at DESC, d.doc_id DESC LIMIT v_limit + 1) x;
        RETURN NEXT aegis.page(n, NULL, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;

-- Documents that wait to be read, under a lease: who dies with one gives it back.
CREATE OR REPLACE FUNCTION aegis.kb_claim(p_owner text, p_limit int, p_lease_s int)
RETURNS TABLE (tenant text, doc_id uuid, version int, attempts int, format text, title text, url text,
               body text, category text, case_id uuid)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT d.tenant, d.doc_id FROM aegis.kb_doc d
         WHERE d.state = 'QUEUED' AND d.next_at <= now() AND d.lease_until < now()
         ORDER BY d.next_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
    mine AS (
        UPDATE aegis.kb_doc d SET owner = p_owner, attempts = d.attempts + 1,
               lease_until = now() + make_interval(secs => p_lease_s)
          FROM due x WHERE d.tenant = x.tenant AND d.doc_id = x.doc_id
        RETURNING d.*)
    SELECT m.tenant, m.doc_id, m.version, m.attempts, m.format, m.title, m.url, v.body, m.category, m.case_id
      FROM mine m
      LEFT JOIN LATERAL (SELECT * FROM aegis.kb_version v WHERE v.tenant = m.tenant AND v.doc_id = m.doc_id
            AND v.version = m.version OFFSET 0) v ON true;
END $$;

-- The passages of a version, in place of those before. p_body: what was fetched. p_read is
-- {title, format, chunks: [{heading, text, from, to, heads, terms, vectors: [{embedder, vector,
-- signs}]}]}. 'stale': there is a newer version, or the document is gone; 'same': what
-- was fetched is what is there already.
CREATE OR REPLACE FUNCTION aegis.kb_store(p_tenant text, p_doc_id uuid, p_version int, p_body text, p_read json)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(ARRAY[p_tenant]);
    d aegis.kb_doc; v_facets text[]; v_n int; v_lexemes bigint;
BEGIN
    SELECT * INTO d FROM aegis.kb_doc x WHERE x.tenant = p_tenant AND x.doc_id = p_doc_id FOR UPDATE;
    IF NOT FOUND OR d.version <> p_version OR d.state <> 'QUEUED' THEN
        RETURN 'stale';
    END IF;
    IF p_body IS NOT NULL AND d.ready_version > 0 AND EXISTS (
        SELECT FROM aegis.kb_version o, aegis.kb_version w
         WHERE o.tenant = d.tenant AND o.doc_id = d.doc_id AND o.version = d.ready_version
           AND w.tenant = d.tenant AND w.doc_id = d.doc_id AND w.version = d.version
           AND o.hash = w.hash AND o.body = p_body)
    THEN
        DELETE FROM aegis.kb_version x WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id AND x.version = d.version;
        UPDATE aegis.kb_doc x SET version = d.ready_version, state = 'READY', updated_at = now(),
               title = CASE WHEN x.title = '' THEN coalesce(p_read ->> 'title', '') ELSE x.title END,
               format = coalesce(p_read ->> 'format', x.format)
         WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id;
        RETURN 'same';
    END IF;
    IF p_body IS NOT NULL THEN
        UPDATE aegis.kb_version x SET body = p_body
         WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id AND x.version = d.version;
    END IF;

    PERFORM aegis.kb_drop_chunks(d.tenant, d.doc_id);
    v_facets := aegis.kb_facets(d);

    WITH said AS MATERIALIZED (
        SELECT c.n::int, c.o FROM json_array_elements(p_read -> 'chunks') WITH ORDINALITY AS c(o, n)),
    put AS (
        INSERT INTO aegis.kb_chunk (tenant, doc_id, version, chunk_no, b_from, b_to, heading, body, heads, tsv)
        SELECT d.tenant, d.doc_id, d.version, s.n, (s.o ->> 'from')::int, (s.o ->> 'to')::int,
               s.o ->> 'heading', s.o ->> 'text',
               array_to_tsvector(array_remove(string_to_array(s.o ->> 'heads', ' '), '')),
               array_to_tsvector(array_remove(string_to_array(s.o ->> 'terms', ' '), '') || v_facets)
          FROM said s
        RETURNING chunk_id, chunk_no, length(tsv) AS lexemes),
    vec AS (
        INSERT INTO aegis.kb_vector (embedder_id, chunk_id, tenant, signs, v)
        SELECT (e ->> 'embedder')::int, p.chunk_id, d.tenant, (e ->> 'signs')::bit varying, (e ->> 'vector')::real[]
          FROM put p JOIN said s ON s.n = p.chunk_no, json_array_elements(s.o -> 'vectors') e)
    SELECT count(*), sum(p.lexemes) INTO v_n, v_lexemes FROM put p;

    PERFORM aegis.kb_lock(ARRAY[d.tenant]);
    INSERT INTO aegis.kb_term AS t (tenant, term, n)
    SELECT d.tenant, l.term, count(*)
      FROM aegis.kb_chunk c, unnest(tsvector_to_array(c.tsv)) l(term)
     WHERE c.tenant = d.tenant AND c.doc_id = d.doc_id AND strpos(l.term, '=') = 0
     GROUP BY l.term ORDER BY l.term
        ON CONFLICT (term, tenant) DO UPDATE SET n = t.n + excluded.n;
    INSERT INTO aegis.kb_tenant AS t (tenant, chunks, lexemes) VALUES (d.tenant, v_n, coalesce(v_lexemes, 0))
        ON CONFLICT (tenant) DO UPDATE SET chunks = t.chunks + excluded.chunks, lexemes = t.lexemes + excluded.lexemes;

    UPDATE aegis.kb_doc x SET state = 'READY', error = '', ready_version = d.version, chunks = v_n,
           updated_at = now(), format = coalesce(p_read ->> 'format', x.format),
           title = CASE WHEN x.title = '' THEN coalesce(p_read ->> 'title', '') ELSE x.title END
     WHERE x.tenant = d.tenant AND x.doc_id = d.doc_id;
    RETURN 'ok';
END $$;

-- It could not be read. final: no retry helps. What was found before is still found.
CREATE OR REPLACE FUNCTION aegis.kb_fail(p_tenant text, p_doc_id uuid, p_version int, p_error text, p_final boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(ARRAY[p_tenant]);
    v_state text;
BEGIN
    UPDATE aegis.kb_doc x SET error = left(p_error, 500), updated_at = now(), lease_until = '-infinity',
           state = CASE WHEN p_final OR x.attempts >= 6 THEN 'FAILED' ELSE 'QUEUED' END,
           next_at = now() + make_interval(secs => 2 ^ least(x.attempts, 8) * (0.5 + random()))
     WHERE x.tenant = p_tenant AND x.doc_id = p_doc_id AND x.version = p_version AND x.state = 'QUEUED'
    RETURNING x.state INTO v_state;
    RETURN coalesce(v_state, 'stale');
END $$;

-- What was seen, done and verified in a case, as Markdown; without what differs from
-- one such case to the next, so that the same story twice is the same text.
CREATE OR REPLACE FUNCTION aegis.kb_case_text(c aegis.ops_case) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    p aegis.plan_proposed;
BEGIN
    SELECT * INTO p FROM aegis.plan_proposed x
     WHERE x.tenant = c.tenant AND x.case_id = c.case_id AND x.plan_id = c.plan_id;
    RETURN concat_ws(E'\n\n', '# ' || c.title,
        'A ' || c.severity || ' ' || c.kind || ' that was closed'
            || coalesce(' on ' || nullif((SELECT string_agg(l.key || ' ' || l.value, ', ' ORDER BY l.key)
                 FROM jsonb_each_text(c.labels::jsonb) l), ''), '') || '.',
        '## Seen', (SELECT coalesce(string_agg(DISTINCT '- ' || e.severity || ': ' || e.title, E'\n'), 'No finding.')
              FROM (SELECT * FROM aegis.event_envelope e WHERE e.tenant = c.tenant AND e.case_id = c.case_id
                     ORDER BY e.created_at DESC LIMIT 20) e),
        '## Done', 'Plan ' || coalesce(nullif(p.template, ''), 'by hand') || ', revision ' || p.revision || E':\n\n' || (
            SELECT string_agg(s.n || '. ' || coalesce(s.o ->> 'name', s.o ->> 'action') || ' (' || (s.o ->> 'action')
                   || coalesce(' ' || left(s.o ->> 'params', 200), '') || ')', E'\n' ORDER BY s.n)
              FROM jsonb_array_elements(coalesce(p.plan::jsonb -> 'steps', '[]')) WITH ORDINALITY s(o, n)),
        '## Verified', (SELECT string_agg(DISTINCT '- ' || coalesce(k ->> 'name', k ->> 'kind'), E'\n')
              FROM jsonb_array_elements(coalesce(p.plan::jsonb -> 'verify', '[]')) k),
        '## Rollback', (SELECT string_agg(s.n || '. ' || coalesce(s.o ->> 'name', s.o ->> 'action') || ' ('
                   || (s.o ->> 'action') || coalesce(' ' || left(s.o ->> 'params', 200), '') || ')', E'\n' ORDER BY s.n)
              FROM jsonb_array_elements(coalesce(p.plan::jsonb -> 'rollback', '[]')) WITH ORDINALITY s(o, n)));
END $$;

-- Make documents of cases that were closed; a story that is there already is counted.
-- How many cases were looked at.
CREATE OR REPLACE FUNCTION aegis.kb_cases(p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    t record; c aegis.ops_case; v_text text; v_source text; v_n int := 0; v_id uuid;
BEGIN
    FOR t IN DELETE FROM aegis.kb_case_todo x WHERE (x.tenant, x.case_id) IN (
                SELECT y.tenant, y.case_id FROM aegis.kb_case_todo y ORDER BY y.closed_at
                 LIMIT p_limit FOR UPDATE SKIP LOCKED) RETURNING x.*
    LOOP
        v_n := v_n + 1;
        SELECT * INTO c FROM aegis.ops_case x WHERE x.tenant = t.tenant AND x.case_id = t.case_id;
        CONTINUE WHEN NOT FOUND;
        v_text := aegis.kb_case_text(c);
        v_source := 'case/' || md5(v_text);
        UPDATE aegis.kb_doc d SET seen = d.seen + 1, case_id = c.case_id, updated_at = now()
         WHERE d.tenant = c.tenant AND d.source = v_source;
        CONTINUE WHEN FOUND;
        INSERT INTO aegis.kb_doc (tenant, doc_id, source, title, category, format, tags, labels, case_id, created_by)
        VALUES (c.tenant, gen_random_uuid(), v_source, c.title, 'case', 'markdown', c.tags::jsonb, c.labels::jsonb,
                c.case_id, 'aegis:librarian')
            ON CONFLICT (tenant, source) DO NOTHING RETURNING doc_id INTO v_id;
        INSERT INTO aegis.kb_version (tenant, doc_id, version, hash, body, created_by)
        SELECT c.tenant, v_id, 1, sha256(convert_to(v_text, 'UTF8')), v_text, 'aegis:librarian' WHERE v_id IS NOT NULL;
    END LOOP;
    RETURN v_n;
END $$;

CREATE OR REPLACE FUNCTION aegis.kb_case_closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.kb_case_todo (tenant, case_id) VALUES (NEW.tenant, NEW.case_id)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS kb_case_closed ON aegis.ops_case;
CREATE TRIGGER kb_case_closed AFTER UPDATE OF status ON aegis.ops_case
    FOR EACH ROW WHEN (OLD.status <> 'CLOSED' AND NEW.status = 'CLOSED')
    EXECUTE FUNCTION aegis.kb_case_closed();

CREATE OR REPLACE FUNCTION aegis.kb_lag(OUT docs bigint, OUT chunks bigint, OUT queued bigint,
    OUT oldest_s double precision, OUT failed bigint, OUT unembedded bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    SELECT count(*), count(*) FILTER (WHERE d.state = 'QUEUED'), count(*) FILTER (WHERE d.state = 'FAILED'),
           coalesce(extract(epoch FROM now() - min(d.updated_at) FILTER (WHERE d.state = 'QUEUED')), 0)
      INTO docs, queued, failed, oldest_s FROM aegis.kb_doc d;
    chunks := (SELECT coalesce(sum(t.chunks), 0) FROM aegis.kb_tenant t);
    unembedded := (SELECT coalesce(max(chunks - (SELECT count(*) FROM aegis.kb_vector v
                        WHERE v.embedder_id = e.embedder_id)), 0)
                     FROM aegis.kb_embedder e WHERE e.state = 'FILLING');
END $$;
