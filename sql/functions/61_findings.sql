-- The analyst: what it reads since its marks, and what one pass leaves behind.
-- States, marks, findings, evidence and outbox rows are written by one statement,
-- which does nothing when another pass has moved the mark meanwhile.

-- The same as aegis_uuid_named() (core/aegis_http.c): an id out of a name.
CREATE OR REPLACE FUNCTION aegis.uuid_named(p_name text) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(set_byte(set_byte(substr(h, 1, 16), 6, (get_byte(h, 6) & 15) | 128),
                           8, (get_byte(h, 8) & 63) | 128), 'hex')::uuid
      FROM (SELECT sha256(convert_to(p_name, 'UTF8')) AS h) x
$$;

-- The next buckets of a source, one row a series: at most p_slice seconds of them,
-- none that ended less than p_settle seconds before p_until, which is when the round
-- began: what comes while it reads is the next one's. points is "epoch:avg:max:p95"
-- with blanks between. A bucket that comes late is read when it is newer than its
-- series' newest one and within ten minutes of the mark.
DROP FUNCTION IF EXISTS aegis.analyst_read(text, int, int);
CREATE OR REPLACE FUNCTION aegis.analyst_read(p_source text, p_settle int, p_slice int,
    p_until timestamptz DEFAULT now())
RETURNS TABLE (mark_from text, mark_to text, tenant text, resource text, metric text,
    series bigint, state text, points text, info text)
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_from  timestamptz; v_first timestamptz; v_to timestamptz; v_late timestamptz;
    v_width interval := CASE p_source WHEN 'metric' THEN interval '1 minute'
                                      ELSE interval '5 minutes' END;
BEGIN
    SELECT k.mark INTO v_from FROM aegis.analyst_mark k WHERE k.source = p_source;
    v_to := p_until - make_interval(secs => p_settle) - v_width;
    IF p_source = 'metric' THEN
        SELECT min(m.bucket) INTO v_first FROM aegis.metric_1m m WHERE m.bucket > v_from;
    ELSIF p_source = 'call' THEN
        SELECT min(m.bucket) INTO v_first FROM aegis.service_call_5m m WHERE m.bucket > v_from;
    ELSE
        SELECT min(m.bucket) INTO v_first FROM aegis.log_pattern_5m m WHERE m.bucket > v_from;
    END IF;
    IF v_first IS NULL OR v_first > v_to THEN RETURN; END IF;
    v_to := least(v_to, v_first + make_interval(secs => p_slice));
    v_late := greatest(v_from, v_first - interval '1 day') - interval '10 minutes';

    RETURN QUERY
    WITH b AS (
        SELECT m.tenant AS ten, m.resource AS res, m.metric AS met, m.series AS ser, m.bucket AS at,
               m.avg, m.max, m.p95
          FROM aegis.metric_1m m
         WHERE p_source = 'metric' AND m.bucket > v_late AND m.bucket <= v_to
         UNION ALL
        SELECT m.tenant, m.caller || '>' || m.callee, x.met, 0, m.bucket, x.v, NULL, NULL
          FROM aegis.service_call_5m m, LATERAL (VALUES ('err_rate', m.err_rate), ('rps', m.rps),
               ('p95', m.p95)) AS x(met, v)
         WHERE p_source = 'call' AND m.bucket > v_late AND m.bucket <= v_to
         UNION ALL
        SELECT m.tenant, m.resource, m.fingerprint, 0, m.bucket, m.count, NULL, NULL
          FROM aegis.log_pattern_5m m
         WHERE p_source = 'log' AND m.bucket > v_late AND m.bucket <= v_to),
    p AS (
        SELECT b.ten, b.res, b.met, b.ser, string_agg(concat_ws(':', extract(epoch FROM b.at)::bigint,
                   coalesce(b.avg::text, ''), coalesce(b.max::text, ''), coalesce(b.p95::text, '')),
                   ' ' ORDER BY b.at) AS points
          FROM b LEFT JOIN aegis.analyst_series s ON s.tenant = b.ten AND s.source = p_source
           AND s.resource = b.res AND s.metric = b.met AND s.series = b.ser
         WHERE b.at > coalesce(s.mark, '-infinity')
         GROUP BY b.ten, b.res, b.met, b.ser)
    SELECT v_from::text, v_to::text, p.ten, p.res, p.met, p.ser, encode(t.state, 'hex'), p.points,
           CASE WHEN p_source = 'log' THEN (
                SELECT json_build_object('level', l.severity, 'template', left(l.template, 300),
                           'sample', left(l.sample, 500), 'locator_id', l.locator_id,
                           'first_seen', extract(epoch FROM l.first_seen),
                           'since', k.since, 'known', k.known, 'recent', k.recent)
                  FROM aegis.log_pattern l, LATERAL (
                       SELECT extract(epoch FROM min(o.first_seen)) AS since, count(*) AS known,
                              count(*) FILTER (WHERE o.first_seen > l.first_seen - interval '1 day'
                                               AND o.first_seen < l.first_seen) AS recent
                         FROM aegis.log_pattern o
                        WHERE t.state IS NULL AND o.tenant = l.tenant AND o.resource = l.resource) k
                 WHERE l.tenant = p.ten AND l.resource = p.res AND l.fingerprint = p.met)::text END
      FROM p LEFT JOIN aegis.analyst_state t ON t.tenant = p.ten AND t.source = p_source
       AND t.resource = p.res AND t.metric = p.met AND t.series = p.ser;
    IF NOT FOUND THEN
        -- only late ones that came too late: the mark moves over them
        RETURN QUERY SELECT v_from::text, v_to::text, NULL::text, NULL::text, NULL::text,
            NULL::bigint, NULL::text, NULL::text, NULL::text;
    END IF;
