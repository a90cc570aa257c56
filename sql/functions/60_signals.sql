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
