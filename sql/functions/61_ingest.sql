-- The sensor's journal and what is made of it. Arrays, one element an item; a batch
-- is known by the hash of its body, so that a sender's retry counts once.

-- A lane that no sensor has, with a new epoch: the first free one, or (p_own false)
-- one whose sensor is gone and has left something. The lock lives as long as the
-- session; the epoch keeps out who lost it without knowing.
CREATE OR REPLACE FUNCTION aegis.ingest_take(p_owner text, p_own boolean)
RETURNS TABLE (lane int, epoch bigint, folded bigint, open_minute bigint, kept bigint, seq bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
    n int;
BEGIN
    FOR n IN SELECT g FROM generate_series(0, 15) g
              WHERE p_own OR EXISTS (SELECT FROM aegis.ingest_lane l JOIN aegis.ingest_journal j
                    ON j.lane = l.lane AND j.seq > l.kept WHERE l.lane = g) LOOP
        -- a session may take a lock of its own again: what it has is not free
        CONTINUE WHEN EXISTS (SELECT FROM pg_locks k WHERE k.locktype = 'advisory'
            AND k.classid = 1095058804 AND k.objid = n AND k.pid = pg_backend_pid()) AND NOT p_own;
        CONTINUE WHEN NOT pg_try_advisory_lock(1095058804, n);
        INSERT INTO aegis.ingest_lane AS l (lane, epoch, owner) VALUES (n, 1, p_owner)
            ON CONFLICT (lane) DO UPDATE SET epoch = l.epoch + 1, owner = p_owner, updated_at = now();
        RETURN QUERY SELECT l.lane, l.epoch, l.folded, l.open_minute, l.kept,
            coalesce((SELECT max(j.seq) FROM aegis.ingest_journal j WHERE j.lane = n), 0)
          FROM aegis.ingest_lane l WHERE l.lane = n FOR UPDATE;
        RETURN;
    END LOOP;
END $$;

-- Batches into the journal; 'new', 'seen' (it was there) or 'busy' (somebody else is
-- at it). Events become rows at once, because alerts cannot wait for a minute's end.
CREATE OR REPLACE FUNCTION aegis.ingest_append(p_lane int, p_epoch bigint, p_seq bigint[],
    p_tenant text[], p_kind text[], p_encoding text[], p_hash text[], p_body bytea[],
    p_at bigint[], p_events json)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_consumer text[] := array_fill('sensor'::text, ARRAY[cardinality(p_seq)]);
    v_got  boolean[];
    v_seen text[];
    v_code text[];
BEGIN
    PERFORM FROM aegis.ingest_lane l WHERE l.lane = p_lane AND l.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the lane is another sensor''s';
    END IF;

    v_got := aegis.lock_keys(p_tenant, v_consumer, p_hash, v_consumer);
    v_seen := aegis.seen_messages(p_tenant, v_consumer, p_hash);
    v_code := ARRAY(SELECT CASE
            WHEN NOT v_got[n] THEN 'busy'
            WHEN v_seen[n] IS NULL THEN 'add'
            -- the same numbers again: the answer to the first time was lost
            WHEN v_seen[n] = p_lane || ':' || p_seq[n] THEN 'new'
            ELSE 'seen' END FROM generate_series(1, cardinality(p_seq)) n ORDER BY n);

    INSERT INTO aegis.ingest_journal (lane, seq, tenant, kind, encoding, body, created_at)
    SELECT p_lane, p_seq[n], p_tenant[n], p_kind[n], p_encoding[n], p_body[n],
           to_timestamp(p_at[n] / 1000.0)
      FROM generate_series(1, cardinality(p_seq)) n WHERE v_code[n] = 'add';
    INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome)
    SELECT p_tenant[n], 'sensor', p_hash[n], p_lane || ':' || p_seq[n]
      FROM generate_series(1, cardinality(p_seq)) n WHERE v_code[n] = 'add';

    IF p_events IS NOT NULL THEN
        PERFORM aegis.ingest_events(p_tenant, v_code, p_events);
    END IF;

    RETURN QUERY SELECT CASE v_code[n] WHEN 'add' THEN 'new' ELSE v_code[n] END
      FROM generate_series(1, cardinality(p_seq)) n ORDER BY n;
END $$;

