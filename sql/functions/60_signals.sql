-- The sensor's statements: locators given by senders, sketches, and what the
-- analyst takes from the events that senders report.

-- A sketch is 6 bytes a bin: the bin's number (int2) and how many values fell in
-- it (int4), big-endian, by number. Values of bin k > 0 are about 1.02^(k - 8192),
-- of k < 0 the same below zero, of 0 zero; the error is at most 1 %. core's
-- aegis_sketch.c is the twin that makes them.
CREATE OR REPLACE FUNCTION aegis.sketch_bins(p bytea)
RETURNS TABLE (bin int, n bigint) LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT ((get_byte(p, i * 6) << 8 | get_byte(p, i * 6 + 1)) + 32768) % 65536 - 32768,
           get_byte(p, i * 6 + 2)::bigint << 24 | get_byte(p, i * 6 + 3) << 16
               | get_byte(p, i * 6 + 4) << 8 | get_byte(p, i * 6 + 5)
      FROM generate_series(0, length(p) / 6 - 1) i
$$;

CREATE OR REPLACE FUNCTION aegis.sketch_merge(a bytea, b bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a ELSE
        (SELECT string_agg(int2send(s.bin::int2) || int4send(least(s.n, 2147483647)::int4), '' ORDER BY s.bin)
           FROM (SELECT u.bin, sum(u.n) AS n FROM (SELECT * FROM aegis.sketch_bins(a)
                  UNION ALL SELECT * FROM aegis.sketch_bins(b)) u GROUP BY u.bin) s) END
$$;

-- The value below which a part q of the values lie.
CREATE OR REPLACE FUNCTION aegis.sketch_quantile(p bytea, q double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN w.bin = 0 THEN 0 ELSE sign(w.bin) * power(1.02, abs(w.bin) - 8192) * 2 / 2.02 END
      FROM (SELECT s.bin, sum(s.n) OVER (ORDER BY s.bin) AS upto, sum(s.n) OVER () AS total
              FROM aegis.sketch_bins(p) s) w
     WHERE w.upto >= greatest(1, ceil(q * w.total)) ORDER BY w.bin LIMIT 1
$$;

-- The next events that no finding was made of, oldest first, marked as taken: call
-- it in the transaction that makes the findings.
CREATE OR REPLACE FUNCTION aegis.signal_take(p_limit int)
RETURNS SETOF aegis.signal_event LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT e.tenant, e.id FROM aegis.signal_event e
         WHERE e.taken_at IS NULL ORDER BY e.id LIMIT p_limit FOR UPDATE SKIP LOCKED)
    UPDATE aegis.signal_event e SET taken_at = now()
      FROM due d WHERE e.tenant = d.tenant AND e.id = d.id
    RETURNING e.*;
END $$;

-- Where the details of something are, said by whoever keeps them.
CREATE OR REPLACE FUNCTION aegis.ingest_hint(
    p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_locator_id uuid[],
    p_dataset text[], p_bucket text[], p_object_key text[], p_t_from timestamptz[],
    p_t_to timestamptz[], p_query_hint text[], p_bytes bigint[], p_case_id uuid[],
    p_actor text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope    text := aegis.act_for(p_tenant);
    v_consumer text[] := array_fill(NULL::text, ARRAY[cardinality(p_tenant)]);
    v_claim    aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, v_consumer);
    v_out      aegis.result[];
BEGIN
    WITH made AS (
        INSERT INTO aegis.oo_locator AS l (tenant, locator_id, dataset, bucket, object_key, t_from,
                    t_to, query_hint, bytes, case_id, created_by)
        SELECT p_tenant[n], p_locator_id[n], p_dataset[n], p_bucket[n], p_object_key[n],
               p_t_from[n], p_t_to[n], coalesce(p_query_hint[n], ''), p_bytes[n], p_case_id[n],
               p_actor[n]
          FROM generate_series(1, cardinality(p_tenant)) n
         WHERE (v_claim[n]).verdict = 'new' AND (p_case_id[n] IS NULL OR EXISTS (
               SELECT FROM aegis.ops_case c
                WHERE c.tenant = p_tenant[n] AND c.case_id = p_case_id[n]))
        RETURNING l.*)
    SELECT array_agg(ROW(array_position(p_locator_id, m.locator_id), 201, 'ok', NULL,
               json_build_object('locator_id', m.locator_id, 'dataset', m.dataset,
                   'bucket', m.bucket, 'object_key', m.object_key, 't_from', m.t_from,
                   't_to', m.t_to, 'query_hint', m.query_hint, 'bytes', m.bytes,
                   'case_id', m.case_id, 'created_by', m.created_by,
                   'created_at', m.created_at)::text, m.locator_id::text)::aegis.result)
      INTO v_out FROM made m;

    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, v_consumer, v_claim, v_out);
    RETURN QUERY SELECT * FROM unnest(v_out)
     UNION ALL
     SELECT a.* FROM generate_subscripts(v_claim, 1) n,
            LATERAL aegis.claim_answer(n, v_claim[n], p_request_id[n]) a
      WHERE (v_claim[n]).verdict <> 'new'
     UNION ALL
     SELECT a.* FROM generate_subscripts(v_claim, 1) n,
            LATERAL aegis.not_found(n, p_request_id[n]) a
      WHERE (v_claim[n]).verdict = 'new'
        AND NOT EXISTS (SELECT FROM unnest(v_out) o WHERE o.ord = n);
END $$;