END $$;

-- Does the group's case still take findings? NULL case: its creation is on its way.
CREATE OR REPLACE FUNCTION aegis.group_closed_at(g aegis.finding_group) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT c.updated_at FROM aegis.ops_case c
     WHERE c.tenant = g.tenant AND c.case_id = g.case_id AND c.closed
$$;

-- The rules by which a finding finds its group, in this order; p_window seconds.
CREATE OR REPLACE FUNCTION aegis.finding_place(p_tenant text, p_fingerprint text, p_resource text,
    p_kind text, p_at timestamptz, p_window int, OUT rule text, OUT reason text,
    OUT grp aegis.finding_group, OUT episode int)
LANGUAGE plpgsql AS $$
DECLARE
    v_closed timestamptz;
    v_window interval := make_interval(secs => p_window);
    v_keys   text[];
    v_key    text;
    v_id     uuid;
BEGIN
    episode := 1;
    SELECT g.* INTO grp FROM aegis.finding_member m
      JOIN aegis.finding_group g ON g.tenant = m.tenant AND g.group_id = m.group_id
     WHERE m.tenant = p_tenant AND m.kind = 'fingerprint' AND m.key = p_fingerprint;
    IF FOUND THEN
        v_closed := aegis.group_closed_at(grp);
        IF v_closed IS NULL THEN
            rule := 'same-fingerprint';
            reason := 'the same was found before, and its case is open';
            RETURN;
        ELSIF p_at <= v_closed THEN
            rule := 'before-the-close';
            reason := 'the same was found before, and its case was closed after this was measured';
            RETURN;
        END IF;
        episode := grp.episode + 1;
    END IF;

    -- who is silent together is missed together
    v_keys := CASE WHEN p_kind = 'missing' THEN ARRAY['*missing'] WHEN p_resource = '' THEN '{}'
                   ELSE string_to_array(p_resource, '>') END;
    FOREACH v_key IN ARRAY v_keys LOOP
        SELECT g.* INTO grp FROM aegis.finding_member m
          JOIN aegis.finding_group g ON g.tenant = m.tenant AND g.group_id = m.group_id
         WHERE m.tenant = p_tenant AND m.kind = 'resource' AND m.key = v_key
           AND m.last_at BETWEEN p_at - v_window AND p_at + v_window;
        IF FOUND AND aegis.group_closed_at(grp) IS NULL THEN
            rule := 'same-resource';
            reason := format('%s has an open case with a finding less than %s s away', v_key, p_window);
            RETURN;
        END IF;
    END LOOP;

    SELECT g.group_id, m.key INTO v_id, v_key FROM (
            SELECT e.callee AS key FROM aegis.service_call_5m e
             WHERE e.tenant = p_tenant AND e.caller = ANY (v_keys)
               AND e.bucket BETWEEN p_at - interval '1 hour' AND p_at + interval '5 minutes'
             UNION
            SELECT e.caller FROM aegis.service_call_5m e
             WHERE e.tenant = p_tenant AND e.callee = ANY (v_keys)
               AND e.bucket BETWEEN p_at - interval '1 hour' AND p_at + interval '5 minutes') n
      JOIN aegis.finding_member m ON m.tenant = p_tenant AND m.kind = 'resource' AND m.key = n.key
       AND m.last_at BETWEEN p_at - v_window AND p_at + v_window
      JOIN aegis.finding_group g ON g.tenant = m.tenant AND g.group_id = m.group_id
     WHERE aegis.group_closed_at(g) IS NULL
     ORDER BY g.first_at, g.group_id LIMIT 1;
    IF FOUND THEN
        SELECT g.* INTO grp FROM aegis.finding_group g WHERE g.tenant = p_tenant AND g.group_id = v_id;
        rule := 'neighbour';
        reason := format('%s, which it calls or is called by, has an open case with a finding less than %s s away',
                         v_key, p_window);
        RETURN;
    END IF;

    grp := NULL;
    rule := CASE WHEN episode > 1 THEN 'new-episode' ELSE 'first' END;
    reason := CASE WHEN episode > 1 THEN 'the same was found before, and that case was closed before this was measured'
              ELSE 'nothing like it, on it or beside it has an open case' END;