-- An event that is there and says something new (it was counted up, it ended) is
-- taken again; one that says the same is not.
CREATE OR REPLACE FUNCTION aegis.ingest_events(p_tenant text[], p_code text[], p_events json)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aegis.signal_event AS s (tenant, source, dedupe, state, fingerprint, severity, kind,
                resource, title, summary, labels, starts_at, ends_at, count)
    SELECT DISTINCT ON (p_tenant[e.n], e.source, e.dedupe, e.state, e.starts)
           p_tenant[e.n], e.source, e.dedupe, e.state, e.fingerprint, e.severity, e.kind,
           e.resource, e.title, e.summary, e.labels::jsonb, to_timestamp(e.starts / 1000.0),
           CASE WHEN e.ends > 0 THEN to_timestamp(e.ends / 1000.0) END, e.count
      FROM json_to_recordset(p_events) AS e(n int, source text, dedupe text, state text,
           fingerprint text, severity text, kind text, resource text, title text, summary text,
           labels text, starts bigint, ends bigint, count bigint)
     WHERE p_code[e.n] = 'add'
     ORDER BY p_tenant[e.n], e.source, e.dedupe, e.state, e.starts, e.count DESC
    ON CONFLICT (tenant, source, dedupe, state, starts_at) DO UPDATE
       SET count = excluded.count, ends_at = excluded.ends_at, summary = excluded.summary,
           severity = excluded.severity, labels = excluded.labels, taken_at = NULL
     WHERE s.count < excluded.count OR s.severity <> excluded.severity;
END $$;

