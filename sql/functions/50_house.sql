-- Housekeeping: what the relay reads and marks, dead letters, the reconciler,
-- partitions, and what /readyz and the metrics ask.

-- Unpublished rows of the partitions that this relay owns, oldest first; of these
-- subjects only, when one transport is away and the other one goes on.
DROP FUNCTION IF EXISTS aegis.outbox_fetch(smallint[], int);
CREATE OR REPLACE FUNCTION aegis.outbox_fetch(p_parts smallint[], p_limit int, p_subjects text[] DEFAULT NULL)
RETURNS TABLE (id bigint, tenant text, case_id uuid, version int, part smallint, msg_id text,
               subject text, data text, traceparent text, created_at timestamptz)
-- a planner that has not heard of the backlog yet would sort all of it for a batch
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    RETURN QUERY
    -- part by part, so that the index gives the oldest: to sort a backlog for
    -- every batch of it would keep a relay from ever working it off. Of each no more
    -- than twice its share: cases are spread evenly, and the rest comes next
    SELECT o.id, o.tenant, o.case_id, o.version, o.part, o.msg_id, o.subject, o.data::text,
           o.traceparent, o.created_at
      FROM unnest(p_parts) AS p(part)
     CROSS JOIN LATERAL (
           SELECT * FROM aegis.outbox x
            WHERE x.published_at IS NULL AND x.part = p.part
              AND (p_subjects IS NULL OR x.subject = ANY (p_subjects))
            ORDER BY x.id
            LIMIT least(p_limit, greatest(32, 2 * p_limit / cardinality(p_parts)))) o
     ORDER BY o.id LIMIT p_limit;
END $$;