END $$;

-- What a case keeps of a finding: an envelope, and links to what it was seen in.
CREATE OR REPLACE FUNCTION aegis.finding_evidence(p_tenant text, p_case_id uuid, f json)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid := (f ->> 'finding_id')::uuid;
BEGIN
    INSERT INTO aegis.event_envelope (tenant, case_id, event_id, for_version, severity, kind, title,
        summary, labels)
    VALUES (p_tenant, p_case_id, v_id, 0, f ->> 'severity', f ->> 'kind', f ->> 'title',
            coalesce(f ->> 'summary', ''), coalesce(f -> 'labels', '{}'));
    INSERT INTO aegis.evidence_link (tenant, case_id, event_id, link_no, ref, note)
    SELECT p_tenant, p_case_id, v_id, l.ord::int, l.link ->> 'ref', coalesce(l.link ->> 'note', '')
      FROM json_array_elements(f -> 'links') WITH ORDINALITY AS l(link, ord) WHERE l.ord <= 20;
END $$;

-- One finding, which is new, to its place. Returns the decision. A tenant's findings
-- are placed one after the other: the caller holds the lock.
CREATE OR REPLACE FUNCTION aegis.finding_put(p_tenant text, f json, p_window int, p_evidence int)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_id       uuid; v_at timestamptz; v_place record; r record;
    v_group    aegis.finding_group;
    v_decision text; v_rule text; v_reason text; v_case uuid; v_msg text;
