-- The planner's own: which template a plan is to be made of, what the case's last
-- plan came to, and reading plans. module_load and module_commit are in
-- 30_modules.sql.

-- Put a set of templates in force: {name: {"hash", "body"}}. The same set twice in a
-- row is one; two planners at once take turns.
CREATE OR REPLACE FUNCTION aegis.plan_templates_put(p_hash text, p_set json, p_source text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_revision bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1095058804);
    INSERT INTO aegis.plan_template_set (hash, source)
    SELECT p_hash, p_source
     WHERE p_hash IS DISTINCT FROM (SELECT s.hash FROM aegis.plan_template_set s
                                     ORDER BY s.revision DESC LIMIT 1)
    RETURNING revision INTO v_revision;

    IF v_revision IS NOT NULL THEN
        INSERT INTO aegis.plan_template (revision, name, hash, body)
        SELECT v_revision, t.key, t.value ->> 'hash', t.value -> 'body' FROM json_each(p_set) t;
    END IF;
    RETURN v_revision;
END $$;

DROP FUNCTION IF EXISTS aegis.plan_template_get(text);
-- The template by this name in the set in force, without its body when p_known has its
-- hash. When there is none, the names that there are, for who asked.
CREATE OR REPLACE FUNCTION aegis.plan_template_get(p_name text, p_known text)
RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_set  bigint := (SELECT s.revision FROM aegis.plan_template_set s ORDER BY s.revision DESC LIMIT 1);
    v_body json; v_hash text;
BEGIN
    SELECT t.hash, CASE WHEN strpos(p_known, t.hash) = 0 THEN t.body END INTO v_hash, v_body
      FROM aegis.plan_template t WHERE t.revision = v_set AND t.name = p_name;
    IF v_hash IS NOT NULL THEN
        RETURN json_build_object('name', p_name, 'hash', v_hash, 'body', v_body);
    END IF;
    RETURN json_build_object('name', p_name, 'names', coalesce((
        SELECT string_agg(t.name, ', ' ORDER BY t.name) FROM aegis.plan_template t
         WHERE t.revision = v_set), 'none (is a planner running?)'));
END $$;

-- The newest plan of a case and how it ended, when the case was parked since.
CREATE OR REPLACE FUNCTION aegis.plan_last(p_tenant text, p_case_id uuid)
RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
    SELECT json_build_object('plan_id', p.plan_id, 'revision', p.revision, 'hash', p.hash,
           'template', p.template, 'params', p.params,
           'parked', (SELECT json_build_object('version', t.version::text, 'reason', t.reason)
                        FROM aegis.case_timeline t
                       WHERE t.tenant = p_tenant AND t.case_id = p_case_id
                         AND t.kind = 'transition' AND t.to_status = 'PARKED'
                         AND t.version > p.for_version
                       ORDER BY t.version DESC LIMIT 1),
           'steps', (SELECT coalesce(json_agg(json_build_object('phase', s.phase,
                            'step_no', s.step_no, 'action', s.action, 'state', s.state,
                            'error', left(s.error, 200)) ORDER BY s.started_at), '[]')
                       FROM (SELECT e.* FROM aegis.exec_run r
                               JOIN aegis.exec_step e ON e.tenant = r.tenant AND e.exec_id = r.exec_id
                              WHERE r.tenant = p_tenant AND r.case_id = p_case_id AND r.plan_id = p.plan_id
                                AND e.state IN ('FAILED', 'TIMEOUT', 'UNKNOWN')
                              ORDER BY e.started_at DESC LIMIT 3) s))
      FROM aegis.plan_proposed p
     WHERE p.tenant = p_tenant AND p.case_id = p_case_id
     ORDER BY p.revision DESC LIMIT 1);
END $$;

-- Everything that a plan is made on, beside the case: the template is the one that
-- was asked for, else the label's, else that of the last plan, else the kind's.
DROP FUNCTION IF EXISTS aegis.plan_facts(aegis.ops_case, text);
CREATE OR REPLACE FUNCTION aegis.plan_facts(p_case aegis.ops_case, p_template text, p_known text)
RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_last json := aegis.plan_last(p_case.tenant, p_case.case_id);
BEGIN
    RETURN json_build_object(
        'next_revision', coalesce((v_last ->> 'revision')::int, 0) + 1,
        'last', v_last,
        'quotes', EXISTS (SELECT FROM aegis.kb_tenant t WHERE t.tenant = p_case.tenant AND t.chunks > 0),
        'template', aegis.plan_template_get(coalesce(p_template, p_case.labels ->> 'template',
            nullif(v_last ->> 'template', ''), p_case.kind), p_known),
        'evidence', (
            SELECT coalesce(json_agg(json_build_object('event_id', e.event_id,
                   'severity', e.severity, 'kind', e.kind, 'title', e.title,
                   'summary', e.summary, 'refs', (
                       SELECT coalesce(json_agg(l.ref ORDER BY l.link_no), '[]')
                         FROM aegis.evidence_link l
                        WHERE l.tenant = e.tenant AND l.case_id = e.case_id
                          AND l.event_id = e.event_id AND l.link_no <= 16))
                   ORDER BY e.created_at DESC), '[]')
              FROM (SELECT * FROM aegis.event_envelope e
                     WHERE e.tenant = p_case.tenant AND e.case_id = p_case.case_id
                     ORDER BY e.created_at DESC LIMIT 20) e));
END $$;