-- Rows of metric_1m. What is late is added to what is there: sums by weight, the
-- sketch bin by bin.
CREATE OR REPLACE FUNCTION aegis.fold_metrics(p_tenant text[], p_resource text[], p_metric text[],
    p_series bigint[], p_bucket bigint[], p_samples bigint[], p_avg float8[], p_max float8[],
    p_p95 float8[], p_labels text[], p_sketch bytea[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    INSERT INTO aegis.metric_1m AS m (tenant, resource, metric, series, bucket, samples, avg, max,
                p95, labels, sketch)
    SELECT u.tenant, u.resource, u.metric, u.series, to_timestamp(u.bucket),
           least(u.samples, 2147483647), u.avg, u.max,
           u.p95, u.labels::jsonb, u.sketch
      FROM unnest(p_tenant, p_resource, p_metric, p_series, p_bucket, p_samples, p_avg, p_max,
           p_p95, p_labels, p_sketch) AS u(tenant, resource, metric, series, bucket, samples, avg,
           max, p95, labels, sketch)
    ON CONFLICT (tenant, resource, metric, bucket, series) DO UPDATE
       SET samples = least(m.samples::bigint + excluded.samples, 2147483647),
           avg = (m.avg * m.samples + excluded.avg * excluded.samples)
                 / (m.samples::bigint + excluded.samples),
           max = greatest(m.max, excluded.max),
           sketch = aegis.sketch_merge(m.sketch, excluded.sketch),
           p95 = least(coalesce(aegis.sketch_quantile(aegis.sketch_merge(m.sketch, excluded.sketch),
                          0.95), greatest(m.p95, excluded.p95)), greatest(m.max, excluded.max));
    PERFORM aegis.fold_dimensions(p_tenant, p_resource);
END $$;

-- Who has reported, and when last; an hour's accuracy is enough for that. Rows that are fresh
-- are not touched: ON CONFLICT locks what it does not change, too, and sensors that fold for
-- the same tenant would wait for each other's commits.
CREATE OR REPLACE FUNCTION aegis.fold_dimensions(p_tenant text[], p_resource text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_stale timestamptz := now() - interval '1 hour';
BEGIN
    INSERT INTO aegis.dim_tenant AS d (tenant)
    SELECT u.t FROM (SELECT DISTINCT t FROM unnest(p_tenant) t) u
      LEFT JOIN LATERAL (SELECT true AS fresh FROM aegis.dim_tenant k
                          WHERE k.tenant = u.t AND k.last_seen >= v_stale OFFSET 0) k ON true
     WHERE k.fresh IS NULL ORDER BY u.t
    ON CONFLICT (tenant) DO UPDATE SET last_seen = now() WHERE d.last_seen < v_stale;
    INSERT INTO aegis.dim_resource AS d (tenant, resource, kind, name)
    SELECT u.t, u.r, CASE WHEN u.r LIKE 'urn:k8s:%' THEN split_part(u.r, ':', 3)
                          ELSE split_part(u.r, ':', 2) END,
           regexp_replace(u.r, '^urn:(k8s:)?[^:]*:', '')
      FROM (SELECT DISTINCT t, r FROM unnest(p_tenant, p_resource) x(t, r)) u
      LEFT JOIN LATERAL (SELECT true AS fresh FROM aegis.dim_resource k
                          WHERE k.tenant = u.t AND k.resource = u.r AND k.last_seen >= v_stale OFFSET 0) k ON true
     WHERE k.fresh IS NULL ORDER BY u.t, u.r
    ON CONFLICT (tenant, resource) DO UPDATE SET last_seen = now() WHERE d.last_seen < v_stale;
END $$;

CREATE OR REPLACE FUNCTION aegis.fold_patterns(p_tenant text[], p_resource text[],
    p_fingerprint text[], p_template text[], p_severity text[], p_sample text[],
    p_first bigint[], p_last bigint[], p_total bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    INSERT INTO aegis.log_pattern AS p (tenant, resource, fingerprint, template, severity, sample,
                first_seen, last_seen, total)
    SELECT u.tenant, u.resource, u.fingerprint, u.template, u.severity, u.sample,
           to_timestamp(u.t0 / 1000.0), to_timestamp(u.t1 / 1000.0), u.total
      FROM unnest(p_tenant, p_resource, p_fingerprint, p_template, p_severity, p_sample, p_first,
           p_last, p_total) AS u(tenant, resource, fingerprint, template, severity, sample, t0, t1, total)
    ON CONFLICT (tenant, resource, fingerprint) DO UPDATE
       SET template = excluded.template, total = p.total + excluded.total,
           first_seen = least(p.first_seen, excluded.first_seen),
           last_seen = greatest(p.last_seen, excluded.last_seen),
           severity = CASE WHEN array_position('{"",debug,info,warn,error}', excluded.severity)
                              > array_position('{"",debug,info,warn,error}', p.severity)
                           THEN excluded.severity ELSE p.severity END;
    PERFORM aegis.fold_dimensions(p_tenant, p_resource);
END $$;

CREATE OR REPLACE FUNCTION aegis.fold_pattern_counts(p_tenant text[], p_resource text[],
    p_fingerprint text[], p_bucket bigint[], p_count bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    INSERT INTO aegis.log_pattern_5m AS p (tenant, resource, fingerprint, bucket, count)
    SELECT u.tenant, u.resource, u.fingerprint, to_timestamp(u.bucket), u.n
      FROM unnest(p_tenant, p_resource, p_fingerprint, p_bucket, p_count)
           AS u(tenant, resource, fingerprint, bucket, n)
    ON CONFLICT (tenant, resource, fingerprint, bucket) DO UPDATE
       SET count = p.count + excluded.count;
END $$;

-- sketch is of milliseconds.
CREATE OR REPLACE FUNCTION aegis.fold_calls(p_tenant text[], p_caller text[], p_callee text[],
    p_bucket bigint[], p_calls bigint[], p_errors bigint[], p_sketch bytea[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    INSERT INTO aegis.service_call_5m AS c (tenant, caller, callee, bucket, calls, errors, rps,
                err_rate, p50, p95, sketch)
    SELECT u.tenant, u.caller, u.callee, to_timestamp(u.bucket), u.calls, u.errors, u.calls / 300.0,
           u.errors::float8 / u.calls, aegis.sketch_quantile(u.sketch, 0.5),
           aegis.sketch_quantile(u.sketch, 0.95), u.sketch
      FROM unnest(p_tenant, p_caller, p_callee, p_bucket, p_calls, p_errors, p_sketch)
           AS u(tenant, caller, callee, bucket, calls, errors, sketch)
    ON CONFLICT (tenant, caller, callee, bucket) DO UPDATE
       SET calls = c.calls + excluded.calls, errors = c.errors + excluded.errors,
           rps = (c.calls + excluded.calls) / 300.0,
           err_rate = (c.errors + excluded.errors)::float8 / (c.calls + excluded.calls),
           sketch = aegis.sketch_merge(c.sketch, excluded.sketch),
           p50 = aegis.sketch_quantile(aegis.sketch_merge(c.sketch, excluded.sketch), 0.5),
           p95 = aegis.sketch_quantile(aegis.sketch_merge(c.sketch, excluded.sketch), 0.95);
    PERFORM aegis.fold_dimensions(p_tenant || p_tenant, p_caller || p_callee);
END $$;

-- The last step of a fold's transaction.
CREATE OR REPLACE FUNCTION aegis.ingest_checkpoint(p_lane int, p_epoch bigint, p_seq bigint,
    p_open bigint, p_kept bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE aegis.ingest_lane l SET folded = p_seq, open_minute = p_open, kept = p_kept,
           updated_at = now()
     WHERE l.lane = p_lane AND l.epoch = p_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the lane is another sensor''s';
    END IF;
END $$;

-- Batches after a number, oldest first; at most some megabytes of them.
CREATE OR REPLACE FUNCTION aegis.ingest_replay(p_lane int, p_after bigint)
RETURNS TABLE (seq bigint, tenant text, kind text, encoding text, body bytea, at_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    SELECT x.seq, x.tenant, x.kind, x.encoding, x.body, (extract(epoch FROM x.created_at) * 1000)::bigint
      FROM (SELECT j.*, sum(length(j.body)) OVER (ORDER BY j.seq) AS upto
              FROM (SELECT * FROM aegis.ingest_journal i WHERE i.lane = p_lane AND i.seq > p_after
                     ORDER BY i.seq LIMIT 64) j) x
     WHERE x.upto - length(x.body) < 8000000 ORDER BY x.seq;
END $$;

-- The oldest batches that nothing needs any more, of one tenant and dataset: the
-- next object.
CREATE OR REPLACE FUNCTION aegis.ingest_ship(p_lane int, p_upto bigint)
RETURNS TABLE (seq bigint, tenant text, dataset text, kind text, encoding text, at_ms bigint,
               bytes int, body bytea, day text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    WITH j AS (
        SELECT i.*, CASE WHEN i.kind LIKE '%logs%' OR i.kind LIKE 'loki%' THEN 'logs'
                         WHEN i.kind LIKE '%traces%' THEN 'traces'
                         WHEN i.kind LIKE 'prw%' OR i.kind LIKE '%metrics%' THEN 'metrics'
                         ELSE 'events' END AS dataset
          FROM aegis.ingest_journal i WHERE i.lane = p_lane AND i.seq <= p_upto
         ORDER BY i.seq LIMIT 512),
    x AS (
        SELECT j.*, sum(length(j.body)) OVER (ORDER BY j.seq) AS upto FROM j
         WHERE (j.tenant, j.dataset) = (SELECT k.tenant, k.dataset FROM j k ORDER BY k.seq LIMIT 1))
    SELECT x.seq, x.tenant, x.dataset, x.kind, x.encoding, (extract(epoch FROM x.created_at) * 1000)::bigint,
           length(x.body), x.body, to_char(x.created_at, 'YYYYMMDD')
      FROM x WHERE x.upto - length(x.body) < 8000000 ORDER BY x.seq;
END $$;

-- The object is stored: its locator, and the batches go.
CREATE OR REPLACE FUNCTION aegis.ingest_shipped(p_lane int, p_epoch bigint, p_seq bigint[],
    p_tenant text, p_dataset text, p_bucket text, p_key text, p_from bigint, p_to bigint,
    p_bytes bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_n     bigint;
BEGIN
    PERFORM FROM aegis.ingest_lane l WHERE l.lane = p_lane AND l.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the lane is another sensor''s';
    END IF;
    DELETE FROM aegis.ingest_journal j WHERE j.lane = p_lane AND j.seq = ANY (p_seq);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    IF v_n > 0 THEN
        INSERT INTO aegis.oo_locator (tenant, locator_id, dataset, bucket, object_key, t_from, t_to,
                    query_hint, bytes, created_by)
        VALUES (p_tenant, gen_random_uuid(), p_dataset, p_bucket, p_key, to_timestamp(p_from / 1000.0),
                to_timestamp(p_to / 1000.0), 'batches as they were received, each behind a line of JSON',
                p_bytes, 'sensor');
    END IF;
END $$;

-- How far behind the journal is: batches, and the age of the oldest that is not folded.
CREATE OR REPLACE FUNCTION aegis.ingest_lag(OUT batches bigint, OUT oldest_s double precision)
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    SELECT count(*), coalesce(extract(epoch FROM now() - min(j.created_at)), 0) INTO batches, oldest_s
      FROM (SELECT i.created_at FROM aegis.ingest_lane l JOIN aegis.ingest_journal i
                ON i.lane = l.lane AND i.seq > l.folded LIMIT 100000) j;
END $$;

-- The templates that were mined, newest first.
CREATE OR REPLACE FUNCTION aegis.ingest_patterns(p_limit int)
RETURNS TABLE (tenant text, fingerprint text, template text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY SELECT p.tenant, p.fingerprint, max(p.template) FROM aegis.log_pattern p
     GROUP BY 1, 2 ORDER BY max(p.last_seen) DESC LIMIT p_limit;
END $$;