BEGIN
    -- its text is read once, not once a member
    SELECT * INTO r FROM json_to_record(f) AS x(finding_id uuid, fingerprint text, source text, kind text,
        severity text, resource text, metric text, title text, summary text, score double precision,
        at double precision, opens boolean, why text, labels json, links json, detail jsonb);
    v_id := r.finding_id;
    v_at := to_timestamp(r.at);
    SELECT * INTO v_place FROM aegis.finding_place(p_tenant, r.fingerprint,
        coalesce(r.resource, ''), r.kind, v_at, p_window);
    v_group := v_place.grp; v_rule := v_place.rule; v_reason := v_place.reason;
    v_case := v_group.case_id;

    IF v_rule = 'before-the-close' THEN
        v_decision := 'held';
    ELSIF v_group.group_id IS NOT NULL THEN
        v_decision := 'joined';
    ELSIF NOT coalesce(r.opens, true) THEN
        v_decision := 'held'; v_rule := 'opens-nothing';
        v_reason := coalesce(r.why, 'a rule says that this opens no case');
    ELSIF r.severity = 'info' THEN
        v_decision := 'held'; v_rule := 'only-info';
        v_reason := 'what is only for information opens no case';
    ELSE
        v_decision := 'opened';
        v_msg := 'finding:' || v_id;
        v_case := aegis.uuid_named(v_msg);
        INSERT INTO aegis.finding_group (tenant, group_id, episode, case_id, opened_by, first_at, last_at)
        VALUES (p_tenant, v_id, v_place.episode, v_case, v_id, v_at, v_at) RETURNING * INTO v_group;
        -- without a case_id: the orchestrator makes the case, under an id out of msg_id
        INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data)
        VALUES (p_tenant, v_case, 0, aegis.outbox_part(v_case), v_msg, 'evt.analysis.findings.v1',
            json_build_object('tenant', p_tenant, 'actor', 'aegis:analyst', 'at', now(),
                'correlation_id', 'finding-' || v_id, 'finding_id', v_id, 'episode', v_place.episode,
                'fingerprint', r.fingerprint, 'severity', r.severity, 'kind', r.kind,
                'title', r.title, 'summary', r.summary, 'labels', r.labels,
                'links', r.links));
    END IF;

    INSERT INTO aegis.finding (tenant, finding_id, fingerprint, source, kind, severity, resource, metric,
        title, summary, score, at, detail, decision, rule, reason, group_id, episode, case_id)
    VALUES (p_tenant, v_id, r.fingerprint, r.source, r.kind, r.severity,
        coalesce(r.resource, ''), coalesce(r.metric, ''), r.title,
        coalesce(r.summary, ''), coalesce(r.score, 0), v_at,
        coalesce(r.detail, '{}') || jsonb_build_object('links', coalesce(r.links, '[]')),
        v_decision, v_rule, v_reason, v_group.group_id, v_group.episode, v_case);

    IF v_decision IN ('opened', 'joined') THEN
        IF v_group.findings < p_evidence AND (SELECT count(*) FROM aegis.event_envelope e WHERE e.tenant = p_tenant
               AND e.case_id = v_case AND e.for_version = 0) < p_evidence THEN
            PERFORM aegis.finding_evidence(p_tenant, v_case, f);
        END IF;
        -- a minute more or less does not matter, ten thousand versions of a row do
        INSERT INTO aegis.finding_member AS m (tenant, kind, key, group_id, last_at)
        SELECT p_tenant, 'fingerprint', r.fingerprint, v_group.group_id, v_at
         UNION
        SELECT p_tenant, 'resource', k, v_group.group_id, v_at
          FROM unnest(CASE WHEN r.kind = 'missing' THEN ARRAY['*missing']
               ELSE string_to_array(coalesce(r.resource, ''), '>') END) k WHERE k <> ''
            ON CONFLICT (tenant, kind, key) DO UPDATE SET group_id = excluded.group_id,
               last_at = CASE WHEN m.group_id = excluded.group_id
                              THEN greatest(m.last_at, excluded.last_at) ELSE excluded.last_at END
         WHERE m.group_id <> excluded.group_id OR m.last_at < excluded.last_at - interval '1 minute';
    END IF;
    RETURN v_decision;
END $$;

