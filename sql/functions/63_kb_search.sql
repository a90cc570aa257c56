-- Search of the knowledge base: passages by full text and by vectors, fused by rank
-- (reciprocal rank fusion), and the embedders that vectors come from. Words are found
-- by an index whose conditions row-level security would keep from being used (they are
-- not leakproof), so aegis.kb_find() works with its owner's rights, takes no tenant but
-- the one that its transaction acts for, and gives ids; whoever reads the rows does so
-- under the policies.

-- pgvector where it is there and may be had (else a superuser creates it); without it exact
-- search over candidates.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')
       AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')
    THEN
        CREATE EXTENSION vector SCHEMA public;
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_file THEN
    RAISE NOTICE 'the extension vector is there, and may not be created: search works without it';
END $$;

-- The schema of pgvector, quoted; NULL without it.
CREATE OR REPLACE FUNCTION aegis.kb_pgvector() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = 'vector'
$$;

-- An HNSW index for the vectors of one embedder. Building it over many takes long: the
-- librarian asks for it while there are few, an operator may at any time.
CREATE OR REPLACE FUNCTION aegis.kb_index_vectors(p_embedder_id int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp AS $$
DECLARE
    v_schema text := aegis.kb_pgvector();
    v_dims   int  := (SELECT e.dims FROM aegis.kb_embedder e WHERE e.embedder_id = p_embedder_id);
BEGIN
    IF v_schema IS NULL OR v_dims IS NULL OR v_dims > 2000 THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE INDEX IF NOT EXISTS kb_vector_hnsw_%s ON aegis.kb_vector USING hnsw ((v::%s.vector(%s))'
        ' %s.vector_cosine_ops) WHERE embedder_id = %s', p_embedder_id, v_schema, v_dims, v_schema, p_embedder_id);
    RETURN true;
END $$;

-- Use this embedder: it is ACTIVE, or FILLING while passages still lack its vectors; the first
-- one is active at once. All whose vectors are wanted now.
CREATE OR REPLACE FUNCTION aegis.kb_embedder_use(p_name text, p_dims int)
RETURNS TABLE (embedder int, name text, state text) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp AS $$
DECLARE
    e aegis.kb_embedder; v_few boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(1095058805);
    SELECT * INTO e FROM aegis.kb_embedder x WHERE x.name = p_name;
    IF NOT FOUND THEN
        INSERT INTO aegis.kb_embedder (name, dims, state)
        SELECT p_name, p_dims, CASE WHEN EXISTS (SELECT FROM aegis.kb_embedder x WHERE x.state = 'ACTIVE')
                                    THEN 'FILLING' ELSE 'ACTIVE' END
        RETURNING * INTO e;
    ELSIF e.state IN ('RETIRED', 'SPARE') THEN
        UPDATE aegis.kb_embedder x SET state = 'FILLING' WHERE x.embedder_id = e.embedder_id RETURNING * INTO e;
    END IF;
    -- only one is being filled
    UPDATE aegis.kb_embedder x SET state = 'RETIRED' WHERE x.state = 'FILLING' AND x.embedder_id <> e.embedder_id;
    v_few := (SELECT count(*) < 2000 FROM (SELECT FROM aegis.kb_vector v WHERE v.embedder_id = e.embedder_id LIMIT 2000) v);
    IF v_few AND aegis.kb_pgvector() IS NOT NULL
       AND to_regclass('aegis.kb_vector_hnsw_' || e.embedder_id) IS NULL
    THEN
        PERFORM aegis.kb_index_vectors(e.embedder_id);
    END IF;
    RETURN QUERY SELECT x.embedder_id, x.name, x.state FROM aegis.kb_embedder x WHERE x.state <> 'RETIRED';
END $$;

-- Passages without a vector of this embedder.
CREATE OR REPLACE FUNCTION aegis.kb_unembedded(p_embedder_id int, p_limit int)
RETURNS TABLE (tenant text, chunk_id bigint, heading text, body text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    SELECT c.tenant, c.chunk_id, concat_ws(' > ', nullif(d.title, ''), nullif(c.heading, '')), c.body
      FROM aegis.kb_chunk c JOIN aegis.kb_doc d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
     WHERE NOT EXISTS (SELECT FROM aegis.kb_vector v
                        WHERE v.embedder_id = p_embedder_id AND v.chunk_id = c.chunk_id)
     ORDER BY c.chunk_id LIMIT p_limit;
END $$;

-- p_vectors is [{chunk_id, vector, signs}]; those whose passage is gone by now are left out.
CREATE OR REPLACE FUNCTION aegis.kb_embedded(p_embedder_id int, p_vectors json) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_n     bigint;
BEGIN
    INSERT INTO aegis.kb_vector (embedder_id, chunk_id, tenant, signs, v)
    SELECT p_embedder_id, c.chunk_id, c.tenant, (o ->> 'signs')::bit varying, (o ->> 'vector')::real[]
      FROM json_array_elements(p_vectors) o
      JOIN aegis.kb_chunk c ON c.chunk_id = (o ->> 'chunk_id')::bigint
       FOR KEY SHARE OF c
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- When no passage lacks its vector: from now on questions go to this one. Then, in steps,
-- the vectors of those before are forgotten. 'active', 'filling', or 'purging' while there are some.
CREATE OR REPLACE FUNCTION aegis.kb_switch(p_embedder_id int) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp AS $$
DECLARE
    v_n bigint;
BEGIN
    IF EXISTS (SELECT FROM aegis.kb_embedder e WHERE e.embedder_id = p_embedder_id AND e.state = 'FILLING') THEN
        IF EXISTS (SELECT FROM aegis.kb_chunk c WHERE NOT EXISTS (SELECT FROM aegis.kb_vector v
                        WHERE v.embedder_id = p_embedder_id AND v.chunk_id = c.chunk_id))
        THEN
            RETURN 'filling';
        END IF;
        -- the built-in one's vectors serve on when a question's cannot be had from the model
        UPDATE aegis.kb_embedder e SET state = CASE WHEN e.name LIKE 'builtin/%' THEN 'SPARE' ELSE 'RETIRED' END
         WHERE e.state = 'ACTIVE';
        UPDATE aegis.kb_embedder e SET state = 'ACTIVE' WHERE e.embedder_id = p_embedder_id;
        RETURN 'purging';
    END IF;
    DELETE FROM aegis.kb_vector v WHERE (v.embedder_id, v.chunk_id) IN (
        SELECT x.embedder_id, x.chunk_id FROM aegis.kb_vector x
         WHERE x.embedder_id IN (SELECT e.embedder_id FROM aegis.kb_embedder e WHERE e.state = 'RETIRED')
         LIMIT 2000);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN CASE WHEN v_n > 0 THEN 'purging' ELSE 'active' END;
END $$;

-- The vector of a question by the embedder in use, when it is a model that only the librarian
-- has: what it made, or NULL, and then it is asked.
CREATE OR REPLACE FUNCTION aegis.kb_query_vector(e aegis.kb_embedder, p_tenant text, p_query text)
RETURNS real[] LANGUAGE plpgsql AS $$
DECLARE
    v_v real[];
BEGIN
    SELECT q.v INTO v_v FROM aegis.kb_query q
     WHERE q.hash = md5(p_query) AND q.embedder_id = e.embedder_id AND q.tenant = p_tenant;
    IF NOT FOUND THEN
        INSERT INTO aegis.kb_query (embedder_id, tenant, hash, query)
        VALUES (e.embedder_id, p_tenant, md5(p_query), p_query) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('aegis_kb', 'query');
    END IF;
    RETURN v_v;
END $$;

-- What the librarian is asked now; what was asked long ago is forgotten.
CREATE OR REPLACE FUNCTION aegis.kb_queries(p_embedder_id int, p_limit int)
RETURNS TABLE (tenant text, hash text, query text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    DELETE FROM aegis.kb_query q WHERE q.asked_at < now() - interval '1 hour' OR q.embedder_id <> p_embedder_id;
    RETURN QUERY
    SELECT q.tenant, q.hash, q.query FROM aegis.kb_query q
     WHERE q.v IS NULL AND q.embedder_id = p_embedder_id ORDER BY q.asked_at LIMIT p_limit;
END $$;

-- p_vectors is [{tenant, hash, vector}].
CREATE OR REPLACE FUNCTION aegis.kb_query_put(p_embedder_id int, p_vectors json) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_n     bigint;
BEGIN
    UPDATE aegis.kb_query q SET v = (o ->> 'vector')::real[]
      FROM json_array_elements(p_vectors) o
     WHERE q.hash = o ->> 'hash' AND q.embedder_id = p_embedder_id AND q.tenant = o ->> 'tenant';
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Whether the answer has to wait for the librarian: only while p_attempt says that there is time.
CREATE OR REPLACE FUNCTION aegis.kb_waits(p_tenant text, p_probe json, p_attempt int) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    e aegis.kb_embedder;
BEGIN
    SELECT * INTO e FROM aegis.kb_embedder x WHERE x.state = 'ACTIVE';
    RETURN e.name NOT LIKE 'builtin/%' AND p_attempt < 100
       AND EXISTS (SELECT FROM aegis.kb_tenant t WHERE t.tenant = p_tenant AND t.chunks > 0)
       AND aegis.kb_query_vector(e, p_tenant, p_probe ->> 'text') IS NULL;
END $$;

CREATE OR REPLACE FUNCTION aegis.kb_lexeme(p_text text) RETURNS tsquery
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('''' || replace(replace(p_text, '\', '\\'), '''', '''''') || '''')::tsquery
$$;

DROP FUNCTION IF EXISTS aegis.kb_dot(real[], real[]);

-- The nearest by vectors, at most 64, nearest first. p_among: candidates, by words, when there
-- are enough of them; NULL: everything that fits the facets. Without pgvector the signs of the
-- numbers choose, and the numbers themselves then order.
CREATE OR REPLACE FUNCTION aegis.kb_near(p_tenant text, p_embedder_id int, p_dims int, p_probe json,
    p_facets tsquery, p_filtered boolean, p_among bigint[], p_k int, OUT ids bigint[], OUT cosines real[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp AS $$
DECLARE
    v_schema text := aegis.kb_pgvector();
    v_v      real[] := (p_probe ->> 'vector')::real[];
    v_signs  bit varying := (p_probe ->> 'signs')::bit varying;
    v_mask   bit varying := (p_probe ->> 'mask')::bit varying;
    v_few    bigint[]; v_near bigint[]; v_at int[]; v_x real[];
BEGIN
    IF p_filtered THEN -- few that fit are looked at one by one: an index might stop before it met them
        v_few := ARRAY(SELECT c.chunk_id FROM aegis.kb_chunk c WHERE c.tsv @@ p_facets LIMIT 2001);
        v_few := CASE WHEN cardinality(v_few) <= 2000 THEN v_few END;
    END IF;

    IF v_schema IS NOT NULL THEN
        PERFORM set_config('hnsw.iterative_scan', 'strict_order', true),
                set_config('hnsw.ef_search', '80', true);
        EXECUTE format('SELECT array_agg(x.chunk_id), array_agg((1 - x.far)::real) FROM ('
            'SELECT v.chunk_id, v.v::%1$s.vector(%2$s) OPERATOR(%1$s.<=>) $1::%1$s.vector(%2$s) AS far'
            ' FROM aegis.kb_vector v WHERE v.embedder_id = %3$s AND v.tenant = $2'
            || CASE WHEN v_few IS NOT NULL THEN ' AND v.chunk_id = ANY ($4)'
                    WHEN p_filtered THEN ' AND EXISTS (SELECT FROM aegis.kb_chunk c'
                         ' WHERE c.chunk_id = v.chunk_id AND c.tsv @@ $3)' ELSE '' END
            -- the sum keeps the index from being used where all are to be compared
            || ' ORDER BY ' || CASE WHEN v_few IS NOT NULL THEN '0 + ' ELSE '' END
            || '(v.v::%1$s.vector(%2$s) OPERATOR(%1$s.<=>) $1::%1$s.vector(%2$s)) LIMIT 64) x',
            v_schema, p_dims, p_embedder_id)
           INTO ids, cosines USING v_v, p_tenant, p_facets, v_few;
        IF cardinality(ids) >= p_k OR v_few IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;

    IF v_few IS NOT NULL OR p_among IS NOT NULL THEN
        v_near := ARRAY(SELECT w.chunk_id FROM unnest(coalesce(v_few, p_among)) a(chunk_id)
                         CROSS JOIN LATERAL (SELECT v.chunk_id, v.signs FROM aegis.kb_vector v
                               WHERE v.embedder_id = p_embedder_id AND v.chunk_id = a.chunk_id OFFSET 0) w
                         ORDER BY bit_count((w.signs # v_signs) & v_mask) LIMIT 64);
    ELSE
        v_near := ARRAY(SELECT w.chunk_id FROM aegis.kb_vector w
                         WHERE w.embedder_id = p_embedder_id AND w.tenant = p_tenant
                           AND (NOT p_filtered OR EXISTS (SELECT FROM aegis.kb_chunk c
                                    WHERE c.chunk_id = w.chunk_id AND c.tsv @@ p_facets))
                         ORDER BY bit_count((w.signs # v_signs) & v_mask) LIMIT 64);
    END IF;

    -- a lexical question has some 30 numbers of 384 that are not 0: only these are multiplied
    SELECT array_agg(u.n), array_agg(u.x) INTO v_at, v_x
      FROM unnest(v_v) WITH ORDINALITY AS u(x, n) WHERE u.x <> 0;
    SELECT array_agg(y.chunk_id ORDER BY y.cosine DESC), array_agg(y.cosine ORDER BY y.cosine DESC)
      INTO ids, cosines
      FROM (SELECT w.chunk_id, sum(w.v[u.at] * u.x)::real AS cosine
              -- || makes one plain copy: a long vector would be unpacked at each subscript
              FROM (SELECT v.chunk_id, v.v || '{}'::real[] AS v FROM unnest(v_near) a(chunk_id)
                     CROSS JOIN LATERAL (SELECT x.chunk_id, x.v FROM aegis.kb_vector x
                           WHERE x.embedder_id = p_embedder_id AND x.chunk_id = a.chunk_id OFFSET 0) v OFFSET 0) w,
                   unnest(v_at, v_x) AS u(at, x)
             GROUP BY w.chunk_id) y;
END $$;

-- Passages that have a word, of the newest documents; some of these may be still to be read, and have
-- none. In order of the index whatever the planner believes of sizes, so that it ends early.
CREATE OR REPLACE FUNCTION aegis.kb_newest(p_tenant text, p_word tsquery, p_n int) RETURNS bigint[]
LANGUAGE plpgsql SET enable_sort = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN ARRAY(SELECT c.chunk_id
          FROM (SELECT d.doc_id FROM aegis.kb_doc d WHERE d.tenant = p_tenant
                 ORDER BY d.created_at DESC, d.doc_id DESC LIMIT 4 * p_n) d
         CROSS JOIN LATERAL (SELECT x.chunk_id, x.tsv FROM aegis.kb_chunk x
                              WHERE x.doc_id = d.doc_id AND x.tenant = p_tenant OFFSET 0) c
         WHERE c.tsv @@ p_word LIMIT p_n);
END $$;

-- The p_k best passages for a probe (core/aegis_kb_query.c). matched: the part of the
-- question's words that the passage has, by how rare they are. There are p_k whenever p_k fit.
CREATE OR REPLACE FUNCTION aegis.kb_find(p_tenant text, p_probe json, p_k int)
RETURNS TABLE (chunk_id bigint, score real, text_rank int, vector_rank int, matched real, cosine real)
LANGUAGE plpgsql ROWS 8 SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp
-- the same question has the same answer: a walk through the table begins at its beginning
SET synchronize_seqscans = off AS $$
#variable_conflict use_column
DECLARE
    v_terms  text[] := array_remove(string_to_array(p_probe ->> 'terms', ' '), '');
    v_facets tsquery := aegis.kb_lexeme('tenant=' || p_tenant);
    v_filtered boolean := json_array_length(p_probe -> 'facets') > 0;
    v_within tsquery; v_rows real; v_lot real := 'infinity';
    v_all    bigint; v_length real; v_whole real;
    v_q tsquery[]; v_w real[]; v_n bigint[]; v_take int := 0; v_sum bigint := 0;
    v_new bigint[]; v_cand bigint[]; v_known real[]; v_any tsquery; v_rest tsquery[]; v_restw real[]; v_tid bigint[]; v_tm real[]; v_vid bigint[]; v_vc real[];
    e aegis.kb_embedder; v_probe json; v_share real := 1;
BEGIN
    IF strpos(current_setting('aegis.tenants', true), E'\x1f' || p_tenant || E'\x1f') = 0 THEN
        RAISE EXCEPTION 'kb_find: the transaction does not act for %', p_tenant;
    END IF;
    SELECT t.chunks, t.lexemes::real / greatest(t.chunks, 1) INTO v_all, v_length
      FROM aegis.kb_tenant t WHERE t.tenant = p_tenant;
    IF coalesce(v_all, 0) = 0 THEN
        RETURN;
    END IF;
    v_facets := coalesce((SELECT string_agg(aegis.kb_lexeme(f)::text, ' & ')::tsquery
                            FROM json_array_elements_text(p_probe -> 'facets') f) && v_facets, v_facets);
    -- where a tenant has most of the passages the index need not be asked which ones are its,
    -- and 600 of what one in eight passages has are met sooner on the way through the table
    v_within := v_facets;
    v_rows := (SELECT k.reltuples FROM pg_class k WHERE k.oid = 'aegis.kb_chunk'::regclass);
    IF v_all * 2 >= v_rows AND NOT v_filtered THEN
        v_within := NULL;
        v_lot := greatest(v_rows, v_all) / 8;
    END IF;

    -- rare words first: they say most, and few passages have them
    SELECT array_agg(aegis.kb_lexeme(x.term) ORDER BY x.n), array_agg(x.n ORDER BY x.n),
           array_agg(x.w ORDER BY x.n), sum(x.w)
      INTO v_q, v_n, v_w, v_whole
      FROM (SELECT q.term, coalesce(t.n, 0) AS n,
                   ln(1 + (v_all - coalesce(t.n, 0) + 0.5) / (coalesce(t.n, 0) + 0.5))::real AS w
              FROM unnest(v_terms) q(term)
              LEFT JOIN LATERAL (SELECT y.n FROM aegis.kb_term y
                                  WHERE y.term = q.term AND y.tenant = p_tenant OFFSET 0) t ON true) x;

    FOR i IN 1 .. coalesce(cardinality(v_q), 0) LOOP
        CONTINUE WHEN v_n[i] = 0;
        v_any := CASE WHEN v_any IS NULL THEN v_q[i] ELSE v_any || v_q[i] END;
        IF v_sum < 600 THEN
            v_take := i;
            v_sum := v_sum + v_n[i];
        END IF;
        -- whether a passage has one of the others is known when they have been looked up
        IF v_take < i OR v_n[i] > 600 THEN
            v_rest := v_rest || v_q[i];
            v_restw := v_restw || v_w[i];
        END IF;
    END LOOP;
    -- A word that most passages have tells them hardly apart: the newest with it do, where the index
    -- would be read for all of them
    IF v_n[v_take] > greatest(600, v_all / 2) AND NOT v_filtered THEN
        v_new := aegis.kb_newest(p_tenant, v_q[v_take], 64);
        IF cardinality(v_new) < 64 THEN
            v_new := '{}';
        ELSE
            v_take := v_take - 1;
            v_sum := 0;
        END IF;
    END IF;
    -- the 100 that have most of them are looked at again, with all words: more of them would find
    -- less, since the nearest of those that have little to do with it get ranks too
    SELECT array_agg(y.chunk_id), array_agg(y.m) INTO v_cand, v_known
      FROM (SELECT x.chunk_id, coalesce(sum(a.w) FILTER (WHERE a.whole), 0)::real AS m FROM (
        SELECT q, w, n <= 600 AS whole, n >= v_lot AS lot
          FROM unnest(v_q[1:v_take], v_w[1:v_take], v_n[1:v_take]) a(q, w, n) WHERE n > 0
        UNION ALL SELECT v_q[v_take] && v_q[v_take + 1], v_w[v_take + 1], false,
               v_n[v_take]::real * v_n[v_take + 1] / v_all >= v_lot
         WHERE v_sum > 600 AND v_take < cardinality(v_q)) a(q, w, whole, lot),
        LATERAL ((SELECT c.chunk_id FROM aegis.kb_chunk c
                   WHERE NOT a.lot AND c.tsv @@ coalesce(a.q && v_within, a.q) AND c.tenant = p_tenant LIMIT 600)
                 UNION ALL
                 (SELECT c.chunk_id FROM aegis.kb_chunk c
                   WHERE a.lot AND (c.tsv @@ a.q) IS TRUE AND c.tenant = p_tenant LIMIT 600)) x
        GROUP BY x.chunk_id ORDER BY sum(a.w) DESC, x.chunk_id LIMIT 100) y;
    IF v_new <> '{}' THEN
        SELECT array_agg(x.chunk_id), array_agg(x.m) INTO v_cand, v_known
          FROM (SELECT coalesce(o.chunk_id, n.chunk_id) AS chunk_id, coalesce(o.m, 0) AS m
                  FROM unnest(v_cand, v_known) o(chunk_id, m)
                  FULL JOIN unnest(v_new) n(chunk_id) ON n.chunk_id = o.chunk_id) x;
    END IF;
    v_cand := coalesce(v_cand, '{}');

    SELECT array_agg(x.chunk_id ORDER BY x.w DESC, x.chunk_id), array_agg((x.m / v_whole)::real ORDER BY x.w DESC, x.chunk_id)
      INTO v_tid, v_tm
      FROM (SELECT c.chunk_id, s.m, (s.m + s.head) / (0.7 + 0.3 * length(c.tsv) / greatest(v_length, 1)) AS w
              FROM unnest(v_cand, v_known) k(chunk_id, m)
             -- one by one, here and below: joined by a plan that was made when there were
             -- few documents, all of the tenant's are read for each candidate
             CROSS JOIN LATERAL (SELECT x.chunk_id, x.tenant, x.tsv, x.heads FROM aegis.kb_chunk x
                                  WHERE x.chunk_id = k.chunk_id OFFSET 0) c,
                   LATERAL (SELECT k.m + CASE WHEN v_rest IS NULL THEN 0 ELSE coalesce(
                                (SELECT sum(u.w) FROM unnest(v_rest, v_restw) AS u(q, w) WHERE c.tsv @@ u.q), 0) END AS m,
                                CASE WHEN c.heads @@ v_any THEN 0.6 * (SELECT sum(u.w)
                                       FROM unnest(v_q, v_w) AS u(q, w) WHERE c.heads @@ u.q) ELSE 0 END AS head
                            OFFSET 0) s
             WHERE c.tenant = p_tenant ORDER BY 3 DESC, 1 LIMIT 64) x;

    SELECT * INTO e FROM aegis.kb_embedder x WHERE x.state = 'ACTIVE';
    IF e.name NOT LIKE 'builtin/%' THEN
        SELECT json_build_object('vector', q.v::text, 'mask', repeat('1', e.dims), 'signs', (
                   SELECT string_agg(CASE WHEN x > 0 THEN '1' ELSE '0' END, '' ORDER BY n)
                     FROM unnest(q.v) WITH ORDINALITY u(x, n)))
          INTO v_probe FROM aegis.kb_query q
         WHERE q.hash = md5(p_probe ->> 'text') AND q.embedder_id = e.embedder_id AND q.tenant = p_tenant
           AND q.v IS NOT NULL AND cardinality(q.v) = e.dims;
        IF v_probe IS NULL THEN
            SELECT * INTO e FROM aegis.kb_embedder x WHERE x.state = 'SPARE';
        END IF;
    END IF;
    IF v_probe IS NULL THEN
        SELECT o INTO v_probe FROM json_array_elements(p_probe -> 'probes') o
         WHERE o ->> 'embedder' = e.name AND (o ->> 'dims')::int = e.dims AND strpos(o ->> 'mask', '1') > 0;
    END IF;
    IF v_probe IS NOT NULL THEN
        SELECT x.ids, x.cosines INTO v_vid, v_vc
          FROM aegis.kb_near(p_tenant, e.embedder_id, e.dims, v_probe, v_facets, v_filtered,
                   -- what a lexical vector is near to has a word of it
                   CASE WHEN e.name LIKE 'builtin/%' AND cardinality(v_cand) >= p_k THEN v_cand END, p_k) x;
    END IF;

    -- A lexical vector knows no word that the words do not know: where a passage has all of the
    -- question's, rare ones first, it adds little, and where none has, it is all that there is
    IF e.name LIKE 'builtin/%' THEN
        v_share := greatest(0.03, 1 - coalesce((SELECT max(x) FROM unnest(v_tm) x), 0) ^ 2);
    END IF;

    RETURN QUERY
    WITH fused AS (
        SELECT coalesce(t.id, v.id) AS id, t.r AS tr, v.r AS vr, t.m, v.c,
               coalesce(1.0 / (60 + t.r), 0) + coalesce(v_share / (60 + v.r), 0) AS s
          FROM unnest(v_tid, v_tm) WITH ORDINALITY AS t(id, m, r)
          FULL JOIN unnest(v_vid, v_vc) WITH ORDINALITY AS v(id, c, r) ON v.id = t.id)
    SELECT f.id, f.s::real, f.tr::int, f.vr::int, coalesce(f.m, 0)::real, f.c
      FROM fused f ORDER BY f.s DESC, f.m DESC NULLS LAST, f.id LIMIT p_k;

    IF cardinality(v_tid) >= p_k OR cardinality(v_vid) >= p_k THEN
        RETURN;
    END IF;
    -- whatever fits, when the question says too little
    RETURN QUERY
    SELECT c.chunk_id, 0::real, NULL::int, NULL::int, 0::real, NULL::real FROM aegis.kb_chunk c
     WHERE c.tsv @@ v_facets AND c.chunk_id <> ALL (coalesce(v_tid, '{}') || coalesce(v_vid, '{}'))
     ORDER BY c.chunk_id DESC
     LIMIT greatest(0, p_k - (SELECT count(DISTINCT x) FROM unnest(coalesce(v_tid, '{}') || coalesce(v_vid, '{}')) x));
END $$;

-- A passage as a hit; its locator leads to its bytes of that version of the document.
CREATE OR REPLACE FUNCTION aegis.kb_hit(c aegis.kb_chunk, d aegis.kb_doc, p_score real, p_text_rank int,
    p_vector_rank int, p_matched real, p_cosine real)
RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('score', p_score, 'matched', round(p_matched::numeric, 4), 'cosine', round(p_cosine::numeric, 4),
        'text_rank', p_text_rank, 'vector_rank', p_vector_rank,
        'locator', 'kb:' || d.doc_id || '@' || c.version || '#' || c.chunk_no, 'doc_id', d.doc_id,
        'version', c.version, 'chunk', c.chunk_no, 'from', c.b_from, 'to', c.b_to, 'source', d.source,
        'url', d.url, 'category', d.category, 'lang', d.lang, 'title', d.title, 'heading', c.heading, 'text', c.body)
$$;

-- 'pending': the librarian is asked for the question's vector; ask again soon with attempt + 1, and
-- with 100 when there is no more time.
CREATE OR REPLACE FUNCTION aegis.kb_search(p_tenant text[], p_probe text[], p_limit int[], p_attempt int[],
    p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json; v_embedder text; v_probe json;
BEGIN
    SELECT e.name INTO v_embedder FROM aegis.kb_embedder e WHERE e.state = 'ACTIVE';
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        v_probe := p_probe[n]::json;
        IF aegis.kb_waits(p_tenant[n], v_probe, p_attempt[n]) THEN
            RETURN NEXT ROW(n, 200, 'pending', NULL, '{}', NULL)::aegis.result;
            CONTINUE;
        END IF;
        SELECT coalesce(json_agg(aegis.kb_hit(c.row, d.row, f.score, f.text_rank, f.vector_rank, f.matched, f.cosine)
                                 ORDER BY f.score DESC, f.matched DESC, f.chunk_id), '[]')
          INTO v_items
          FROM aegis.kb_find(p_tenant[n], v_probe, p_limit[n]) f
         CROSS JOIN LATERAL (SELECT c AS row FROM aegis.kb_chunk c WHERE c.chunk_id = f.chunk_id OFFSET 0) c
         CROSS JOIN LATERAL (SELECT d AS row FROM aegis.kb_doc d
                              WHERE d.doc_id = (c.row).doc_id AND d.tenant = (c.row).tenant OFFSET 0) d
         WHERE (c.row).tenant = p_tenant[n];
        RETURN NEXT ROW(n, 200, 'ok', NULL, json_build_object('items', v_items,
            'embedder', v_embedder,
            'vector', v_embedder LIKE 'builtin/%' OR EXISTS (SELECT FROM aegis.kb_query q
                 WHERE q.hash = md5(v_probe ->> 'text') AND q.tenant = p_tenant[n] AND q.v IS NOT NULL))::text, NULL)::aegis.result;
    END LOOP;
END $$;

-- What a planner quotes: the passages that really have to do with the question, one or two a
-- document, and beside each the passage of its document that says how to go back.
CREATE OR REPLACE FUNCTION aegis.kb_cite(p_tenant text[], p_probe text[], p_attempt int[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        IF aegis.kb_waits(p_tenant[n], p_probe[n]::json, p_attempt[n]) THEN
            RETURN NEXT ROW(n, 200, 'pending', NULL, '[]', NULL)::aegis.result;
            CONTINUE;
        END IF;
        SELECT coalesce(json_agg(json_build_object(
                   'locator', 'kb:' || d.doc_id || '@' || c.version || '#' || c.chunk_no,
                   'title', d.title, 'source', d.source, 'url', d.url, 'category', d.category,
                   'heading', c.heading, 'text', left(c.body, 1200), 'score', x.score, 'matched', x.matched,
                   'rollback', (SELECT json_build_object(
                            'locator', 'kb:' || d.doc_id || '@' || r.version || '#' || r.chunk_no,
                            'heading', r.heading, 'text', left(r.body, 1200))
                       FROM aegis.kb_chunk r
                      WHERE r.tenant = d.tenant AND r.doc_id = d.doc_id
                        AND r.heading ~* '(roll ?back|revert|undo|回滚|回退|撤销)'
                      ORDER BY r.chunk_no LIMIT 1)) ORDER BY x.score DESC, x.chunk_id), '[]')
          INTO v_items
          FROM (SELECT y.* FROM (
                    SELECT f.*, k.doc_id,
                           row_number() OVER (PARTITION BY k.doc_id ORDER BY f.score DESC) AS nth
                      FROM aegis.kb_find(p_tenant[n], p_probe[n]::json, 12) f
                     CROSS JOIN LATERAL (SELECT c.tenant, c.doc_id FROM aegis.kb_chunk c
                                          WHERE c.chunk_id = f.chunk_id OFFSET 0) k
                     WHERE k.tenant = p_tenant[n] AND (f.matched >= 0.25 OR f.cosine >= 0.35)) y
                 WHERE y.nth <= 1 ORDER BY y.score DESC LIMIT 3) x
         CROSS JOIN LATERAL (SELECT * FROM aegis.kb_chunk c WHERE c.chunk_id = x.chunk_id OFFSET 0) c
         CROSS JOIN LATERAL (SELECT * FROM aegis.kb_doc d
                              WHERE d.doc_id = c.doc_id AND d.tenant = c.tenant OFFSET 0) d;
        RETURN NEXT ROW(n, 200, 'ok', NULL, v_items::text, NULL)::aegis.result;
    END LOOP;
END $$;