CREATE OR REPLACE FUNCTION aegis.plan_get(p_tenant text[], p_plan_id uuid[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT i.ord::int, CASE WHEN p.plan_id IS NULL THEN 404 ELSE 200 END,
           CASE WHEN p.plan_id IS NULL THEN 'not-found' ELSE 'ok' END, p.revision,
           CASE WHEN p.plan_id IS NULL THEN aegis.not_found_body(i.request_id)
                ELSE json_build_object('plan_id', p.plan_id,
                 'case_id', p.case_id, 'revision', p.revision, 'template', p.template,
                 'params', coalesce(p.params, '{}'),
                 'hash', p.hash, 'complete', p.complete, 'missing', p.missing,
                 'risk_score', p.risk_score, 'created_by', p.created_by,
                 'created_at', p.created_at, 'plan', p.plan)::text END, NULL::text
      FROM unnest(p_tenant, p_plan_id, p_request_id) WITH ORDINALITY AS i(tenant, plan_id, request_id, ord)
      LEFT JOIN aegis.plan_proposed p ON p.tenant = i.tenant AND p.plan_id = i.plan_id;
END $$;

-- A plan and the one to compare it with: p_base_id of the same case, else the
-- revision before. The first revision has none: from and was are null.
CREATE OR REPLACE FUNCTION aegis.plan_pair(p_tenant text[], p_plan_id uuid[], p_base_id uuid[],
    p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
BEGIN
    RETURN QUERY
    SELECT i.ord::int, v.status, CASE v.status WHEN 200 THEN 'ok' ELSE 'not-found' END, p.revision,
           CASE v.status WHEN 200 THEN json_build_object('case_id', p.case_id,
                 'from', CASE WHEN b.plan_id IS NOT NULL THEN json_build_object('plan_id', b.plan_id,
                     'revision', b.revision, 'hash', b.hash) END,
                 'to', json_build_object('plan_id', p.plan_id, 'revision', p.revision, 'hash', p.hash),
                 'was', b.plan, 'is', p.plan)::text
                ELSE aegis.not_found_body(i.request_id) END, NULL::text
      FROM unnest(p_tenant, p_plan_id, p_base_id, p_request_id) WITH ORDINALITY
               AS i(tenant, plan_id, base_id, request_id, ord)
      LEFT JOIN aegis.plan_proposed p ON p.tenant = i.tenant AND p.plan_id = i.plan_id
      LEFT JOIN LATERAL (
          SELECT x.plan_id, x.revision, x.hash, x.plan FROM aegis.plan_proposed x
           WHERE x.tenant = p.tenant AND x.case_id = p.case_id
             AND CASE WHEN i.base_id IS NULL THEN x.revision < p.revision
                      ELSE x.plan_id = i.base_id END
           ORDER BY x.revision DESC LIMIT 1) b ON true
     CROSS JOIN LATERAL (
          SELECT CASE WHEN p.plan_id IS NULL OR (i.base_id IS NOT NULL AND b.plan_id IS NULL)
                      THEN 404 ELSE 200 END AS status) v;
END $$;

-- The revisions of a case's plan, oldest first; current is the one that
-- plan_ready put before the gate.
CREATE OR REPLACE FUNCTION aegis.plan_page(p_tenant text[], p_case_id uuid[], p_limit int[],
    p_after text[], p_request_id text[])
RETURNS SETOF aegis.result LANGUAGE plpgsql AS $$
DECLARE
    v_scope text := aegis.act_for(p_tenant);
    n int; v_items json[]; v_keys text[]; v_case aegis.ops_case; v_after text; v_limit int;
BEGIN
    FOR n IN 1 .. cardinality(p_tenant) LOOP
        SELECT * INTO v_case FROM aegis.ops_case c
         WHERE c.tenant = p_tenant[n] AND c.case_id = p_case_id[n];
        IF NOT FOUND THEN
            RETURN NEXT aegis.not_found(n, p_request_id[n]);
            CONTINUE;
        END IF;
        v_after := split_part(p_after[n], ' ', 1);
        v_limit := p_limit[n];
        IF v_after LIKE '<%' THEN
            SELECT b.after, b.items INTO v_after, v_limit FROM aegis.page_turn(ARRAY(
                SELECT x.revision::text FROM aegis.plan_proposed x
                 WHERE x.tenant = p_tenant[n] AND x.case_id = p_case_id[n]
                   AND x.revision < substr(v_after, 2)::int
                 ORDER BY x.revision DESC LIMIT v_limit + 1), v_limit) b;
        END IF;
        SELECT array_agg(json_build_object('plan_id', x.plan_id, 'revision', x.revision,
                   'current', x.plan_id IS NOT DISTINCT FROM v_case.plan_id, 'hash', x.hash,
                   'template', x.template, 'complete', x.complete, 'missing', x.missing,
                   'risk_score', x.risk_score, 'title', x.plan ->> 'title',
                   'created_by', x.created_by, 'created_at', x.created_at) ORDER BY x.revision),
               array_agg(x.revision::text ORDER BY x.revision)
          INTO v_items, v_keys
          FROM (SELECT * FROM aegis.plan_proposed x
                 WHERE x.tenant = p_tenant[n] AND x.case_id = p_case_id[n]
                   AND (v_after IS NULL OR x.revision > v_after::int)
                 ORDER BY x.revision LIMIT v_limit + 1) x;
        RETURN NEXT aegis.page(n, v_case.version, v_items, v_keys, v_after, v_limit);
    END LOOP;
END $$;