-- Many of any tenants; {"opened": n, "joined": n, "held": n}.
-- A plan that was made while a table was empty would walk through all of it for ever.
CREATE OR REPLACE FUNCTION aegis.findings_put(p_findings json, p_window int, p_evidence int)
RETURNS jsonb LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    f json; v_t text; v_id uuid; v_decision text; v_tenants text[]; v_ids uuid[]; v_n jsonb := '{"opened": 0, "joined": 0, "held": 0}';
BEGIN
    -- in one order, so that two who hold several never wait for each other
    FOR v_t IN SELECT DISTINCT x ->> 'tenant' FROM json_array_elements(p_findings) x ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended('aegis.finding:' || v_t, 0));
    END LOOP;
    -- OFFSET 0: members are read once a finding, and rows looked up one by one. A join of
    -- the two reads each finding's text once a row of the other side.
    FOR f, v_t, v_id IN SELECT e.x, e.tenant, e.id FROM (
                SELECT DISTINCT ON (i.tenant, i.id) i.* FROM (
                    SELECT j AS x, j ->> 'tenant' AS tenant, (j ->> 'finding_id')::uuid AS id,
                           (j ->> 'at')::double precision AS at, ord
                      FROM json_array_elements(p_findings) WITH ORDINALITY AS i(j, ord) OFFSET 0) i
                 ORDER BY i.tenant, i.id, i.ord) e
              LEFT JOIN LATERAL (SELECT true AS found FROM aegis.finding k
                    WHERE k.tenant = e.tenant AND k.finding_id = e.id OFFSET 0) k ON true
             WHERE k.found IS NULL ORDER BY e.at, e.ord LOOP
        v_decision := aegis.finding_put(v_t, f, p_window, p_evidence);
        v_n := jsonb_set(v_n, ARRAY[v_decision], to_jsonb((v_n ->> v_decision)::int + 1));
        IF v_decision <> 'held' THEN
            v_tenants := v_tenants || v_t;
            v_ids := v_ids || v_id;
        END IF;
    END LOOP;
    UPDATE aegis.finding_group g SET findings = g.findings + n.n, last_at = greatest(g.last_at, n.last_at)
      FROM (SELECT u.tenant, x.group_id, count(*) AS n, max(x.at) AS last_at
              FROM unnest(v_tenants, v_ids) AS u(tenant, id),
                   LATERAL (SELECT k.group_id, k.at FROM aegis.finding k
                             WHERE k.tenant = u.tenant AND k.finding_id = u.id OFFSET 0) x
             GROUP BY 1, 2) n
     WHERE g.tenant = n.tenant AND g.group_id = n.group_id;
    RETURN v_n;
END $$;

-- Series that were due and said nothing, measured by the data's own time.
CREATE OR REPLACE FUNCTION aegis.analyst_missing(p_source text, p_now timestamptz, p_max_age int)
RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    v_out json;
BEGIN
    WITH late AS (
        SELECT s.* FROM aegis.analyst_series s
         WHERE s.source = p_source AND s.due < p_now AND NOT s.missing
         ORDER BY s.due LIMIT 1000),
    marked AS (
        UPDATE aegis.analyst_series s SET missing = true FROM late l
         WHERE s.tenant = l.tenant AND s.source = l.source AND s.resource = l.resource
           AND s.metric = l.metric AND s.series = l.series)
    SELECT json_agg(json_build_object('tenant', l.tenant, 'source', l.source, 'kind', 'missing',
               'finding_id', aegis.uuid_named(concat_ws('|', 'missing', l.tenant, l.source, l.resource,
                    l.metric, l.series, l.mark)),
               'fingerprint', 'missing:' || left(encode(sha256(convert_to(concat_ws('|', l.source,
                    l.resource, l.metric, l.series), 'UTF8')), 'hex'), 16),
               'resource', l.resource, 'metric', l.metric, 'severity', 'warning',
               'at', extract(epoch FROM l.due), 'score', 0,
               'opens', l.due > now() - make_interval(secs => p_max_age),
               'why', 'it is older than analyze.max_age_s: what is so old only teaches',
               'title', left(format('No data of %s for %s', l.metric, l.resource), 200),
               'summary', format('The newest value is of %s; the next one was due before %s.', l.mark, l.due),
               'labels', json_build_object('resource', l.resource, 'metric', l.metric, 'detector', 'missing',
                    'service', regexp_replace(l.resource, '^.*[/:>]', '')),
               'links', json_build_array(json_build_object('ref', format('%s:%s/%s@%s/%s',
                    CASE l.source WHEN 'metric' THEN 'metric_1m' WHEN 'call' THEN 'service_call_5m'
                         ELSE 'log_pattern_5m' END, l.resource, l.metric, l.mark, l.due),
                    'note', 'where the values end'))))
      INTO v_out FROM late l;
    RETURN coalesce(v_out, '[]');
