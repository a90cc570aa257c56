-- What a measurement starts from: :cases cases of 8 tenants, each with the rows
-- that a creation leaves behind, kept in schema bench and copied into the
-- product's tables by bench.reset() before each run that writes.
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
GRANT USAGE ON SCHEMA bench TO aegis_gateway;

-- Ids that grow with time, as the gateway's own (version 7) do.
CREATE FUNCTION bench.id(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT ('01930000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid
$$;

CREATE UNLOGGED TABLE bench.ops_case AS
    SELECT 'bench' || n % 8 AS tenant, bench.id(n) AS case_id, 'manual' AS mode,
           'case ' || n || ' of the measurement' AS title, '["bench"]'::jsonb AS tags,
           '{"service": "checkout", "env": "prod"}'::jsonb AS labels,
           now() - (:cases - n) * interval '1 s' AS created_at,
           now() - (:cases - n) * interval '1 s' AS updated_at
      FROM generate_series(0, :cases - 1) n;

CREATE UNLOGGED TABLE bench.case_timeline AS
    SELECT tenant, case_id, 1 AS version, 0 AS seq, 'create' AS kind, 'create' AS event,
           'NEW' AS to_status, 'bench' AS actor, 'bench' AS principal,
           replace(case_id::text, '-', '') AS trace_id, 'fill-' || case_id AS idem_key, created_at
      FROM bench.ops_case;

-- published, as they are when a relay runs
CREATE UNLOGGED TABLE bench.outbox AS
    SELECT tenant, case_id, 1 AS version, aegis.outbox_part(case_id) AS part,
           case_id || ':1:created' AS msg_id, 'evt.case.created.v1' AS subject,
           json_build_object('case_id', case_id, 'tenant', tenant, 'case_version', 1,
               'title', title, 'kind', 'incident', 'severity', 'warning', 'mode', mode,
               'tags', tags, 'labels', labels, 'actor', 'bench', 'correlation_id', '',
               'at', created_at) AS data, created_at AS published_at
      FROM bench.ops_case;

TRUNCATE aegis.ops_case;
INSERT INTO aegis.ops_case (tenant, case_id, mode, title, tags, labels, created_at, updated_at)
SELECT * FROM bench.ops_case;

CREATE UNLOGGED TABLE bench.idempotency AS
    SELECT c.tenant, 'bench' AS principal, 'fill-' || c.case_id AS key,
           sha256(convert_to(c.case_id::text, 'UTF8')) AS hash, 201 AS status, 'ok' AS code,
           1 AS version, aegis.case_text(c) AS body, c.case_id::text AS extra
      FROM aegis.ops_case c WHERE c.tenant LIKE 'bench%';

-- timelines are append-only for everybody who does not say this
CREATE FUNCTION bench.reset() RETURNS void LANGUAGE sql SET session_replication_role = replica AS $$
    TRUNCATE aegis.ops_case, aegis.case_tag, aegis.case_timeline, aegis.outbox, aegis.idempotency;
    INSERT INTO aegis.ops_case (tenant, case_id, mode, title, tags, labels, created_at, updated_at)
           SELECT * FROM bench.ops_case;
    INSERT INTO aegis.case_tag SELECT tenant, 'bench', created_at, case_id FROM bench.ops_case;
    INSERT INTO aegis.case_timeline (tenant, case_id, version, seq, kind, event, to_status, actor,
           principal, trace_id, idem_key, created_at) SELECT * FROM bench.case_timeline;
    INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, published_at)
           SELECT * FROM bench.outbox;
    INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
           SELECT * FROM bench.idempotency;
$$;