CREATE OR REPLACE FUNCTION aegis.outbox_mark(p_parts smallint[], p_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_first bigint := (SELECT min(i) FROM unnest(p_ids) i);
    v_last  bigint := (SELECT max(i) FROM unnest(p_ids) i);
    v_n     bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- they stand together in each part: without the ends of the range the planner
    -- reads the whole day once its backlog is deep
    UPDATE aegis.outbox o SET published_at = clock_timestamp()
     WHERE o.published_at IS NULL AND o.part = ANY (p_parts)
       AND o.id >= v_first AND o.id <= v_last AND o.id = ANY (p_ids);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- The same by where each row is: its day, its partition and its id, so that it is
-- looked up once.
CREATE OR REPLACE FUNCTION aegis.outbox_mark(p_parts smallint[], p_ids bigint[], p_at timestamptz[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_first bigint := (SELECT min(i) FROM unnest(p_ids) i);
    v_last  bigint := (SELECT max(i) FROM unnest(p_ids) i);
    v_n     bigint;
BEGIN
    -- a mark that a crash takes back is a message that is published again, under its id:
    -- that need not be waited for
    PERFORM set_config('synchronous_commit', 'off', true);
    -- and the ends of the range, as above: a join alone reads the day as well
    UPDATE aegis.outbox o SET published_at = clock_timestamp()
      FROM generate_subscripts(p_ids, 1) n
     WHERE o.published_at IS NULL AND o.part = ANY (p_parts)
       AND o.id >= v_first AND o.id <= v_last
       AND o.part = p_parts[n] AND o.id = p_ids[n] AND o.created_at = p_at[n];
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Both at once, for a relay that has worked its backlog off: mark what it has published (by
-- id, in their order, and the times that they were written between) and read what has come
-- since; one more than p_limit says that it is too much for here, and that outbox_fetch()
-- has to choose. As its owner: policies of rows would be asked for each of them.
CREATE OR REPLACE FUNCTION aegis.outbox_next(p_parts smallint[], p_limit int, p_done bigint[],
    p_since timestamptz, p_until timestamptz)
RETURNS TABLE (id bigint, tenant text, case_id uuid, version int, part smallint, msg_id text,
               subject text, data json, traceparent text, created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    -- a mark that a crash takes back is a message that is published again, under its id:
    -- that need not be waited for
    v_commit text := set_config('synchronous_commit', 'off', true);
BEGIN
    IF p_done IS NOT NULL THEN
        UPDATE aegis.outbox o SET published_at = clock_timestamp()
         WHERE o.published_at IS NULL AND o.part = ANY (p_parts)
           AND o.created_at >= p_since AND o.created_at <= p_until
           AND o.id >= p_done[1] AND o.id <= p_done[cardinality(p_done)] AND o.id = ANY (p_done);
    END IF;
    IF p_limit > 0 THEN
        RETURN QUERY
        SELECT o.* FROM (
               SELECT x.id, x.tenant, x.case_id, x.version, x.part, x.msg_id, x.subject, x.data,
                      x.traceparent, x.created_at
                 FROM aegis.outbox x
                WHERE x.published_at IS NULL AND x.part = ANY (p_parts)
                LIMIT p_limit + 1) o
         ORDER BY o.id;
    END IF;
END $$;

-- Asked every two seconds, and most when the backlog is deep, by the gateway over a
-- connection that requests wait for: so of each partition 256 rows are counted, and
-- the rest is told from how densely those stand and from the last one's id. Exact as
-- long as no partition has more. The gateway may know how many there are, not what.
CREATE OR REPLACE FUNCTION aegis.outbox_lag(OUT pending bigint, OUT oldest_s double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    SELECT coalesce(sum(h.n + CASE WHEN h.n = 256 THEN ((
                  SELECT x.id FROM aegis.outbox x
                   WHERE x.published_at IS NULL AND x.part = p.part::smallint
                   ORDER BY x.id DESC LIMIT 1) - h.last) * h.n / (h.last - h.first + 1) ELSE 0 END), 0)::bigint,
           coalesce(extract(epoch FROM now() - min(h.since)), 0)
      FROM generate_series(0, 15) AS p(part)
     CROSS JOIN LATERAL (
           SELECT count(*) AS n, min(o.id) AS first, max(o.id) AS last, min(o.created_at) AS since
             FROM (SELECT x.id, x.created_at FROM aegis.outbox x
                    WHERE x.published_at IS NULL AND x.part = p.part::smallint
                    ORDER BY x.id LIMIT 256) o) h
$$;

CREATE OR REPLACE FUNCTION aegis.dead_letter_put(p_tenant text, p_consumer text, p_subject text,
    p_msg_id text, p_case_id uuid, p_code text, p_reason text, p_payload bytea, p_deliveries int)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
BEGIN
    INSERT INTO aegis.dead_letter AS d (tenant, consumer, subject, msg_id, case_id, code, reason,
                                   payload, deliveries)
    VALUES (p_tenant, p_consumer, p_subject, p_msg_id, p_case_id, p_code, p_reason,
            p_payload, p_deliveries)
    -- one that was retried and failed again is a dead letter again
    ON CONFLICT (tenant, consumer, msg_id) DO UPDATE
       SET state = 'NEW', code = excluded.code, reason = excluded.reason,
           payload = excluded.payload, changed_at = now(),
           deliveries = d.deliveries + excluded.deliveries
     WHERE d.state <> 'NEW';
END $$;

-- Commands (and the start of an auto case) whose effect did not show in time
-- are sent once more, under a new message id. PostgreSQL is the truth, the bus
-- may lose what it acknowledged. One caller at a time; others get 0.
CREATE OR REPLACE FUNCTION aegis.reconcile(p_after interval, p_limit int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_n     int;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('aegis.reconcile', 0)) THEN
        RETURN 0;
    END IF;
    -- behind such a backlog every command is late, and telling which is lost
    -- would take from the relay the time that it needs
    IF (SELECT l.pending FROM aegis.outbox_lag() l) >= 100000 THEN
        RETURN 0;
    END IF;
    WITH stuck AS (
        SELECT c.tenant, c.case_id FROM aegis.ops_case c
         WHERE c.status NOT IN ('CLOSED', 'PARKED') AND c.mode = 'auto' AND NOT c.closed
           AND c.settled = ANY ('{"",NEW,ANALYZING,PLANNING,WAIT_GATE,EXECUTING,VERIFYING}')
           AND greatest(c.updated_at, c.nudged_at) < now() - p_after * least(c.nudges + 1, 10)
           AND NOT EXISTS (SELECT FROM aegis.exec_run r
                WHERE r.tenant = c.tenant AND r.case_id = c.case_id
                  AND r.for_version = c.version AND NOT r.dry
                  AND r.state IN ('QUEUED', 'RUNNING'))
           -- a verification that is due later, or has been due for a moment only
           AND NOT EXISTS (SELECT FROM aegis.verify_run v
                WHERE v.tenant = c.tenant AND v.case_id = c.case_id
                  AND v.for_version = c.version AND v.state IN ('RUNNING', 'ROLLBACK')
                  AND v.next_at > now() - p_after)
           -- people are asked, and the gate role's clock watches them
           AND NOT EXISTS (SELECT FROM aegis.gate_request q
                WHERE q.tenant = c.tenant AND q.case_id = c.case_id
                  AND q.for_version = c.version AND q.state = 'OPEN')
           -- what still waits for the relay is late, not lost
           AND NOT EXISTS (SELECT FROM aegis.outbox o
                WHERE o.published_at IS NULL AND o.part = aegis.outbox_part(c.case_id)
                  AND o.tenant = c.tenant AND o.case_id = c.case_id)
         ORDER BY c.updated_at LIMIT p_limit FOR NO KEY UPDATE OF c SKIP LOCKED),
    upd AS (
        UPDATE aegis.ops_case c SET nudges = c.nudges + 1, nudged_at = now()
          FROM stuck s WHERE c.tenant = s.tenant AND c.case_id = s.case_id
        RETURNING c.*)
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data)
    SELECT u.tenant, u.case_id, u.version, aegis.outbox_part(u.case_id),
           u.case_id || ':' || u.version || ':nudge:' || u.nudges,
           CASE u.status WHEN 'NEW' THEN 'evt.case.created.v1' ELSE s.command END,
           json_build_object('case_id', u.case_id, 'tenant', u.tenant, 'case_version', u.version,
               'mode', u.mode, 'plan_id', u.plan_id, 'exec_id', u.exec_id,
               'correlation_id', u.correlation_id)
      FROM upd u JOIN aegis.fsm_state s ON s.name = u.status;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    IF v_n > 0 THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN v_n;
END $$;

-- Cases that have not moved for a time come to rest: the index of open cases learns
-- their state, so that a page of one state finds them. It is done here and not by the
-- transitions, which only say that a case moves again: most cases pass through all of
-- their states in less than that time, and change no index on their way. Whoever holds
-- a case keeps it.
CREATE OR REPLACE FUNCTION aegis.settle(p_after interval, p_limit int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_n     int;
BEGIN
    WITH still AS MATERIALIZED (
        SELECT c.case_id, c.tenant FROM aegis.ops_case c
         WHERE c.settled = '' AND NOT c.closed AND c.updated_at < now() - p_after
         LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE aegis.ops_case c SET settled = c.status
      FROM still s WHERE c.case_id = s.case_id AND c.tenant = s.tenant;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- What was learned of series and templates goes with their last rows: pods come and go, and
-- each leaves some kilobytes behind. Some thousand at a time.
CREATE OR REPLACE FUNCTION aegis.forget(p_metric_days int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS (
        DELETE FROM aegis.analyst_series s
         WHERE s.ctid = ANY (ARRAY(SELECT x.ctid FROM aegis.analyst_series x
                 WHERE x.mark < now() - make_interval(days => CASE x.source WHEN 'metric' THEN p_metric_days
                                                     WHEN 'call' THEN 365 ELSE 180 END)
                 LIMIT 5000 FOR UPDATE SKIP LOCKED))
        RETURNING s.tenant, s.source, s.resource, s.metric, s.series)
    DELETE FROM aegis.analyst_state t USING gone g
     WHERE t.tenant = g.tenant AND t.source = g.source AND t.resource = g.resource
       AND t.metric = g.metric AND t.series = g.series;
    DELETE FROM aegis.log_pattern p
     WHERE p.ctid = ANY (ARRAY(SELECT x.ctid FROM aegis.log_pattern x
             WHERE x.last_seen < now() - interval '180 days' LIMIT 5000 FOR UPDATE SKIP LOCKED));
END $$;

-- Make the partitions of the next days and drop those that are past their
-- time. An outbox day is only dropped when everything in it was published.
-- Runs with the owner's rights, because workers may not change the schema.
-- While there is traffic, call it with p_steps 1 until it returns nothing: each
-- step locks a whole table against its writers until the transaction ends, and
-- to hold one of them while waiting for the next would be a deadlock with them.
-- Nor may the wait for a long reader hold up the writers behind it for long.
DROP FUNCTION IF EXISTS aegis.maintain(int, int);
CREATE OR REPLACE FUNCTION aegis.maintain(p_outbox_days int DEFAULT 3,
    p_metric_days int DEFAULT 180, p_steps int DEFAULT 1000)
RETURNS TABLE (action text, partition text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, aegis, pg_temp AS $$
DECLARE
    t record; d date; v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_name text; v_busy boolean; p record; v_left int := p_steps;
    v_from text; v_to text; v_at text;
BEGIN
    IF p_outbox_days < 1 OR p_metric_days < 1 OR p_steps < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'days and steps must be at least 1';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('aegis.maintain', 0)) THEN
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', '200ms', true);
    -- a table that is kept for a year has a partition a month
    FOR t IN SELECT * FROM (VALUES
            ('outbox', 'created_at', p_outbox_days, 'day'),
            ('inbox', 'day', 8, 'day'), -- longer than a bus may redeliver (streams.def: 3 days)
            ('idempotency', 'day', greatest(2, ceil(extract(epoch FROM aegis.idempotency_ttl()) / 86400)::int + 1), 'day'),
            ('metric_1m', 'bucket', p_metric_days, 'day'),
            ('service_call_5m', 'bucket', 365, 'month'),
            ('log_pattern_5m', 'bucket', 180, 'month')) v(tbl, col, keep, unit)
    LOOP
        v_at := CASE WHEN t.col = 'day' THEN '' ELSE ' 00:00+00' END;
        FOR d IN SELECT DISTINCT date_trunc(t.unit, v_today + n)::date
                   FROM generate_series(0, 3) n ORDER BY 1 LOOP
            v_name := t.tbl || '_' || to_char(d, 'YYYYMMDD');
            IF to_regclass('aegis.' || v_name) IS NULL THEN
                v_from := d::text || v_at;
                v_to := (d + ('1 ' || t.unit)::interval)::date::text || v_at;
                -- rows that came before their partition stay in the default one
                EXECUTE format('SELECT EXISTS (SELECT FROM aegis.%I WHERE %I >= %L AND %I < %L)',
                    t.tbl || '_default', t.col, v_from, t.col, v_to) INTO v_busy;
                IF NOT v_busy THEN
                    EXECUTE format('CREATE TABLE aegis.%I PARTITION OF aegis.%I FOR VALUES FROM (%L) TO (%L)',
                        v_name, t.tbl, v_from, v_to);
                    action := 'create'; partition := v_name; RETURN NEXT;
                    v_left := v_left - 1;
                    IF v_left = 0 THEN RETURN; END IF;
                END IF;
            END IF;
        END LOOP;
        FOR p IN SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
                  WHERE h.inhparent = ('aegis.' || t.tbl)::regclass
                    AND c.relname ~ ('^' || t.tbl || '_[0-9]{8}$')
                    AND to_date(right(c.relname, 8), 'YYYYMMDD')
                        + CASE t.unit WHEN 'day' THEN interval '0' ELSE interval '1 month' END
                        < v_today - t.keep
        LOOP
            v_busy := false;
            IF t.tbl = 'outbox' THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM aegis.%I WHERE published_at IS NULL)',
                               p.relname) INTO v_busy;
            END IF;
            IF NOT v_busy THEN
                EXECUTE format('DROP TABLE aegis.%I', p.relname);
                action := 'drop'; partition := p.relname; RETURN NEXT;
                v_left := v_left - 1;
                IF v_left = 0 THEN RETURN; END IF;
            END IF;
        END LOOP;
    END LOOP;
    -- What missed its partition is rare; it is deleted when it is old.
    DELETE FROM aegis.idempotency_default WHERE created_at < now() - aegis.idempotency_ttl() * 2;
    DELETE FROM aegis.inbox_default WHERE created_at < now() - interval '8 days';
    DELETE FROM aegis.metric_1m_default WHERE bucket < now() - make_interval(days => p_metric_days);
    DELETE FROM aegis.service_call_5m_default WHERE bucket < now() - interval '365 days';
    DELETE FROM aegis.log_pattern_5m_default WHERE bucket < now() - interval '180 days';
    DELETE FROM aegis.outbox_default WHERE published_at < now() - make_interval(days => p_outbox_days);
    PERFORM aegis.forget(p_metric_days);
END $$;

-- Put a dead letter's message into the outbox again. Its id gets a new suffix,
-- because the consumer's inbox may know the old one. Returns the new id.
CREATE OR REPLACE FUNCTION aegis.dead_letter_retry(p_id bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_letter aegis.dead_letter; v_message json; v_case uuid; v_msg_id text;
BEGIN
    SELECT * INTO v_letter FROM aegis.dead_letter d WHERE d.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'no such dead letter';
    ELSIF v_letter.state <> 'NEW' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'it is ' || v_letter.state || ' already';
    END IF;
    BEGIN
        v_message := convert_from(v_letter.payload, 'UTF8')::json;
        v_case := coalesce(v_letter.case_id, (v_message #>> '{data,case_id}')::uuid);
    EXCEPTION WHEN data_exception THEN
        v_message := NULL;
    END;
    IF json_typeof(v_message -> 'data') IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'data_exception',
            MESSAGE = 'its payload is no message that could be sent again: drop it';
    END IF;

    v_msg_id := regexp_replace(v_letter.msg_id, ':retry[0-9]+$', '') || ':retry'
             || coalesce(substring(v_letter.msg_id FROM ':retry([0-9]+)$')::int, 0) + 1;
    -- a fact about no case yet still needs a partition, and the same one again
    v_case := coalesce(v_case, md5(v_letter.msg_id)::uuid);
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
    VALUES (coalesce(nullif(v_letter.tenant, ''), v_message ->> 'tenant',
                     v_message #>> '{data,tenant}', ''),
            v_case, coalesce((v_message #>> '{data,case_version}')::int, 0),
            aegis.outbox_part(v_case), v_msg_id, v_letter.subject, v_message -> 'data',
            coalesce(v_message ->> 'traceparent', ''));
    UPDATE aegis.dead_letter SET state = 'RETRIED', changed_at = now()
     WHERE tenant = v_letter.tenant AND id = p_id;
    PERFORM pg_notify('aegis_outbox', '');
    RETURN v_msg_id;
END $$;

CREATE OR REPLACE FUNCTION aegis.dead_letter_drop(p_id bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_scope  text := aegis.act_for_all();
    v_msg_id text;
BEGIN
    UPDATE aegis.dead_letter SET state = 'DROPPED', changed_at = now()
     WHERE id = p_id AND state = 'NEW' RETURNING msg_id INTO v_msg_id;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM aegis.dead_letter WHERE id = p_id) THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = 'it is not new any more';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'no such dead letter';
    END IF;
    RETURN v_msg_id;
END $$;