END $$;

-- A pass: {source, from, to, window, max_age, evidence, series: [{tenant, resource, metric,
-- series, mark, patience, size}], findings: […]}; p_states has the states one behind the
-- other, size bytes each, 0 for none. NULL: the mark is another one now, and nothing
-- was done. Without p_states each series has its own as hex: a worker of the last version.
DROP FUNCTION IF EXISTS aegis.analyst_commit(json);
CREATE OR REPLACE FUNCTION aegis.analyst_commit(p_pass json, p_states bytea DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v       record;
    v_out   jsonb;
BEGIN
    -- its text is read once, not once a member
    SELECT * INTO v FROM json_to_record(p_pass) AS x(source text, "from" timestamptz, "to" timestamptz,
        "window" int, max_age int, evidence int, series json, findings json);
    UPDATE aegis.analyst_mark k SET mark = greatest(k.mark, v."to"), passes = passes + 1, at = now()
     WHERE k.source = v.source AND k.mark = v."from";
    IF NOT FOUND THEN RETURN NULL; END IF;

    WITH x AS MATERIALIZED (
        SELECT i.*, (sum(i.size) OVER (ORDER BY i.ord) - i.size)::int + 1 AS begins FROM ROWS FROM (
            json_to_recordset(v.series) AS (tenant text, resource text, metric text, series bigint,
                mark double precision, patience double precision, size int, state text))
            WITH ORDINALITY AS i(tenant, resource, metric, series, mark, patience, size, state, ord)),
    known AS (
        INSERT INTO aegis.analyst_series AS s (tenant, source, resource, metric, series, mark, due)
        SELECT x.tenant, v.source, x.resource, x.metric, x.series, to_timestamp(x.mark),
               CASE WHEN x.patience > 0 THEN to_timestamp(x.mark + x.patience) ELSE 'infinity' END FROM x
            ON CONFLICT (tenant, source, resource, metric, series) DO UPDATE
           SET mark = excluded.mark, due = excluded.due, missing = false)
    INSERT INTO aegis.analyst_state AS s (tenant, source, resource, metric, series, state)
    SELECT x.tenant, v.source, x.resource, x.metric, x.series,
           CASE WHEN p_states IS NULL THEN decode(x.state, 'hex') ELSE substr(p_states, x.begins, x.size) END
      FROM x WHERE CASE WHEN p_states IS NULL THEN x.state <> '' ELSE x.size > 0 END
        ON CONFLICT (tenant, source, resource, metric, series) DO UPDATE SET state = excluded.state;

    v_out := aegis.findings_put((SELECT coalesce(json_agg(x), '[]') FROM (
            SELECT x FROM json_array_elements(v.findings) x
             UNION ALL
            SELECT x FROM json_array_elements(aegis.analyst_missing(v.source, v."to", v.max_age)) x) y),
        v."window", v.evidence);
    IF (v_out ->> 'opened')::int > 0 THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN v_out;
END $$;

-- Findings of a pass that finds more than one statement shall place, before the pass
-- is committed: their ids follow from what they are, so another try finds them there.
CREATE OR REPLACE FUNCTION aegis.analyst_place(p_pass json, p_findings json) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_out   jsonb;
BEGIN
    v_out := aegis.findings_put(p_findings, (p_pass ->> 'window')::int, (p_pass ->> 'evidence')::int);
    IF (v_out ->> 'opened')::int > 0 THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN v_out;
END $$;

-- What other systems say happened goes the same way; more: of what was said until
-- p_until there is some left.
DROP FUNCTION IF EXISTS aegis.analyst_signals(int, int, int);
CREATE OR REPLACE FUNCTION aegis.analyst_signals(p_limit int, p_window int, p_evidence int,
    p_until timestamptz DEFAULT 'infinity')
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all();
    v_in    json;
    v_out   jsonb;
BEGIN
    SELECT json_agg(json_build_object('tenant', e.tenant, 'source', 'alert', 'kind', 'alert',
               'finding_id', aegis.uuid_named(concat_ws('|', 'signal', e.tenant, e.id)),
               'fingerprint', 'alert:' || e.source || ':' || e.fingerprint, 'severity', e.severity,
               'resource', e.resource, 'metric', e.kind, 'score', 0,
               'at', extract(epoch FROM CASE WHEN e.state = 'resolved' THEN coalesce(e.ends_at, e.received_at)
                                             ELSE e.starts_at END),
               'title', left(e.title, 200), 'summary', left(e.summary, 2000),
               'opens', e.state = 'firing' OR (e.state = 'info' AND e.severity IN ('error', 'critical')),
               'why', CASE e.state WHEN 'resolved' THEN 'what has ended opens no case'
                      ELSE 'an event that is no error opens no case' END,
               'detail', json_build_object('sender', e.source, 'state', e.state, 'count', e.count),
               'labels', (SELECT coalesce(json_object_agg(l.key, l.value), '{}') FROM (
                    SELECT key, left(value, 512) AS value FROM jsonb_each_text(e.labels)
                     WHERE key NOT IN ('resource', 'service', 'detector') AND key ~ '^[A-Za-z0-9_.-]{1,63}$'
                     ORDER BY key LIMIT 24) l)::jsonb
                   || jsonb_build_object('resource', e.resource, 'detector', 'alert', 'alert', left(e.kind, 512),
                        'service', coalesce(e.labels ->> 'service', regexp_replace(e.resource, '^.*[/:]', ''))),
               'links', json_build_array(json_build_object('ref', 'signal_event:' || e.id,
                    'note', e.source || ' said so')))
               ORDER BY e.id)
      INTO v_in FROM aegis.signal_take(p_limit) e;
    IF v_in IS NULL THEN RETURN NULL; END IF;
    v_out := aegis.findings_put(v_in, p_window, p_evidence);
    IF (v_out ->> 'opened')::int > 0 THEN PERFORM pg_notify('aegis_outbox', ''); END IF;
    RETURN v_out || jsonb_build_object('more', EXISTS (SELECT FROM aegis.signal_event e
        WHERE e.taken_at IS NULL AND e.received_at <= p_until));
END $$;

-- What has been asked by POST /analyze/run is answered by a round that began after
-- it was asked.
CREATE OR REPLACE FUNCTION aegis.analyst_answer(p_before timestamptz, p_findings int, p_opened int)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for_all(); v_n int;
BEGIN
    UPDATE aegis.analyst_run r SET state = 'DONE', done_at = now(), findings = p_findings, opened = p_opened
     WHERE r.state = 'QUEUED' AND r.asked_at < p_before;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

CREATE OR REPLACE FUNCTION aegis.finding_json(x aegis.finding) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('finding_id', x.finding_id, 'tenant', x.tenant, 'fingerprint', x.fingerprint,
        'source', x.source, 'detector', x.kind, 'severity', x.severity, 'resource', x.resource,
        'metric', x.metric, 'title', x.title, 'summary', x.summary, 'score', x.score, 'at', x.at,
        'decision', x.decision, 'rule', x.rule, 'reason', x.reason, 'group_id', x.group_id,
        'episode', x.episode, 'case_id', x.case_id, 'created_at', x.created_at)
$$;

-- POST /analyze/run: a wish, which the analyst's next round answers.
CREATE OR REPLACE FUNCTION aegis.analyze_ask(p_tenant text[], p_principal text[], p_key text[],
    p_hash bytea[], p_run_id uuid[], p_reason text[], p_actor text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope    text := aegis.act_for(p_tenant);
    v_consumer text[] := array_fill(NULL::text, ARRAY[cardinality(p_tenant)]);
    v_claim    aegis.claim[] := aegis.claim_keys(p_tenant, p_principal, p_key, p_hash, v_consumer);
    v_out      aegis.result[];
BEGIN
    WITH made AS (
        INSERT INTO aegis.analyst_run AS r (tenant, run_id, asked_by)
        SELECT p_tenant[n], p_run_id[n], p_actor[n]
          FROM generate_series(1, cardinality(p_tenant)) n WHERE (v_claim[n]).verdict = 'new'
        RETURNING r.*)
    SELECT array_agg(ROW(array_position(p_run_id, m.run_id), 202, 'ok', NULL,
               json_build_object('run_id', m.run_id, 'state', m.state, 'asked_by', m.asked_by,
                   'asked_at', m.asked_at)::text, m.run_id::text)::aegis.result)
      INTO v_out FROM made m;
    PERFORM aegis.remember(p_tenant, p_principal, p_key, p_hash, v_consumer, v_claim, v_out);
    RETURN QUERY SELECT * FROM unnest(v_out)
     UNION ALL
     SELECT a.* FROM generate_subscripts(v_claim, 1) n,
            LATERAL aegis.claim_answer(n, v_claim[n], p_request_id[n]) a
      WHERE (v_claim[n]).verdict <> 'new';
END $$;

-- Findings of a tenant, newest first.
CREATE OR REPLACE FUNCTION aegis.finding_list(p_tenant text[], p_limit int[], p_after text[])
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
                SELECT aegis.page_key(f.created_at, f.finding_id) FROM aegis.finding f
                 WHERE f.tenant = p_tenant[n] AND (f.created_at, f.finding_id) > (a.at, a.id)
                 ORDER BY f.created_at, f.finding_id LIMIT v_limit + 1), v_limit) b;
        END IF;
        SELECT a.at, a.id INTO v_at, v_id FROM aegis.page_after(v_after, true) a;
        SELECT array_agg(aegis.finding_json(x) ORDER BY x.created_at DESC, x.finding_id DESC),
               array_agg(aegis.page_key(x.created_at, x.finding_id) ORDER BY x.created_at DESC, x.finding_id DESC)
          INTO v_items, v_keys
          FROM (SELECT f.* FROM aegis.finding f
                 WHERE f.tenant = p_tenant[n] AND (f.created_at, f.finding_id) < (v_at, v_id)
                 ORDER BY f.created_at DESC, f.finding_id DESC LIMIT v_limit + 1) x;
        RETURN NEXT aegis.page(n, NULL, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;

-- One finding, with its numbers, its evidence and what its group has become.
CREATE OR REPLACE FUNCTION aegis.finding_get(p_tenant text[], p_finding_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT i.ord::int, CASE WHEN f.finding_id IS NULL THEN 404 ELSE 200 END,
        CASE WHEN f.finding_id IS NULL THEN 'not-found' ELSE 'ok' END, NULL::int,
        CASE WHEN f.finding_id IS NULL THEN aegis.not_found_body(i.request_id)
        ELSE (aegis.finding_json(f)::jsonb || jsonb_build_object('detail', f.detail,
            'case_status', (SELECT c.status FROM aegis.ops_case c
                             WHERE c.tenant = f.tenant AND c.case_id = f.case_id),
            'group', (SELECT jsonb_build_object('findings', g.findings, 'first_at', g.first_at,
                             'last_at', g.last_at, 'opened_by', g.opened_by)
                        FROM aegis.finding_group g
                       WHERE g.tenant = f.tenant AND g.group_id = f.group_id)))::text END, NULL::text
      FROM unnest(p_tenant, p_finding_id, p_request_id) WITH ORDINALITY AS i(tenant, finding_id, request_id, ord)
      LEFT JOIN aegis.finding f ON f.tenant = i.tenant AND f.finding_id = i.finding_id;
END $$;
